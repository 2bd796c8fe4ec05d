"""The store that a folder or an address stands for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import InputError
from .tinydb.store import TinyDBStore

if TYPE_CHECKING:
    from ..session.store import Store

_SCHEMES = ("postgresql://", "postgres://")


def open_store(place: str | os.PathLike[str]) -> Store:
    """A `PostgresStore` at an address `postgresql://...`, and a `TinyDBStore` in any other place.

    Raises `InputError` if the address cannot be read, or the extra `postgres` is not installed.
    """
    if not isinstance(place, str) or not place.startswith(_SCHEMES):
        return TinyDBStore(place)
    return _postgres(place)


def _postgres(address: str) -> Store:
    try:
        from .postgres import PostgresStore  # noqa: PLC0415  an extra
    except ImportError as error:
        raise InputError(str(error)) from error
    return PostgresStore(address)
