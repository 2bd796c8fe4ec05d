"""A node of a graph, and the optional protocols by which a kind does more than `run`.

A kind of node is a frozen class with one method:

    class Translator(Node):
        language: str
        prompt: str | None = "translate.jinja"

        async def run(self, context: Context) -> Result:
            return Result(await context.ask())

Everything else is optional. A kind implements a protocol of this module by having its methods or
class variables; nothing is inherited or registered. The engine asks through the functions at the
end, which look at the class and not at the instance: a lookup that fails on a pydantic instance
takes 80 µs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from inspect import get_annotations
from types import CodeType
from typing import Annotated, Any, ClassVar, Protocol, cast, runtime_checkable

from msgspec import Struct
from pydantic import Field

from ..errors import DefinitionError, InputError, KeyPath, Problem
from ..imports import reference
from ..messages import JSON
from ..records import Summary
from ..tools.context import CallOutcome
from ..tools.toolbox import CallCondition, Toolbox
from ..validation import Declared
from .context import Context, Result
from .fields import Ids, Join, JSONMapping, ModelField, OnError, Retry, Seconds, Timeout

FORM = "answer_form.jinja"
"""The template that says in words what form an answer must have."""
REPAIR = "answer_repair.jinja"
"""The template that shows a model what is wrong with its answer."""
ANSWER_TOOL = "answer_tool.jinja"
"""The template that describes the tool which takes an answer, where a server is asked so."""
TOOL = "tool_result.jinja"
"""The template that tells a model what became of a tool call, if it has no plain result."""
FEEDBACK: Mapping[str, Mapping[str, object]] = {
    REPAIR: {"problem": str},
    ANSWER_TOOL: {},
    TOOL: {"call": CallOutcome},
}
"""The engine's own templates for a model that answers, with the names that only these read."""
_SHOWN_ALWAYS = frozenset(("form", "handover", "state", "task"))
"""What templates read as `node.NAME` that is of a run, whatever the kind is."""
_ASKING = frozenset(("choose", "ask_for"))
"""The methods of a context that ask a model for an answer of a certain form."""


