"""`Declared`, the base class of declarations, and the translation of pydantic's errors.

pydantic finds what is wrong; this module words it, with the key that was probably meant. Nested
declarations raise inside their parent and pydantic collects what they raise, so one
`DefinitionError` has every problem. pydantic's locations mix keys that people wrote with names of
the union members that it tried; to tell them apart, the annotations are walked in parallel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from inspect import get_annotations
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Never, Union, cast, get_args, get_origin

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from .errors import DefinitionError, KeyPath, Problem, closest, listed
from .messages import JSON
from .values import MAX_DEPTH, TOO_LONG, is_long

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


_KEY_MARK = "[key]"  # pydantic's word for an error in a key instead of its value
_BOUNDS = {"gt": "more than", "ge": "from", "lt": "less than", "le": "up to"}


class ErrorLocation(Struct, frozen=True):
    """Location of a pydantic error; `path` are the keys that people wrote.

    In a union the path ends where the union begins, and `inside` continues inside the member that
    was tried. `model` is the declaration that has, or lacks, the last key of the path.
    """

    path: KeyPath
    union: object = None
    inside: KeyPath = ()
    model: type[BaseModel] | None = None


def error_location(parts: Sequence[str | int], declared: type[BaseModel]) -> ErrorLocation:
    """Resolve `parts`, the `loc` of a pydantic error, in a declaration of this type."""
    annotation: object = declared
    model: type[BaseModel] | None = None
    keys: list[str | int] = []
    for index, part in enumerate(parts):
        annotation = _bare(annotation)
        if annotation is JSON:
            break  # what follows are JSON types, each between two keys
        if _is_union(annotation):
            return ErrorLocation(tuple(keys), annotation, _written(parts[index + 1 :]))
        if part == _KEY_MARK:
            break
        model = _model(annotation)
        annotation = _under(annotation, part)
        keys.append(part)
    return ErrorLocation(tuple(keys), model=model)


def expected(annotation: object) -> str:
    """A type in words: `a whole number from 0, or {times, wait, max_wait}`."""
    bare = _bare(annotation)
    if _is_union(bare):
        members = [expected(member) for member in get_args(bare) if member is not NoneType]
        return ", or ".join(dict.fromkeys(members))
    if get_origin(bare) is Literal:
        return " or ".join(repr(word) for word in get_args(bare))
    model = _model(bare)
    if model is not None:
        return "{" + ", ".join(model.model_fields) + "}"
    return f"{_noun(bare)}{_bounds(annotation)}"


def number(value: object) -> str:
    """A bound without a needless fraction: `0`, not `0.0`."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _bare(annotation: object) -> object:
    """The type without annotations, without `| None`, with its alias resolved."""
    if annotation is JSON:
        return annotation
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if (value := getattr(annotation, "__value__", None)) is not None:
        return _bare(value)
    if _is_union(annotation):
        members = [member for member in get_args(annotation) if member is not NoneType]
        return _bare(members[0]) if len(members) == 1 else annotation
    return annotation


def _is_union(annotation: object) -> bool:
    return get_origin(annotation) in (Union, UnionType)


def _model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _under(annotation: object, key: str | int) -> object:
    """The type of the value under a key of this type, None if that is unknown."""
    if (model := _model(annotation)) is not None:
        field = model.model_fields.get(str(key))
        return field.annotation if field else None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if not isinstance(origin, type) or not arguments:
        return None
    return arguments[1] if issubclass(origin, Mapping) else arguments[0]


def _written(parts: Iterable[str | int]) -> KeyPath:
    return tuple(part for part in parts if part != _KEY_MARK)


def _noun(bare: object) -> str:
    origin = get_origin(bare) or bare
    if origin is Callable:
        return "a function"
    nouns = (
        noun
        for kind, noun in _NOUNS.items()
        if isinstance(origin, type) and issubclass(origin, kind)
    )
    return next(nouns, f"a {getattr(origin, '__name__', origin)}")


_NOUNS: Mapping[type, str] = {
    str: "text",
    bytes: "bytes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Mapping: "a mapping of keys to values",
    Sequence: "a list",
    AbstractSet: "a list",
}


def _bounds(annotation: object) -> str:
    """The bounds of a number; with its unit, if it is described."""
    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    limits: list[str] = []
    for fact in metadata:
        unit = fact.description if isinstance(fact, FieldInfo) else None
        limits += [f"of {unit}"] if unit else []
        for limit in fact.metadata if isinstance(fact, FieldInfo) else (fact,):
            limits += [
                f"{word} {number(bound)}"
                for name, word in _BOUNDS.items()
                if (bound := getattr(limit, name, None)) is not None
            ]
    return "".join(f" {limit}" for limit in limits)


CONFIDENTIAL = r"(?<!cache_)key$|secret|token$|password|passwd|credential|^authorization$"
"""The names of secrets, in small letters: a pattern that JSON Schema (ECMA 262) has as well."""
_QUOTED = r"'([^']*)'"
_LONGEST_SHOWN = 60  # characters of a wrong value: enough to know it again


