"""`teamgraph store`: verify, repair and measure the files of a store, and copy sessions."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar, cast

import typer
from rich.progress import track

from ..errors import DamagedStore, InputError, UnknownVersion
from ..graph.settings import settings_of
from ..records import SessionKey
from ..stores.copying import Copyable, copy_prompts, copy_session, is_same, sessions_of
from ..stores.journal.disk import DISK, remove_file
from ..stores.places import is_address, is_same_place
from ..stores.tinydb.directory import SkippedSession
from ..stores.tinydb.repair import Finding, JournalReport, Salvage, Survey, repair_finding
from .command import EXIT_FAILURE, command, command_group
from .lookup import session_title
from .options import JsonFlag, StoreOptions, YesFlag, confirm, parse_place
from .output import (
    Style,
    counted,
    make_console,
    print_json,
    print_note,
    print_table,
    print_text,
    two_columns,
)

T = TypeVar("T")
_SECONDS_A_DAY = 86_400

app = command_group(
    "Verify and repair the files of a store, show their size, and copy sessions between stores."
)


@command(app)
def verify(store: StoreOptions, *, json: JsonFlag = False) -> None:
    """Read every file of the store and report damage; nothing is changed.

    Exit code 0 if there is none, 1 if something should be repaired, 2 if it is not a store.
    """
    survey = Survey(store.folder("verifies"))
    journals = _read(survey)
    findings = _findings(survey, journals)
    if json:
        as_json = [_finding_as_json(finding) for finding in findings]
        print_json({"sessions": len(journals), "findings": as_json})
    else:
        for finding in findings:
            print_text(_line(finding))
        bad = sum(finding.severity != "note" for finding in findings)
        verified = f"{counted(len(journals), 'session')} in {store.title} verified"
        if bad:
            advice = "`teamgraph store repair` repairs what it can"
            print_note(f"{verified}: {counted(bad, 'problem')}; {advice}", Style.ERROR)
        else:
            print_note(f"{verified}: no problems", Style.SUCCESS)
    _exit_if_problems(findings)


@command(app)
def repair(
    store: StoreOptions,
    *,
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage",
            help="Keep all that is readable of damaged sessions, and save the damaged files.",
            show_default=False,
        ),
    ] = False,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Cut incomplete writes and delete leftovers of killed processes; no record is lost.

    Sessions that are damaged in the middle are not changed: restore a backup, or use --salvage to
    keep all that is readable.

    Exit code 0 if nothing is left to repair, 1 if something is, 2 if it is not a store.
    """
    survey = Survey(store.folder("repairs"))
    journals = _read(survey)
    findings = _findings(survey, journals)
    keys = {journal.path: journal.key for journal in journals}
    torn = [finding for finding in findings if finding.severity == "warning"]
    rescues = list(_rescues(findings)) if salvage else []
    for finding in findings:
        if finding.severity != "note":
            print_note(_line(finding))
    for rescue in rescues:
        print_note(f"{rescue.path}: {_loss(rescue)}", Style.WARNING)
    if torn or rescues:
        files = counted(len(torn) + len(rescues), "file")
        confirm(f"{files} in {store.title}", yes=yes, action="repair", done="repaired")
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
                "repaired": [_finding_as_json(finding) for finding in done],
                "salvaged": [_rescue_as_json(rescue) for rescue in salvaged],
                "left": [_finding_as_json(finding) for finding in left],
            }
        )
    else:
        for rescue in salvaged:
            text = f"{rescue.path}: salvaged; the damaged file is {rescue.damaged_file.name}"
            print_note(text, Style.WARNING)
        repaired = counted(len(done) + len(salvaged), "file")
        style = Style.ERROR if left else Style.SUCCESS
        print_note(f"{repaired} repaired, {len(left)} left", style)
    _exit_if_problems(left)


