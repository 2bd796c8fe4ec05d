"""The kinds of nodes that a graph file may name: installed ones and those passed in.

A package offers its kinds under the entry point group `teamgraph.nodes`. Nothing is registered by
importing, and a graph file never names an import path where the caller did not allow it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points

from .errors import DefinitionError, Path, Problem, TeamgraphError, closest
from .imports import resolve
from .node import Node

GROUP = "teamgraph.nodes"
DEFAULT = "member"


class Broken(Node):
    """Stands for a node whose declaration does not hold, so that the rest can be checked."""


@cache
def installed() -> Mapping[str, type[Node]]:
    """The kinds that installed packages offer, by name.

    Raises `TeamgraphError` if one cannot be imported or is no kind, and says which.
    """
    kinds: dict[str, type[Node]] = {}
    for point in entry_points(group=GROUP):
        try:
            kind = point.load()
        except (ImportError, AttributeError) as error:
            raise TeamgraphError(
                f"the kind {point.name!r} ({point.value}) cannot be imported: {error}; if another "
                f"package of the name {point.module.partition('.')[0]!r} stands before it on the "
                "path, rename or remove that one"
            ) from error
        if not (isinstance(kind, type) and issubclass(kind, Node)):
            raise TeamgraphError(f"the kind {point.name!r} ({point.value}) is no class of node")
        kinds[point.name] = kind
    return kinds


class Reader:
    """Makes nodes from what a graph file says, and gathers what does not hold."""

    def __init__(self, kinds: Mapping[str, type[Node]] | None, allow: Collection[str]) -> None:
        self._kinds = {**installed(), **(kinds or {})}
        self._allow = allow
        self.problems: list[Problem] = []

    def nodes(self, declared: Mapping[object, object]) -> dict[str, Node]:
        """One node for each key; those that do not hold are `Broken` and leave a problem."""
        return {str(node_id): self._node(str(node_id), data) for node_id, data in declared.items()}

    def _node(self, node_id: str, data: object) -> Node:
        if isinstance(data, Node):
            return data
        path = ("nodes", node_id)
        if not isinstance(data, Mapping):
            text = f"node {node_id!r} must be a mapping of keys to values, such as {{role: ...}}"
            return self._broken([Problem("G002", text, path=path)])
        fields = {str(key): value for key, value in data.items()}
        kind = self._kind(fields.pop("kind", DEFAULT), path)
        if kind is None:
            return Broken()
        try:
            return kind(**fields).bound(lambda reference: resolve(reference, self._allow))
        except DefinitionError as error:
            return self._broken([_under(path, problem) for problem in error.problems])

    def _kind(self, name: object, path: Path) -> type[Node] | None:
        kind = self._kinds.get(name) if isinstance(name, str) else None
        if kind is None:
            text = f"node {path[-1]!r}: unknown kind {name!r}"
            near = closest(str(name), self._kinds)
            if near is None:
                text += f"; known kinds: {', '.join(sorted(self._kinds))}"
            self.problems.append(Problem("G005", text, path=(*path, "kind"), suggestion=near))
        return kind

    def _broken(self, problems: list[Problem]) -> Broken:
        self.problems.extend(problems)
        return Broken()


def _under(path: Path, problem: Problem) -> Problem:
    message = f"node {path[-1]!r}: {problem.message}"
    return replace(problem, message=message, path=(*path, *problem.path))
