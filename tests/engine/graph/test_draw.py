"""The drawing of a graph: what it shows, and that no text can change its structure."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from teamgraph import Graph
from teamgraph.engine.graph.draw import mermaid
from teamgraph.nodes import HistoryLoader, Loop, Member, Python, Router, Summarizer


def desk() -> Graph:
    return Graph(
        name="desk",
        nodes={
            "history": HistoryLoader(),
            "router": Router(
                routes={"billing": "Money", "it": {"to": ["end", "wizard"], "about": "Machines"}},
                default="it",
            ),
            "billing": Member(role="You know the prices"),
            "end": Member(),
            "wizard": Member(
                role="You know a great deal about machines and about their many parts"
            ),
            "summary": Summarizer(needs=["billing", "end", "wizard"]),
        },
        output=["billing", "end", "wizard"],
    )


def test_routes_carry_their_labels() -> None:
    drawing = mermaid(desk())
    assert '    n_router -->|"billing"| n_billing\n' in drawing
    assert '    n_router -->|"it"| n_end\n' in drawing
    assert '    n_router -->|"it"| n_wizard\n' in drawing


def test_what_is_only_read_is_dashed_and_drawn_once() -> None:
    drawing = mermaid(desk())
    assert drawing.count("n_history -.-> n_router\n") == 1
    assert "n_billing --> n_summary\n" in drawing
    assert "n_billing -.->" not in drawing


def test_every_node_shows_its_kind_and_its_role_in_short() -> None:
    drawing = mermaid(desk())
    assert '    n_history[("history<br/>(history-loader)")]\n' in drawing
    assert '    n_router{"router<br/>(router)"}\n' in drawing
    assert '    n_billing["billing<br/>(member)<br/>You know the prices"]\n' in drawing
    assert '    n_summary(["summary<br/>(summarizer)"])\n' in drawing
    assert "parts" not in drawing
    assert " …" in drawing


def test_nodes_that_answer_are_marked() -> None:
    assert "    class n_billing,n_end,n_wizard answer\n" in mermaid(desk())


def test_a_graph_of_one_node_needs_no_other_class() -> None:
    graph = Graph(name="one", nodes={"only": Python(call=print)})
    drawing = mermaid(graph)
    assert 'n_only[["only<br/>(python)"]]' in drawing
    assert drawing.endswith("    class n_only answer\n")


def test_several_labels_to_one_node_stand_on_one_arrow() -> None:
    routes = {"one": {"to": "a"}, "two": {"to": "a"}, "b": ""}
    graph = Graph(
        name="t",
        nodes={"router": Router(routes=routes), "a": Member(), "b": Member()},
        output=["a", "b"],
    )
    assert '|"one, two"| n_a\n' in mermaid(graph)


@given(st.text(max_size=40), st.text(min_size=1, max_size=20).filter(lambda label: label != "b"))
def test_no_role_and_no_label_can_change_the_structure(role: str, label: str) -> None:
    graph = Graph(
        name="t",
        nodes={
            "router": Router(routes={label: {"to": "a"}, "b": "other"}, default="b"),
            "a": Member(role=role),
            "b": Member(),
        },
        output=["a", "b"],
    )
    lines = mermaid(graph).splitlines()
    plain = [re.sub(r'"[^"]*"', '""', line) for line in lines]
    assert plain[:6] == [
        "flowchart TD",
        '    n_router{""}',
        '    n_a[""]',
        '    n_b[""]',
        '    n_router -->|""| n_a',
        '    n_router -->|""| n_b',
    ]
    inside = "".join(re.findall(r'"([^"]*)"', "\n".join(lines))).replace("<br/>", "")
    assert not set("<>`|{}[]") & set(inside)


def test_a_graph_inside_a_node_is_drawn_in_its_frame() -> None:
    inner = {"nodes": {"writer": Member(role="You write"), "critic": Member(needs="writer")}}
    loop = Loop(graph={**inner, "output": "writer"}, until="critic.output == 'good'", max=3)
    tool = {"graph": {"role": "A poet"}, "name": "poet", "about": "Writes poems"}
    nodes = {"draft": loop, "last": Member(needs="draft", tools=[tool])}
    drawing = mermaid(Graph(name="x", nodes=nodes, output="last"))
    assert (
        '    subgraph n_draft["draft (loop)"]\n'
        '        n_draft_IN_writer["writer<br/>(member)<br/>You write"]\n'
        '        n_draft_IN_critic["critic<br/>(member)"]\n'
        "        n_draft_IN_writer --> n_draft_IN_critic\n"
        "    end\n"
    ) in drawing
    assert "    n_draft --> n_last\n" in drawing
    assert '            n_last_IN_poet_IN_poet["poet<br/>(member)<br/>A poet"]\n' in drawing
    assert "    class n_draft,n_draft_IN_critic node_\n" in drawing
