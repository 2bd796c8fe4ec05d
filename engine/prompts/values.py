"""What an expression comes to, as far as it can be told, and what about it can never hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

from jinja2 import nodes
from jinja2.visitor import NodeVisitor

from ..errors import Problem, closest, listed
from .known import (
    ANYTHING,
    NONE,
    NUMBER,
    TEXT,
    TRUTH,
    WHOLE,
    Anything,
    Either,
    Fields,
    Items,
    Known,
    Plain,
    Row,
    Table,
    Words,
    either,
    filled,
    item_of,
    may_be_none,
    type_of,
    words_of,
)
from .narrow import path_of, where
from .position import Position
from .scope import MacroBinding, ModuleBinding, Place, ValueBinding
from .tree import block_call, start_of

_GIVES: Mapping[str, Known] = {
    **dict.fromkeys(
        "upper lower title capitalize trim replace join string indent wordwrap truncate format "
        "fence tojson e escape forceescape center urlencode striptags pprint quote bullets "
        "truncate_chars filesizeformat xmlattr urlize safe \0concat".split(" "),
        TEXT,
    ),
    **dict.fromkeys(("length", "count", "int", "wordcount"), WHOLE),
    **dict.fromkeys(("float", "round", "abs", "sum"), NUMBER),
}
_KEEPS = frozenset(
    "sort select reject selectattr rejectattr unique reverse list \0loop \0slice".split(" ")
)
_PICKS = frozenset(("first", "last", "min", "max"))
_TAKES_NONE = frozenset(("default", "d", "tojson", "pprint", "\0loop", "\0concat"))
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
    """Follows expressions to what they can be; `problems` gathers what cannot hold."""

    def __init__(self, walker: Walker) -> None:
        self._walker = walker
        self.problems: dict[Problem, None] = {}

    def of(self, node: nodes.Node, place: Place) -> Known:
        """What an expression can be."""
        known: Known | None = self.visit(node, place)
        return ANYTHING if known is None else known

    def printed(self, node: nodes.Node, place: Place) -> None:
        """Follow an expression that is printed: neither None nor a whole record is meant."""
        known = self.of(node, place)
        if may_be_none(known):
            told = f"{_said(node)} may be None, and that would be printed; "
            told += "guard it with {% if %}, or give it a default('', true)"
            self._tell(start_of(node), place, "P005", told)
        self._refuse_fields(node, known, place)

    def report(self, node: nodes.Node, place: Place, code: str, told: str, near: str | None) -> None:
        """Take down a problem at the start of an expression."""
        self._tell(start_of(node), place, code, told, near)

    def visit_Const(self, node: nodes.Const, place: Place) -> Known:
        return type_of(type(node.value))

    def visit_Name(self, node: nodes.Name, place: Place) -> Known:
        binding = place.scope.find(node.name).binding
        known = binding.known if isinstance(binding, ValueBinding) else ANYTHING
        return filled(known) if _is_filled(node, place) else known

    def visit_Getattr(self, node: nodes.Getattr, place: Place) -> Known:
        binding = place.binding(node)
        if isinstance(place.binding(node.node), ModuleBinding):
            return binding.known if isinstance(binding, ValueBinding) else ANYTHING
        at = place.template.after(node, r"\.\s*(\w+)")
        known = self._field(node.node, self.of(node.node, place), node.attr, place, at)
        return filled(known) if _is_filled(node, place) else known

    def visit_Getitem(self, node: nodes.Getitem, place: Place) -> Known:
        base = self.of(node.node, place)
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            at = start_of(node.arg)
            known = self._field(node.node, base, node.arg.value, place, at)
            return filled(known) if _is_filled(node, place) else known
        self.of(node.arg, place)
        base = self._without_none(node.node, base, place)
        return base.value if isinstance(base, Table) else item_of(base)

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
            with self._none_is_fine():
                self.of(node.node, place)
        else:
            self.generic_visit(node, place)
        return TRUTH

    def visit_Compare(self, node: nodes.Compare, place: Place) -> Known:
        left: nodes.Expr = node.expr
        known = self.of(left, place)
        for operand in node.ops:
            right = operand.expr
            its = self.of(right, place)
            if operand.op in ("eq", "ne"):
                self._compare(left, known, [right], place)
                self._compare(right, its, [left], place)
            elif operand.op in ("in", "notin"):
                if isinstance(right, nodes.List | nodes.Tuple):
                    self._compare(left, known, right.items, place)
                self._compare(right, item_of(its), [left], place)
            left, known = right, its
        return TRUTH

    def visit_List(self, node: nodes.List, place: Place) -> Known:
        items = [self.of(item, place) for item in node.items]
        return Items(either(*items)) if items else Items(ANYTHING)

    def visit_Tuple(self, node: nodes.Tuple, place: Place) -> Known:
        return Row(tuple(self.of(item, place) for item in node.items))

    def visit_Filter(self, node: nodes.Filter, place: Place) -> Known:
        if node.name in ("default", "d") and node.node is not None:
            return self._default(node, place)
        if node.name == "\0concat":
            for part in cast("nodes.List", node.node).items:
                self.printed(part, place)
            return TEXT
        base = TEXT if node.node is None else self.of(node.node, place)
        for child in node.iter_child_nodes(exclude=("node",)):
            self.of(child, place)
        if node.node is not None and node.name not in _TAKES_NONE:
            base = self._without_none(node.node, base, place)
            if _GIVES.get(node.name) == TEXT:
                self._refuse_fields(node.node, base, place)
        field = self._by_field(node, base, place)
        if node.name == "map":
            return Items(field) if field is not None else ANYTHING
        if node.name in _PICKS:
            return item_of(base)
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

    def _method(self, node: nodes.Getattr, given: Mapping[int | str, Known], place: Place) -> Known:
        owner = filled(self.of(node.node, place))
        self.of(node, place)
        match owner, node.attr:
            case Table(value=value), "items":
                return Items(Row((TEXT, value)))
            case Table(value=value), "values":
                return Items(value)
            case Table(value=value), "get":
                return either(value, given.get(1, NONE))
            case Plain() | Words(), name if name in _LISTS_OF_TEXT:
                return Items(TEXT)
            case _:
                return ANYTHING

    def _default(self, node: nodes.Filter, place: Place) -> Known:
        with self._none_is_fine():
            base = self.of(node.node, place)
        instead = self.of(node.args[0], place) if node.args else TEXT
        also_if_false = len(node.args) > 1 or any(each.key == "boolean" for each in node.kwargs)
        return either(filled(base) if also_if_false else base, instead)

    def _field(
        self, node: nodes.Expr, base: Known, name: str, place: Place, at: Position
    ) -> Known:
        base = self._without_none(node, base, place)
        members = base.members if isinstance(base, Either) else (base,)
        return either(*(self._field_of(node, each, name, place, at) for each in members))

    def _field_of(
        self, node: nodes.Expr, base: Known, name: str, place: Place, at: Position
    ) -> Known:
        match base:
            case Fields():
                fields: Mapping[str, Known] = base.fields
                if name in fields or base.is_open:
                    return fields.get(name, ANYTHING)
                near = closest(name, fields)
                told = f"{_said(node, base.name)} has no {name!r}"
                told += "" if near else f"; it has {listed(fields)}"
                self._tell(at, place, "P002", told, near)
            case Table():
                return base.value
            case Plain() | Words() | Items() if not hasattr(kind := _python(base), name):
                near = closest(name, (each for each in dir(kind) if each[0] != "_"))
                told = f"{_said(node)} is {_NOUN[kind]}, which has no {name!r}"
                self._tell(at, place, "P002", told, near)
            case _:
                pass
        return ANYTHING

    def _without_none(self, node: nodes.Expr, known: Known, place: Place) -> Known:
        if may_be_none(known):
            told = f"{_said(node)} may be None here; guard it with {{% if %}}"
            self._tell(start_of(node), place, "P005", told)
        return filled(known)

    def _refuse_fields(self, node: nodes.Node, known: Known, place: Place) -> None:
        members = known.members if isinstance(known, Either) else (known,)
        for member in members:
            if isinstance(member, Fields):
                told = f"{_said(node)} is a whole {member.name}; print one of its fields, "
                self._tell(start_of(node), place, "P006", told + "or all of them with | tojson")

    def _by_field(self, node: nodes.Filter, base: Known, place: Place) -> Known | None:
        """What a filter like `map(attribute="name")` finds in each item."""
        named: Sequence[nodes.Node] = ()
        if node.name in _BY_FIRST:
            named = node.args[:1]
        elif node.name in _BY_ATTRIBUTE:
            named = [each.value for each in node.kwargs if each.key == "attribute"]
        if not named or not isinstance(const := named[0], nodes.Const):
            return None
        known = item_of(base)
        for part in str(const.value).split("."):
            known = self._field(cast("nodes.Expr", node.node), known, part, place, start_of(const))
        return known

    def _compare(
        self, node: nodes.Expr, known: Known, values: Sequence[nodes.Expr], place: Place
    ) -> None:
        words = words_of(known)
        for value in values:
            if not words or not isinstance(value, nodes.Const) or value.value in (None, *words):
                continue
            near = closest(str(value.value), map(str, words))
            told = f"{_said(node)} is never {value.value!r}"
            told += "" if near else f"; it is one of {listed(map(repr, words))}"
            self._tell(start_of(value), place, "P008", told, near)

    def _tell(
        self, at: Position, place: Place, code: str, told: str, near: str | None = None
    ) -> None:
        self.problems[place.template.problem_at(at, code, told, near)] = None

    @contextmanager
    def _none_is_fine(self) -> Iterator[None]:
        before = dict(self.problems)
        yield
        self.problems = {
            each: None for each in self.problems if each in before or each.code != "P005"
        }


_NOUN: Mapping[type, str] = {
    str: "a text", int: "a number", float: "a number", bool: "a truth value", list: "a list",
    type(None): "None",
}  # fmt: skip


def _python(known: Plain | Words | Items) -> type:
    """The Python type of a value."""
    match known:
        case Plain():
            return known.kind
        case Words():
            return type(known.words[0])
        case Items():
            return list


def _is_filled(node: nodes.Expr, place: Place) -> bool:
    found = path_of(node)
    if found is None:
        return False
    name, path = found
    return (path, place.scope.find(name).binding) in place.filled


def _said(node: nodes.Node, otherwise: str = "this value") -> str:
    """An expression as people would say it."""
    found = path_of(node)
    return found[1] if found else otherwise
