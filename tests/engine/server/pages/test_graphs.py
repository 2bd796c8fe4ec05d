"""The pages of graphs and their prompts, and prompts rendered without a model."""

from __future__ import annotations

from teamgraph import Graph, MemoryStore, Runner, ScriptedModel
from teamgraph.nodes import HistoryLoader, Member, Router, SubGraph
from tests.engine.server.pages.conftest import Open


def weather(town: str) -> str:
    """Tell the weather of a town."""
    return town


INNER = Graph(
    name="inner",
    nodes={
        "pick": Router(routes={"draft": "a", "polish": "b"}, select="many"),
        "draft": Member(role="Draft", tools=[weather]),
        "polish": Member(role="Polish"),
    },
    output=["polish", "draft"],
)
TEAM = Graph(
    name="team",
    model={"id": "echo", "temperature": 0},
    nodes={
        "history": HistoryLoader(),
        "way": Router(routes={"brief": "short", "essay": "long"}, needs=["history"]),
        "brief": Member(role="Be brief", model="local"),
        "essay": SubGraph(graph=INNER),
    },
    output=["essay", "brief"],
)


def test_a_graph_is_shown_with_its_nodes_and_those_inside(browse: Open) -> None:
    page = browse(TEAM).open("/graph?graph=team")
    rows = [" ".join(each.text.split()) for each in page.all("tr")][1:]
    assert [row.partition(" ")[0] for row in rows] == [
        *("history", "way", "brief", "essay", "essay/pick", "essay/draft", "essay/polish")
    ]
    assert rows[2] == "brief member (answer) way, historylocal- member.jinja"
    assert rows[5] == "essay/draft member pickechoweather member.jinja"
    prompts = next(each for each in page.links if "node=essay%2Fdraft" in each)
    shown = browse(TEAM).open(prompts)
    assert "Those of essay/draft" in shown.text
    assert "member.jinja" in shown.text
    assert "router.jinja" not in shown.text


def test_prompts_are_rendered_for_a_message_a_route_and_a_session(browse: Open) -> None:
    store = MemoryStore()
    model = ScriptedModel(['{"choice": "brief", "reason": "so"}', "The earlier answer."])
    Runner(TEAM, store=store, model=model).run("Earlier", session_id="s", user_id="ada")
    browser = browse(TEAM, store=store)
    form = browser.open("/graph?graph=team&user_id=ada").form("/graph")
    page = browser.send(form, message="How are\r\nyou?", **{"assume:way": "brief"})
    assert "How are\nyou?" in page.text
    assert page.text.count("Skipped: ") == 1
    chosen = [each.text for each in page.all("option") if "selected" in each.attributes]
    assert chosen == ["brief"]
    both = {"assume:way": "essay", "assume:essay/pick": ["draft", "polish"]}
    page = browser.send(form, message="hi", session_id="s", **both)
    assert "The earlier answer." in page.text
    assert "Draft" in page.text
    assert "Polish" in page.text
    assert "has no session 't'" in browser.send(form, message="hi", session_id="t").text
    wrong = browser.send(form, message="hi", **{"assume:way": "shore"})
    assert "has no route 'shore'" in wrong.text
