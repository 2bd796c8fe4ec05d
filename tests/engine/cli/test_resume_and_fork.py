"""`teamgraph runs resume` and `runs fork`, and the commands that are printed to be copied."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import subprocess
from typing import Any

import pytest

from teamgraph import SessionKey, TinyDBStore, Turn

from .conftest import Project

GRAPH = """\
name: two
model: echo
budget: {calls: 9}
nodes:
  a: {role: ROLE}
  b: {needs: a}
output: b
"""
SLOW = """\
import os, signal, time
from pathlib import Path

def nap(message):
    sent = Path("signal").read_text()
    if sent:
        os.kill(os.getpid(), getattr(signal, sent))
        time.sleep(1)
    return "woke up"
"""
NAPPING = (
    "name: two\nmodel: echo\nnodes:\n  a: {}\n  b: {kind: python, call: 'slow:nap', needs: a}\n"
)


def write(project: Project, *, fails: bool = False, role: str = "ROLE") -> None:
    """The graph `two.yaml`, which may be given too little to get to its end."""
    text = GRAPH.replace("ROLE", role)
    project.write("two.yaml", text.replace("9", "1") if fails else text)


def fail(project: Project, *more: str, role: str = "ROLE") -> dict[str, Any]:
    """A run that failed, of a graph that would not let it fail again."""
    write(project, fails=True, role=role)
    done = project.teamgraph("run", "two.yaml", "hi", "--json", *more)
    assert done.exit_code == 1, done.stderr
    write(project, role=role)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def stop(project: Project, name: str) -> subprocess.CompletedProcess[str]:
    """A run in a process that gets a signal in the middle of it."""
    project.write("slow.py", SLOW)
    project.write("nap.yaml", NAPPING + "output: b\n")
    project.write("signal", name)
    stopped = project.apart("run", "nap.yaml", "hi", "--allow", "slow", "--user", "ann")
    project.write("signal", "")
    return stopped


def under_way(project: Project, key: SessionKey) -> TinyDBStore:
    """A store in which somebody makes a run of the session, and is not done with it."""
    store = TinyDBStore(project.folder / ".teamgraph")
    asyncio.run(store.begin(key, Turn(run_id="r", input="hi", graph="two")))
    return store


def typed(project: Project, told: str) -> subprocess.CompletedProcess[str]:
    """What the printed command does when it is typed as it stands."""
    command = told.partition("resume it: ")[2].splitlines()[0]
    return project.shell(f'teamgraph() {{ $teamgraph "$@"; }}; {command}')


def unfinished(project: Project, *more: str) -> list[dict[str, Any]]:
    done = project.teamgraph("runs", "list", "--unfinished", "--json", *more)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("by", ["option", "environment", "nothing"])
def test_the_command_that_a_failed_run_prints_resumes_it(project: Project, by: str) -> None:
    whose = ("--user", "Ann O'Neil", "--session", 'a "b" `c` $d\\')
    store = ("--store", "my store; echo") if by == "option" else ()
    if by == "environment":
        project.more["TEAMGRAPH_STORE"] = "elsewhere"
    project.write("my $graph.yaml", GRAPH.replace("9", "1"))
    failed = project.teamgraph("run", "my $graph.yaml", "hi", *whose, *store)
    project.more.clear()
    assert failed.exit_code == 1
    project.write("my $graph.yaml", GRAPH)
    again = typed(project, failed.stderr)
    assert (again.returncode, again.stdout) == (0, "echo: hi\n"), again.stderr


def test_the_command_that_an_interrupted_run_prints_resumes_it(project: Project) -> None:
    stopped = stop(project, "SIGINT")
    assert stopped.returncode == 130, stopped.stderr
    again = typed(project, stopped.stderr)
    assert (again.returncode, again.stdout) == (0, "woke up\n"), again.stderr


def test_a_killed_run_is_listed_and_resumed(project: Project) -> None:
    assert stop(project, "SIGKILL").returncode == -signal.SIGKILL
    (left,) = unfinished(project, "--user", "ann")
    assert (left["status"], left["input"]) == ("running", "hi")
    words = ("--graph", "nap.yaml", "--allow", "slow", "--user", "ann")
    done = project.apart("runs", "resume", "--all", *words)
    assert done.returncode == 0
    assert "woke up" in done.stdout
    assert unfinished(project, "--user", "ann") == []


def test_a_resumed_run_that_fails_again_names_its_user(project: Project) -> None:
    failed = fail(project, "--user", "ann")
    write(project, fails=True)
    words = ("runs", "resume", failed["run_id"], "--graph", "two.yaml")
    assert project.teamgraph(*words).exit_code == 1  # without a user it is nobody's
    again = project.teamgraph(*words, "--user", "ann")
    assert again.exit_code == 1
    command = again.stderr.partition("resume it: teamgraph ")[2].splitlines()[0]
    write(project)
    assert project.teamgraph(*shlex.split(command)).stdout == "echo: hi\n"


def test_after_a_change_the_difference_is_printed_and_the_command_that_reuses_the_rest(
    project: Project,
) -> None:
    failed = fail(project)
    write(project, role="OTHER")
    refused = project.teamgraph("runs", "resume", failed["run_id"], "--graph", "two.yaml")
    assert refused.exit_code == 2
    assert """node 'a': role: "ROLE" -> "OTHER\"""" in refused.stderr
    command = refused.stderr.partition("resume it: teamgraph ")[2].splitlines()[0]
    assert "--reuse-unchanged" in command
    again = project.teamgraph(*shlex.split(command))
    assert (again.exit_code, again.stdout) == (0, "echo: hi\n"), again.stderr
    assert "+ a: already done" not in again.stderr


