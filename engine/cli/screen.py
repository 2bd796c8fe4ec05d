"""What is written where: answers and results on standard output, notes on standard error.

Colours and moving lines are for terminals only, and no text of a model, a user or a file reaches a
terminal with its control characters.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import InputError

# Controls (C0 but tab and line feed, DEL, C1), and the marks that turn the direction of text.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_PICTURES = 0x2400  # from here, Unicode shows the control characters 0 to 31
_CONTROLS = 0x20
_DELETE = 0x7F


class Tone(Enum):
    """How a note sounds, as a style of rich."""

    PLAIN = ""
    QUIET = "dim"
    GOOD = "green"
    WARNING = "yellow"
    BAD = "red"


def harmless(text: str) -> str:
    """The text with its control characters made visible; line breaks and tabs stay."""
    return _HARMFUL.sub(_shown, text.replace("\r\n", "\n"))


def in_line(text: str) -> str:
    """The text on one line, harmless."""
    return harmless(" ".join(text.split()))


def console(stream: TextIO) -> Console:
    """A console that colours and moves only if `stream` is a terminal."""
    return Console(
        file=stream,
        force_terminal=stream.isatty(),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )


def note(text: str, tone: Tone = Tone.PLAIN) -> None:
    """Say something beside the result, on standard error."""
    console(sys.stderr).print(Text(harmless(text), style=tone.value))


def say(text: str) -> None:
    """Print a result on standard output."""
    console(sys.stdout).print(Text(harmless(text)))


def print_json(value: object) -> None:
    """Print a result as JSON, to the letter."""
    sys.stdout.write(pretty(value) + "\n")


def write_out(data: bytes, file: Path | None) -> None:
    """Write a result to a file, whole or not at all, or to standard output."""
    if file is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{file}: it cannot be written: {reason}; name another file") from error


def print_rows(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on a terminal, lines with tabs between the columns elsewhere."""
    lines = [[in_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in [list(heads), *lines]:
            sys.stdout.write("\t".join(line) + "\n")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="ellipsis")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    console(sys.stdout).print(table, soft_wrap=False)


def print_pages(text: str) -> None:
    """Print a long text; on a terminal that is too low for it, page by page."""
    out = console(sys.stdout)
    is_long = out.is_terminal and text.count("\n") >= out.height
    with out.pager() if is_long else nullcontext():
        out.print(Text(harmless(text)))


def indented(text: str, by: str = "  ") -> str:
    """The text with every line moved to the right."""
    return "\n".join(f"{by}{line}" if line else "" for line in text.splitlines())


def pretty(value: object) -> str:
    """A JSON value as people read it."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def when(moment: float) -> str:
    """A Unix time in seconds as the clock here shows it."""
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def counted(number: int, name: str) -> str:
    """A number of things by their name."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def facts(pairs: Mapping[str, object]) -> str:
    """Names and values in two columns, without those that have none."""
    there = {name: value for name, value in pairs.items() if value not in (None, "")}
    width = max(map(len, there), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in there.items())


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < _CONTROLS:
        return chr(_PICTURES + code)
    return "\u2421" if code == _DELETE else f"\\u{code:04x}"