class Declared(BaseModel):
    """Base class of declarations: frozen, no unknown keys; invalid ones raise `DefinitionError`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    def __init__(self, /, *others: Never, **data: Any) -> None:  # noqa: ANN401  pydantic's
        if others:
            raise DefinitionError([by_name_only(type(self))])
        check_integers(data)
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise DefinitionError(problems_of(error, type(self))) from error

    @classmethod
    def key_advice(cls) -> Mapping[str, str]:
        """Keys that people know from elsewhere: the key that is meant here, or what to write."""
        return {}

    if not TYPE_CHECKING:  # pragma: no branch - type checkers know that it is frozen

        def __setattr__(self, name: str, value: object) -> None:
            try:
                super().__setattr__(name, value)
            except ValidationError as error:
                what = type(self).__name__
                raise AttributeError(
                    f"a {what} is immutable, so its {name!r} cannot be set; make another one: "
                    f"{what}({name}=...)"
                ) from error


def by_name_only(declared: type[BaseModel]) -> Problem:
    """The problem of a declaration whose fields are given without their names."""
    fields, what = declared.model_fields, declared.__name__
    own = [name for name in get_annotations(declared) if name in fields]
    needed = [name for name, field in fields.items() if field.is_required()] or own[:1]
    example = ", ".join(f"{name}=..." for name in needed or list(fields)[:1])
    return Problem("G007", f"{what} takes its fields by name only: {what}({example})")


def check_integers(data: Mapping[str, object]) -> None:
    """Raise `DefinitionError` for integers, also in lists and mappings, that no file could have.

    Python raises a `ValueError` wherever one is written out, such as in messages and templates.
    """
    problems = [
        Problem("G002", f"{_dotted(path)}: {what}; make it text", path=path)
        for path, what in _long_integers(data, ())
    ]
    if problems:
        raise DefinitionError(problems)


def problems_of(error: ValidationError, declared: type[BaseModel]) -> list[Problem]:
    """What pydantic found, in the order of the fields: one problem for each place.

    pydantic reports every member of a union that a value does not fit; here they are one problem
    that says what would fit.
    """
    by_place: dict[KeyPath, list[tuple[ErrorLocation, ErrorDetails]]] = {}
    for detail in error.errors(include_url=False):
        place = error_location(detail["loc"], declared)
        by_place.setdefault(place.path, []).append((place, detail))
    problems = [
        problem for path, found in by_place.items() for problem in _problems_at(path, found)
    ]
    return list(dict.fromkeys(problems))


def as_tuple(items: Sequence[object]) -> tuple[object, ...]:
    """`tuple`, as a function: pydantic takes 3 ms to find the signature of `tuple` itself."""
    return tuple(items)


def refuse_model_object(value: object) -> object:
    """Validate the field that names a model: an object is passed to the runner instead."""
    if callable(getattr(value, "ask", None)):
        raise ValueError(
            "must be the id of a model; an object is passed to the runner: Runner(graph, "
            "model=...), or AnyModel({'own/...': ...}) for the nodes that name 'own/...'"
        )
    return value


def is_secret(key: str) -> bool:
    """Whether a key of this name probably has a secret as its value."""
    return re.search(CONFIDENTIAL, key, re.IGNORECASE) is not None


def _long_integers(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """The paths of these integers, for a key that of its mapping; not below `MAX_DEPTH`."""
    if is_long(value):
        yield path, TOO_LONG
    elif isinstance(value, Mapping | list | tuple) and len(path) <= MAX_DEPTH:
        inside = cast("Mapping[object, object] | Sequence[object]", value)
        for key, item in inside.items() if isinstance(inside, Mapping) else enumerate(inside):
            if is_long(key):
                yield path, f"a key is {TOO_LONG}"
            elif not isinstance(item, str):
                yield from _long_integers(item, (*path, key if isinstance(key, int) else str(key)))


def _problems_at(
    path: KeyPath, found: list[tuple[ErrorLocation, ErrorDetails]]
) -> Iterable[Problem]:
    """The problems at one path; more than one if several parts of its value are invalid."""
    causes = [(place.inside, detail.get("ctx", {}).get("error")) for place, detail in found]
    nested = [(at, cause) for at, cause in causes if isinstance(cause, DefinitionError)]
    if nested:
        for at, cause in nested:
            yield from (replace(each, path=(*path, *at, *each.path)) for each in cause.problems)
        return
    first, detail = found[0]
    if first.union is None:
        yield from (_problem(detail, place) for place, detail in found)
    elif inner := [(place, each) for place, each in found if place.inside]:
        yield from (
            _problem(each, replace(place, path=path + place.inside)) for place, each in inner
        )
    else:
        yield _invalid_value(f"must be {expected(first.union)}", detail["input"], path)


def _problem(detail: ErrorDetails, place: ErrorLocation) -> Problem:
    path = place.path
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(path, place.model)
        case "missing":
            return _missing_key(place, detail["input"])
        case kind:
            word = _MESSAGES.get(kind)
            context: Mapping[str, object] = detail.get("ctx", {})
            text = (
                word(context) if word else detail["msg"].removeprefix("Value error, ").rstrip(".")
            )
            problem = _invalid_value(text, detail["input"], path)
            example = _example(place) if kind in _OF_MAPPINGS else None
            text = f"{problem.message}; write `{example}`"
            return replace(problem, message=text) if example else problem


def _example(place: ErrorLocation) -> str | None:
    """A key with an example of its value, as a file has it; None if there is none."""
    key = str(place.path[-1]) if place.path else ""
    field = place.model.model_fields.get(key) if place.model is not None else None
    if field is None or not field.examples:
        return None
    value = field.examples[0]
    return f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def _invalid_value(text: str, value: object, path: KeyPath) -> Problem:
    """The problem of a value, with a valid word that may have been meant."""
    near = closest(value, re.findall(_QUOTED, text)) if isinstance(value, str) else None
    named = f"{_dotted(path)}: {text}{_found(value)}" if path else text
    return Problem("G002", named, path=path, suggestion=near)


def _missing_key(place: ErrorLocation, given: object) -> Problem:
    """The problem of a key that is required, with an example, or the one written instead of it."""
    key, advice = str(place.path[-1]), advice_of(place.model)
    written = cast("Mapping[str, object]", given if isinstance(given, Mapping) else {})
    instead = next((other for other in written if advice.get(other) == key), None)
    text = f"{key!r} is required"
    if instead is not None:
        text += f"; write it in place of {instead!r}"
    elif (example := _example(place)) is not None:
        text += f"; add it, such as `{example}`"
    return Problem("G003", text, path=place.path)


def advice_of(model: type[BaseModel] | None) -> Mapping[str, str]:
    """What a declaration of this type says about keys that people know from elsewhere."""
    return model.key_advice() if model is not None and issubclass(model, Declared) else {}


def _unknown_key(path: KeyPath, model: type[BaseModel] | None) -> Problem:
    """The problem of an unknown key, with the key that was meant, or all known ones."""
    fields = model.model_fields if model is not None else {}
    key, names = str(path[-1]), [name for name, field in fields.items() if not field.exclude]
    near, advice = closest(key, fields), advice_of(model).get(key)
    if advice is not None:
        if advice.isidentifier():
            return Problem(
                "G001", f"unknown key {key!r}", path=path, suggestion=advice, on_key=True
            )
        return Problem("G001", f"unknown key {key!r}; {advice}", path=path, on_key=True)
    if near is None and is_secret(key):
        text = f"{key!r} would put a secret into the graph; name the environment variable that "
        text += "contains it: `model: {id: ..., api_key_env: ...}`"
        return Problem("G004", text, path=path, on_key=True)
    text = f"unknown key {key!r}"
    if near is None and names:
        text += f"; known keys: {listed(names, 30)}"
    return Problem("G001", text, path=path, suggestion=near, on_key=True)


def _dotted(path: KeyPath) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def _found(value: object) -> str:
    """The wrong value, if it is short; never a whole mapping, which may contain a secret."""
    found = ""
    match value:
        case "" | [] | () | {} if not value:
            pass
        case None | bool():
            found = {None: "null", True: "true", False: "false"}[value]
        case str() | int() | float() if len(repr(value)) <= _LONGEST_SHOWN:
            found = repr(value)
        case Mapping():
            found = "a mapping"
        case list() | tuple():
            found = "a list"
        case str() | int() | float():
            pass
        case _:
            found = f"a {type(value).__name__}"
    return f", not {found}" if found else ""


_OF_MAPPINGS = frozenset(("dict_type", "mapping_type", "model_type", "is_instance_of"))
"""pydantic's words for a value that is no mapping, or of another class."""
_INSTANCES = {"Sequence": "a list", "Mapping": "a mapping of keys to values"}

_MESSAGES: Mapping[str, Callable[[Mapping[str, object]], str]] = {
    "greater_than": lambda context: f"must be more than {number(context['gt'])}",
    "greater_than_equal": lambda context: f"must be {number(context['ge'])} or more",
    "less_than": lambda context: f"must be less than {number(context['lt'])}",
    "less_than_equal": lambda context: f"must be {number(context['le'])} or less",
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
    "literal_error": lambda context: f"must be {context['expected']}",
    "invalid-json-value": lambda _: (
        "must be text, a number, true, false, null, a list or a mapping"
    ),
    "sequence_str": lambda _: "must be a list",
    "is_instance_of": lambda context: (
        f"must be {_INSTANCES.get(str(context['class']), context['class'])}"
    ),
}
