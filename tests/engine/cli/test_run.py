"""`teamgraph run`: the answer on standard output, everything else beside it."""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path

import pytest

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


def test_a_run_that_cannot_begin_names_no_command_that_must_fail_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for words in (("run", "desk.yaml", "hi", "--session", "s"), ("chat", "desk.yaml")):
        for model, text in (
            ("openai/gpt-5-mini", "it has no API key; set OPENAI_API_KEY"),
            ("gtp5", "unknown provider 'gtp5'; did you mean openai/gpt-5?"),
        ):
            done = project.teamgraph(*words, "--model", model, said="hi\n")
            assert (done.exit_code, done.stdout) == (2, "")
            assert text in done.stderr
            assert "resume" not in done.stderr
    assert project.teamgraph("sessions", "list", "--json").stdout == "[]\n"


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


@pytest.mark.parametrize(
    ("options", "after", "is_shown"),
    [([], 1, False), ([], 3, True), (["--no-stream"], 3, False), (["--json"], 3, False)],
)
def test_an_answer_that_breaks_off_is_asked_again_unless_words_were_shown(
    project: Project, stub: StubProvider, options: list[str], after: int, is_shown: bool
) -> None:
    project.more["KEY"] = "sk-stub"
    project.write("one.yaml", at(stub) + "retry: {times: 2, wait: 0.001}\n")
    stub.push(StubAnswer("words of the answer", fault="cut", after=after), "the answer")
    done = project.teamgraph("run", "one.yaml", "hello", *options)
    assert done.exit_code == int(is_shown)
    assert len(stub.requests) == (1 if is_shown else 2)
    assert ("words of" if is_shown else "the answer") in done.stdout


@pytest.mark.parametrize("options", [[], ["--no-stream"]])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (StubAnswer(""), "the model's answer is empty"),
        (StubAnswer("", finish_reason="length"), "max_tokens was used up before the answer began"),
        (StubAnswer("one two", fault="cut"), "cannot be read|cut off"),
    ],
)
def test_an_empty_or_broken_answer_is_a_failed_run_and_no_unreachable_model(
    project: Project, stub: StubProvider, options: list[str], answer: StubAnswer, words: str
) -> None:
    project.more["KEY"] = "sk-stub"
    project.write("one.yaml", at(stub))
    stub.push(answer)
    done = project.teamgraph("run", "one.yaml", "hello", *options)
    assert done.exit_code == 1
    assert re.search(words, done.stderr)


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


def test_events_are_lines_of_json_in_place_of_the_answer(project: Project) -> None:
    done = project.teamgraph("run", "desk.yaml", "a\u2028b", "--model", "echo", "--events", "jsonl")
    assert (done.exit_code, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == done.stdout.count("\n")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["run"]["answer"] == "echo: a\u2028b"


def test_events_of_a_run_that_fails_end_with_its_error(project: Project) -> None:
    project.write("bad.yaml", "name: bad\nnodes:\n  only: {kind: python, call: 'os:nothing'}\n")
    project.write("lone.yaml", "name: lone\nmodel: own/critic\nnodes:\n  only: {}\n")
    refused = project.teamgraph("run", "bad.yaml", "hello", "--events", "jsonl")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert json.loads(refused.stderr)["error"]["type"] == "DefinitionError"
    misused = project.teamgraph("run", "lone.yaml", "hello", "--events=jsonl", "--unknown")
    assert "--unknown" in json.loads(misused.stderr)["error"]["message"]
    failed = project.teamgraph("run", "lone.yaml", "hello", "--events", "jsonl")
    assert json.loads(failed.stdout.splitlines()[-1])["event"] == "run_failed"
    assert json.loads(failed.stderr)["error"]["message"] in failed.stderr


def test_one_form_at_a_time_is_printed(project: Project) -> None:
    words = ("run", "desk.yaml", "hello", "--model", "echo", "--events", "jsonl")
    done = project.teamgraph(*words, "--json")
    assert done.exit_code == 2
    assert "--json prints the run and --events its events; take one of them" in done.stderr
    wrong = project.teamgraph(*words[:-1], "xml")
    assert wrong.exit_code == 2
    assert "'jsonl'" in json.loads(wrong.stderr)["error"]["message"]


def test_a_trace_has_the_events_of_every_run_and_changes_no_output(project: Project) -> None:
    words = ("run", "desk.yaml", "hello", "--model", "echo")
    for _ in range(2):
        done = project.teamgraph(*words, "--trace", "t.jsonl")
        assert done.stdout == project.teamgraph(*words).stdout
    lines = [json.loads(line) for line in Path("t.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines].count("run_finished") == 2
    assert Path("t.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_trace_that_cannot_be_written_says_so(project: Project) -> None:
    words = ("run", "desk.yaml", "hello", "--model", "echo", "--trace")
    for place in ("nowhere/t.jsonl", "/dev/full"):
        done = project.teamgraph(*words, place)
        assert done.exit_code == 2
        assert f"--trace {place}: cannot write it: " in done.stderr


def test_the_schemas_of_events_and_runs_are_printed(project: Project) -> None:
    events = json.loads(project.teamgraph("schema", "events").stdout)
    assert len(events["oneOf"]) > 10
    run = json.loads(project.teamgraph("schema", "run").stdout)
    assert "duration" in run["properties"]
    refused = project.teamgraph("schema", "run", "--kind", "myapp:Kind")
    assert (refused.exit_code, "--kind is about graph files" in refused.stderr) == (2, True)
