"""A graph: its declaration, validated as a whole, with its plan, prompts and shapes.

A `Graph` that exists is valid. The same class is made from YAML (`Graph.load`) and in Python, and
`Graph.load(path) == graph` after `graph.dump(path)`. Rendering needs `engine.run`, a layer above;
that is imported at the first call, so that declaring and running graphs does not wait for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Never, Self, TypeVar, cast

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, SerializeAsAny, ValidationError
from pydantic.json_schema import SkipJsonSchema

from ..errors import DefinitionError, InputError, Problem, closest, in_reading_order, listed
from ..messages import JSON, HistoryItem, Part
from ..models.samples import placeholder
from ..node_path import NodePath
from ..prompts.library import Expression, Prompts
from ..prompts.sources import SUFFIXES, meant_template, template_names
from ..prompts.static.types import StaticType
from ..returns.shape import Shape, shape
from ..tools.toolbox import LOCK, GraphTool, MCPServer
from ..unknown_names import explained, missing_attribute
from ..validation import Declared, as_tuple, by_name_only, check_integers, problems_of
from ..values import check_mapping
from .fields import Ids, JSONMapping, ModelField, Number, OnError, Retry, Seconds, Timeout
from .kinds import InvalidNode, NodeReader, depth_problem, in_node, written_node
from .node import (
    HoldsGraph,
    Node,
    asks_person,
    ends_of,
    feedback_templates,
    further_templates,
    graph_in,
    path_inside,
    template_field,
    visited_field,
)
from .plan import Edge, Plan
from .rules import UNUSED, apply_rules, model_problems, unlike_ids
from .template_types import TemplateTypes, check_templates
from .yaml.reader import Document, read_yaml

if TYPE_CHECKING:
    from ..run.dry_run.rendering import Rendering

SCHEMA_FILE = ".schema/graph.v1.json"
"""Where a project keeps the JSON Schema of its graph files, for editors."""
ONLY_INSIDE = "G109"
"""Code of the warning that a graph reads what only a graph around it can give."""
MESSAGE = placeholder("message")
"""The message of a dry run if the caller gives none."""


class Budget(Declared):
    """Limits of what may be spent; a model call is refused once one of them is reached.

    The run fails then. What was paid for is kept and not asked again when the run is resumed, which
    may raise a limit. `calls` is never exceeded by one run; what a call uses of the others is known
    only after it. A call that brought no reply does not count. The limits are of one run, or of all
    runs of its session, or of all that its user began on this day (UTC).
    """

    per: Literal["run", "session", "day"] = Field(
        default="run",
        description="What the limits are of: one run, a session, or a user's day (UTC).",
        examples=["session"],
    )
    tokens: int | None = Field(
        default=None,
        gt=0,
        strict=True,
        description="Tokens in and out, all nodes.",
        examples=[50_000],
    )
    usd: Number | None = Field(
        default=None,
        gt=0,
        strict=True,
        description="US dollars, where costs are known.",
        examples=[0.5],
    )
    calls: int | None = Field(
        default=None, gt=0, strict=True, description="Model calls.", examples=[20]
    )


def budgets(declared: Budget | Sequence[Budget] | None) -> tuple[Budget, ...]:
    """The limits that a graph or a caller declares, as a list."""
    if isinstance(declared, Budget):
        return (declared,)
    return tuple(declared or ())


class Nodes(dict[str, Node]):
    """The nodes of a graph by id: a mapping that cannot be changed, as the graph was checked."""

    def _refuse(self, *_: object, **__: object) -> Never:
        raise TypeError(
            "a graph is immutable; make another one: Graph(name=..., nodes={**graph.nodes, ...})"
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Node]]]:
        """Copied and pickled as it is made."""
        return type(self), (dict(self),)


class Declaration(Declared):
    """The fields of a graph as pydantic validates them, each by itself; rules come later."""

    version: Literal[1] = Field(
        default=1, description="The version of this file format.", examples=[1]
    )
    name: str = Field(min_length=1, description="What the team is called.", examples=["polyglot"])
    description: str = Field(
        default="",
        description="What the team is for, in a sentence.",
        examples=["Answers each question in the language it was asked in."],
    )
    model: ModelField = Field(
        default=None, description="The model of every node.", examples=["openai/gpt-5-mini"]
    )
    retry: Annotated[int, Field(ge=0, strict=True)] | Retry | None = Field(
        default=None, description="Attempts of a node after a failed one.", examples=[2]
    )
    timeout: Seconds | Timeout | None = Field(
        default=None,
        description="Seconds that an attempt of a node may take (default: 600).",
        examples=[60],
    )
    on_error: OnError | None = Field(
        default=None,
        description="What happens when all attempts of a node failed: `fail` (default), `skip`, "
        "or a value is used.",
        examples=["skip"],
    )
    max_parallel: int | None = Field(
        default=None,
        gt=0,
        strict=True,
        description="Nodes that may run at the same time; no limit if left out.",
        examples=[4],
    )
    budget: Budget | Annotated[Sequence[Budget], AfterValidator(as_tuple)] | None = Field(
        default=None,
        description="What may be spent: the limits of a run, or a list of limits.",
        examples=[{"tokens": 50_000}, [{"per": "session", "usd": 1}, {"calls": 40}]],
    )
    state: JSONMapping = Field(
        default_factory=dict[str, JSON],
        description="Defaults of `session.state`.",
        examples=[{"visits": 0}],
    )
    mcp: Mapping[str, MCPServer] = Field(
        default_factory=dict[str, MCPServer],
        description="Servers of tools (Model Context Protocol) by name; their tools are "
        "`name.tool`, or `name.*`. The caller must allow each (`--allow-mcp`).",
        examples=[{"files": {"command": ["mcp-files", "--read-only"]}}],
    )
    nodes: Annotated[Mapping[str, SerializeAsAny[Node]], AfterValidator(Nodes)] = Field(
        min_length=1,
        description="The nodes by their ids.",
        examples=[{"writer": {"role": "You write short texts"}}],
    )
    output: Ids = Field(
        default=(),
        description="The run's answer: the first of these that was not skipped.",
        examples=[["english", "french"]],
    )

    @classmethod
    def key_advice(cls) -> Mapping[str, str]:
        """Keys of graphs, crews and flows in other frameworks."""
        from .other_keys import GRAPH_KEYS  # noqa: PLC0415  read only where a key is wrong

        return GRAPH_KEYS


class GraphParts(Struct, frozen=True):
    """What is derived from a valid declaration.

    `alone` are errors unless the graph runs inside another that gives the names which it reads.
    `folder` is where the file lies that the graph, or the one around it, was read from.
    """

    plan: Plan
    prompts: Prompts
    templates: Mapping[str, str]
    shapes: Mapping[str, Shape]
    answering: tuple[str, ...]
    warnings: tuple[Problem, ...]
    document: Document | None
    depth: int
    types: TemplateTypes
    alone: tuple[Problem, ...]
    always: frozenset[str]
    reads_given: bool
    only_node: str | None
    folder: Path | None = None
    is_visited: bool = False


class Graph(Declaration):
    """A team of nodes: declared, validated, ready to be rendered and run.

    Making one raises `DefinitionError` with every problem at once. `prompt_dirs` are folders to
    look for templates in, after `prompts/` beside the graph file and before the built-in ones;
    they depend on the machine and are not written to files. Neither is `mcp_lock`, the file with
    the tools of MCP servers (default: `mcp_lock.json` in the current folder, or beside the graph
    file).
    """

    prompt_dirs: SkipJsonSchema[Sequence[str | os.PathLike[str]]] = Field(default=(), exclude=True)
    mcp_lock: SkipJsonSchema[str | os.PathLike[str] | None] = Field(default=None, exclude=True)

    _parts: GraphParts = PrivateAttr()

    # Type checkers make the signature from the fields, and would take every attribute for one.
    if not TYPE_CHECKING:  # pragma: no branch

        def __getattr__(self, name: str) -> object:
            try:
                return super().__getattr__(name)  # pydantic's, which finds private attributes
            except AttributeError:
                raise missing_attribute(
                    type(self), name, _ALTERNATIVES, type(self).model_fields
                ) from None

        def __init__(self, /, *others: Never, **data: Any) -> None:  # noqa: ANN401
            if others:
                raise DefinitionError([by_name_only(type(self))])
            check_integers(data)
            self._parts = _GraphBuilder(data, NodeReader()).build(self)

    @classmethod
    def from_parts(cls, parts: GraphParts, fields: Mapping[str, Any]) -> Graph:
        """A graph with these fields that was checked before; it is not checked again."""
        graph: Graph = cls.model_construct(**fields)
        graph._parts = parts
        return graph

    @classmethod
    @explained
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        kinds: Mapping[str, type[Node]] | None = None,
        prompt_dirs: Sequence[str | os.PathLike[str]] = (),
        allow: Collection[str] = (),
        allow_mcp: Collection[str] = (),
    ) -> Self:
        """Read a graph from a YAML file.

        `kinds` are kinds beside the installed ones, by name; `allow` names the packages whose
        functions and classes the file may use, and `allow_mcp` the MCP servers in it that may be
        started, or sent to. Raises `DefinitionError`.
        """
        _check_path("load", path)
        check_mapping("kinds", {} if kinds is None else kinds, "names to kinds")
        _check_list("prompt_dirs", prompt_dirs)
        _check_list("allow", allow)
        _check_list("allow_mcp", allow_mcp)
        reader = NodeReader(kinds, allow, (Path(path).resolve(),), allow_mcp=allow_mcp)
        return _load(cls, path, reader, prompt_dirs)

    @explained
    def with_prompt(self, path: str, text: str) -> Graph:
        """The same graph with the template `text` for the node of this path, checked as ever.

        Raises `InputError` if there is no such node, or it has no template, and `DefinitionError`
        with what is wrong with the text.
        """
        node_id, _, rest = NodePath(path).declared.partition("/")
        node = self.nodes.get(node_id)
        if node is None:
            near = closest(node_id, self.nodes)
            hint = f"did you mean {near!r}?" if near else f"it has {listed(self.nodes)}"
            raise InputError(f"graph {self.name!r} has no node {node_id!r}; {hint}")
        inner = graph_in(node)
        if rest and isinstance(inner, Graph):
            changed = _with_graph(node, inner.with_prompt(rest, text))
        elif rest or node_id not in self.templates:
            wrong = f"node {path!r} has no template" if not rest else f"there is no node {path!r}"
            raise InputError(f"{wrong}; name a node that asks a model")
        else:
            inline = text if any(mark in text for mark in _TEMPLATE_MARKS) else f"{text}\n"
            changed = node.model_copy(update={template_field(node): inline})
        data: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        data["nodes"] = {**self.nodes, node_id: changed}
        builder = _GraphBuilder(data, NodeReader(), None, self._parts.folder)
        builder.only_node, builder.is_visited = self._parts.only_node, self._parts.is_visited
        return _built(type(self), builder)

    @explained
    def dump(self, path: str | os.PathLike[str]) -> None:
        """Write the graph as YAML; an existing file keeps its comments and its order of keys.

        The first line names the JSON Schema for editors, if the folder or one above has it as
        `.schema/graph.v1.json` (`teamgraph schema -o .schema/graph.v1.json` writes it).
        """
        _check_path("dump", path)
        from .yaml.writer import write_yaml  # noqa: PLC0415  loading a graph writes nothing

        write_yaml(self.written(), path, header=_modeline(Path(path)), order=graph_in_order)

    def written(self) -> dict[str, JSON]:
        """The graph as a file has it: no defaults, keys in the order of the file it was read from.

        A graph made in Python has `version` first, and `kind` first in each node.
        """
        data: dict[str, JSON] = self.model_dump(
            mode="json", exclude_defaults=True, exclude={"nodes", "output"}
        )
        nodes: dict[str, JSON] = {}
        for node_id, node in self.nodes.items():
            try:
                nodes[node_id] = written_node(node)
            except DefinitionError as error:
                raise DefinitionError(
                    [in_node(("nodes", node_id), problem) for problem in error.problems]
                ) from error
        output: dict[str, JSON] = {}
        if self.output:
            output["output"] = self.output[0] if len(self.output) == 1 else list(self.output)
        data = {"version": self.version, **data, "nodes": nodes, **output}
        document = self._parts.document
        return graph_in_order(data, document.data) if document else data

    @explained
    def render(  # noqa: PLR0913  independent options, by keyword
        self,
        message: str = MESSAGE,
        *,
        assume: Mapping[str, object] | None = None,
        history: Sequence[HistoryItem] = (),
        state: Mapping[str, JSON] | None = None,
        session: Mapping[str, JSON] | None = None,
        user_id: str | None = None,
        system: str | None = None,
        attachments: Sequence[str | Part] = (),
    ) -> Rendering:
        """Render every prompt of a run, by node id, exactly as it would be sent; no model is asked.

        `assume` gives outcomes by node id: a router's label, any other node's output; for the rest
        a text such as `«node»` is used. `history` are the turns before, the oldest first, as
        `{input, answer}` or as messages; `session` may have `id`, `summary`, `turns` and
        `node_states`; `system` is what templates read as `input.system`. `attachments` are
        names of files, which are not read. Clock and ids are fixed,
        so the same call gives the same text in every process. Raises `InputError`, or the
        `RunError` that ends the run.
        """
        dry_run = import_module("..run.dry_run.rehearsal", __package__)
        scene = _scene(
            dry_run, message, assume, history, state, session, user_id, system, attachments
        )
        return cast("Rendering", dry_run.render(self, scene))

    @explained
    def render_all(  # noqa: PLR0913  independent options, by keyword
        self,
        message: str = MESSAGE,
        *,
        assume: Mapping[str, object] | None = None,
        history: Sequence[HistoryItem] = (),
        state: Mapping[str, JSON] | None = None,
        session: Mapping[str, JSON] | None = None,
        user_id: str | None = None,
        system: str | None = None,
        attachments: Sequence[str | Part] = (),
    ) -> list[Rendering]:
        """Like `render`, once for each combination of routes; `InputError` if too many."""
        dry_run = import_module("..run.dry_run.rehearsal", __package__)
        scene = _scene(
            dry_run, message, assume, history, state, session, user_id, system, attachments
        )
        return cast("list[Rendering]", dry_run.render_all(self, scene))

    def __eq__(self, other: object) -> bool:
        """Graphs are equal if their fields are, wherever their files and templates lie."""
        if not isinstance(other, Graph):
            return NotImplemented
        names = [name for name in Declaration.model_fields if name != "nodes"]
        return all(getattr(self, name) == getattr(other, name) for name in names) and list(
            self.nodes.items()
        ) == list(other.nodes.items())

    __hash__ = None  # type: ignore[assignment]  # it has mappings

    def __repr__(self) -> str:
        count = len(self.nodes)
        return f"Graph({self.name!r}, {count} node{'s' * (count != 1)})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """The drawing, for notebooks."""
        return str(import_module("..view.notebook", __package__).graph_html(self))

    @cached_property
    def plan(self) -> Plan:
        """The topological order of the nodes, and the edges."""
        return self._parts.plan

    @cached_property
    def prompts(self) -> Prompts:
        """The templates that the graph can reach."""
        return self._parts.prompts

    @cached_property
    def templates(self) -> Mapping[str, str]:
        """The name of each node's template, for the nodes that have one."""
        return self._parts.templates

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The types of the answers of nodes that declare `returns`."""
        return self._parts.shapes

    @cached_property
    def answering(self) -> tuple[str, ...]:
        """The nodes that may answer, the preferred one first."""
        return self._parts.answering

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Warnings and notes: the graph is valid, but something was probably not meant."""
        return self._parts.warnings

    @cached_property
    def unknown_models(self) -> tuple[Problem, ...]:
        """Warnings of models that only a `Model` passed to a runner can be, for its files."""
        found = unlike_ids(self.model, self.nodes)
        return tuple(replace(locate(each, self._parts.document), graph=self.name) for each in found)

    @cached_property
    def answer_type(self) -> StaticType:
        """The static type of its answer."""
        return self._parts.types.answer(self.answering)

    @property
    def node_types(self) -> Mapping[str, StaticType]:
        """The static types of its nodes, as templates read them by id."""
        return self._parts.types.outcomes

    @property
    def always_running(self) -> frozenset[str]:
        """The nodes that run in every run that does not fail."""
        return self._parts.always

    @cached_property
    def reads_system(self) -> bool:
        """Whether its prompts read `input.system`, also in graphs inside it."""
        return self._reads_input("system")

    @cached_property
    def reads_attachments(self) -> bool:
        """Whether its prompts read `input.attachments`, also in graphs inside it."""
        return self._reads_input("attachments")

    def _reads_input(self, field: str) -> bool:
        inner = (graph_in(node) for node in self.nodes.values())
        return self._parts.types.reads_input(field) or any(
            isinstance(graph, Graph) and graph._reads_input(field) for graph in inner
        )

    @property
    def reads_given(self) -> bool:
        """Whether its templates read names that only a graph around it can give."""
        return self._parts.reads_given

    def problems_given(self, given: Mapping[str, StaticType]) -> list[Problem]:
        """The further errors of a graph inside another one that gives it names of these types."""
        if not self.reads_given:
            return []
        found = check_templates(self._parts.types.within(given))
        errors = (each for each in found if each.severity == "error")
        located = (locate(each, self._parts.document) for each in errors)
        return [_without_graph(each, self._parts.only_node) for each in located]

    def check_alone(self) -> None:
        """Raise `DefinitionError` if the graph can only run inside of another one."""
        if self._parts.alone:
            raise DefinitionError(self._parts.alone)

    def expression(self, source: str) -> Expression:
        """A condition of one of its nodes, parsed once."""
        return self.prompts.expression(source)

    @property
    def file(self) -> str | None:
        """The file that the graph was read from, as messages show it; None if it was none."""
        return self._parts.document.file if self._parts.document else None

    def place(self, edge: Edge) -> str:
        """Where an edge is written: `file:line:column`, or the keys in a graph made in Python."""
        return edge_origin(edge, self._parts.document)


