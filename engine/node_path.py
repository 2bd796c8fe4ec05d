"""The path of a node in nested graphs, as text: `team/writer` is `writer` in the graph of `team`.

What runs several times in a run has a number that counts from 1: `research[2]/writer` is `writer`
in the second round of `research`. Records, events and files have the path as plain text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

V = TypeVar("V")

_SEPARATOR = "/"
_STEP = re.compile(r"[a-z][a-z0-9_]*(\[[1-9][0-9]*\])?")
_NUMBER = re.compile(r"\[[0-9]+\]")


class NodePath(str):
    """A path of node ids, outermost first: a `str`, so that it finds what plain text is a key of.

    The empty path is the run's own graph. Made from text as it stands; `parse` also checks it.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> NodePath:
        """The path that the text is; raises `ValueError` if it is none."""
        for step in text.split(_SEPARATOR):
            if _STEP.fullmatch(step) is None:
                raise ValueError(
                    f"{text!r} is not the path of a node; write `node`, `node/inner_node` or "
                    "`node[2]/inner_node`"
                )
        return cls(text)

    @classmethod
    def from_steps(cls, *steps: str) -> NodePath:
        """The path of these steps, outermost first."""
        return cls(_SEPARATOR.join(steps))

    @property
    def steps(self) -> tuple[str, ...]:
        """The parts of the path, each a node id, with its number where it has one."""
        return tuple(self.split(_SEPARATOR)) if self else ()

    @property
    def outermost(self) -> str:
        """The id of the node in the run's own graph that this is, or is inside of."""
        return self.partition(_SEPARATOR)[0].partition("[")[0]

    @property
    def declared(self) -> NodePath:
        """The path without numbers: where the node is declared, whatever round or item it is in."""
        return NodePath(_NUMBER.sub("", self)) if "[" in self else self

    @property
    def parent(self) -> NodePath:
        """The path without its last step: the node around it, or the empty path."""
        return NodePath(self.rpartition(_SEPARATOR)[0])

    @property
    def node_id(self) -> str:
        """The node's id in the graph that it belongs to."""
        return self.rpartition(_SEPARATOR)[2].partition("[")[0]

    @property
    def number(self) -> int | None:
        """The round or item of the last step, from 1; None where it has none."""
        number = self.rpartition(_SEPARATOR)[2].partition("[")[2]
        return int(number.removesuffix("]")) if number else None

    def child(self, path: str) -> NodePath:
        """The path of a node (or a longer path) in the graph inside this one."""
        return NodePath(f"{self}{_SEPARATOR}{path}") if self else NodePath(path)

    def at(self, number: int) -> NodePath:
        """One round or item of this node, counted from 1."""
        return NodePath(f"{self}[{number}]")

    def is_inside(self, outer: str) -> bool:
        """Whether this is a node of the graph inside `outer`, at any depth and in any round."""
        return len(self) > len(outer) and (
            not outer or (self.startswith(outer) and self[len(outer)] in "/[")
        )

    def relative_to(self, outer: str) -> NodePath:
        """The path in the graph inside `outer`; raises `ValueError` if it is not inside."""
        if not outer:
            return self
        if not self.startswith(f"{outer}{_SEPARATOR}"):
            raise ValueError(f"{self!r} is not inside {outer!r}")
        return NodePath(self[len(outer) + 1 :])


ROOT = NodePath()
"""The run's own graph."""


def select_inside(entries: Mapping[str, V], node: str) -> dict[str, V]:
    """The entries of the graph inside `node`, by the paths that it has for them."""
    prefix = f"{node}{_SEPARATOR}"
    return {path[len(prefix) :]: each for path, each in entries.items() if path.startswith(prefix)}


def put_inside(entries: Mapping[str, V], node: str) -> dict[str, V]:
    """The reverse: entries of the graph inside `node`, by the paths that the outer one has."""
    return {f"{node}{_SEPARATOR}{path}": each for path, each in entries.items()}
