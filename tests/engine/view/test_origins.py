"""Where the words of recorded prompts come from: right, or unknown."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import pytest
from msgspec.structs import replace
from pydantic import BaseModel, Field

from teamgraph import (
    Attachment,
    Graph,
    MemoryStore,
    Message,
    RenderedPrompt,
    Reply,
    Request,
    Retry,
    Run,
    Runner,
    ScriptedModel,
    Store,
    Summary,
    ToolCall,
)
from teamgraph.engine.view.origins import CallOrigins, prompt_origins, run_origins
from teamgraph.errors import RunError
from teamgraph.kinds import Context, GraphTool, Node, Result
from teamgraph.nodes import HistoryLoader, Human, Loop, Member, Router, Search, Summarizer
from tests.soundness.teams import talk
from tests.teams import desk, desk_model

LONG = int(os.environ.get("TEAMGRAPH_SOUNDNESS", "0"))
SESSIONS = range(250 if LONG else 5)
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


class Forgetful(MemoryStore):
    """Has no templates and no facts, as of a session that was exported and restored."""

    async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        del prompt_hash
        return None


def test_a_store_without_the_templates_needs_the_graph_if_that_still_has_them() -> None:
    store, graph = Forgetful(), desk()
    run = Runner(graph, store=store, model=desk_model()).run("hello", session_id="s")
    kinds = [
        {kind for calls in origins(run, store, known).values() for kind, _ in named(calls).values()}
        for known in (None, graph)
    ]
    assert kinds == [{"unknown"}, {"message", "node"}]


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


class Poem(Node):
    """Asks with names of its own, and keeps a mood."""

    lines: int = 1
    prompt: str | None = "{{ words[0] or '' }} {{ extra.x or '' }} {{ node.state.mood or '-' }}\n"
    variables: ClassVar[Mapping[str, object]] = {"words": list[str], "extra": dict[str, str]}

    async def run(self, context: Context) -> Result:
        text = await context.ask(words=["rose"], extra={"x": "thorn"})
        summary = Summary("late", covers=context.turns) if context.turns else None
        return Result(text, state={"mood": "glum"}, summary=summary)

    def summarized(self, output: object, fields: object) -> None:
        """Nothing."""


def test_names_that_a_kind_gives_are_of_its_node_and_its_state_is_its_own() -> None:
    store = MemoryStore()
    graph = Graph(name="t", model="m", nodes={"poem": Poem()})
    for _ in range(2):
        run = Runner(graph, store=store, model="echo").run("hello", session_id="s")
    found = named(origins(run, store, graph)["poem"])
    assert found == {
        "rose": ("node", "poem"),
        "thorn": ("node", "poem"),
        "glum": ("state", "own.mood"),
    }
    # Without the graph nobody knows its kind.
    assert {kind for kind, _ in named(origins(run, store)["poem"]).values()} == {"unknown"}


def test_a_kind_that_takes_other_fields_today_renders_what_it_was_then() -> None:
    class Other(Poem):
        kind = "poem"
        lines: str = Field(default="x", max_length=1)  # type: ignore[assignment]

    store = MemoryStore()
    graph = Graph(name="t", model="m", nodes={"poem": Poem(lines=2)})
    run = Runner(graph, store=store, model="echo").run("hello", session_id="s")
    now = Graph(name="t", nodes={"poem": Other()})
    assert named(origins(run, store, now)["poem"])["rose"] == ("node", "poem")


NAMES = """\
{{ input.system or '' }}/{{ input.attachments[0].name if input.attachments else '' }}/
{% for a in input.attachments %}{{ loop.index }}.{% endfor %}
{% set n = session.turns + 40 %}{{ n }}/{{ (input.message ~ node.params.p) | upper }}
"""


def test_further_names() -> None:
    store, prompt = MemoryStore(), NAMES
    graph = Graph(name="t", model="m", nodes={"a": Member(prompt=prompt, params={"p": "deep"})})
    part = Attachment(name="photo.png", media_type="image/png", data=b"bytes")
    run = Runner(graph, store=store, model=desk_model()).run(
        "hello", system="be brief", attachments=[part], session_id="s"
    )
    assert named(origins(run, store)["a"]) == {
        "be brief": ("message", "system"),
        "photo.png": ("attachment", "attachments"),
        "40": ("unknown", "n"),
        "HELLODEEP": ("several", "message, node.params.p"),
    }


def test_tasks_rounds_and_messages_of_inner_graphs() -> None:
    rounds = "{% for each in round.outputs %}{{ each }}{% endfor %}"
    rounds += "{{ round.nodes.draft.output if round.nodes else '' }}{{ input.message | upper }}"
    rounds += "{{ round.number }}\n"
    graph = Graph(
        name="t",
        model="m",
        nodes={
            "router": Router(routes={"first": "a", "second": "b"}, tasks=True),
            "first": Member(prompt="{{ node.task or '' }}\n"),
            "second": Member(),
            "search": Search(),
            "draft": Loop(
                graph=Member(prompt=rounds), until="false", max=2, needs=["first", "second"]
            ),
            "summary": Summarizer(every=2, needs="draft"),
        },
        output="draft",
    )

    def answer(request: Request) -> object:
        if request.choices:
            task = {"label": "first", "task": "do it"}
            return {"reason": "so", "choice": "first", "tasks": [task]}
        return {"summary": "s", "topics": []} if request.schema else f"said{next(numbers)}"

    store, numbers = MemoryStore(), iter(range(100))
    runner = Runner(graph, store=store, model=ScriptedModel(answer))
    runner.run("elsewhere", session_id="t")
    for _ in range(2):
        run = runner.run("hello", session_id="s")
    found = origins(run, store)
    assert named(found["first"]) == {"do it": ("node", "router")}
    said = run.records["draft[1]/draft"].output
    assert named(found["draft[2]/draft"]) == {
        str(said): ("node", "draft[1]/draft"),
        "HELLO": ("message", "message"),
        "2": ("state", "round.number"),
    }
    first = next(iter(named(found["summary"]).items()))
    assert first == ("hello", ("message", "message"))
    kinds = {piece[1] for piece in named(found["summary"]).items()}
    assert ("history", "turn 1") in kinds


def test_a_run_that_never_got_a_number_is_placed_among_the_others() -> None:
    store = MemoryStore()
    runner = Runner(desk(), store=store, model=desk_model())
    runner.run("one", session_id="s")
    failing = Runner(desk(), store=store, model=desk_model(route="german"))
    with pytest.raises(RunError) as caught:
        failing.run("two", session_id="s")
    runner.run("three", session_id="s")
    assert caught.value.run is not None
    found = named(origins(caught.value.run, store)["router"][:1])
    assert found["one"] == ("history", "turn 1")
    assert found["two"] == ("message", "message")


class OldStore(MemoryStore):
    """Has the facts of nodes alone, as older versions stored them."""

    async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        found = await super().prompt(prompt_hash)
        return found and {path: text for path, text in found.items() if path != ""}


def test_a_prompt_whose_template_is_lost_is_unknown() -> None:
    class FactsOnly(MemoryStore):
        async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
            found = await super().prompt(prompt_hash)
            return found if found and "" in found else None

    store = FactsOnly()
    run = Runner(desk(), store=store, model=desk_model()).run("hello", session_id="s")
    assert named(origins(run, store)["router"])["hello"] == ("unknown", "")


class Ticket(BaseModel):
    urgency: Literal["low", "high"]
    about: str


def test_a_store_without_the_facts_of_the_graph_itself_has_those_of_its_nodes() -> None:
    store = OldStore()
    run = Runner(desk(), store=store, model=desk_model()).run("hello", session_id="s")
    for graph in (None, desk(name="other")):
        assert named(origins(run, store, graph)["router"])["hello"] == ("message", "message")


def test_the_type_of_an_answer_is_that_of_then() -> None:
    store, said = MemoryStore(), iter(['{"urgency": 1}', '{"urgency": "low", "about": "x"}'])
    graph = Graph(name="t", model="m", nodes={"a": Member(returns=Ticket, role="Then")})
    run = Runner(graph, store=store, model=ScriptedModel(lambda _: Reply(next(said)))).run("hi")
    now = Graph(name="t", nodes={"a": Member(returns=Ticket, role="Now")})
    texts = [message.text for call in origins(run, store, now)["a"] for message in call.messages]
    assert any("Then" in text for text in texts)
    assert "unknown" not in {kind for kind, _ in named(origins(run, store, now)["a"]).values()}
    assert len(origins(run, store)["a"]) == 2


def test_tools_that_are_graphs_are_known_after_their_node_was_changed() -> None:
    def graph(role: str) -> Graph:
        inner = Graph(name="inner", nodes={"writer": Member(prompt="of {{ input.message }}\n")})
        tools = [lookup, GraphTool(graph=inner, name="research", about="Researches")]
        return Graph(name="t", model="m", nodes={"a": Member(tools=tools, role=role)})

    def answer(request: Request) -> Reply:
        if request.tools and request.messages[-1].role != "tool":
            call = ToolCall(id="2", name="research", arguments='{"message": "pears"}')
            return Reply("", tool_calls=(call,))
        return Reply("found")

    store = MemoryStore()
    run = Runner(graph("Then"), store=store, model=ScriptedModel(answer)).run("hello")
    found = origins(run, store, graph("Now"))
    assert named(found["a"])["hello"] == ("message", "message")
    assert named(found["a/research[1]/writer"]) == {"pears": ("node", "a/research")}
    # An attempt that begins anew after tool calls which are not continued.
    record = run.records["a"]
    first, second = record.exchanges
    anew = replace(record, exchanges=(first, replace(second, messages=first.messages)))
    calls = asyncio.run(run_origins(replace(run, records={**run.records, "a": anew}), store))
    assert [len(call.messages) for call in calls["a"]] == [2, 2]
    assert named(calls["a"]) == {"hello": ("message", "message")}


def test_what_cannot_be_rendered_any_more_is_unknown() -> None:
    store = MemoryStore()
    nodes = {"a": Member(returns={"x": "str"}), "b": Member(prompt="{{ a.output.x }}\n", needs="a")}
    graph = Graph(name="t", model="m", nodes=nodes)
    run = Runner(graph, store=store, model="echo").run("hello")
    lost = replace(run, records={"b": run.records["b"]})
    calls = asyncio.run(run_origins(lost, store))
    assert {kind for kind, _ in named(calls["b"]).values()} == {"unknown"}


def test_another_graph_is_not_taken_for_that_of_the_run() -> None:
    store = Forgetful()
    runner = Runner(desk(), store=store, model=desk_model())
    run = runner.run("hello", session_id="s")
    forked = runner.fork(run.run_id, node="router")
    other = desk(nodes={**desk().nodes, "french": Member(prompt="other\n")})
    for each in (run, forked):
        calls = origins(each, store, other)["french"]
        assert {kind for kind, _ in named(calls).values()} == {"unknown"}


def test_a_prompt_that_no_dry_run_made_is_unknown() -> None:
    found = prompt_origins(RenderedPrompt("t", (Message(role="user", content="x"),)), "a")
    assert named([found]) == {"x": ("unknown", "")}


def test_a_run_with_a_given_history_is_explained_as_far_as_a_store_knows_it() -> None:
    store, graph = MemoryStore(), desk()
    run = Runner(graph, store=store, model=desk_model()).run("hello", history=[("one", "two")])
    calls = asyncio.run(run_origins(run, store, graph))
    assert named(calls["french"]) == {
        "one": ("history", "an earlier turn"),
        "two": ("history", "an earlier turn"),
        "hello": ("message", "message"),
    }


def test_what_was_read_of_a_session_that_is_gone_is_unknown() -> None:
    store = MemoryStore()
    said = "{% for each in search.output %}{% for run in each.runs %}{{ run.answer }}"
    said += "{% endfor %}{% endfor %}"
    prompt = "{% system %}" + said + "{% endsystem %}\n{% user %}{{ input.message }}{% enduser %}\n"
    graph = Graph(
        name="t", model="m", nodes={"search": Search(), "a": Member(prompt=prompt)}, output="a"
    )
    runner = Runner(graph, store=store, model=desk_model())
    runner.run("elsewhere", session_id="t")
    run = runner.run("hello", session_id="s")
    expected = {"Bonjour mon ami": ("node", "search"), "hello": ("message", "message")}
    assert named(origins(run, store)["a"]) == expected
    runner.session("t").delete()
    assert named(origins(run, store)["a"]) == {
        "(deleted)": ("unknown", ""),
        "hello": ("message", "message"),
    }