def _check_path(called: str, path: object) -> None:
    if not isinstance(path, str | os.PathLike):
        text = f"Graph.{called}() takes the path of a graph file, not a {type(path).__name__}"
        text += "; make a graph of a mapping with Graph(**mapping)" * isinstance(path, Mapping)
        raise InputError(text)


def _check_list(name: str, value: object) -> None:
    """Refuse a text, whose characters would count as the items."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InputError(f"{name} is a {type(value).__name__}; give a list: {name}=[...]")


_RUN = "a graph is run by a Runner: Runner(graph).run('...')"
_STREAM = "a graph is run by a Runner: Runner(graph).stream('...') yields events"
_NODES = "a graph is immutable; pass all nodes to Graph(name=..., nodes={...})"
_ALTERNATIVES = {
    **dict.fromkeys(("run", "invoke", "kickoff", "execute", "print_response"), _RUN),
    **dict.fromkeys(("arun", "ainvoke", "kickoff_async"), _RUN.replace(".run", ".arun")),
    **dict.fromkeys(("stream", "astream"), _STREAM),
    **dict.fromkeys(("add_node", "add_edge", "add_conditional_edges"), _NODES),
    "compile": "a graph is checked when it is made; pass it to a Runner: Runner(graph)",
    "get_graph": "`teamgraph draw` draws it; a notebook shows it",
    "get_state": "use Runner(graph, store=...).session(session_id)",
}
"""Methods of graphs, crews and teams elsewhere, and what takes their place."""


def _modeline(file: Path) -> str:
    """The comment by which editors find the schema of a graph file; empty if there is none."""
    folder = file.absolute().parent
    schemas = (each / SCHEMA_FILE for each in (folder, *folder.parents))
    found = next((schema for schema in schemas if schema.is_file()), None)
    if found is None:
        return ""
    return f"# yaml-language-server: $schema={Path(os.path.relpath(found, folder)).as_posix()}\n"


def graph_in_order(data: Mapping[str, JSON], old: Mapping[str, JSON]) -> dict[str, JSON]:
    """The data of a graph with the keys of the graph, its nodes and models as `old` has them.

    The order of nodes, routes, `returns` and other mappings that users fill has a meaning, or is
    theirs, and stays.
    """
    ordered = fields_in_order(data, old)
    nodes, old_nodes = data.get("nodes"), old.get("nodes")
    if isinstance(nodes, Mapping) and isinstance(old_nodes, Mapping):
        ordered["nodes"] = {
            node_id: _node_in_order(node, old_nodes.get(node_id)) for node_id, node in nodes.items()
        }
    return ordered


def _node_in_order(node: JSON, old: JSON) -> JSON:
    if not isinstance(node, Mapping) or not isinstance(old, Mapping):
        return node
    ordered = fields_in_order(node, old)
    graph, old_graph = node.get("graph"), old.get("graph")
    if isinstance(graph, Mapping) and isinstance(old_graph, Mapping):
        in_order = graph_in_order if "nodes" in graph else _node_in_order
        ordered["graph"] = in_order(graph, old_graph)
    return ordered


def fields_in_order(data: Mapping[str, JSON], old: Mapping[str, JSON]) -> dict[str, JSON]:
    """The data in the order of `old`; a new key comes after the one that it follows in `data`."""
    keys = [key for key in old if key in data]
    before: str | None = None
    for key in data:
        if key not in old:
            keys.insert(keys.index(before) + 1 if before is not None else 0, key)
        before = key
    settings = {key: value for key in _SETTINGS if isinstance(value := data.get(key), Mapping)}
    for key, value in settings.items():
        if isinstance(old_value := old.get(key), Mapping):
            settings[key] = fields_in_order(value, old_value)
    return {key: settings.get(key, data[key]) for key in keys}


_TEMPLATE_MARKS = ("\n", "{{", "{%")
"""What a template has, and the name of a file has not."""
_SETTINGS = ("model", "retry", "timeout", "budget")


def edge_origin(edge: Edge, document: Document | None) -> str:
    """Where an edge is written: `file:line:column`, or its keys where there is no file."""
    problem = Problem("", "", file=edge.file, line=edge.line, column=edge.column, path=edge.path)
    found = locate(replace(problem, on_key=edge.target in edge.labels[:1]), document)
    return str(found).removesuffix(": ")


def locate(problem: Problem, document: Document | None) -> Problem:
    """The problem with its place in the graph file, if it has none yet and there is a file."""
    if problem.file is not None or document is None:
        return problem
    if problem.line is not None and problem.column is not None:
        place = document.inside(problem.path, problem.line, problem.column)
    elif problem.on_key:
        place = document.key(problem.path)
    else:
        place = document.value(problem.path)
    return replace(problem, file=document.file, line=place.line, column=place.column)


def _scene(dry_run: Any, message: str, *options: object) -> object:  # noqa: ANN401  a module
    names = ("assume", "history", "state", "session", "user_id", "system", "attachments")
    given = {name: value for name, value in zip(names, options, strict=True) if value is not None}
    return dry_run.Scene(message, **given)


GraphT = TypeVar("GraphT", bound="Graph")


def _load(
    cls: type[GraphT], path: str | os.PathLike[str], reader: NodeReader, prompt_dirs: object
) -> GraphT:
    """The graph in a file; `reader` knows of the graphs around this one."""
    document = read_yaml(path)
    data: dict[str, Any] = dict(document.data)
    for key in ("prompt_dirs", "mcp_lock"):
        if data.pop(key, None) is not None:
            text = f"unknown key {key!r}; it is given by the caller, not by the file"
            reader.problems.append(Problem("G001", text, path=(key,), on_key=True))
    data["prompt_dirs"] = prompt_dirs
    return _built(cls, _GraphBuilder(data, reader, document, Path(path).parent))


def _built(cls: type[GraphT], builder: _GraphBuilder) -> GraphT:
    graph = cls.__new__(cls)
    graph._parts = builder.build(graph)
    return graph


class _GraphBuilder(Struct):
    """Builds a graph from data, or raises all problems in reading order.

    `document` and `folder` are the file that the data was read from and where it lies; `inline`
    collects the templates that are written in place. `only_node` is the id of the one node that
    was written in place of a graph. `is_visited` says that its nodes run one at a time.
    """

    data: dict[str, Any]
    reader: NodeReader
    document: Document | None = None
    folder: Path | None = None
    inline: dict[str, str] = field(default_factory=dict[str, str])
    only_node: str | None = None
    is_visited: bool = False

    def build(self, graph: Graph) -> GraphParts:
        problems = self.reader.problems
        if isinstance(servers := self.data.get("mcp"), Mapping):
            pairs = cast("Mapping[object, object]", servers).items()
            self.reader.read_servers({str(name): each for name, each in pairs}, self._lock())
        declared = self.data.get("nodes")
        is_mapping = isinstance(declared, Mapping)
        nodes = self.reader.nodes(cast("Mapping[object, object]", declared)) if is_mapping else {}
        nodes = {node_id: self._opened(node_id, node) for node_id, node in nodes.items()}
        is_valid = self._declare(graph, nodes)
        depth = 1 + max(map(self._depth_inside, nodes, nodes.values()), default=0)
        shapes = self._shapes(nodes)
        folders = self._folders()
        templates = self._templates(nodes, set(template_names(folders)))
        problems += model_problems(graph, nodes, templates) if is_valid else ()
        prompts = Prompts(folders, inline=self.inline)
        origin = partial(edge_origin, document=self.document)
        used = [*templates.items()]
        used += [
            (node_id, each)
            for node_id, node in nodes.items()
            for each in (
                *further_templates(node),
                *self._feedback_templates(node, node_id in templates, prompts),
            )
        ]
        types = TemplateTypes(nodes, shapes, self.data, prompts, used)
        results = apply_rules(
            nodes, self._output(), prompts, origin, types, is_visited=self.is_visited
        )
        alone = [
            replace(locate(_only_inside(each), self.document), graph=self._name())
            for each in results.alone
        ]
        problems += (replace(each, code=ONLY_INSIDE, severity="warning") for each in alone)
        problems = [_with_quoting_advice(problem, self.document) for problem in problems]
        found = [locate(problem, self.document) for problem in (*problems, *results.problems)]
        found = [replace(problem, graph=self._name()) for problem in in_reading_order(found)]
        found = [_without_graph(problem, self.only_node) for problem in found]
        if results.plan is None or any(problem.severity == "error" for problem in found):
            raise DefinitionError(found)
        return GraphParts(
            plan=results.plan,
            prompts=prompts,
            templates=templates,
            shapes=shapes,
            answering=results.output,
            warnings=tuple(found),
            document=self.document,
            depth=depth,
            types=types,
            alone=tuple(alone),
            always=results.always,
            only_node=self.only_node,
            folder=self.folder,
            is_visited=self.is_visited,
            reads_given=bool(alone)
            or types.reads_round
            or any(_reads_given(node) for node in nodes.values()),
        )

    def _declare(self, graph: Graph, nodes: Mapping[str, Node]) -> bool:
        """Validate the fields of the graph, each by itself; false if one is invalid."""
        try:
            BaseModel.__init__(graph, **(self.data | ({"nodes": nodes} if nodes else {})))
        except ValidationError as error:
            self.reader.problems += problems_of(error, type(graph))
            return False
        return True

    def _opened(self, node_id: str, node: Node) -> Node:
        """The node with its inner graph read, if it has one."""
        if isinstance(node, InvalidNode) and node.unchecked is not None:
            self._read_inside(node_id, node.unchecked)
        if not issubclass(type(node), HoldsGraph):
            return node
        found: Sequence[Problem] = ()
        try:
            is_visited = visited_field(node) is not None
            read = partial(self._inner, node_id, is_visited=is_visited)
            opened: Node = cast("HoldsGraph", node).opened(read)
            inner = graph_in(opened)
            if isinstance(inner, Graph) and inner is not graph_in(node):
                own: object = getattr(opened, template_field(opened))
                named = " ".join([*ends_of(opened).values(), str(own)])
                found = [
                    replace(each, path=path_inside(node, each.path))
                    for each in inner.warnings
                    if not (each.code == UNUSED and _is_named(each.path[-1], named))
                ]
        except DefinitionError as error:
            opened, found = InvalidNode(needs=node.needs, reads=node.reads), error.problems
        self._add_problems(node_id, found)
        return opened

    def _read_inside(self, node_id: str, node: Node) -> None:
        """Collect the problems of the graph inside a node whose other fields are invalid."""

        def read(source: str | Mapping[str, Any] | Node, name: str | None = None) -> Never:
            self._inner(node_id, source, name, is_visited=visited_field(node) is not None)
            raise DefinitionError([])  # there is nothing to open it in

        try:
            cast("HoldsGraph", node).opened(read)
        except DefinitionError as error:
            self._add_problems(node_id, error.problems)

    def _add_problems(self, node_id: str, found: Iterable[Problem]) -> None:
        """Collect the problems of the graph inside a node."""
        # Whether it can run here is checked with the templates of this graph.
        self.reader.problems += [
            in_node(("nodes", node_id), each) for each in found if each.code != ONLY_INSIDE
        ]

    def _depth_inside(self, node_id: str, node: Node) -> int:
        """How many graphs are inside one another in the node; none if it has no graph."""
        inner = graph_in(node)
        depth = inner._parts.depth if isinstance(inner, Graph) else 0
        if (problem := depth_problem(depth + 1)) is not None:
            found = replace(problem, path=path_inside(node, ())[:1])
            self.reader.problems.append(in_node(("nodes", node_id), found))
        return depth

    def _inner(
        self,
        node_id: str,
        source: str | Mapping[str, Any] | Node,
        name: str | None = None,
        *,
        is_visited: bool = False,
    ) -> Graph:
        """The graph inside a node: in a file, in place, or one node with the id `name`."""
        node_id = name or node_id
        folders = self.data.get("prompt_dirs", ())
        if isinstance(source, str):
            file = (self.folder or Path()) / source
            return _load(Graph, file, self.reader.for_file(source, file), folders)
        data: dict[str, Any] = {"name": node_id}
        is_graph = isinstance(source, Mapping) and "nodes" in source
        if isinstance(source, Mapping) and is_graph:
            data |= {str(key): value for key, value in source.items()}
        else:
            data["nodes"] = {node_id: source}
        data["prompt_dirs"] = folders
        builder = _GraphBuilder(data, self.reader.for_inline(), None, self.folder)
        builder.only_node = None if is_graph else node_id
        builder.is_visited = is_visited
        return _built(Graph, builder)

    def _lock(self) -> Path:
        """The file that has the tools of MCP servers."""
        given = self.data.get("mcp_lock")
        return Path(given) if given is not None else (self.folder or Path()) / LOCK

    def _name(self) -> str | None:
        name = self.data.get("name")
        return name if isinstance(name, str) else None

    def _output(self) -> list[str]:
        output: object = self.data.get("output")
        return [text for text in _items(output) or [output] if isinstance(text, str)]

    def _folders(self) -> list[Path]:
        beside = [self.folder / "prompts"] if self.folder else []
        given = _items(self.data.get("prompt_dirs"))
        return beside + [Path(each) for each in given if isinstance(each, str | Path)]

    def _templates(self, nodes: Mapping[str, Node], files: Collection[str]) -> dict[str, str]:
        """The template of each node: named, written inline, or the file called like its kind."""
        templates: dict[str, str] = {}
        for node_id, node in nodes.items():
            text: str | None = getattr(node, template_field(node))
            if text is None:
                if node.prompts and f"{node.kind}.jinja" in files:
                    templates[node_id] = f"{node.kind}.jinja"
            elif (problem := _prompt_problem(node, text, files)) is not None:
                self.reader.problems.append(in_node(("nodes", node_id), problem))
            elif _is_inline(node, text):
                templates[node_id] = f"{node_id}.inline"
                self.inline[node_id] = text
            else:
                templates[node_id] = text
        return templates

    def _feedback_templates(
        self, node: Node, has_template: bool, prompts: Prompts
    ) -> Iterator[str]:
        """The templates of feedback to the node's model that are not the built-in ones."""
        for name in feedback_templates(node) if has_template else ():
            if not prompts.is_builtin(name):
                yield name

    def _shapes(self, nodes: Mapping[str, Node]) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        for node_id, node in nodes.items():
            if node.returns is None:
                continue
            try:
                shapes[node_id] = found = shape(node.returns, name=node_id, folder=self.folder)
                self._check_default(node_id, node, found)
            except DefinitionError as error:
                for problem in error.problems:
                    inner = replace(problem, path=("returns", *problem.path))
                    self.reader.problems.append(in_node(("nodes", node_id), inner))
        return shapes

    def _check_default(self, node_id: str, node: Node, wanted: Shape) -> None:
        """A `default` that stands for what a person answers is of the type that is declared."""
        default: object = getattr(node, "default", None)
        if default is None or not asks_person(node):
            return
        try:
            wanted.validate(default)
        except ValueError as error:
            text = f"default does not fit what it returns: {error}"
            problem = in_node(("nodes", node_id), Problem("G002", text, path=("default",)))
            self.reader.problems.append(problem)


