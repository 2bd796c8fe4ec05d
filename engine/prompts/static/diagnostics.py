"""Diagnostics of the type checker: each kind of type error, with its message and position."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from types import NoneType
from typing import TypeAlias

from jinja2 import nodes
from msgspec.structs import replace

from ...errors import Problem, closest, listed
from ..sources import Position, start_position
from .flow import Flow, access_path
from .types import (
    ABSENT,
    ANY,
    CALLABLE,
    INTEGER,
    NO_ELSE,
    NONE,
    NOUNS,
    NUMBER,
    PRINTABLE,
    Accepts,
    CallableType,
    ListType,
    LiteralType,
    MappingType,
    NotCalled,
    RecordType,
    ScalarType,
    StaticType,
    TupleType,
    categories_of,
    find_unprintable,
    find_unwritable,
    is_user_text,
    literals_of,
    lookup_type,
    may_be_absent,
    may_be_none,
    may_hold_absent,
    members,
    other_category,
    rejected_category,
    union,
    without_none_or_absent,
)

PositionFinder: TypeAlias = Callable[[], Position]
"""Computes a position, only when it is reported."""

_PARAMS = "node.params"
_NOUN: Mapping[type, str] = {
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    tuple: "a list",
    Iterator: "an iterator, not a list, until | list makes it one",
    datetime: "a time",
    date: "a date",
    time: "a time of day",
    timedelta: "a duration",
    bytes: "bytes, not a text",
    NotCalled: "not called: () is missing",
    NoneType: "None",
}


class Diagnostics:
    """Collects the type errors and notes of a template, without duplicates."""

    def __init__(self) -> None:
        self.problems: dict[Problem, None] = {}
        self.in_test = False

    def report(
        self,
        find_position: Position,
        flow: Flow,
        code: str,
        message: str,
        suggestion: str | None = None,
    ) -> None:
        """Add a problem; that something may be None or missing is none in a test for just that."""
        if code == "P005" and self.in_test:
            return
        self.problems[flow.template.problem_at(find_position, code, message, suggestion)] = None

    @contextmanager
    def allow_none(self, *, is_allowed: bool = True) -> Generator[None]:
        """Context in which None is no error: `x.y is defined` tests for just that.

        For Jinja a field of None is undefined, while a field of an undefined value is an error. In
        this context a loose record may be tested for any field.
        """
        before, self.in_test = self.in_test, is_allowed
        yield
        self.in_test = before

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
        elif may_hold_absent(value_type):
            message = f"an item of {describe(node)} may be missing; remove it with | select | list"
            self.report(start_position(node), flow, "P005", message)

    def require_accepted(
        self, node: nodes.Node, value_type: StaticType, accepts: Accepts, by: str, flow: Flow
    ) -> None:
        """Report a value of a category that is not accepted `by` a filter, test or operator."""
        if (sort := rejected_category(value_type, accepts)) is not None:
            message = f"{describe(node)} is {NOUNS[sort]}, and {by} takes {accepts.description}"
            self.report(start_position(node), flow, "P018", message)

    def require_writable(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> None:
        """Report a value with a part that JSON cannot hold, such as a function."""
        if (part := find_unwritable(value_type)) is not None:
            noun = _noun_of(part) if not isinstance(part, RecordType) else "a namespace"
            message = f"a part of {describe(node)} is {noun}, which cannot be written as JSON"
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
        """Report a printed value that may be None, or that has no text."""
        self.require_accepted(node, value_type, PRINTABLE, "a prompt", flow)
        if may_be_none(value_type):
            message = f"{describe(node)} may be {_missing_word(value_type)}, "
            message += f"and that would be printed; guard it with {_guard(node)}, "
            self.report(start_position(node), flow, "P005", message + "or add | default('', true)")
            value_type = without_none_or_absent(value_type)
        self.check_text(node, value_type, flow)
        if flow.role == "system" and is_user_text(value_type):
            message = f"{describe(node)} is user input, printed in a system message as if it "
            message += 'were your own text; wrap it with | fence("message")'
            problem = flow.template.problem_at(start_position(node), "P110", message)
            self.problems[replace(problem, severity="note")] = None

    def check_text(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> None:
        """Report a value with a part that has no text: a record, or None inside of a list."""
        part = find_unprintable(value_type)
        if part is None:
            return
        if isinstance(part, RecordType):
            message = f"{describe(node)} would print a whole {part.name}; "
            message += "print one of its fields, or all of them with | tojson"
            self.report(start_position(node), flow, "P006", message)
        elif part in (NONE, ABSENT, NO_ELSE):
            message = f"an item of {describe(node)} may be {_missing_word(part)}, "
            message += "and that would be printed; remove it with | select | list"
            self.report(start_position(node), flow, "P005", message)
        else:
            message = f"an item of {describe(node)} is {_noun_of(part)}, "
            message += "which has no text inside a list; print the items one by one"
            self.report(start_position(node), flow, "P018", message)

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
        # A field of an undefined value is an error even in a test.
        with self.allow_none(is_allowed=self.in_test and not may_be_absent(base)):
            present = [each for each in members(base) if each not in (NONE, ABSENT, NO_ELSE)]
            self.require_value(node, base, flow)
        if not present:
            return ABSENT if self.in_test else ANY
        return union(*(self._field_of(node, each, name, flow, find_position) for each in present))

    def check_comparison(
        self, node: nodes.Node, value_type: StaticType, values: Sequence[nodes.Node], flow: Flow
    ) -> None:
        """Report a comparison with a constant that the expression never equals."""
        literals = literals_of(value_type)
        for value in values:
            if not isinstance(value, nodes.Const) or value.value in (None, *literals):
                continue
            suggestion = None
            if literals:
                suggestion = closest(str(value.value), map(str, literals))
                message = f"{describe(node)} is never {value.value!r}"
                message += "" if suggestion else f"; it is one of {listed(map(repr, literals))}"
            elif (category := other_category(value_type, value.value)) is not None:
                message = f"{describe(node)} is {NOUNS[category]}, and never {value.value!r}"
                message += "; compare it with true or false" if category == "truth" else ""
            else:
                continue
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
                return self._field_of_record(node, base, name, flow, find_position)
            case MappingType():
                return lookup_type(base)
            case TupleType(names=names) if name in names:
                return base.parts[names.index(name)]
            case ScalarType() | LiteralType() | ListType() | TupleType() | CallableType():
                kind = _python_class(base)
                return self._attribute_of(node, kind, name, flow, find_position)
            case _:
                return ANY

    def _field_of_record(
        self,
        node: nodes.Node,
        record: RecordType,
        name: str,
        flow: Flow,
        find_position: PositionFinder,
    ) -> StaticType:
        fields = record.fields
        found = fields.get(name)
        if found is None and record.is_mapping and name in MAPPING_METHODS:
            found = CALLABLE
        if found is None and record.is_loose and self.in_test:
            found = ABSENT
        if found is not None or record.is_open:
            return ANY if found is None else found
        near = closest(name, fields)
        described = describe(node, record.name)
        message = f"{described} has no {name!r}"
        message += "" if near or not fields else f"; it has {listed(fields)}"
        if described == _PARAMS and not near:
            message += f"; add it to the node, as `params: {{{name}: ...}}`"
        self.report(find_position(), flow, "P002", message, near)
        return ANY

    def _attribute_of(
        self, node: nodes.Node, kind: type, name: str, flow: Flow, find_position: PositionFinder
    ) -> StaticType:
        allowed = ALLOWED_ATTRIBUTES.get(kind)
        if not hasattr(kind, name) or (allowed is not None and name not in allowed):
            public = (each for each in dir(kind) if each[0] != "_") if allowed is None else allowed
            suggestion = closest(name, public)
            message = f"{describe(node)} is {_NOUN.get(kind, 'a value')}, which has no {name!r}"
            self.report(find_position(), flow, "P002", message, suggestion)
            return ANY
        if callable(getattr(kind, name)):
            return CALLABLE
        return _attribute_type(kind, name)


def describe(node: nodes.Node, otherwise: str = "this value") -> str:
    """The source text of an expression, if it is an access path."""
    return _source(node) or otherwise


def _source(node: nodes.Node) -> str | None:
    if (found := access_path(node)) is not None:
        return found[1]
    if isinstance(node, nodes.Getitem) and (base := _source(node.node)) is not None:
        key = _source(node.arg)
        return f"{base}[{key}]" if key else None
    return None


def _guard(node: nodes.Node) -> str:
    """The guard that helps against a value that may be missing."""
    source = _source(node) if isinstance(node, nodes.Getitem) and not access_path(node) else None
    return f"{{% if {source} is defined %}}" if source else "{% if %}"


def _may_be_missing(node: nodes.Node, value_type: StaticType) -> str:
    return f"{describe(node)} may be {_missing_word(value_type)} here; guard it with {_guard(node)}"


def _missing_word(value_type: StaticType) -> str:
    """How the message names what is missing."""
    if not may_be_absent(value_type):
        return "None"
    return "missing or None" if NONE in members(value_type) else "missing"


def _attribute_type(kind: type, name: str) -> StaticType:
    """The type of an attribute that is no method."""
    return NUMBER if kind is float else INTEGER


_OF_DATES = ("year", "month", "day", "weekday", "isoweekday", "isocalendar", "toordinal")
_OF_CLOCKS = ("hour", "minute", "second", "microsecond", "dst", "tzname", "utcoffset")
_OF_BOTH = ("isoformat", "strftime", "replace")
ALLOWED_ATTRIBUTES: Mapping[type, Collection[str]] = {
    bytes: ("decode", "hex"),
    datetime: (
        *(*_OF_DATES, *_OF_CLOCKS, *_OF_BOTH),
        *("ctime", "date", "time", "timetz", "timestamp", "astimezone"),
    ),
    date: (*_OF_DATES, *_OF_BOTH, "ctime"),
    time: (*_OF_CLOCKS, *_OF_BOTH),
    timedelta: ("days", "seconds", "microseconds", "total_seconds"),
}
"""What may be read of values that are not JSON: nothing that asks the clock of the machine."""

MAPPING_METHODS = frozenset(("items", "keys", "values", "get", "copy"))


def _noun_of(value_type: StaticType) -> str:
    return NOUNS[min(categories_of(value_type) - {"any"}, default="text")]


def _python_class(
    value_type: ScalarType | LiteralType | ListType | TupleType | CallableType,
) -> type:
    """The Python class of a value."""
    if isinstance(value_type, CallableType):
        return NotCalled
    if isinstance(value_type, ListType):
        return Iterator if value_type.is_stream else list
    if isinstance(value_type, TupleType):
        return tuple
    return value_type.kind if isinstance(value_type, ScalarType) else type(value_type.literals[0])
