"""What can be written as YAML and read back: checked before a line is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NoReturn, cast

from ..errors import DefinitionError, Path, Problem
from .builder import BYTES_AT_MOST, DEPTH_AT_MOST, LINE_AT_MOST, NODES_AT_MOST
from .scalar import DIGITS_AT_MOST

_LARGEST = 10**DIGITS_AT_MOST


def check_size(text: str) -> None:
    """Raise `DefinitionError` if the text is larger than what is read again."""
    if len(text.encode()) > BYTES_AT_MOST:
        _refuse("Y003", f"more than {BYTES_AT_MOST} bytes of YAML; split the data", ())
    if max(map(len, text.split("\n"))) > LINE_AT_MOST:
        _refuse("Y003", f"a text of more than {LINE_AT_MOST} characters on one line; break it", ())


def check_writable(data: Mapping[str, object]) -> None:
    """Raise `DefinitionError`, with the path to it, for what YAML cannot hold.

    Half a surrogate pair, a number that is none, a key that is not text, an object of another
    kind, too many levels or values (also those of data that contains itself).
    """
    waiting: list[tuple[Path, object]] = [((), data)]
    count = 0
    while waiting:
        path, value = waiting.pop()
        count += 1
        if len(path) > DEPTH_AT_MOST:
            _refuse("Y012", f"nested more than {DEPTH_AT_MOST} deep; make it flatter", path)
        if count > NODES_AT_MOST:
            _refuse("Y003", f"more than {NODES_AT_MOST} values; split the file", path[:1])
        match value:
            case Mapping():
                pairs = cast("Mapping[object, object]", value)
                waiting += [((*path, _checked_key(key, path)), each) for key, each in pairs.items()]
            case Sequence() if not isinstance(value, str | bytes | bytearray | memoryview):
                items = cast("Sequence[object]", value)
                waiting += [((*path, index), each) for index, each in enumerate(items)]
            case _:
                _check_leaf(value, path)


def _checked_key(key: object, path: Path) -> str:
    if not isinstance(key, str):
        _refuse("Y014", f"the key {key!r} is not text; make it text", path)
    _check_text(key, path)
    return key


def _check_leaf(value: object, path: Path) -> None:
    match value:
        case str():
            _check_text(value, path)
        case None | bool():
            pass
        case int():
            if abs(value) >= _LARGEST:
                _refuse("Y015", f"a number of over {DIGITS_AT_MOST} digits; make it text", path)
        case float():
            if not math.isfinite(value):
                _refuse("Y015", f"{value} is no number that can be stored; leave it out", path)
        case _:
            kind = type(value).__name__
            _refuse("Y015", f"a {kind} cannot be written as YAML; make it text or a mapping", path)


def _check_text(text: str, path: Path) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        _refuse("Y004", "half a surrogate pair cannot be written as UTF-8; leave it out", path)


def _refuse(code: str, message: str, path: Path) -> NoReturn:
    raise DefinitionError([Problem(code, message, path=path)])
