"""Values as JSON: what the standard library and pydantic know, and our own."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import asdict
from pydantic_core import PydanticSerializationError, to_jsonable_python

from .messages import JSON


def jsonable(value: object, *, by_alias: bool = True) -> JSON:
    """The value as JSON has it, in every part a copy; `by_alias` is for pydantic's models.

    Raises `PydanticSerializationError` for what cannot be written, `ValueError` for what has no
    end.
    """
    made: JSON = to_jsonable_python(value, by_alias=by_alias, fallback=_fields)
    return made


def _fields(value: object) -> object:
    if isinstance(value, Struct):
        return asdict(value)
    raise PydanticSerializationError(f"a {type(value).__name__} cannot be written as JSON")
