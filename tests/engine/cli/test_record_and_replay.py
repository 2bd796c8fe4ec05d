"""`--record` and `--replay`: a run or a chat comes out again without a model."""

from __future__ import annotations

import json

from .conftest import Project

GRAPH = """\
name: one
model: openai/gpt-5-mini
nodes:
  history: {kind: history-loader}
  only: {role: You answer}
"""


def test_a_run_is_replayed_with_its_usage_and_without_its_model(project: Project) -> None:
    project.write("one.yaml", GRAPH)
    words = ("run", "one.yaml", "hello", "--json")
    first = project.teamgraph(*words, "--model", "echo", "--record", "kept")
    done = project.teamgraph(*words, "--replay", "kept")
    assert done.exit_code == 0
    run, again = json.loads(first.stdout), json.loads(done.stdout)
    assert (again["answer"], again["usage"]) == ("echo: hello", run["usage"])
    assert project.teamgraph(*words[:-1], "--replay", "kept").stdout == "echo: hello\n"


def test_a_chat_is_replayed_turn_by_turn(project: Project) -> None:
    project.write("one.yaml", GRAPH)
    said = "hello\nand again\n"
    first = project.teamgraph("chat", "one.yaml", "--model", "echo", "--record", "kept", said=said)
    done = project.teamgraph("chat", "one.yaml", "--replay", "kept", said=said)
    assert (done.exit_code, done.stdout) == (0, first.stdout)
    fewer = project.teamgraph("chat", "one.yaml", "--replay", "kept", said="hello\n")
    assert fewer.exit_code == 1
    assert "error: kept has recordings that nothing asked for: echo-" in fewer.stderr


def test_a_miss_shows_the_difference_and_a_command_that_repeats_the_replay(
    project: Project,
) -> None:
    project.write("one.yaml", GRAPH)
    project.teamgraph("run", "one.yaml", "hello", "--model", "echo", "--record", "kept")
    done = project.teamgraph("run", "one.yaml", "hallo", "--replay", "kept")
    assert done.exit_code == 1
    assert '  -      "content": "hello"\n' in done.stderr
    assert '  +      "content": "hallo"\n' in done.stderr
    assert "resume it: teamgraph runs resume" in done.stderr
    assert "--replay kept" in done.stderr
    recorded = project.teamgraph("run", "one.yaml", "", "--model", "echo", "--record", "kept")
    assert recorded.exit_code == 2


def test_what_cannot_be_recorded_or_replayed_is_refused(project: Project) -> None:
    words = ("run", "desk.yaml", "hello", "--replay", "kept")
    for more in (("--model", "echo"), ("--record", "kept")):
        done = project.teamgraph(*words, *more)
        assert done.exit_code == 2
        assert f"records nothing; leave out {more[0]}" in done.stderr
    done = project.teamgraph(*words)
    assert done.exit_code == 2
    assert "kept: there are no recordings; make them with --record kept" in done.stderr
