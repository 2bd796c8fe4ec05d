"""The command line: `teamgraph`, or `python -m teamgraph`.

A command's module is imported when the command is called; help and completion of the whole need
none of them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from .command import app

if TYPE_CHECKING:
    from io import TextIOWrapper

__all__ = ["app", "main"]


def main() -> None:
    """Run the command that the arguments name, and end with its exit code."""
    # No letter of an answer may end the program.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    app(prog_name="teamgraph")