class Node(Declared):
    """Base class of all kinds of nodes; a node's id is its key in `Graph.nodes`.

    A kind adds fields and `run`. Every field is readable in its template as `node.FIELD`. The
    name of the kind is made from the class's name (`HistoryLoader` is `history-loader`), unless
    the class sets `kind` itself.
    """

    kind: ClassVar[str] = "node"
    answers: ClassVar[bool] = True
    """Whether the node's output can be the answer of the run."""
    prompts: ClassVar[bool] = True
    """Whether the kind has a template; without `prompt` it is the file called like the kind."""
    provides: ClassVar[Mapping[str, object]] = {"output": str}
    """The names that templates can read of it, with their types: `node_id.NAME`."""

    prompt: str | None = Field(
        default=None,
        description="A template file (`name.jinja`), or the template itself.",
        examples=["member.jinja"],
    )
    model: ModelField = Field(
        default=None, description="The model to ask, if not the graph's.", examples=["local"]
    )
    needs: Ids = Field(
        default=(),
        description="Nodes that run before this one and, by `join`, decide whether it runs.",
        examples=[["english", "french"]],
    )
    reads: Ids = Field(
        default=(),
        description="Nodes whose output is read: data only; they run before, but do not decide "
        "whether this node runs.",
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
        description="A Jinja expression; if it is false, the node is skipped.",
        examples=["session.turns > 0"],
    )
    retry: Annotated[int, Field(ge=0, strict=True)] | Retry | None = Field(
        default=None, description="Attempts after a failed one.", examples=[2]
    )
    repair: int = Field(
        default=1,
        ge=0,
        strict=True,
        description="How often the model is shown what is wrong with an answer that does not have "
        "the form that was asked for, before the attempt fails.",
        examples=[0],
    )
    timeout: Seconds | Timeout | None = Field(
        default=None, description="Seconds that an attempt may take (default: 600).", examples=[60]
    )
    on_error: OnError | None = Field(
        default=None,
        description="What happens when all attempts failed: the run fails (`fail`), the node is "
        "skipped (`skip`), or a value is used as its output.",
        examples=["skip"],
    )
    params: JSONMapping = Field(
        default_factory=dict[str, JSON],
        description="Constants for the template.",
        examples=[{"tone": "friendly"}],
    )
    description: str = Field(
        default="",
        description="What the node is for, in a few words.",
        examples=["checks the facts"],
    )
    returns: Any = Field(  # a mapping, list, text or class: `engine.returns` checks which
        default=None,
        description="The type of the answer, if it is not free text.",
        examples=[{"lang": "english|french"}],
    )

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401  pydantic's signature
        super().__init_subclass__(**options)
        annotation = get_annotations(cls).get("kind", "ClassVar")
        if "ClassVar" not in str(annotation):
            text = f"{cls.__qualname__}: kind is a class variable, not a field; write `kind: "
            text += "ClassVar[str] = ...`, or leave it out: it is made from the name of the class"
            raise DefinitionError([Problem("G005", text)])
        if "kind" not in cls.__dict__:
            cls.kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def key_advice(cls) -> Mapping[str, str]:
        """Keys of nodes, agents and tasks in other frameworks."""
        from .other_keys import NODE_KEYS  # noqa: PLC0415  read only where a key is wrong

        return NODE_KEYS

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401  pydantic's signature
        super().__pydantic_init_subclass__(**options)
        for name in _SHOWN_ALWAYS & cls.model_fields.keys():
            text = f"{cls.__qualname__}: its field {name!r} would hide `node.{name}`, which every "
            text += "template can read; rename it"
            raise DefinitionError([Problem("G005", text)])

    async def run(self, context: Context) -> Result:
        """Do the node's work once; an exception fails the attempt."""
        raise InputError(f"the kind {self.kind!r} has no run method; give it `async def run`")

    def written(self) -> dict[str, JSON]:
        """The node as a graph file has it, without its kind and without defaults."""
        data: dict[str, JSON] = self.model_dump(
            mode="json", exclude_defaults=True, exclude={"returns"}
        )
        returns: object = self.returns
        if isinstance(returns, str | Mapping | list | tuple):
            data["returns"] = cast("JSON", returns)
        elif returns is not None:
            data["returns"] = reference(returns)
        return data


@runtime_checkable
class Routes(Protocol):
    """A kind that chooses which nodes run next: `Result.choices` are labels of `branches`."""

    def branches(self) -> Mapping[str, tuple[str, ...]]:
        """The ids of the nodes that each label leads to."""
        ...


@runtime_checkable
class ChoosesSeveral(Protocol):
    """A kind that `Routes` and may choose another number of labels than one."""

    def takes(self) -> tuple[int, int]:
        """The fewest and the most labels that it chooses at once."""
        ...


class LoadsHistory(Protocol):
    """A kind whose outcome is what the template name `history` means; its output is a `History`."""

    loads_history: ClassVar[bool]


@runtime_checkable
class Recalls(Protocol):
    """A kind whose record has less than its output (`Result.stored`): it reads the rest again."""

    async def recall(self, context: Context, stored: JSON) -> object:
        """The output as templates read it, from what the record has, when a run is resumed."""
        ...


class RunsLast(Protocol):
    """A kind that runs after the answer is known, such as one that only works for later turns."""

    comes_last: ClassVar[bool]


@runtime_checkable
class Summarizes(Protocol):
    """A kind that writes the session's summary (`Result.summary`)."""

    def summarized(self, output: JSON, fields: Mapping[str, JSON]) -> Summary | None:
        """The `Result.summary` of an earlier attempt, from its record, when a run is resumed."""
        ...


