"""What a notebook shows of a graph, a run and a rendering."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from teamgraph import Graph, Run, Runner, ScriptedModel, SessionKey, Turn
from teamgraph.errors import NodeError
from teamgraph.nodes import HistoryLoader, Human, Member, Router

TAGS = {
    *("style", "div", "p", "pre", "table", "tr", "th", "td", "svg", "title", "desc", "g", "path"),
    *("rect", "text", "ol", "li", "span", "thead", "tbody", "caption"),
}


class _Tags(HTMLParser):
    """The tags of a piece, with their attributes; fails for one that is none of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        for name, _ in attrs:
            assert not name.startswith("on")
            assert name not in {"style", "href", "src", "srcdoc"}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def seen(piece: str) -> str:
    tags = _Tags()
    tags.feed(piece)
    tags.close()
    assert tags.found <= TAGS
    return "".join(tags.texts)


def desk() -> Graph:
    routes = {"money": "prices", "it": "machines"}
    return Graph(
        name="desk",
        nodes={
            "history": HistoryLoader(),
            "router": Router(routes=routes),
            "money": Member(role="You know the prices"),
            "it": Member(),
        },
        output=["money", "it"],
    )


def answered(answer: str = "Two <b>euros</b>", message: str = "How much?") -> Run:
    model = ScriptedModel(['{"choice": "money"}', answer])
    return Runner(desk(), model=model).run(message, session_id="s", run_id="r1")


def test_a_graph_draws_itself() -> None:
    piece = desk()._repr_html_()
    assert piece.count("<svg") == 1
    assert "You know the prices" in seen(piece)
    assert repr(desk()) == str(desk()) == "Graph('desk', 4 nodes)"
    assert repr(Graph(name="one\n", nodes={"a": {}})) == "Graph('one\\n', 1 node)"


def test_a_run_shows_its_answer_and_what_each_node_did() -> None:
    run = answered()
    text = seen(run._repr_html_())
    for part in ("How much?", "Two <b>euros</b>", "run r1, done", "router", "router chose money"):
        assert part in text
    assert repr(run) == "Run('r1', done, 'Two <b>euros</b>')"
    assert repr(answered("word " * 100)).endswith(" word word…')")


def test_a_run_without_answer_shows_its_question_or_its_error() -> None:
    asks = Graph(
        name="g", nodes={"h": Human(prompt="{{ 'May I?' }}", options=["yes", "no"])}, output="h"
    )
    waiting = Runner(asks).run("hi", session_id="s")
    assert "May I?" in seen(waiting._repr_html_())
    with pytest.raises(NodeError) as caught:
        Runner(desk(), model=ScriptedModel([])).run("hi", session_id="s")
    failed = caught.value.run
    assert failed is not None
    assert "the script has 0 answers" in seen(failed._repr_html_())
    assert "failed, \"node 'router'" in repr(failed)
    assert repr(Run(SessionKey(None, "s"), Turn("r", "hi"))) == "Run('r', running, '')"


def test_a_rendering_shows_its_messages() -> None:
    rendering = desk().render("How much?", assume={"router": "money"})
    text = seen(rendering._repr_html_())
    for part in ("You know the prices", "How much?", "member.jinja", "skipped: router chose money"):
        assert part in text
    assert repr(rendering) == "Rendering('desk', 2 prompts)"
    one = Graph(name="one", nodes={"a": {}}).render("hi")
    assert repr(one) == "Rendering('one', 1 prompt)"


@pytest.mark.parametrize(
    "text",
    [
        "</pre><script>alert(1)</script>",
        "</style><img src=x onerror=alert(1)>",
        '"><svg onload=alert(1)>',
        "\x1b[31m\u202e\x00",
        "[a](javascript:alert(1)) ![b](https://example.com/c.png)",
    ],
)
@pytest.mark.parametrize(
    "piece",
    [
        lambda text: answered(text, text)._repr_html_(),
        lambda text: desk().render(text, history=[(text, text)])._repr_html_(),
        lambda text: Graph(name=text, nodes={"a": Member(role=text)})._repr_html_(),
    ],
    ids=["run", "rendering", "graph"],
)
def test_no_text_can_change_a_piece(text: str, piece: Callable[[str], str]) -> None:
    shown = seen(piece(text))
    assert not {"\x1b", "\u202e", "\x00"} & set(shown)


def test_running_a_graph_loads_nothing_of_the_view() -> None:
    code = "import sys; from teamgraph import Graph, Runner\n"
    code += "graph = Graph(name='n', nodes={'a': {}}); print(repr(graph.render('hi')))\n"
    code += "Runner(graph, model='echo').run('hi')\n"
    code += "assert not [name for name in sys.modules if '.view' in name]"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
