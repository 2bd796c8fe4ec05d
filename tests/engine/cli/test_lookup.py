"""Ids by unique prefix, the newest run and session, and tables whose ids can be used."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from teamgraph import Graph, Runner, SessionKey, TinyDBStore

from .conftest import Project

SESSIONS = ("alpha-one", "alpha-two", "beta", "alpha")
RUNS = ("77aa01", "77aa02", "77ab", "77")


@pytest.fixture
def stored(project: Project) -> Project:
    """Four sessions and runs, each id but one the prefix of none or of several others."""
    for session, run_id in zip(SESSIONS, RUNS, strict=True):
        run(project, session, run_id)
    run(project, "gamma", "88", user="ann")
    return project


def run(project: Project, session: str, run_id: str, user: str | None = None) -> None:
    store = TinyDBStore(project.folder / ".teamgraph")
    runner = Runner(Graph.load("desk.yaml"), store=store, model="echo")
    runner.run(f"hello {run_id}", session_id=session, user_id=user, run_id=run_id)


def test_no_id_is_a_prefix_of_no_run(stored: Project) -> None:
    done = stored.teamgraph("runs", "show", "")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "error: " in done.stderr


def test_ids_that_begin_alike_are_shown_as_far_as_they_differ(project: Project) -> None:
    ids = [f"{'0' * 20}{last}{'0' * 11}" for last in "12"]
    for run_id in ids:
        run(project, run_id, run_id)
    terminal = project.terminal("runs", "list")
    assert terminal.end() == 0
    assert all(re.search(rf"\b{run_id[:21]}\b", terminal.shown) for run_id in ids)


def shown(project: Project, *words: str) -> Any:  # noqa: ANN401  whatever JSON it is
    done = project.teamgraph(*words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("given", "found"),
    [("alpha-o", "alpha-one"), ("b", "beta"), ("alpha", "alpha"), ("beta", "beta")],
)
def test_a_session_is_found_by_a_unique_prefix(stored: Project, given: str, found: str) -> None:
    assert shown(stored, "sessions", "show", given)["session_id"] == found
    exported = stored.teamgraph("sessions", "export", given).stdout
    assert json.loads(exported)["session_id"] == found
    assert shown(stored, "sessions", "rename", given, "x")["session_id"] == found
    listed = shown(stored, "runs", "list", "--session", given)
    assert [one["session_id"] for one in listed] == [found]
    run_id = RUNS[SESSIONS.index(found)]
    assert shown(stored, "runs", "show", run_id, "--session", given)["session_id"] == found
    rendered = stored.teamgraph("render", "desk.yaml", "--session", given)
    assert f"hello {run_id}" in rendered.stdout
    assert shown(stored, "sessions", "delete", given, "--yes")["session_id"] == found
    left = {one["session_id"] for one in shown(stored, "sessions", "list")}
    assert left == set(SESSIONS) - {found}


@pytest.mark.parametrize(
    ("given", "found"), [("77aa01", "77aa01"), ("77aa02", "77aa02"), ("77ab", "77ab"), ("77", "77")]
)
@pytest.mark.parametrize("in_session", [True, False])
def test_a_run_is_found_by_a_unique_prefix(
    stored: Project, given: str, found: str, *, in_session: bool
) -> None:
    where = ("--session", SESSIONS[RUNS.index(found)]) if in_session else ()
    for prefix in {given, given[:5]} - ({"77aa0"} if not in_session else set()):
        assert shown(stored, "runs", "show", prefix, *where)["run_id"] == found
    graph = ("--graph", "desk.yaml", "--model", "echo")
    refused = stored.teamgraph("runs", "resume", given, *graph, *where)
    assert f"run '{found}'" in refused.stderr or f"run {found}" in refused.stderr
    if not in_session:
        forked = shown(stored, "runs", "fork", given, *graph, "--message", "again")
        assert forked["answer"] == "echo: again"
    assert shown(stored, "runs", "delete", given, *where, "--yes")["run_id"] == found


@pytest.mark.parametrize(
    "words",
    [
        ("sessions", "show", "alpha-"),
        ("sessions", "rename", "alpha-", "x"),
        ("sessions", "export", "alpha-"),
        ("sessions", "delete", "alpha-", "--yes"),
        ("runs", "show", "77a"),
        ("runs", "show", "77aa01", "--session", "alpha-"),
        ("runs", "list", "--session", "alpha-"),
        ("runs", "delete", "77a", "--yes"),
        ("runs", "resume", "77a", "--graph", "desk.yaml"),
        ("runs", "fork", "77a", "--graph", "desk.yaml", "--message", "x"),
        ("render", "desk.yaml", "--session", "alpha-"),
    ],
    ids=" ".join,
)
def test_a_prefix_of_several_is_refused_with_all_of_them(
    stored: Project, words: tuple[str, ...]
) -> None:
    done = stored.teamgraph(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.match(r"error: \d (sessions|runs) begin with '", done.stderr)
    assert ("alpha-one" in done.stderr) == ("alpha-" in words)
    assert ("77aa01, " in done.stderr) == ("77a" in words)
    assert len(shown(stored, "runs", "list")) == len(RUNS)


def test_a_prefix_finds_nothing_of_another_user(stored: Project) -> None:
    for words in (("sessions", "show", "gam"), ("runs", "show", "8")):
        done = stored.teamgraph(*words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert shown(stored, *words, "--user", "ann")["session_id"] == "gamma"


def test_a_damaged_session_is_not_taken_for_a_prefix_of_another(stored: Project) -> None:
    (path,) = (p for p in stored.folder.rglob("*.jsonl") if b'"alpha"' in p.read_bytes())
    path.write_bytes(path.read_bytes().replace(b"hello", b"olleh", 1))
    stored.teamgraph("sessions", "delete", "alpha-two", "--yes")
    assert stored.teamgraph("sessions", "delete", "alpha", "--yes").exit_code == 0
    left = [one["session_id"] for one in shown(stored, "sessions", "list")]
    assert left == ["beta", "alpha-one"]


def test_a_run_in_a_session_that_is_a_prefix_begins_a_new_one(stored: Project) -> None:
    made = shown(stored, "run", "desk.yaml", "hi", "--model", "echo", "--session", "bet")
    assert made["session_id"] == "bet"
    assert len(shown(stored, "sessions", "list")) == len(SESSIONS) + 1


def test_the_last_run_and_session_are_shown(stored: Project) -> None:
    assert shown(stored, "runs", "show", "--last")["run_id"] == "77"
    assert shown(stored, "runs", "show", "--last", "--user", "ann")["run_id"] == "88"
    assert shown(stored, "runs", "show", "--last", "--session", "bet")["run_id"] == "77ab"
    assert shown(stored, "sessions", "show", "--last")["session_id"] == "alpha"
    assert shown(stored, "sessions", "show", "--last", "--user", "ann")["session_id"] == "gamma"
    for words in (("sessions", "show"), ("runs", "show")):
        for more in ((), ("b", "--last")):
            refused = stored.teamgraph(*words, *more)
            assert refused.exit_code == 2
            assert "with --last" in refused.stderr
        none = stored.teamgraph(*words, "--last", "--user", "bob")
        assert none.exit_code == 1
        assert "no " in none.stderr


def test_the_ids_of_a_table_at_a_terminal_of_80_columns_can_be_used(project: Project) -> None:
    long = "customer-4711-2026-11-27-" + "x" * 20
    for session in (None, None, long):
        words = ("run", "desk.yaml", "a long message " * 9, "--model", "echo")
        project.teamgraph(*words, *(("--session", session) if session else ()))
    project.more["COLUMNS"] = "80"
    for group in ("runs", "sessions"):
        terminal = project.terminal(group, "list")
        assert terminal.end() == 0
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.shown)
        rows = [line.split() for line in plain.splitlines() if "2026-" in line or "20:" in line]
        whole = shown(project, group, "list")
        key = f"{group[:-1]}_id"
        ids = [each.split()[0] for each in plain.splitlines() if re.match(r" ?\w", each)][1:]
        assert len(rows) >= len(ids) - 1
        found = [shown(project, group, "show", each)[key] for each in ids]
        assert found == [each[key] for each in whole]
        assert long in plain


@pytest.mark.parametrize("columns", ["40", "80"])
def test_an_id_that_is_wider_than_the_terminal_is_not_cut(project: Project, columns: str) -> None:
    session, user = "s" + "4711" * 30, "u\u8a9e" + "4712" * 15
    run(project, session, "r", user=user)
    project.more["COLUMNS"] = columns
    for words in (("runs", "list"), ("sessions", "list"), ("sessions", "search", "hello")):
        for whose in (("--user", user), ("--all-users",)):
            if words[1] != "search" or "--user" in whose:
                terminal = project.terminal(*words, *whose)
                assert terminal.end() == 0
                assert session in terminal.shown
                assert user in terminal.shown or "--user" in whose


def test_piped_tables_have_whole_ids(project: Project) -> None:
    made = shown(project, "run", "desk.yaml", "hi", "--model", "echo")
    rows = project.teamgraph("runs", "list").stdout.splitlines()
    assert rows[1].split("\t")[:2] == [made["run_id"], made["session_id"]]


def test_the_newest_run_is_found_by_its_start_in_all_sessions(project: Project) -> None:
    run(project, "a", "1")
    run(project, "b", "2")
    run(project, "a", "3")
    assert shown(project, "runs", "show", "--last")["run_id"] == "3"
    store = TinyDBStore(project.folder / ".teamgraph")
    asyncio.run(store.delete_run(SessionKey(None, "a"), "3"))
    assert shown(project, "runs", "show", "--last")["run_id"] == "2"