def test_what_is_not_done_is_listed_page_by_page(project: Project) -> None:
    made = [fail(project, "--session", name) for name in ("s", "t", "u")]
    project.teamgraph("run", "two.yaml", "hi", "--session", "s")
    fail(project, "--user", "ann")
    newest_first = [each["run_id"] for each in reversed(made)]
    assert [each["run_id"] for each in unfinished(project)] == newest_first
    assert [each["run_id"] for each in unfinished(project, "--limit", "1", "--offset", "1")] == [
        newest_first[1]
    ]
    assert [each["session_id"] for each in unfinished(project, "--session", "t")] == ["t"]
    (hers,) = unfinished(project, "--user", "ann")
    assert (hers["user_id"], hers["status"]) == ("ann", "failed")
    shown = project.teamgraph("runs", "list", "--unfinished", "--user", "ann")
    assert hers["run_id"] in shown.stdout
    assert "resume them: teamgraph runs resume --all --graph GRAPH --user ann" in shown.stderr


def test_all_unfinished_runs_are_resumed_one_after_another(project: Project) -> None:
    made = [fail(project, "--session", name) for name in ("s", "t", "s")]
    done = project.teamgraph("runs", "resume", "--all", "--graph", "two.yaml")
    assert done.exit_code == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0] == ["run", "session", "status", "result"]
    assert rows[1:] == [[one["run_id"], one["session_id"], "done", "echo: hi"] for one in made]
    assert unfinished(project) == []
    again = project.teamgraph("runs", "resume", "--all", "--graph", "two.yaml")
    assert (again.exit_code, again.stdout) == (0, "")
    assert "no unfinished runs of graph two in .teamgraph" in again.stderr


def test_unfinished_runs_of_all_users_are_listed_and_resumed(project: Project) -> None:
    made = [fail(project, *whose) for whose in ((), ("--user", "ann"), ("--user", "bob"))]
    assert [one["user_id"] for one in unfinished(project, "--all-users")] == ["bob", "ann", None]
    shown = project.teamgraph("runs", "list", "--unfinished", "--all-users")
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    assert rows[0] == ["run", "session", "user", "status", "started", "message"]
    assert [row[2] for row in rows[1:]] == ["bob", "ann", ""]
    words = shlex.split(shown.stderr.partition("resume them: teamgraph ")[2])
    assert words[-1] == "--all-users"
    done = project.teamgraph(*(word.replace("GRAPH", "two.yaml") for word in words))
    assert done.exit_code == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0] == ["run", "session", "user", "status", "result"]
    assert [(row[0], row[3]) for row in rows[1:]] == [(one["run_id"], "done") for one in made]
    assert unfinished(project, "--all-users") == []
    listed = project.teamgraph("runs", "list", "--all-users", "--json")
    assert [one["user_id"] for one in json.loads(listed.stdout)] == ["bob", "ann", None]
    none = project.teamgraph("runs", "list", "--unfinished", "--all-users")
    assert none.stderr == "no unfinished runs in .teamgraph\n"


