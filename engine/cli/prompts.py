"""`teamgraph prompts`: templates checked, rendered, compared, measured, and as they once were."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..prompts import MEASURED, Coverage
from ..testing.ci import refused_in_ci
from ..testing.covered import Covered, count_unseen
from ..testing.suite import Suite
from ..testing.trial import update as updated
from .case_files import CasePaths, case_files
from .check import Checked, GraphFiles, Telling
from .check import show as show_problems
from .command import command
from .failure import NOT_HELD, NOT_TRIED
from .options import AsJson, Reading, Storing
from .render import render
from .screen import Tone, counted, note, print_json, print_pages, say
from .sources import kept_under, sources_told

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def prompts_of_graphs() -> None:
    """Check, render, compare and measure templates, and show those that a run was sent with."""


command(app)(render)


@command(app)
def check(graphs: GraphFiles, reading: Reading, telling: Telling) -> None:
    """Say whether the templates and conditions of graphs hold: that part of `teamgraph check`.

    What each code means stands in docs/prompt-checks.md. JSON has the notes in any case.
    """
    checked = [Checked.of(file, reading) for file in graphs]
    prompts_only = [one.prompts() for one in checked]
    show_problems(prompts_only, telling)
    pairs = zip(checked, prompts_only, strict=True)
    unsure = [one.file for one, of_prompts in pairs if one.errors > of_prompts.errors]
    for file in unsure:
        told = f"{file}: something else does not hold, so not every prompt could be checked"
        note(f"{told}; `teamgraph check {file}` says what", Tone.BAD)
    if any(one.errors for one in prompts_only):
        raise typer.Exit(NOT_HELD)
    if unsure:
        raise typer.Exit(NOT_TRIED)


@command(app)
def update(*, paths: CasePaths = None, json: AsJson = False) -> None:
    """Write the snapshots of cases that are new or changed, and delete those that no case names.

    What `pytest --prompts-update` does for case files; snapshots of test modules stay as they are.
    """
    if (refusal := refused_in_ci("teamgraph prompts update")) is not None:
        raise InputError(refusal)
    done = updated(case_files(paths), Path.cwd())
    if json:
        print_json({**done.ledger.done(), "cases": done.cases, "wrong": done.wrong})
    for line in () if json else done.ledger.told():
        say(line)
    for one in done.wrong:
        note(one, Tone.BAD)
    if done.wrong:
        raise typer.Exit(NOT_HELD)
    if not done.has_changed:
        note(f"{counted(done.cases, 'case')}: every snapshot is as it was", Tone.GOOD)


@command(app)
def coverage(
    *,
    paths: CasePaths = None,
    fail_under: Annotated[
        float | None,
        typer.Option(metavar="N", help="Fail if less than N percent were rendered."),
    ] = None,
    json: AsJson = False,
) -> None:
    """List every branch of a template that no case renders, with file, line and column."""
    covered = _covered(case_files(paths))
    if json:
        print_json(covered.as_json())
    else:
        say(covered.text())
    if fail_under is not None and covered.percent < fail_under:
        raise typer.Exit(NOT_HELD)


@command(app)
def show(
    prompt_hash: Annotated[
        str,
        typer.Argument(
            metavar="HASH",
            help="The hash of a prompt, or as much of it as no other has.",
            show_default=False,
        ),
    ],
    storing: Storing,
    *,
    json: AsJson = False,
) -> None:
    """Show the templates that a prompt was rendered from, as they were then.

    `teamgraph runs show RUN_ID --prompt` tells the hash of each prompt.
    """
    found = asyncio.run(kept_under(prompt_hash, storing))
    if json:
        print_json({"hash": found.hash, "sources": found.sources})
    else:
        print_pages(sources_told([found]))


def _covered(files: Sequence[Path]) -> Covered:
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
