"""The pages of graphs and their prompts, and prompts rendered without a model."""

from __future__ import annotations

from pathlib import Path

from teamgraph import Graph, MemoryStore, Runner, ScriptedModel
from teamgraph.kinds import Node
from teamgraph.nodes import HistoryLoader, Member, Router, SubGraph
from tests.engine.server.pages.browser import Page
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


def test_a_large_graph_is_shown_in_pages(browse: Open) -> None:
    nodes: dict[str, Node] = {f"n{number}": Member() for number in range(103)}
    nodes["n1"] = Router(routes={"n2": "", "n3": ""}, select="many")
    browser = browse(Graph(name="wide", model="echo", nodes=nodes, output="n102"))
    page = browser.open("/graph?graph=wide")
    assert len(rows_of(page)) == 100
    assert "And 1 more: teamgraph check prints all" in " ".join(page.text.split())
    form = page.form("/graph")
    assert {"assume:n0", "assume:n99"} <= {*form.fields} <= {*form.fields} - {"assume:n100"}
    page = browser.send(form, message="hi", **{"assume:n1": ["n2", "n3"], "assume:n5": "five"})
    assert len(page.all("h3")) == 100
    (more,) = [each for each in page.links if "offset=100" in each]
    second = browser.open(more)
    assert [each.text for each in second.all("h3")] == ["n100", "n101", "n102"]
    assert rows_of(second) == ["n100", "n101", "n102"]
    chosen = [each.text for each in second.all("option") if "selected" in each.attributes]
    assert chosen == ["n2", "n3"]
    form = second.form("/graph")
    assert (form.fields["assume:n5"], form.fields["offset"]) == ("five", "100")
    (back,) = [each for each in second.links if "Nodes before" in each or "assume" in each]
    assert "offset" not in back
    first = browser.open(back)
    assert first.all("h3")[0].text == "n0"


def rows_of(page: Page) -> list[str]:
    """The nodes in the table of a graph."""
    return [each.text for each in page.all("th") if each.attributes["scope"] == "row"]


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
    missing = browser.send(form, message="hi", session_id="t").text
    assert "has no session 't'; GET /api/sessions lists them" in missing
    wrong = browser.send(form, message="hi", **{"assume:way": "shore"})
    assert "has no route 'shore'" in wrong.text


GRAPH = """\
name: shop
model: echo
nodes:
  writer:
    prompt: |
      You sell. {% if input.message == 'no' %}Never{% else %}Yes{% endif %}
      {{ (1 // (input.message | length - 5)) and '' }}
"""
CASES = """\
graph: shop.yaml
cases:
  a yes: {input: "hi", expect: {writer: {contains: ["Yes"]}}, snapshot: false}
  a snapshot: {input: "hi"}
  a difference: {input: "ho"}
  a fault: {input: "fault"}
  a mistake: {input: "hi", expect: {writer: {contains: ["Maybe"]}}, snapshot: false}
"""


def test_the_cases_of_a_graph_are_checked_and_say_which_branches_they_miss(
    browse: Open, tmp_path: Path
) -> None:
    for name, text in {
        "shop.yaml": GRAPH,
        "shop.prompts.yaml": CASES,
        "other.prompts.yaml": "graph: elsewhere.yaml\ncases: {}\n",
        "broken.prompts.yaml": "graph: [\n",
        "wrong.prompts.yaml": "graph: shop.yaml\ncase: {}\n",
        "__prompts__/shop/a-difference.md": "You <gave>. Yes\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    graph = Graph.load(tmp_path / "shop.yaml")
    browser = browse(graph, project=tmp_path)
    page = browser.open("/prompts?graph=shop")
    link = next(each for each in page.all("a") if each.text == "Check the cases of this graph")
    checked = browser.open(link.attributes["href"].partition("#")[0])
    items = {" ".join(each.text.split()) for each in checked.all("li")}
    assert "shop.prompts.yaml:3 a yes: passes, no snapshot" in items
    (differs,) = [each for each in items if each.startswith("shop.prompts.yaml:5 a difference")]
    assert "wrong, snapshot __prompts__/shop/a-difference.mdThe prompts differ" in differs
    assert "differs from its snapshot" not in differs  # it is said once, word by word
    assert "gave" in "".join(each.text for each in checked.all("del"))
    assert "sell" in "".join(each.text for each in checked.all("ins"))
    assert any(each.startswith("shop.prompts.yaml:4 a snapshot: wrong") for each in items)
    assert any("a fault: wrong" in each and "zero" in each for each in items)
    assert any("'Maybe' is missing" in each for each in items)
    assert any(each.startswith("wrong.prompts.yaml : wrong") for each in items)
    assert "6 cases in the project; they render 67 %" in " ".join(checked.text.split())
    assert any("if taken" in each for each in items)
    assert len(list(tmp_path.glob("__prompts__/**/*.md"))) == 1  # none was written
    assert "Check the cases" not in browse(graph).open("/prompts?graph=shop").text


def test_the_templates_that_have_changed_since_the_last_run_are_shown(browse: Open) -> None:
    def shop(*names: str, text: str) -> Graph:
        rest = "{{ input.message }}{% include 'reads.jinja' %}\n"
        nodes = {name: Member(prompt=f"{text} {name} {rest}") for name in names}
        return Graph(name="shop", model="echo", nodes=nodes, output=[names[-1]])

    store, before = MemoryStore(), shop("gone", "writer", text="Sell")
    Runner(INNER_SHOP, store=store, model=ScriptedModel("x")).run("hi", user_id="ada")
    Runner(before, store=store, model=ScriptedModel(["x"] * 2)).run("hi", user_id="ada")
    same = browse(before, store=store).open("/prompts?user_id=ada")
    assert "No template that it used has changed since" in same.text
    page = browse(shop("writer", text="Give"), store=store).open("/prompts?user_id=ada")
    assert [each.text for each in page.all("ins")] == ["Give"]
    assert [each.text for each in page.all("del")] == ["Sell"]
    assert "There is no run of this graph without a user" in browse(before).open("/prompts").text


INNER_SHOP = Graph(name="other", model="echo", nodes={"m": Member(role="Say")})
