"""The command line: `teamgraph`, or `python -m teamgraph`.

It knows texts, options and exit codes; what is done is done by the rooms below. A subcommand's
module is imported when the subcommand is called: the help of the whole needs none of them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from .command import app

if TYPE_CHECKING:
    from io import TextIOWrapper

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line of this process, and exit with its code."""
    # A character that the output's encoding lacks is printed as an escape.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    app(prog_name="teamgraph")
