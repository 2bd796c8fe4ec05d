"""The registry of kinds, and the reader that makes nodes of what a graph file declares.

A package offers its kinds under the entry point group `teamgraph.nodes`; others are passed in.
Nothing is registered by importing, and a graph file can name an import path only where the caller
allowed it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from ..errors import DefinitionError, InputError, KeyPath, Problem, TeamgraphError, closest
from ..imports import load_plugin, plugins, resolve
from ..messages import JSON
from ..returns.shape import names_class
from ..tools.toolbox import SERVER, ServerTools
from ..validation import advice_of
from .node import HoldsGraph, NamesPython, Node, path_inside, tools_of

if TYPE_CHECKING:
    from ..tools.mcp import Servers

GROUP = "teamgraph.nodes"
MAX_DEPTH = 32
"""Graphs inside one another: each takes about ten frames of Python's stack, which has 1 000."""
DEFAULT = "member"


class InvalidNode(Node):
    """Placeholder for a node whose declaration is invalid, so that the rest can be checked.

    It has the edges that the node declares, as far as they can be read. `unchecked` is a node with
    a graph inside that is to be read nevertheless; none of its fields was validated.
    """

    unchecked: Any = None


def installed() -> Mapping[str, type[Node]]:
    """All kinds that installed packages offer, by name; raises `TeamgraphError`."""
    return {name: installed_kind(name) for name in offered()}


def offered() -> Mapping[str, EntryPoint]:
    """The entry points of kinds in installed packages, by name; none is imported yet.

    Raises `TeamgraphError` if two packages offer different kinds by one name.
    """
    return plugins(GROUP, "kind")


@cache
def installed_kind(name: str) -> type[Node]:
    """The kind that an installed package offers by this name.

    Raises `TeamgraphError` if it cannot be imported or is no kind, and says which.
    """
    return checked_kind(name, load_plugin(offered()[name], "kind"))


def checked_kind(name: str, kind: object) -> type[Node]:
    """The kind, if it is one and is called `name`; raises `TeamgraphError` otherwise."""
    if not (isinstance(kind, type) and issubclass(kind, Node)):
        raise TeamgraphError(f"the kind {name!r} must be a class of node, not {kind!r}")
    if kind.kind != name:
        text = f"the kind {kind.kind!r} ({kind.__qualname__}) is offered as {name!r}, and a graph "
        raise TeamgraphError(f"{text}with it could not be written; offer it as {kind.kind!r}")
    return kind


def named_kinds(references: Iterable[str], origin: str) -> dict[str, type[Node]]:
    """The kinds that a user names as `package.module:Class`, by their names.

    `origin` says in errors where they are named. Raises `InputError`.
    """
    kinds: dict[str, type[Node]] = {}
    for reference in references:
        try:
            kind = resolve(reference, [reference.partition(":")[0]])
        except DefinitionError as error:
            raise InputError(f"{origin}: {error}") from error
        if not (isinstance(kind, type) and issubclass(kind, Node)):
            text = f"{reference!r} is no kind; name a subclass of teamgraph.kinds.Node"
            raise InputError(f"{origin}: {text}")
        if kinds.setdefault(kind.kind, kind) is not kind:
            text = f"{reference!r} and another class are both of the kind {kind.kind!r}"
            raise InputError(f"{origin}: {text}; set `kind` in one of them")
    return kinds


def project_kinds(references: Iterable[str]) -> dict[str, type[Node]]:
    """The kinds that a project's settings name; raises `InputError`."""
    return named_kinds(references, "pyproject.toml: [tool.teamgraph] kinds")


