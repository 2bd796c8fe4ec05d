"""Asking before something is deleted."""

from __future__ import annotations

import sys
from typing import Annotated, TypeAlias

import typer

from ..errors import InputError
from .failure import NOT_HELD
from .screen import harmless, note

Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", help="Delete without asking.", show_default=False)
]


def make_sure(what: str, *, yes: bool) -> None:
    """Go on only if `what` may be deleted: ask at a terminal, elsewhere want `yes`.

    Raises `InputError` where nobody can be asked, `typer.Exit` if the answer is no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(
            f"nobody can be asked here whether to delete {what}; confirm it with --yes"
        )
    if not typer.confirm(harmless(f"delete {what}?"), err=True):
        note("nothing was deleted")
        raise typer.Exit(NOT_HELD)
