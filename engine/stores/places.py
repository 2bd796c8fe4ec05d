"""The store that a folder or an address stands for."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .tinydb.store import TinyDBStore

if TYPE_CHECKING:
    from ..session.store import Store

_ADDRESS = re.compile("([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SCHEMES = ("postgresql", "postgres")
_SHOWN = (
    "host", "hostaddr", "port", "dbname", "user", "service", "connect_timeout", "options",
    "application_name", "target_session_attrs", "sslmode", "sslrootcert", "sslcert", "sslkey",
)  # fmt: skip
"""Parameters of an address that are no secret."""


def open_store(place: str | os.PathLike[str]) -> Store:
    """A `PostgresStore` at an address `postgresql://...`, and a `TinyDBStore` in any other place.

    Raises `InputError` if the address cannot be read, or the extra `postgres` is not installed.
    """
    text = os.fspath(place)
    found = _ADDRESS.match(text)
    if found is None:
        return TinyDBStore(place)
    if found[1] not in _SCHEMES:
        raise InputError(
            f"{title(text)}: there is no store for {found[1]}://; use the path of a folder, or "
            "'postgresql://user@host:5432/database'"
        )
    return _postgres(text)


def is_address(place: str | os.PathLike[str]) -> bool:
    """Whether a place is the address of a database rather than a folder."""
    return _ADDRESS.match(os.fspath(place)) is not None


def is_same_place(one: str, other: str) -> bool:
    """Whether two places are the same folder, or the same address."""
    if is_address(one) or is_address(other):
        return one == other
    return Path(one).resolve() == Path(other).resolve()


def title(place: str | os.PathLike[str]) -> str:
    """A place as messages name it: of an address without the password and unknown parameters.

    It cuts more rather than less where a password was not percent-encoded.
    """
    text = os.fspath(place)
    if not is_address(text):
        return text
    scheme, _, rest = text.partition("://")
    login, at, after = rest.rpartition("@")
    user = re.split("[:/?]", login)[0]
    host, *parameters = re.split("[?&]", after)
    shown = "&".join(each for each in parameters if each.partition("=")[0] in _SHOWN)
    return f"{scheme}://{user}{at}{host}{'?' if shown else ''}{shown}"


def _postgres(address: str) -> Store:
    try:
        from .postgres import PostgresStore  # noqa: PLC0415  an extra
    except ImportError as error:
        raise InputError(str(error)) from error
    return PostgresStore(address)