@command(app)
def stats(
    store: StoreOptions,
    *,
    limit: Annotated[
        int, typer.Option(min=0, metavar="N", help="List the N largest sessions.")
    ] = 10,
    json: JsonFlag = False,
) -> None:
    """Count users, sessions, runs and bytes, and list the largest sessions.

    Garbage is superseded lines; compaction removes them.
    """
    survey = Survey(store.folder("measures"))
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
        print_json({**totals, "biggest": [_journal_as_json(journal) for journal in biggest]})
        return
    print_text(two_columns({**totals, "garbage": f"{totals['garbage']:.0%}"}))
    if biggest:
        columns = ("session", "user", "runs", "turns", "bytes", "garbage")
        print_table(columns, [_row(journal) for journal in biggest])


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """Which sessions are copied."""

    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Only the sessions of this user; repeatable.",
            show_default=False,
        ),
    ] = None
    session: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Only this session of the users, or without --user of no user; repeatable.",
            show_default=False,
        ),
    ] = None

    def users(self) -> Sequence[str | None] | None:
        """The users whose sessions are copied, None for all."""
        if self.user is None and self.session:
            return [None]
        return self.user


@dataclass
class Copied:
    """What was copied."""

    sessions: int
    written: int = 0
    prompts: int = 0
    different: list[SessionKey] = field(default_factory=list[SessionKey])
    unreadable: list[str] = field(default_factory=list[str])


@command(app)
def copy(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FROM",
            help="The store to read: a folder or an address.",
            show_default=False,
            parser=parse_place,
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TO",
            help="The store to write, which is made if there is none.",
            show_default=False,
            parser=parse_place,
        ),
    ],
    which: CopyOptions,
    *,
    json: JsonFlag = False,
) -> None:
    """Copy sessions between folders and databases, with everything that belongs to them.

    Each session is copied whole or not at all, and one that is there already is left as it is: so
    the command can be stopped at any time, and goes on when it is run again. At the end all are
    compared. Copy while nobody writes: a session that changes meanwhile is reported as different.

    Exit code 0 if both stores have the same, 1 if not, 2 if a store cannot be opened.

    $ teamgraph store copy .teamgraph postgresql://team@localhost/team
    $ teamgraph store copy postgresql://team@localhost/team backup --user ann
    """
    options, other = StoreOptions(source), StoreOptions(target)
    if not is_address(source):
        Survey(Path(source))  # raises if it is no store
    if is_same_place(source, target):
        raise InputError(f"{options.title} cannot be copied to itself; name another store")
    copied = asyncio.run(_copy(options, other, which))
    is_whole = not copied.different and not copied.unreadable
    if json:
        as_json = {
            "sessions": copied.sessions,
            "copied": copied.written,
            "prompts": copied.prompts,
            "different": [key._asdict() for key in copied.different],
            "unreadable": copied.unreadable,
        }
        print_json(as_json)
    else:
        for text in copied.unreadable:
            print_note(text, Style.ERROR)
        for key in copied.different:
            words = ["--user", key.user_id] if key.user_id is not None else []
            delete = shlex.join(["sessions", "delete", key.session_id, *words, *other.words()])
            print_note(
                f"{session_title(key)} differs in {other.title}; to copy it again, delete it "
                f"there: teamgraph {delete}",
                Style.ERROR,
            )
        verdict = "all are the same in both" if is_whole else "not all are the same in both"
        sessions = f"{copied.written} of {counted(copied.sessions, 'session')} copied"
        print_note(
            f"{sessions} from {options.title} to {other.title}; {verdict}",
            Style.SUCCESS if is_whole else Style.ERROR,
        )
    if not is_whole:
        raise typer.Exit(EXIT_FAILURE)


