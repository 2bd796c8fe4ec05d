"""What is said against a template: None where a value is needed, a field that is not there, ..."""

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
from .narrow import access_path
from .scope import Flow
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
"""Finds a place, when it has to be told."""

_NOUN: Mapping[type, str] = {
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "a truth value",
    list: "a list",
    datetime: "a time",
    NoneType: "None",
}


class Diagnostics:
    """Gathers what cannot hold in a template; each thing is said once."""

    def __init__(self) -> None:
        self.problems: dict[Problem, None] = {}
        self._is_asked = False
        self._firm: set[Problem] = set()

    def report(
        self,
        find_position: Position,
        flow: Flow,
        code: str,
        message: str,
        suggestion: str | None = None,
    ) -> None:
        """Take down a problem."""
        self.problems[flow.template.problem_at(find_position, code, message, suggestion)] = None

    @contextmanager
    def allow_none(self) -> Generator[None]:
        """Inside, nothing is said against None: `x.y is defined` asks for just that.

        Jinja finds no field of None, but fails to find one of what is missing. A loose record may
        then be asked for any field.
        """
        before, was_asked = dict(self.problems), self._is_asked
        self._is_asked = True
        yield
        self._is_asked = was_asked
        self.problems = {
            each: None
            for each in self.problems
            if each in before or each in self._firm or each.code != "P005"
        }

    def require_value(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> StaticType:
        """What an expression is where it must not be None."""
        if may_be_none(value_type):
            message = f"{expression_text(node)} may be {_missing_word(value_type)} here; guard it with {{% if %}}"
            self.report(start_position(node), flow, "P005", message)
        return without_none_or_absent(value_type)

    def require_present(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> None:
        """Refuse what may be missing where None would do."""
        if may_be_absent(value_type):
            self.require_value(node, value_type, flow)

    def require_accepted(
        self, node: nodes.Node, value_type: StaticType, accepts: Accepts, by: str, flow: Flow
    ) -> None:
        """Refuse a value of a sort that is not taken `by` a filter, a test or an operator."""
        if (sort := rejected_category(value_type, accepts)) is not None:
            message = (
                f"{expression_text(node)} is {NOUNS[sort]}, and {by} takes {accepts.description}"
            )
            self.report(start_position(node), flow, "P018", message)

    def report_pair(
        self,
        left: tuple[nodes.Node, StaticType],
        right: tuple[nodes.Node, StaticType],
        message: str,
        flow: Flow,
    ) -> None:
        """Refuse two values that do not go together."""
        both = " and ".join(
            f"{expression_text(node)} is {NOUNS[min(categories_of(value_type) - {'any'}, default='text')]}"
            for node, value_type in (left, right)
        )
        self.report(start_position(left[0]), flow, "P018", f"{both}, which {message}")

    def check_printed(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> None:
        """Refuse to print None, or a whole record, or what has no text."""
        self.require_accepted(node, value_type, PRINTABLE, "a prompt", flow)
        if not may_be_none(value_type) and any(
            may_be_none(item_type(each)) for each in list_members(value_type)
        ):
            message = f"an item of {expression_text(node)} may be None, and that would be printed; "
            self.report(
                start_position(node), flow, "P005", message + "take it out with | select | list"
            )
        if may_be_none(value_type):
            message = f"{expression_text(node)} may be {_missing_word(value_type)}, and that would be printed; "
            message += "guard it with {% if %}, or add | default('', true)"
            self.report(start_position(node), flow, "P005", message)
        self.refuse_fields(node, value_type, flow)
        if flow.role == "system" and is_user_text(value_type):
            message = f"{expression_text(node)} is what the user wrote, and stands in a system message as if it "
            message += 'were yours; set it apart with | fence("message")'
            problem = flow.template.problem_at(start_position(node), "P110", message)
            self.problems[replace(problem, severity="note")] = None

    def refuse_fields(self, node: nodes.Node, value_type: StaticType, flow: Flow) -> None:
        """Refuse a record where a text is needed."""
        if (record := find_record(value_type)) is not None:
            message = f"{expression_text(node)} would be printed as a whole {record.name}; take one of its fields, "
            self.report(start_position(node), flow, "P006", message + "or all of them by | tojson")

    def field_type(
        self,
        node: nodes.Node,
        base: StaticType,
        name: str,
        flow: Flow,
        find_position: PositionFinder,
    ) -> StaticType:
        """What the field `name` of an expression is; `find_position` is where that name stands."""
        if NO_ELSE in members(base):
            message = f"{expression_text(node)} may be nothing here: the `if` in it has no `else`"
            self.report(start_position(node), flow, "P005", message)
        if may_be_absent(base):  # to ask what is missing for a field fails, even to test for it
            message = f"{expression_text(node)} may be {_missing_word(base)} here; guard it with {{% if %}}"
            self._firm.add(flow.template.problem_at(start_position(node), "P005", message))
        base = without_null(self.require_value(node, base, flow))
        return union(
            *(self._field_of(node, each, name, flow, find_position) for each in members(base))
        )

    def check_comparison(
        self, node: nodes.Node, value_type: StaticType, values: Sequence[nodes.Node], flow: Flow
    ) -> None:
        """Refuse to compare an expression with a word that it never is."""
        literals = literals_of(value_type)
        for value in values:
            if (
                not literals
                or not isinstance(value, nodes.Const)
                or value.value in (None, *literals)
            ):
                continue
            suggestion = closest(str(value.value), map(str, literals))
            message = f"{expression_text(node)} is never {value.value!r}"
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
                if base.is_loose and self._is_asked:
                    return ABSENT
                suggestion = closest(name, fields)
                message = f"{expression_text(node, base.name)} has no {name!r}"
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
            message = (
                f"{expression_text(node)} is {_NOUN.get(kind, 'a value')}, which has no {name!r}"
            )
            self.report(find_position(), flow, "P002", message, suggestion)
            return ANY
        if callable(getattr(kind, name)):
            return CALLABLE
        return INTEGER if kind is datetime and name != "tzinfo" else ANY


def expression_text(node: nodes.Node, otherwise: str = "this value") -> str:
    """An expression as people would say it."""
    found = access_path(node)
    return found[1] if found else otherwise


def _missing_word(value_type: StaticType) -> str:
    """What a value may be where it is needed."""
    if not may_be_absent(value_type):
        return "None"
    return "missing or None" if NONE in members(value_type) else "missing"


def _python_class(value_type: ScalarType | LiteralType | ListType) -> type:
    """The Python type of a value."""
    if isinstance(value_type, ListType):
        return list
    return value_type.kind if isinstance(value_type, ScalarType) else type(value_type.literals[0])
