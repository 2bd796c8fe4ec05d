"""Events as JSON lines: on standard output (`--events jsonl`) and in a file (`--trace FILE`)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import InputError
from ..events import Event
from ..terminal import escape_json
from .output import reason


def json_line(event: Event) -> str:
    """An event as one line of JSON, without control characters."""
    return escape_json(json.dumps(event.to_json(), ensure_ascii=False)) + "\n"


class Trace:
    """Appends events to a file, each as it happens; close it.

    A file that is created may be read by the user only. Raises `InputError` if it cannot be
    written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = open(path, "ab", buffering=0, opener=_private)  # noqa: SIM115  see `close`
        except OSError as error:
            raise self._refused(error) from error

    def write(self, event: Event) -> None:
        """Append an event."""
        try:
            self._file.write(json_line(event).encode())
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _refused(self, error: OSError) -> InputError:
        text = f"--trace {self._path}: cannot write it: {reason(error)}; name another file"
        return InputError(text)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