class NodeReader:
    """Makes nodes from mappings, and collects the problems of those that are invalid.

    `trail` are the files that are being read, from the outermost graph to this one; `depth` is how
    many graphs are inside one another here. `allow_mcp` are the MCP servers that may be used, None
    if all may, as they are declared in Python.
    """

    def __init__(
        self,
        kinds: Mapping[str, type[Node]] | None = None,
        allow: Collection[str] = (),
        trail: tuple[Path, ...] = (),
        depth: int = 1,
        allow_mcp: Collection[str] | None = None,
    ) -> None:
        self._kinds = {name: checked_kind(name, kind) for name, kind in (kinds or {}).items()}
        self._allow = allow
        self._trail = trail
        self._depth = depth
        self._allow_mcp = allow_mcp
        self._servers: Servers | None = None
        self.problems: list[Problem] = []

    def for_file(self, source: str, file: Path) -> NodeReader:
        """A reader for the graph in another file, which this one names `source`.

        Raises `DefinitionError` if there is no such file, or if it is being read already.
        """
        place = file.resolve()
        if place in self._trail:
            text = f"the graph {source!r} contains itself; a graph can contain only others"
            raise DefinitionError([Problem("G013", text)])
        if not file.is_file():
            text = f"there is no file {source!r}; the path is relative to the file that names it"
            near = closest(file.name, (each.name for each in file.parent.glob("*.y*ml")))
            raise DefinitionError([Problem("G012", text, suggestion=near)])
        return self._inside((*self._trail, place))

    def for_inline(self) -> NodeReader:
        """A reader for a graph that is written in place, with the servers of the one around it."""
        reader = self._inside(self._trail)
        reader._servers = self._servers
        return reader

    def read_servers(self, declared: Mapping[str, object], lock: Path) -> None:
        """Take tools from the MCP servers that a graph declares, as its lock file has them."""
        from ..tools.mcp import Servers  # noqa: PLC0415  few graphs have servers

        self._servers, problems = Servers.of(declared, self._allow_mcp, lock)
        self.problems += problems

    def _inside(self, trail: tuple[Path, ...]) -> NodeReader:
        if (problem := depth_problem(self._depth + 1)) is not None:
            raise DefinitionError([problem])
        return NodeReader(self._kinds, self._allow, trail, self._depth + 1, self._allow_mcp)

    def nodes(self, declared: Mapping[object, object]) -> dict[str, Node]:
        """One node for each key; an invalid one is an `InvalidNode` and adds its problems."""
        return {str(node_id): self._node(str(node_id), data) for node_id, data in declared.items()}

    def _node(self, node_id: str, data: object) -> Node:
        path = ("nodes", node_id)
        if isinstance(data, Node):
            return self._with_servers(data, path)
        if not isinstance(data, Mapping):
            text = f"node {node_id!r} must be a mapping of keys to values, such as {{role: ...}}"
            self.problems.append(Problem("G002", text, path=path))
            return InvalidNode()
        pairs = cast("Mapping[object, object]", data)
        fields: dict[str, Any] = {str(key): value for key, value in pairs.items()}
        kind = self._kind(fields.pop("kind", DEFAULT), path)
        if kind is None:
            return _invalid(fields)
        try:
            return self._resolved(kind(**fields))
        except DefinitionError as error:
            self.problems.extend(
                in_node(path, self._of_other_kind(problem, kind)) for problem in error.problems
            )
            return _invalid(fields, _with_graph(kind, fields, error.problems))

    def _of_other_kind(self, problem: Problem, kind: type[Node]) -> Problem:
        """An unknown key of a node that other kinds have, as `runs` of a member."""
        if problem.code != "G001" or len(problem.path) != 1:
            return problem
        key = str(problem.path[0])
        others = {name: other for name, other in self._kinds.items() if key in other.model_fields}
        for name in offered():
            try:
                other = installed_kind(name)
            except TeamgraphError:  # reported where a graph uses it
                continue
            if key in other.model_fields:
                others[name] = other
        if not others:
            return problem
        text = f"unknown key {key!r}: a {kind.kind} has none; it is a key of "
        text += ", ".join(sorted(others))
        advice = advice_of(kind).get(key) if problem.suggestion is None else None
        text += f"; {advice or 'set `kind` to the one that is meant, or remove the key'}"
        return replace(problem, message=text, suggestion=None)

    def _resolved(self, node: Node) -> Node:
        """The node with the Python objects that it names as `package.module:name`."""

        def find(reference: str) -> object:
            if reference.startswith(SERVER):
                return self._server_tools(reference)
            return resolve(reference, self._allow)

        if isinstance(node.returns, str) and names_class(node.returns):
            try:
                returns = find(node.returns)
            except DefinitionError as error:
                at_value = [replace(each, path=("returns",)) for each in error.problems]
                raise DefinitionError(at_value) from error
            node = node.model_copy(update={"returns": returns})
        return (
            cast("NamesPython", node).bound(find) if issubclass(type(node), NamesPython) else node
        )

    def _with_servers(self, node: Node, path: KeyPath) -> Node:
        """A node made in Python with the tools of servers that it names; functions are objects."""

        def find(reference: str) -> object:
            return self._server_tools(reference) if reference.startswith(SERVER) else reference

        toolbox = tools_of(node)
        if toolbox is None or all(":" in each for each in toolbox.missing):
            return node
        try:
            return cast("Node", cast("NamesPython", node).bound(find))
        except DefinitionError as error:
            self.problems.extend(in_node(path, problem) for problem in error.problems)
            return node

    def _server_tools(self, reference: str) -> ServerTools:
        named = reference.removeprefix(SERVER)
        if self._servers is None:
            from ..tools.mcp import no_servers  # noqa: PLC0415  few graphs have servers

            raise no_servers(named)
        return self._servers.find(named)

    def _kind(self, name: object, path: KeyPath) -> type[Node] | None:
        known = (*self._kinds, *offered())
        if isinstance(name, str) and name in known:
            return self._kinds.get(name) or installed_kind(name)
        text = f"node {path[-1]!r}: unknown kind {name!r}"
        from .other_keys import KINDS  # noqa: PLC0415  read only where a kind is wrong

        near = KINDS.get(str(name)) or closest(str(name), known)
        if near is None:
            text += f"; known kinds: {', '.join(sorted(known))}; one of your own is named by "
            text += "`--kind package.module:Class`, or by `kinds` in [tool.teamgraph]"
        self.problems.append(Problem("G005", text, path=(*path, "kind"), suggestion=near))
        return None


