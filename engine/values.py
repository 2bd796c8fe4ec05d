"""The gate for values that enter the engine: JSON data that every store can read again.

What is refused would be lost, changed or unreadable later: numbers that are not finite or have more
digits than Python reads back, keys that are the same text in JSON, deeper nesting than decoders
accept. State, outputs, tool arguments, params and imported sessions all pass here. `merge_changes`
merges two changes of such a value.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import fields
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from .errors import InputError, KeyPath
from .messages import JSON, struct_fields, text_of

State: TypeAlias = Mapping[str, JSON]
MAX_DEPTH = 100
"""Levels of lists and mappings; decoders stop at 200, and a record adds some of its own."""
MAX_DIGITS = 4300
"""Digits of an integer: the limit at which Python stops to convert texts to integers."""
_MAX_BITS = int(MAX_DIGITS * math.log2(10))
TOO_LONG = f"an integer of more than {MAX_DIGITS} digits"
_ADVICE = "use text, finite numbers, lists, mappings, or a pydantic model"


def to_json(value: object, name: str) -> JSON:
    """The value as JSON data, copied in every part; models and structs by the names of fields.

    Raises `InputError` with `name`, which says what the value is, the path in it and the reason.
    """
    try:
        return _converted(value, 0)
    except _Refused as error:
        where = f" at {_path(error.keys)}" if error.keys else ""
        raise InputError(f"{name} cannot be stored as JSON: {error}{where}; {_ADVICE}") from error


def is_long(value: object) -> bool:
    """Whether a value is an integer of more than `MAX_DIGITS`, which Python does not write out."""
    return isinstance(value, int) and value.bit_length() > _MAX_BITS


def value_text(value: object, name: str) -> str:
    """A value as text: a text as it is, anything else as JSON; raises `InputError` as `to_json`."""
    return value if isinstance(value, str) else text_of(to_json(value, name))


def json_problem(value: object, *, envelope: int = 0) -> tuple[KeyPath, str] | None:
    """The path to what cannot be stored as JSON in a value, and the reason; None if all can.

    `envelope` is the number of levels around the values in it, which may be as deep as any.
    """
    try:
        _converted(value, -envelope)
    except _Refused as error:
        return tuple(error.keys), str(error)
    return None


def parse_json(text: str, name: str = "the answer") -> JSON:
    """Decode JSON text strictly; raises `ValueError` with a reason for a person or a model.

    Neither NaN nor infinity, no duplicate key, no nesting deeper than `MAX_DEPTH`, no integer of
    more than `MAX_DIGITS`. `name` says what the text is.
    """
    if not text:
        raise ValueError(f"{name} is empty")
    try:
        value: JSON = _decoder(name).decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{name} is not JSON: {error.msg.lower()} at {place}") from error
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deeply") from error
    # A text has as many brackets as levels at least: counting them is ten times as fast.
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
        raise ValueError(f"{name} is nested too deeply")
    return value


def check_message(message: object) -> None:
    """Raise `InputError` for a message that is empty or not text."""
    check_text(message)
    if message is None or not str(message).strip():
        raise InputError("the message is empty; write something")


def check_text(message: object) -> None:
    """Raise `InputError` for a message that is not text; None is left out."""
    if message is not None and not isinstance(message, str):  # callers may not type-check
        text = f"the message is a {type(message).__name__}, and only text can be sent; pass a text"
        if isinstance(message, Mapping):
            text += ", and other values as state={...}, which prompts read as session.state.KEY"
        elif isinstance(message, list | tuple):
            text += ", the newest one; the turns before it are those of the session_id"
        raise InputError(text)


def check_system(system: object) -> None:
    """Raise `InputError` for a system text that is empty or not text; None is left out."""
    if system is not None and not isinstance(system, str):
        raise InputError(
            f"system is a {type(system).__name__}; give a text, which templates read as "
            "`input.system`"
        )
    if system is not None and not system.strip():
        raise InputError("system is empty; leave it out where there is none")


def check_ids(**ids: str | None) -> None:
    """Raise `InputError` for ids that are empty or not text; None is no id."""
    for name, value in ids.items():
        if value == "":
            raise InputError(f"{name} is empty; leave it out where there is none")
        if value is not None and not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            # 3 and "3" would be two users in one store, and one user in another.
            if is_long(value):
                raise InputError(f"{name} is {TOO_LONG}, and ids are texts")
            raise InputError(f"{name} is {value!r}, and ids are texts; give {str(value)!r}")


def model_id_problem(model_id: str) -> str | None:
    """What is wrong with the id of a model: an address in it would replace the provider's."""
    if "://" in model_id:
        return "an id has no address in it; write provider/model, and the address in api_base"
    return None


