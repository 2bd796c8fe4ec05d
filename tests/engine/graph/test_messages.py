"""Where a problem is reported, what it says, and that it is the only one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from teamgraph import Graph, Runner, ScriptedModel
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Context, Node, Result
from tests.builders import told, written


@pytest.mark.parametrize(
    ("returns", "problem"),
    [
        ("shut.away:Model", "'shut.away:Model': 'shut' is not allowed here; "),
        ("tests.shop:nothing", "'tests.shop:nothing': 'tests.shop' has no 'n"),
        ("nowhere.json", "there is no JSON Schema file 'nowhere.json'"),
        ("lits[str]", "unknown type 'lits[str]'"),
    ],
)
def test_a_wrong_returns_is_reported_at_its_value(
    tmp_path: Path, returns: str, problem: str
) -> None:
    text = f'name: x\nnodes:\n  a: {{role: x,\n    returns: "{returns}"}}\n'
    (found,) = told(written(tmp_path, text), allow=["tests"])
    assert found.startswith(f"4:14: node 'a': {problem}")


@pytest.mark.parametrize(
    ("route", "place"),
    [
        ("b: to b", "5:14"),
        ("x: {to: [b], about: x}", "5:23"),
        ("x: {to: b, about: x}", "5:22"),
    ],
)
def test_a_cycle_through_a_route_is_reported_at_its_target(
    tmp_path: Path, route: str, place: str
) -> None:
    text = (
        "name: x\nnodes:\n  a:\n    kind: router\n    routes: {%s}\n    needs: b\n  b: {role: x}\n"
    )
    (found,) = told(written(tmp_path, (text % route) + "output: b\n"))
    assert found.startswith(f"{place}: the nodes form a cycle: ")
    assert f"b is a route of a ({tmp_path}" in found or "b is a route of a (" in found


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "~\n", "null\n"])
def test_an_empty_file_is_reported_at_its_first_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "g.yaml"
    file.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        Graph.load(file)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line, problem.column) == ("Y005", 1, 1)


def test_a_default_that_is_no_label_lists_the_labels(tmp_path: Path) -> None:
    text = "name: x\nnodes:\n  r: {kind: router, routes: {a: x, b: y}, default: %s}\n"
    text += "  a: {role: x}\n  b: {role: x}\noutput: [a, b]\n"
    assert told(written(tmp_path, text % "zebra")) == [
        "3:52: node 'r': default 'zebra' is not the label of a route; the labels are a, b"
    ]


@pytest.mark.parametrize(
    ("alias", "meant"),
    [("*shred", "; did you mean '*shared'?"), ("*zzz", "; quote a text that begins with *")],
)
def test_a_misspelt_alias_says_which_anchor_was_meant(
    tmp_path: Path, alias: str, meant: str
) -> None:
    text = f"name: x\nnodes:\n  a: {{params: &shared {{t: 1}}}}\n  b: {{params: {alias}}}\n"
    (found,) = told(written(tmp_path, text))
    assert found.startswith(f"4:15: there is no anchor &{alias[1:]} above")
    assert found.endswith(meant)


@pytest.mark.parametrize(
    "reader",
    [
        "{needs: cok, role: x}",
        "{reads: cok, role: x}",
        '{when: "cok is defined", role: x}',
        '{prompt: "{{ cok.output }}\\n"}',
        "{kind: router, routes: {cok: x}}",
    ],
)
def test_a_misspelt_node_is_one_problem_and_no_warning_beside(tmp_path: Path, reader: str) -> None:
    text = f"name: x\nnodes:\n  cook: {{role: x}}\n  end: {reader}\n  z: {{role: x}}\noutput: z\n"
    with pytest.raises(DefinitionError) as caught:
        Graph.load(written(tmp_path, text))
    (problem,) = caught.value.problems
    assert problem.suggestion == "cook"


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("{runs: 3}", "a member has none; it is a key of history-loader, search"),
        ("{stream: true}", "is run: `teamgraph run --stream`, `runner.stream(...)`"),
        ("{routes: {b: x}}", "a member has none; it is a key of human, router"),
        (
            "{kind: router, routes: {b: x}, tools: []}",
            "a router has none; it is a key of leader, member",
        ),
        ("{kind: leader, every: 2}", "a leader has none; it is a key of summarizer"),
    ],
)
def test_a_key_of_another_kind_names_that_kind(tmp_path: Path, node: str, problem: str) -> None:
    text = f"name: x\nnodes:\n  a: {node}\n  b: {{role: x}}\noutput: b\n"
    (found,) = told(written(tmp_path, text))
    assert problem in found


def test_a_key_that_no_kind_has_is_compared_with_those_of_its_own(tmp_path: Path) -> None:
    (found,) = told(written(tmp_path, "name: x\nnodes:\n  a: {rol: x}\n"))
    assert found.endswith("unknown key 'rol'; did you mean 'role'?")


@pytest.mark.parametrize("name", ["form", "handover", "state", "task"])
def test_a_field_that_would_hide_what_templates_read_is_refused(name: str) -> None:
    fields = {"__annotations__": {name: str}, "__module__": __name__, name: ""}
    with pytest.raises(DefinitionError, match=f"its field {name!r} would hide `node.{name}`"):
        type("Shout", (Node,), fields)


def test_a_kind_that_is_written_as_a_field_says_how_to_write_it() -> None:
    with pytest.raises(DefinitionError, match="kind is a class variable, not a field; write"):

        class Shout(Node):
            kind: Literal["shout"] = "shout"  # type: ignore[misc]  # what this is about

    class Fine(Node):
        kind: ClassVar[str] = "shout"

    class AlsoFine(Node):
        kind = "shout"

    assert (Fine.kind, AlsoFine.kind) == ("shout", "shout")


class Weather(Node):
    variables: ClassVar[Mapping[str, object]] = {"weather": str}
    prompt: str | None = "{{ weather }}\n"

    async def run(self, context: Context) -> Result:
        return Result(await context.ask(weather="sun"))


@pytest.mark.parametrize("others", [{}, {"other": Weather()}, {"weather": Weather()}])
def test_a_variable_of_a_kind_hides_a_node_of_its_name(others: Mapping[str, Node]) -> None:
    graph = Graph(name="g", model="m", nodes={**others, "end": Weather()}, output="end")
    assert not graph.plan.edges
    model = ScriptedModel("fine")
    Runner(graph, model=model).run("hi")
    assert {request.messages[0].content.strip() for request in model.requests} == {"sun"}
    lone = Graph(name="g", model="m", nodes={"weather": Weather()})
    assert Runner(lone, model=ScriptedModel("fine")).run("hi").answer == "fine"
