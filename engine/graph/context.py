"""`Context`, what a node receives when it runs, and `Result`, what it returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from ..errors import InputError
from ..messages import JSON, Message
from ..records import Summary
from ..session.history import Past


class Input(Struct, frozen=True):
    """The template name `input`: the message of this turn."""

    message: str


class Exchanged(Struct, frozen=True):
    """One earlier turn in templates: the message of the user, and the answer."""

    input: str
    answer: str


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

    def test(self, expression: str) -> bool: ...

    def render(self) -> str: ...


class Context(Struct, eq=False):  # not frozen: one per attempt, and freezing costs 2 µs
    """The only input of `Node.run`: the message, outputs of other nodes, state, and the model.

    `outputs` maps the ids of the nodes that ran before to their outputs; `upstream` are those of
    `needs`. `state` is the node's own state, `session_state` the one that all nodes share. `turns`
    counts the completed turns, `past` reads them. `answer` is the answer of this turn, None until
    it is known. `summarizes` says whether a node of the graph writes summaries.
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

    def test(self, expression: str) -> bool:
        """Evaluate a Jinja expression of the node's own fields."""
        return self.asker.test(expression)

    def render(self) -> str:
        """Render the template in the node's `text_field`; no model is called."""
        return self.asker.render()

    async def run_graph(self, message: str) -> Result:
        """Run the inner graph of the node (`HoldsGraph`) on a message.

        Its answer is the output. The records of its nodes belong to this run, by their paths
        (`node/inner_node`), and finished ones are not run again when the run is resumed. Raises
        `NodeError` if a node of it failed, `NoAnswer` if all that could answer were skipped.
        """
        if self.enter is None:
            raise InputError(f"node {self.node_id!r} has no inner graph to run")
        return await self.enter(message)


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
