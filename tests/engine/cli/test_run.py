"""`teamgraph run`: the answer on standard output, everything else beside it."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

from tests.stub import StubAnswer, StubProvider

from .conftest import DESK, Project


def at(stub: StubProvider) -> str:
    """A graph of one node that asks the stub."""
    model = f"{{id: openai/stub, api_base: '{stub.base_url}', api_key_env: KEY}}"
    return f"name: one\nmodel: {model}\nnodes:\n  only: {{}}\n"


def test_only_the_answer_is_on_standard_output(project: Project) -> None:
    done = project.teamgraph("run", "desk.yaml", "hello", "--model", "echo")
    assert done.exit_code == 0
    assert done.stdout == "echo: hello\n"


def test_what_the_nodes_do_is_told_on_standard_error(project: Project) -> None:
    done = project.teamgraph("run", "desk.yaml", "hello", "--model", "echo")
    assert "+ router: chose billing" in done.stderr
    assert "- technical: skipped: router chose billing" in done.stderr
    assert "+ billing: " in done.stderr
    assert done.stderr.count("echo: repeats the message, no model is called") == 1


def test_nothing_that_goes_to_a_pipe_has_control_characters(project: Project) -> None:
    done = project.shell(
        "$teamgraph run desk.yaml hello --model echo 2>&1; FORCE_COLOR=1 $teamgraph runs list"
    )
    assert "echo: hello" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout


def test_a_dash_reads_the_message_from_standard_input(project: Project) -> None:
    done = project.teamgraph("run", "desk.yaml", "-", "--model", "echo", said="line 1\nline 2\n")
    assert done.stdout == "echo: line 1\nline 2\n"


def test_without_streaming_the_answer_is_the_same(project: Project) -> None:
    done = project.teamgraph("run", "desk.yaml", "hello", "--model", "echo", "--no-stream")
    assert done.stdout == "echo: hello\n"


def test_json_is_one_object_with_the_facts_of_the_run(project: Project) -> None:
    words = ("run", "desk.yaml", "hello", "--model", "echo", "--user", "ann", "--session", "s")
    done = project.teamgraph(*words, "--json")
    run = json.loads(done.stdout)
    assert (run["user_id"], run["session_id"], run["status"]) == ("ann", "s", "done")
    assert run["answer"] == "echo: hello"
    assert run["nodes"]["router"]["choice"] == "billing"
    assert run["nodes"]["technical"]["because"] == "router chose billing"
    assert run["nodes"]["billing"] | {"usage": None} == {
        "status": "done",
        "because": None,
        "output": "echo: hello",
        "choice": None,
        "attempts": 1,
        "error": None,
        "usage": None,
    }
    assert run["usage"]["calls"] == 2
    assert run["duration"] >= 0


def test_a_session_goes_on_over_runs(project: Project) -> None:
    words = ("--model", "echo", "--session", "s", "--json")
    project.teamgraph("run", "desk.yaml", "one", *words)
    run_id = json.loads(project.teamgraph("run", "desk.yaml", "two", *words).stdout)["run_id"]
    shown = project.teamgraph("runs", "show", run_id, "--prompt", "--node", "billing").stdout
    assert "echo: one" in shown


def test_the_store_is_where_the_option_says(project: Project) -> None:
    project.teamgraph("run", "desk.yaml", "hello", "--model", "echo", "--store", "there")
    assert (project.folder / "there/store.json").is_file()
    assert not (project.folder / ".teamgraph").exists()


def test_state_is_given_as_json(project: Project) -> None:
    project.write("desk.yaml", f"{DESK}state: {{level: {{}}}}\n")
    words = ("run", "desk.yaml", "hi", "--model", "echo", "--session", "s")
    assert project.teamgraph(*words, "--state", 'level={"n": 3}').exit_code == 0
    shown = project.teamgraph("sessions", "show", "s", "--json").stdout
    assert json.loads(shown)["state"] == {"level": {"n": 3}}


def test_state_that_is_no_json_is_refused_with_the_way_to_write_a_text(project: Project) -> None:
    project.write("desk.yaml", f"{DESK}state: {{a: text}}\n")
    done = project.teamgraph("run", "desk.yaml", "hi", "--model", "echo", "--state", "a=b c")
    assert done.exit_code == 2
    assert "quote a text: --state 'a=\"b c\"'" in done.stderr


def test_state_without_a_key_is_refused(project: Project) -> None:
    done = project.teamgraph("run", "desk.yaml", "hi", "--model", "echo", "--state", "=3")
    assert done.exit_code == 2
    assert "write it as KEY=JSON" in done.stderr


def test_a_message_that_is_not_utf8_is_refused(project: Project) -> None:
    done = project.teamgraph("run", "desk.yaml", "-", "--model", "echo", said=b"\xff\xfe")
    assert done.exit_code == 2
    assert "the message is not UTF-8" in done.stderr
    assert not Path(".teamgraph").exists()


def test_a_failed_run_tells_the_command_that_resumes_it(
    project: Project, stub: StubProvider
) -> None:
    project.more["KEY"] = "sk-stub"
    project.write("my graph.yaml", at(stub))
    stub.push(StubAnswer(fault="400", message="no"))
    done = project.teamgraph("run", "my graph.yaml", "hello", "--user", "ann", "--store", "st")
    assert done.exit_code == 1
    assert "error: node 'only' failed: model openai/stub: " in done.stderr
    command = done.stderr.partition("resume it: teamgraph ")[2].splitlines()[0]
    assert "--graph 'my graph.yaml' --store st --user ann --session " in command
    again = project.teamgraph(*shlex.split(command))
    assert (again.exit_code, again.stdout) == (0, "echo: hello\n")


def test_a_failed_run_is_printed_as_json_too(project: Project, stub: StubProvider) -> None:
    project.more["KEY"] = "sk-stub"
    project.write("one.yaml", at(stub))
    stub.push(StubAnswer(fault="400", message="no"))
    done = project.teamgraph("run", "one.yaml", "hello", "--json")
    run = json.loads(done.stdout)
    assert done.exit_code == 1
    assert run["status"] == "failed"
    assert run["nodes"]["only"]["status"] == "failed"
    assert run["error"].startswith("node 'only' failed")


def test_an_interrupted_run_is_cancelled_and_its_session_can_be_used_at_once(
    project: Project, stub: StubProvider
) -> None:
    project.more["KEY"] = "sk-stub"
    project.write("one.yaml", at(stub))
    stub.push(StubAnswer(text="a long answer", fault="stall"), StubAnswer(text="short"))
    with project.start("run", "one.yaml", "hi", "--session", "s") as running:
        assert running.stdout is not None
        begun = running.stdout.read(1)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=30)
    assert begun == "a"
    assert running.returncode == 130
    assert "cancelled; finished nodes are stored\nresume it: teamgraph runs resume" in told
    again = project.teamgraph("run", "one.yaml", "hi", "--session", "s")
    assert (again.exit_code, again.stdout) == (0, "short\n")
    turns = json.loads(project.teamgraph("runs", "list", "--session", "s", "--json").stdout)
    assert [turn["status"] for turn in turns] == ["done", "cancelled"]


def test_a_reader_that_leaves_is_no_error_and_the_run_is_kept(project: Project) -> None:
    script = "set -o pipefail; $teamgraph run desk.yaml 'many words' --model echo --session s | :"
    done = project.shell(script)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    shown = json.loads(project.teamgraph("sessions", "show", "s", "--json").stdout)
    assert [turn["answer"] for turn in shown["turns"]] == ["echo: many words"]


def test_debug_shows_where_an_error_arose(project: Project) -> None:
    plain = project.shell("$teamgraph run nowhere.yaml hi")
    debug = project.shell("$teamgraph run nowhere.yaml hi --debug")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert "DefinitionError" in debug.stderr


def test_a_letter_that_the_terminal_cannot_show_ends_nothing(project: Project) -> None:
    project.more["PYTHONIOENCODING"] = "ascii"
    done = project.shell("$teamgraph run desk.yaml 'h\u00e9' --model echo")
    assert (done.returncode, done.stdout) == (0, "echo: h\\xe9\n")
