"""`Context`, what a node receives when it runs, and `Result`, what it returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct, field

from ..errors import InputError
from ..messages import JSON, Message, Part
from ..records import Summary
from ..session.history import Past


class Input(Struct, frozen=True):
    """The template name `input`: the message of this turn, and what is attached to it.

    `system` is what the caller's program says about how to answer, None if it says nothing.
    """

    message: str
    system: str | None = None
    attachments: tuple[Part, ...] = ()


class ItemInput(Input, frozen=True, kw_only=True):
    """`input` in a graph that runs for each item of a list; `number` counts the items from 1."""

    item: object
    number: int


Tokens: TypeAlias = Literal["output", "events", "none"]
"""What becomes of the tokens of an inner answer: those of the node's output, events, or nothing."""


class Exchanged(Struct, frozen=True):
    """One earlier turn in templates: the message of the user, and the answer.

    `speaker` is the member that gave it, where several may, as in a `swarm`. `attachments` came
    with the message; they are sent again only by `{% attach %}`.
    """

    input: str
    answer: str
    speaker: str | None = None
    attachments: tuple[Part, ...] = ()


class History(Struct, frozen=True):
    """The template name `history`: earlier turns, empty if the graph loads none.

    `summary` summarizes the turns before the first of `runs`; it is None if there are none, or if
    no node of the graph writes summaries. `output` are the messages as one text.
    """

    messages: tuple[Message, ...] = ()
    runs: tuple[Exchanged, ...] = ()
    summary: str | None = None
    output: str = ""


NO_HISTORY = History()
NO_NAMES: Mapping[str, object] = MappingProxyType({})
NO_VISITS: Mapping[int, str] = MappingProxyType({})


class SessionView(Struct, frozen=True):
    """The template name `session`; `turns` counts the completed ones."""

    id: str
    state: Mapping[str, object]
    summary: str | None
    turns: int


class Upstream(Struct, frozen=True):
    """A node that ran before, with its output; templates have them in declared order."""

    id: str
    kind: str
    role: str
    output: object


class Choice(Struct, frozen=True):
    """The decision of a router: labels in declared order, the reason, a task for each label."""

    labels: tuple[str, ...]
    reason: str = ""
    tasks: Mapping[str, str] = field(default_factory=dict[str, str])


class Asker(Protocol):
    """Renders a node's templates and calls its model; what `Context` delegates to."""

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

    async def ask_person(
        self,
        *,
        options: Sequence[str] = (),
        assign_to: str | None = None,
        expires: float | None = None,
        default: JSON = None,
    ) -> JSON: ...

    def test(self, expression: str, /, **variables: object) -> bool: ...

    def value(self, expression: str, /, **variables: object) -> object: ...

    def render(self, prompt: str | None = None, /, **variables: object) -> str: ...


class NodeWaits(BaseException):
    """Ends the attempt of a node that waits for a person; not an error, so no retry catches it."""


class HandsOver(BaseException):
    """Ends the attempt of a node whose model handed over to another; no error, so no retry."""

    def __init__(self, to: str, reason: str) -> None:
        super().__init__(to, reason)
        self.to = to
        self.reason = reason


class Handover(Struct, frozen=True):
    """The template name `node.handover`: who handed over to this node, and why."""

    by: str
    reason: str


class Visit(Struct, frozen=True):
    """The visit of one node of the inner graph; see `Context.run_graph`.

    `hands_to` are the nodes that its model may hand over to, each with the description of the tool
    that does it. `handover` is what led here, None at the first visit.
    """

    node: str
    hands_to: Mapping[str, str] = field(default_factory=dict[str, str])
    handover: Handover | None = None


class InnerRun(Struct):
    """One run of the inner graph of a node, as `Context.run_graph` is asked for it."""

    message: str | Input
    number: int | None = None
    names: Mapping[str, object] = field(default_factory=dict[str, object])
    tokens: Tokens = "output"
    visit: Visit | None = None


