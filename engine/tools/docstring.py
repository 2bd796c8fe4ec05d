"""What a docstring tells a model: what the function does, and what each argument means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from inspect import cleandoc
from itertools import pairwise
from typing import NamedTuple

_SECTION = r"(Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?|Warnings?):\s*"
_ARGUMENTS = ("Args", "Arguments", "Parameters")
_ENTRY = r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)"


class Told(NamedTuple):
    """The text before the first section, and the description of each argument by its name."""

    description: str
    arguments: Mapping[str, str]


def read_docstring(text: str | None) -> Told:
    """Read a docstring in Google style; what is not there is empty."""
    lines = cleandoc(text or "").splitlines()
    heads = [index for index, line in enumerate(lines) if re.fullmatch(_SECTION, line)]
    description = "\n".join(lines[: heads[0]] if heads else lines).strip()
    arguments: dict[str, str] = {}
    for head, end in pairwise([*heads, len(lines)]):
        if lines[head].strip().rstrip(":") in _ARGUMENTS:
            arguments |= _entries(lines[head + 1 : end])
    return Told(description, arguments)


def _entries(lines: Sequence[str]) -> dict[str, str]:
    """The entries of a section: each begins where the first one does, and goes on further in."""
    entries: dict[str, list[str]] = {}
    margin: int | None = None
    name: str | None = None
    for line in filter(str.strip, lines):
        depth = len(line) - len(line.lstrip())
        margin = depth if margin is None else margin
        entry = re.fullmatch(_ENTRY, line.strip()) if depth <= margin else None
        if entry is not None:
            name = str(entry[1])
            entries[name] = [entry[2]]
        elif name is not None:
            entries[name].append(line.strip())
    return {name: " ".join(filter(None, parts)) for name, parts in entries.items()}
