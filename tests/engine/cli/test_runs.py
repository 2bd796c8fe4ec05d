"""`teamgraph runs`: list, show, resume and delete."""

from __future__ import annotations

import json
from typing import Any

from teamgraph import Graph, Retry, Runner, ScriptedModel, TinyDBStore
from teamgraph.errors import ModelError
from teamgraph.nodes import Member
from tests.stub import StubAnswer, StubProvider

from .conftest import Project


def run(project: Project, message: str, *more: str) -> dict[str, Any]:
    done = project.teamgraph("run", "desk.yaml", message, "--model", "echo", "--json", *more)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_runs_of_all_sessions_are_listed_newest_first(project: Project) -> None:
    made = [run(project, "one", "--session", "a"), run(project, "two", "--session", "b")]
    made.append(run(project, "three", "--session", "a"))
    run(project, "not mine", "--user", "ann")
    rows = [line.split("\t") for line in project.teamgraph("runs", "list").stdout.splitlines()]
    assert rows[0] == ["run", "session", "status", "started", "message"]
    assert [row[0] for row in rows[1:]] == [one["run_id"] for one in reversed(made)]
    page = project.teamgraph("runs", "list", "--limit", "1", "--offset", "1", "--json")
    assert [turn["input"] for turn in json.loads(page.stdout)] == ["two"]


def test_runs_of_one_session_are_listed(project: Project) -> None:
    run(project, "one", "--session", "a", "--user", "ann")
    run(project, "two", "--session", "b", "--user", "ann")
    words = ("runs", "list", "--session", "a", "--user", "ann", "--json")
    assert [turn["input"] for turn in json.loads(project.teamgraph(*words).stdout)] == ["one"]


def test_no_runs_are_a_note_and_no_error(project: Project) -> None:
    done = project.teamgraph("runs", "list", "--user", "ann")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no runs in .teamgraph" in done.stderr


def test_a_run_shows_what_each_node_did_and_why(project: Project) -> None:
    run_id = run(project, "hello")["run_id"]
    shown = project.teamgraph("runs", "show", run_id).stdout
    assert f"run      {run_id}" in shown
    assert "router (router)\n  status  done\n  choice  billing\n" in shown
    assert "technical (member)\n  status   skipped\n  because  router chose billing" in shown
    assert "output  echo: hello" in shown
    assert "system:" not in shown


def test_a_run_shows_how_earlier_attempts_failed(project: Project) -> None:
    graph = Graph(name="g", model="m", nodes={"it": Member(retry=Retry(times=1, wait=0.001))})
    busy = ModelError("busy", model="m", retryable=True)
    store = TinyDBStore(project.folder / ".teamgraph")
    Runner(graph, store=store, model=ScriptedModel([busy, "x"])).run("hi", run_id="r")
    shown = project.teamgraph("runs", "show", "r").stdout
    assert "attempts   2\n  attempt 1  ModelError: busy; waited 0.0 s\n" in shown
    (fault,) = json.loads(project.teamgraph("runs", "show", "r", "--json").stdout)["nodes"]["it"][
        "faults"
    ]
    assert (fault["attempt"], fault["error"], fault["error_type"]) == (1, "busy", "ModelError")


def test_a_run_shows_the_exact_messages_of_one_node(project: Project) -> None:
    run_id = run(project, "hello")["run_id"]
    words = ("runs", "show", run_id, "--node", "billing", "--prompt")
    shown = project.teamgraph(*words).stdout
    assert "router (router)" not in shown
    assert "prompt member.jinja (" in shown
    assert "    system:\n      You know the prices" in shown
    data = json.loads(project.teamgraph(*words, "--json").stdout)
    assert list(data["nodes"]) == ["billing"]
    (exchange,) = data["nodes"]["billing"]["exchanges"]
    assert exchange["messages"][-1]["role"] == "user"
    assert exchange["reply"] == "echo: hello"


def test_a_run_as_json_has_every_record_and_prompts_only_if_asked_for(project: Project) -> None:
    made = run(project, "hello", "--user", "ann", "--session", "s")
    words = ("runs", "show", made["run_id"], "--user", "ann", "--session", "s", "--json")
    data = json.loads(project.teamgraph(*words).stdout)
    assert data["nodes"]["technical"]["because"] == "router chose billing"
    assert data["nodes"]["router"]["choice"] == "billing"
    assert data["number"] == 1
    assert "messages" not in data["nodes"]["router"]["exchanges"][0]


