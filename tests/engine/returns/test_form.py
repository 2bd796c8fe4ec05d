"""What a prompt says in words of the form of an answer."""

# ruff: noqa: ANN401  options are what a test makes them
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from teamgraph import Graph
from teamgraph.errors import Problem
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import Leader, Member, Router, Summarizer


class Street(BaseModel):
    street: str = Field(description="street and number")


class Place(BaseModel):
    """A place on the map."""

    city: str
    at: Street
    sure: float | None = None


class Tree(BaseModel):
    leaves: list[Tree]


class Old(BaseModel):
    age: int = Field(ge=3)


def system(node: Node) -> str:
    """The last lines of what the node's model is told."""
    graph = Graph(name="g", model="m", nodes={"a": node, "b": Member()}, output=["b"])
    return graph.render()["a"].system


@pytest.mark.parametrize(
    ("returns", "text"),
    [
        (
            {"lang": "en|not at all", "n": "int?"},
            '{"lang": "en" | "not at all", "n": integer | null}',
        ),
        ([{"ok": "bool"}], '{"value": [{"ok": true | false}, ...]}'),
        ("yes|no", '{"value": "yes" | "no"}'),
        (
            Place,
            '{"city": string, "at": {"street": string (street and number)}, "sure": number | null}',
        ),
    ],
)
def test_a_schema_of_types_and_words_is_short(returns: Any, text: str) -> None:
    told = system(Member(returns=returns))
    assert told.endswith(f"\n\nAnswer with JSON only, in this form:\n{text}")


@pytest.mark.parametrize("returns", [Tree, Old, dict[str, int], list[Any], tuple[int, str]])
def test_a_schema_that_says_more_is_given_whole(returns: Any) -> None:
    node = Leader(returns=returns)
    schema = Graph(name="g", model="m", nodes={"a": node}).shapes["a"].schema
    told, _, text = system(node).partition("It must fit this JSON Schema:\n")
    assert told.endswith("\n\nAnswer with JSON only. ")
    assert json.loads(text) == schema


def test_a_file_whose_keys_are_optional_is_given_whole(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    (tmp_path / "a.json").write_text(json.dumps(schema))
    (tmp_path / "g.yaml").write_text("{name: g, model: m, nodes: {a: {returns: a.json}}}")
    told = Graph.load(tmp_path / "g.yaml").render()["a"].system
    assert told.endswith('It must fit this JSON Schema:\n{"title": "a", ' + json.dumps(schema)[1:])


@pytest.mark.parametrize(
    ("options", "rule", "form"),
    [
        ({}, "Choose one label.", '{"reason": string, "choice": "b"}'),
        (
            {"select": "many"},
            "Choose every label that applies, at least one.",
            '{"reason": string, "choices": ["b", ...]}',
        ),
        (
            {"select": "many", "allow_none": True, "tasks": True},
            "Choose every label that applies, or none.",
            '{"reason": string, "choices": ["b", ...], "tasks": [{"label": "b", "task": string}, '
            "...]}\nIf no label applies, choices is [].",
        ),
    ],
)
def test_a_router_says_how_a_choice_is_written(options: Any, rule: str, form: str) -> None:
    told = system(Router(routes={"b": "B"}, **options))
    assert told.endswith(f"{rule}\n\nAnswer with JSON only, in this form:\n{form}")


def test_free_text_has_no_form_and_a_node_with_tools_calls_them_first() -> None:
    assert "JSON" not in system(Member())
    told = system(Member(returns="int", tools="read_chat_history"))
    assert "\n\nWhen you need no more tools, answer with JSON only, in this form:\n" in told


class Asker(Node):
    """Asks for a number."""

    async def run(self, context: Context) -> Result:
        return Result(await context.ask_for("int"))


INCLUDED = '{% include "answer_form.jinja" %}'
EXTENDED = '{% extends "builtin/member.jinja" %}{% block '


@pytest.mark.parametrize(
    ("prompt", "is_told"),
    [
        ("Is it?\n", False),
        (f"Is it?\n{INCLUDED}", True),
        ("{{ node.form.text if node.form else '' }}", True),
        ("Is it?\n{% block form %}Say yes or no.{% endblock %}", True),
        (EXTENDED + "form %} \n{% endblock %}", False),
        (EXTENDED + "form %}{# none #}{% endblock %}", False),
        (EXTENDED + "form %}{{ super() }}{% endblock %}", True),
        (EXTENDED + "form %}{{ node.id }}{% endblock %}", True),
        (EXTENDED + "form %}{% if node.task %}Say yes.{% endif %}{% endblock %}", True),
        (EXTENDED + "rules %}Be quick.{% endblock %}", True),
    ],
)
@pytest.mark.parametrize(
    "node",
    [
        Member(returns="yes|no"),
        Leader(returns="yes|no"),
        Asker(),
        Router(routes={"last": ""}, default="last"),
        Summarizer(needs="last"),
    ],
)
def test_a_template_that_leaves_the_form_out_is_a_warning(
    node: Node, prompt: str, is_told: bool
) -> None:
    asking = node.model_copy(update={"prompt": prompt})
    nodes = {"it": asking, "last": Member(join="always", reads=[] if node.needs else ["it"])}
    graph = Graph(name="g", model="m", nodes=nodes, output="last")
    found: list[Problem] = [each for each in graph.warnings if each.code == "G114"]
    assert [each.path for each in found] == ([] if is_told else [("nodes", "it", "prompt")])
    if found:
        assert INCLUDED in found[0].message


@pytest.mark.parametrize(
    ("form", "is_told"),
    [
        ("Answer briefly.", False),
        ("{% if node.form %}Answer briefly.{% endif %}", False),
        ("{% if node.form %}Answer: {{ node.form.text }}{% endif %}", True),
    ],
)
@pytest.mark.parametrize(
    "node", [Member(returns="yes|no"), Router(routes={"last": ""}, default="last")]
)
def test_a_form_in_other_words_that_does_not_say_it_is_a_warning(
    tmp_path: Path, node: Node, form: str, is_told: bool
) -> None:
    (tmp_path / "answer_form.jinja").write_text(form)
    nodes = {"it": node, "last": Member(join="always", reads=["it"])}
    graph = Graph(name="g", model="m", nodes=nodes, output="last", prompt_dirs=[tmp_path])
    found = [each for each in graph.warnings if each.code == "G114"]
    assert [each.path for each in found] == ([] if is_told else [("nodes", "it", "prompt")])
    assert all("{{ node.form.text }} into your answer_form.jinja" in str(each) for each in found)


def test_only_an_answer_that_a_program_reads_needs_a_form() -> None:
    free = Member(prompt="Is it?\n")
    by_rule = Router(
        prompt="Is it?\n", routes={"end": {"to": "end", "when": "true"}}, default="end"
    )
    nodes = {"free": free, "router": by_rule, "end": Member(reads="free")}
    graph = Graph(name="g", model="m", nodes=nodes, output="end")
    assert [each.code for each in graph.warnings if each.code == "G114"] == []
