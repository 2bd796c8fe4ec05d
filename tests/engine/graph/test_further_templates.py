"""A kind says which further templates it asks with, and they are checked like its own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from teamgraph import Graph, MemoryStore, Runner, ScriptedModel
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import Member


class Twice(Node):
    """Asks, and asks again with another template."""

    prompt: str | None = "first.jinja"
    templates: ClassVar[tuple[str, ...]] = ("second.jinja",)
    variables: ClassVar = {"draft": str}

    async def run(self, context: Context) -> Result:
        return Result(await context.ask("second.jinja", draft=await context.ask(draft="")))


def graph(folder: Path, second: str | None) -> Graph:
    (folder / "first.jinja").write_text("Write about {{ input.message }}.\n")
    if second is not None:
        (folder / "second.jinja").write_text(second)
    nodes = {"facts": Member(role="You know facts"), "writer": Twice()}
    return Graph(name="g", model="m", nodes=nodes, output="writer", prompt_dirs=[folder])


def told(folder: Path, second: str | None) -> str:
    try:
        graph(folder, second)
    except DefinitionError as error:
        return str(error)
    return ""


def test_a_further_template_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "there is no template 'second.jinja'" in told(tmp_path, None)


def test_what_does_not_hold_in_a_further_template_is_told_at_its_place(tmp_path: Path) -> None:
    unknown = told(tmp_path, "More: {{ drafd }}")
    assert "second.jinja:1:10: " in unknown
    assert "did you mean 'draft'?" in unknown
    assert "did you mean 'message'?" in told(tmp_path, "{{ input.massage }}{{ draft }}")
    assert "second.jinja:1:4: " in told(tmp_path, "{% iff %}")


def test_what_a_further_template_reads_is_an_edge_and_it_is_rendered(tmp_path: Path) -> None:
    made = graph(tmp_path, "Better, with {{ facts.output }}: {{ draft }}")
    assert [(edge.source, edge.target) for edge in made.plan.edges] == [("facts", "writer")]
    model = ScriptedModel(["one fact", "a draft", "the text"])
    run = Runner(made, store=MemoryStore(), model=model).run("birds")
    assert run.answer == "the text"
    sent = [exchange.messages[0].content for exchange in run.records["writer"].exchanges]
    assert sent == ["Write about birds.", "Better, with one fact: a draft"]


def test_a_run_is_not_taken_up_with_another_further_template(tmp_path: Path) -> None:
    prints = []
    for second in ("{{ draft }}", "{{ draft }}!"):
        run = Runner(graph(tmp_path, second), store=MemoryStore(), model="echo").run("birds")
        prints.append({node: record.fingerprint for node, record in run.records.items()})
    assert prints[0]["facts"] == prints[1]["facts"]
    assert prints[0]["writer"] != prints[1]["writer"]
