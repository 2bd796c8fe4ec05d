"""What an expression comes to, as far as it can be told.

What a loop goes over, and what `loop` is inside of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol, cast

from jinja2 import nodes

from .calls import Filtered, given_by_method, is_change, taken_by_method
from .narrow import has_some, is_defined, is_key, narrowed, where
from .report import At, Judge, said
from .scope import MacroBinding, ModuleBinding, Place, ValueBinding
from .tree import block_call, start_of
from .types import (
    ABSENT,
    ANYTHING,
    BLANK,
    INDEXED,
    NOUNS,
    NUMERIC,
    TEXT,
    TRUTH,
    UNCALLED,
    WHOLE,
    Fields,
    Items,
    Known,
    Plain,
    Row,
    Table,
    Words,
    either,
    falsy,
    filled,
    item_of,
    least_of,
    may_be_none,
    of_type,
    record,
    sorts_of,
    there,
    value_in,
)

_COUNTS = ("index", "index0", "revindex", "revindex0", "length", "depth", "depth0")


def loop_over(item: Known) -> Known:
    """What `loop` has inside of a loop over such items."""
    beside = either(item, ABSENT)
    parts: dict[str, Known] = {
        **dict.fromkeys(_COUNTS, WHOLE),
        **dict.fromkeys(("first", "last"), TRUTH),
        **dict.fromkeys(("previtem", "nextitem"), beside),
        **dict.fromkeys(("cycle", "changed"), UNCALLED),
    }
    return record("loop", parts)


def over(node: nodes.For) -> nodes.Node:
    """What a loop goes over, without the count of its rounds."""
    return (node.iter.node if isinstance(node.iter, nodes.Filter) else None) or node.iter


def is_single(known: Known) -> bool:
    """Whether the value is certainly no list, text or mapping."""
    match known:
        case Plain(kind=kind):
            return kind is not str
        case Words(words=words):
            return not isinstance(words[0], str)
        case Fields():
            return True
        case _:
            return False


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

    def namespace(self, call: nodes.Call, given: Mapping[int | str, Known]) -> Known:
        """What is known of the fields of a new namespace."""
        ...


class Values(Filtered):
    """Follows expressions to what they can be, and tells the judge of each on the way."""

    def __init__(self, walker: Walker, judge: Judge) -> None:
        super().__init__(judge)
        self._walker = walker

    def visit_Const(self, node: nodes.Const, place: Place) -> Known:
        return of_type(cast("object", type(node.value)))

    def visit_Name(self, node: nodes.Name, place: Place) -> Known:
        binding = place.scope.find(node.name).binding
        if isinstance(binding, MacroBinding):
            return UNCALLED
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
        self._judge.without_none(node.arg, self.of(node.arg, place), place)
        known = self._judge.without_none(node.node, base, place)
        if isinstance(known, Table):
            is_there = is_key(node.arg, node.node, place)
            item = known.value if is_there else value_in(known)
        else:
            self._judge.fit(node.node, known, INDEXED, "[ ]", place)
            item = self._item(node, known, place)
        item = narrowed(node, item, place)
        is_told = is_defined(node, place) or may_be_none(base)
        return there(item) if is_told else item

    def _item(self, node: nodes.Getitem, known: Known, place: Place) -> Known:
        index = node.arg.value if isinstance(node.arg, nodes.Const) else None
        if isinstance(node.arg, nodes.Neg) and isinstance(node.arg.node, nodes.Const):
            index = -node.arg.node.value
        least = max(least_of(known), has_some(node.node, place))
        is_there = isinstance(index, int) and -least <= index < least
        if isinstance(known, Row) and isinstance(index, int) and is_there:
            return known.parts[index]
        return item_of(known) if is_there else either(item_of(known), ABSENT)

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
            return either(first, BLANK)
        return either(first, self.of(node.expr2, where(place, node.test, truth=False)))

    def visit_And(self, node: nodes.And, place: Place) -> Known:
        left = self.of(node.left, place)
        right = self.of(node.right, where(place, node.left, truth=True))
        return either(falsy(left), right)

    def visit_Or(self, node: nodes.Or, place: Place) -> Known:
        left = self.of(node.left, place)
        return either(filled(left), self.of(node.right, where(place, node.left, truth=False)))

    def visit_List(self, node: nodes.List, place: Place) -> Known:
        items = [self.of(item, place) for item in node.items]
        return Items(either(*items), least=len(items))

    def visit_Tuple(self, node: nodes.Tuple, place: Place) -> Known:
        return Row(tuple(self.of(item, place) for item in node.items))

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
            self._check_written(node, node.node, given, place)
            return self._method(node.node, given, place)
        self._check_called(node.node, self.of(node.node, place), place)
        return self._function(node, given, place)

    def _check_written(
        self,
        call: nodes.Call,
        method: nodes.Getattr,
        given: Mapping[int | str, Known],
        place: Place,
    ) -> None:
        """Refuse what a method of a text or time cannot take."""
        with self._judge.none_is_fine():
            owner = filled(self.of(method.node, place))
        if method.attr == "format":
            for argument in (*call.args, *call.kwargs):
                value = argument.value if isinstance(argument, nodes.Keyword) else argument
                self._judge.check_printed(value, self.of(value, place), place)
        elif (taking := taken_by_method(owner, method.attr)) is not None and call.args:
            known = self._judge.without_none(call.args[0], given[0], place)
            self._judge.fit(call.args[0], known, taking, f".{method.attr}()", place)

    def _function(self, node: nodes.Call, given: Mapping[int | str, Known], place: Place) -> Known:
        """What one of the functions gives that every template has."""
        name = node.node.name if isinstance(node.node, nodes.Name) else None
        if name == "namespace":
            return self._walker.namespace(node, given)
        if name != "range":
            return ANYTHING
        for index, argument in enumerate(node.args):
            self._judge.fit(argument, given[index], NUMERIC, "range", place)
        return Items(WHOLE)

    def _check_called(self, node: nodes.Expr, known: Known, place: Place) -> None:
        known = self._judge.without_none(node, known, place)
        sorts = sorts_of(known) - {"any", "uncalled"}
        if sorts and not (isinstance(node, nodes.Name) and node.name == "loop"):
            told = f"{said(node)} is {NOUNS[min(sorts)]}, and cannot be called"
            self._judge.tell(start_of(node), place, "P018", told)

    def _method(self, node: nodes.Getattr, given: Mapping[int | str, Known], place: Place) -> Known:
        with self._judge.none_is_fine():
            owner = filled(self.of(node.node, place))
        if is_change(owner, node.attr):
            told = f"{said(node.node)} cannot be changed here; make a new list with +"
            self._judge.tell(place.template.after(node, r"\.\s*(\w+)"), place, "P018", told)
            return ANYTHING
        if isinstance(owner, Table):
            self._judge.without_none(node.node, self.of(node.node, place), place)
        else:
            self._check_called(node, self.of(node, place), place)
        return given_by_method(owner, node.attr, given)
