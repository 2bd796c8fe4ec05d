"""Members that hand the conversation over to each other within a turn."""

# ruff: noqa: ANN401  options of a node, answers of a model
from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest

from teamgraph import (
    Chunk,
    Event,
    Graph,
    MemoryStore,
    Message,
    Reply,
    Request,
    Runner,
    ScriptedModel,
    Store,
    ToolCall,
    ToolContext,
    tool,
)
from teamgraph.engine.graph.draw import mermaid
from teamgraph.errors import BudgetExceeded, Changed, ModelError, NodeError
from teamgraph.events import AnswerReset, NodeFinished, Token, ToolAnswered
from teamgraph.nodes import HistoryLoader, Human, Loop, Map, Member, SubGraph, Swarm
from tests.builders import told, written
from tests.teams import heard, heard_again, holds_together, of, words_of
from tests.teams import told as streamed

PROMPT = """
I am {{ node.id }}. {{ input.message }}
{% if node.handover %}{{ node.handover.by }} said: {{ node.handover.reason }}{% endif %}
"""


def airline(**options: Any) -> Swarm:
    """A desk that hands over to two others, each of which hands back."""
    members = {
        "desk": Member(prompt=PROMPT, description="greets", hands_to=["sales", "refunds"]),
        "sales": Member(prompt=PROMPT, role="You sell", hands_to="desk"),
        "refunds": Member(prompt=PROMPT, hands_to=["desk", "sales"]),
    }
    fields = {"members": members, "start": "desk"}
    return Swarm(**(fields | options))


def team(swarm: Swarm | None = None, **options: Any) -> Graph:
    return Graph(**({"name": "x", "model": "m", "nodes": {"air": swarm or airline()}} | options))


def to(member: str, reason: str = "go", call_id: str = "1") -> ToolCall:
    arguments = f'{{"reason": "{reason}"}}'
    return ToolCall(id=call_id, name=f"transfer_to_{member}", arguments=arguments)


def called(name: str, arguments: str = "{}", call_id: str = "2") -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=arguments)


class Speaking:
    """A model in which each member does what is listed for it, one entry at each of its requests.

    An entry is a text, a tool call, a list of tool calls, or an error; at the end a member answers
    with its id.
    """

    def __init__(self, **entries: list[Any]) -> None:
        self.entries = {name: [*each] for name, each in entries.items()}
        self.requests: list[tuple[str, Request]] = []

    def __call__(self, request: Request) -> Any:
        found = re.search(r"I am ([a-z]+)\.", words_of(request))
        name = found.group(1) if found else "?"
        self.requests.append((name, request))
        entry = (self.entries.get(name) or [f"I am {name}"]).pop(0)
        calls = [entry] if isinstance(entry, ToolCall) else entry
        return Reply("well", tool_calls=tuple(calls)) if isinstance(calls, list) else entry

    @property
    def asked(self) -> list[str]:
        return [name for name, _ in self.requests]

    def offered(self) -> list[list[str]]:
        """The names of the tools of each request."""
        names: list[list[str]] = []
        for _, request in self.requests:
            functions: list[Any] = [each["function"] for each in request.tools]
            names.append([each["name"] for each in functions])
        return names


def runner(script: Speaking, graph: Graph | None = None, store: Store | None = None) -> Runner:
    return Runner(graph or team(), store=store or MemoryStore(), model=ScriptedModel(script))


def test_the_last_who_speaks_answers_and_each_visit_has_a_record(store: Store) -> None:
    script = Speaking(desk=[to("refunds", "wants money")], refunds=[to("sales", "wants a seat")])
    run = runner(script, store=store).run("hello", session_id="s")
    assert run.answer == "I am sales"
    assert list(run.records) == ["air", "air[1]/desk", "air[2]/refunds", "air[3]/sales"]
    assert run.records["air"].fields == {
        "speaker": "sales",
        "speakers": ["desk", "refunds", "sales"],
    }
    first = run.records["air[1]/desk"]
    assert (first.output, first.fields) == ("", {"handed_to": "refunds", "reason": "wants money"})
    last = words_of(script.requests[-1][1])
    assert last.split("\n") == ["I am sales. hello", "refunds said: wants a seat"]
    assert script.offered() == [
        ["transfer_to_sales", "transfer_to_refunds"],
        ["transfer_to_desk", "transfer_to_sales"],
        ["transfer_to_desk"],
    ]
    assert run.usage.calls == 3
    assert Runner(team(), store=store).session("s").run(run.run_id).records == run.records


