"""What a test tells about the values in it: which of them are not None."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from jinja2 import nodes

from .scope import Place

Path: TypeAlias = tuple[str, str]


def path_of(node: nodes.Node) -> Path | None:
    """The name and the whole path of an expression like `a.b["c"]`, or None for another."""
    match node:
        case nodes.Name():
            return node.name, node.name
        case nodes.Getattr():
            key = node.attr
        case nodes.Getitem(arg=nodes.Const(value=str(key))):
            pass
        case _:
            return None
    base = path_of(node.node)
    return (base[0], f"{base[1]}.{key}") if base else None


def where(place: Place, test: nodes.Node, *, truth: bool) -> Place:
    """The place where a test has come out as `truth`."""
    told = {(path, place.scope.find(name).binding) for name, path in _filled(test, truth=truth)}
    return replace(place, filled=place.filled | told) if told else place


def _filled(node: nodes.Node, *, truth: bool) -> frozenset[Path]:
    """The paths that are not None if the test comes out as `truth`."""
    found: frozenset[Path] = frozenset()
    match node:
        case nodes.Not():
            found = _filled(node.node, truth=not truth)
        case nodes.And() | nodes.Or():
            left, right = _filled(node.left, truth=truth), _filled(node.right, truth=truth)
            found = left | right if truth == isinstance(node, nodes.And) else left & right
        case nodes.Test(name="none") if not truth:
            found = _paths(node.node)
        case nodes.Test(name="string" | "mapping" | "iterable" | "sequence" | "number") if truth:
            found = _paths(node.node)
        case nodes.Compare(ops=[nodes.Operand(expr=nodes.Const(value=value), op=operator)]):
            if operator == ("ne" if (value is None) == truth else "eq"):
                found = _paths(node.expr)
        case _ if truth:
            found = _paths(node)
        case _:
            pass
    return found


def _paths(node: nodes.Node) -> frozenset[Path]:
    path = path_of(node)
    return frozenset((path,)) if path else frozenset()