@runtime_checkable
class HoldsGraph(Protocol):
    """A kind that runs another graph (`Context.run_graph`)."""

    def within(self) -> object | None:
        """The inner `Graph`, None until it has been read."""
        ...

    def opened(self, read: Callable[[str | Mapping[str, Any] | Node], Any]) -> Any:  # noqa: ANN401  the node
        """A copy of the node whose graph was read by `read`.

        `read` takes a file's path, the mapping of a graph, or one node (or its mapping), which is
        then the only node of the graph and has the id of this one (or another `name`).
        """
        ...


@runtime_checkable
class RunsRounds(Protocol):
    """A kind that `HoldsGraph` and runs it in rounds, one after the other.

    Its own template and those inside read `round`: `number` from 1, `outputs` (the answers of the
    rounds before), `previous` (the last of these, or None), and `nodes` (what the nodes inside gave
    in that round, by id). The nodes inside keep their state from round to round.
    """

    def ends(self) -> Mapping[KeyPath, str]:
        """Jinja expressions that are evaluated after a round, by the path of the field.

        They also read `output`, the answer of the round, and the nodes inside by their ids.
        """
        ...


class ItemSource(Struct, frozen=True):
    """The Jinja expression that gives a list, in the field `path` of its node.

    `instead` are the values that may stand in the output in place of an answer.
    """

    expression: str
    path: KeyPath
    instead: tuple[JSON, ...] = ()


@runtime_checkable
class RunsItems(Protocol):
    """A kind that `HoldsGraph` and runs it once for each item of a list, independently.

    Its own template and those inside read `input.item` and `input.number`, which counts from 1.
    The nodes inside keep no state. Its output is the list of the answers.
    """

    def items(self) -> ItemSource:
        """The expression that gives the list."""
        ...


class RunsVisits(Protocol):
    """A kind that `HoldsGraph` and runs one node of it at a time (`Visit`), one after the other.

    The nodes are in the field `nodes_field`, and have no edges. Those that may hand over name the
    others in a field `hands_to`. They read the history that the graph around them has loaded, and
    keep their state from visit to visit.
    """

    nodes_field: ClassVar[str]


@runtime_checkable
class HasTools(Protocol):
    """A kind whose model may call tools."""

    def toolbox(self) -> Toolbox | None:
        """The tools, None if this node declares none."""
        ...


@runtime_checkable
class CallsFunctions(Protocol):
    """A kind that calls functions which may set the session's state.

    Keys that their source sets (`session_state["total"] = ...`) are compared with those of nodes
    that run at the same time, as are those of its own `run` and of its tools.
    """

    def functions(self) -> Sequence[Callable[..., object]]:
        """The functions, as far as they are resolved."""
        ...


@runtime_checkable
class ReadsNodes(Protocol):
    """A kind that reads nodes by names in its declaration, without a template.

    Its class variable `given`, a tuple, lists the other names that may be used there.
    """

    def inputs(self) -> Mapping[str, bool]:
        """The ids that it reads, and whether each may be missing."""
        ...


@runtime_checkable
class MentionsNodes(Protocol):
    """A kind that names nodes which need not run before it."""

    def mentions(self) -> Mapping[KeyPath, str]:
        """The ids, by the path of the field that has each."""
        ...


@runtime_checkable
class Rehearses(Protocol):
    """A kind that touches the world outside, and so does something else in a dry run."""

    async def rehearse(self, context: Context) -> Result:
        """A result of the same type as that of `run`, without side effects."""
        ...


class RunsAgain(Protocol):
    """A kind that `Rehearses`, although its `run` only asks its model and runs its graph.

    A page that shows a recorded run calls `run` again, with answers from the records; without this
    it calls `rehearse`.
    """

    runs_again: ClassVar[bool]


@runtime_checkable
class Recovers(Protocol):
    """A kind that can still give a result after its last attempt failed."""

    def instead(self, error: Exception) -> Result | None:
        """The result to use, or None to fail."""
        ...


@runtime_checkable
class RefinesTypes(Protocol):
    """A kind whose fields say more about its output than `provides` does."""

    def gives(self) -> Mapping[str, object]:
        """`provides` with exact types: Python types, or JSON Schemas."""
        ...


