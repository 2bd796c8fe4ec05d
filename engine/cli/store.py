"""`teamgraph store`: whether the files hold, mending them, and how much there is in them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.progress import track

from ..errors import DamagedStore
from ..stores.tinydb.repair import Finding, JournalReport, Salvage, Survey, repair_finding
from .command import command
from .consent import Yes, make_sure
from .failure import NOT_HELD
from .options import AsJson, Storing
from .screen import Tone, console, counted, facts, note, print_json, print_rows, say

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def store() -> None:
    """Verify the files of a store, repair them, and say how much there is in them."""


@command(app)
def verify(storing: Storing, *, json: AsJson = False) -> None:
    """Read every file of the store and say what does not hold; nothing is written.

    Exit code 0 if all is well, 1 if there is something to repair, 2 if it is no store.
    """
    survey = Survey(storing.folder)
    journals = _read(survey)
    findings = _findings(survey, journals)
    if json:
        listed = [_as_json(finding) for finding in findings]
        print_json({"sessions": len(journals), "findings": listed})
    else:
        for finding in findings:
            say(_line(finding))
        bad = sum(finding.severity != "note" for finding in findings)
        verified = f"{counted(len(journals), 'session')} in {storing.folder} verified"
        if bad:
            way = "`teamgraph store repair` mends what can be mended"
            note(f"{verified}: {counted(bad, 'finding')}; {way}", Tone.BAD)
        else:
            note(f"{verified}: all is well", Tone.GOOD)
    _end(findings)


@command(app)
def repair(
    storing: Storing,
    *,
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage",
            help="Take what can be read out of damaged sessions, and keep the damaged files.",
            show_default=False,
        ),
    ] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Cut torn tails and delete what killed processes left; no record is lost by that.

    A session that is damaged in the middle is left alone: restore it from a backup. With --salvage
    every line that can be read is kept, and the damaged file beside it.
    """
    survey = Survey(storing.folder)
    journals = _read(survey)
    findings = _findings(survey, journals)
    keys = {journal.path: journal.key for journal in journals}
    torn = [finding for finding in findings if finding.severity == "warning"]
    rescues = list(_rescues(findings)) if salvage else []
    for finding in findings:
        if finding.severity != "note":
            note(_line(finding))
    for rescue in rescues:
        note(f"{rescue.path}: {_loss(rescue)}", Tone.WARNING)
    if torn or rescues:
        what = counted(len(torn) + len(rescues), "file")
        make_sure(f"{what} in {storing.folder}", yes=yes, act="repair", acted="repaired")
    done = [finding for finding in torn if repair_finding(finding, keys.get(finding.file))]
    salvaged = [rescue.write() for rescue in rescues]
    left = [
        finding
        for finding in findings
        if finding.severity == "error" and finding.file not in {rescue.path for rescue in rescues}
    ]
    if json:
        print_json(
            {
                "repaired": [_as_json(finding) for finding in done],
                "salvaged": [_salvaged(each) for each in salvaged],
                "left": [_as_json(finding) for finding in left],
            }
        )
    else:
        for each in salvaged:
            kept = each.damaged_file.name
            note(f"{each.path}: salvaged; the damaged file is {kept}", Tone.WARNING)
        repaired = counted(len(done) + len(salvaged), "file")
        note(f"{repaired} repaired, {len(left)} left", Tone.BAD if left else Tone.GOOD)
    _end(left)


@command(app)
def stats(
    storing: Storing,
    *,
    limit: Annotated[int, typer.Option(min=0, help="How many of the biggest to show.")] = 10,
    json: AsJson = False,
) -> None:
    """Say how many sessions and runs there are, how many bytes, and which sessions are biggest.

    Garbage is what no longer counts; it goes when a session is written anew.
    """
    survey = Survey(storing.folder)
    journals = _read(survey)
    biggest = sorted(journals, key=lambda journal: journal.size, reverse=True)[:limit]
    size, live = (sum(each) for each in ([j.size for j in journals], [j.live for j in journals]))
    totals = {
        "users": len({journal.path.parent for journal in journals}),
        "sessions": len(journals),
        "runs": sum(journal.runs for journal in journals),
        "turns": sum(journal.turns for journal in journals),
        "bytes": size,
        "garbage": _garbage(size, live),
    }
    if json:
        print_json({**totals, "biggest": [_size_as_json(journal) for journal in biggest]})
        return
    say(facts({**totals, "garbage": f"{totals['garbage']:.0%}"}))
    if biggest:
        heads = ("session", "user", "runs", "turns", "bytes", "garbage")
        print_rows(heads, [_row(journal) for journal in biggest])


def _read(survey: Survey) -> list[JournalReport]:
    """Every session's file, with a bar on a terminal."""
    terminal = console(sys.stderr)
    paths = track(
        survey.journals,
        "reading sessions",
        console=terminal,
        transient=True,
        disable=not terminal.is_terminal,
    )
    return [survey.read(path) for path in paths]


def _findings(survey: Survey, journals: Sequence[JournalReport]) -> list[Finding]:
    in_journals = [finding for journal in journals for finding in journal.findings]
    return [*in_journals, *survey.leftovers(), *survey.prompts()]


def _rescues(findings: Sequence[Finding]) -> Iterator[Salvage]:
    for finding in findings:
        if finding.code == "damaged" and finding.file.suffix == ".jsonl":
            try:
                yield Salvage.read(finding.file)
            except DamagedStore as error:
                note(str(error), Tone.BAD)


def _line(finding: Finding) -> str:
    place = f"{finding.file}:{finding.line}" if finding.line else str(finding.file)
    return f"{place}: {finding.severity}: {finding.message} [{finding.code}]"


def _loss(rescue: Salvage) -> str:
    loss = rescue.loss
    records = f", and {counted(loss.records, 'record')} of runs that go with them"
    lost = f"{counted(loss.lines, 'line')} of {loss.bytes} bytes will be lost"
    return f"{lost}{records if loss.records else ''}"


def _end(findings: Sequence[Finding]) -> None:
    if any(finding.severity != "note" for finding in findings):
        raise typer.Exit(NOT_HELD)


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "file": str(finding.file),
        "line": finding.line,
        "message": finding.message,
    }


def _salvaged(rescue: Salvage) -> dict[str, object]:
    return {
        "file": str(rescue.path),
        "damaged_file": str(rescue.damaged_file),
        "session_id": rescue.key.session_id,
        "user_id": rescue.key.user_id,
        "lost": {
            "lines": rescue.loss.lines,
            "bytes": rescue.loss.bytes,
            "records": rescue.loss.records,
        },
    }


def _size_as_json(journal: JournalReport) -> dict[str, object]:
    return {
        "session_id": journal.key.session_id if journal.key else None,
        "user_id": journal.key.user_id if journal.key else None,
        "runs": journal.runs,
        "turns": journal.turns,
        "bytes": journal.size,
        "garbage": _garbage(journal.size, journal.live),
    }


def _row(journal: JournalReport) -> Sequence[str]:
    session, user = journal.key.session_id if journal.key else journal.path.name, None
    if journal.key:
        user = journal.key.user_id
    garbage = _garbage(journal.size, journal.live)
    numbers = (journal.runs, journal.turns, journal.size)
    return (session, user or "", *map(str, numbers), f"{garbage:.0%}")


def _garbage(size: int, live: int) -> float:
    """The share of bytes that no longer count."""
    return 1 - live / size if size else 0.0
