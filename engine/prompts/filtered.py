"""What a filter makes of a value, as far as it can be told, and what it cannot take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from jinja2 import nodes

from .computing import Computing
from .filtering import (
    BY_ATTRIBUTE,
    BY_FIRST,
    CONCAT,
    LOOP,
    ORDERS,
    TAKES_NONE,
    chosen,
    given_by,
    makes_text,
    taken_by,
)
from .judge import said
from .known import (
    TEXT,
    Known,
    either,
    filled,
    item_of,
    may_be_absent,
    may_be_none,
    record_in,
    there,
)
from .narrow import has_some
from .scope import Place
from .sort import NUMERIC, has_order
from .tree import start_of


class Filtered(Computing):
    """The part of following expressions that goes through filters."""

    def printed(self, node: nodes.Node, place: Place) -> None:
        """Follow an expression that is printed."""
        self._judge.check_printed(node, self.of(node, place), place)

    def visit_Filter(self, node: nodes.Filter, place: Place) -> Known:
        if node.node is None:  # the innermost filter of a block: it is given what that prints
            return self._filtered(node, node, TEXT, place)
        if node.name in ("default", "d"):
            return self._default(node, node.node, place)
        if node.name == CONCAT:
            for part in node.node.iter_child_nodes():
                self.printed(part, place)
            return TEXT
        return self._filtered(node, node.node, self.of(node.node, place), place)

    def _filtered(self, node: nodes.Filter, value: nodes.Expr, known: Known, place: Place) -> Known:
        for child in node.iter_child_nodes(exclude=("node",)):
            argument = child.value if isinstance(child, nodes.Keyword) else child
            given = self.of(argument, place)
            if node.name == "format":
                self._judge.check_printed(argument, given, place)
            elif not isinstance(argument, nodes.Const):
                self._judge.without_none(argument, given, place)
        picked = None
        if node.name != LOOP:
            known = self._taken(node.name, value, known, place, by_attribute=bool(_attribute(node)))
            picked = self._picked(node, value, known, place)
            self._check_items(node.name, value, item_of(known) if picked is None else picked, place)
        if node.name in ("select", "reject") and len(node.args) <= 1 and not node.kwargs:
            return chosen(node.name, _constant(node.args), known)
        made = given_by(node.name, known, picked)
        is_there = node.name in ("first", "last") and has_some(value, place)
        return there(made) if is_there else made

    def _taken(
        self, name: str, value: nodes.Expr, known: Known, place: Place, *, by_attribute: bool
    ) -> Known:
        """What a filter is given, where it can do with that."""
        if name not in TAKES_NONE or may_be_absent(known):
            known = self._judge.without_none(value, known, place)
        if makes_text(name) and not by_attribute and record_in(known) is not None:
            self._judge.refuse_fields(value, known, place)
        elif (taking := taken_by(name)) is not None:
            self._judge.fit(value, known, taking, f"| {name}", place)
        return known

    def _picked(
        self, node: nodes.Filter, value: nodes.Expr, known: Known, place: Place
    ) -> Known | None:
        """What a filter like `map` finds in each item."""
        if node.name != "map" or _attribute(node):
            return self._by_field(node, value, known, place)
        name = _constant(node.args)
        if not isinstance(name, str):
            return None
        if name in ("default", "d"):
            return self._instead(node.args[1:], item_of(known), place)
        item = self._taken(name, value, item_of(known), place, by_attribute=False)
        return given_by(name, item, None)

    def _check_items(self, name: str, value: nodes.Expr, item: Known, place: Place) -> None:
        """Refuse a list with items that a filter cannot put in order, add up or write down."""
        if name not in (*ORDERS, "sum", "join"):
            return
        if may_be_none(item):
            told = f"{said(value)} may have None in it, which | {name} cannot take; take it out "
            self._judge.tell(start_of(value), place, "P005", f"{told}with | select")
        item = filled(item)
        if name in ORDERS and not has_order(item):
            told = f"the items of {said(value)} have no order for | {name}"
            self._judge.tell(start_of(value), place, "P018", told)
        elif name == "sum":
            self._judge.fit(value, item, NUMERIC, "| sum", place)

    def _default(self, node: nodes.Filter, value: nodes.Expr, place: Place) -> Known:
        with self._judge.none_is_fine():
            known = self.of(value, place)
        boolean = [each.value for each in node.kwargs if each.key == "boolean"]
        return self._instead([*(node.args or [nodes.Const("")]), *boolean], known, place)

    def _instead(self, arguments: Sequence[nodes.Expr], known: Known, place: Place) -> Known:
        """What `default` gives: its first argument for what is missing, with two also if false."""
        instead = self.of(arguments[0], place) if arguments else TEXT
        return either(filled(known) if len(arguments) > 1 else there(known), instead)

    def _by_field(
        self, node: nodes.Filter, value: nodes.Expr, base: Known, place: Place
    ) -> Known | None:
        """What a filter like `map(attribute="name")` finds in each item."""
        named: Sequence[nodes.Node] = ()
        if node.name in BY_FIRST:
            named = node.args[:1]
        elif node.name in BY_ATTRIBUTE:
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


def _constant(arguments: Sequence[nodes.Expr]) -> object:
    """The first argument, where it is written down."""
    first = arguments[0] if arguments else None
    return first.value if isinstance(first, nodes.Const) else first