def test_what_a_model_reads_of_a_handover_tells_whom_it_is_to(tmp_path: Path) -> None:
    offered = team().render("x")["air[1]/desk"].prompts[0].tools
    functions: list[Any] = [each["function"] for each in offered]
    assert [each["description"].split("\n")[:2] for each in functions] == [
        [
            "Hands the conversation over to sales, who then answers the user in your place.",
            "sales was told: You sell",
        ],
        [
            "Hands the conversation over to refunds, who then answers the user in your place.",
            "Give the reason in a sentence or two, with all that refunds has to know from you.",
        ],
    ]
    assert list(functions[0]["parameters"]["properties"]) == ["reason"]
    (tmp_path / "transfer.jinja").write_text("To {{ member }}: {{ description }}{{ role }}")
    own = team(prompt_dirs=[tmp_path]).render("x")["air[2]/sales"].prompts[0].tools[0]
    function: Any = own["function"]
    assert function["description"] == "To desk: greets"


def test_the_next_turn_begins_with_the_last_speaker(store: Store) -> None:
    script = Speaking(desk=[to("sales")], sales=["sold", to("desk")])
    team_runner = runner(script, store=store)
    answers = [team_runner.run("hello", session_id="s").answer for _ in range(3)]
    assert answers == ["sold", "I am desk", "I am desk"]
    assert script.asked == ["desk", "sales", "sales", "desk", "desk"]
    head = team_runner.session("s").get_head()
    assert head.node_states == {"air": {"speaker": "desk"}}
    script.entries["desk"] = [to("refunds")]
    assert team_runner.run("hello", session_id="t").answer == "I am refunds"


def test_without_sticky_each_turn_begins_with_the_first(store: Store) -> None:
    script = Speaking(desk=[to("sales"), to("sales")])
    team_runner = runner(script, team(airline(sticky=False)), store)
    for _ in range(2):
        team_runner.run("hello", session_id="s")
    assert script.asked == ["desk", "sales", "desk", "sales"]
    assert team_runner.session("s").get_head().node_states == {}


def test_a_speaker_who_is_gone_leaves_the_turn_to_the_first() -> None:
    store, script = MemoryStore(), Speaking(desk=[to("refunds")])
    runner(script, store=store).run("hello", session_id="s")
    members = {
        "desk": Member(prompt=PROMPT, hands_to="sales"),
        "sales": Member(prompt=PROMPT),
    }
    assert runner(script, team(airline(members=members)), store).run(
        "x", session_id="s"
    ).answer == ("I am desk")


def test_after_the_last_handover_nobody_can_hand_over() -> None:
    script = Speaking(desk=[to("sales"), to("sales")], sales=[to("desk"), to("desk")])
    run = runner(script, team(airline(max=3))).run("hello")
    assert script.asked == ["desk", "sales", "desk", "sales", "sales"]
    assert script.offered()[3:] == [[], []]
    assert run.answer == "I am sales"
    results = run.records["air[4]/sales"].exchanges[0].tool_results
    assert results[0].content == "error: there is no tool 'transfer_to_desk'; answer without one"


