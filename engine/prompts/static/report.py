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
from ..positions import Position
from .narrow import path_of
from .scope import Place
from .tree import start_of
from .types import (
    ABSENT,
    ANYTHING,
    BLANK,
    NONE,
    NOUNS,
    PRINTABLE,
    UNCALLED,
    WHOLE,
    Fields,
    Items,
    Known,
    Plain,
    Table,
    Taking,
    Words,
    either,
    filled,
    is_said,
    item_of,
    kept,
    lists_in,
    may_be_absent,
    may_be_none,
    members_of,
    misfit,
    record_in,
    sorts_of,
    value_in,
    words_of,
)

At: TypeAlias = Callable[[], Position]
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


class Judge:
    """Gathers what cannot hold in a template; each thing is said once."""

    def __init__(self) -> None:
        self.problems: dict[Problem, None] = {}
        self._is_asked = False
        self._firm: set[Problem] = set()

    def tell(
        self, at: Position, place: Place, code: str, told: str, near: str | None = None
    ) -> None:
        """Take down a problem."""
        self.problems[place.template.problem_at(at, code, told, near)] = None

    @contextmanager
    def none_is_fine(self) -> Generator[None]:
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

    def without_none(self, node: nodes.Node, known: Known, place: Place) -> Known:
        """What an expression is where it must not be None."""
        if may_be_none(known):
            told = f"{said(node)} may be {_nothing(known)} here; guard it with {{% if %}}"
            self.tell(start_of(node), place, "P005", told)
        return kept(known)

    def without_absent(self, node: nodes.Node, known: Known, place: Place) -> None:
        """Refuse what may be missing where None would do."""
        if may_be_absent(known):
            self.without_none(node, known, place)

    def fit(self, node: nodes.Node, known: Known, taking: Taking, by: str, place: Place) -> None:
        """Refuse a value of a sort that is not taken `by` a filter, a test or an operator."""
        if (sort := misfit(known, taking)) is not None:
            told = f"{said(node)} is {NOUNS[sort]}, and {by} takes {taking.told}"
            self.tell(start_of(node), place, "P018", told)

    def tell_both(
        self,
        left: tuple[nodes.Node, Known],
        right: tuple[nodes.Node, Known],
        told: str,
        place: Place,
    ) -> None:
        """Refuse two values that do not go together."""
        both = " and ".join(
            f"{said(node)} is {NOUNS[min(sorts_of(known) - {'any'}, default='text')]}"
            for node, known in (left, right)
        )
        self.tell(start_of(left[0]), place, "P018", f"{both}, which {told}")

    def check_printed(self, node: nodes.Node, known: Known, place: Place) -> None:
        """Refuse to print None, or a whole record, or what has no text."""
        self.fit(node, known, PRINTABLE, "a prompt", place)
        if not may_be_none(known) and any(may_be_none(item_of(each)) for each in lists_in(known)):
            told = f"an item of {said(node)} may be None, and that would be printed; "
            self.tell(start_of(node), place, "P005", told + "take it out with | select | list")
        if may_be_none(known):
            told = f"{said(node)} may be {_nothing(known)}, and that would be printed; "
            told += "guard it with {% if %}, or add | default('', true)"
            self.tell(start_of(node), place, "P005", told)
        self.refuse_fields(node, known, place)
        if place.role == "system" and is_said(known):
            told = f"{said(node)} is what the user wrote, and stands in a system message as if it "
            told += 'were yours; set it apart with | fence("message")'
            problem = place.template.problem_at(start_of(node), "P110", told)
            self.problems[replace(problem, severity="note")] = None

    def refuse_fields(self, node: nodes.Node, known: Known, place: Place) -> None:
        """Refuse a record where a text is needed."""
        if (record := record_in(known)) is not None:
            told = (
                f"{said(node)} would be printed as a whole {record.name}; take one of its fields, "
            )
            self.tell(start_of(node), place, "P006", told + "or all of them by | tojson")

    def field(self, node: nodes.Node, base: Known, name: str, place: Place, at: At) -> Known:
        """What the field `name` of an expression is; `at` is where that name stands."""
        if BLANK in members_of(base):
            told = f"{said(node)} may be nothing here: the `if` in it has no `else`"
            self.tell(start_of(node), place, "P005", told)
        if may_be_absent(base):  # to ask what is missing for a field fails, even to test for it
            told = f"{said(node)} may be {_nothing(base)} here; guard it with {{% if %}}"
            self._firm.add(place.template.problem_at(start_of(node), "P005", told))
        base = filled(self.without_none(node, base, place))
        return either(*(self._field_of(node, each, name, place, at) for each in members_of(base)))

    def compare(
        self, node: nodes.Node, known: Known, values: Sequence[nodes.Node], place: Place
    ) -> None:
        """Refuse to compare an expression with a word that it never is."""
        words = words_of(known)
        for value in values:
            if not words or not isinstance(value, nodes.Const) or value.value in (None, *words):
                continue
            near = closest(str(value.value), map(str, words))
            told = f"{said(node)} is never {value.value!r}"
            told += "" if near else f"; it is one of {listed(map(repr, words))}"
            self.tell(start_of(value), place, "P008", told, near)

    def _field_of(self, node: nodes.Node, base: Known, name: str, place: Place, at: At) -> Known:
        match base:
            case Fields():
                fields = base.fields
                if name in fields or base.is_open:
                    return fields.get(name, ANYTHING)
                if base.is_loose and self._is_asked:
                    return ABSENT
                near = closest(name, fields)
                told = f"{said(node, base.name)} has no {name!r}"
                told += "" if near else f"; it has {listed(fields)}"
                self.tell(at(), place, "P002", told, near)
            case Table():
                return value_in(base)
            case Plain() | Words() | Items():
                return self._attribute_of(node, _python(base), name, place, at)
            case _:
                pass
        return ANYTHING

    def _attribute_of(self, node: nodes.Node, kind: type, name: str, place: Place, at: At) -> Known:
        if not hasattr(kind, name):
            near = closest(name, (each for each in dir(kind) if each[0] != "_"))
            told = f"{said(node)} is {_NOUN.get(kind, 'a value')}, which has no {name!r}"
            self.tell(at(), place, "P002", told, near)
            return ANYTHING
        if callable(getattr(kind, name)):
            return UNCALLED
        return WHOLE if kind is datetime and name != "tzinfo" else ANYTHING


def said(node: nodes.Node, otherwise: str = "this value") -> str:
    """An expression as people would say it."""
    found = path_of(node)
    return found[1] if found else otherwise


def _nothing(known: Known) -> str:
    """What a value may be where it is needed."""
    if not may_be_absent(known):
        return "None"
    return "missing or None" if NONE in members_of(known) else "missing"


def _python(known: Plain | Words | Items) -> type:
    """The Python type of a value."""
    if isinstance(known, Items):
        return list
    return known.kind if isinstance(known, Plain) else type(known.words[0])