def test_all_users_are_not_one_user(project: Project) -> None:
    for words in (("--user", "ann"), ("--session", "s")):
        done = project.teamgraph("runs", "list", "--all-users", *words)
        assert done.exit_code == 2
        assert "--all-users cannot be combined with --user or --session" in done.stderr
    write(project)
    done = project.teamgraph("runs", "resume", "r", "--graph", "two.yaml", "--all-users")
    assert done.exit_code == 2
    assert "--all-users needs --all; for one run, name its user with --user" in done.stderr


def test_one_of_all_that_fails_makes_the_exit_code_1_and_stops_no_other(project: Project) -> None:
    first, second = fail(project, "--session", "s"), fail(project, "--session", "t")
    changed = fail(project, "--session", "u", role="OTHER")
    words = ("runs", "resume", "--all", "--graph", "two.yaml", "--json")
    done = project.teamgraph(*words)
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert [one["run_id"] for one in told] == [
        first["run_id"],
        second["run_id"],
        changed["run_id"],
    ]
    assert [one["status"] for one in told] == ["failed", "failed", "done"]
    assert "the graph has changed" in told[0]["error"]
    assert told[2] == {
        "run_id": changed["run_id"],
        "session_id": "u",
        "user_id": None,
        "status": "done",
        "answer": "echo: hi",
        "error": None,
    }
    rest = project.teamgraph(*words, "--reuse-unchanged")
    assert rest.exit_code == 0
    assert [one["status"] for one in json.loads(rest.stdout)] == ["done", "done"]


def test_runs_of_other_graphs_are_left_alone(project: Project) -> None:
    fail(project)
    project.write("other.yaml", GRAPH.replace("name: two", "name: other"))
    done = project.teamgraph("runs", "resume", "--all", "--graph", "other.yaml")
    assert done.exit_code == 0
    assert "skipped 1 unfinished run of other graphs" in done.stderr
    assert len(unfinished(project)) == 1


def test_a_run_that_is_under_way_is_left_to_whoever_makes_it(project: Project) -> None:
    write(project)
    store = under_way(project, SessionKey(None, "s"))
    words = ("runs", "resume", "--all", "--graph", "two.yaml", "--busy", "reject", "--json")
    done, rows = project.teamgraph(*words), project.teamgraph(*words[:-1])
    asyncio.run(store.close())
    assert done.exit_code == 0, done.stderr
    (told,) = json.loads(done.stdout)
    assert (told["run_id"], told["status"]) == ("r", "running")
    assert "in progress; wait for it, or have it waited for or forked (--busy" in told["error"]
    assert "(--busy" in rows.stdout


@pytest.mark.parametrize("words", [(), ("r", "--all")])
def test_one_run_is_named_or_all(project: Project, words: tuple[str, ...]) -> None:
    done = project.teamgraph("runs", "resume", *words, "--graph", "two.yaml")
    assert done.exit_code == 2
    assert "name a run, or resume all unfinished ones with --all" in done.stderr


def made(project: Project, message: str, *more: str) -> dict[str, Any]:
    done = project.teamgraph("run", "desk.yaml", message, "--model", "echo", "--json", *more)
    run: dict[str, Any] = json.loads(done.stdout)
    return run


def test_a_fork_is_a_run_of_a_session_of_its_own(project: Project) -> None:
    whose = ("--user", "ann", "--session", "s")
    for message in ("one", "two", "three"):
        last = made(project, message, *whose)
    words = ("runs", "fork", last["run_id"], "--graph", "desk.yaml", "--from", "router")
    done = project.teamgraph(*words, "--user", "ann", "--model", "echo", "--session", "new")
    assert (done.exit_code, done.stdout) == (0, "echo: three\n"), done.stderr
    assert "+ history: already done" in done.stderr
    command = done.stderr.partition("continue with: teamgraph ")[2].splitlines()[0]
    assert shlex.split(command) == [
        *("chat", "desk.yaml", "--model", "echo", "--user", "ann", "--session", "new")
    ]
    shown = project.teamgraph("sessions", "show", "new", "--user", "ann", "--json")
    turns = json.loads(shown.stdout)["turns"]
    assert [turn["input"] for turn in turns] == ["one", "two", "three"]
    assert turns[-1]["forked_from"] == last["run_id"]
    told = project.teamgraph("runs", "show", turns[-1]["run_id"], "--user", "ann").stdout
    assert f"forked from  {last['run_id']}" in told


