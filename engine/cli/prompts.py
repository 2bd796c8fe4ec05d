"""`teamgraph prompts`: what the case files of a project cover of its templates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import NotFound
from ..prompts import MEASURED, Coverage
from ..testing.covered import Covered, count_unseen
from ..testing.suite import SUFFIX, Suite
from .command import command
from .failure import NOT_HELD
from .options import AsJson
from .screen import print_json, say

app = typer.Typer(no_args_is_help=True)


@app.callback()
def prompts() -> None:
    """Say what the case files of a project cover of its templates."""


@command(app)
def coverage(
    *,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...",
            help=f"Case files (*{SUFFIX}), or folders that they lie in; if left out, this one.",
            show_default=False,
        ),
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(metavar="N", help="Fail if less than N percent were rendered."),
    ] = None,
    json: AsJson = False,
) -> None:
    """List every branch of a template that no case renders, with file, line and column."""
    covered = _covered(_case_files(paths or [Path()]))
    if json:
        print_json(covered.as_json())
    else:
        say(covered.text())
    if fail_under is not None and covered.percent < fail_under:
        raise typer.Exit(NOT_HELD)


def _case_files(paths: Iterable[Path]) -> Sequence[Path]:
    files: dict[Path, None] = {}
    for path in paths:
        found = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
        files.update(dict.fromkeys(found))
    if not files:
        raise NotFound(f"there is no case file (*{SUFFIX}) here; name one, or a folder with some")
    return list(files)


def _covered(files: Iterable[Path]) -> Covered:
    measured = Coverage()
    token = MEASURED.set(measured)
    try:
        for file in files:
            for case in Suite.read(file).cases:
                case.render()
        count_unseen(measured, Path.cwd())
    finally:
        MEASURED.reset(token)
    return Covered.of(measured, Path.cwd())
