"""A session in a file: what `sessions export` writes and `sessions import` reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, cast

from ..errors import InputError
from ..messages import JSON
from ..session import SessionKey
from .screen import pretty, write_out

STANDARD_INPUT = Path("-")
Exported: TypeAlias = Mapping[str, JSON]
_WANTED = "give what `teamgraph sessions export` wrote"


def write_exported(exported: Exported, file: Path | None) -> None:
    """Write it to a file, whole or not at all, or to standard output."""
    # Half a surrogate pair, which UTF-8 cannot hold, becomes the escape that JSON has for it.
    write_out(f"{pretty(exported)}\n".encode(errors="backslashreplace"), file)


def read_exported(file: Path) -> tuple[SessionKey, Exported]:
    """What a file, or standard input, has of a session, and which one that was.

    Raises `InputError` if it cannot be read or is something else.
    """
    try:
        written = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
        data = json.loads(written)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{file}: it cannot be read: {reason}; name another file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: it is not JSON: {error}; {_WANTED}") from error
    exported = cast("dict[str, JSON]", data) if isinstance(data, dict) else {}
    match exported.get("session_id"), exported.get("user_id"):
        case str(session_id), (str() | None) as user_id:
            return SessionKey(user_id, session_id), exported
        case _:
            raise InputError(f"{file}: it is no exported session; {_WANTED}")