@command(app)
def attachments(
    store: StoreOptions,
    *,
    drop: Annotated[
        bool,
        typer.Option("--drop", help="Delete those that are older than that.", show_default=False),
    ] = False,
    older_than: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="DAYS",
            help="Only those that were last attached so many days ago. Default: the project's "
            "`attachment_days`.",
            show_default=False,
        ),
    ] = None,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Count the attachments of all sessions and their bytes; with --drop, delete old ones.

    Their names stay in the history. A template that attaches one that is gone fails.
    """
    days = settings_of(Path.cwd()).attachment_days if older_than is None else older_than
    if drop and days is None:
        raise InputError(
            "--drop needs to know how old: add --older-than DAYS, or set attachment_days in "
            "[tool.teamgraph] of pyproject.toml"
        )
    latest = time.time() - (days or 0) * _SECONDS_A_DAY
    found = [
        each for each in Survey(store.folder("looks through")).attachments() if each.used <= latest
    ]
    size = sum(each.size for each in found)
    if drop and found:
        what = f"{counted(len(found), 'attachment')} in {store.title}"
        confirm(what, yes=yes)
        for each in found:
            remove_file(DISK, each.file)
    if json:
        print_json({"attachments": len(found), "bytes": size, "dropped": drop})
    else:
        done = "deleted" if drop else f"in {store.title}"
        print_note(f"{counted(len(found), 'attachment')} of {size} bytes {done}")


async def _copy(source: StoreOptions, target: StoreOptions, which: CopyOptions) -> Copied:
    async with source.open() as opened, target.open() as other:
        ours, theirs = cast("Copyable", opened), cast("Copyable", other)
        with warnings.catch_warnings(record=True, action="always") as told:
            keys = await sessions_of(ours, which.users(), which.session or ())
        left_out = [each.message for each in told if each.category is SkippedSession]
        copied = Copied(len(keys), unreadable=[*map(str, left_out)])
        copied.prompts = await copy_prompts(ours, theirs)
        chosen = set(keys)
        for key in _tracked(keys, "copying sessions"):
            try:
                copied.written += await copy_session(ours, theirs, key, chosen)
            except (DamagedStore, UnknownVersion) as error:
                copied.unreadable.append(str(error))
                chosen.remove(key)
        for key in _tracked([key for key in keys if key in chosen], "comparing sessions"):
            if not await is_same(ours, theirs, key):
                copied.different.append(key)
    return copied


def _read(survey: Survey) -> list[JournalReport]:
    """Every session's file, with a progress bar on a terminal."""
    return [survey.read(path) for path in _tracked(survey.journals, "reading sessions")]


def _tracked(items: Sequence[T], doing: str) -> Iterable[T]:
    """The items, with a progress bar on a terminal."""
    terminal = make_console(sys.stderr)
    return track(items, doing, console=terminal, transient=True, disable=not terminal.is_terminal)


def _findings(survey: Survey, journals: Sequence[JournalReport]) -> list[Finding]:
    in_journals = [finding for journal in journals for finding in journal.findings]
    return [*in_journals, *survey.leftovers(), *survey.prompts()]


def _rescues(findings: Sequence[Finding]) -> Iterator[Salvage]:
    for finding in findings:
        if finding.code == "damaged" and finding.file.suffix == ".jsonl":
            try:
                yield Salvage.read(finding.file)
            except DamagedStore as error:
                print_note(str(error), Style.ERROR)


def _line(finding: Finding) -> str:
    place = f"{finding.file}:{finding.line}" if finding.line else str(finding.file)
    return f"{place}: {finding.severity}: {finding.message} [{finding.code}]"


def _loss(rescue: Salvage) -> str:
    loss = rescue.loss
    records = f", and with them {counted(loss.records, 'record')} of lost runs"
    lost = [f"{counted(loss.lines, 'line')} of {loss.bytes} bytes"] if loss.lines else []
    if loss.documents:
        lost.append(f"{counted(loss.documents, 'document')} of the wrong types")
    return f"{' and '.join(lost)} will be lost{records if loss.records else ''}"


def _exit_if_problems(findings: Sequence[Finding]) -> None:
    if any(finding.severity != "note" for finding in findings):
        raise typer.Exit(EXIT_FAILURE)


def _finding_as_json(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "file": str(finding.file),
        "line": finding.line,
        "message": finding.message,
    }


def _rescue_as_json(rescue: Salvage) -> dict[str, object]:
    return {
        "file": str(rescue.path),
        "damaged_file": str(rescue.damaged_file),
        "session_id": rescue.key.session_id,
        "user_id": rescue.key.user_id,
        "lost": {
            "lines": rescue.loss.lines,
            "bytes": rescue.loss.bytes,
            "records": rescue.loss.records,
            "documents": rescue.loss.documents,
        },
    }


def _journal_as_json(journal: JournalReport) -> dict[str, object]:
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
    """The share of bytes that are outdated."""
    return 1 - live / size if size else 0.0
