"""A dry run shows what a real run would send, without a model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest

from teamgraph import JSON, Graph, MemoryStore, Message, Rendering, Runner
from teamgraph.engine.run.dry_run.rehearsal import Scene, render_all
from teamgraph.errors import InputError, NodeError, NotFound
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import HistoryLoader, Leader, Member, Python, Router, SubGraph, Summarizer
from tests.builders import written
from tests.teams import desk, desk_model

ROOT = Path(__file__).parents[4]


def messages(rendering: Rendering) -> dict[str, list[tuple[Message, ...]]]:
    return {
        node_id: [prompt.messages for prompt in node.prompts] for node_id, node in rendering.items()
    }


def test_what_is_rendered_is_what_a_run_sends() -> None:
    graph, store = desk(), MemoryStore()
    runner = Runner(graph, store=store, model=desk_model())
    runner.run("hello", session_id="s")
    run = runner.run("and now?", session_id="s")
    rendering = graph.render(
        "and now?",
        assume={"router": "french", "french": "Bonjour mon ami"},
        history=[{"input": "hello", "answer": "Bonjour mon ami"}],
    )
    sent = {
        node_id: [
            tuple(one.model_copy(update={"origin": None}) for one in exchange.messages)
            for exchange in record.exchanges
        ]
        for node_id, record in run.records.items()
    }
    del sent["summary"]  # its prompt has the summary of the turn before, which nobody gave here
    shown = {
        node_id: [
            tuple(one.model_copy(update={"origin": None}) for one in each) for each in prompts
        ]
        for node_id, prompts in messages(rendering).items()
        if node_id != "summary"
    }
    assert shown == sent
    assert list(rendering) == list(graph.plan.order)


def test_a_session_is_described_by_its_summary_history_state_and_turns() -> None:
    prompt = "{{ session.id }} {{ session.turns }} {{ session.summary or '' }} "
    prompt += "{{ history.summary or '' }}\n"
    prompt += (
        "{{ session.state.mood }} {{ user_id or '' }} {{ node.state.seen }} {{ now }} {{ run.id }}"
    )
    nodes: dict[str, Node] = {
        "history": HistoryLoader(),
        "member": Member(prompt=prompt),
        "summary": Summarizer(needs="member"),
    }
    graph = Graph(name="t", nodes=nodes, state={"mood": "calm"}, output="member")
    rendering = graph.render(
        history=[("hi", "hello")],
        state={"mood": "glad"},
        session={
            "id": "s1",
            "summary": "they met",
            "turns": 7,
            "node_states": {"member": {"seen": 3}},
        },
        user_id="ana",
    )
    assert rendering["member"].text.splitlines() == [
        "s1 7 they met they met",
        "glad ana 3 2000-01-01 00:00:00+00:00 run-1",
    ]


def test_messages_will_do_for_turns() -> None:
    graph = Graph(name="t", nodes={"history": HistoryLoader(), "member": Member()})
    said = [{"role": "user", "content": "hi"}, Message(role="assistant", content="hello")]
    assert graph.render(history=said).get("member") == graph.render(  # type: ignore[arg-type]  mixed
        history=[{"input": "hi", "answer": "hello"}]
    ).get("member")


def test_python_and_yaml_render_alike() -> None:
    loaded = Graph.load(ROOT / "graphs" / "polyglot.yaml")
    made = Graph(
        name="polyglot",
        nodes={
            "history": HistoryLoader(runs=5),
            "router": Router(
                routes={
                    "english": "The user writes English",
                    "chinese": "The user writes Chinese",
                    "french": "The user writes French",
                },
                default="english",
            ),
            "english": Member(role="You answer questions in English"),
            "chinese": Member(role="You answer questions in Chinese"),
            "french": Member(role="You answer questions in French"),
            "summary": Summarizer(needs=["english", "chinese", "french"]),
        },
        output=["english", "chinese", "french"],
    )
    given: dict[str, Any] = {"assume": {"router": "chinese"}, "history": [("a", "b")]}
    assert dict(loaded.render("x", **given)) == dict(made.render("x", **given))


def test_two_processes_without_litellm_render_the_same_bytes() -> None:
    code = """
import sys
sys.modules["litellm"] = None
from teamgraph import Graph
from teamgraph.engine.testing.snapshot_text import snapshot
for rendering in Graph.load("graphs/polyglot.yaml").render_all(history=[("a", "b")]):
    sys.stdout.buffer.write(snapshot(rendering, "x").encode())
