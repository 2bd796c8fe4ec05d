"""The unified diff of a template."""

from __future__ import annotations

from difflib import unified_diff
from io import StringIO

_NO_NEWLINE = "\\ No newline at end of file"


def difference(name: str, then: str | None, now: str) -> str:
    """A unified diff from an earlier to the current text of a template, empty if they are equal."""
    old, new = StringIO(then or "").readlines(), StringIO(now).readlines()
    lines = unified_diff(old, new, f"{name} (then)", f"{name} (now)")
    ended = (line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}\n" for line in lines)
    return "".join(ended).removesuffix("\n")