def _is_inline(node: Node, text: str) -> bool:
    """Whether a text is a template itself and not the name of a file."""
    return node.prompt is None or any(mark in text for mark in _TEMPLATE_MARKS)


def _prompt_problem(node: Node, text: str, files: Collection[str]) -> Problem | None:
    """Why a node cannot have this `prompt`; None if it can."""
    if node.prompt is not None and not node.prompts:
        wrong = f"a {node.kind} asks no model, so it has no prompt; remove it"
        return Problem("G006", wrong, path=("prompt",), on_key=True)
    if _is_inline(node, text) or text.endswith(SUFFIXES):
        return None
    wrong = f"prompt {text!r} is neither a file (its name ends in .jinja, .jinja2 or .j2) nor a "
    wrong += "template (which has {{ ... }}, {% ... %} or several lines)"
    if " " in text:
        wrong += "; a text for the model is its `role`"
    return Problem("G006", wrong, path=("prompt",), suggestion=meant_template(text, files))


def _with_quoting_advice(problem: Problem, document: Document | None) -> Problem:
    """The problem of a value that is no text, with the reason if YAML has read it differently."""
    if document is None or "must be text, not" not in problem.message:
        return problem
    advice = document.quoting_advice(problem.path)
    return replace(problem, message=f"{problem.message}; {advice}") if advice else problem


