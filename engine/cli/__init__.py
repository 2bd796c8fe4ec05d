"""The command line: `teamgraph`, or `python -m engine.cli`.

A command's module is imported when the command is called; help and completion of the whole need
none of them.
"""

from __future__ import annotations

import io
import sys

from .root import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command that the arguments name, and end with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # no letter of an answer may end the program
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="teamgraph")
