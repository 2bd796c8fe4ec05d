"""The drawing of a graph as SVG: what it shows, and that no text can change it."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from teamgraph import Graph
from teamgraph.engine.view.drawing import graph_svg, svg_file
from teamgraph.nodes import HistoryLoader, Loop, Map, Member, Python, Router, Summarizer, Swarm

SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "desc", "g", "path", "rect", "text", "a"}
ATTRIBUTES = {
    *("class", "role", "width", "height", "viewBox", "fill", "stroke", "font-family", "font-size"),
    *("text-anchor", "transform", "data-node", "data-from", "data-to", "d", "x", "y", "rx", "href"),
    *("stroke-dasharray", "stroke-linecap"),
}


def desk() -> Graph:
    return Graph(
        name="desk",
        model="openai/gpt-5-mini",
        nodes={
            "history": HistoryLoader(),
            "router": Router(
                routes={"billing": "Money", "it": {"to": ["wizard"], "about": "Machines"}},
                default="it",
            ),
            "billing": Member(role="You know the prices", model={"id": "local"}),
            "wizard": Member(tools=["read_chat_history"], needs="summary_of_old"),
            "summary_of_old": Python(call=print, reads="router"),
            "summary": Summarizer(needs=["billing", "wizard"]),
        },
        output=["billing", "wizard"],
    )


def nested() -> Graph:
    inner = Graph(name="inner", nodes={"a": Member(), "b": Member(needs="a")}, output="b")
    loop = {"nodes": {"w": Member(), "c": Member(needs="w")}, "output": "w"}
    members = {
        "first": Member(role="greets", hands_to="second"),
        "second": Member(role="sells", hands_to="first"),
    }
    return Graph(
        name="nested",
        nodes={
            "draft": Loop(graph=loop, until="c.output == 'good'", max=3),
            "each": Map(graph=inner, over="[draft.output]"),
            "talk": Swarm(members=members, start="first", needs="each"),
        },
        output="talk",
    )


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314  ours


def nodes_of(root: ET.Element) -> dict[str, ET.Element]:
    return {each.attrib["data-node"]: each for each in root.iter() if "data-node" in each.attrib}


def edges_of(root: ET.Element) -> set[tuple[str, str, str]]:
    edges = [each for each in root.iter() if each.get("class", "").startswith("edge ")]
    return {
        (each.attrib["class"], each.attrib["data-from"], each.attrib["data-to"]) for each in edges
    }


def test_nodes_and_lines_have_the_classes_and_names_that_pages_look_for() -> None:
    root = parsed(graph_svg(desk(), {"router": "finished", "billing": "running", "wizard": "odd"}))
    classes = {path: node.attrib["class"] for path, node in nodes_of(root).items()}
    assert classes == {
        "history": "node kind-history-loader",
        "router": "node kind-router state-finished",
        "billing": "node kind-member answer state-running",
        "wizard": "node kind-member answer",
        "summary_of_old": "node kind-python",
        "summary": "node kind-summarizer",
    }
    assert edges_of(root) == {
        ("edge route", "router", "billing"),
        ("edge route", "router", "wizard"),
        ("edge data", "router", "summary_of_old"),
        ("edge data", "history", "router"),
        ("edge data", "history", "billing"),
        ("edge data", "history", "wizard"),
        ("edge needs", "summary_of_old", "wizard"),
        ("edge needs", "billing", "summary"),
        ("edge needs", "wizard", "summary"),
    }
    marks = {
        path: node.findall(f"{SVG}text[@class='mark']") for path, node in nodes_of(root).items()
    }
    assert {path: each[0].text for path, each in marks.items() if each[0].text} == {
        "router": "✓",
        "billing": "▶",
    }
    labels = [each.text for each in root.iter(f"{SVG}text") if each.attrib["class"] == "label"]
    assert labels == ["billing", "it"]


def test_the_pointer_and_a_screen_reader_are_told_what_a_node_is() -> None:
    root = parsed(graph_svg(desk(), {"router": "finished"}))
    titles = {path: node.findtext(f"{SVG}title") for path, node in nodes_of(root).items()}
    assert titles["router"] == (
        "router: router; model openai/gpt-5-mini; prompt router.jinja; finished"
    )
    assert titles["billing"] == "billing: member; model local; prompt member.jinja"
    assert titles["wizard"] is not None
    assert titles["wizard"].endswith("prompt member.jinja; tools read_chat_history")
    assert titles["summary_of_old"] == "summary_of_old: python"
    assert (root.get("role"), root.findtext(f"{SVG}title")) == ("img", "desk")
    described = root.findtext(f"{SVG}desc")
    assert described is not None
    assert "Routes: router leads to billing (billing)" in described
    assert described.endswith("Answers: billing, wizard.")


def test_a_graph_inside_a_node_is_drawn_in_its_frame() -> None:
    root = parsed(graph_svg(nested(), {"draft[1]/w": "failed", "draft[2]/w": "finished"}))
    nodes = nodes_of(root)
    assert "frame" in nodes["draft"].attrib["class"].split()
    assert nodes["draft/w"].attrib["class"] == "node kind-member answer state-finished"
    assert [each.text for each in nodes["draft"].iter(f"{SVG}text")][:2] == [
        "draft (loop)",
        "until c.output == 'good'",
    ]
    assert "for each of [draft.output]" in "".join(nodes["each"].itertext())
    assert {"each/a", "each/b", "talk/first", "talk/second"} <= nodes.keys()
    assert {("edge handover", "first", "second"), ("edge handover", "second", "first")} <= edges_of(
        root
    )


def test_each_node_is_a_link_where_a_page_wants_it() -> None:
    root = parsed(graph_svg(nested(), link=lambda path: f"#node-{path}&"))
    links = {each.attrib["href"]: each for each in root.iter(f"{SVG}a")}
    assert links.keys() == {f"#node-{path}&" for path in nodes_of(root)}
    assert root.get("role") == "group"
    assert all(not list(each.iter(f"{SVG}a"))[1:] for each in links.values())


def test_a_file_has_its_style_and_needs_no_variables() -> None:
    drawn = svg_file(desk())
    root = parsed(drawn.text)
    assert (root.get("width"), root.get("height")) == (str(drawn.width), str(drawn.height))
    style = root.findtext(f"{SVG}style")
    assert style is not None
    assert "prefers-color-scheme: dark" in style
    assert "var(" not in style
    assert ":root" not in style
    assert root.find(f"{SVG}rect[@class='paper']") is not None


HOSTILE = [
    "</title><script>alert(1)</script>",
    "\" onload='alert(1)' x=\"",
    "<svg onload=alert(1)>",
    "{{ 7 * 7 }} {% raw %} {0} {name}",
    "\x1b[31m\x00\x9b\u202ereversed\u2066\ufeff\uffff",
    "]]> <!-- <![CDATA[",
    "\n\n    \r\x0b",
    "字e\u0301" * 200,
    "a" * 3000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_can_change_the_drawing(text: str) -> None:
    graph = Graph(
        name=text,
        description=text,
        nodes={
            "r": Router(routes={text: {"to": "a"}, "b": text}, description=text),
            "a": Member(role=text, model={"id": "local"}),
            "b": Loop(
                graph={"nodes": {"c": Member(role=text)}, "output": "c"}, until=repr(text), max=1
            ),
        },
        output=["a", "b"],
    )
    for drawn in (graph_svg(graph, {"a": text, text: "finished"}), svg_file(graph).text):
        root = parsed(drawn)
        names = {each.tag.removeprefix(SVG) for each in root.iter()} - {"style"}
        assert names <= ELEMENTS
        assert {name for each in root.iter() for name in each.attrib} <= ATTRIBUTES
        assert nodes_of(root).keys() == {"r", "a", "b", "b/c"}
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", drawn)
        assert float(root.attrib["width"]) < 2000
        drawn.encode()