def check_folder(name: str, value: object) -> None:
    """Raise `InputError` if an argument is no path."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name} is a {type(value).__name__}; give the path of a folder")


def check_counts(**counts: int | None) -> None:
    """Raise `InputError` for limits and offsets that are not whole numbers; None is no limit."""
    for name, value in counts.items():
        if value is not None and not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            raise InputError(f"{name} is {value!r}; give a whole number")


def check_mapping(name: str, value: object, keys: str) -> None:
    """Raise `InputError` if an argument is no mapping; `keys` says of what to what."""
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is a {type(value).__name__}; give a mapping of {keys}")


def as_state(state: State | None) -> State | None:
    """A copy of the state as every store returns it; raises `InputError`."""
    if state is None:
        return None
    check_mapping("the state", state, "keys to values")
    return cast("State", to_json(state, "the state"))


class _Refused(ValueError):
    """A value that JSON cannot represent; `keys` lead to it, added while the error rises."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.keys: list[str | int] = []


def _converted(value: Any, depth: int) -> JSON:  # noqa: ANN401  no cast: this is called for each value
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value  # type: ignore[no-any-return]  # its type was just looked at
    if kind is int or kind is float:
        return _number(value)
    return _container(value, depth)


def _number(value: float) -> JSON:
    if isinstance(value, int):
        if is_long(value):
            raise _Refused(TOO_LONG)
    elif not math.isfinite(value):
        raise _Refused(f"{value} is not a number in JSON")
    return value


def _container(value: Any, depth: int) -> JSON:  # noqa: ANN401  as above
    if depth > MAX_DEPTH:
        raise _Refused(f"nested more than {MAX_DEPTH} levels deep")
    if type(value) is dict or isinstance(value, Mapping):  # the second is ten times as slow
        return _mapping(value.items(), depth)
    if isinstance(value, list | tuple | set | frozenset | deque):
        return _list(value, depth)
    if isinstance(value, Struct):
        columns = ((column.encode_name, getattr(value, column.name)) for column in fields(value))
        return _mapping(columns, depth)
    return _other(value, depth)


def _mapping(pairs: Iterable[tuple[object, object]], depth: int) -> JSON:
    made: dict[str, JSON] = {}
    for key, value in pairs:
        name = key if type(key) is str else _key(key)
        if name in made:
            raise _Refused(f"two keys are both {name!r} in JSON")
        try:
            made[name] = _converted(value, depth + 1)
        except _Refused as error:
            error.keys.insert(0, name)
            raise
    return made


def _list(items: Iterable[object], depth: int) -> JSON:
    made: list[JSON] = []
    for index, item in enumerate(items):
        try:
            made.append(_converted(item, depth + 1))
        except _Refused as error:
            error.keys.insert(0, index)
            raise
    return made


def _key(key: object) -> str:
    """The key as text; None, booleans and numbers have one too."""
    if isinstance(key, float) and not math.isfinite(key):
        raise _Refused(f"the key {key} is not a number in JSON")
    converted = _jsonable({key: None})
    return next(iter(cast("Mapping[str, JSON]", converted)))


