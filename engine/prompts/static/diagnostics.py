"""Diagnostics of the type checker: each kind of type error, with its message and position."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import NoneType
from typing import TypeAlias

from jinja2 import nodes
from msgspec.structs import replace

from ...errors import Problem, closest, listed
from ..sources import Position
from .flow import Flow, access_path
from .tree import start_position
from .types import (
    ABSENT,
    ANY,
    CALLABLE,
    INTEGER,
    NO_ELSE,
    NONE,
    NOUNS,
    PRINTABLE,
    Accepts,
    ListType,
    LiteralType,
    MappingType,
    RecordType,
    ScalarType,
    StaticType,
    categories_of,
    find_record,
    is_user_text,
    item_type,
    list_members,
    literals_of,
    lookup_type,
    may_be_absent,
    may_be_none,
    members,
    rejected_category,
    union,
    without_none_or_absent,
    without_null,
)

PositionFinder: TypeAlias = Callable[[], Position]
"""Computes a position, only when it is reported."""

_NOUN: Mapping[type, str] = {
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    datetime: "a time",
    NoneType: "None",
}


class Diagnostics:
    """Collects the type errors and notes of a template, without duplicates."""

    def __init__(self) -> None:
        self.problems: dict[Problem, None] = {}
        self._in_test = False
        self._always: set[Problem] = set()

    def report(
        self,
        find_position: Position,
        flow: Flow,
        code: str,
        message: str,
        suggestion: str | None = None,
    ) -> None:
        """Add a problem."""
        self.problems[flow.template.problem_at(find_position, code, message, suggestion)] = None

    @contextmanager
    def allow_none(self) -> Generator[None]:
        """Context in which None is no error: `x.y is defined` tests for just that.

        For Jinja a field of None is undefined, while a field of an undefined value is an error. In
        this context a loose record may be tested for any field.
        """
        before, was_in_test = dict(self.problems), self._in_test
        self._in_test = True
        yield
        self._in_test = was_in_test
        self.problems = {
            each: None
            for each in self.problems
            if each in before or each in self._always or each.code != "P005"
        }

    def require_value(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> StaticType:
        """Report a value that may be None or missing; its type without these."""
        if may_be_none(value_type):
            message = _may_be_missing(node, value_type)
            self.report(start_position(node), flow, "P005", message)
        return without_none_or_absent(value_type)

    def require_present(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> None:
        """Report a value that may be missing, where None is accepted."""
        if may_be_absent(value_type):
            self.require_value(node, value_type, flow)

    def require_accepted(
        self, node: nodes.Node, value_type: StaticType, accepts: Accepts, by: str, flow: Flow
    ) -> None:
        """Report a value of a category that is not accepted `by` a filter, test or operator."""
        if (sort := rejected_category(value_type, accepts)) is not None:
            message = f"{describe(node)} is {NOUNS[sort]}, and {by} takes {accepts.description}"
            self.report(start_position(node), flow, "P018", message)

    def report_pair(
        self,
        left: tuple[nodes.Node, StaticType],
        right: tuple[nodes.Node, StaticType],
        message: str,
        flow: Flow,
    ) -> None:
        """Report two values that do not go together."""
        both = " and ".join(
            f"{describe(node)} is {_noun_of(value_type)}" for node, value_type in (left, right)
        )
        self.report(start_position(left[0]), flow, "P018", f"{both}, which {message}")

    def check_printed(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> None:
        """Report a printed value that may be None, a whole record, or without a text."""
        self.require_accepted(node, value_type, PRINTABLE, "a prompt", flow)
        if not may_be_none(value_type) and any(
            may_be_none(item_type(each)) for each in list_members(value_type)
        ):
            message = f"an item of {describe(node)} may be None, and that would be printed; "
            self.report(
                start_position(node), flow, "P005", message + "remove it with | select | list"
            )
        if may_be_none(value_type):
            message = f"{describe(node)} may be {_missing_word(value_type)}, "
            message += (
                "and that would be printed; guard it with {% if %}, or add | default('', true)"
            )
            self.report(start_position(node), flow, "P005", message)
        self.report_record(node, value_type, flow)
        if flow.role == "system" and is_user_text(value_type):
            message = f"{describe(node)} is user input, printed in a system message as if it "
            message += 'were your own text; wrap it with | fence("message")'
            problem = flow.template.problem_at(start_position(node), "P110", message)
            self.problems[replace(problem, severity="note")] = None

    def report_record(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> None:
        """Report a record where a text is needed."""
        if (record := find_record(value_type)) is not None:
            message = f"{describe(node)} would print a whole {record.name}; "
            message += "print one of its fields, "
            self.report(
                start_position(node), flow, "P006", message + "or all of them with | tojson"
            )

    def field_type(
        self,
        node: nodes.Node,
        base: StaticType,
        name: str,
        flow: Flow,
        find_position: PositionFinder,
    ) -> StaticType:
        """The type of the field `name` of an expression; `find_position` is where the name is."""
        if NO_ELSE in members(base):
            message = f"{describe(node)} may be undefined here: its inline `if` has no `else`"
            self.report(start_position(node), flow, "P005", message)
        if may_be_absent(base):  # a field of an undefined value is an error even in a test
            message = _may_be_missing(node, base)
            self._always.add(flow.template.problem_at(start_position(node), "P005", message))
        base = without_null(self.require_value(node, base, flow))
        return union(
            *(self._field_of(node, each, name, flow, find_position) for each in members(base))
        )

    def check_comparison(
        self, node: nodes.Node, value_type: StaticType, values: Sequence[nodes.Node], flow: Flow
    ) -> None:
        """Report a comparison with a constant that the expression never equals."""
        literals = literals_of(value_type)
        for value in values:
            if (
                not literals
                or not isinstance(value, nodes.Const)
                or value.value in (None, *literals)
            ):
                continue
            suggestion = closest(str(value.value), map(str, literals))
            message = f"{describe(node)} is never {value.value!r}"
            message += "" if suggestion else f"; it is one of {listed(map(repr, literals))}"
            self.report(start_position(value), flow, "P008", message, suggestion)

    def _field_of(
        self,
        node: nodes.Node,
        base: StaticType,
        name: str,
        flow: Flow,
        find_position: PositionFinder,
    ) -> StaticType:
        match base:
            case RecordType():
                fields = base.fields
                if name in fields or base.is_open:
                    return fields.get(name, ANY)
                if base.is_loose and self._in_test:
                    return ABSENT
                suggestion = closest(name, fields)
                message = f"{describe(node, base.name)} has no {name!r}"
                message += "" if suggestion else f"; it has {listed(fields)}"
                self.report(find_position(), flow, "P002", message, suggestion)
            case MappingType():
                return lookup_type(base)
            case ScalarType() | LiteralType() | ListType():
                return self._attribute_of(node, _python_class(base), name, flow, find_position)
            case _:
                pass
        return ANY

    def _attribute_of(
        self, node: nodes.Node, kind: type, name: str, flow: Flow, find_position: PositionFinder
    ) -> StaticType:
        if not hasattr(kind, name):
            suggestion = closest(name, (each for each in dir(kind) if each[0] != "_"))
            message = f"{describe(node)} is {_NOUN.get(kind, 'a value')}, which has no {name!r}"
            self.report(find_position(), flow, "P002", message, suggestion)
            return ANY
        if callable(getattr(kind, name)):
            return CALLABLE
        return INTEGER if kind is datetime and name != "tzinfo" else ANY


def describe(node: nodes.Node, otherwise: str = "this value") -> str:
    """The source text of an expression, if it is an access path."""
    found = access_path(node)
    return found[1] if found else otherwise


def _may_be_missing(node: nodes.Node, value_type: StaticType) -> str:
    return f"{describe(node)} may be {_missing_word(value_type)} here; guard it with {{% if %}}"


def _missing_word(value_type: StaticType) -> str:
    """How the message names what is missing."""
    if not may_be_absent(value_type):
        return "None"
    return "missing or None" if NONE in members(value_type) else "missing"


def _noun_of(value_type: StaticType) -> str:
    return NOUNS[min(categories_of(value_type) - {"any"}, default="text")]


def _python_class(value_type: ScalarType | LiteralType | ListType) -> type:
    """The Python class of a value."""
    if isinstance(value_type, ListType):
        return list
    return value_type.kind if isinstance(value_type, ScalarType) else type(value_type.literals[0])