class Context(Struct, eq=False):  # not frozen: one per attempt, and freezing costs 2 µs
    """The only input of `Node.run`: the message, outputs of other nodes, state, and the model.

    `outputs` maps the ids of the nodes that ran before to their outputs; `upstream` are those of
    `needs`. `state` is the node's own state, `session_state` the one that all nodes share. `turns`
    counts the completed turns, `past` reads them. `answer` is the answer of this turn, None until
    it is known. `summarizes` says whether a node of the graph writes summaries. `visited` are the
    nodes of the inner graph that an earlier try of the run visited, by the number of the visit.
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
    enter: Callable[[InnerRun], Awaitable[GraphResult]] | None = None
    enter_tool: Callable[[str, str], Awaitable[str | None]] | None = None
    visited: Mapping[int, str] = NO_VISITS

    async def ask(self, prompt: str | None = None, /, **variables: object) -> str:
        """Render the node's template (or the one named), call the model, and return its text.

        `variables` are further names for the template; see `UsesTemplates`.
        """
        return await self.asker.ask(prompt, **variables)

    async def reply(self, prompt: str | None = None, /, **variables: object) -> JSON:
        """Like `ask`; if the node declares `returns`, the validated value instead of text."""
        return await self.asker.reply(prompt, **variables)

    async def ask_for(
        self, returns: object, prompt: str | None = None, /, **variables: object
    ) -> JSON:
        """Like `ask`, for a value of the type that `returns` declares, as a node's `returns` does.

        Raises `AnswerError` if the model's answer is invalid.
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
        """Let the model choose one of `labels` (`many`: one or more, `allow_none`: or none).

        With `tasks` it also writes a task for each. Any other answer raises `AnswerError`.
        """
        return await self.asker.choose(labels, many=many, allow_none=allow_none, tasks=tasks)

    async def ask_person(
        self,
        *,
        options: Sequence[str] = (),
        assign_to: str | None = None,
        expires: float | None = None,
        default: JSON = None,
    ) -> JSON:
        """Show the node's template to a person, and return the answer; a node asks once.

        Until there is one, this does not return: the attempt ends, and so does the run, with the
        status `waiting`. `Runner.respond` runs the node again, and then this returns the answer:
        one of `options`, a value of the type that `returns` declares, or a text. If it `expires`
        (seconds) before, the answer is `default`, or `Expired` is raised. A kind that calls this
        sets the class variable `asks_person`.
        """
        return await self.asker.ask_person(
            options=options, assign_to=assign_to, expires=expires, default=default
        )

    def test(self, expression: str, /, **variables: object) -> bool:
        """Whether a Jinja expression of the node's own fields is true."""
        return self.asker.test(expression, **variables)

    def value(self, expression: str, /, **variables: object) -> object:
        """The value of a Jinja expression of the node's own fields."""
        return self.asker.value(expression, **variables)

    def render(self, prompt: str | None = None, /, **variables: object) -> str:
        """Render the template in the node's `text_field` (or the one named); asks no model."""
        return self.asker.render(prompt, **variables)

    async def run_graph(
        self,
        message: str | Input,
        *,
        number: int | None = None,
        names: Mapping[str, object] = NO_NAMES,
        tokens: Tokens = "output",
        visit: Visit | None = None,
    ) -> GraphResult:
        """Run the inner graph of the node (`HoldsGraph`) on a message.

        Its answer is the output. The records of its nodes belong to this run, by their paths
        (`node/inner_node`), and finished ones are not run again when the run is resumed. The keys
        of the session's state that they set become those of this node.

        A kind that runs it more than once (`RunsRounds`, `RunsItems`) gives each time a `number`
        from 1, which is a part of the paths, `node[2]/inner_node`. `names` are further names for
        the templates inside. Tokens of the answer are tokens of the node's output, unless `tokens`
        says that they are mere events, or dropped. Raises `NodeError` if a node of it failed,
        `NoAnswer` if all that could answer were skipped.

        With `visit` (`RunsVisits`) only that node of it runs. If its model handed over, the node
        has `handed_to` and `reason` in the result's `nodes`, and the output is empty.
        """
        if self.enter is None:
            raise InputError(f"node {self.node_id!r} has no inner graph to run")
        return await self.enter(InnerRun(message, number, names, tokens, visit))

    async def rehearse_tool(self, name: str, message: str) -> None:
        """In a dry run: run a graph that the node's model may call as a tool, as its first call."""
        if self.enter_tool is None:
            raise InputError(f"node {self.node_id!r} has no tools that are graphs")
        await self.enter_tool(f"{name}[1]", message)


class Result(Struct):  # not frozen: one per attempt, and freezing costs 1 µs
    """What `Node.run` returns: the output, and changes of state.

    `output` is what templates read as `node_id.output`; it must be JSON or a pydantic model,
    unless `stored` is what the record has in its place (see `Recalls`). `fields` are the further
    names of `Node.provides`. `choices` are a router's labels, `tasks` the task of each. `state`
    replaces the node's own state; `session_state` sets keys of the shared state; `summary` becomes
    the session's.
    """

    output: object
    fields: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    choices: tuple[str, ...] | None = None
    tasks: Mapping[str, str] = field(default_factory=dict[str, str])
    state: Mapping[str, JSON] | None = None
    session_state: Mapping[str, JSON] | None = None
    summary: Summary | None = None
    stored: JSON = None


class GraphResult(Result):
    """What `Context.run_graph` returns; `nodes` are the inner nodes that ran, by id.

    Each has `output`, and the further names that templates can read of it. A kind that `RunsItems`
    gets none.
    """

    nodes: Mapping[str, object] = NO_NAMES
