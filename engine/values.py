"""What callers give to a run, held to what a run can take.

Values as JSON: what the standard library and pydantic know, and our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, cast

from msgspec import Struct
from msgspec.structs import asdict
from pydantic_core import PydanticSerializationError, to_jsonable_python

from .errors import InputError
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


State: TypeAlias = Mapping[str, JSON]


def check_message(message: object) -> None:
    """Refuse a message that says nothing."""
    if not isinstance(message, str) or not message.strip():  # callers may not type-check
        raise InputError("the message is empty; write something")


def check_ids(**ids: str | None) -> None:
    """Refuse ids that are empty or no texts; None is no id."""
    for name, value in ids.items():
        if value == "":
            raise InputError(f"{name} is empty; leave it out where there is none")
        if value is not None and not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            # 3 and "3" would be two users in one store, and one user in another.
            raise InputError(f"{name} is {value!r}, and ids are texts; give {str(value)!r}")


def as_state(state: State | None) -> State | None:
    """The state as it comes back from any store; a copy, so that the caller's stays his."""
    if state is None:
        return None
    if not isinstance(state, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
        raise InputError(f"the state is a {type(state).__name__}; give a mapping of keys to values")
    try:
        return cast("State", jsonable(dict(state)))
    except (PydanticSerializationError, ValueError) as error:
        raise InputError(
            f"the state cannot be stored as JSON: {error}; use text, numbers, lists and mappings"
        ) from error