LOAD = """
name: x
model: m
nodes:
  air:
    kind: swarm
    start: desk
    members:
      desk: {role: You greet, hands_to: [sales]}
      sales: {role: You sell, hands_to: [desk]}
"""
MISTAKES: Mapping[str, tuple[str, str, list[str]]] = {
    "an unknown target": (
        "hands_to: [sales]",
        "hands_to: [salse]",
        [
            "8:42: node 'air': node 'desk' names 'salse', and there is no such node; "
            "did you mean 'sales'?"
        ],
    ),
    "oneself": (
        "hands_to: [sales]",
        "hands_to: [sales, desk]",
        ["8:49: node 'air': node 'desk' cannot hand over to itself; leave it out"],
    ),
    "nobody hands over": (
        "hands_to: [sales]",
        "hands_to: []",
        [
            "9:7: node 'air': member 'sales' is not `start`, and no member that can speak hands "
            "over to it; name it in the `hands_to` of one, or leave it out"
        ],
    ),
    "an unknown start": (
        "start: desk",
        "start: dask",
        ["6:12: node 'air': start names 'dask', and there is no such member; did you mean 'desk'?"],
    ),
    "no start at all": (
        "start: desk",
        "start: x",
        [
            "6:12: node 'air': start names 'x', and there is no such member; the members are "
            "desk, sales"
        ],
    ),
    "a key of a member": (
        "{role: You sell",
        "{rol: You sell",
        ["9:15: node 'air': node 'sales': unknown key 'rol'; did you mean 'role'?"],
    ),
    "a template of a member": (
        "{role: You sell",
        '{prompt: "{{ node.handover.by }}{% if node.handover %}{{ node.handover.bye }}{% endif %}"',
        [
            "9:27: node 'air': node.handover may be None here; guard it with {% if %}",
            "9:85: node 'air': node.handover has no 'bye'; did you mean 'by'?",
        ],
    ),
    "an edge between members": (
        "{role: You sell",
        "{needs: desk",
        [
            "9:22: node 'air': node 'sales' uses 'desk', but the members of a swarm run only when "
            "the conversation is handed over to them, and read nothing of each other; put what "
            "they all read before the swarm"
        ],
    ),
    "a condition": (
        "{role: You sell",
        "{when: user_id == 'x'",
        [
            "9:15: node 'air': node 'sales': a member of a swarm has no `when`: it runs when the "
            "conversation is handed over to it; remove it"
        ],
    ),
    "a node that gives no answer": (
        "{role: You sell, hands_to: [desk]}",
        "{kind: history-loader}",
        [
            "9:7: node 'air': node 'sales': a history-loader gives no answer, so it cannot be a "
            "member of a swarm"
        ],
    ),
    "a tool of the same name": (
        "{role: You sell",
        '{tools: ["tests.nodes.test_swarm:transfer_to_desk"]',
        [
            "9:22: node 'air': node 'sales': the tool 'transfer_to_desk' is called like the one "
            "that hands over to 'desk'; rename the function"
        ],
    ),
    "two templates": (
        "start: desk",
        "start: desk\n    input: hi {{ input.message }}\n    prompt: hi {{ input.message }}",
        [
            "8:5: node 'air': input and prompt are both templates for the members' message; "
            "remove one"
        ],
    ),
    "more than one can say": (
        "start: desk",
        "start: desk\n    max: 0",
        ["7:10: node 'air': max: must be 1 or more, not 0"],
    ),
    "a history that is unclear": (
        "nodes:",
        "output: air\nnodes:\n  a: {kind: history-loader}\n  b: {kind: history-loader}",
        [
            "8:5: 'history' could be any of a, b; read one by its id, or rename the one that is "
            "meant to 'history'"
        ],
    ),
}


def transfer_to_desk() -> str:
    """A tool with the name of a handover."""
    return ""


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_at_their_places(tmp_path: Path, name: str) -> None:
    before, after, problems = MISTAKES[name]
    path = written(tmp_path, LOAD.replace(before, after, 1))
    assert told(path, allow=["tests"]) == problems


def test_only_the_members_of_a_swarm_hand_over(tmp_path: Path) -> None:
    text = "name: x\nnodes:\n  a: {hands_to: b}\n  b: {needs: a}\n"
    assert told(written(tmp_path, text)) == [
        "3:7: node 'a': hands_to is for the members of a swarm; a router chooses among the nodes "
        "of a graph"
    ]


