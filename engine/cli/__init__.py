"""The command line: `teamgraph`, or `python -m teamgraph`.

It knows texts, options and exit codes; what is done is done by the rooms below. A subcommand's
module is imported when the subcommand is called: the help of the whole needs none of them.
"""

from __future__ import annotations

import gc
import sys
from traceback import format_exc
from typing import TYPE_CHECKING, cast
from warnings import simplefilter

from ..errors import NoSessionWarning
from ..terminal import write_text
from .command import EXIT_FAILURE, app

if TYPE_CHECKING:
    from io import TextIOWrapper

__all__ = ["app", "main"]

_OBJECTS = 20_000
"""New objects after which Python searches for garbage; 700 by default."""


def main() -> None:
    """Run the command line of this process, and exit with its code."""
    # What is imported stays: searching it for garbage 150 times is a tenth of the start.
    gc.set_threshold(_OBJECTS)
    # A character that the output's encoding lacks is printed as an escape.
    cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    # A command line has no `session_id` to pass; a single question needs no `--session`.
    simplefilter("ignore", NoSessionWarning)
    try:
        app(prog_name="teamgraph")
    except Exception:  # noqa: BLE001  with --debug, errors come here
        write_text(format_exc(), sys.stderr)
        sys.exit(EXIT_FAILURE)