@runtime_checkable
class HasConditions(Protocol):
    """A kind with Jinja expressions in fields beside `when`; they are checked like that one."""

    def expressions(self) -> Mapping[KeyPath, str]:
        """The expressions without `when`, by the path of the field that has each."""
        ...


@runtime_checkable
class NamesPython(Protocol):
    """A kind with fields that name Python objects as `package.module:name`."""

    def bound(self, resolve: Callable[[str], object]) -> Any:  # noqa: ANN401  the node
        """A copy of the node with these names resolved; `resolve` raises `DefinitionError`."""
        ...


@runtime_checkable
class AsksSometimes(Protocol):
    """A kind with a template whose nodes do not all ask a model."""

    def asks(self) -> bool:
        """Whether running this node may ask a model."""
        ...


@runtime_checkable
class ShowsMore(Protocol):
    """A kind whose template reads names as `node.NAME` that are no fields, or not as they are."""

    def shown(self) -> Mapping[str, object]:
        """The values by name."""
        ...


class Streams(Protocol):
    """A kind whose output is the text of its one `Context.ask`, so that it can be streamed."""

    streams: ClassVar[bool]


class AsksPeople(Protocol):
    """A kind that waits for a person (`Context.ask_person`)."""

    asks_person: ClassVar[bool]


class RendersField(Protocol):
    """A kind with a template in another field than `prompt`, for `Context.render`."""

    text_field: ClassVar[str | None]


class UsesTemplates(Protocol):
    """A kind that asks with more than one template, or gives its templates further names."""

    templates: ClassVar[tuple[str, ...]]
    """Further template files (`Context.ask(NAME)`), checked like its own."""
    variables: ClassVar[Mapping[str, object]]
    """Names that it passes to `Context.ask`, with their types."""


@lru_cache(maxsize=1024)
def _implements(kind: type[Node], protocol: type) -> bool:
    """Whether a kind has the methods of a protocol; the run asks this of each node."""
    return issubclass(kind, protocol)


def branches_of(node: Node) -> Mapping[str, tuple[str, ...]]:
    """The ids that each label of a node leads to; empty if it does not route."""
    return cast("Routes", node).branches() if _implements(type(node), Routes) else {}


def takes_of(node: Node) -> tuple[int, int]:
    """The fewest and the most labels that a node chooses at once."""
    is_bounded = _implements(type(node), ChoosesSeveral)
    return cast("ChoosesSeveral", node).takes() if is_bounded else (1, 1)


def conditions_of(node: Node) -> Mapping[KeyPath, str]:
    """All Jinja expressions of a node's fields, by the path of the field."""
    found: dict[KeyPath, str] = {("when",): node.when} if node.when is not None else {}
    if _implements(type(node), HasConditions):
        found |= cast("HasConditions", node).expressions()
    if (source := items_of(node)) is not None:
        found[source.path] = source.expression
    return found | dict(ends_of(node))


def ends_of(node: Node) -> Mapping[KeyPath, str]:
    """The expressions that a node evaluates after each round, by the path of the field."""
    return cast("RunsRounds", node).ends() if runs_rounds(node) else {}


def runs_rounds(node: Node) -> bool:
    """Whether a node runs its graph in rounds."""
    return _implements(type(node), RunsRounds)


def items_of(node: Node) -> ItemSource | None:
    """What gives the items for each of which a node runs its graph; None if there are none."""
    return cast("RunsItems", node).items() if _implements(type(node), RunsItems) else None


def visited_field(node: Node) -> str | None:
    """The field with the nodes that a node visits one at a time; None if it visits none."""
    field: str | None = _of_kind(type(node), "nodes_field")
    return field


def handovers_of(node: Node) -> tuple[str, ...]:
    """The ids of the nodes that a node may hand over to."""
    can_name = "hands_to" in type(node).model_fields
    return tuple(cast("Any", node).hands_to) if can_name else ()