def test_a_swarm_is_written_and_read_again(tmp_path: Path) -> None:
    path = written(tmp_path, LOAD)
    graph = Graph.load(path)
    assert graph.warnings == ()
    graph.dump(tmp_path / "again.yaml")
    assert Graph.load(tmp_path / "again.yaml") == graph
    graph.dump(path)
    assert path.read_text(encoding="utf-8").endswith(LOAD.partition("nodes:")[2])
    made = Swarm(
        start="desk",
        members={
            "desk": Member(role="You greet", hands_to="sales"),
            "sales": {"role": "You sell", "hands_to": ["desk"]},
        },
    )
    assert graph == Graph(name="x", model="m", nodes={"air": made})
    assert made.written()["members"]["sales"] == {"role": "You sell", "hands_to": ["desk"]}


def test_members_read_the_round_of_a_loop_around_them(tmp_path: Path) -> None:
    text = """
    name: x
    model: m
    nodes:
      talk:
        kind: loop
        max: 2
        until: output == "done"
        graph:
          kind: swarm
          start: desk
          members:
            desk:
              prompt: |
                {{ round.PART }} {% if node.role == "x" and node.role == "y" %}{% endif %}
    """
    assert told(written(tmp_path, text.replace("PART", "numbr"))) == [
        "14:22: node 'talk': round has no 'numbr'; did you mean 'number'?"
    ]
    graph = Graph.load(written(tmp_path, text.replace("PART", "number")))
    assert graph.render("x")["talk[2]/talk[1]/desk"].text.strip() == "2"


def test_what_a_warning_inside_is_about_has_its_place(tmp_path: Path) -> None:
    text = LOAD.replace("sales: {", "sales: {tools: [tests.nodes.test_swarm:seat], ")
    text = text.replace("desk: {", "desk: {tools: [tests.nodes.test_swarm:seat], ")
    assert Graph.load(written(tmp_path, text), allow=["tests"]).warnings == ()
    text += '      odd: {prompt: "{{ round.number }}\\n"}\n'
    graph = Graph.load(written(tmp_path, text.replace("[sales]", "[sales, odd]")), allow=["tests"])
    assert [(each.code, each.line, each.column) for each in graph.warnings] == [("G109", 10, 25)]


def test_a_swarm_made_in_python_can_be_in_several_graphs() -> None:
    opened = team().nodes["air"]
    assert team(opened).nodes["air"] == opened  # type: ignore[arg-type]  # it is a swarm


def test_a_dry_run_renders_each_member_once() -> None:
    rendering = team().render("hello")
    assert list(rendering) == ["air", "air[1]/desk", "air[2]/sales", "air[3]/refunds"]
    assert rendering["air[1]/desk"].text == "I am desk. hello"
    assert rendering["air[3]/refunds"].text.split("\n") == [
        "I am refunds. hello",
        "desk said: «air.reason»",
    ]
    stuck = team().render("hello", session={"node_states": {"air": {"speaker": "refunds"}}})
    assert list(stuck) == ["air", "air[1]/refunds", "air[2]/desk", "air[3]/sales"]
    assert rendering["air"].output == "«air[1]/desk»"
    assert team().render("x", assume={"air": "sold"})["air"].output == "sold"


def test_a_drawing_shows_who_hands_over_to_whom() -> None:
    lines = [line.strip() for line in mermaid(team()).splitlines()]
    assert 'n_air_IN_desk -->|"hands over"| n_air_IN_sales' in lines
    assert 'n_air_IN_refunds -->|"hands over"| n_air_IN_sales' in lines


def test_a_call_that_hands_over_to_nobody_is_told_to_the_model() -> None:
    wrong = [called("transfer_to_pilot"), called("transfer_to_sales", "{}", "3")]
    script = Speaking(desk=[wrong])
    run = runner(script).run("hello")
    assert (run.answer, script.asked) == ("I am desk", ["desk", "desk"])
    first, second = run.records["air[1]/desk"].exchanges[0].tool_results
    assert first.content == (
        "error: there is no tool 'transfer_to_pilot'; there are transfer_to_sales, "
        "transfer_to_refunds"
    )
    assert second.content == (
        "error: the arguments of 'transfer_to_sales' do not fit: reason: Field required; "
        "call it again"
    )


