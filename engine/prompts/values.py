"""What an expression comes to, as far as it can be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol, cast

from jinja2 import nodes
from jinja2.visitor import NodeVisitor

from .judge import At, Judge
from .known import (
    ANYTHING,
    NONE,
    NUMBER,
    SAID,
    TEXT,
    TRUTH,
    WHOLE,
    Items,
    Known,
    Plain,
    Row,
    Table,
    Words,
    either,
    filled,
    is_said,
    item_of,
    may_be_absent,
    may_be_none,
    there,
)
from .narrow import is_defined, narrowed, where
from .scope import MacroBinding, ModuleBinding, Place, ValueBinding
from .tree import block_call, start_of
from .typed import of_type

_TEXTS = (
    *("upper", "lower", "title", "capitalize", "trim", "replace", "join", "string", "indent"),
    *("wordwrap", "truncate", "format", "e", "escape", "forceescape", "center", "urlencode"),
    *("striptags", "pprint", "filesizeformat", "xmlattr", "urlize", "safe", "truncate_chars"),
    "written",
)
_SET_APART = ("fence", "tojson", "quote", "bullets")
_GIVES: Mapping[str, Known] = {
    **dict.fromkeys((*_TEXTS, *_SET_APART), TEXT),
    **dict.fromkeys(("length", "count", "int", "wordcount"), WHOLE),
    **dict.fromkeys(("float", "round", "abs", "sum"), NUMBER),
}
_KEEPS = frozenset(
    (
        *("sort", "select", "reject", "selectattr", "rejectattr", "unique", "reverse", "list"),
        *("\0loop", "\0slice"),
    )
)
_PICKS = frozenset(("first", "last", "min", "max"))
LOOP = "\0loop"
_TAKES_NONE = frozenset(("tojson", "pprint", "written", LOOP))
_TAKES_RECORDS = frozenset(("fence", "bullets", "written"))
_BY_ATTRIBUTE = frozenset(("map", "sort", "groupby", "sum", "unique", "join", "min", "max"))
_BY_FIRST = frozenset(("selectattr", "rejectattr", "groupby"))
_LISTS_OF_TEXT = frozenset(("split", "rsplit", "splitlines"))


class Walker(Protocol):
    """The walk that the expressions stand in."""

    def call_macro(
        self, binding: MacroBinding, call: nodes.Call, given: Mapping[int | str, Known], at: Place
    ) -> None:
        """Walk a macro with what it is given, by place and by name."""
        ...

    def print_block(self, block: str, place: Place) -> None:
        """Walk the block that `self.NAME()` or `super()` prints."""
        ...


class Values(NodeVisitor):
    """Follows expressions to what they can be, and tells the judge of each on the way."""

    def __init__(self, walker: Walker, judge: Judge) -> None:
        self._walker = walker
        self._judge = judge

    def of(self, node: nodes.Node, place: Place) -> Known:
        """What an expression can be."""
        known: Known | None = self.visit(node, place)
        return ANYTHING if known is None else known

    def printed(self, node: nodes.Node, place: Place) -> None:
        """Follow an expression that is printed."""
        self._judge.check_printed(node, self.of(node, place), place)

    def visit_Const(self, node: nodes.Const, place: Place) -> Known:
        return of_type(cast("object", type(node.value)))

    def visit_Name(self, node: nodes.Name, place: Place) -> Known:
        binding = place.scope.find(node.name).binding
        known = binding.known if isinstance(binding, ValueBinding) else ANYTHING
        return narrowed(node, known, place)

    def visit_Getattr(self, node: nodes.Getattr, place: Place) -> Known:
        if isinstance(place.binding(node.node), ModuleBinding):
            binding = place.binding(node)
            return binding.known if isinstance(binding, ValueBinding) else ANYTHING
        return self._field(
            node, node.attr, place, lambda: place.template.after(node, r"\.\s*(\w+)")
        )

    def visit_Getitem(self, node: nodes.Getitem, place: Place) -> Known:
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return self._field(node, node.arg.value, place, partial(start_of, node.arg))
        base = self.of(node.node, place)
        self.of(node.arg, place)
        known = self._judge.without_none(node.node, base, place)
        if isinstance(known, Row) and isinstance(node.arg, nodes.Const):
            index = node.arg.value
            within = isinstance(index, int) and -len(known.parts) <= index < len(known.parts)
            return known.parts[index] if within else ANYTHING
        return known.value if isinstance(known, Table) else item_of(known)

    def _field(self, node: nodes.Getattr | nodes.Getitem, name: str, place: Place, at: At) -> Known:
        base = self.of(node.node, place)
        if not is_defined(node, place):
            return narrowed(node, self._judge.field(node.node, base, name, place, at), place)
        with self._judge.none_is_fine():
            known = self._judge.field(node.node, base, name, place, at)
        return narrowed(node, there(known), place)

    def visit_CondExpr(self, node: nodes.CondExpr, place: Place) -> Known:
        self.of(node.test, place)
        first = self.of(node.expr1, where(place, node.test, truth=True))
        if node.expr2 is None:
            return either(first, TEXT)
        return either(first, self.of(node.expr2, where(place, node.test, truth=False)))

    def visit_And(self, node: nodes.And, place: Place) -> Known:
        left = self.of(node.left, place)
        right = self.of(node.right, where(place, node.left, truth=True))
        return either(right, NONE) if may_be_none(left) else either(left, right)

    def visit_Or(self, node: nodes.Or, place: Place) -> Known:
        left = self.of(node.left, place)
        return either(filled(left), self.of(node.right, where(place, node.left, truth=False)))

    def visit_Not(self, node: nodes.Not, place: Place) -> Known:
        self.of(node.node, place)
        return TRUTH

    def visit_Test(self, node: nodes.Test, place: Place) -> Known:
        if node.name in ("defined", "undefined"):
            with self._judge.none_is_fine():
                self.of(node.node, place)
        else:
            self.generic_visit(node, place)
        return TRUTH

    def visit_Compare(self, node: nodes.Compare, place: Place) -> Known:
        left, known = node.expr, self.of(node.expr, place)
        for operand in node.ops:
            right, its = operand.expr, self.of(operand.expr, place)
            if operand.op in ("eq", "ne"):
                self._judge.compare(left, known, [right], place)
                self._judge.compare(right, its, [left], place)
            elif operand.op in ("in", "notin"):
                if isinstance(right, nodes.List | nodes.Tuple):
                    self._judge.compare(left, known, right.items, place)
                elif isinstance(its, Items):
                    self._judge.compare(right, its.item, [left], place)
            left, known = right, its
        return TRUTH

    def visit_List(self, node: nodes.List, place: Place) -> Known:
        items = [self.of(item, place) for item in node.items]
        return Items(either(*items) if items else ANYTHING)

    def visit_Tuple(self, node: nodes.Tuple, place: Place) -> Known:
        return Row(tuple(self.of(item, place) for item in node.items))

    def visit_Filter(self, node: nodes.Filter, place: Place) -> Known:
        if node.node is None:
            self._follow_arguments(node, place)
            return TEXT
        if node.name in ("default", "d"):
            return self._default(node, node.node, place)
        if node.name == "\0concat":
            for part in node.node.iter_child_nodes():
                self.printed(part, place)
            return TEXT
        return self._filtered(node, node.node, place)

    def _filtered(self, node: nodes.Filter, value: nodes.Expr, place: Place) -> Known:
        base = self._taken(node, value, place)
        field = self._by_field(node, value, base, place)
        if node.name == "map":
            return ANYTHING if field is None else Items(field)
        if node.name in _PICKS:
            return item_of(base)
        if node.name in _TEXTS and is_said(base):
            return SAID
        return base if node.name in _KEEPS else _GIVES.get(node.name, ANYTHING)

    def visit_Call(self, node: nodes.Call, place: Place) -> Known:
        given: dict[int | str, Known] = {
            index: self.of(argument, place) for index, argument in enumerate(node.args)
        }
        given |= {keyword.key: self.of(keyword.value, place) for keyword in node.kwargs}
        binding = place.binding(node.node)
        if (block := block_call(node)) is not None:
            self._walker.print_block(block, place)
            return TEXT
        if isinstance(binding, MacroBinding):
            self._walker.call_macro(binding, node, given, place)
            return TEXT
        if isinstance(node.node, nodes.Getattr):
            return self._method(node.node, given, place)
        self.of(node.node, place)
        is_range = isinstance(node.node, nodes.Name) and node.node.name == "range"
        return Items(WHOLE) if is_range else ANYTHING

    def _taken(self, node: nodes.Filter, value: nodes.Expr, place: Place) -> Known:
        """What a filter is given, where it can do with that."""
        known = self.of(value, place)
        self._follow_arguments(node, place)
        if node.name in _TAKES_NONE and (node.name == LOOP or not may_be_absent(known)):
            return known
        known = self._judge.without_none(value, known, place)
        makes_text = _GIVES.get(node.name) == TEXT and node.name not in _TAKES_RECORDS
        if makes_text and not _attribute(node):
            self._judge.refuse_fields(value, known, place)
        return known

    def _follow_arguments(self, node: nodes.Filter, place: Place) -> None:
        for child in node.iter_child_nodes(exclude=("node",)):
            self.of(child, place)

    def _method(self, node: nodes.Getattr, given: Mapping[int | str, Known], place: Place) -> Known:
        with self._judge.none_is_fine():
            owner = filled(self.of(node.node, place))
        self.of(node, place)
        match owner, node.attr:
            case Table(value=value), "items":
                return Items(Row((TEXT, value)))
            case Table(value=value), "values":
                return Items(value)
            case Table(value=value), "get":
                return either(value, given.get(1, NONE))
            case ((Plain() | Words()), name) if name in _LISTS_OF_TEXT:
                return Items(TEXT)
            case _:
                return ANYTHING

    def _default(self, node: nodes.Filter, value: nodes.Expr, place: Place) -> Known:
        with self._judge.none_is_fine():
            known = self.of(value, place)
        instead = self.of(node.args[0], place) if node.args else TEXT
        also_if_false = len(node.args) > 1 or any(each.key == "boolean" for each in node.kwargs)
        return either(filled(known) if also_if_false else there(known), instead)

    def _by_field(
        self, node: nodes.Filter, value: nodes.Expr, base: Known, place: Place
    ) -> Known | None:
        """What a filter like `map(attribute="name")` finds in each item."""
        named: Sequence[nodes.Node] = ()
        if node.name in _BY_FIRST:
            named = node.args[:1]
        elif node.name in _BY_ATTRIBUTE:
            named = _attribute(node)
        if not named or not isinstance(const := named[0], nodes.Const):
            return None
        known = item_of(base)
        for part in str(const.value).split("."):
            known = self._judge.field(value, known, part, place, partial(start_of, const))
        return known


def _attribute(node: nodes.Filter) -> list[nodes.Expr]:
    """What a filter is given as its `attribute`."""
    return [each.value for each in node.kwargs if each.key == "attribute"]
