"""Where the words of recorded prompts come from: right, or unknown."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

import pytest

from teamgraph import (
    Graph,
    MemoryStore,
    Reply,
    Request,
    Retry,
    Run,
    Runner,
    ScriptedModel,
    Store,
    ToolCall,
)
from teamgraph.engine.view.origins import CallOrigins, prompt_origins, run_origins
from teamgraph.errors import RunError
from teamgraph.kinds import GraphTool
from teamgraph.nodes import HistoryLoader, Human, Member
from tests.soundness.teams import talk
from tests.teams import desk, desk_model

LONG = int(os.environ.get("TEAMGRAPH_SOUNDNESS", "0"))
SESSIONS = range(500 if LONG else 5)
"""Of two teams and four turns each."""


def test_every_piece_says_where_it_comes_from_also_after_the_team_was_changed() -> None:
    problems: list[str] = []
    for seed in SESSIONS:
        found = talk(seed)
        for run in found.runs:
            for graph in (None, found.graph):
                calls = asyncio.run(run_origins(run, found.store, graph))
                problems += (f"seed {seed}, {each}" for each in found.problems(run, calls))
    assert problems == []


def origins(run: Run, store: Store, graph: Graph | None = None) -> dict[str, list[CallOrigins]]:
    """The origins of a stored run, after it was checked that the pieces are what was sent."""
    stored = asyncio.run(store.run(run.key, run.run_id))
    assert stored is not None
    found = asyncio.run(run_origins(stored, store, graph))
    for path, calls in found.items():
        sent = [exchange.messages for exchange in stored.records[path].exchanges]
        assert [[each.text for each in call.messages] for call in calls] == [
            [each.content for each in messages] for messages in sent
        ]
    return {path: list(calls) for path, calls in found.items()}


def named(calls: Sequence[CallOrigins]) -> dict[str, tuple[str, str]]:
    """The kind and label of each piece by its text, without those of templates."""
    pieces = (each for call in calls for message in call.messages for each in message.pieces)
    return {
        piece.text: (piece.origin.kind, piece.origin.label)
        for piece in pieces
        if piece.origin.kind not in ("template", "params")
    }


def test_a_repair_follows_the_answer_that_it_repairs() -> None:
    store, said = MemoryStore(), iter(["no", '{"lang": "fr"}'])
    graph = Graph(name="t", model="m", nodes={"a": Member(returns={"lang": "fr|de"})})
    run = Runner(graph, store=store, model=ScriptedModel(lambda _: Reply(next(said)))).run("hi")
    first, second = origins(run, store)["a"]
    assert [message.role for message in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[:2] == first.messages
    assert named([second])["no"] == ("node", "a")


def test_the_attempts_of_a_node_are_rendered_one_by_one() -> None:
    store, said = MemoryStore(), iter(["no", "no", "no", "no", '{"lang": "fr"}'])
    graph = Graph(
        name="t",
        model="m",
        nodes={"a": Member(returns={"lang": "fr|de"}, retry=Retry(times=2, wait=0.001))},
    )
    model = ScriptedModel(lambda _: Reply(next(said)))
    run = Runner(graph, store=store, model=model).run("hello")
    calls = origins(run, store)["a"]
    assert [call.prompt for call in calls] == [
        *("member.jinja", "answer_repair.jinja") * 2,
        "member.jinja",
    ]
    assert not any(kind == "unknown" for kind, _ in named(calls).values())


def test_a_run_that_failed_has_the_origins_of_what_was_sent() -> None:
    store = MemoryStore()
    graph = Graph(
        name="t", model="m", nodes={"a": Member(), "b": Member(needs="a", returns={"n": "int"})}
    )
    with pytest.raises(RunError) as caught:
        Runner(graph, store=store, model=ScriptedModel(lambda _: Reply("word"))).run("hello")
    assert caught.value.run is not None
    found = origins(caught.value.run, store)
    assert named(found["b"][:1])["word"] == ("node", "a")
    assert named(found["b"])["word"] == ("node", "b")  # the answer that is to be repaired


def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word} is a fruit"


def test_tools_and_graphs_that_are_tools() -> None:
    inner = Graph(name="inner", nodes={"writer": Member(prompt="of {{ input.message }}\n")})
    tools = [lookup, GraphTool(graph=inner, name="research", about="Researches")]
    graph = Graph(name="t", model="m", nodes={"a": Member(tools=tools)})

    def answer(request: Request) -> Reply | str:
        if request.tools and request.messages[-1].role != "tool":
            calls = (
                ToolCall(id="1", name="lookup", arguments='{"word": "pear"}'),
                ToolCall(id="2", name="research", arguments='{"message": "pears"}'),
            )
            return Reply("wait", tool_calls=calls)
        return "found"

    store = MemoryStore()
    run = Runner(graph, store=store, model=ScriptedModel(answer)).run("hello")
    found = origins(run, store, graph)
    assert named(found["a"]) == {
        "hello": ("message", "message"),
        "wait": ("tool", "lookup, research"),
        "pear is a fruit": ("tool", "lookup"),
        "found": ("tool", "research"),
    }
    assert [call.name for call in found["a"][1].messages[-3].tool_calls] == ["lookup", "research"]
    assert named(found["a/research[2]/writer"]) == {"pears": ("node", "a/research")}


def test_an_answer_of_a_person_is_of_the_node_that_asked() -> None:
    graph = Graph(
        name="t",
        model="m",
        nodes={"boss": Human(), "a": Member(prompt="{{ boss.output }}!\n", needs="boss")},
        output="a",
    )
    store = MemoryStore()
    runner = Runner(graph, store=store, model=desk_model())
    run = runner.run("hello", session_id="s")
    run = runner.respond(run.run_id, {"boss": "yes"})
    assert named(origins(run, store)["a"]) == {"yes": ("node", "boss")}


def test_after_a_turn_was_deleted_nothing_false_is_said() -> None:
    store = MemoryStore()
    runner = Runner(desk(), store=store, model=desk_model())
    runs = [runner.run(f"message {number}", session_id="s") for number in range(1, 4)]
    runner.session("s").delete_run(runs[0].run_id)
    found = named(origins(runs[2], store)["french"])
    assert found["message 2"] == ("history", "turn 2")
    assert found["(deleted)"] == ("history", "an earlier turn")
    assert found["message 3"] == ("message", "message")


def test_a_fork_keeps_the_origins_of_what_it_did_not_run_again() -> None:
    store = MemoryStore()
    graph = Graph(
        name="t",
        model="m",
        nodes={
            "history": HistoryLoader(),
            "a": Member(prompt="{{ run.id }} {{ history.runs[0].answer if history.runs }}\n"),
            "b": Member(prompt="{{ a.output }} {{ input.message }}\n", needs="a"),
        },
    )
    runner = Runner(graph, store=store, model=desk_model())
    runner.run("one", session_id="s")
    second = runner.run("two", session_id="s")
    forked = runner.fork(second.run_id, node="b")
    found = origins(forked, store)
    assert named(found["a"])[second.run_id] == ("state", "run.id")
    assert named(found["a"])["Bonjour mon ami"] == ("history", "turn 1")
    assert named(found["b"]) == {"Bonjour mon ami": ("node", "a"), "two": ("message", "message")}


def test_a_store_without_the_graph_or_the_templates_says_that_it_does_not_know() -> None:
    class Forgetful(MemoryStore):
        async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
            del prompt_hash
            return None

    store, graph = Forgetful(), desk()
    run = Runner(graph, store=store, model=desk_model()).run("hello", session_id="s")
    for known in (None, graph):
        found = origins(run, store, known)
        assert {kind for calls in found.values() for kind, _ in named(calls).values()} == {
            "unknown"
        }


def test_only_what_is_asked_for_is_rendered() -> None:
    found = talk(3)
    run = found.runs[-1]
    paths = [path for path, record in run.records.items() if record.exchanges]
    for path in paths[:3]:
        calls = asyncio.run(run_origins(run, found.store, nodes=[path]))
        assert [*calls] == [path]


def test_a_dry_run_has_origins_too() -> None:
    rendering = desk().render(
        "hello",
        assume={"router": "french"},
        history=[("one", "two")],
        session={"summary": "in short", "turns": 3},
    )
    found = {
        path: named([prompt_origins(each, path) for each in node.prompts])
        for path, node in rendering.items()
    }
    assert found["french"] == {
        "in short": ("summary", "summary"),
        "one": ("history", "an earlier turn"),
        "two": ("history", "an earlier turn"),
        "hello": ("message", "message"),
    }
