"""`teamgraph store`: verify, repair and stats."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from teamgraph import SessionKey
from teamgraph.engine.stores.journal.journal_file import JournalSettings
from teamgraph.engine.stores.tinydb.directory import StoreLayout

from .conftest import Project
from .test_sessions import say

STORE = Path(".teamgraph")


def journal(session: str, user: str | None = None) -> Path:
    return StoreLayout(STORE, JournalSettings()).journal(SessionKey(user, session))


def told(project: Project, *words: str, code: int) -> Any:  # noqa: ANN401  whatever JSON it is
    done = project.teamgraph("store", *words, "--json")
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout)


def found(project: Project, *, code: int = 1) -> list[tuple[str, str, int | None]]:
    findings = told(project, "verify", code=code)["findings"]
    return [(one["code"], Path(one["file"]).name, one["line"]) for one in findings]


def lines(session: str, user: str | None = None) -> list[bytes]:
    return journal(session, user).read_bytes().splitlines(keepends=True)


def damage(session: str, line: int, user: str | None = None) -> None:
    """Change a letter in the middle of a line, which counts from 1."""
    kept = lines(session, user)
    bad = bytearray(kept[line - 1])
    bad[len(bad) // 2] ^= 1
    kept[line - 1] = bytes(bad)
    journal(session, user).write_bytes(b"".join(kept))


def misspell(session: str) -> None:
    """Give the input "two" the wrong type, in lines whose checksums are right."""
    edited: list[bytes] = []
    for line in lines(session):
        rest = line[len(b'{"c":"00000000",') :].replace(b'"input":"two"', b'"input":7')
        edited.append(b'{"c":"%08x",%b' % (crc32(rest.rstrip(b"\n")), rest))
    journal(session).write_bytes(b"".join(edited))


def tear(session: str) -> bytes:
    """The beginning of a write, as a killed process leaves it."""
    with journal(session).open("ab") as file:
        file.write(b'{"c":"torn-word')
    return b'{"c":"torn-word'


def test_a_store_without_damage(project: Project) -> None:
    say(project, "one", "s")
    say(project, "two", "t", "--user", "ann")
    assert told(project, "verify", code=0) == {"sessions": 2, "findings": []}
    done = project.teamgraph("store", "verify")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "2 sessions in .teamgraph verified: no problems" in done.stderr


def test_a_folder_that_is_not_a_store_is_refused(project: Project) -> None:
    for command in ("verify", "repair", "stats"):
        done = project.teamgraph("store", command, "--store", "nowhere")
        assert done.exit_code == 2
        assert "nowhere: there is no store; name another one with --store" in done.stderr


def test_damage_is_reported_with_its_line(project: Project) -> None:
    say(project, "one", "s")
    damage("s", 4)
    assert found(project) == [("damaged", journal("s").name, 4)]
    done = project.teamgraph("store", "verify")
    assert f"{journal('s')}:4: error: " in done.stdout
    assert "`teamgraph store repair`" in done.stderr


def test_a_torn_tail_is_reported_and_cut_and_saved_aside(project: Project) -> None:
    say(project, "one", "s")
    whole = journal("s").read_bytes()
    tail = tear("s")
    line = len(lines("s"))
    assert found(project) == [("torn", journal("s").name, line)]
    done = project.teamgraph("store", "repair")
    assert done.exit_code == 2
    assert "non-interactive use needs `--yes`" in done.stderr
    repaired = told(project, "repair", "--yes", code=0)
    assert [one["code"] for one in repaired["repaired"]] == ["torn"]
    assert journal("s").read_bytes() == whole
    assert journal("s").with_suffix(".torn").read_bytes() == tail
    assert found(project, code=0) == [("aside", journal("s").with_suffix(".torn").name, None)]
    assert "0 files repaired, 0 left" in project.teamgraph("store", "repair").stderr


def test_a_file_in_which_nothing_was_ever_whole_is_emptied(project: Project) -> None:
    say(project, "one", "s")
    journal("torn").write_bytes(lines("s")[0][:40])
    assert found(project) == [("torn", journal("torn").name, 1)]
    told(project, "repair", "--yes", code=0)
    assert journal("torn").read_bytes() == b""


def test_what_a_killed_process_left_is_deleted(project: Project) -> None:
    say(project, "one", "s")
    leftovers = [
        journal("s").with_suffix(".tmp"),
        journal("gone").with_suffix(".lock"),
        journal("gone").with_suffix(".torn"),
        STORE / "prompts" / "ab.json.999999999-1.tmp",
    ]
    being_written = STORE / "prompts" / f"ab.json.{os.getpid()}-1.tmp"
    somebody_elses = STORE / "prompts" / "ab.json.1-1.tmp"
    for path in (*leftovers, being_written, somebody_elses):
        path.write_bytes(b"x")
    assert {name for _, name, _ in found(project)} == {path.name for path in leftovers}
    assert told(project, "repair", "--yes", code=0)["left"] == []
    assert not any(path.exists() for path in leftovers)
    assert being_written.exists()
    assert somebody_elses.exists()


def test_what_cannot_be_repaired_is_left_and_reported(project: Project) -> None:
    say(project, "one", "s")
    say(project, "two", "t")
    damage("s", 3)
    before = journal("s").read_bytes()
    header = lines("t")[0]
    text = header.replace(b'"version":3', b'"version":9')
    start = len('{"c":"00000000",')
    mended = b'{"c":"%08x",' % crc32(text[start:-1]) + text[start:]
    journal("t").write_bytes(mended + b"".join(lines("t")[1:]))
    prompt = next((STORE / "prompts").iterdir())
    prompt.write_bytes(b"{")
    moved = journal("moved")
    say(project, "three", "u")
    journal("u").rename(moved)
    journal("u").with_suffix(".lock").unlink()
    codes = {"damaged", "version", "misplaced"}
    assert {code for code, _, _ in found(project)} == codes
    left = told(project, "repair", "--yes", code=1)["left"]
    assert {one["code"] for one in left} == codes
    assert len(left) == 4
    assert journal("s").read_bytes() == before


def test_salvage_recovers_what_can_be_read_and_keeps_the_damaged_file(project: Project) -> None:
    for message in ("one", "two", "three"):
        say(project, message, "s")
    before = lines("s")
    first_of_two = next(number for number, line in enumerate(before) if b'"input":"two"' in line)
    damage("s", first_of_two + 1)
    damaged = journal("s").read_bytes()
    assert project.teamgraph("sessions", "show", "s").exit_code == 2
    done = project.teamgraph("store", "repair", "--salvage")
    assert done.exit_code == 2
    assert "1 line of " in done.stderr
    assert "will be lost" in done.stderr
    salvaged = told(project, "repair", "--salvage", "--yes", code=0)["salvaged"]
    assert [(one["session_id"], one["lost"]["lines"]) for one in salvaged] == [("s", 1)]
    assert journal("s").with_suffix(".damaged").read_bytes() == damaged
    shown = json.loads(project.teamgraph("sessions", "show", "s", "--json").stdout)
    assert [turn["input"] for turn in shown["turns"]] == ["one", "two", "three"]
    assert found(project, code=0) == [("aside", journal("s").with_suffix(".damaged").name, None)]
    project.teamgraph("sessions", "delete", "s", "--yes")
    assert not journal("s").with_suffix(".damaged").exists()


def test_records_of_a_run_that_is_lost_go_with_it(project: Project) -> None:
    for message in ("one", "two"):
        say(project, message, "s")
    kept = lines("s")
    runs = [number for number, line in enumerate(kept, 1) if b'"t":"runs"' in line]
    of_two = [number for number in runs if b'"input":"two"' in kept[number - 1]]
    for number in of_two:
        damage("s", number)
    done = project.teamgraph("store", "repair", "--salvage", "--yes")
    assert done.exit_code == 0
    assert "records of lost runs" in done.stderr
    assert "salvaged; the damaged file is " in done.stderr
    shown = json.loads(project.teamgraph("sessions", "show", "s", "--json").stdout)
    assert [turn["input"] for turn in shown["turns"]] == ["one"]
    assert b"two" not in b"".join(line for line in lines("s") if b'"t":"nodes"' in line)


def test_a_session_whose_owner_is_lost_is_not_salvaged(project: Project) -> None:
    say(project, "one", "s")
    damage("s", 1)
    prompt = next((STORE / "prompts").iterdir())
    prompt.write_bytes(b"[]")
    assert found(project) == [("damaged", journal("s").name, 1), ("damaged", prompt.name, 1)]
    done = project.teamgraph("store", "repair", "--salvage", "--yes")
    assert done.exit_code == 1
    assert "that names its session was lost" in done.stderr
    assert "0 files repaired, 2 left" in done.stderr


def test_a_file_that_is_not_a_journal_is_reported(project: Project) -> None:
    say(project, "one", "s")
    journal("alien").write_bytes(b"hello\nthere\n")
    assert found(project) == [("torn", journal("alien").name, 1)]
    say(project, "one", "s")


def test_stats_count_what_is_stored(project: Project) -> None:
    for message in ("one", "two"):
        say(project, message, "s", "--user", "ann")
    say(project, "three", "t")
    told_of = told(project, "stats", code=0)
    sizes = [journal("s", "ann").stat().st_size, journal("t").stat().st_size]
    assert told_of["bytes"] == sum(sizes)
    names = ("users", "sessions", "runs", "turns")
    assert [told_of[name] for name in names] == [2, 2, 3, 3]
    assert 0 < told_of["garbage"] < 1
    biggest = [(one["session_id"], one["user_id"], one["bytes"]) for one in told_of["biggest"]]
    assert biggest == [("s", "ann", sizes[0]), ("t", None, sizes[1])]
    done = project.teamgraph("store", "stats", "--limit", "1")
    assert "sessions  2\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("s\tann\t2\t2\t")
    damage("t", 1)
    assert told(project, "stats", code=0)["biggest"][1]["session_id"] is None
    last = project.teamgraph("store", "stats").stdout.splitlines()[-1]
    assert last.startswith(f"{journal('t').name}\t\t0\t0\t")


def test_stats_of_an_empty_store(project: Project) -> None:
    say(project, "one", "s")
    project.teamgraph("sessions", "delete", "s", "--yes")
    assert told(project, "stats", code=0)["garbage"] == 0
    assert "sessions  0" in project.teamgraph("store", "stats").stdout


def test_a_file_that_cannot_be_read_cannot_be_verified(project: Project) -> None:
    say(project, "one", "s")
    journal("folder").mkdir()
    done = project.teamgraph("store", "verify")
    assert done.exit_code == 2
    assert "check the disk, or name another store" in done.stderr


def test_a_document_of_the_wrong_types_is_dropped_by_the_command_that_its_error_names(
    project: Project,
) -> None:
    for message in ("one", "two"):
        say(project, message, "s")
    misspell("s")
    failed = project.teamgraph("sessions", "show", "s")
    assert failed.exit_code == 2
    assert "a stored turn has input: '7', which is of the wrong type" in failed.stderr
    command = "store repair --salvage"
    assert f"`teamgraph {command}`" in failed.stderr
    done = project.teamgraph(*command.split(), "--yes")
    assert done.exit_code == 0
    assert "1 document of the wrong types will be lost, and with " in done.stderr
    shown = json.loads(project.teamgraph("sessions", "show", "s", "--json").stdout)
    assert [turn["input"] for turn in shown["turns"]] == ["one"]


@pytest.mark.parametrize("store", [".teamgraph", "other store"])
def test_the_error_of_a_damaged_session_names_the_command_that_recovers_it(
    project: Project, store: str
) -> None:
    where = () if store == ".teamgraph" else ("--store", store)
    for message in ("one", "two", "three"):
        say(project, message, "s", *where)
    (path,) = project.folder.glob(f"{store}/users/**/*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"two", b"tow"))
    for words in (
        ("sessions", "show", "s"),
        ("sessions", "export", "s"),
        ("run", "desk.yaml", "x"),
    ):
        session = ("--session", "s") if words[0] == "run" else ()
        failed = project.teamgraph(*words, *session, *where)
        assert failed.exit_code == 2
        assert "`teamgraph store repair --salvage`" in failed.stderr
    listed = project.teamgraph("sessions", "list", *where)
    assert "`teamgraph store repair --salvage`" in listed.stderr
    verified = project.teamgraph("store", "verify", *where)
    assert "`teamgraph store repair --salvage`" in verified.stdout
    command = failed.stderr.partition("here: teamgraph ")[2] or "store repair --salvage"
    assert project.teamgraph(*shlex.split(command), "--yes").exit_code == 0
    assert project.teamgraph("sessions", "show", "s", *where).exit_code == 0


PNG = b"\x89PNG\r\n\x1a\n"
SHA = hashlib.sha256(PNG).hexdigest()


def attach(project: Project, session: str) -> Path:
    """A session with an attachment, the graph of which asks a demo model that takes none."""
    (project.folder / "cat.png").write_bytes(PNG)
    words = ("run", "desk.yaml", "look", "--model", "echo", "--session", session)
    done = project.teamgraph(*words, "--attach", "cat.png")
    assert done.exit_code == 1
    assert "echo takes no images" in done.stderr
    return journal(session).with_name(f"{journal(session).stem}.{SHA}.attached")


def test_attachments_are_counted_and_old_ones_dropped(project: Project) -> None:
    old, new = attach(project, "old"), attach(project, "new")
    os.utime(old, (0, 0))
    assert told(project, "attachments", code=0) == {
        "attachments": 2,
        "bytes": 2 * len(PNG),
        "dropped": False,
    }
    asked = project.teamgraph("store", "attachments", "--drop")
    assert "add --older-than DAYS, or set attachment_days" in asked.stderr
    project.write("pyproject.toml", "[tool.teamgraph]\nattachment_days = 30\n")
    done = project.teamgraph("store", "attachments", "--drop")
    assert "non-interactive use needs `--yes`" in done.stderr
    done = project.teamgraph("store", "attachments", "--drop", "--yes")
    assert "1 attachment of 8 bytes deleted" in done.stderr
    assert (old.exists(), new.exists()) == (False, True)
    project.write("pyproject.toml", "[tool.teamgraph]\nattachment_days = 'a month'\n")
    done = project.teamgraph("store", "attachments")
    assert "attachment_days must be a number of days, not 'a month'" in done.stderr


def test_attachments_that_are_damaged_or_of_no_run_are_found(project: Project) -> None:
    mine = attach(project, "s")
    unnamed = mine.with_name(mine.name.replace(SHA, "0" * 64))
    unnamed.write_bytes(b"")
    assert found(project) == [("damaged", unnamed.name, None)]
    unnamed.unlink()
    orphan = mine.with_name(f"{'a' * 32}.{SHA}.attached")
    orphan.write_bytes(PNG)
    assert told(project, "verify", code=0)["findings"] == []  # perhaps a run is about to begin
    os.utime(orphan, (0, 0))
    os.utime(mine, (0, 0))
    assert found(project) == [("stale", orphan.name, None)]
    assert [each["file"] for each in told(project, "repair", "--yes", code=0)["repaired"]]
    assert (mine.exists(), orphan.exists()) == (True, False)


def test_what_is_attached_is_shown_by_name(project: Project) -> None:
    done = project.teamgraph("render", "desk.yaml", "look", "--attach", "dir/cat.png")
    assert ' user attached="cat.png (image/png)"' in done.stdout
    attach(project, "s")
    project.write("pass_on.py", "def it(message: str) -> str:\n    return message\n")
    project.write("plain.yaml", "name: p\nnodes:\n  a: {kind: python, call: 'pass_on:it'}\n")
    words = ("plain.yaml", "--session", "s", "--allow", "pass_on")
    said = "/attach cta.png\n/attach\n/attach cat.png\nlook\n/history\n"
    done = project.teamgraph("chat", *words, said=said)
    assert "did you mean 'cat.png'" in done.stderr
    assert "name a file: /attach FILE" in done.stderr
    assert "attached to the next message: cat.png" in done.stderr
    assert "(attached: cat.png (image/png))" in done.stderr
