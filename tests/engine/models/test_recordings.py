"""Record and replay: a recorded run comes out the same without a model, and nothing else does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from teamgraph import (
    AnyModel,
    EchoModel,
    Graph,
    Model,
    ModelSpec,
    Recorder,
    Replay,
    Reply,
    Request,
    Retry,
    Runner,
    ScriptedModel,
    ToolCall,
    Usage,
)
from teamgraph.errors import InputError, ModelError, NodeError, ReplayMiss, UnusedRecordings
from teamgraph.events import Token
from teamgraph.nodes import Leader, Member
from tests.stub import ask
from tests.stub.client import HELLO
from tests.teams import alone, desk, desk_model, heard, told

USAGE = Usage(input_tokens=7, output_tokens=3, cached_tokens=2, calls=1, cost=0.25)


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


def tools() -> tuple[Graph, Model]:
    calls = tuple(
        ToolCall(id=f"random-{city}", name="weather", arguments=f'{{"city": "{city}"}}')
        for city in ("Rome", "Oslo")
    )
    graph = Graph(name="g", model="m", nodes={"only": Member(tools=[weather])})
    return graph, ScriptedModel([Reply("", tool_calls=calls, usage=USAGE), "sunny\n\n  \u2028 ☀"])


def shaped() -> tuple[Graph, Model]:
    graph = Graph(name="g", model="m", nodes={"only": Member(returns={"lang": "str", "n": "int"})})
    return graph, ScriptedModel([Reply('{"lang": "é", "n": 2}', usage=USAGE, finish_reason="stop")])


def repeated() -> tuple[Graph, Model]:
    graph = alone(retry=Retry(times=2, wait=0.001))
    busy = ModelError("busy", model="m", retryable=True)
    return graph, ScriptedModel(["", busy, "at last"])


CASES: Mapping[str, Callable[[], tuple[Graph, Model]]] = {
    "a desk": lambda: (desk(), desk_model()),
    "tools": tools,
    "a value": shaped,
    "the same request again": repeated,
}


def missed(graph: Graph, folder: Path, message: str) -> ReplayMiss:
    """The miss of a run that has no recording."""
    with pytest.raises(NodeError) as caught:
        Runner(graph, model=Replay(folder)).run(message)
    assert isinstance(caught.value.__cause__, ReplayMiss)
    return caught.value.__cause__


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_run_comes_out_the_same_without_the_model(case: str, tmp_path: Path) -> None:
    graph, model = CASES[case]()
    first = Runner(graph, model=Recorder(tmp_path, model)).run("hello\nthere")
    replay = Replay(tmp_path)
    again = Runner(graph, model=replay).run("hello\nthere")
    assert again.answer == first.answer
    for path, record in first.records.items():
        other = again.records[path]
        assert (other.output, other.usage) == (record.output, record.usage)
        assert [each.reply for each in other.exchanges] == [each.reply for each in record.exchanges]
    replay.verify()
    events = heard(Runner(graph, model=Replay(tmp_path)), "hello\nthere")
    assert told(events) == first.answer
    assert len([each for each in events if isinstance(each, Token)]) >= len(first.records) - 1


def test_a_file_can_be_read_and_has_nothing_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "sk-secret")

    def graph(server: str, key: str = "OUR_KEY", *, temperature: float = 0.5) -> Graph:
        spec = ModelSpec(
            id="openai/gpt-5", api_base=server, api_key_env=key, temperature=temperature
        )
        return Graph(name="g", model=spec, nodes={"a": Member(role="Kind")})

    Runner(
        graph("https://llm.example/v1"), model=Recorder(tmp_path, ScriptedModel(["one\ntwo"]))
    ).run("Hi\nyou")
    (file,) = tmp_path.iterdir()
    assert re.fullmatch(r"openai-gpt-5-[0-9a-f]{16}\.json", file.name)
    written = file.read_text()
    assert not re.search(r"secret|OUR_KEY|llm\.example", written)
    form = json.loads(written)
    assert form["request"]["parameters"] == {"temperature": 0.5}
    assert form["request"]["messages"][1] == {"role": "user", "content": ["Hi", "you"]}
    assert form["replies"][0]["text"] == ["one", "two"]
    elsewhere = graph("http://127.0.0.1:1/v1", "OTHER_KEY")
    assert Runner(elsewhere, model=Replay(tmp_path)).run("Hi\nyou").answer == "one\ntwo"
    hotter = graph("https://llm.example/v1", temperature=1)
    assert '+    "temperature": 1' in missed(hotter, tmp_path, "Hi\nyou").difference


def test_a_key_in_a_request_is_not_recorded(tmp_path: Path) -> None:
    parameters = {"api_key": "sk-secret", "seed": 1}
    ask(Recorder(tmp_path, ScriptedModel(["one"])), Request("m", HELLO, parameters=parameters))
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["request"]["parameters"] == {"seed": 1}


def test_a_miss_shows_how_the_prompt_differs_from_the_nearest(tmp_path: Path) -> None:
    def graph(role: str) -> Graph:
        roles = {"a": role, "b": "You count\nto ten", "c": "You sing"}
        nodes: Any = {node_id: Member(role=text) for node_id, text in roles.items()}
        return Graph(
            name="g",
            model="m",
            nodes={**nodes, "lead": Leader(needs=["a", "b", "c"])},
            output="lead",
        )

    Runner(graph("You dance\nwell"), model=Recorder(tmp_path, EchoModel())).run("go")
    miss = missed(graph("You dance\nbadly"), tmp_path, "go")
    assert '-        "well.",\n+        "badly.",' in miss.difference
    assert "You dance" in miss.nearest.read_text()
    assert "pytest --models-record" in str(miss)
    assert miss.__notes__ == [miss.difference]


def test_a_long_difference_is_cut(tmp_path: Path) -> None:
    Runner(alone(), model=Recorder(tmp_path, EchoModel())).run("go")
    miss = missed(alone(), tmp_path, "\n".join(map(str, range(100))))
    assert re.search(r"\n\.\.\. and \d+ more lines$", miss.difference)


def test_a_miss_that_a_node_survives_is_found_by_verify(tmp_path: Path) -> None:
    nodes: Any = {"a": Member(role="A", on_error="skip"), "b": Member(role="B")}
    graph = Graph(name="g", model="m", nodes=nodes, output=["a", "b"])
    Runner(graph, model=Recorder(tmp_path, EchoModel())).run("go")
    unread = [file for file in tmp_path.iterdir() if "A." in file.read_text()]
    unread[0].unlink()
    replay = Replay(tmp_path)
    assert Runner(graph, model=replay).run("go").answer == "echo: go"
    with pytest.raises(ReplayMiss):
        replay.verify()


def test_recordings_that_nobody_asked_for_are_named(tmp_path: Path) -> None:
    runner = Runner(alone(), model=Recorder(tmp_path, EchoModel()))
    for message in ("one", "two", "two"):
        runner.run(message)
    replay = Replay(tmp_path)
    Runner(alone(), model=replay).run("one")
    with pytest.raises(UnusedRecordings) as caught:
        replay.verify()
    (unused,) = caught.value.files
    assert "two" in unused.read_text()
    assert unused.name in str(caught.value)
    Runner(alone(), model=replay).run("two")
    assert replay.unused == (unused,)  # one of its two replies was not given
    for _ in range(2):
        Runner(alone(), model=replay).run("two")  # the last reply is given again
    replay.verify()


def test_what_is_recorded_again_replaces_what_was_there(tmp_path: Path) -> None:
    for answer in ("old", "new"):
        Runner(alone(), model=Recorder(tmp_path, ScriptedModel(answer))).run("hi")
    assert Runner(alone(), model=Replay(tmp_path)).run("hi").answer == "new"


@pytest.mark.parametrize(
    ("recorded", "named"),
    [(None, {"a": "echo/one", "b": "echo/two"}), ("echo/three", {"a": "echo/one"}), (None, {})],
)
def test_a_replay_knows_which_models_were_asked(
    recorded: str | None, named: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes: Any = {node_id: Member(role=node_id, model=named.get(node_id)) for node_id in "ab"}
    graph = Graph(name="g", nodes=nodes, output=["a", "b"])
    monkeypatch.setenv("TEAMGRAPH_MODEL", "echo/default")
    run = Runner(graph, model=Recorder(tmp_path, recorded)).run("hi")
    monkeypatch.delenv("TEAMGRAPH_MODEL")
    replay = Replay(tmp_path)
    again = Runner(graph, model=replay).run("hi")
    replay.verify()
    assert again.records["a"].fingerprint == run.records["a"].fingerprint


def test_a_recorder_asks_what_it_is_given(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, AnyModel({"own/critic": ScriptedModel("as I like it")}))
    graph = Graph(name="g", model="own/critic", nodes={"a": Member()})
    assert Runner(graph, model=recorder).run("hi").answer == "as I like it"
    unnamed = Graph(name="g", nodes={"a": Member()})
    Runner(unnamed, model=Recorder(tmp_path / "more", EchoModel())).run("hi")
    assert Runner(unnamed, model=Replay(tmp_path / "more")).run("hi").answer == "echo: hi"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting"),
        ('{"version": 2}', "its version is 2, not 1"),
        ('{"version": 1, "request": {}}', "it has no 'replies'"),
        ('{"version": 1, "request": {"messages": []}, "replies": [{"text": 1}]}', "text"),
        (
            '{"version": 1, "request": {"messages": []}, "replies": [], "model_from": "graph"}',
            "it has no replies",
        ),
        ("[]", "list"),
    ],
)
def test_a_file_that_is_no_recording_is_named(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json: this is not a recording: ") as caught:
        Replay(tmp_path)
    assert reason in str(caught.value)


def test_a_folder_without_recordings_and_one_that_is_a_file_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="there are no recordings; make them with --record"):
        Replay(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"recordings: .*name another folder"):
        Recorder(tmp_path / "file")