def _only_inside(problem: Problem) -> Problem:
    text = f"{problem.message}; so this graph can only run inside of another one, in a loop or map"
    return replace(problem, message=text)


def _without_graph(problem: Problem, only_node: str | None) -> Problem:
    """A problem of a graph that is written as one node, as a problem of that node."""
    if only_node is None or problem.path[:2] != ("nodes", only_node):
        return problem
    text = problem.message.removeprefix(f"node {only_node!r}: ")
    if problem.code == "G001" and problem.path[-1] in Declaration.model_fields:
        text += "; a mapping without `nodes` is one node: give it `nodes` to make it a graph"
    return replace(problem, message=text, path=problem.path[2:])


def _is_named(node_id: str | int, text: str) -> bool:
    return re.search(rf"\b{re.escape(str(node_id))}\b", text) is not None


def _reads_given(node: Node) -> bool:
    inner = graph_in(node)
    return isinstance(inner, Graph) and inner.reads_given


def _with_graph(node: Node, inner: Graph) -> Node:
    """The node with another graph inside it, in the field that has it."""
    fields: dict[str, Any] = {name: getattr(node, name) for name in node.model_fields_set}
    if visited_field(node) is not None:
        fields[cast("str", visited_field(node))] = dict(inner.nodes)
    elif "graph" in type(node).model_fields:
        is_node = isinstance(fields["graph"], Node)
        fields["graph"] = next(iter(inner.nodes.values())) if is_node else inner
    else:  # graphs that are tools, which are nodes by the names of the tools
        fields["tools"] = [
            tool.model_copy(update={"graph": graph_in(inner.nodes[tool.name])})
            if isinstance(tool, GraphTool)
            else tool
            for tool in cast("Any", node).tools
        ]
    return type(node)(**fields)


def _items(value: object) -> Sequence[object]:
    """The items of a list or tuple from outside; none of anything else."""
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