"""
    shown = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert shown[0] == shown[1]
    assert shown[0].count(b"# polyglot / x") == 3


def test_a_router_goes_where_it_is_assumed_to_go_or_its_first_way() -> None:
    graph = desk()
    assert graph.render(assume={"router": "french"}).routes == {"router": ("french",)}
    rendering = graph.render()
    assert rendering.routes == {"router": ("english",)}
    assert rendering["french"].because == "router chose english"
    assert rendering["french"].is_skipped
    assert rendering["french"].template is None
    assert rendering["router"].template == "router.jinja"
    schema = rendering["router"].prompts[0].response_format
    assert schema is not None
    assert schema["title"] == "choice"


def rules() -> Graph:
    ruled = {"to": ["refund"], "when": "'money' in input.message"}
    open_way = {"to": ["clerk"], "about": "all else"}
    nodes: dict[str, Node] = {
        "router": Router(routes={"refund": ruled, "clerk": open_way}),  # type: ignore[dict-item]  as in a file
        "refund": Member(prompt="{{ router.reason }}\n"),
        "clerk": Member(),
    }
    return Graph(name="rules", nodes=nodes, output=["refund", "clerk"])


def test_an_assumption_goes_before_the_rules_of_a_router() -> None:
    graph = rules()
    assert graph.render("money back").routes == {"router": ("refund",)}
    assert not graph.render("money back")["router"].prompts
    assumed = graph.render("hello", assume={"router": "refund"})
    assert assumed["refund"].text == "«router.reason»"
    assert graph.render("money back", assume={"router": "clerk"})["refund"].is_skipped


def test_a_router_with_nothing_but_rules_goes_where_it_is_assumed_to_go() -> None:
    nodes: dict[str, Node] = {
        "router": Router(
            routes={"a": {"to": ["x"], "when": "false"}, "b": {"to": ["x", "y"], "when": "false"}},  # type: ignore[dict-item]  as in a file
            select="many",
            default="a",
        ),
        "x": Member(),
        "y": Member(),
    }
    graph = Graph(name="t", nodes=nodes, output=["x", "y"])
    assert graph.render().routes == {"router": ("a",)}
    rendering = graph.render(assume={"router": ["b", "a"]})
    assert rendering.routes == {"router": ("a", "b")}
    assert rendering["router"].output == ["a", "b"]


def test_every_way_is_rendered_once() -> None:
    nodes: dict[str, Node] = {
        "first": Router(routes={"second": "", "last": ""}),
        "second": Router(routes={"a": "", "b": ""}, select="many", allow_none=True, tasks=True),
        "a": Member(),
        "b": Member(),
        "last": Leader(needs=["a", "b"], join="always"),
    }
    graph = Graph(name="t", nodes=nodes, output="last")
    assert [rendering.routes for rendering in graph.render_all()] == [
        {"first": ("second",), "second": ()},
        {"first": ("second",), "second": ("a",)},
        {"first": ("second",), "second": ("b",)},
        {"first": ("second",), "second": ("a", "b")},
        {"first": ("last",)},
    ]
    ways = graph.render_all(assume={"first": "second", "second": ["a"]})
    assert [rendering["a"].text.count("«second.task»") for rendering in ways] == [1]
    with pytest.raises(InputError, match="more than 3 combinations"):
        render_all(graph, Scene(), limit=3)


def test_placeholders_fit_what_nodes_return_and_their_readers_see_them() -> None:
    returns = {"lang": "english|french", "sure": "float?", "names": "list[str]"}
    nodes: dict[str, Node] = {
        "triage": Member(returns=returns),
        "lookup": Python(call=prices),
        "notes": Python(call=untold),
        "answer": Member(
            prompt="{{ triage.output.lang }} {{ triage.output.names | join }}\n"
            "{{ lookup.output | join(', ') }} {{ notes.output }}",
        ),
    }
    graph = Graph(name="t", nodes=nodes, output="answer")
    rendering = graph.render()
    assert rendering["answer"].text == "english «triage.names[0]»\n«lookup[0]» «notes»"
    assert rendering["lookup"].prompts == ()
    given = {"triage": {"lang": "french", "names": ["Al"], "sure": 0.5}, "lookup": ["one", "two"]}
    assert graph.render(assume=given)["answer"].text == "french Al\none, two «notes»"


def prices() -> list[str]:
    raise AssertionError("a dry run calls nobody's function")


def untold() -> Unknown:  # type: ignore[name-defined]  # noqa: F821  that is the point
    raise AssertionError("a dry run calls nobody's function")


class Page(TypedDict):
    url: str
    tags: NotRequired[list[str]]


@dataclass
class Found:
    pages: list[str]
    at: tuple[int, str]
    note: str | None = None


class Finder:
    def __call__(self) -> list[Page]:
        raise AssertionError("a dry run calls nobody's function")


def find_page() -> Page:
    raise AssertionError("a dry run calls nobody's function")


async def find() -> Found:
    raise AssertionError("a dry run calls nobody's function")


@pytest.mark.parametrize(
    ("call", "reads", "sample"),
    [
        (find_page, "x.url }} {{ x.tags[0] if x.tags", {"url": "«f.url»", "tags": ["«f.tags[0]»"]}),
        (Finder(), "x[0].url if x", [{"url": "«f[0].url»", "tags": ["«f[0].tags[0]»"]}]),
        (
            partial(find),
            "x.at[1]",
            {"pages": ["«f.pages[0]»"], "at": [0, "«f.at[1]»"], "note": "«f.note»"},
        ),
    ],
)
def test_a_function_gives_a_sample_of_the_type_that_it_is_annotated_with(
    call: Callable[..., object], reads: str, sample: JSON
) -> None:
    prompt = f"{{% set x = f.output %}}\n{{{{ {reads} }}}}\n"
    graph = Graph(name="t", nodes={"f": Python(call=call), "a": Member(prompt=prompt)})
    rendering = graph.render()
    assert rendering["f"].output == sample
    assert "«" in rendering["a"].text


def test_a_sample_of_an_unknown_type_that_does_not_do_says_how_to_go_on() -> None:
    nodes: dict[str, Node] = {
        "lookup": Python(call=untold),
        "answer": Member(prompt="{{ lookup.output.url }}\n"),
    }
    inner = Graph(name="t", nodes=nodes)
    outer = Graph(name="o", nodes={"team": SubGraph(graph=inner)})
    for graph, path in ((inner, "lookup"), (outer, "team/lookup")):
        with pytest.raises(NodeError, match="'url' may be missing here") as caught:
            graph.render()
        advice = f"output of '{path}' is a sample: annotate what its function returns, or assume"
        assert advice in str(caught.value)
        assert f"--assume {path}=..., in Python assume={{'{path}': ...}}" in str(caught.value)
        assert caught.value.run is not None
        path_of_reader = path.replace("lookup", "answer")
        rendering = graph.render(assume={path: {"url": "/a"}})
        assert rendering[path_of_reader].text == "/a"
        with pytest.raises(NodeError) as caught:
            graph.render(assume={path: {"uri": "/a"}})
        assert "is a sample" not in str(caught.value)


def test_a_summary_is_assumed_as_text_or_as_its_fields() -> None:
    for given in ("in short", {"summary": "in short", "topics": ["a"]}):
        assert desk().render(assume={"summary": given})["summary"].output == "in short"


def test_a_turn_in_which_nobody_answers_is_rendered_too() -> None:
    graph = Graph(name="t", nodes={"member": Member(when="session.turns > 0")})
    assert graph.render()["member"].because == "when: session.turns > 0 is false"
    assert not graph.render(history=[("a", "b")])["member"].is_skipped


def test_a_template_that_fails_is_not_skipped_in_silence() -> None:
    graph = Graph(
        name="t", nodes={"member": Member(prompt="{{ 1 // session.turns }}\n", on_error="skip")}
    )
    with pytest.raises(NodeError, match="zero"):
        graph.render()
    with pytest.raises(NodeError, match="zero"):
        Graph(name="t", nodes={"member": Member(prompt="{{ 1 // session.turns }}\n")}).render()


def test_a_budget_is_not_spent() -> None:
    graph = Graph(
        name="t",
        nodes={"one": Member(), "two": Member(needs="one")},
        budget={"calls": 1},  # type: ignore[arg-type]  as in a file
        output="two",
    )
    assert graph.render()["two"].prompts


class Echo(Node):
    """A kind that says what it likes, without a model."""

    prompts = False

    async def run(self, context: Context) -> Result:
        return Result(context.input.message.upper())


def test_a_kind_without_effects_runs_and_can_be_assumed() -> None:
    graph = Graph(name="t", nodes={"echo": Echo()})
    assert graph.render("hello")["echo"].output == "HELLO"
    assert graph.render("hello", assume={"echo": {"any": 1}})["echo"].output == {"any": 1}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"assume": {"ruter": "french"}}, "no node 'ruter'; did you mean 'router'"),
        ({"assume": {"xyz": "french"}}, "no node 'xyz'; it has history, router"),
        ({"assume": {"router": "frnch"}}, "no route 'frnch'; did you mean 'french'"),
        ({"assume": {"router": "klingon"}}, "no route 'klingon'; it has english, french"),
        ({"assume": {"router": [{}]}}, "no route {}; it has english, french"),
        ({"assume": {"english": " "}}, "'english' answers with text, not with ' '"),
        (
            {"assume": {"router": 3}},
            "'router' is a router; give one of its labels: english, french",
        ),
        ({"assume": {"router": ["english", "french"]}}, "takes 1 of its labels at once, not 2"),
        ({"assume": {"history": "x"}}, "give it as `history`"),
        ({"assume": {"english": ["x"]}}, "'english' answers with text, not with"),
        ({"history": [{"role": "user", "content": "x"}]}, "history: item 1 does not fit"),
        ({"history": [{"role": "assistant", "content": "x"}]}, "history: item 1 does not fit"),
        ({"history": [3]}, "history: item 1 does not fit"),
        ({"session": {"sumary": "x"}}, "no 'sumary' in it; did you mean 'summary'"),
        ({"session": {"xyz": "x"}}, "no 'xyz' in it; it has id, summary"),
        ({"session": {"summary": 3}}, "the summary must be text"),
        ({"session": {"turns": 0}, "history": [("a", "b")]}, "but the history has 1 of them"),
        ({"session": {"id": ""}}, "the id must be text"),
        ({"session": {"node_states": 3}}, "node_states must map node ids"),
        ({"message": " "}, "the message is empty"),
    ],
)
def test_what_does_not_hold_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        desk().render(**given)
    assert told in str(caught.value)


def test_a_value_that_does_not_fit_what_the_node_returns_is_told() -> None:
    graph = Graph(name="t", nodes={"triage": Member(returns={"lang": "english|french"})})
    with pytest.raises(InputError, match=r"'triage' gives does not fit what it returns: .*lang"):
        graph.render(assume={"triage": {"lang": "frnch"}})


def test_where_nothing_can_stand_in_the_way_out_is_told(tmp_path: Path) -> None:
    written(
        tmp_path,
        '{"type": "object", "required": ["code"], "additionalProperties": false,'
        ' "properties": {"code": {"type": "string", "pattern": "^[A-Z]{3}$"}}}',
        name="code.json",
    )
    path = written(tmp_path, "name: t\nnodes:\n  coder: {returns: code.json}\n")
    graph = Graph.load(path)
    with pytest.raises(InputError, match="no sample fits what it returns"):
        graph.render()
    assert graph.render(assume={"coder": {"code": "ABC"}})["coder"].output == {"code": "ABC"}


def test_a_rendered_node_gives_its_words() -> None:
    node = desk().render("hi")["english"]
    assert node.system.startswith("You speak English")
    assert node.text.endswith("hi")
    assert [message.role for message in node.messages] == ["system", "user"]
    assert len(desk().render()) == 5


def test_a_runner_shows_the_prompts_of_the_next_turn_of_its_sessions() -> None:
    runner = Runner(desk(), model=desk_model())
    runner.run("I am Ana", user_id="u", session_id="s")
    rendering = runner.render("Who am I?", assume={"router": "french"}, user_id="u", session_id="s")
    words = [message.content for message in rendering["french"].messages]
    assert words[1:] == ["I am Ana", "Bonjour mon ami", "Who am I?"]
    assert len(runner.render("Who am I?", state={"a": 1})["english"].messages) == 2
    with pytest.raises(NotFound, match="user 'v' has no session 's'"):
        runner.render("Who am I?", user_id="v", session_id="s")


def nested() -> Graph:
    inner = Graph(
        name="inner",
        nodes={
            "router": Router(routes={"a": "", "b": ""}),
            "a": Member(returns={"word": "str"}),
            "b": Member(),
        },
        output=["a", "b"],
    )
    nodes: dict[str, Node] = {
        "team": SubGraph(graph=inner),
        "last": Member(prompt="{{ team.output | written }}\n"),
    }
    return Graph(name="outer", nodes=nodes, output="last")


def test_the_prompts_of_a_graph_inside_are_rendered_by_their_paths() -> None:
    graph = nested()
    ways = graph.render_all("hello")
    assert [way.routes for way in ways] == [{"team/router": ("a",)}, {"team/router": ("b",)}]
    assert list(ways[0]) == ["team", "team/router", "team/a", "team/b", "last"]
    assert ways[0]["team/a"].text.endswith("hello")
    assert ways[0]["team/b"].because == "router chose a"
    assert ways[1]["last"].text == "«team/b»"
    given = {"team/router": "a", "team/a": {"word": "yes"}}
    assert graph.render(assume=given)["last"].text == '{"word": "yes"}'


@pytest.mark.parametrize(
    ("assume", "told"),
    [
        ({"team/c": "x"}, "graph 'inner' has no node 'c'"),
        ({"last/c": "x"}, "node 'last' has no inner graph, so it has no 'c'"),
        ({"team/router": "c"}, "node 'team/router' has no route 'c'"),
        ({"team/a": {"wrd": "x"}}, "what node 'team/a' gives does not fit"),
    ],
)
def test_assumptions_of_a_graph_inside_that_do_not_hold_are_told(
    assume: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError) as caught:
        nested().render(assume=assume)
    assert told in str(caught.value)


def test_the_tools_that_are_offered_are_shown() -> None:
    graph = Graph(name="t", nodes={"member": Member(tools=[weather])})
    (tool,) = graph.render()["member"].prompts[0].tools
    assert "weather" in str(tool)


def weather(place: str) -> str:
    """Say what the weather is like."""
    raise AssertionError(f"a dry run calls no tool: {place}")
