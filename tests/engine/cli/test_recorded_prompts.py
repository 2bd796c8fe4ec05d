"""`teamgraph runs show --prompt` and `--diff`: what a run was asked with, and what is so today."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Project

OWN = """\
{% extends "builtin/member.jinja" %}
{% block rules %}
Be kind.
{% endblock %}
"""


@pytest.fixture
def run_id(project: Project) -> str:
    """A run whose members were asked with a template of the project."""
    project.write("prompts/member.jinja", OWN)
    return asked(project)


def asked(project: Project, graph: str = "desk.yaml") -> str:
    done = project.teamgraph("run", graph, "hello", "--model", "echo", "--session", "s", "--json")
    return str(json.loads(done.stdout)["run_id"])


def shown(project: Project, run_id: str, *words: str) -> str:
    done = project.teamgraph("runs", "show", run_id, *words)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def kept(project: Project, run_id: str, *words: str) -> dict[str, Any]:
    """What is said as JSON of the one prompt of a node."""
    told = json.loads(shown(project, run_id, "--node", "billing", "--json", *words))
    (prompt,) = told["prompts"].values()
    return dict(prompt)


def test_messages_stand_with_the_templates_that_they_were_made_of(
    project: Project, run_id: str
) -> None:
    (project.folder / "prompts/member.jinja").unlink()
    told = shown(project, run_id, "--node", "billing", "--prompt")
    messages, _, sources = told.partition("\n\nprompt member.jinja (")
    assert "    system:\n      You know the prices.\n      Be kind.\n" in messages
    assert ") was rendered from\n  member.jinja:\n    {% extends" in sources
    assert "\n  builtin/member.jinja:\n    {# One member answers" in sources
    assert "\n  reads.jinja:\n" in sources
    assert "router.jinja" not in told
    as_json = kept(project, run_id, "--prompt")
    assert as_json["prompt"] == "member.jinja"
    assert as_json["sources"]["member.jinja"] == OWN
    assert "diff" not in as_json


def test_a_template_that_several_prompts_share_is_shown_once(project: Project) -> None:
    project.write("prompts/lead.jinja", OWN)
    nodes = "  a: {}\n  b: {prompt: lead.jinja, needs: a}\n  c: {needs: b}\n"
    project.write("three.yaml", f"name: three\nnodes:\n{nodes}output: c\n")
    told = shown(project, asked(project, "three.yaml"), "--prompt")
    assert told.count(" was rendered from\n") == 2  # a and c were asked with the same
    assert told.count("{# One member answers") == 2  # as member.jinja, and as builtin/member.jinja
    assert told.count("{# The nodes in `reads` that ran") == 1
    assert "\n  reads.jinja: as above\n" in told


def test_nothing_is_said_of_templates_to_those_who_do_not_ask(
    project: Project, run_id: str
) -> None:
    assert "was rendered from" not in shown(project, run_id)
    assert "prompts" not in json.loads(shown(project, run_id, "--json"))
    assert "was rendered from" not in shown(project, run_id, "--node", "technical", "--prompt")


def test_what_has_changed_since_is_a_diff_for_each_template(project: Project, run_id: str) -> None:
    words = ("--node", "billing", "--diff", "--graph", "desk.yaml")
    same = shown(project, run_id, *words)
    assert "then, and those of graph 'desk' now\n  member.jinja: unchanged\n" in same
    assert set(kept(project, run_id, *words[2:])["diff"].values()) == {""}
    project.write("prompts/member.jinja", OWN.replace("kind", "quick"))
    changed = shown(project, run_id, *words)
    assert "  --- member.jinja (then)\n  +++ member.jinja (now)\n" in changed
    assert "  -Be kind.\n  +Be quick.\n   {% endblock %}\n  builtin/member.jinja: unc" in changed
    assert "system:" not in changed
    assert "+Be quick." in kept(project, run_id, *words[2:])["diff"]["member.jinja"]


def test_a_graph_to_compare_with_is_enough(project: Project, run_id: str) -> None:
    assert "member.jinja: unchanged" in shown(project, run_id, "--graph", "desk.yaml")


def test_templates_that_came_or_went_are_told(project: Project, run_id: str) -> None:
    project.write("prompts/house.jinja", "Rules.")
    included = '{% extends "builtin/member.jinja" %}{% block rules %}{% include "house.jinja" %}'
    project.write("prompts/member.jinja", included + "{% endblock %}\n")
    now = kept(project, run_id, "--graph", "desk.yaml")["diff"]
    assert now["house.jinja"].endswith("+Rules.\n\\ No newline at end of file")
    project.write("prompts/member.jinja", "{% system %}\nHi\n{% endsystem %}\n")
    text = shown(project, run_id, "--graph", "desk.yaml", "--node", "billing")
    assert "  reads.jinja: unchanged" in text


def test_a_template_that_the_graph_has_no_more_is_told(project: Project) -> None:
    project.write("one.yaml", "name: one\nnodes:\n  a:\n    prompt: |\n      Hi\n")
    told = shown(project, asked(project, "one.yaml"), "--graph", "desk.yaml")
    assert "  a.inline: not among those of graph 'desk'\n" in told


def test_without_a_graph_the_built_in_templates_are_compared_with(
    project: Project, run_id: str
) -> None:
    project.write("prompts/rhyme.jinja", OWN)
    project.write("rhyme.yaml", "name: rhyme\nnodes:\n  a: {prompt: rhyme.jinja}\n")
    told = shown(project, asked(project, "rhyme.yaml"), "--diff")
    assert "its templates then, and the built-in ones now\n" in told
    assert "  rhyme.jinja: not among the built-in ones; name its graph with --graph\n" in told
    assert "  builtin/member.jinja: unchanged\n" in told
    diff = kept(project, run_id, "--diff")["diff"]
    assert "-Be kind." in diff["member.jinja"]


def test_nodes_inside_nodes_are_compared_with_the_templates_of_their_own_graph(
    project: Project,
) -> None:
    inner = "name: inner\nnodes:\n  a: {prompt: own.jinja}\n"
    project.write("inner/inner.yaml", inner)
    template = project.write("inner/prompts/own.jinja", "Hello.\n")
    outer = "name: outer\nnodes:\n  b: {kind: graph, graph: inner/inner.yaml}\n"
    project.write("outer.yaml", outer)
    run_id = asked(project, "outer.yaml")
    template.write_text("Good day.\n")
    told = shown(project, run_id, "--node", "b/a", "--graph", "outer.yaml")
    assert "  -Hello.\n  +Good day.\n" in told


def test_a_node_that_the_graph_has_no_more_is_compared_by_the_names_of_its_templates(
    project: Project,
) -> None:
    test = "name: inner\nnodes:\n  a: {}\n"
    project.write("inner.yaml", test)
    project.write("outer.yaml", "name: outer\nnodes:\n  b: {kind: graph, graph: inner.yaml}\n")
    run_id = asked(project, "outer.yaml")
    told = shown(project, run_id, "--node", "b/a", "--graph", "desk.yaml")
    assert "  member.jinja: unchanged\n" in told


def test_a_run_that_was_imported_has_its_messages_and_not_their_sources(
    project: Project, run_id: str
) -> None:
    project.teamgraph("sessions", "export", "s", "-o", "s.json")
    there = ("--store", "elsewhere")
    assert project.teamgraph("sessions", "import", "s.json", *there).exit_code == 0
    told = shown(project, run_id, "--node", "billing", "--prompt", *there)
    assert "      Be kind.\n" in told
    assert "): its templates are not in this store, since the run was imported\n" in told
    assert kept(project, run_id, "--prompt", *there)["sources"] is None
    assert kept(project, run_id, "--diff", *there)["diff"] is None
    assert "are not in this store" in shown(project, run_id, "--diff", *there)


def test_an_invalid_graph_cannot_be_compared_with(project: Project, run_id: str) -> None:
    project.write("bad.yaml", "name: t\nnodes:\n  a: {rol: x}\n")
    done = project.teamgraph("runs", "show", run_id, "--graph", "bad.yaml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "unknown key 'rol'" in done.stderr


def test_a_run_is_written_as_one_page(project: Project, run_id: str) -> None:
    file = project.folder / "run.html"
    done = project.teamgraph("runs", "show", run_id, "--html", "run.html", "--graph", "desk.yaml")
    assert (done.exit_code, done.stdout) == (0, "")
    page = file.read_text("utf-8")
    assert '<span class="origin origin-message" title="message: input.message,' in page
    assert "origin-unknown" not in page.partition("<body")[2]
    assert 'data-node="billing"' in page
    assert page.count("<svg") > 1
    file.unlink()
    project.teamgraph("runs", "show", "--last", "--html", "run.html", "--node", "billing")
    assert 'class="node" data-node="router"' not in file.read_text("utf-8")


@pytest.mark.parametrize("option", ["--json", "--prompt", "--diff"])
def test_a_page_has_all_that_other_options_would_show(project: Project, option: str) -> None:
    done = project.teamgraph("runs", "show", "x", "--html", "run.html", option)
    assert done.exit_code == 2
    assert "--html cannot be combined with --json, --prompt or --diff" in done.stderr
