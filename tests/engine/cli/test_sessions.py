"""`teamgraph sessions list` and `show`."""

from __future__ import annotations

import json

import pytest

from .conftest import DESK, Project


def say(project: Project, message: str, session: str, *more: str) -> None:
    words = ("run", "desk.yaml", message, "--model", "echo", "--session", session)
    done = project.teamgraph(*words, *more)
    assert done.exit_code == 0


def test_sessions_are_listed_newest_first_for_one_user_only(project: Project) -> None:
    say(project, "one", "first", "--user", "ann")
    say(project, "two", "second", "--user", "ann")
    say(project, "three", "other")
    listed = project.teamgraph("sessions", "list", "--user", "ann", "--json")
    assert [(one["session_id"], one["first_input"]) for one in json.loads(listed.stdout)] == [
        ("second", "two"),
        ("first", "one"),
    ]
    nobodys = project.teamgraph("sessions", "list")
    rows = [line.split("\t") for line in nobodys.stdout.splitlines()]
    assert [row[0] for row in rows] == ["session", "other"]


def test_a_list_is_cut_into_pages(project: Project) -> None:
    for name in ("a", "b", "c"):
        say(project, "hello", name)
    page = project.teamgraph("sessions", "list", "--limit", "1", "--offset", "1", "--json")
    assert [one["session_id"] for one in json.loads(page.stdout)] == ["b"]
    after = project.teamgraph("sessions", "list", "--offset", "9")
    assert (after.exit_code, after.stdout) == (0, "")
    assert "no more sessions" in after.stderr


def test_an_empty_store_has_no_sessions_and_is_not_made(project: Project) -> None:
    done = project.teamgraph("sessions", "list", "--user", "ann")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "no sessions of user 'ann' in .teamgraph\n"
    assert json.loads(project.teamgraph("sessions", "list", "--json").stdout) == []
    assert not (project.folder / ".teamgraph").exists()


def test_a_session_shows_its_turns_and_its_state(project: Project) -> None:
    project.write("desk.yaml", f"{DESK}state: {{mood: calm}}\n")
    say(project, "one", "s", "--state", 'mood="good"')
    say(project, "two\nanswer: forged", "s")
    shown = project.teamgraph("sessions", "show", "s").stdout
    assert "turns    2" in shown
    assert "\n  user: one\n  answer: echo: one\n" in shown
    assert "\n  user: two\n      answer: forged\n" in shown
    assert '"mood": "good"' in shown
    data = json.loads(project.teamgraph("sessions", "show", "s", "--json").stdout)
    assert [turn["number"] for turn in data["turns"]] == [1, 2]
    assert data["state"] == {"mood": "good"}


def test_a_session_shows_its_summary(project: Project) -> None:
    summed = "name: t\nnodes:\n  a: {}\n  summary: {kind: summarizer, needs: a}\noutput: a\n"
    project.write("summed.yaml", summed)
    project.teamgraph("run", "summed.yaml", "hi", "--model", "echo", "--session", "s")
    shown = project.teamgraph("sessions", "show", "s").stdout
    assert "summary of 1 turn\n  echo" in shown
    data = json.loads(project.teamgraph("sessions", "show", "s", "--json").stdout)
    assert data["summary"]["covers"] == 1


