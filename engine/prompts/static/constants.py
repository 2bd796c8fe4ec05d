"""Constant evaluation at load: finds what fails whatever the data is, such as `1 / 0`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import TypeAlias, cast

from jinja2 import nodes
from msgspec import Struct

from ..environment import CONCAT, KEY, SLICE
from ..sources import ParsedTemplate

Evaluate: TypeAlias = Callable[[nodes.Expr], str | None]
"""Evaluates an expression of constants; what went wrong, or None."""

_COMPOSITE = (
    *(nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword, nodes.Operand),
    *(nodes.BinExpr, nodes.UnaryExpr, nodes.Compare, nodes.CondExpr, nodes.Getitem, nodes.Getattr),
    *(nodes.Test, nodes.Call),
)
_GLOBALS = frozenset(("range", "dict", "cycler", "joiner"))
_TEXT, _NUMBERS = "one two", (1, 2, 3)
_SAMPLES: Mapping[str, object] = {
    **dict.fromkeys(("truncate", "wordwrap", "indent", "center", "trim", "replace"), _TEXT),
    **dict.fromkeys(("batch", "slice", SLICE), _NUMBERS),
    **dict.fromkeys(("round", "filesizeformat"), 1.5),
    "dictsort": {"a": 1},
    "divisibleby": 4,
}
"""An input for each filter and test whose constant arguments fail for every input, or for none."""
_METHODS = frozenset(
    (
        *("split", "rsplit", "partition", "rpartition", "center", "ljust", "rjust", "zfill"),
        *("expandtabs", "strip", "lstrip", "rstrip", "startswith", "endswith", "splitlines"),
        *("translate", "removeprefix", "removesuffix"),
    )
)
"""Methods that only texts have; their constant arguments fail for every text, or for none."""
_DIVISIONS = (nodes.Div, nodes.FloorDiv)  # with a text, `%` is a format


class Failure(Struct, frozen=True):
    """An expression that fails whenever it is evaluated, and why."""

    node: nodes.Expr
    reason: str


def failures(template: ParsedTemplate, evaluate: Evaluate) -> Iterator[Failure]:
    """What fails in every render that reaches it, whatever the data is.

    An expression of constants is evaluated as a whole. Where only the arguments are constants, as
    in `input.message | truncate(-1)`, the data is replaced by a sample.
    """
    names = template.find_all(nodes.Name)
    bound = {each.name for each in names if each.ctx != "load"}
    return _failures(template.tree, evaluate, _GLOBALS - bound)


def _failures(node: nodes.Node, evaluate: Evaluate, known: frozenset[str]) -> Iterator[Failure]:
    if isinstance(node, nodes.Expr) and not isinstance(node, nodes.Const | nodes.TemplateData):
        tried = node if _is_constant(node, known) else _sampled(node, known)
        if tried is not None and (reason := evaluate(tried)) is not None:
            yield Failure(node, reason)
            return
        if tried is node:
            return
    for child in node.iter_child_nodes():
        yield from _failures(child, evaluate, known)


def _is_constant(node: nodes.Node, known: frozenset[str]) -> bool:
    match node:
        case nodes.Const():
            return True
        case nodes.Call(node=nodes.Name(name=name)) if name in known:
            parts = [*node.args, *node.kwargs]
        case nodes.Filter(node=nodes.Expr(), name=name) if _is_pure(name):
            parts = [*node.iter_child_nodes()]
        case _ if isinstance(node, _COMPOSITE):
            parts = [*node.iter_child_nodes()]
        case _:
            return False
    return all(_is_constant(each, known) for each in parts)


def _is_pure(name: str) -> bool:
    """Whether a filter is pure: deterministic, and it writes no message."""
    return name in (CONCAT, KEY, SLICE) or not (name.startswith("\0") or name == "random")


def _sampled(node: nodes.Expr, known: frozenset[str]) -> nodes.Expr | None:
    """The same operation on a sample, where its constant arguments alone may make it fail."""
    match node:
        case nodes.Filter(node=nodes.Expr(), name=name) | nodes.Test(name=name):
            sample = _SAMPLES.get(name)
            arguments = [*node.args, *node.kwargs]
        case nodes.Call(node=nodes.Getattr(attr=name)) if name in _METHODS:
            sample, arguments = _TEXT, [*node.args, *node.kwargs]
        case nodes.BinExpr() if isinstance(node, _DIVISIONS):
            sample, arguments = 1, [node.right]
        case _:
            return None
    if sample is None or not arguments or not all(_is_constant(e, known) for e in arguments):
        return None
    constant = nodes.Const(sample, lineno=node.lineno)
    tried = copy(node)
    if isinstance(tried, nodes.BinExpr):
        tried.left = constant
    elif isinstance(tried, nodes.Call):
        method = copy(cast("nodes.Getattr", tried.node))
        method.node = constant
        tried.node = method
    else:
        tried.node = constant
    return tried
