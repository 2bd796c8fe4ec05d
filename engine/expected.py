"""Where in a declaration an error of pydantic stands, and what would have been right there.

pydantic's places mix the keys that people wrote with the names of the union members that it tried.
Only the annotations tell them apart, so they are walked along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from msgspec import Struct
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .errors import Path
from .messages import JSON

_KEY_MARK = "[key]"  # pydantic's word for an error in a key instead of its value
_BOUNDS = {"gt": "more than", "ge": "from", "lt": "less than", "le": "up to"}


class Place(Struct, frozen=True):
    """Where an error stands: `path` are the keys that people wrote.

    In a union the path ends where the union begins, and `inside` goes on inside the member that
    was tried. `model` is the declaration that has, or lacks, the last key of the path.
    """

    path: Path
    union: object = None
    inside: Path = ()
    model: type[BaseModel] | None = None


def place_of(parts: Sequence[str | int], declared: type[BaseModel]) -> Place:
    """The place that `parts`, pydantic's `loc`, means in a declaration of this type."""
    annotation: object = declared
    model: type[BaseModel] | None = None
    keys: list[str | int] = []
    for index, part in enumerate(parts):
        annotation = _bare(annotation)
        if annotation is JSON:
            break  # what follows are kinds of JSON, each between two keys
        if _is_union(annotation):
            return Place(tuple(keys), annotation, _written(parts[index + 1 :]))
        if part == _KEY_MARK:
            break
        model = _model(annotation)
        annotation = _under(annotation, part)
        keys.append(part)
    return Place(tuple(keys), model=model)


def expected(annotation: object) -> str:
    """What fits a type, in words: `a whole number from 0, or {times, wait, max_wait}`."""
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
    """A bound as people write it: `0`, not `0.0`."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _bare(annotation: object) -> object:
    """The type without what is annotated to it, without `| None`, and behind its alias."""
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
    """The type of what stands under a key of a value of this type, None if that is unknown."""
    if (model := _model(annotation)) is not None:
        field = model.model_fields.get(str(key))
        return field.annotation if field else None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if not isinstance(origin, type) or not arguments:
        return None
    return arguments[1] if issubclass(origin, Mapping) else arguments[0]


def _written(parts: Iterable[str | int]) -> Path:
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
    facts = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    limits: list[str] = []
    for fact in facts:
        unit = fact.description if isinstance(fact, FieldInfo) else None
        limits += [f"of {unit}"] if unit else []
        for limit in fact.metadata if isinstance(fact, FieldInfo) else (fact,):
            limits += [
                f"{word} {number(bound)}"
                for name, word in _BOUNDS.items()
                if (bound := getattr(limit, name, None)) is not None
            ]
    return "".join(f" {limit}" for limit in limits)