def test_a_session_that_is_not_there_is_not_found(project: Project) -> None:
    say(project, "one", "s", "--user", "ann")
    for words in (("s",), ("s", "--user", "bob"), ("t", "--user", "ann")):
        done = project.teamgraph("sessions", "show", *words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert f"no session '{words[0]}' in .teamgraph; " in done.stderr


def test_control_characters_in_what_was_said_are_made_visible(project: Project) -> None:
    say(project, "red \x1b[31malert\x07", "s")
    shown = project.teamgraph("sessions", "show", "s").stdout
    assert "red \u241b[31malert\u2407" in shown
    assert "\x1b" not in project.teamgraph("sessions", "list").stdout


def test_a_damaged_session_is_skipped_with_a_warning_that_names_it(project: Project) -> None:
    say(project, "one", "whole")
    say(project, "two", "broken")
    say(project, "three", "broken")
    (journal,) = (
        path for path in project.folder.rglob("*.jsonl") if b'"broken"' in path.read_bytes()
    )
    journal.write_bytes(journal.read_bytes().replace(b"two", b"tow"))
    done = project.apart("sessions", "list", "--json")
    assert done.returncode == 0
    assert [one["session_id"] for one in json.loads(done.stdout)] == ["whole"]
    assert done.stderr.startswith("warning: a session was left out: ")
    assert ".py" not in done.stderr


def test_what_libraries_warn_of_is_not_shown(project: Project) -> None:
    project.write("noisy.py", "import warnings\n\ndef say(message):\n    warnings.warn('noise')\n")
    project.write("one.yaml", "name: one\nnodes:\n  a: {kind: python, call: 'noisy:say'}\n")
    done = project.apart("run", "one.yaml", "hello", "--allow", "noisy")
    assert "noise" not in done.stderr


def ids(project: Project, *words: str) -> list[str]:
    done = project.teamgraph("sessions", "list", *words, "--json")
    assert done.exit_code == 0, done.stderr
    return [one["session_id"] for one in json.loads(done.stdout)]


@pytest.fixture
def many(project: Project) -> Project:
    """Sessions of several users, one of them from long ago."""
    say(project, "one", "a")
    say(project, "two", "b", "--user", "ann")
    say(project, "three", "c", "--user", "bob")
    project.teamgraph("sessions", "rename", "b", "Bread and butter", "--user", "ann")
    exported = json.loads(project.teamgraph("sessions", "export", "a").stdout)
    for run in exported["runs"]:
        run["turn"]["started"] -= 3 * 86400
        run["turn"]["ended"] -= 3 * 86400
    text = json.dumps({**exported, "session_id": "old"})
    assert project.teamgraph("sessions", "import", "-", said=text).exit_code == 0
    return project


def test_sessions_of_all_users_are_listed_with_their_users(many: Project) -> None:
    assert ids(many, "--all-users") == ["c", "b", "a", "old"]
    assert ids(many, "--all-users", "--limit", "2", "--offset", "1") == ["b", "a"]
    shown = many.teamgraph("sessions", "list", "--all-users").stdout
    rows = [line.split("\t") for line in shown.splitlines()]
    assert rows[0][:3] == ["session", "user", "name"]
    assert [row[:2] for row in rows[1:]] == [["c", "bob"], ["b", "ann"], ["a", ""], ["old", ""]]
    refused = many.teamgraph("sessions", "list", "--all-users", "--user", "ann")
    assert refused.exit_code == 2
    assert "--all-users cannot be combined with --user" in refused.stderr


def test_sessions_are_filtered_by_name_and_time(many: Project) -> None:
    assert ids(many) == ["old", "a"]
    for since in ("2d", "71 h", "1w", "2000-01-01"):
        assert ids(many, "--since", since) == (
            ["old", "a"] if since in ("1w", "2000-01-01") else ["a"]
        )
    assert ids(many, "--since", "2999-01-01T10:00") == []
    assert ids(many, "--all-users", "--name", "BREAD") == ["b"]
    assert ids(many, "--user", "ann", "--name", "butter", "--since", "1h") == ["b"]
    assert ids(many, "--user", "bob", "--name", "bread") == []
    none = many.teamgraph("sessions", "list", "--name", "x", "--since", "2999-01-01")
    assert none.stderr.startswith("no sessions without a user (see --user) named 'x' active since ")


@pytest.mark.parametrize("since", ["", "yesterday", "2x", "-2d", "99999999999999999999-01-01"])
def test_a_time_that_is_none_is_refused_with_how_to_write_it(project: Project, since: str) -> None:
    done = project.teamgraph("sessions", "list", f"--since={since}")
    assert done.exit_code == 2
    assert "write 30m, 6h, 2d or 1w" in " ".join(done.stderr.replace("│", " ").split())
