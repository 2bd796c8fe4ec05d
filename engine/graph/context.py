"""What a node sees while it runs, and what it gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from ..errors import InputError
from ..messages import JSON, Message
from ..records import Summary
from ..session.history import Past


class Input(Struct, frozen=True):
    """The message of this turn; in a `map`, `item` is the item of this round."""

    message: str
    item: object = None


class Exchanged(Struct, frozen=True):
    """One earlier turn: what the user said and what was answered."""

    input: str
    answer: str


class History(Struct, frozen=True):
    """Earlier turns as templates read them; empty where the graph loads none.

    `summary` tells what happened before the first of `runs`, None if nothing did or no node of
    the graph writes summaries.
    """

    messages: tuple[Message, ...] = ()
    runs: tuple[Exchanged, ...] = ()
    summary: str | None = None
    output: str = ""


NO_HISTORY = History()


class SessionView(Struct, frozen=True):
    """The session as templates read it. `turns` counts the completed ones."""

    id: str
    state: Mapping[str, object]
    summary: str | None
    turns: int


class Upstream(Struct, frozen=True):
    """A node that ran before, in the order in which `needs` names them."""

    id: str
    kind: str
    role: str
    output: object


class Choice(Struct, frozen=True):
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


class Context(Struct, eq=False):  # not frozen: one is made for each visit, and freezing costs 2 µs
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


class Result(Struct):  # not frozen: it goes from one hand to another, and freezing costs 1 µs
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
