"""What a test tells about the values in it: which of them are there, and which are not None.

Which names a test finds to be there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from jinja2 import nodes
from msgspec.structs import replace

from .scope import Place
from .types import Known, filled, not_none, of_kinds, some


def tests(node: nodes.Node, truth: bool) -> frozenset[str]:
    """The names that are certainly there if the test `node` comes out as `truth`."""
    match node:
        case nodes.Name() if truth:
            names = frozenset((node.name,))
        case nodes.Not():
            names = tests(node.node, not truth)
        case nodes.And() | nodes.Or():
            left, right = tests(node.left, truth), tests(node.right, truth)
            names = left | right if truth == isinstance(node, nodes.And) else left & right
        case nodes.Test(node=nodes.Name(name=name)) if node.name == _TRUE_IF[truth]:
            names = frozenset((name,))
        case _:
            names = frozenset[str]()
    return names


_TRUE_IF = {True: "defined", False: "undefined"}


Path: TypeAlias = tuple[str, str]


def path_of(node: nodes.Node) -> Path | None:
    """The name and the whole path of an expression like `a.b["c"][0]`, or None for another."""
    match node:
        case nodes.Name():
            return node.name, node.name
        case nodes.Getattr(attr=key) | nodes.Getitem(arg=nodes.Const(value=str(key))):
            step = f".{key}"
        case nodes.Getitem(arg=nodes.Const(value=int(key))):
            step = f"[{key}]"
        case _:
            return None
    base = path_of(node.node)
    return (base[0], base[1] + step) if base else None


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
    for mark, told in _TELLS.items():
        if (f"{found[1]}{mark}", binding) in place.filled:
            known = told(known)
    start = f"{found[1]}.kind="
    kinds = [
        fact[len(start) :] for fact, of in place.filled if of is binding and fact.startswith(start)
    ]
    return of_kinds(known, kinds) if kinds else known


def is_defined(node: nodes.Node, place: Place) -> bool:
    """Whether a test has found the expression to be there."""
    return _is_told(node, _THERE, place)


def has_some(node: nodes.Node, place: Place) -> bool:
    """Whether a test has found that the text, list or mapping has something in it."""
    return _is_told(node, _SOME, place)


def is_key(node: nodes.Node, of: nodes.Node, place: Place) -> bool:
    """Whether a name stands for a key of the mapping `of`, over which a loop goes."""
    found = path_of(of)
    if found is None or not isinstance(node, nodes.Name):
        return False
    return (f"{found[1]}{_KEY}", place.scope.find(node.name).binding) in place.filled


def within(place: Place, over: nodes.Node, target: nodes.Node) -> Place:
    """The place inside of a loop over an expression: there is something in that."""
    match over:
        case nodes.Call(node=nodes.Getattr(attr=("keys" | "items"), node=whole)):
            over = whole
        case nodes.Filter(node=nodes.Expr() as whole) if over.name in _SAME_ITEMS:
            over = whole
        case _:
            pass
    if isinstance(target, nodes.Tuple):
        target = target.items[0]
    if (found := path_of(over)) is None:
        return place
    told = {(f"{found[1]}{_SOME}", place.scope.find(found[0]).binding)}
    if isinstance(target, nodes.Name):
        told.add((f"{found[1]}{_KEY}", place.scope.find(target.name).binding))
    return replace(place, filled=place.filled | told)


def _is_told(node: nodes.Node, mark: str, place: Place) -> bool:
    found = path_of(node)
    if found is None:
        return False
    return (f"{found[1]}{mark}", place.scope.find(found[0]).binding) in place.filled


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
        case nodes.Compare(ops=[operand]):
            found = _compared(node.expr, operand, truth=truth)
        case nodes.Filter(node=nodes.Expr() as counted, name=("length" | "count")) if truth:
            found = _marked(_paths(counted), _SOME)
        case nodes.Getattr(node=nodes.Name(name="loop"), attr=("first" | "last") as edge) if (
            not truth
        ):
            found = frozenset((("loop", f"loop.{_BESIDE[edge]}{_THERE}"),))
        case _ if truth:
            found = _paths(node) | _marked(_paths(node), _SOME)
        case _:
            pass
    return found


def _compared(left: nodes.Expr, operand: nodes.Operand, *, truth: bool) -> frozenset[Path]:
    """The paths that are not None if `left`, compared with another value, comes out as `truth`."""
    right, operator = operand.expr, operand.op
    if isinstance(left, nodes.Const):
        left, right, operator = right, left, _TURNED.get(operator, operator)
    if not isinstance(right, nodes.Const):
        return frozenset()
    value: object = right.value
    if isinstance(left, nodes.Filter):
        is_some = truth and isinstance(value, int) and (operator, min(value, 1)) in _AT_LEAST_ONE
        return _filled(left, truth=True) if is_some else frozenset()
    found: frozenset[Path] = frozenset()
    if operator == ("ne" if (value is None) == truth else "eq"):
        found = _paths(left)
    if operator == ("eq" if truth else "ne"):
        found |= frozenset((name, f"{path}={value}") for name, path in _paths(left))
    return found


def _tested(test: nodes.Test, *, truth: bool) -> frozenset[Path]:
    paths = _paths(test.node)
    if test.name in ("defined", "undefined"):
        known = _marked(paths, _THERE)
        return known if truth == (test.name == "defined") else frozenset()
    if test.name == "none":
        return frozenset() if truth else _marked(paths, _NOT_NONE)
    return paths if truth and test.name in _IF_TRUE else frozenset()


def _marked(paths: frozenset[Path], mark: str) -> frozenset[Path]:
    return frozenset((name, f"{path}{mark}") for name, path in paths)


_IF_TRUE = frozenset(
    (
        *("string", "mapping", "sequence", "iterable", "number", "integer", "float", "boolean"),
        "true",
    )
)
"""The tests that a value passes only if it is there, and not None."""
_AT_LEAST_ONE = frozenset((("gt", 0), ("gt", 1), ("gteq", 1), ("eq", 1), ("ne", 0)))
_TURNED = {"lt": "gt", "gt": "lt", "lteq": "gteq", "gteq": "lteq"}
_SAME_ITEMS = frozenset(("list", "sort", "reverse", "unique", "items", "dictsort"))
_BESIDE = {"first": "previtem", "last": "nextitem"}

_THERE, _SOME, _NOT_NONE, _KEY = "?", "+", "~", "[]"
_TELLS: Mapping[str, Callable[[Known], Known]] = {"": filled, _NOT_NONE: not_none, _SOME: some}
"""What a fact says of its path: no path has such a mark itself, so all kinds share the set."""


def _paths(node: nodes.Node) -> frozenset[Path]:
    path = path_of(node)
    return frozenset((path,)) if path else frozenset()
