"""What a node is, what it sees while it runs, and what it gives back.

A kind of node is a frozen class with one method:

    class Translator(Node):
        language: str
        prompt: str | None = "translate.jinja"

        async def run(self, context: Context) -> Result:
            return Result(await context.ask())
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, TypeAlias, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from .declared import Declared, is_secret
from .errors import DefinitionError, InputError, Path, Problem
from .imports import reference
from .messages import JSON, Message
from .past import Past
from .session import Summary
from .tools import Toolbox

Join: TypeAlias = Literal["any", "all", "always"]


def _one_or_many(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("must be an id or a list of ids")
    return cast("Sequence[object]", value)


def _plain(number: float) -> float:
    """`60`, where people wrote `60`."""
    return int(number) if number.is_integer() else number


# `Sequence[str]` lets people write a list, a tuple or one id; what is kept is a tuple.
Ids: TypeAlias = Annotated[
    Sequence[str],
    BeforeValidator(_one_or_many, json_schema_input_type=str | Sequence[str]),
    AfterValidator(tuple),
]
Texts: TypeAlias = Annotated[
    Sequence[str],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else value,
        json_schema_input_type=str | Sequence[str],
    ),
    AfterValidator(tuple),
]
Number: TypeAlias = Annotated[float, PlainSerializer(_plain, return_type=int | float)]
Seconds: TypeAlias = Annotated[
    Number, Field(gt=0, strict=True, allow_inf_nan=False, description="seconds")
]


class Retry(Declared):
    """How often a failed attempt is made again: waits double from `wait` up to `max_wait`."""

    times: int = Field(ge=0, strict=True, description="Attempts after the first.", examples=[2])
    wait: Seconds = Field(
        default=0.5, description="Seconds before the first one more try.", examples=[0.5]
    )
    max_wait: Seconds = Field(
        default=30.0, description="No wait is longer than this.", examples=[30]
    )


class Timeout(Declared):
    """How long an attempt may take: in all, and without a sign of life from the model."""

    total: Seconds | None = Field(
        default=None, description="Seconds for the whole attempt.", examples=[120]
    )
    idle: Seconds | None = Field(
        default=None, description="Seconds without a sign of life.", examples=[30]
    )


class Instead(Declared):
    """The value that stands in for the output of a node that failed."""

    value: JSON = Field(
        description="What templates then read as the node's output.", examples=["unknown"]
    )


class ModelSpec(Declared):
    """A model with its parameters; what is not named here goes to the provider as it is."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(
        min_length=1,
        description="Any litellm id, `local` or `echo`.",
        examples=["openai/gpt-5-mini"],
    )
    api_base: str | None = Field(
        default=None,
        description="An OpenAI-compatible server.",
        examples=["http://127.0.0.1:8000/v1"],
    )
    api_key_env: str | None = Field(
        default=None,
        description="The environment variable that holds the key.",
        examples=["OPENAI_API_KEY"],
    )
    temperature: Number | None = Field(
        default=None, ge=0, strict=True, description="0 is the most predictable.", examples=[0]
    )
    max_tokens: int | None = Field(
        default=None,
        gt=0,
        strict=True,
        description="The longest answer, in tokens.",
        examples=[1000],
    )
    fallback: Ids = Field(
        default=(),
        description="Models to ask when this one cannot be had.",
        examples=[["anthropic/claude-haiku-4-5"]],
    )

    @model_validator(mode="after")
    def _hold_no_secret(self) -> Self:
        problems: list[Problem] = []
        for path in _keys_of(self.model_extra or {}):
            key = path[-1]
            if is_secret(key):
                text = f"{key!r} would put a secret into the graph; name the environment variable "
                text += "that holds it"
                problems.append(
                    Problem("G004", text, path=path, suggestion="api_key_env", on_key=True)
                )
            elif len(path) == 1 and (
                near := get_close_matches(key, type(self).model_fields, n=1, cutoff=0.8)
            ):
                text = f"unknown key {key!r}"
                problems.append(Problem("G001", text, path=path, suggestion=near[0], on_key=True))
        if self.api_base and re.search(r"://[^/@]*:[^/@]*@", self.api_base):
            text = "api_base holds a password; leave it out and name its variable: api_key_env"
            problems.append(Problem("G004", text, path=("api_base",)))
        if problems:
            raise DefinitionError(problems)
        return self

    def parameters(self) -> dict[str, JSON]:
        """What goes to the provider beside the messages."""
        return self.model_dump(exclude={"id", "fallback"}, exclude_none=True)


