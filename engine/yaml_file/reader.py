"""Reading a YAML file: the file itself, its characters, its syntax, then its content."""

from __future__ import annotations

import os
import re
import stat
from functools import partial
from itertools import islice, pairwise
from pathlib import Path as FilePath
from typing import NoReturn

from ..errors import DefinitionError, Problem, closest, in_reading_order
from .builder import BYTES_AT_MOST, LINE_AT_MOST, Builder
from .document import Document, line_starts, place_at
from .event import SyntaxFault, events
from .syntax import explain

_CHARACTERS_SHOWN = 10
_ENTRIES_LOOKED_AT = 1000
_NOT_ALLOWED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]"
)


def read(path: os.PathLike[str] | str) -> Document:
    """Read a YAML file.

    Raises `DefinitionError` with all that can be known at once, also where there is no such file.
    """
    file = shown(path)
    source = _bytes(path, file)
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse_encoding(file, source, error)
    return parse(text, file)


def parse(text: str, file: str) -> Document:
    """Read YAML from a text; `file` is the name that errors show.

    Raises `DefinitionError` with all that can be known at once.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > BYTES_AT_MOST:
        _refuse("Y003", _too_large(len(text)), file)
    starts = line_starts(text)
    _check_characters(text, file, starts)
    builder = Builder(text, file=file, place=partial(place_at, starts))
    try:
        for event in events(text):
            builder.take(event)
    except SyntaxFault as fault:
        message, at = explain(fault, text)
        builder.stop("Y007", message, at)
    return _document(builder, file, text)


def _document(builder: Builder, file: str, text: str) -> Document:
    root = builder.root
    if root is None or (root.value is None and not builder.problems):
        _refuse(
            "Y005",
            "the file is empty; a graph needs at least `name` and `nodes`, cases a `graph`",
            file,
        )
    if not isinstance(root.value, dict):
        kind = "a list" if isinstance(root.value, list) else "a single value"
        message = f"the file holds {kind}; it must be a mapping, such as `name: ...`"
        builder.stop("Y006", message, root.mark.at)
    if builder.problems:
        raise DefinitionError(in_reading_order(builder.problems))
    return Document(dict(root.value), file=file, text=text, root=root.mark)


def shown(path: os.PathLike[str] | str) -> str:
    """The path relative to the working directory where it lies below it, else absolute."""
    try:
        here = FilePath.cwd()
    except OSError:  # it was deleted under our feet
        return os.fspath(path)
    whole = FilePath(os.path.normpath(here / path))
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix()


def _bytes(path: os.PathLike[str] | str, file: str) -> bytes:
    try:
        mode = FilePath(path).stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            _refuse("Y001", f"this is {kind}; name a YAML file", file)
        with FilePath(path).open("rb") as stream:
            source = stream.read(BYTES_AT_MOST + 1)
            size = os.fstat(stream.fileno()).st_size
    except FileNotFoundError as error:
        raise _missing(path, file) from error
    except DefinitionError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = Problem("Y001", f"the file cannot be read: {reason.lower()}", file=file)
        raise DefinitionError([problem]) from error
    if len(source) > BYTES_AT_MOST:
        _refuse("Y003", _too_large(size), file)
    return source


def _missing(path: os.PathLike[str] | str, file: str) -> DefinitionError:
    whole = FilePath(path)
    try:
        found = [each.name for each in islice(whole.parent.iterdir(), _ENTRIES_LOOKED_AT)]
    except OSError:
        message = f"there is no folder {shown(whole.parent)!r}; check the path"
        return DefinitionError([Problem("Y001", message, file=file)])
    known = sorted(each for each in found if each.endswith((".yaml", ".yml")))
    message = "there is no such file"
    suggestion = closest(whole.name, known)
    if suggestion is None:
        message += f"; the folder has {', '.join(known[:5])}" if known else "; check the path"
    return DefinitionError([Problem("Y001", message, file=file, suggestion=suggestion)])


def _refuse_encoding(file: str, source: bytes, error: UnicodeDecodeError) -> NoReturn:
    if source.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse("Y002", "the file is UTF-16; save it as UTF-8", file, cause=error)
    before = source[: error.start].decode("utf-8-sig", errors="replace")
    place = place_at(line_starts(before), len(before))
    message = f"byte {error.start} (0x{source[error.start]:02x}) is not UTF-8; save it as UTF-8"
    problem = Problem("Y002", message, file=file, line=place.line, column=place.column)
    raise DefinitionError([problem]) from error


def _check_characters(text: str, file: str, starts: list[int]) -> None:
    """Refuse what would break the parser or take it too long, a few of each kind at once."""
    long_lines = (
        start for start, end in pairwise([*starts, len(text)]) if end - start > LINE_AT_MOST
    )
    message = f"a line of more than {LINE_AT_MOST} characters; break it"
    found = [("Y003", message, start) for start in long_lines]
    for match in islice(_NOT_ALLOWED.finditer(text), _CHARACTERS_SHOWN):
        message = f"character U+{ord(match[0]):04X} cannot stand in a YAML file; remove it"
        found.append(("Y004", message, match.start()))
    problems: list[Problem] = []
    for code, message, at in found:
        place = place_at(starts, at)
        problems.append(Problem(code, message, file=file, line=place.line, column=place.column))
    if problems:
        raise DefinitionError(in_reading_order(problems))


def _too_large(size: int) -> str:
    return f"{size} bytes are too many; a file may have {BYTES_AT_MOST}, so split it"


def _refuse(code: str, message: str, file: str, *, cause: Exception | None = None) -> NoReturn:
    raise DefinitionError([Problem(code, message, file=file)]) from cause
