"""Asking before something is deleted, or may be lost."""

from __future__ import annotations

import sys
from typing import Annotated, TypeAlias

import typer

from ..errors import InputError
from .failure import NOT_HELD
from .screen import harmless, note

Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", help="Do it without asking.", show_default=False)
]


def make_sure(what: str, *, yes: bool, act: str = "delete", acted: str = "deleted") -> None:
    """Go on only if `what` may be deleted (or `act` says what): ask at a terminal, else want `yes`.

    Raises `InputError` where nobody can be asked, `typer.Exit` if the answer is no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f"nobody can be asked here whether to {act} {what}; confirm it with --yes")
    if not typer.confirm(harmless(f"{act} {what}?"), err=True):
        note(f"nothing was {acted}")
        raise typer.Exit(NOT_HELD)