def test_a_fork_may_say_something_else(project: Project) -> None:
    run = made(project, "one")
    words = ("runs", "fork", run["run_id"], "--graph", "desk.yaml", "--model", "echo", "--json")
    done = project.teamgraph(*words, "--message", "-", said="two\n")
    forked = json.loads(done.stdout)
    assert (forked["answer"], forked["status"]) == ("echo: two", "done")
    assert forked["session_id"] != run["session_id"]


def test_a_fork_from_nowhere_is_refused(project: Project) -> None:
    run = made(project, "one")
    words = ("runs", "fork", run["run_id"], "--graph", "desk.yaml", "--model", "echo")
    nothing = project.teamgraph(*words)
    assert nothing.exit_code == 2
    assert "name the node to fork from, or another message" in nothing.stderr
    missing = project.teamgraph("runs", "fork", "none", *words[3:], "--node", "router")
    assert missing.exit_code == 1
    assert "there is no run 'none' in .teamgraph" in missing.stderr


@pytest.mark.parametrize("busy", ["reject", "fork"])
def test_a_second_turn_at_once_is_refused_or_goes_on_beside(project: Project, busy: str) -> None:
    write(project)
    store = under_way(project, SessionKey("ann", "s"))
    words = ("--user", "ann", "--session", "s", "--busy", busy)
    done = project.teamgraph("run", "two.yaml", "hi", *words)
    said = project.teamgraph("chat", "two.yaml", *words, said="hi\n")
    asyncio.run(store.close())
    if busy == "reject":
        assert (done.exit_code, done.stdout) == (1, "")
        assert "another run is in progress" in done.stderr
        assert (said.exit_code, said.stdout) == (0, ""), "a talk goes on"
        assert "another run is in progress" in said.stderr
    else:
        assert (done.exit_code, done.stdout) == (0, "echo: hi\n")
        assert (said.exit_code, said.stdout) == (0, "echo: hi\n")


def test_an_unknown_policy_is_refused_with_those_there_are(project: Project) -> None:
    done = project.teamgraph("run", "desk.yaml", "hi", "--model", "echo", "--busy", "wait")
    assert done.exit_code == 2
    assert "serialize" in done.stderr


def test_a_spent_budget_names_the_command_that_raises_it_for_once(project: Project) -> None:
    write(project, fails=True)
    for prefix, budget in (("", "{calls: 1}"), ("session:", "[{per: session, calls: 1}]")):
        text = GRAPH.replace("{calls: 9}", budget)
        project.write("two.yaml", text)
        done = project.teamgraph("run", "two.yaml", "hi", "--session", f"s{len(prefix)}")
        assert done.exit_code == 1
        command = done.stderr.partition("resume it: teamgraph ")[2].splitlines()[0]
        assert f"--budget {prefix}calls=2" in command
        again = project.teamgraph(*shlex.split(command))
        assert (again.exit_code, again.stdout) == (0, "echo: hi\n")


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ("calls", "--budget 'calls': write it as NAME=NUMBER or PER:NAME=NUMBER"),
        ("calls=inf", "calls: must be"),
        ("cals=4", "unknown key 'cals'; did you mean 'calls'?"),
        ("week:calls=4", "per: must be"),
        ("calls=4.5", "calls: must be"),
    ],
)
def test_a_limit_that_is_none_is_refused(project: Project, limit: str, text: str) -> None:
    write(project)
    done = project.teamgraph("runs", "resume", "x", "--graph", "two.yaml", "--budget", limit)
    assert done.exit_code == 2
    assert text in done.stderr


def test_a_run_in_progress_elsewhere_is_asked_to_stop(project: Project) -> None:
    write(project)
    key = SessionKey(None, "s")
    store = under_way(project, key)
    told = project.teamgraph("runs", "cancel", "r")
    assert told.exit_code == 0, told.stderr
    assert "run r of session 's' is asked to stop" in told.stderr
    run = asyncio.run(store.run(key, "r"))
    assert run is not None
    assert run.status == "running"  # its holder ends it
    asyncio.run(store.close())
