"""Type inference: the type of each expression; reports what cannot work on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Protocol, TypeAlias, cast

from jinja2 import nodes
from jinja2.visitor import NodeVisitor

from ...errors import closest
from ..environment import CONCAT, KEY, LOOP
from ..sources import block_call, position_of, start_position
from .diagnostics import Diagnostics, PositionFinder, describe
from .flow import (
    Flow,
    MacroBinding,
    ModuleBinding,
    ValueBinding,
    assume,
    is_defined,
    is_key,
    is_loop_index,
    is_non_empty,
    narrow,
)
from .signatures import (
    ACCEPTS_NONE,
    ATTRIBUTE_AT,
    ORDERS,
    WRITES_JSON,
    Given,
    Place,
    argument_accepts,
    brace_places,
    filter_accepts,
    filter_result,
    global_result,
    is_mutation,
    makes_text,
    method_accepts,
    method_result,
    percent_places,
    selected,
    wrong_arguments,
    wrong_types,
)
from .types import (
    ABSENT,
    ANY,
    BOOLEAN,
    CALLABLE,
    CONTAINER,
    HASHED,
    INDEXED,
    INTEGER,
    KEYED,
    LOOPED,
    NO_ELSE,
    NONE,
    NOUNS,
    NUMBER,
    NUMERIC,
    PRINTED,
    TEXT,
    TEXTUAL,
    CallableType,
    ListType,
    LiteralType,
    MappingType,
    RecordType,
    StaticType,
    TupleType,
    binary_result,
    categories_of,
    find_unprintable,
    hashed_type,
    is_orderable,
    item_type,
    limited,
    list_members,
    lookup_type,
    may_be_absent,
    may_be_none,
    members,
    min_length,
    python_type,
    record_type,
    union,
    value_at,
    values_of,
    when_falsy,
    without_absent,
    without_null,
)

_ORDERING = frozenset(("lt", "lteq", "gt", "gteq"))
_NUMERIC_TESTS = frozenset(("even", "odd", "divisibleby"))
_ORDER_TESTS = frozenset((*_ORDERING, "le", "ge", "<", "<=", ">", ">=", "greaterthan", "lessthan"))
_EQUALITY_TESTS = frozenset(("eq", "==", "equalto", "ne", "!="))
_TESTS_OF_DEFINED = _EQUALITY_TESTS | {"lower", "upper", "in", "iterable"}
_METHODS = ("items", "keys", "values", "get", "copy")
_MAY_BE_UNDEFINED = (nodes.Name, nodes.Getattr, nodes.Getitem, nodes.CondExpr)
"""What Jinja evaluates to an undefined value where a part of it is None."""
_NULL = (NONE, ABSENT, NO_ELSE)
_GLOBALS = frozenset(("range", "dict", "namespace", "cycler", "joiner", "self", "super"))
_TAKES = {"loop": LOOPED, "dict": KEYED}
"""What the functions of these names take."""
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
        self._memo: dict[tuple[int, int, bool], tuple[nodes.Node, Flow, StaticType]] = {}
        self._depth = 0

    def infer(self, node: nodes.Node, flow: Flow) -> StaticType:
        """The type of an expression; memoized inside of the outermost expression."""
        key = (id(node), id(flow), self._diagnostics.in_test)
        if (known := self._memo.get(key)) is not None:
            return known[2]
        if self._diagnostics.in_test and not isinstance(node, _MAY_BE_UNDEFINED):
            with self._diagnostics.allow_none(is_allowed=False):
                return self.infer(node, flow)
        self._depth += 1
        found: StaticType | None = self.visit(node, flow)
        self._depth -= 1
        value_type = ANY if found is None else found
        if self._depth:
            self._memo[key] = (node, flow, value_type)
        else:
            self._memo.clear()
        return value_type

    def print_value(self, node: nodes.Node, flow: Flow) -> None:
        """Infer and check an expression that is printed."""
        self._diagnostics.check_printed(node, self.infer(node, flow), flow)

    def visit_Const(self, node: nodes.Const, flow: Flow) -> StaticType:
        if node.value == math.inf:
            message = "the number is too large to be a finite one; make it smaller"
            self._diagnostics.report(start_position(node), flow, "P011", message)
        return python_type(cast("object", type(node.value)))

    def visit_Name(self, node: nodes.Name, flow: Flow) -> StaticType:
        binding = flow.scope.find(node.name).binding
        if isinstance(binding, MacroBinding):
            return CALLABLE
        if binding is None and node.name in _GLOBALS and not flow.scope.find(node.name).may_be_set:
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
        with self._diagnostics.allow_none(is_allowed=False):
            key = self._diagnostics.require_value(node.arg, self.infer(node.arg, flow), flow)
        value_type = self._diagnostics.require_value(node.node, base, flow)
        if not all(map(_is_mapping, members(value_type))):
            self._diagnostics.require_accepted(node.node, value_type, INDEXED, "[ ]", flow)
            item = self._item(node, value_type, flow)
        else:
            self._diagnostics.require_accepted(
                node.arg, hashed_type(key), HASHED, "[ ] of a mapping", flow
            )
            item = union(*(_value_at(each, key) for each in members(value_type)))
        item = narrow(node, item, flow)
        is_certain = _is_defined(node, value_type, flow) or may_be_none(base)
        return without_absent(item) if is_certain else item

    def _item(self, node: nodes.Getitem, value_type: StaticType, flow: Flow) -> StaticType:
        index = node.arg.value if isinstance(node.arg, nodes.Const) else None
        if isinstance(node.arg, nodes.Neg) and isinstance(node.arg.node, nodes.Const):
            index = -node.arg.node.value
        min_items = max(min_length(value_type), is_non_empty(node.node, flow))
        is_there = isinstance(index, int) and -min_items <= index < min_items
        is_there = is_there or is_loop_index(node.arg, node.node, flow)
        if isinstance(value_type, TupleType) and isinstance(index, int) and is_there:
            return value_type.parts[index]
        return item_type(value_type) if is_there else union(item_type(value_type), ABSENT)

    def _field(
        self, node: nodes.Getattr | nodes.Getitem, name: str, flow: Flow, at: PositionFinder
    ) -> StaticType:
        base = self.infer(node.node, flow)
        if not _is_defined(node, without_null(base), flow):
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
        right = self.infer(node.right, assume(flow, node.left, truth=False))
        return union(*(each for each in members(left) if each not in _NULL), right)

    def visit_List(self, node: nodes.List, flow: Flow) -> StaticType:
        items = [self.infer(item, flow) for item in node.items]
        return limited(ListType(union(*items), min_items=len(items)))

    def visit_Tuple(self, node: nodes.Tuple, flow: Flow) -> StaticType:
        return limited(TupleType(tuple(self.infer(item, flow) for item in node.items)))

    def visit_Dict(self, node: nodes.Dict, flow: Flow) -> StaticType:
        """Infer a mapping; a record if all keys are constant texts."""
        pairs = [
            (each, self.infer(each.key, flow), self.infer(each.value, flow)) for each in node.items
        ]
        for pair, key, value in pairs:
            self._diagnostics.require_accepted(pair.key, hashed_type(key), HASHED, "a key", flow)
            self._diagnostics.require_present(pair.value, value, flow)
        keys = [each.key.value for each, _, _ in pairs if isinstance(each.key, nodes.Const)]
        if len(keys) == len(pairs) and all(isinstance(each, str) for each in keys):
            parts = {str(key): value for key, (_, _, value) in zip(keys, pairs, strict=True)}
            return limited(record_type("mapping", parts, is_mapping=True))
        key, value = union(*(key for _, key, _ in pairs)), union(*(each for *_, each in pairs))
        return limited(MappingType(value, key))

    def visit_Call(self, node: nodes.Call, flow: Flow) -> StaticType:
        given: dict[int | str, StaticType] = {
            index: self.infer(argument, flow) for index, argument in enumerate(node.args)
        }
        given |= {keyword.key: self.infer(keyword.value, flow) for keyword in node.kwargs}
        if node.args and isinstance(key := node.args[0], nodes.Const) and _is_get(node.node):
            given[0] = LiteralType((key.value,))
        binding = flow.binding(node.node)
        if (block := block_call(node)) is not None:
            self._walker.print_block(block, flow)
            return TEXT
        if isinstance(binding, MacroBinding):
            self._walker.call_macro(binding, node, given, flow)
            return TEXT
        if isinstance(node.node, nodes.Getattr):
            return self._method(node, node.node, given, flow)
        called = self._check_called(node.node, self.infer(node.node, flow), flow)
        takes = _TAKES.get(node.node.name) if isinstance(node.node, nodes.Name) else None
        if takes is not None and node.args and len([*members(given[0])]) == 1:
            by = cast("nodes.Name", node.node).name
            self._diagnostics.require_accepted(node.args[0], given[0], takes, by, flow)
        return self._function(node, called, given, flow)

    def _check_arguments(
        self, call: nodes.Call, owner: StaticType, name: str, given: Given, flow: Flow
    ) -> None:
        """Report arguments that a method does not accept."""
        if name in ("count", "index") and list_members(owner):
            for searched in (cast("nodes.Getattr", call.node).node, *call.args):
                self._diagnostics.require_present(searched, self.infer(searched, flow), flow)
        elif name in ("format", "format_map"):
            self._check_format(call, name, given, flow)
        elif name == "replace" and categories_of(owner) <= {"time", "date", "clock"}:
            for value in (*call.args, *(each.value for each in call.kwargs)):
                part = self.infer(value, flow)
                self._diagnostics.require_accepted(value, part, NUMERIC, ".replace()", flow)
        elif (accepts := method_accepts(owner, name)) is not None and call.args:
            value_type = self._diagnostics.require_value(call.args[0], given[0], flow)
            self._diagnostics.require_accepted(
                call.args[0], value_type, accepts, f".{name}()", flow
            )
            if name == "join":
                self._diagnostics.require_accepted(
                    call.args[0], item_type(value_type), TEXTUAL, ".join() of a list", flow
                )

    def _check_format(self, call: nodes.Call, name: str, given: Given, flow: Flow) -> None:
        """Report what the methods `format` and `format_map` of a text cannot put into it."""
        template = cast("nodes.Getattr", call.node).node
        places: list[Place] = []
        if isinstance(template, nodes.Const):
            places = self._places(template, brace_places, flow)
        arguments = _arguments(call, given)
        if name == "format_map" and call.args:
            for each in members(given[0]):
                self._check_mapping(call.args[0], each, places, flow)
                self._check_values(call.args[0], each, flow)
        elif isinstance(template, nodes.Const) and call.dyn_args is call.dyn_kwargs is None:
            self._check_places(template, places, arguments, flow)
        else:
            for value, value_type in arguments.values():
                self._diagnostics.check_printed(value, value_type, flow)

    def _check_values(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> None:
        """Check the values of a mapping as if each were printed."""
        for each in members(value_type):
            if isinstance(each, RecordType) and each.is_mapping:
                self._diagnostics.check_printed(node, values_of(each), flow)
            elif isinstance(each, MappingType):
                self._diagnostics.check_printed(node, each.value, flow)

    def _function(
        self, node: nodes.Call, called: StaticType, given: Given, flow: Flow
    ) -> StaticType:
        """The type of a call of a global function, or of what one has returned."""
        if isinstance(called, CallableType):
            return called.result
        name = node.node.name if isinstance(node.node, nodes.Name) else None
        if name is None or flow.scope.find(name).is_set:
            return ANY
        if name == "namespace":
            return self._walker.namespace(node, given)
        if name == "range":
            self._check_range(node, given, flow)
            return ListType(INTEGER)
        for keyword in node.kwargs if name == "dict" else ():
            self._diagnostics.require_present(keyword.value, given[keyword.key], flow)
        is_known = not node.args and node.dyn_args is None and node.dyn_kwargs is None
        return global_result(name, given, has_only_keywords=is_known)

    def _check_range(self, node: nodes.Call, given: Given, flow: Flow) -> None:
        if not given and node.dyn_args is None:
            at = start_position(node.node)
            self._diagnostics.report(at, flow, "P009", "range needs a number")
        for index, argument in enumerate(node.args):
            self._diagnostics.require_accepted(argument, given[index], NUMERIC, "range", flow)
            self._check_whole(argument, given[index], "range", flow)

    def _check_called(self, node: nodes.Expr, value_type: StaticType, flow: Flow) -> StaticType:
        value_type = self._diagnostics.require_value(node, value_type, flow)
        categories = categories_of(value_type) - {"any", "callable"}
        if categories and not (isinstance(node, nodes.Name) and node.name == "loop"):
            message = f"{describe(node)} is {NOUNS[min(categories)]}, and cannot be called"
            self._diagnostics.report(start_position(node), flow, "P018", message)
        return value_type

    def _method(
        self, call: nodes.Call, node: nodes.Getattr, given: Given, flow: Flow
    ) -> StaticType:
        with self._diagnostics.allow_none():
            owner = without_null(self.infer(node.node, flow))
        self._check_arguments(call, owner, node.attr, given, flow)
        if is_mutation(owner, node.attr):
            message = f"{describe(node.node)} cannot be changed here; make a new list with +"
            self._diagnostics.report(
                flow.template.after(node, r"\.\s*(\w+)"), flow, "P018", message
            )
            return ANY
        if isinstance(node.node, nodes.Name) and node.node.name == "loop":
            if node.attr == "cycle" and call.dyn_args is None:
                return self._cycle(node, given, flow)
            if node.attr == "changed":
                return BOOLEAN
        if isinstance(owner, MappingType):
            self._diagnostics.require_value(node.node, self.infer(node.node, flow), flow)
            if not hasattr(dict, node.attr):
                message = f"{describe(node.node)} is a mapping, which has no method {node.attr!r}"
                at = flow.template.after(node, r"\.\s*(\w+)")
                self._diagnostics.report(at, flow, "P002", message, closest(node.attr, _METHODS))
        else:
            called = self._check_called(node, self.infer(node, flow), flow)
            if isinstance(called, CallableType):
                return called.result
        self._check_arity(call, owner, node, given, flow)
        return method_result(owner, node.attr, given)

    def _cycle(self, node: nodes.Getattr, given: Given, flow: Flow) -> StaticType:
        """The type of `loop.cycle()`, which needs a value."""
        if not given:
            at = flow.template.after(node, r"\.\s*(\w+)")
            self._diagnostics.report(at, flow, "P009", "loop.cycle() needs a value")
        return union(*given.values())

    def _check_arity(
        self,
        call: nodes.Call,
        owner: StaticType,
        method: nodes.Getattr,
        given: Given,
        flow: Flow,
    ) -> None:
        """Report a method that gets too many or too few arguments, or wrong ones."""
        if call.dyn_args is not None or call.dyn_kwargs is not None:
            return
        keywords = [each.key for each in call.kwargs]
        wrong = wrong_arguments(owner, method.attr, len(call.args), keywords)
        wrong = wrong or wrong_types(owner, method.attr, given)
        if wrong is not None:
            message = f"wrong arguments of the method {method.attr!r}: {wrong}"
            at = flow.template.after(method, r"\.\s*(\w+)")
            self._diagnostics.report(at, flow, "P009", message)

    def visit_Not(self, node: nodes.Not, flow: Flow) -> StaticType:
        self.infer(node.node, flow)
        return BOOLEAN

    def visit_Test(self, node: nodes.Test, flow: Flow) -> StaticType:
        if node.name in ("defined", "undefined"):
            with self._diagnostics.allow_none():
                self.infer(node.node, flow)
            return BOOLEAN
        self._check_test(node.name, node.node, self.infer(node.node, flow), node.args, flow)
        return BOOLEAN

    def _check_test(
        self,
        name: str,
        value: nodes.Expr,
        value_type: StaticType,
        arguments: Sequence[nodes.Expr],
        flow: Flow,
    ) -> None:
        """Report operands that a test does not accept."""
        others = [self.infer(each, flow) for each in arguments]
        if name in _NUMERIC_TESTS:
            value_type = self._diagnostics.require_value(value, value_type, flow)
            self._diagnostics.require_accepted(value, value_type, NUMERIC, f"is {name}", flow)
        elif name in ("filter", "test"):
            self._diagnostics.require_present(value, value_type, flow)
            hashed = hashed_type(value_type)
            self._diagnostics.require_accepted(value, hashed, HASHED, f"is {name}", flow)
        elif name in _TESTS_OF_DEFINED:
            self._diagnostics.require_present(value, value_type, flow)
        if name == "in" and others:
            self._check_in(value, value_type, arguments[0], others[0], flow)
        elif name in _ORDER_TESTS and others:
            self._check_order(value, value_type, arguments[0], others[0], flow)

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
            self._check_percent(node, right, flow)
        result_type = binary_result(node.operator, left, right)
        if result_type is None:
            message = f"cannot be combined by {node.operator}"
            self._diagnostics.report_pair((node.left, left), (node.right, right), message, flow)
        return left if result_type is None else result_type

    visit_Sub = visit_Mul = visit_Div = visit_FloorDiv = visit_Mod = visit_Pow = visit_Add

    def _check_percent(self, node: nodes.BinExpr, right: StaticType, flow: Flow) -> None:
        """Report what `%` cannot put into a text."""
        if isinstance(node.left, nodes.Const):
            places = self._places(node.left, percent_places, flow)
            for each in members(right):
                if _is_mapping(each) and any(isinstance(place.key, str) for place in places):
                    self._check_mapping(node.right, each, places, flow)
                else:
                    parts = each.parts if isinstance(each, TupleType) else (each,)
                    given: CallArguments = {
                        index: (node.right, part) for index, part in enumerate(parts)
                    }
                    self._check_count(node.left, places, given, flow)
                    self._check_places(node.left, places, given, flow)
        elif not isinstance(node.left, nodes.Name):
            message = f"{describe(node.left)} is data, and only a text of the template is a format"
            self._diagnostics.report(start_position(node.left), flow, "P018", message)
        else:
            for each in right.parts if isinstance(right, TupleType) else (right,):
                self._diagnostics.check_printed(node.right, each, flow)

    def _places(
        self, template: nodes.Const, places_of: Callable[[str], Iterable[Place]], flow: Flow
    ) -> list[Place]:
        try:
            return [*places_of(str(template.value))]
        except ValueError as error:
            self._diagnostics.report(start_position(template), flow, "P018", str(error))
            return []

    def _check_count(
        self, template: nodes.Const, places: Sequence[Place], given: CallArguments, flow: Flow
    ) -> None:
        if len(places) != len(given) and all(value_type != ANY for _, value_type in given.values()):
            message = f"the format has {len(places)} places for {len(given)} values"
            self._diagnostics.report(start_position(template), flow, "P018", message)

    def _check_places(
        self, template: nodes.Const, places: Sequence[Place], given: CallArguments, flow: Flow
    ) -> None:
        """Report values that a format does not accept where they stand in it, or does not get."""
        for place in places:
            if place.key not in given:
                message = f"the format has no value for {place.key!r}"
                self._diagnostics.report(start_position(template), flow, "P018", message)
                continue
            node, value_type = given[place.key]
            for name in place.fields:
                at = partial(start_position, template)
                if name.isdigit():
                    value_type = ANY
                else:
                    value_type = self._diagnostics.field_type(node, value_type, name, flow, at)
            if place.accepts is PRINTED:
                self._diagnostics.check_printed(node, value_type, flow)
                continue
            value_type = self._diagnostics.require_value(node, value_type, flow)
            self._diagnostics.require_accepted(node, value_type, place.accepts, "the format", flow)
            if place.is_whole:
                self._check_whole(node, value_type, "the format", flow)

    def _check_mapping(
        self, node: nodes.Expr, mapping: StaticType, places: Sequence[Place], flow: Flow
    ) -> None:
        """Check a mapping whose values a format takes by their keys."""
        keys = [place.key for place in places]
        given: CallArguments = {
            key: (node, _value_at(mapping, LiteralType((key,)))) for key in keys
        }
        self._check_places(nodes.Const(""), places, given, flow)

    def _check_whole(self, node: nodes.Expr, value_type: StaticType, by: str, flow: Flow) -> None:
        if NUMBER in members(value_type):
            message = f"{describe(node)} may be a fraction; {by} takes whole numbers"
            self._diagnostics.report(start_position(node), flow, "P018", message)

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
        if node.name == KEY:
            return self.infer(node.node, flow)
        if node.name == CONCAT:
            for part in node.node.iter_child_nodes():
                self.print_value(part, flow)
            return TEXT
        return self._filtered(node, node.node, self.infer(node.node, flow), flow)

    def _filtered(
        self, node: nodes.Filter, value: nodes.Expr, value_type: StaticType, flow: Flow
    ) -> StaticType:
        given = self._given(node, flow)
        if node.name == LOOP:
            return filter_result(LOOP, value_type, given, None)
        if node.name == "attr":
            return self._attr(node, value, value_type, flow)
        value_type = self._check_input(
            node.name, value, value_type, flow, by_attribute=bool(_attribute(node))
        )
        picked = self._picked(node, value, value_type, given, flow)
        item = item_type(value_type) if picked is None else picked
        if node.name == "dictsort":
            self._check_sorted(node, value, value_type, flow)
        self._check_items(node.name, value, item, flow)
        if node.name in ("select", "reject", "selectattr", "rejectattr"):
            item = self._check_selecting(node, value, item, flow)
            value_type = value_type if picked is not None else ListType(item)
        if node.name in ("select", "reject") and len(node.args) <= 1 and not node.kwargs:
            return selected(node.name, _constant(node.args), value_type)
        result_type = filter_result(node.name, value_type, given, picked)
        is_there = node.name in ("first", "last") and is_non_empty(value, flow)
        return without_absent(result_type) if is_there else result_type

    def _given(self, node: nodes.Filter, flow: Flow) -> Given:
        """Infer and check the arguments of a filter."""
        given: dict[int | str, StaticType] = {}
        arguments: list[tuple[int | str, nodes.Expr]] = [*enumerate(node.args)]
        keywords = cast("list[nodes.Keyword]", node.kwargs)
        arguments += [(each.key, each.value) for each in keywords]
        for key, argument in arguments:
            value_type = given[key] = self.infer(argument, flow)
            if node.name == "format" and not isinstance(node.node, nodes.Const):
                self._diagnostics.check_printed(argument, value_type, flow)
            elif not isinstance(argument, nodes.Const) and (node.name, key) not in _MAY_BE_NONE:
                value_type = self._diagnostics.require_value(argument, value_type, flow)
            if (accepts := argument_accepts(node.name, key)) is not None:
                self._diagnostics.require_accepted(
                    argument, value_type, accepts, f"| {node.name}", flow
                )
        if node.name == "format" and isinstance(node.node, nodes.Const):
            places = self._places(node.node, percent_places, flow)
            values = _arguments(node, given)
            if not node.kwargs:
                self._check_count(node.node, places, values, flow)
            self._check_places(node.node, places, values, flow)
        return given

    def _attr(
        self, node: nodes.Filter, value: nodes.Expr, value_type: StaticType, flow: Flow
    ) -> StaticType:
        """The type of `attr`, which reads an attribute, not a key."""
        value_type = self._diagnostics.require_value(value, value_type, flow)
        name = _constant(node.args)
        if isinstance(name, str) and not any(map(_is_mapping, members(value_type))):
            at = partial(start_position, node.args[0])
            return self._diagnostics.field_type(value, value_type, name, flow, at)
        message = "| attr takes a constant name, of an object and not of a mapping; use [ ]"
        self._diagnostics.report(position_of(node.lineno), flow, "P018", message)
        return ANY

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
        if name not in ACCEPTS_NONE or may_be_absent(value_type):
            value_type = self._diagnostics.require_value(value, value_type, flow)
        if makes_text(name) and not by_attribute and _is_printed(name, value_type):
            self._diagnostics.check_text(value, value_type, flow)
        elif (accepts := filter_accepts(name)) is not None:
            self._diagnostics.require_accepted(value, value_type, accepts, f"| {name}", flow)
        if name in WRITES_JSON:
            self._diagnostics.require_writable(value, value_type, flow)
        if name in ("xmlattr", "urlencode"):
            self._check_values(value, value_type, flow)
        for each in list_members(value_type) if name == "urlencode" else ():
            pair = item_type(each)
            if not isinstance(pair, TupleType) or len(pair.parts) != len(("key", "value")):
                message = f"{describe(value)} is no mapping or list of pairs, as | urlencode takes"
                self._diagnostics.report(start_position(value), flow, "P018", message)
        return value_type

    def _picked(
        self,
        node: nodes.Filter,
        value: nodes.Expr,
        value_type: StaticType,
        given: Given,
        flow: Flow,
    ) -> StaticType | None:
        """What a filter like `map` takes from each item."""
        if node.name != "map" or _attribute(node):
            return self._by_field(node, value, value_type, given, flow)
        name = _constant(node.args)
        if not isinstance(name, str):
            return None
        if name in ("default", "d"):
            return self._or_default(node.args[1:], item_type(value_type), flow)
        inner = nodes.Filter(None, name, node.args[1:], node.kwargs, None, None, lineno=node.lineno)
        return self._filtered(inner, value, item_type(value_type), flow)

    def _check_selecting(
        self, node: nodes.Filter, value: nodes.Expr, item: StaticType, flow: Flow
    ) -> StaticType:
        """Check the test that selects items; their type after that."""
        arguments = node.args[1:] if node.name in ("selectattr", "rejectattr") else node.args
        name = _constant(arguments)
        if not isinstance(name, str):
            return item
        if name in (*_NUMERIC_TESTS, *_ORDER_TESTS) and may_be_none(item):
            self._report_none(value, node.name, flow)
            item = without_null(item)
        self._check_test(name, value, item, arguments[1:], flow)
        return item

    def _report_none(self, value: nodes.Expr, name: str, flow: Flow) -> None:
        message = f"{describe(value)} may contain None, which | {name} does not accept; "
        message += "remove it with | select"
        self._diagnostics.report(start_position(value), flow, "P005", message)

    def _check_sorted(
        self, node: nodes.Filter, value: nodes.Expr, value_type: StaticType, flow: Flow
    ) -> None:
        """Report a mapping that `dictsort` cannot order by its keys or values."""
        by = _constant([*(each.value for each in node.kwargs if each.key == "by"), *node.args[1:]])
        part = 1 if by == "value" else 0
        for each in list_members(filter_result("items", value_type, {}, None)):
            pair = cast("TupleType", item_type(each))
            self._check_items("sort", value, pair.parts[part], flow)

    def _check_items(self, name: str, value: nodes.Expr, item: StaticType, flow: Flow) -> None:
        """Report items that a filter cannot order, add or print."""
        if name == "unique":
            hashed = hashed_type(item)
            self._diagnostics.require_accepted(value, hashed, HASHED, "| unique of a list", flow)
        if name not in (*ORDERS, "sum", "join"):
            return
        if may_be_none(item):
            self._report_none(value, name, flow)
        item = without_null(item)
        if name in ORDERS and not is_orderable(item):
            message = f"the items of {describe(value)} cannot be ordered by | {name}"
            self._diagnostics.report(start_position(value), flow, "P018", message)
        elif name == "sum":
            self._diagnostics.require_accepted(value, item, NUMERIC, "| sum", flow)
        elif name == "join":
            self._diagnostics.check_text(value, item, flow)

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
        replaced = _NULL if len(arguments) > 1 else (ABSENT, NO_ELSE)
        return union(*(each for each in members(value_type) if each not in replaced), instead)

    def _by_field(
        self, node: nodes.Filter, value: nodes.Expr, base: StaticType, given: Given, flow: Flow
    ) -> StaticType | None:
        """What a filter like `map(attribute="name")` takes from each item."""
        attributes = _attribute(node)
        if not attributes:
            return None
        const = attributes[0]
        if not isinstance(const, nodes.Const):
            return ANY
        value_type = item_type(base)
        default = given.get("default") if node.name in ("map", "groupby") else None
        default = None if default == NONE else default  # for Jinja that is no default
        with self._diagnostics.allow_none() if default is not None else nullcontext():
            for part in str(const.value).split("."):
                at = partial(start_position, const)
                value_type = self._diagnostics.field_type(value, value_type, part, flow, at)
        if default is None:
            return value_type
        return union(*(each for each in members(value_type) if each != ABSENT), default)


_MAY_BE_NONE = frozenset((("map", "default"), ("groupby", "default"), ("int", 0), ("float", 0)))


CallArguments: TypeAlias = Mapping[int | str, tuple[nodes.Expr, StaticType]]
"""The arguments of a call, by position and by name, with their types."""


def _arguments(call: nodes.Call | nodes.Filter, given: Given) -> CallArguments:
    keywords = cast("list[nodes.Keyword]", call.kwargs)
    return {
        **{index: (node, given[index]) for index, node in enumerate(call.args)},
        **{each.key: (each.value, given[each.key]) for each in keywords},
    }


def _is_get(node: nodes.Expr) -> bool:
    """Whether it is the method of a mapping that looks up a key."""
    return isinstance(node, nodes.Getattr) and node.attr == "get"


def _is_mapping(value_type: StaticType) -> bool:
    return isinstance(value_type, MappingType) or (
        isinstance(value_type, RecordType) and value_type.is_mapping
    )


def _is_defined(node: nodes.Node, base: StaticType, flow: Flow) -> bool:
    """Whether a test has established that a field, item or key exists."""
    is_a_key = is_key(node, flow) and all(map(_is_mapping, members(base)))
    return is_a_key or is_defined(node, flow)


def _value_at(value_type: StaticType, key: StaticType) -> StaticType:
    if isinstance(value_type, MappingType):
        return lookup_type(value_type)
    return value_at(value_type, key) if isinstance(value_type, RecordType) else ANY


def _is_printed(name: str, value_type: StaticType) -> bool:
    """Whether a filter prints the value itself, and it has a part without a text."""
    is_taken_apart = name in ("xmlattr", "urlencode") and any(map(_is_mapping, members(value_type)))
    return not is_taken_apart and find_unprintable(value_type) is not None


def _attribute(node: nodes.Filter) -> list[nodes.Expr]:
    """The argument `attribute` of a filter."""
    at = ATTRIBUTE_AT.get(node.name, len(node.args))
    return [*node.args[at : at + 1], *(e.value for e in node.kwargs if e.key == "attribute")]


def _constant(arguments: Sequence[nodes.Expr]) -> object:
    """The value of the first argument, if it is a constant."""
    first = arguments[0] if arguments else None
    return first.value if isinstance(first, nodes.Const) else first