def path_inside(node: Node, path: KeyPath) -> KeyPath:
    """Where in a node's declaration the graph inside it has what it has at `path` itself."""
    if (field := visited_field(node)) is None:
        return ("graph", *path)
    return (field, *path[1:]) if path[:1] == ("nodes",) else (field,)


def call_conditions_of(node: Node) -> Mapping[KeyPath, CallCondition]:
    """The expressions that say which tool calls of a node a person confirms, by their paths."""
    toolbox = tools_of(node)
    return toolbox.conditions if toolbox is not None else {}


def expressions_of(node: Node) -> Mapping[KeyPath, str]:
    """All expressions of a node: its conditions, and those under which tools are confirmed."""
    calls = call_conditions_of(node)
    return {**conditions_of(node), **{path: call.expression for path, call in calls.items()}}


def provided_by(node: Node) -> Mapping[str, object]:
    """The names that templates can read of a node, with their types."""
    is_exact = _implements(type(node), RefinesTypes)
    return cast("RefinesTypes", node).gives() if is_exact else node.provides


def nodes_read_by(node: Node) -> Mapping[str, bool]:
    """The ids that a node reads by name without a template, and whether each may be missing."""
    return cast("ReadsNodes", node).inputs() if _implements(type(node), ReadsNodes) else {}


def other_inputs(node: Node) -> tuple[str, ...]:
    """The names that a node may read in place of a node's id."""
    names: tuple[str, ...] = _of_kind(type(node), "given", ())
    return names


def nodes_mentioned_by(node: Node) -> Mapping[KeyPath, str]:
    """The ids of nodes that a node names but does not wait for, by the path of the field."""
    return cast("MentionsNodes", node).mentions() if _implements(type(node), MentionsNodes) else {}


def tools_of(node: Node) -> Toolbox | None:
    """The tools that a node's model may call, None if there are none."""
    return cast("HasTools", node).toolbox() if _implements(type(node), HasTools) else None


def functions_of(node: Node) -> Iterator[Callable[..., object]]:
    """The functions that a node calls: its kind's `run`, those of its tools, and its own."""
    yield type(node).run
    if (toolbox := tools_of(node)) is not None:
        yield from (tool.function for tool in toolbox.tools.values())
    if _implements(type(node), CallsFunctions):
        yield from cast("CallsFunctions", node).functions()


def graph_in(node: Node) -> object | None:
    """The `Graph` that a node runs, None if it runs none."""
    return cast("HoldsGraph", node).within() if _implements(type(node), HoldsGraph) else None


def nodes_inside(node: Node) -> Mapping[str, Node]:
    """The nodes of the graph that a node runs, by id."""
    nodes: Mapping[str, Node] = getattr(graph_in(node), "nodes", {})
    return nodes


def asks_model(node: Node) -> bool:
    """Whether running the node may ask a model, if it has a template."""
    return not _implements(type(node), AsksSometimes) or cast("AsksSometimes", node).asks()


def asks_in_form(node: Node) -> bool:
    """Whether a program reads what the model of the node answers, if it has a template.

    It does if the node declares `returns`, or if the `run` of its kind calls `Context.choose` or
    `Context.ask_for` itself.
    """
    code: object = getattr(type(node).run, "__code__", None)
    called = code.co_names if isinstance(code, CodeType) else ()
    return asks_model(node) and (node.returns is not None or not _ASKING.isdisjoint(called))


def feedback_templates(node: Node) -> tuple[str, ...]:
    """The engine's own templates for the node's model: repairs, tool for the answer, outcomes."""
    in_form = (REPAIR, ANSWER_TOOL) if asks_in_form(node) else ()
    return (*in_form, TOOL) if tools_of(node) is not None else in_form


def asks_person(node: Node) -> bool:
    """Whether running the node may wait for a person: by itself, or to confirm a tool call."""
    toolbox = tools_of(node)
    has_confirmed = toolbox is not None and any(
        tool.options.confirm for tool in toolbox.tools.values()
    )
    return bool(getattr(type(node), "asks_person", False)) or has_confirmed