def _keys_of(
    mapping: Mapping[str, object], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The paths of all keys in a mapping and in those inside it."""
    for key, value in mapping.items():
        yield (*path, key)
        if isinstance(value, Mapping):
            yield from _keys_of(cast("Mapping[str, object]", value), (*path, key))


OnError: TypeAlias = Literal["fail", "skip"] | Instead


class Node(Declared):
    """A part of a graph. Its id is its key in `Graph.nodes`.

    A kind adds fields and `run`. Every field is readable in its template as `node.FIELD`. The
    name of the kind is made from the class's name (`HistoryLoader` is `history-loader`), unless
    the class sets `kind` itself.
    """

    kind: ClassVar[str] = "node"
    answers: ClassVar[bool] = True
    """Whether the node's output can be what the user is told."""
    streams: ClassVar[bool] = False
    """Whether the output is the text of its one `ask`, so that it can be told as it arrives."""
    prompts: ClassVar[bool] = True
    """Whether the kind has a template; without `prompt` it is the file called like the kind."""
    text_field: ClassVar[str | None] = None
    """A field whose text is a template that the kind renders itself (`Context.render`)."""
    comes_last: ClassVar[bool] = False
    """Whether the node waits until the answer is known, and works for the session's sake."""
    loads_history: ClassVar[bool] = False
    """Whether the template name `history` means this node."""
    summarizes: ClassVar[bool] = False
    """Whether the node keeps the session's summary."""
    provides: ClassVar[Mapping[str, object]] = {"output": str}
    """The names that templates can read of it, with their types: `node_id.NAME`."""
    variables: ClassVar[Mapping[str, object]] = {}
    """Further names that the kind gives to its own template, with their types."""

    prompt: str | None = Field(
        default=None,
        description="A template file (`name.jinja`), or the template itself in several lines.",
        examples=["member.jinja"],
    )
    model: str | ModelSpec | None = Field(
        default=None, description="The model to ask, if not the graph's.", examples=["local"]
    )
    needs: Ids = Field(
        default=(),
        description="Nodes that run before; they vote in `join`.",
        examples=[["english", "french"]],
    )
    reads: Ids = Field(
        default=(),
        description="Nodes whose output is read; they have no vote.",
        examples=[["history"]],
    )
    history: str | None = Field(
        default=None,
        description="The history-loader that `history` means in its template, if there are "
        "several; `none`: an empty history.",
        examples=["own_history"],
    )
    join: Join = Field(
        default="any", description="Run if any or all of `needs` ran, or always.", examples=["all"]
    )
    when: str | None = Field(
        default=None,
        description="A Jinja expression; if false, skip.",
        examples=["session.turns > 0"],
    )
    retry: Annotated[int, Field(ge=0, strict=True)] | Retry | None = Field(
        default=None, description="Attempts after a failed one.", examples=[2]
    )
    timeout: Seconds | Timeout | None = Field(
        default=None, description="Seconds that an attempt may take.", examples=[60]
    )
    on_error: OnError | None = Field(
        default=None,
        description="What a failure does: fail the run, skip, or a value instead.",
        examples=["skip"],
    )
    params: Mapping[str, JSON] = Field(
        default_factory=dict[str, JSON],
        description="Constants for the template.",
        examples=[{"tone": "friendly"}],
    )
    description: str = Field(
        default="",
        description="What the node is for, in a few words.",
        examples=["checks the facts"],
    )
    returns: Any = Field(  # a mapping, a text or a class: engine.returns says which hold
        default=None,
        description="The shape of the answer, if it is not free text.",
        examples=[{"lang": "english|french"}],
    )

    @property
    def template_field(self) -> str:
        """The field that its template is written in: `prompt`, or its `text_field`."""
        own = self.text_field
        has_own = own is not None and self.prompt is None and isinstance(getattr(self, own), str)
        return own if own is not None and has_own else "prompt"

    def __init_subclass__(cls, **facts: Any) -> None:  # noqa: ANN401  pydantic's signature
        super().__init_subclass__(**facts)
        if "kind" not in cls.__dict__:
            cls.kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

    async def run(self, context: Context) -> Result:
        """Do the node's work once; an exception means that it failed."""
        raise NotImplementedError(f"the kind {self.kind!r} has no run method")

    async def recall(self, context: Context, stored: JSON) -> object:
        """The output as templates read it, made again from what its record keeps of it."""
        del context
        return stored

    def summarized(self, output: JSON, fields: Mapping[str, JSON]) -> Summary | None:
        """The `Result.summary` of an earlier try of the run, from what its record keeps."""
        del output, fields
        return None

    def asks(self) -> bool:
        """Whether running the node asks a model, if it has a template."""
        return True

    def within(self) -> object | None:
        """The `Graph` that the node runs (`Context.run_graph`), None if it runs none."""
        return None

    def opened(self, read: Callable[[str | Mapping[str, Any]], Any]) -> Self:
        """The node with the graph that it runs made by `read`, from a file or what stands there."""
        del read
        return self

    def mentions(self) -> Mapping[Path, str]:
        """Ids of nodes that it names without coming after them, by the path of the field."""
        return {}

    def toolbox(self) -> Toolbox | None:
        """The tools that its model may call, None if there are none."""
        return None

    def inputs(self) -> Mapping[str, bool]:
        """Names of nodes that it reads without a template, and whether it can do without each."""
        return {}

    def instead(self, error: Exception) -> Result | None:
        """What to give back after the last attempt failed, or None to fail."""
        del error
        return None

    def branches(self) -> Mapping[str, tuple[str, ...]]:
        """For a kind that routes: the ids that each label leads to."""
        return {}

    def takes(self) -> tuple[int, int]:
        """For a kind that routes: the fewest and the most labels that it chooses at once."""
        return (1, 1)

    def expressions(self) -> Mapping[Path, str]:
        """The Jinja expressions in the node's fields, by the path of the field."""
        return {("when",): self.when} if self.when is not None else {}

    def bound(self, resolve: Callable[[str], object]) -> Self:
        """The node with what it names in Python (`package.module:name`) resolved."""
        if isinstance(self.returns, str) and ":" in self.returns:
            return self.model_copy(update={"returns": resolve(self.returns)})
        return self

    def written(self) -> dict[str, JSON]:
        """The node as a graph file says it, without its kind and without defaults."""
        data: dict[str, JSON] = self.model_dump(
            mode="json", exclude_defaults=True, exclude={"returns"}
        )
        returns: object = self.returns
        if isinstance(returns, str | Mapping):
            data["returns"] = cast("JSON", returns)
        elif returns is not None:
            data["returns"] = reference(returns)
        return data

    def shown(self) -> Mapping[str, object]:
        """More names that its template reads as `node.NAME`, beside the fields."""
        return {}


@dataclass(frozen=True, slots=True)
class Input:
    """The message of this turn; in a `map`, `item` is the item of this round."""

    message: str
    item: object = None


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One earlier turn: what the user said and what was answered."""

    input: str
    answer: str


@dataclass(frozen=True, slots=True)
class History:
    """Earlier turns as templates read them; empty where the graph loads none.

    `summary` tells what happened before the first of `runs`, None if nothing did or no node of
    the graph writes summaries.
    """

    messages: tuple[Message, ...] = ()
    runs: tuple[Exchanged, ...] = ()
    summary: str | None = None
    output: str = ""


NO_HISTORY = History()


@dataclass(frozen=True, slots=True)
class SessionView:
    """The session as templates read it. `turns` counts the completed ones."""

    id: str
    state: Mapping[str, object]
    summary: str | None
    turns: int


@dataclass(frozen=True, slots=True)
class Upstream:
    """A node that ran before, in the order in which `needs` names them."""

    id: str
    kind: str
    role: str
    output: object


@dataclass(frozen=True, slots=True)
class Choice:
    """What a router decided: labels in declared order, and why."""

    labels: tuple[str, ...]
    reason: str = ""
    tasks: Mapping[str, str] = field(default_factory=dict[str, str])


class Asker(Protocol):
    """How a node asks its model: renders the template, asks, records, tells."""

    async def ask(self, prompt: str | None = None, /, **variables: object) -> str: ...

    async def reply(self, prompt: str | None = None, /, **variables: object) -> JSON: ...

    async def ask_for(
        self, returns: object, prompt: str | None = None, /, **variables: object
    ) -> JSON: ...

    async def choose(
        self,
        labels: Sequence[str],
        *,
        many: bool = False,
        allow_none: bool = False,
        tasks: bool = False,
    ) -> Choice: ...

    def test(self, expression: str) -> bool: ...

    def render(self) -> str: ...


@dataclass(slots=True, eq=False)  # not frozen: one is made for each visit, and freezing costs 2 µs
class Context:
    """What a node sees while it runs: nothing else goes in, and `Result` is all that comes out.

    `outputs` maps the ids of the nodes before this one that ran to their output; `upstream` are
    those named in `needs`. `state` is what the node itself kept, `session_state` what all share.
    `answer` is what the user is told in this turn, None as long as that is open. `summarizes` says
    whether a node of the graph keeps the session's summary.
    """

    node_id: str
    input: Input
    user_id: str | None
    session_id: str
    run_id: str
    upstream: Sequence[Upstream]
    outputs: Mapping[str, object]
    history: History
    state: Mapping[str, JSON]
    session_state: Mapping[str, JSON]
    summary: Summary | None
    turns: int
    answer: str | None
    past: Past
    asker: Asker
    summarizes: bool = False
    enter: Callable[[str], Awaitable[Result]] | None = None

    async def ask(self, prompt: str | None = None, /, **variables: object) -> str:
        """Render the node's prompt (or the one named), ask the model, give its text.

        `variables` are further names for the template; the kind lists them in `Node.variables`.
        """
        return await self.asker.ask(prompt, **variables)

    async def reply(self, prompt: str | None = None, /, **variables: object) -> JSON:
        """Like `ask`; if the node declares `returns`, the value of that shape instead."""
        return await self.asker.reply(prompt, **variables)

    async def ask_for(
        self, returns: object, prompt: str | None = None, /, **variables: object
    ) -> JSON:
        """Like `ask`, for a value of the shape that `returns` says, as a node's `returns` does.

        Raises `AnswerError` if the model's answer does not fit.
        """
        return await self.asker.ask_for(returns, prompt, **variables)

    async def choose(
        self,
        labels: Sequence[str],
        *,
        many: bool = False,
        allow_none: bool = False,
        tasks: bool = False,
    ) -> Choice:
        """Ask the model for one of `labels` (`many`: one or more, `allow_none`: none too).

        With `tasks` it also writes what each chosen one is to do. A model that answers with
        anything else fails the attempt.
        """
        return await self.asker.choose(labels, many=many, allow_none=allow_none, tasks=tasks)

    def test(self, expression: str) -> bool:
        """Whether a Jinja expression of the node's own fields holds now."""
        return self.asker.test(expression)

    def render(self) -> str:
        """The text of the node's `text_field`, rendered; no model is asked."""
        return self.asker.render()

    async def run_graph(self, message: str) -> Result:
        """Run the graph that the node has `within` on a message.

        Its answer is the output; what its nodes did is kept with this run, each by its path
        (`node/inner_node`), and what is done there is not done again when the run is resumed.
        Raises `NodeError` if a node of it failed, `NoAnswer` if all that could answer were skipped.
        """
        if self.enter is None:
            raise InputError(f"node {self.node_id!r} has no graph inside that could run")
        return await self.enter(message)


@dataclass(slots=True)  # not frozen: it goes from one hand to another, and freezing costs 1 µs
class Result:
    """What a node gives back.

    `output` is what templates read as `node_id.output` and must be JSON or a pydantic model,
    unless `stored` says what of it is kept. `fields` are the further names of `Node.provides`.
    `choices` are a router's labels, `tasks` what each is to do. `state` replaces what the node
    keeps; `session_state` sets keys that all share; `summary` becomes the session's.
    """

    output: object
    fields: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    choices: tuple[str, ...] | None = None
    tasks: Mapping[str, str] = field(default_factory=dict[str, str])
    state: Mapping[str, JSON] | None = None
    session_state: Mapping[str, JSON] | None = None
    summary: Summary | None = None
    stored: JSON = None
