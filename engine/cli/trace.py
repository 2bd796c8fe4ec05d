"""Events as JSON lines: on standard output (`--events jsonl`) and in a file (`--trace FILE`)."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ..errors import InputError
from ..events import Event, Listener
from ..terminal import escape_json
from .output import Style, print_note, reason


def json_line(event: Event) -> str:
    """An event as one line of JSON, without control characters."""
    return escape_json(json.dumps(event.to_json(reader="terminal"), ensure_ascii=False)) + "\n"


@contextmanager
def trace_listeners(path: Path | None) -> Generator[Sequence[Listener]]:
    """What appends the events of every run of a server to the file of `--trace`, if it is given.

    Raises `InputError` if the file cannot be opened. If it cannot be written later, that is told
    once, and the runs go on.
    """
    if path is None:
        yield ()
        return
    with closing(Trace(path)) as trace:
        has_failed = False

        def listen(event: Event) -> None:
            nonlocal has_failed
            try:
                trace.write(event)
            except InputError as error:
                if not has_failed:
                    print_note(f"warning: {error}", Style.WARNING)
                has_failed = True

        yield (listen,)


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
