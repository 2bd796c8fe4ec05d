"""What a filter makes of a value, as far as it can be told, and what it cannot take.

What the methods of texts, mappings and times give.

What Jinja's filters and ours take, and what they give.

What tests, comparisons and operators come to, and what they cannot take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from jinja2 import nodes
from jinja2.sandbox import modifies_known_mutable
from jinja2.visitor import NodeVisitor

from .narrow import has_some
from .report import Judge, said
from .scope import Place
from .tree import start_of
from .types import (
    ABSENT,
    ANYTHING,
    CONTAINER,
    CONVERTED,
    INDEXED,
    LISTED,
    LOOPED,
    NONE,
    NUMBER,
    NUMERIC,
    PAIRED,
    PRINTED,
    SAID,
    SIZED,
    TEXT,
    TEXTUAL,
    TRUTH,
    WHOLE,
    WRITTEN,
    Items,
    Known,
    Plain,
    Row,
    Table,
    Taking,
    either,
    filled,
    has_order,
    is_said,
    item_of,
    least_of,
    may_be_absent,
    may_be_none,
    members_of,
    not_none,
    record_in,
    result,
    sorts_of,
    there,
)

_TEXT, _TIME = frozenset(("text",)), frozenset(("time",))
_LISTS_OF_TEXT = frozenset(("split", "rsplit", "splitlines"))
_OF_TEXT: Mapping[str, Known] = {
    **dict.fromkeys(
        (
            *("upper", "lower", "title", "capitalize", "casefold", "swapcase", "strip", "lstrip"),
            *("rstrip", "replace", "center", "ljust", "rjust", "zfill", "expandtabs", "format"),
            *("join", "removeprefix", "removesuffix"),
        ),
        TEXT,
    ),
    **dict.fromkeys(("count", "find", "index", "rfind", "rindex"), WHOLE),
    **dict.fromkeys(("startswith", "endswith", "isdigit", "isalpha", "isupper"), TRUTH),
    **dict.fromkeys(_LISTS_OF_TEXT, Items(TEXT)),
}
_TAKEN_BY_TEXT: Mapping[str, Taking] = {
    **dict.fromkeys(
        (
            *("replace", "split", "rsplit", "strip", "lstrip", "rstrip", "count", "find", "index"),
            *("removeprefix", "removesuffix", "partition", "rpartition"),
        ),
        TEXTUAL,
    ),
    "join": LOOPED,
}
_TAKEN_BY_TIME: Mapping[str, Taking] = {"strftime": TEXTUAL, "replace": NUMERIC}
_OF_TIME = frozenset(("isoformat", "strftime", "ctime"))


def given_by_method(owner: Known, name: str, given: Mapping[int | str, Known]) -> Known:
    """What a method gives, as far as it can be told."""
    return either(*(_given_by(each, name, given) for each in members_of(owner)))


def _given_by(owner: Known, name: str, given: Mapping[int | str, Known]) -> Known:
    if isinstance(owner, Table):
        return _of_table(owner.value, name, given)
    sorts = sorts_of(owner)
    if sorts == _TIME:
        return TEXT if name in _OF_TIME else ANYTHING
    if sorts != _TEXT:
        return ANYTHING
    is_split = name in ("split", "rsplit") and bool(given)
    return Items(TEXT, least=1) if is_split else _OF_TEXT.get(name, ANYTHING)


def taken_by_method(owner: Known, name: str) -> Taking | None:
    """What the first argument of a method must be; None if nothing is said against any."""
    sorts = sorts_of(owner)
    if sorts == _TIME:
        return _TAKEN_BY_TIME.get(name)
    return _TAKEN_BY_TEXT.get(name) if sorts == _TEXT else None


def is_change(owner: Known, name: str) -> bool:
    """Whether a method would change a list or mapping, which no template may."""
    match owner:
        case Items() | Row():
            return modifies_known_mutable([], name)
        case Table():
            return modifies_known_mutable({}, name)
        case _:
            return False


def _of_table(value: Known, name: str, given: Mapping[int | str, Known]) -> Known:
    match name:
        case "items":
            return Items(Row((TEXT, value)))
        case "keys":
            return Items(TEXT)
        case "values":
            return Items(value)
        case "get":
            return either(value, given.get(1, NONE))
        case _:
            return ANYTHING


LOOP = "\0loop"
CONCAT = "\0concat"
SLICE = "\0slice"

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
_LOOPING = (
    *("select", "reject", "selectattr", "rejectattr", "unique", "batch", "slice", "map", "sort"),
    *("list", "first", "min", "max", "join", "sum", "groupby", "reverse"),
)
TAKES_NONE = frozenset(("tojson", "pprint", "written", LOOP))
TAKES_RECORDS = frozenset(("fence", "bullets", "written", "tojson", "pprint"))
ORDERS = frozenset(("sort", "min", "max", "groupby"))
BY_ATTRIBUTE = frozenset(("map", "sort", "groupby", "sum", "unique", "join", "min", "max"))
BY_FIRST = frozenset(("selectattr", "rejectattr", "groupby"))

_TAKES: Mapping[str, Taking] = {
    **dict.fromkeys(_TEXTS, PRINTED),
    **dict.fromkeys(_LOOPING, LOOPED),
    **dict.fromkeys(("indent", "wordwrap", "truncate"), TEXTUAL),
    **dict.fromkeys(("length", "count"), SIZED),
    **dict.fromkeys(("last", SLICE), INDEXED),
    **dict.fromkeys(("abs", "round"), NUMERIC),
    **dict.fromkeys(("int", "float"), CONVERTED),
    **dict.fromkeys(("tojson", "pprint", "written", "fence"), WRITTEN),
    **dict.fromkeys(("items", "dictsort", "xmlattr"), PAIRED),
    "bullets": LISTED,
    "quote": PRINTED,
}


def taken_by(name: str) -> Taking | None:
    """What a filter takes; None if nothing is said against anything."""
    return _TAKES.get(name)


def makes_text(name: str) -> bool:
    """Whether a filter writes what it is given into a text."""
    return _GIVES.get(name) == TEXT and name not in TAKES_RECORDS


def given_by(name: str, base: Known, picked: Known | None) -> Known:
    """What a filter gives; `picked` is what it finds by an attribute in each item, if it does."""
    if name == "map":
        return Items(ANYTHING if picked is None else picked, is_stream=True)
    if name in _TEXTS and is_said(base):
        return SAID
    made = _MADE.get(name)
    return _GIVES.get(name, ANYTHING) if made is None else made(base)


def chosen(name: str, test: object, base: Known) -> Known:
    """What `select` or `reject` gives for a test without arguments."""
    item = item_of(base)
    if name == "select" and test is None:
        item = filled(item)
    elif (name, test) == ("reject", "none"):
        item = not_none(item)
    return Items(item, is_stream=True)


def _picked(base: Known) -> Known:
    return item_of(base) if least_of(base) else either(item_of(base), ABSENT)


def _listed(base: Known) -> Known:
    return Items(item_of(base), least=least_of(base))


def _streamed(base: Known) -> Known:
    return Items(item_of(base), is_stream=True)


def _reversed(base: Known) -> Known:
    parts = (each if each in (TEXT, SAID) else _streamed(each) for each in members_of(base))
    return either(*parts)


def _grouped(base: Known) -> Known:
    return Items(Row((ANYTHING, Items(item_of(base), least=1))))


def _cut(base: Known) -> Known:
    return Items(Items(item_of(base)), is_stream=True)


def _paired(base: Known) -> Known:
    return Items(Row((TEXT, base.value))) if isinstance(base, Table) else ANYTHING


def _sliced(base: Known) -> Known:
    parts = (each if isinstance(each, Plain) else Items(item_of(each)) for each in members_of(base))
    return either(*parts)


_MADE: Mapping[str, Callable[[Known], Known]] = {
    **dict.fromkeys(("first", "last", "min", "max"), _picked),
    **dict.fromkeys(("sort", "list"), _listed),
    **dict.fromkeys(("selectattr", "rejectattr", "select", "reject", "unique"), _streamed),
    **dict.fromkeys(("batch", "slice"), _cut),
    **dict.fromkeys(("items", "dictsort"), _paired),
    "groupby": _grouped,
    "reverse": _reversed,
    SLICE: _sliced,
    LOOP: lambda base: base,
}


_ORDERING = frozenset(("lt", "lteq", "gt", "gteq"))
_NUMERIC_TESTS = frozenset(("even", "odd", "divisibleby"))
_ORDER_TESTS = frozenset((*_ORDERING, "le", "ge", "<", "<=", ">", ">=", "greaterthan", "lessthan"))
_TESTS_OF_WHAT_IS_THERE = frozenset(("lower", "upper", "in", "iterable", "eq", "equalto", "ne"))


class Computing(NodeVisitor):
    """The part of following expressions that computes with values."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def of(self, node: nodes.Node, place: Place) -> Known:
        """What an expression can be."""
        known: Known | None = self.visit(node, place)
        return ANYTHING if known is None else known

    def visit_Not(self, node: nodes.Not, place: Place) -> Known:
        self.of(node.node, place)
        return TRUTH

    def visit_Test(self, node: nodes.Test, place: Place) -> Known:
        if node.name in ("defined", "undefined"):
            with self._judge.none_is_fine():
                self.of(node.node, place)
            return TRUTH
        known = self.of(node.node, place)
        others = [self.of(each, place) for each in node.args]
        if node.name in _NUMERIC_TESTS:
            known = self._judge.without_none(node.node, known, place)
            self._judge.fit(node.node, known, NUMERIC, f"is {node.name}", place)
        elif node.name in _TESTS_OF_WHAT_IS_THERE:
            self._judge.without_absent(node.node, known, place)
        if node.name == "in" and others:
            self._check_in(node.node, known, node.args[0], others[0], place)
        elif node.name in _ORDER_TESTS and others:
            self._check_order(node.node, known, node.args[0], others[0], place)
        return TRUTH

    def visit_Compare(self, node: nodes.Compare, place: Place) -> Known:
        left, known = node.expr, self.of(node.expr, place)
        for operand in node.ops:
            right, its = operand.expr, self.of(operand.expr, place)
            if operand.op in _ORDERING:
                self._check_order(left, known, right, its, place)
            elif operand.op in ("in", "notin"):
                self._check_in(left, known, right, its, place)
            else:
                self._judge.without_absent(left, known, place)
                self._judge.without_absent(right, its, place)
                self._judge.compare(left, known, [right], place)
                self._judge.compare(right, its, [left], place)
            left, known = right, its
        return TRUTH

    def _check_order(
        self, left: nodes.Expr, known: Known, right: nodes.Expr, its: Known, place: Place
    ) -> None:
        known = self._judge.without_none(left, known, place)
        its = self._judge.without_none(right, its, place)
        if not has_order(known, its):
            self._judge.tell_both((left, known), (right, its), "cannot be compared", place)

    def _check_in(
        self, left: nodes.Expr, known: Known, right: nodes.Expr, its: Known, place: Place
    ) -> None:
        self._judge.without_absent(left, known, place)
        its = self._judge.without_none(right, its, place)
        self._judge.fit(right, its, CONTAINER, "in", place)
        if "text" in sorts_of(its) and not sorts_of(known) <= {"text", "any"}:
            told = "cannot be looked for in it"
            self._judge.tell_both((left, known), (right, its), told, place)
        if isinstance(right, nodes.List | nodes.Tuple):
            self._judge.compare(left, known, right.items, place)
        elif isinstance(its, Items):
            self._judge.compare(right, its.item, [left], place)

    def visit_Add(self, node: nodes.BinExpr, place: Place) -> Known:
        """Compute with two values; the same for every operator between two values."""
        left = self._judge.without_none(node.left, self.of(node.left, place), place)
        right = self._judge.without_none(node.right, self.of(node.right, place), place)
        if node.operator == "%" and "text" in sorts_of(left):
            self._judge.check_printed(node.right, right, place)
        made = result(node.operator, left, right)
        if made is None:
            told = f"cannot be taken together by {node.operator}"
            self._judge.tell_both((node.left, left), (node.right, right), told, place)
        return left if made is None else made

    visit_Sub = visit_Mul = visit_Div = visit_FloorDiv = visit_Mod = visit_Pow = visit_Add

    def visit_Neg(self, node: nodes.UnaryExpr, place: Place) -> Known:
        """Turn the sign of a number."""
        known = self._judge.without_none(node.node, self.of(node.node, place), place)
        self._judge.fit(node.node, known, NUMERIC, node.operator, place)
        return known

    visit_Pos = visit_Neg


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
