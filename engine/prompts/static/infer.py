"""Type inference: the type of each expression; reports what cannot work on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol, cast

from jinja2 import nodes
from jinja2.visitor import NodeVisitor

from ..environment import CONCAT, LOOP
from .diagnostics import Diagnostics, PositionFinder, describe
from .flow import (
    Flow,
    MacroBinding,
    ModuleBinding,
    ValueBinding,
    assume,
    is_defined,
    is_key_of,
    is_non_empty,
    narrow,
)
from .signatures import (
    BY_ATTRIBUTE,
    BY_FIRST,
    ORDERS,
    TAKES_NONE,
    filter_accepts,
    filter_result,
    is_mutation,
    makes_text,
    method_accepts,
    method_result,
    selected,
)
from .tree import block_call, start_position
from .types import (
    ABSENT,
    ANY,
    BOOLEAN,
    CALLABLE,
    CONTAINER,
    INDEXED,
    INTEGER,
    NO_ELSE,
    NOUNS,
    NUMERIC,
    TEXT,
    ListType,
    LiteralType,
    MappingType,
    RecordType,
    ScalarType,
    StaticType,
    TupleType,
    binary_result,
    categories_of,
    find_record,
    is_orderable,
    item_type,
    lookup_type,
    may_be_absent,
    may_be_none,
    min_length,
    python_type,
    record_type,
    union,
    when_falsy,
    without_absent,
    without_null,
)

_ORDERING = frozenset(("lt", "lteq", "gt", "gteq"))
_NUMERIC_TESTS = frozenset(("even", "odd", "divisibleby"))
_ORDER_TESTS = frozenset((*_ORDERING, "le", "ge", "<", "<=", ">", ">=", "greaterthan", "lessthan"))
_TESTS_OF_DEFINED = frozenset(("lower", "upper", "in", "iterable", "eq", "equalto", "ne"))
_COUNTS = ("index", "index0", "revindex", "revindex0", "length", "depth", "depth0")


def loop_type(item: StaticType) -> StaticType:
    """The type of `loop` inside a loop over such items."""
    beside = union(item, ABSENT)
    parts: dict[str, StaticType] = {
        **dict.fromkeys(_COUNTS, INTEGER),
        **dict.fromkeys(("first", "last"), BOOLEAN),
        **dict.fromkeys(("previtem", "nextitem"), beside),
        **dict.fromkeys(("cycle", "changed"), CALLABLE),
    }
    return record_type("loop", parts)


def iterated(node: nodes.For) -> nodes.Node:
    """What a loop iterates over, without the filter that charges its iterations."""
    return (node.iter.node if isinstance(node.iter, nodes.Filter) else None) or node.iter


def is_not_iterable(value_type: StaticType) -> bool:
    """Whether the value is certainly no list, text or mapping."""
    match value_type:
        case ScalarType(kind=kind):
            return kind is not str
        case LiteralType(literals=literals):
            return not isinstance(literals[0], str)
        case RecordType():
            return True
        case _:
            return False


class Walker(Protocol):
    """What inference needs of the walk that it is a part of."""

    def call_macro(
        self,
        binding: MacroBinding,
        call: nodes.Call,
        given: Mapping[int | str, StaticType],
        at: Flow,
    ) -> None:
        """Walk a macro with the types of its arguments, by position and by name."""
        ...

    def print_block(self, block: str, flow: Flow) -> None:
        """Walk the block that `self.NAME()` or `super()` prints."""
        ...

    def namespace(self, call: nodes.Call, given: Mapping[int | str, StaticType]) -> StaticType:
        """The type of a new namespace."""
        ...


class Inference(NodeVisitor):
    """Infers the type of each expression, and reports what cannot work on the way."""

    def __init__(self, walker: Walker, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics
        self._walker = walker

    def infer(self, node: nodes.Node, flow: Flow) -> StaticType:
        """The type of an expression."""
        value_type: StaticType | None = self.visit(node, flow)
        return ANY if value_type is None else value_type

    def print_value(self, node: nodes.Node, flow: Flow) -> None:
        """Infer and check an expression that is printed."""
        self._diagnostics.check_printed(node, self.infer(node, flow), flow)

    def visit_Const(self, node: nodes.Const, flow: Flow) -> StaticType:
        return python_type(cast("object", type(node.value)))

    def visit_Name(self, node: nodes.Name, flow: Flow) -> StaticType:
        binding = flow.scope.find(node.name).binding
        if isinstance(binding, MacroBinding):
            return CALLABLE
        value_type = binding.value_type if isinstance(binding, ValueBinding) else ANY
        return narrow(node, value_type, flow)

    def visit_Getattr(self, node: nodes.Getattr, flow: Flow) -> StaticType:
        if isinstance(flow.binding(node.node), ModuleBinding):
            binding = flow.binding(node)
            return binding.value_type if isinstance(binding, ValueBinding) else ANY
        return self._field(node, node.attr, flow, lambda: flow.template.after(node, r"\.\s*(\w+)"))

    def visit_Getitem(self, node: nodes.Getitem, flow: Flow) -> StaticType:
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return self._field(node, node.arg.value, flow, partial(start_position, node.arg))
        base = self.infer(node.node, flow)
        self._diagnostics.require_value(node.arg, self.infer(node.arg, flow), flow)
        value_type = self._diagnostics.require_value(node.node, base, flow)
        if isinstance(value_type, MappingType):
            is_there = is_key_of(node.arg, node.node, flow)
            item = value_type.value if is_there else lookup_type(value_type)
        else:
            self._diagnostics.require_accepted(node.node, value_type, INDEXED, "[ ]", flow)
            item = self._item(node, value_type, flow)
        item = narrow(node, item, flow)
        is_certain = is_defined(node, flow) or may_be_none(base)
        return without_absent(item) if is_certain else item

    def _item(self, node: nodes.Getitem, value_type: StaticType, flow: Flow) -> StaticType:
        index = node.arg.value if isinstance(node.arg, nodes.Const) else None
        if isinstance(node.arg, nodes.Neg) and isinstance(node.arg.node, nodes.Const):
            index = -node.arg.node.value
        min_items = max(min_length(value_type), is_non_empty(node.node, flow))
        is_there = isinstance(index, int) and -min_items <= index < min_items
        if isinstance(value_type, TupleType) and isinstance(index, int) and is_there:
            return value_type.parts[index]
        return item_type(value_type) if is_there else union(item_type(value_type), ABSENT)

    def _field(
        self, node: nodes.Getattr | nodes.Getitem, name: str, flow: Flow, at: PositionFinder
    ) -> StaticType:
        base = self.infer(node.node, flow)
        if not is_defined(node, flow):
            return narrow(node, self._diagnostics.field_type(node.node, base, name, flow, at), flow)
        with self._diagnostics.allow_none():
            value_type = self._diagnostics.field_type(node.node, base, name, flow, at)
        return narrow(node, without_absent(value_type), flow)

    def visit_CondExpr(self, node: nodes.CondExpr, flow: Flow) -> StaticType:
        self.infer(node.test, flow)
        first = self.infer(node.expr1, assume(flow, node.test, truth=True))
        if node.expr2 is None:
            return union(first, NO_ELSE)
        return union(first, self.infer(node.expr2, assume(flow, node.test, truth=False)))

    def visit_And(self, node: nodes.And, flow: Flow) -> StaticType:
        left = self.infer(node.left, flow)
        right = self.infer(node.right, assume(flow, node.left, truth=True))
        return union(when_falsy(left), right)

    def visit_Or(self, node: nodes.Or, flow: Flow) -> StaticType:
        left = self.infer(node.left, flow)
        return union(
            without_null(left), self.infer(node.right, assume(flow, node.left, truth=False))
        )

    def visit_List(self, node: nodes.List, flow: Flow) -> StaticType:
        items = [self.infer(item, flow) for item in node.items]
        return ListType(union(*items), min_items=len(items))

    def visit_Tuple(self, node: nodes.Tuple, flow: Flow) -> StaticType:
        return TupleType(tuple(self.infer(item, flow) for item in node.items))

    def visit_Call(self, node: nodes.Call, flow: Flow) -> StaticType:
        given: dict[int | str, StaticType] = {
            index: self.infer(argument, flow) for index, argument in enumerate(node.args)
        }
        given |= {keyword.key: self.infer(keyword.value, flow) for keyword in node.kwargs}
        binding = flow.binding(node.node)
        if (block := block_call(node)) is not None:
            self._walker.print_block(block, flow)
            return TEXT
        if isinstance(binding, MacroBinding):
            self._walker.call_macro(binding, node, given, flow)
            return TEXT
        if isinstance(node.node, nodes.Getattr):
            self._check_arguments(node, node.node, given, flow)
            return self._method(node.node, given, flow)
        self._check_called(node.node, self.infer(node.node, flow), flow)
        return self._function(node, given, flow)

    def _check_arguments(
        self,
        call: nodes.Call,
        method: nodes.Getattr,
        given: Mapping[int | str, StaticType],
        flow: Flow,
    ) -> None:
        """Report arguments that a method of a text or time does not accept."""
        with self._diagnostics.allow_none():
            owner = without_null(self.infer(method.node, flow))
        if method.attr == "format":
            for argument in (*call.args, *call.kwargs):
                value = argument.value if isinstance(argument, nodes.Keyword) else argument
                self._diagnostics.check_printed(value, self.infer(value, flow), flow)
        elif (accepts := method_accepts(owner, method.attr)) is not None and call.args:
            value_type = self._diagnostics.require_value(call.args[0], given[0], flow)
            self._diagnostics.require_accepted(
                call.args[0], value_type, accepts, f".{method.attr}()", flow
            )

    def _function(
        self, node: nodes.Call, given: Mapping[int | str, StaticType], flow: Flow
    ) -> StaticType:
        """The type of a call of one of Jinja's global functions."""
        name = node.node.name if isinstance(node.node, nodes.Name) else None
        if name == "namespace":
            return self._walker.namespace(node, given)
        if name != "range":
            return ANY
        for index, argument in enumerate(node.args):
            self._diagnostics.require_accepted(argument, given[index], NUMERIC, "range", flow)
        return ListType(INTEGER)

    def _check_called(self, node: nodes.Expr, value_type: StaticType, flow: Flow) -> None:
        value_type = self._diagnostics.require_value(node, value_type, flow)
        categories = categories_of(value_type) - {"any", "callable"}
        if categories and not (isinstance(node, nodes.Name) and node.name == "loop"):
            message = f"{describe(node)} is {NOUNS[min(categories)]}, and cannot be called"
            self._diagnostics.report(start_position(node), flow, "P018", message)

    def _method(
        self, node: nodes.Getattr, given: Mapping[int | str, StaticType], flow: Flow
    ) -> StaticType:
        with self._diagnostics.allow_none():
            owner = without_null(self.infer(node.node, flow))
        if is_mutation(owner, node.attr):
            message = f"{describe(node.node)} cannot be changed here; make a new list with +"
            self._diagnostics.report(
                flow.template.after(node, r"\.\s*(\w+)"), flow, "P018", message
            )
            return ANY
        if isinstance(owner, MappingType):
            self._diagnostics.require_value(node.node, self.infer(node.node, flow), flow)
        else:
            self._check_called(node, self.infer(node, flow), flow)
        return method_result(owner, node.attr, given)

    def visit_Not(self, node: nodes.Not, flow: Flow) -> StaticType:
        self.infer(node.node, flow)
        return BOOLEAN

    def visit_Test(self, node: nodes.Test, flow: Flow) -> StaticType:
        if node.name in ("defined", "undefined"):
            with self._diagnostics.allow_none():
                self.infer(node.node, flow)
            return BOOLEAN
        value_type = self.infer(node.node, flow)
        others = [self.infer(each, flow) for each in node.args]
        if node.name in _NUMERIC_TESTS:
            value_type = self._diagnostics.require_value(node.node, value_type, flow)
            self._diagnostics.require_accepted(
                node.node, value_type, NUMERIC, f"is {node.name}", flow
            )
        elif node.name in _TESTS_OF_DEFINED:
            self._diagnostics.require_present(node.node, value_type, flow)
        if node.name == "in" and others:
            self._check_in(node.node, value_type, node.args[0], others[0], flow)
        elif node.name in _ORDER_TESTS and others:
            self._check_order(node.node, value_type, node.args[0], others[0], flow)
        return BOOLEAN

    def visit_Compare(self, node: nodes.Compare, flow: Flow) -> StaticType:
        left, value_type = node.expr, self.infer(node.expr, flow)
        for operand in node.ops:
            right, right_type = operand.expr, self.infer(operand.expr, flow)
            if operand.op in _ORDERING:
                self._check_order(left, value_type, right, right_type, flow)
            elif operand.op in ("in", "notin"):
                self._check_in(left, value_type, right, right_type, flow)
            else:
                self._diagnostics.require_present(left, value_type, flow)
                self._diagnostics.require_present(right, right_type, flow)
                self._diagnostics.check_comparison(left, value_type, [right], flow)
                self._diagnostics.check_comparison(right, right_type, [left], flow)
            left, value_type = right, right_type
        return BOOLEAN

    def _check_order(
        self,
        left: nodes.Expr,
        value_type: StaticType,
        right: nodes.Expr,
        right_type: StaticType,
        flow: Flow,
    ) -> None:
        value_type = self._diagnostics.require_value(left, value_type, flow)
        right_type = self._diagnostics.require_value(right, right_type, flow)
        if not is_orderable(value_type, right_type):
            self._diagnostics.report_pair(
                (left, value_type), (right, right_type), "cannot be compared", flow
            )

    def _check_in(
        self,
        left: nodes.Expr,
        value_type: StaticType,
        right: nodes.Expr,
        right_type: StaticType,
        flow: Flow,
    ) -> None:
        self._diagnostics.require_present(left, value_type, flow)
        right_type = self._diagnostics.require_value(right, right_type, flow)
        self._diagnostics.require_accepted(right, right_type, CONTAINER, "in", flow)
        if "text" in categories_of(right_type) and not categories_of(value_type) <= {"text", "any"}:
            message = "cannot be used with `in`"
            self._diagnostics.report_pair((left, value_type), (right, right_type), message, flow)
        if isinstance(right, nodes.List | nodes.Tuple):
            self._diagnostics.check_comparison(left, value_type, right.items, flow)
        elif isinstance(right_type, ListType):
            self._diagnostics.check_comparison(right, right_type.item, [left], flow)

    def visit_Add(self, node: nodes.BinExpr, flow: Flow) -> StaticType:
        """Infer a binary operation."""
        left = self._diagnostics.require_value(node.left, self.infer(node.left, flow), flow)
        right = self._diagnostics.require_value(node.right, self.infer(node.right, flow), flow)
        if node.operator == "%" and "text" in categories_of(left):
            self._diagnostics.check_printed(node.right, right, flow)
        result_type = binary_result(node.operator, left, right)
        if result_type is None:
            message = f"cannot be combined by {node.operator}"
            self._diagnostics.report_pair((node.left, left), (node.right, right), message, flow)
        return left if result_type is None else result_type

    visit_Sub = visit_Mul = visit_Div = visit_FloorDiv = visit_Mod = visit_Pow = visit_Add

    def visit_Neg(self, node: nodes.UnaryExpr, flow: Flow) -> StaticType:
        """Infer a unary operation."""
        value_type = self._diagnostics.require_value(node.node, self.infer(node.node, flow), flow)
        self._diagnostics.require_accepted(node.node, value_type, NUMERIC, node.operator, flow)
        return value_type

    visit_Pos = visit_Neg

    def visit_Filter(self, node: nodes.Filter, flow: Flow) -> StaticType:
        if node.node is None:  # the innermost filter of a block gets the printed text
            return self._filtered(node, node, TEXT, flow)
        if node.name in ("default", "d"):
            return self._default(node, node.node, flow)
        if node.name == CONCAT:
            for part in node.node.iter_child_nodes():
                self.print_value(part, flow)
            return TEXT
        return self._filtered(node, node.node, self.infer(node.node, flow), flow)

    def _filtered(
        self, node: nodes.Filter, value: nodes.Expr, value_type: StaticType, flow: Flow
    ) -> StaticType:
        for child in node.iter_child_nodes(exclude=("node",)):
            argument = child.value if isinstance(child, nodes.Keyword) else child
            given = self.infer(argument, flow)
            if node.name == "format":
                self._diagnostics.check_printed(argument, given, flow)
            elif not isinstance(argument, nodes.Const):
                self._diagnostics.require_value(argument, given, flow)
        picked = None
        if node.name != LOOP:
            value_type = self._check_input(
                node.name, value, value_type, flow, by_attribute=bool(_attribute(node))
            )
            picked = self._picked(node, value, value_type, flow)
            self._check_items(
                node.name, value, item_type(value_type) if picked is None else picked, flow
            )
        if node.name in ("select", "reject") and len(node.args) <= 1 and not node.kwargs:
            return selected(node.name, _constant(node.args), value_type)
        result_type = filter_result(node.name, value_type, picked)
        is_there = node.name in ("first", "last") and is_non_empty(value, flow)
        return without_absent(result_type) if is_there else result_type

    def _check_input(
        self,
        name: str,
        value: nodes.Expr,
        value_type: StaticType,
        flow: Flow,
        *,
        by_attribute: bool,
    ) -> StaticType:
        """Check the input of a filter; its type after that."""
        if name not in TAKES_NONE or may_be_absent(value_type):
            value_type = self._diagnostics.require_value(value, value_type, flow)
        if makes_text(name) and not by_attribute and find_record(value_type) is not None:
            self._diagnostics.report_record(value, value_type, flow)
        elif (accepts := filter_accepts(name)) is not None:
            self._diagnostics.require_accepted(value, value_type, accepts, f"| {name}", flow)
        return value_type

    def _picked(
        self, node: nodes.Filter, value: nodes.Expr, value_type: StaticType, flow: Flow
    ) -> StaticType | None:
        """What a filter like `map` takes from each item."""
        if node.name != "map" or _attribute(node):
            return self._by_field(node, value, value_type, flow)
        name = _constant(node.args)
        if not isinstance(name, str):
            return None
        if name in ("default", "d"):
            return self._or_default(node.args[1:], item_type(value_type), flow)
        item = self._check_input(name, value, item_type(value_type), flow, by_attribute=False)
        return filter_result(name, item, None)

    def _check_items(self, name: str, value: nodes.Expr, item: StaticType, flow: Flow) -> None:
        """Report items that a filter cannot order, add or print."""
        if name not in (*ORDERS, "sum", "join"):
            return
        if may_be_none(item):
            message = f"{describe(value)} may contain None, which | {name} does not accept; "
            message += "remove it with | select"
            self._diagnostics.report(start_position(value), flow, "P005", message)
        item = without_null(item)
        if name in ORDERS and not is_orderable(item):
            message = f"the items of {describe(value)} cannot be ordered by | {name}"
            self._diagnostics.report(start_position(value), flow, "P018", message)
        elif name == "sum":
            self._diagnostics.require_accepted(value, item, NUMERIC, "| sum", flow)

    def _default(self, node: nodes.Filter, value: nodes.Expr, flow: Flow) -> StaticType:
        with self._diagnostics.allow_none():
            value_type = self.infer(value, flow)
        boolean = [each.value for each in node.kwargs if each.key == "boolean"]
        return self._or_default([*(node.args or [nodes.Const("")]), *boolean], value_type, flow)

    def _or_default(
        self, arguments: Sequence[nodes.Expr], value_type: StaticType, flow: Flow
    ) -> StaticType:
        """The type of `default`: its first argument if missing, or false where it has two."""
        instead = self.infer(arguments[0], flow) if arguments else TEXT
        return union(
            without_null(value_type) if len(arguments) > 1 else without_absent(value_type), instead
        )

    def _by_field(
        self, node: nodes.Filter, value: nodes.Expr, base: StaticType, flow: Flow
    ) -> StaticType | None:
        """What a filter like `map(attribute="name")` takes from each item."""
        literal_names: Sequence[nodes.Node] = ()
        if node.name in BY_FIRST:
            literal_names = node.args[:1]
        elif node.name in BY_ATTRIBUTE:
            literal_names = _attribute(node)
        if not literal_names or not isinstance(const := literal_names[0], nodes.Const):
            return None
        value_type = item_type(base)
        for part in str(const.value).split("."):
            value_type = self._diagnostics.field_type(
                value, value_type, part, flow, partial(start_position, const)
            )
        return value_type


def _attribute(node: nodes.Filter) -> list[nodes.Expr]:
    """The argument `attribute` of a filter."""
    return [each.value for each in node.kwargs if each.key == "attribute"]


def _constant(arguments: Sequence[nodes.Expr]) -> object:
    """The value of the first argument, if it is a constant."""
    first = arguments[0] if arguments else None
    return first.value if isinstance(first, nodes.Const) else first