def template_fields(node: Node) -> Mapping[str, object]:
    """What the node's template reads as `node.NAME` beside its fields."""
    return cast("ShowsMore", node).shown() if _implements(type(node), ShowsMore) else {}


def result_after(error: Exception, node: Node) -> Result | None:
    """What a node gives although its last attempt failed, None if it failed for good."""
    return cast("Recovers", node).instead(error) if _implements(type(node), Recovers) else None


def recalls(node: Node) -> bool:
    """Whether the record of a node has less than its output."""
    return _implements(type(node), Recalls)


async def recalled(node: Node, context: Context, stored: JSON) -> object:
    """The output of a node as templates read it, from what its record has."""
    if not recalls(node):
        return stored
    return await cast("Recalls", node).recall(context, stored)


async def rehearsed(node: Node, context: Context) -> Result:
    """What a node gives in a dry run."""
    if not _implements(type(node), Rehearses):
        return await node.run(context)
    return await cast("Rehearses", node).rehearse(context)


async def run_again(node: Node, context: Context) -> Result:
    """What a node gives when its recorded run is shown: nothing outside is touched.

    A class that changes what its base class does has to say again that it `RunsAgain`.
    """
    about = {"run", "rehearse", "runs_again"}
    changed = next(each for each in type(node).__mro__ if about & each.__dict__.keys())
    if "runs_again" in changed.__dict__:
        return await node.run(context)
    return await rehearsed(node, context)


def summarizes(node: Node) -> bool:
    """Whether a node writes the session's summary."""
    return _implements(type(node), Summarizes)


def summary_again(node: Node, output: JSON, fields: Mapping[str, JSON]) -> Summary | None:
    """The summary that a node wrote in an earlier attempt, from its record; None if none."""
    return cast("Summarizes", node).summarized(output, fields) if summarizes(node) else None


def loads_history(node: Node) -> bool:
    """Whether the template name `history` can mean a node."""
    return bool(_of_kind(type(node), "loads_history"))


def readers_of_turns(nodes: Mapping[str, Node]) -> list[str]:
    """The ids of the nodes that read earlier turns of the session: loaders, and those with tools.

    A node inside a graph has the path of ids that leads to it.
    """
    found: list[str] = []
    for node_id, node in nodes.items():
        toolbox = tools_of(node)
        has_reader = toolbox is not None and any(name in toolbox.tools for name in _READ_TURNS)
        found += [node_id] if loads_history(node) or has_reader else []
        inside = readers_of_turns(nodes_inside(node))
        found += [f"{node_id}/{inner}" for inner in inside]
    return found


_READ_TURNS = ("read_chat_history", "read_tool_call_history")
"""The session tools that read earlier turns of the session."""


def runs_last(node: Node) -> bool:
    """Whether a node waits until the answer is known."""
    return bool(_of_kind(type(node), "comes_last"))


def can_stream(node: Node) -> bool:
    """Whether a node's output can be streamed as its model writes it."""
    return bool(_of_kind(type(node), "streams"))


def further_templates(node: Node) -> tuple[str, ...]:
    """The template files that a node asks with beside its own."""
    names: tuple[str, ...] = _of_kind(type(node), "templates", ())
    return names


def variables_of(node: Node, template: str) -> Mapping[str, object]:
    """The names that a kind, or the engine, gives to this template, with their types."""
    variables: Mapping[str, object] = _of_kind(type(node), "variables") or {}
    return {**variables, **FEEDBACK[template]} if template in FEEDBACK else variables


def template_field(node: Node) -> str:
    """The field that a node's template is written in: `prompt`, or its `text_field`."""
    own: str | None = _of_kind(type(node), "text_field")
    has_own = own is not None and node.prompt is None and isinstance(getattr(node, own), str)
    return own if own is not None and has_own else "prompt"


@cache
def _of_kind(kind: type[Node], name: str, default: object = None) -> Any:  # noqa: ANN401  by name
    """A class variable of a kind; looking for one that it lacks takes pydantic 1 µs."""
    return getattr(kind, name, default)
