"""Where output goes: results to standard output, notes about them to standard error.

Colours and moving lines are for terminals only, and so is rich: it is imported for one. No text of
a model, a user or a file reaches a terminal with its control characters.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..errors import InputError, listed
from ..files import write_atomically
from ..terminal import escape_controls, escape_json, write_text

if TYPE_CHECKING:
    from rich.console import Console

    from ..messages import Usage

_ID_COLUMNS = frozenset(("run", "session", "user"))
_GENERATED_ID = re.compile("[0-9a-f]{32}")
_SHORT_ID = 12
_NARROWEST = 8  # letters of a column that may be cut
_PADDING = 3


class Style(Enum):
    """What a note is about, as a style of rich."""

    PLAIN = ""
    DIM = "dim"
    SUCCESS = "green"
    WARNING = "yellow"
    ERROR = "red"


def print_text(text: str) -> None:
    """Print a result on standard output."""
    _print(text, sys.stdout, Style.PLAIN)


def print_note(text: str, style: Style = Style.PLAIN) -> None:
    """Print something about the result on standard error."""
    _print(text, sys.stderr, style)


def _print(text: str, stream: TextIO, style: Style) -> None:
    safe = escape_controls(text)
    if not stream.isatty():
        write_text(f"{safe}\n", stream)
        return
    from rich.text import Text

    make_console(stream).print(Text(safe, style=style.value))


def print_json(value: object) -> None:
    """Print a result as JSON on standard output."""
    sys.stdout.write(pretty_json(value) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on a terminal, tab-separated lines elsewhere.

    On a terminal a generated id is shortened to a prefix, which commands accept. An id is never
    cut in another way.
    """
    lines = [[one_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in [list(columns), *lines]:
            sys.stdout.write("\t".join(line) + "\n")
        return
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    cells = [_shortened(column, [line[at] for line in lines]) for at, column in enumerate(columns)]
    needed = 0
    for column, texts in zip(columns, cells, strict=True):
        width = max(map(cell_len, texts), default=0) if column in _ID_COLUMNS else None
        table.add_column(column, overflow="ellipsis", min_width=width)
        needed += (width or _NARROWEST) + _PADDING
    for row in zip(*cells, strict=True):
        table.add_row(*map(Text, row))
    out = make_console(sys.stdout)
    out.width = max(out.width, needed)  # a terminal breaks a line that is too long, rich cuts it
    out.print(table, soft_wrap=False)


def _shortened(column: str, texts: Sequence[str]) -> Sequence[str]:
    """The texts of a column; generated ids as prefixes that are unique here, others in full."""
    ids = set(filter(_GENERATED_ID.fullmatch, texts)) if column in _ID_COLUMNS else set[str]()
    width = _SHORT_ID
    while len({text[:width] for text in ids}) < len(ids):
        width += 1
    return [text[:width] if text in ids else text for text in texts]


def print_paged(text: str) -> None:
    """Print a long text; through a pager on a terminal that has too few lines for it."""
    if not sys.stdout.isatty():
        print_text(text)
        return
    from rich.text import Text

    out = make_console(sys.stdout)
    with out.pager() if text.count("\n") >= out.height else nullcontext():
        out.print(Text(escape_controls(text)))


def write_output(text: str, file: Path | None, *, private: bool = False) -> None:
    """Write a result to a file or to standard output; with `private` only the user may read it."""
    if file is None:
        write_text(text, sys.stdout)
    else:
        write_file(text.encode(), file, private=private)


def write_file(data: bytes, file: Path, *, private: bool = False) -> None:
    """Write a file, whole or not at all; a device or a pipe is written to."""
    try:
        target = file.resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            write_atomically(target, data, mode=0o600 if private else 0o666)
    except OSError as error:
        raise InputError(f"{file}: cannot write it: {reason(error)}; name another file") from error


def write_new_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files below a folder; raises `InputError`, and writes none, if one exists."""
    if existing := _conflicts(files, folder):
        raise InputError(
            f"{listed(existing, at_most=3)}: already exists; nothing was written; move "
            f"{'it' if len(existing) == 1 else 'them'} away, or name another folder"
        )
    for name, data in files.items():
        file = folder / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as new:
                new.write(data)
        except OSError as error:
            text = f"{file}: cannot write it: {reason(error)}; name another folder"
            raise InputError(text) from error


def _conflicts(names: Collection[str], folder: Path) -> list[str]:
    """Which of these files exist, or files in the place of one of their folders."""
    found: dict[str, None] = {}
    for name in names:
        file = folder / name
        above = file.parents[: name.count("/") + 1]
        blocking = [path for path in above if os.path.lexists(path) and not path.is_dir()]
        blocking += [file] if os.path.lexists(file) else []
        found.update(dict.fromkeys(map(str, blocking)))
    return list(found)


def make_console(stream: TextIO) -> Console:
    """A console that colours and moves only if `stream` is a terminal."""
    from rich.console import Console

    return Console(
        file=stream,
        force_terminal=stream.isatty(),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )


def one_line(text: str) -> str:
    """The text on one line, without control characters."""
    return escape_controls(" ".join(text.split()))


def indent(text: str, by: str = "  ") -> str:
    """The text with `by` before every line that is not empty."""
    return "\n".join(f"{by}{line}" if line else "" for line in text.splitlines())


def two_columns(pairs: Mapping[str, object]) -> str:
    """Names and values in two columns, without those whose value is None or empty."""
    present = {name: value for name, value in pairs.items() if value not in (None, "")}
    width = max(map(len, present), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in present.items())


def counted(number: int, name: str) -> str:
    """A number with the name of what is counted, as in "1 turn" and "2 turns"."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def usage_text(usage: Usage) -> str:
    """Calls, tokens and cost, after a comma; empty if no model was called."""
    if not usage.calls:
        return ""
    calls = counted(usage.calls, "call")
    cost = f", ${usage.cost:.4f}" if usage.cost else ""
    return f", {calls}, {usage.input_tokens} tokens in, {usage.output_tokens} out{cost}"


def local_time(moment: float) -> str:
    """A Unix time in seconds as local date and time."""
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def pretty_json(value: object) -> str:
    """A value as indented JSON, with its control characters as escapes."""
    return escape_json(json.dumps(value, ensure_ascii=False, indent=2))


def reason(error: OSError) -> str:
    """Why the operating system refused, in the middle of a sentence."""
    return (error.strerror or str(error)).lower()
