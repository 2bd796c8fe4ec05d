"""What a test tells about the values in it: which of them are there, and which are not None.

Which names a test finds to be there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from jinja2 import nodes
from msgspec.structs import replace

from .scope import Flow
from .types import StaticType, non_empty, with_kinds, without_none, without_null


def names_defined_by(node: nodes.Node, truth: bool) -> frozenset[str]:
    """The names that are certainly there if the test `node` comes out as `truth`."""
    match node:
        case nodes.Name() if truth:
            names = frozenset((node.name,))
        case nodes.Not():
            names = names_defined_by(node.node, not truth)
        case nodes.And() | nodes.Or():
            left, right = names_defined_by(node.left, truth), names_defined_by(node.right, truth)
            names = left | right if truth == isinstance(node, nodes.And) else left & right
        case nodes.Test(node=nodes.Name(name=name)) if node.name == _TRUE_IF[truth]:
            names = frozenset((name,))
        case _:
            names = frozenset[str]()
    return names


_TRUE_IF = {True: "defined", False: "undefined"}


AccessPath: TypeAlias = tuple[str, str]


def access_path(node: nodes.Node) -> AccessPath | None:
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
    base = access_path(node.node)
    return (base[0], base[1] + step) if base else None


def assume(flow: Flow, test: nodes.Node, *, truth: bool) -> Flow:
    """The place where a test has come out as `truth`."""
    facts = {(path, flow.scope.find(name).binding) for name, path in _facts(test, truth=truth)}
    return replace(flow, facts=flow.facts | facts) if facts else flow


def narrow(node: nodes.Node, value_type: StaticType, flow: Flow) -> StaticType:
    """The same as far as tests have found out what the expression is."""
    found = access_path(node)
    if found is None or not flow.facts:
        return value_type
    binding = flow.scope.find(found[0]).binding
    for mark, facts in _NARROWINGS.items():
        if (f"{found[1]}{mark}", binding) in flow.facts:
            value_type = facts(value_type)
    start = f"{found[1]}.kind="
    kinds = [
        fact[len(start) :] for fact, of in flow.facts if of is binding and fact.startswith(start)
    ]
    return with_kinds(value_type, kinds) if kinds else value_type


def is_defined(node: nodes.Node, flow: Flow) -> bool:
    """Whether a test has found the expression to be there."""
    return _has_fact(node, _THERE, flow)


def is_non_empty(node: nodes.Node, flow: Flow) -> bool:
    """Whether a test has found that the text, list or mapping has something in it."""
    return _has_fact(node, _SOME, flow)


def is_key_of(node: nodes.Node, of: nodes.Node, flow: Flow) -> bool:
    """Whether a name stands for a key of the mapping `of`, over which a loop goes."""
    found = access_path(of)
    if found is None or not isinstance(node, nodes.Name):
        return False
    return (f"{found[1]}{_KEY}", flow.scope.find(node.name).binding) in flow.facts


def inside_loop(flow: Flow, over: nodes.Node, target: nodes.Node) -> Flow:
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
    if (found := access_path(over)) is None:
        return flow
    facts = {(f"{found[1]}{_SOME}", flow.scope.find(found[0]).binding)}
    if isinstance(target, nodes.Name):
        facts.add((f"{found[1]}{_KEY}", flow.scope.find(target.name).binding))
    return replace(flow, facts=flow.facts | facts)


def _has_fact(node: nodes.Node, mark: str, flow: Flow) -> bool:
    found = access_path(node)
    if found is None:
        return False
    return (f"{found[1]}{mark}", flow.scope.find(found[0]).binding) in flow.facts


def _facts(node: nodes.Node, *, truth: bool) -> frozenset[AccessPath]:
    """The paths that are not None if the test comes out as `truth`."""
    found: frozenset[AccessPath] = frozenset()
    match node:
        case nodes.Not():
            found = _facts(node.node, truth=not truth)
        case nodes.And() | nodes.Or():
            left, right = _facts(node.left, truth=truth), _facts(node.right, truth=truth)
            found = left | right if truth == isinstance(node, nodes.And) else left & right
        case nodes.Test():
            found = _tested(node, truth=truth)
        case nodes.Compare(ops=[operand]):
            found = _compared(node.expr, operand, truth=truth)
        case nodes.Filter(node=nodes.Expr() as with_limits, name=("length" | "count")) if truth:
            found = _marked(_paths(with_limits), _SOME)
        case nodes.Getattr(node=nodes.Name(name="loop"), attr=("first" | "last") as edge) if (
            not truth
        ):
            found = frozenset((("loop", f"loop.{_BESIDE[edge]}{_THERE}"),))
        case _ if truth:
            found = _paths(node) | _marked(_paths(node), _SOME)
        case _:
            pass
    return found


def _compared(left: nodes.Expr, operand: nodes.Operand, *, truth: bool) -> frozenset[AccessPath]:
    """The paths that are not None if `left`, compared with another value, comes out as `truth`."""
    right, operator = operand.expr, operand.op
    if isinstance(left, nodes.Const):
        left, right, operator = right, left, _TURNED.get(operator, operator)
    if not isinstance(right, nodes.Const):
        return frozenset()
    value: object = right.value
    if isinstance(left, nodes.Filter):
        is_some = truth and isinstance(value, int) and (operator, min(value, 1)) in _AT_LEAST_ONE
        return _facts(left, truth=True) if is_some else frozenset()
    found: frozenset[AccessPath] = frozenset()
    if operator == ("ne" if (value is None) == truth else "eq"):
        found = _paths(left)
    if operator == ("eq" if truth else "ne"):
        found |= frozenset((name, f"{path}={value}") for name, path in _paths(left))
    return found


def _tested(test: nodes.Test, *, truth: bool) -> frozenset[AccessPath]:
    paths = _paths(test.node)
    if test.name in ("defined", "undefined"):
        value_type = _marked(paths, _THERE)
        return value_type if truth == (test.name == "defined") else frozenset()
    if test.name == "none":
        return frozenset() if truth else _marked(paths, _NOT_NONE)
    return paths if truth and test.name in _IF_TRUE else frozenset()


def _marked(paths: frozenset[AccessPath], mark: str) -> frozenset[AccessPath]:
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
_NARROWINGS: Mapping[str, Callable[[StaticType], StaticType]] = {
    "": without_null,
    _NOT_NONE: without_none,
    _SOME: non_empty,
}
"""What a fact says of its path: no path has such a mark itself, so all kinds share the set."""


def _paths(node: nodes.Node) -> frozenset[AccessPath]:
    path = access_path(node)
    return frozenset((path,)) if path else frozenset()
