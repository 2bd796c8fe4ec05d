"""`teamgraph check --fix`: misspelt keys of graph files put right, everything else left as it is.

Only the word itself is replaced in the text, so comments, order and layout stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from ..errors import Problem
from ..graph.yaml.parser import line_starts
from .output import write_file

_UNKNOWN_KEY = "G001"
_SIMILAR = 0.7
"""How similar a word must be to the key that it is replaced by, from 0 to 1."""


def fix_keys(problems: Iterable[Problem]) -> list[str]:
    """Replace the misspelt keys in their files; returns what was done, a line for each."""
    by_file: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.file is not None and _is_certain(problem):
            by_file.setdefault(problem.file, []).append(problem)
    return [line for file, found in by_file.items() for line in _fix_file(file, found)]


def _is_certain(problem: Problem) -> bool:
    """Whether a key is unknown and spelt almost like the one that was meant."""
    key, meant = str(problem.path[-1]) if problem.path else "", problem.suggestion
    return (
        problem.code == _UNKNOWN_KEY
        and meant is not None
        and bool(get_close_matches(key, [meant], cutoff=_SIMILAR))
    )


def _fix_file(file: str, problems: Sequence[Problem]) -> Iterator[str]:
    text = before = Path(file).read_bytes().decode()
    starts = line_starts(text)
    mark = len("\ufeff") if text.startswith("\ufeff") else 0
    for problem in sorted(problems, key=_place, reverse=True):  # later places stay where they are
        line, column = _place(problem)
        at = starts[line - 1] + column - 1 + (mark if line == 1 else 0)
        key = str(problem.path[-1])
        written = re.compile(rf"([\"']?){re.escape(key)}\1(?=\s*:)").match(text, at)
        if written is not None:
            quote = written[1]
            text = f"{text[:at]}{quote}{problem.suggestion}{quote}{text[written.end() :]}"
            yield f"{file}:{line}:{column}: fixed: {key} is now {problem.suggestion}"
    if text != before:
        write_file(text.encode(), Path(file))


def _place(problem: Problem) -> tuple[int, int]:
    return problem.line or 1, problem.column or 1
