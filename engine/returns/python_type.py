"""Types declared by a Python class: a pydantic model, a dataclass, a TypedDict.

pydantic validates; only the schema that is sent to the model is stricter than pydantic's, as strict
structured output requires.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from functools import partial
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    NotRequired,
    Required,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from msgspec import Struct
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ..errors import DefinitionError, Problem
from ..messages import JSON
from .validator import excerpt, location, summary

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


_CODE = "G032"
_typed_dict = cast("Callable[[str, Mapping[str, object]], type]", TypedDict)


class PythonValidator(Struct, frozen=True):
    """Validates with pydantic against a Python type."""

    schema: Mapping[str, JSON]
    type: object
    adapter: TypeAdapter[object]

    def validate(self, value: JSON) -> JSON:
        """The value as it is stored. Raises `ValueError`, one line, if it is invalid.

        An optional key that a model filled with null, for want of leaving it out, counts as left
        out where the class takes no null for it.
        """
        try:
            parsed = self._parse(value)
        except ValidationError as error:
            details = error.errors(include_url=False)
            try:
                parsed = self._parse(_without_nulls(value, details))
            except ValidationError:
                raise ValueError(summary([_message(detail) for detail in details])) from error
        stored: JSON = self.adapter.dump_python(parsed, mode="json")
        try:
            json.dumps(stored, allow_nan=False)
        except ValueError as error:  # pydantic reads the text "NaN" as a number
            raise ValueError("the answer has a number that is not finite") from error
        return stored

    def _parse(self, value: JSON) -> object:
        # As JSON text, so that a strict class takes a date as text and a tuple as a list.
        return self.adapter.validate_json(json.dumps(value), by_alias=True, by_name=True)


def read_type(declared: object) -> PythonValidator:
    """The validator of a Python type. Raises `DefinitionError` if pydantic cannot read it."""
    try:
        adapter: TypeAdapter[object] = TypeAdapter(cast("type[object]", _readable(declared)))
        schema: dict[str, JSON] = adapter.json_schema()
    except (PydanticUserError, NameError, TypeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        called = getattr(declared, "__qualname__", repr(declared))
        text = f"{called!r} cannot be described as JSON Schema ({reason}); use a pydantic "
        text += "model, a dataclass or a mapping such as {answer: str}"
        raise DefinitionError([Problem(_CODE, text)]) from error
    return PythonValidator(_strict(_rooted(schema)), declared, adapter)


def _readable(declared: object, around: tuple[object, ...] = ()) -> object:
    """The type with each TypedDict of `typing` as one of typing_extensions.

    Before Python 3.12 pydantic reads no others, as those of `typing` lose which keys are required.
    """
    if declared in around:
        return declared
    inside = partial(_readable, around=(*around, declared))
    if is_typeddict(declared):
        hints = get_type_hints(declared, include_extras=True)
        optional: frozenset[str] = getattr(declared, "__optional_keys__", frozenset())
        keys = {
            key: NotRequired[inside(hint)]
            if key in optional and get_origin(hint) not in (Required, NotRequired)
            else inside(hint)
            for key, hint in hints.items()
        }
        return _typed_dict(getattr(declared, "__name__", ""), keys)
    arguments = get_args(declared)
    parts = tuple(map(inside, arguments))
    if all(map(operator.is_, parts, arguments)):
        return declared
    if isinstance(declared, UnionType):
        return Union[parts]  # noqa: UP007  its parts are known only at run time
    origin = cast("Any", get_origin(declared))
    return operator.getitem(origin, parts[0] if len(parts) == 1 else parts)


def _rooted(schema: dict[str, JSON]) -> dict[str, JSON]:
    """The schema with its root in place: a recursive class has only a reference there."""
    reference, definitions = schema.get("$ref"), schema.get("$defs")
    if not isinstance(reference, str) or not isinstance(definitions, dict):
        return schema
    root = definitions[reference.removeprefix("#/$defs/")]
    return {**cast("dict[str, JSON]", root), "$defs": definitions}


def _strict(schema: dict[str, JSON]) -> dict[str, JSON]:
    """All keys required, no others, and null where a key could be left out."""
    strict = {key: _strict_inside(part) for key, part in schema.items() if key != "default"}
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, dict):
        return strict
    required = cast("list[JSON]", schema.get("required", []))
    strict["properties"] = {
        key: _strict_field(part, optional=key not in required) for key, part in properties.items()
    }
    strict["required"] = list(properties)
    strict.setdefault("additionalProperties", False)
    return strict


def _strict_inside(part: JSON) -> JSON:
    match part:
        case dict():
            return _strict(part)
        case list():
            return [_strict_inside(item) for item in part]
        case _:
            return part


def _strict_field(part: JSON, *, optional: bool) -> JSON:
    strict = _strict_inside(part)
    if not optional or {"type": "null"} in _alternatives(strict):
        return strict
    return {"anyOf": [strict, {"type": "null"}]}


def _alternatives(schema: JSON) -> list[JSON]:
    found = schema.get("anyOf") if isinstance(schema, dict) else None
    return found if isinstance(found, list) else [schema]


def _without_nulls(value: JSON, details: list[ErrorDetails]) -> JSON:
    """The value without the keys that were refused because they are null."""
    copy: JSON = json.loads(json.dumps(value))
    for detail in details:
        owner: JSON = copy
        *way, last = detail["loc"] or ("",)
        for part in way:
            owner = _inside(owner, part)
        if isinstance(owner, dict) and owner.get(str(last), "") is None:
            del owner[str(last)]
    return copy


def _inside(owner: JSON, part: str | int) -> JSON:
    """One step down; a part that is no key is the tag of a union, and stays where it is."""
    if isinstance(owner, dict) and part in owner:
        return owner[str(part)]
    if isinstance(owner, list) and isinstance(part, int):
        return owner[part]
    return owner


def _message(detail: ErrorDetails) -> str:
    path = location(detail["loc"])
    if detail["type"] == "missing":
        return f"{path} is missing"
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{path} is not asked for"
    text = detail["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{path}: {text[:1].lower()}{text[1:]}, not {excerpt(detail['input'])}"
