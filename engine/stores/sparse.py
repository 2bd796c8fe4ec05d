"""Values as documents that leave out what has its default value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import FieldInfo, fields
from pydantic import ValidationError

from ..errors import DamagedStore
from .compact_json import Document

Made = TypeVar("Made")
Defaults: TypeAlias = tuple[tuple[str, object], ...]


def sparse(value: object, defaults: Defaults) -> Document:
    """The fields of a value that are not what they are by default."""
    return {
        name: item
        for name, default in defaults
        if (item := getattr(value, name)) is not default and (default is None or item != default)
    }


def defaults(kind: type[Struct], *, drop: tuple[str, ...] = ()) -> Defaults:
    """The fields of a struct with their defaults, without those in `drop`."""
    return tuple(
        (column.name, _default(column)) for column in fields(kind) if column.name not in drop
    )


def build(kind: Callable[..., Made], document: Document) -> Made:
    """Make an object of a parsed document; raises `DamagedStore` if it does not fit."""
    try:
        return kind(**document)
    except (TypeError, ValidationError) as error:
        name = getattr(kind, "__name__", "document").lower()
        raise DamagedStore(
            f"a stored {name} has the wrong shape: {error}; restore the file from a backup"
        ) from error


def _default(column: FieldInfo) -> object:
    made: object = column.default_factory
    return made() if callable(made) else column.default