def _other(value: object, depth: int) -> JSON:
    """Dates, enums, models and whatever else pydantic can serialize; then checked as it is."""
    if isinstance(value, BaseModel) and _has_containers(value):
        _converted(value.model_dump(by_alias=False), depth)  # equal keys are merged in JSON form
    elif is_dataclass(value) and not hasattr(value, "__pydantic_serializer__"):
        names = (column.name for column in dataclass_fields(value))
        _mapping(((name, getattr(value, name, None)) for name in names), depth)  # as above
    return _converted(_jsonable(value), depth)


def _has_containers(model: BaseModel) -> bool:
    return any(not isinstance(value, str | int | float | None) for _, value in model)


def _jsonable(value: object) -> object:
    try:
        converted: object = to_jsonable_python(value, by_alias=False, fallback=struct_fields)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise _Refused(reason or type(error).__name__) from error
    return converted


def _path(keys: Iterable[str | int]) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return repr(text.removeprefix("."))


def _is_deep(value: JSON) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = (
            each.values() if isinstance(each, dict) else each
            for each in level
            if isinstance(each, dict | list)
        )
        level = [item for items in inner for item in items]
        if not level:
            return False
    return True


@lru_cache(maxsize=8)
def _decoder(name: str) -> json.JSONDecoder:
    """The strict decoder of texts that errors call `name`; `json.loads` makes one at each call."""
    return json.JSONDecoder(
        parse_constant=_refuse_constant,
        parse_float=_finite,
        parse_int=partial(_integer, name=name),
        object_pairs_hook=_unique,
    )


def _refuse_constant(word: str) -> JSON:
    raise ValueError(f"{word} is not a number in JSON")


def _integer(digits: str, name: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number in {name} is too long")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice!r} is a duplicate key in one object")
    return made


class NoValue:
    """There is no value."""


NO_VALUE: Final = NoValue()
_Value: TypeAlias = "JSON | NoValue"


def merge_changes(base: _Value, theirs: _Value, ours: _Value) -> _Value:
    """The value with both changes since `base`; raises `ValueError` where they contradict.

    Mappings are merged key by key, and items that both appended to a list are all in it, theirs
    first. Both may set the same text, boolean or null. Numbers that both changed contradict, even
    equal ones: nobody can tell whether they were set or added to.
    """
    if _is_same(theirs, base):
        return ours
    if _is_same(ours, base):
        return theirs
    if isinstance(theirs, dict) and isinstance(ours, dict) and _may_be(dict, base):
        return _merge_mappings(base if isinstance(base, dict) else {}, theirs, ours)
    if isinstance(theirs, list) and isinstance(ours, list) and _may_be(list, base):
        before = base if isinstance(base, list) else []
        count = len(before)
        if theirs[:count] == before and ours[:count] == before:
            return [*theirs, *ours[count:]]
    if _is_set_alike(base, theirs, ours):
        return ours
    raise ValueError("two changes that contradict each other")


def _merge_mappings(
    base: dict[str, JSON], theirs: dict[str, JSON], ours: dict[str, JSON]
) -> dict[str, JSON]:
    merged: dict[str, JSON] = {}
    for key in dict.fromkeys([*theirs, *ours]):
        value = merge_changes(
            base.get(key, NO_VALUE), theirs.get(key, NO_VALUE), ours.get(key, NO_VALUE)
        )
        if not isinstance(value, NoValue):
            merged[key] = value
    return merged


def _may_be(kind: type, base: _Value) -> bool:
    return isinstance(base, kind | NoValue)


def _is_same(one: _Value, other: _Value) -> bool:
    return one is other or (type(one) is type(other) and one == other)


def _is_set_alike(base: _Value, theirs: _Value, ours: _Value) -> bool:
    """Whether both set (or removed) the same value, and did not append the same text to one."""
    if theirs is None or isinstance(theirs, bool | NoValue):
        return _is_same(theirs, ours)
    is_append = isinstance(base, str) and base != "" and str(theirs).startswith(base)
    return isinstance(theirs, str) and _is_same(theirs, ours) and not is_append
