"""The root of what people declare: frozen, closed, and wrong in a readable way.

pydantic finds what is wrong; this module says it in the words of the house, with the key that was
probably meant. Nested declarations raise inside their parent, and pydantic gathers what they say,
so one `DefinitionError` names everything at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import DefinitionError, Path, Problem, closest, listed
from .expected import Place, expected, number, place_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_CONFIDENTIAL = r"(?i)(?<!cache_)key$|secret|token$|password|passwd|credential|^authorization$"
_QUOTED = r"'([^']*)'"
_LONGEST_SHOWN = 60  # characters of a wrong value: enough to know it again


class Declared(BaseModel):
    """A part of a definition. An object that exists holds; otherwise `DefinitionError`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    def __init__(self, /, **data: Any) -> None:  # noqa: ANN401  pydantic's signature
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise DefinitionError(problems_of(error, type(self))) from error


def problems_of(error: ValidationError, declared: type[BaseModel]) -> list[Problem]:
    """What pydantic found, in the order of the fields: one problem for each place.

    pydantic reports every member of a union that a value does not fit; here they are one problem
    that says what would fit.
    """
    by_place: dict[Path, list[tuple[Place, ErrorDetails]]] = {}
    for detail in error.errors(include_url=False):
        place = place_of(detail["loc"], declared)
        by_place.setdefault(place.path, []).append((place, detail))
    problems = [problem for path, found in by_place.items() for problem in _told(path, found)]
    return list(dict.fromkeys(problems))


def as_tuple(items: Sequence[object]) -> tuple[object, ...]:
    """What is kept of a list. pydantic takes 3 ms to find the signature of `tuple` itself."""
    return tuple(items)


def is_secret(key: str) -> bool:
    """Whether what stands under a key of this name is probably a secret."""
    return re.search(_CONFIDENTIAL, key) is not None


def _told(path: Path, found: list[tuple[Place, ErrorDetails]]) -> Iterable[Problem]:
    """The problems at one place; more than one if several parts of its value do not hold."""
    causes = [detail.get("ctx", {}).get("error") for _, detail in found]
    nested = [cause for cause in causes if isinstance(cause, DefinitionError)]
    if nested:
        for cause in nested:
            yield from (replace(each, path=(*path, *each.path)) for each in cause.problems)
        return
    first, detail = found[0]
    if first.union is None:
        yield from (_problem(detail, place) for place, detail in found)
    elif inner := [(place, each) for place, each in found if place.inside]:
        yield from (
            _problem(each, replace(place, path=path + place.inside)) for place, each in inner
        )
    else:
        yield _unfit(f"must be {expected(first.union)}", detail["input"], path)


def _problem(detail: ErrorDetails, place: Place) -> Problem:
    path = place.path
    key = str(path[-1]) if path else ""
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(path, place.model.model_fields if place.model else ())
        case "missing":
            return Problem("G003", f"{key!r} is required", path=path)
        case kind:
            say = _SAY.get(kind)
            facts: Mapping[str, object] = detail.get("ctx", {})
            text = say(facts) if say else detail["msg"].removeprefix("Value error, ").rstrip(".")
            return _unfit(text, detail["input"], path)


def _unfit(text: str, value: object, path: Path) -> Problem:
    """The problem of a value; one of the words that would fit may have been meant."""
    near = closest(value, re.findall(_QUOTED, text)) if isinstance(value, str) else None
    named = f"{_dotted(path)}: {text}{_given(value)}" if path else text
    return Problem("G002", named, path=path, suggestion=near)


def _unknown_key(path: Path, known: Iterable[str]) -> Problem:
    """The problem of a key that nothing reads, with the one that was meant or all there are."""
    key, names = str(path[-1]), list(known)
    near = closest(key, names)
    if near is None and is_secret(key):
        text = f"{key!r} would put a secret into the graph; name the environment variable that "
        text += "holds it: `model: {id: ..., api_key_env: ...}`"
        return Problem("G004", text, path=path, on_key=True)
    text = f"unknown key {key!r}"
    if near is None and names:
        text += f"; known keys: {listed(names, 30)}"
    return Problem("G001", text, path=path, suggestion=near, on_key=True)


def _dotted(path: Path) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def _given(value: object) -> str:
    """The wrong value, if it is short; never a whole mapping, which may hold a secret."""
    given = ""
    match value:
        case "" | [] | () | {} if not value:
            pass
        case None | bool():
            given = {None: "null", True: "true", False: "false"}[value]
        case str() | int() | float() if len(repr(value)) <= _LONGEST_SHOWN:
            given = repr(value)
        case Mapping():
            given = "a mapping"
        case list() | tuple():
            given = "a list"
        case _:
            pass
    return f", not {given}" if given else ""


_INSTANCES = {"Sequence": "a list", "Mapping": "a mapping of keys to values"}

_SAY: Mapping[str, Callable[[Mapping[str, object]], str]] = {
    "greater_than": lambda facts: f"must be more than {number(facts['gt'])}",
    "greater_than_equal": lambda facts: f"must be {number(facts['ge'])} or more",
    "less_than": lambda facts: f"must be less than {number(facts['lt'])}",
    "less_than_equal": lambda facts: f"must be {number(facts['le'])} or less",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "string_type": lambda _: "must be text",
    "string_too_short": lambda _: "must not be empty",
    "dict_type": lambda _: "must be a mapping of keys to values",
    "mapping_type": lambda _: "must be a mapping of keys to values",
    "model_type": lambda _: "must be a mapping of keys to values",
    "list_type": lambda _: "must be a list",
    "tuple_type": lambda _: "must be a list",
    "too_short": lambda _: "must not be empty",
    "literal_error": lambda facts: f"must be {facts['expected']}",
    "invalid-json-value": lambda _: (
        "must be text, a number, true, false, null, a list or a mapping"
    ),
    "sequence_str": lambda _: "must be a list",
    "is_instance_of": lambda facts: (
        f"must be {_INSTANCES.get(str(facts['class']), facts['class'])}"
    ),
}
