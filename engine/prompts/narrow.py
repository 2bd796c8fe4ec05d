"""What a test tells about the values in it: which of them are there, and which are not None."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from jinja2 import nodes

from .known import Known, filled, of_kinds
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


def narrowed(node: nodes.Node, known: Known, place: Place) -> Known:
    """The same as far as tests have found out what the expression is."""
    found = path_of(node)
    if found is None or not place.filled:
        return known
    binding = place.scope.find(found[0]).binding
    if (found[1], binding) in place.filled:
        known = filled(known)
    start = f"{found[1]}.kind="
    kinds = [
        fact[len(start) :] for fact, of in place.filled if of is binding and fact.startswith(start)
    ]
    return of_kinds(known, kinds) if kinds else known


def is_defined(node: nodes.Node, place: Place) -> bool:
    """Whether a test has found the expression to be there."""
    found = path_of(node)
    if found is None:
        return False
    # No path of a template has a question mark or `=`, so all kinds of facts share the set.
    return (f"{found[1]}?", place.scope.find(found[0]).binding) in place.filled


def _filled(node: nodes.Node, *, truth: bool) -> frozenset[Path]:
    """The paths that are not None if the test comes out as `truth`."""
    found: frozenset[Path] = frozenset()
    match node:
        case nodes.Not():
            found = _filled(node.node, truth=not truth)
        case nodes.And() | nodes.Or():
            left, right = _filled(node.left, truth=truth), _filled(node.right, truth=truth)
            found = left | right if truth == isinstance(node, nodes.And) else left & right
        case nodes.Test():
            found = _tested(node, truth=truth)
        case nodes.Compare(ops=[nodes.Operand(expr=nodes.Const(value=value), op=operator)]):
            if operator == ("ne" if (value is None) == truth else "eq"):
                found = _paths(node.expr)
            if operator == ("eq" if truth else "ne"):
                found |= frozenset((name, f"{path}={value}") for name, path in _paths(node.expr))
        case _ if truth:
            found = _paths(node)
        case _:
            pass
    return found


def _tested(test: nodes.Test, *, truth: bool) -> frozenset[Path]:
    paths = _paths(test.node)
    if test.name in ("defined", "undefined"):
        known = frozenset((name, f"{path}?") for name, path in paths)
        return known if truth == (test.name == "defined") else frozenset()
    return paths if test.name in (_IF_TRUE if truth else _IF_FALSE) else frozenset()


_IF_TRUE = frozenset(("string", "mapping", "iterable", "sequence", "number"))
_IF_FALSE = frozenset(("none",))
"""The tests that a value passes, or fails, only if it is not None."""


def _paths(node: nodes.Node) -> frozenset[Path]:
    path = path_of(node)
    return frozenset((path,)) if path else frozenset()