def seat(row: int, context: ToolContext) -> str:
    """Book a seat."""
    context.session_state["row"] = row
    return f"row {row}"


def test_other_calls_of_the_same_reply_are_executed_and_the_first_handover_counts() -> None:
    desk = Member(prompt=PROMPT, hands_to=["sales", "refunds"], tools=[seat])
    members = {**airline().members, "desk": desk}
    calls = [to("sales"), called("seat", '{"row": 4}'), to("refunds", call_id="3")]
    script = Speaking(desk=[calls])
    team_runner = runner(script, team(airline(members=members)))
    run = team_runner.run("hello", session_id="s")
    assert [each.content for each in run.records["air[1]/desk"].exchanges[0].tool_results] == [
        "the conversation goes on with sales",
        "row 4",
        "error: another call was first; the conversation goes on with sales",
    ]
    assert run.answer == "I am sales"
    assert team_runner.session("s").get_head().state == {"row": 4}


@tool(confirm=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def test_a_confirmed_call_is_waited_for_before_the_handover(store: Store) -> None:
    desk = Member(prompt=PROMPT, hands_to=["sales", "refunds"], tools=[pay])
    graph = team(airline(members={**airline().members, "desk": desk}))
    script = Speaking(desk=[[to("sales"), called("pay", '{"amount": 4}')]])
    run = runner(script, graph, store).run("hello", session_id="s", run_id="r")
    assert [question.path for question in run.questions] == ["air[1]/desk/pay[2]"]
    run = runner(script, graph, store).respond("r", {"air[1]/desk/pay[2]": "approve"})
    assert (run.answer, script.asked) == ("I am sales", ["desk", "sales"])
    assert "paid 4" in run.records["air[1]/desk"].exchanges[0].tool_results[1].content


def test_a_person_and_a_graph_may_be_members(store: Store) -> None:
    graph = team(
        airline(
            members={
                "desk": Member(prompt=PROMPT, hands_to=["boss", "research"]),
                "boss": Human(role="Decides"),
                "research": SubGraph(
                    graph={"nodes": {"find": {"prompt": "{{ input.message }}\n"}}}
                ),
            }
        )
    )
    script = Speaking(desk=[to("boss", "too hard"), to("research", "look it up")])
    run = runner(script, graph, store).run("hello", session_id="s", run_id="r")
    (question,) = run.questions
    assert question.path == "air[2]/boss"
    assert question.text.split("\n") == [
        "hello",
        "",
        "desk handed this over to you, because:",
        "> too hard",
    ]
    run = runner(script, graph, store).respond("r", {"air[2]/boss": "No."})
    assert run.answer == "No."
    run = runner(script, graph, store).run("hello", session_id="t")
    assert list(run.records)[-1] == "air[2]/research/find"
    assert words_of(script.requests[-1][1]).split("\n")[:2] == ["hello", ""]
    assert "<handover>\nlook it up\n</handover>" in words_of(script.requests[-1][1])


def test_history_shows_who_spoke(store: Store) -> None:
    prompt = (
        "{% system %}I am {{ node.id }}. "
        "{{ history.runs | map(attribute='speaker') | select | join(',') }}"
        "{% endsystem %}{% messages history.messages %}{% user %}{{ input.message }}{% enduser %}\n"
    )
    members = {
        "desk": Member(prompt=prompt, hands_to="sales"),
        "sales": Member(prompt=prompt),
    }
    graph = team(nodes={"history": HistoryLoader(), "air": airline(members=members)})
    script = Speaking(desk=["what is it?", to("sales")], sales=["sold", "bye"])
    talk = runner(script, graph, store)
    runs = [talk.run(f"m{number}", session_id="s") for number in range(3)]
    assert [each.turn.speaker for each in runs] == ["desk", "sales", "sales"]
    assert [each.speaker for each in talk.session("s").history()] == ["desk", "sales", "sales"]
    assert script.requests[-1][1].messages == (
        Message(role="system", content="I am sales. desk,sales"),
        Message(role="user", content="m0", origin=runs[0].run_id),
        Message(role="assistant", content="what is it?", name="desk", origin=runs[0].run_id),
        Message(role="user", content="m1", origin=runs[1].run_id),
        Message(role="assistant", content="sold", name="sales", origin=runs[1].run_id),
        Message(role="user", content="m2"),
    )
    assert runs[2].records["history"].output == {"from": 1, "to": 2, "summary": 0}


def test_members_read_the_history_of_the_graph_around_them() -> None:
    prompt = "I am {{ node.id }}. {{ history.runs | length }} {{ input.message }}\n"
    swarm = airline(members={"desk": Member(prompt=prompt)})

    def turns(name: str, **options: Any) -> str:
        graph = team(
            Swarm(**{**dict(swarm), **options}), nodes={name: HistoryLoader(), "air": swarm}
        )
        script = Speaking()
        for _ in range(2):
            runner(script, graph, store).run("hello", session_id=name)
        return words_of(script.requests[-1][1])

    store = MemoryStore()
    assert turns("history") == "I am desk. 1 hello"
    assert turns("earlier") == "I am desk. 1 hello"


def streaming(script: Speaking, **options: Any) -> list[Event]:
    members = {
        "desk": airline().members["desk"],
        "sales": Member(prompt=PROMPT),
        "refunds": Member(prompt=PROMPT, hands_to="sales"),
    }
    events = heard(runner(script, team(airline(members=members))), **options)
    holds_together(events)
    return events


def tokens(events: list[Event]) -> list[tuple[str | None, str, bool]]:
    return [(event.node, event.text, event.answer) for event in of(events, Token)]


def test_the_answer_streams_and_a_handover_says_nothing_of_it() -> None:
    events = streaming(Speaking(desk=[to("sales")], sales=["one two three"]))
    assert streamed(events) == "one two three"
    assert tokens(events) == [
        ("air[1]/desk", "well", False),
        ("air", "one ", True),
        ("air", "two ", True),
        ("air", "three", True),
    ]
    assert [event.tool for event in of(events, ToolAnswered)] == ["transfer_to_sales"]
    events = streaming(Speaking(desk=["I am desk"]))
    assert tokens(events) == [("air", "I am desk", True)]


def test_what_was_said_before_a_handover_is_taken_back_where_that_is_possible() -> None:
    script = Speaking(desk=[to("sales")], sales=["one two"])
    events = streaming(script, resets=True)
    shown = [event for event in events if isinstance(event, AnswerReset | Token)]
    assert [getattr(event, "text", None) for event in shown] == ["well", None, "one ", "two"]
    assert [event.node for event in shown] == ["air", "air", "air", "air"]


class Chunked:
    """A model that writes in pieces, whether it is asked to or not."""

    def __init__(self, script: Speaking) -> None:
        self.script = script

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        answer = self.script(request)
        reply = Reply(answer) if isinstance(answer, str) else answer
        for word in reply.text.split():
            yield Chunk(word)
        yield reply


def test_pieces_that_nobody_asked_for_are_held_back_too() -> None:
    model = Chunked(Speaking(desk=[to("sales")], sales=["one"]))
    events = heard(Runner(team(), model=model))
    holds_together(events)
    assert tokens(events) == [("air[1]/desk", "well", False), ("air", "one", True)]


def test_a_resumed_swarm_repeats_no_finished_visit(store: Store) -> None:
    script = Speaking(desk=[to("refunds")], refunds=[ModelError("down", model="m"), to("sales")])
    with pytest.raises(NodeError) as failed:
        runner(script, store=store).run("hello", session_id="s", run_id="r")
    assert str(failed.value) == "node 'air' failed: node 'air[2]/refunds' failed: down"
    events = heard_again(runner(script, store=store), "r")
    holds_together(events)
    assert script.asked == ["desk", "refunds", "refunds", "sales"]
    replayed = [event.node for event in of(events, NodeFinished) if event.replayed]
    assert replayed == ["air[1]/desk"]


def test_a_resumed_swarm_begins_with_whom_it_began(store: Store) -> None:
    down = ModelError("down", model="m")
    script = Speaking(desk=[down, to("sales"), "I am desk"], sales=["sold", down])
    team_runner = runner(script, store=store)
    with pytest.raises(NodeError):
        team_runner.run("hello", session_id="s", run_id="r")
    assert team_runner.run("hello", session_id="s").answer == "sold"
    assert team_runner.resume("r").answer == "I am desk"


def test_a_fork_repeats_a_visit_and_those_after_it(store: Store) -> None:
    script = Speaking(
        desk=[to("refunds")], refunds=[to("sales"), "forked"], sales=["sold", "sold again"]
    )
    team_runner = runner(script, store=store)
    run = team_runner.run("hello", session_id="s")
    assert team_runner.fork(run.run_id, node="air[3]/sales").answer == "sold again"
    forked = team_runner.fork(run.run_id, node="air[2]/refunds")
    assert (forked.answer, list(forked.records)) == (
        "forked",
        ["air", "air[1]/desk", "air[2]/refunds"],
    )
    assert team_runner.session(forked.session_id).get_head().node_states == {
        "air": {"speaker": "refunds"}
    }


def test_a_changed_member_is_asked_again_with_all_that_follow(store: Store) -> None:
    script = Speaking(
        desk=[to("refunds")], refunds=[to("sales")], sales=[ModelError("x", model="m")]
    )
    with pytest.raises(NodeError):
        runner(script, store=store).run("hello", session_id="s", run_id="r")
    changed = {**airline().members, "refunds": Member(prompt=PROMPT, role="New", hands_to="desk")}
    again = runner(
        script, team(airline(members={**changed, "desk": airline().members["desk"]})), store
    )
    with pytest.raises(Changed, match="refunds"):
        again.resume("r")
    assert again.resume("r", reuse_unchanged=True).answer == "I am refunds"
    assert script.asked == ["desk", "refunds", "sales", "refunds"]


def test_a_failed_member_fails_the_swarm_or_is_what_its_on_error_says() -> None:
    def answered(**options: Any) -> str | None:
        sales = Member(prompt=PROMPT, hands_to="desk", **options)
        script = Speaking(
            desk=[to("sales")], sales=[ModelError("down", model="m", retryable=True)] * 2
        )
        return (
            runner(script, team(airline(members={**airline().members, "sales": sales})))
            .run("x")
            .answer
        )

    assert answered(on_error={"value": "sorry"}) == "sorry"
    assert answered(retry={"times": 2, "wait": 0.001}) == "I am sales"
    with pytest.raises(NodeError, match=r"every node that could answer was skipped: sales \(it"):
        answered(on_error="skip")


def test_the_budget_covers_every_visit() -> None:
    script = Speaking(desk=[to("sales")] * 9, sales=[to("desk")] * 9)
    with pytest.raises(BudgetExceeded, match="used 3 calls"):
        runner(script, team(budget={"calls": 3})).run("hello")


def test_a_swarm_runs_in_loops_and_maps() -> None:
    script = Speaking(desk=[to("sales"), to("sales")], sales=["a", to("desk"), "b"])
    loop = Loop(graph=airline(), until="round.number == 2", max=2)
    run = runner(script, Graph(name="x", model="m", nodes={"l": loop})).run("hello")
    assert list(run.records) == [
        "l",
        "l[1]/l",
        "l[1]/l[1]/desk",
        "l[1]/l[2]/sales",
        "l[2]/l",
        "l[2]/l[1]/sales",
        "l[2]/l[2]/desk",
        "l[2]/l[3]/sales",
    ]
    script = Speaking(desk=[to("sales")] * 2)
    items = Map(graph=airline(), over="['a', 'b']", max_parallel=1)
    run = runner(script, Graph(name="x", model="m", nodes={"m": items})).run("hello")
    assert run.records["m"].output == ["I am sales", "I am sales"]