def test_a_run_of_somebody_else_is_not_found(project: Project) -> None:
    run_id = run(project, "hello", "--user", "ann")["run_id"]
    for words in ((run_id, "--user", "bob"), (run_id, "--session", "t"), ("nothing",)):
        done = project.teamgraph("runs", "show", *words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert f"there is no run '{words[0]}' in .teamgraph" in done.stderr


def test_a_node_that_has_no_record_is_not_found(project: Project) -> None:
    run_id = run(project, "hello")["run_id"]
    near = project.teamgraph("runs", "show", run_id, "--node", "biling")
    far = project.teamgraph("runs", "show", run_id, "--node", "xyz")
    assert (near.exit_code, far.exit_code) == (1, 1)
    assert "no record of a node 'biling'; did you mean 'billing'?" in near.stderr
    assert "it has " in far.stderr


def test_a_failed_run_goes_on_where_it_stopped(project: Project, stub: StubProvider) -> None:
    project.more["KEY"] = "sk-stub"
    model = f"{{id: openai/stub, api_base: '{stub.base_url}', api_key_env: KEY}}"
    text = f"name: two\nmodel: {model}\nnodes:\n  a: {{}}\n  b: {{needs: a}}\noutput: b\n"
    project.write("two.yaml", text)
    stub.push("first", StubAnswer(fault="400", message="no"), "second")
    failed = json.loads(
        project.teamgraph("run", "two.yaml", "hi", "--session", "s", "--json").stdout
    )
    words = ("runs", "resume", failed["run_id"], "--graph", "two.yaml", "--session", "s", "--json")
    done = project.teamgraph(*words)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["answer"] == "second"
    assert "+ a: already done" in done.stderr
    assert len(stub.requests) == 3
    shown = project.teamgraph("runs", "show", failed["run_id"]).stdout
    assert "attempts" in shown or "status  done" in shown


def test_a_run_that_is_done_is_not_resumed(project: Project) -> None:
    made = run(project, "hello")
    done = project.teamgraph(
        "runs", "resume", made["run_id"], "--graph", "desk.yaml", "--model", "echo"
    )
    assert (done.exit_code, done.stdout) == (2, "")
    assert "is done: there is nothing to resume" in done.stderr


def test_a_run_of_a_graph_that_changed_is_refused(project: Project) -> None:
    text = (
        "name: two\nmodel: echo\nnodes:\n  a: {role: ROLE}\n"
        "  b: {kind: python, call: 'slow:nap', needs: a}\noutput: b\n"
    )
    project.write("slow.py", "async def nap(message):\n    raise ValueError('no')\n")
    project.write("two.yaml", text)
    words = ("two.yaml", "hi", "--allow", "slow", "--json")
    failed = json.loads(project.apart("run", *words).stdout)
    project.write("two.yaml", text.replace("ROLE", "OTHER"))
    done = project.apart(
        "runs", "resume", failed["run_id"], "--graph", "two.yaml", "--allow", "slow"
    )
    assert done.returncode == 2
    assert """node 'a': role: "ROLE" -> "OTHER\"""" in done.stderr


def test_a_deleted_run_is_gone_with_every_word(project: Project) -> None:
    first = run(project, "platypus", "--session", "s")["run_id"]
    run(project, "badger", "--session", "s")
    done = project.teamgraph("runs", "delete", first, "--yes")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"deleted run {first} of session 's'\n"
    kept = b"".join(path.read_bytes() for path in project.folder.rglob("*.jsonl"))
    assert b"badger" in kept
    assert b"platypus" not in kept
    page = json.loads(project.teamgraph("sessions", "show", "s", "--json").stdout)
    assert [turn["input"] for turn in page["turns"]] == ["badger"]


def test_a_run_of_somebody_else_is_not_deleted(project: Project) -> None:
    run_id = run(project, "hello", "--user", "ann", "--session", "s")["run_id"]
    run(project, "hello", "--user", "bob", "--session", "t")
    for whose in ((), ("--user", "bob"), ("--user", "bob", "--session", "s")):
        done = project.teamgraph("runs", "delete", run_id, *whose, "--yes")
        none = project.teamgraph("runs", "delete", "nothing", *whose, "--yes")
        assert (done.exit_code, done.stdout) == (none.exit_code, none.stdout) == (1, "")
        assert done.stderr == none.stderr.replace("nothing", run_id)
    shown = project.teamgraph("runs", "show", run_id, "--user", "ann")
    assert shown.exit_code == 0