def written_node(node: Node) -> dict[str, JSON]:
    """A node as a graph file has it, with its kind unless that is the default."""
    kind: dict[str, JSON] = {} if node.kind == DEFAULT else {"kind": node.kind}
    return {**kind, **node.written()}


def depth_problem(depth: int) -> Problem | None:
    """Why no run could go that deep into graphs inside graphs; None if one can."""
    if depth <= MAX_DEPTH:
        return None
    text = f"more than {MAX_DEPTH} graphs are inside one another; join some of them into one"
    return Problem("G017", text)


def _invalid(fields: Mapping[str, object], unchecked: Node | None = None) -> InvalidNode:
    edges: dict[str, list[str]] = {}
    for key in ("needs", "reads"):
        named = fields.get(key)
        ids = cast("Sequence[object]", named) if isinstance(named, list | tuple) else [named]
        edges[key] = [node_id for node_id in ids if isinstance(node_id, str)]
    return InvalidNode(needs=edges["needs"], reads=edges["reads"], unchecked=unchecked)


def _with_graph(
    kind: type[Node], fields: Mapping[str, Any], problems: Sequence[Problem]
) -> Node | None:
    """An invalid node to read the graph inside it, None unless the field that has it is valid."""
    if not issubclass(kind, HoldsGraph):
        return None
    node: Node = kind.model_construct(**fields)
    field = path_inside(node, ())[0]
    if any(problem.path[:1] == (field,) for problem in problems):
        return None
    return node if isinstance(fields.get(str(field)), str | Mapping | Node) else None


def in_node(path: KeyPath, problem: Problem) -> Problem:
    """A problem inside a node as one of the graph; `path` leads to the node."""
    message = f"node {path[-1]!r}: {problem.message}"
    return replace(problem, message=message, path=(*path, *problem.path))
