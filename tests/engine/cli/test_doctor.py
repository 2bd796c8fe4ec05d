"""`teamgraph doctor`: what is well, what is missing, and what to do about it."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from textwrap import dedent

import pytest

from teamgraph import Graph, Runner, TinyDBStore

from .conftest import Project

GRAPH = "name: one\nmodel: {model}\nnodes:\n  a: {{role: You answer}}\n  b: {{needs: a}}\n"
MODELS = [
    ("echo", "", "ok", "installed"),
    ("openai/gpt-5-mini", "OPENAI_API_KEY", "ok", "OPENAI_API_KEY is set"),
    ("openai/gpt-5-mini", "", "problem", "it has no API key; set OPENAI_API_KEY"),
    ("gpt-5", "", "problem", "it has no API key; set OPENAI_API_KEY"),
    ("{id: openai/x, api_base: 'http://127.0.0.1:1/v1'}", "", "ok", "no key is sent to http://"),
    ("{id: openai/x, api_key_env: MY_KEY}", "", "problem", "variable MY_KEY is not set"),
    ("{id: openai/x, api_key_env: MY_KEY}", "MY_KEY", "ok", "MY_KEY is set"),
    ("{id: openai/x, api_base: 'https://a.example'}", "", "problem", "is not allowed"),
    ("vercel_ai_gateway/x", "", "ok", "not known; --connect asks it"),
    ("local", "", "problem", "pip install"),
    ("{id: echo, fallback: openai/x}", "", "problem", "set OPENAI_API_KEY"),
]


def checked(project: Project, *words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and each check by its topic: its status and its text."""
    done = project.teamgraph("doctor", "--json", *words)
    assert done.stderr == ""
    checks = json.loads(done.stdout)["checks"]
    return done.exit_code, {each["topic"]: (each["status"], each["text"]) for each in checks}


@pytest.fixture(autouse=True)
def _no_weights(project: Project) -> None:
    project.more["TEAMGRAPH_LOCAL_GGUF"] = "nowhere"
    (project.folder / "desk.yaml").unlink()


@pytest.mark.parametrize(("model", "key", "status", "text"), MODELS)
def test_models_are_looked_at_without_asking_them(
    project: Project, model: str, key: str, status: str, text: str
) -> None:
    project.write("one.yaml", GRAPH.format(model=model))
    if key:
        project.more[key] = "sk-secret"
    code, checks = checked(project)
    *_, last = (topic for topic in checks if topic.startswith("model "))
    assert checks[last][0] == status
    assert text in checks[last][1]
    assert code == (status == "problem")
    assert "sk-secret" not in str(checks)


def test_a_model_is_asked_if_that_is_wanted(project: Project) -> None:
    project.write("one.yaml", GRAPH.format(model="{id: echo, fallback: own/critic}"))
    code, checks = checked(project, "--connect")
    assert code == 1
    assert checks["model echo"][1].startswith("answered in ")
    assert "only Python can pass" in checks["model own/critic"][1]


def test_models_of_graphs_inside_others_are_looked_at(project: Project) -> None:
    project.write("inner/one.yaml", "name: one\nnodes: {a: {role: You answer}}\n")
    nodes = "nodes: {inside: {kind: graph, graph: inner/one.yaml}}"
    project.write("outer.yaml", f"name: outer\nmodel: own/critic\n{nodes}\n")
    assert "model own/critic" in checked(project)[1]


def test_packages_and_extras_are_listed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = """\
        Metadata-Version: 2.1
        Name: teamgraph
        Version: 9
        Requires-Dist: typer>=0.26
        Requires-Dist: no-such<2,>=1; extra == 'other'
        Requires-Dist: typer ; python_version > "3" and extra == "draw"
        Requires-Dist: typer; extra == 'local'
        """
    file = project.write("lib/teamgraph-9.dist-info/METADATA", dedent(metadata))
    monkeypatch.setattr(sys, "path", [str(project.folder / "lib"), *sys.path])
    code, checks = checked(project)
    assert code == 0
    assert checks["teamgraph"] == ("ok", "9")
    assert checks["packages"] == ("ok", f"typer {version('typer')}")
    assert checks["extra other"] == ("note", "not installed; pip install 'teamgraph[other]'")
    assert checks["extra draw"][0] == "ok"
    assert "pip install" in checks["extra local"][1]
    file.write_text(f"{file.read_text().strip()}\nRequires-Dist: no-such\n")
    code, checks = checked(project)
    assert (code, checks["packages"][1]) == (1, "no-such: not installed; pip install no-such")


def test_a_project_in_order_has_no_problems(project: Project) -> None:
    project.write("one.yaml", GRAPH.format(model="echo"))
    project.write("pyproject.toml", "[tool.teamgraph]\nmodel = 'echo'\n")
    done = project.teamgraph("doctor")
    assert (done.exit_code, done.stderr) == (0, "no problems\n")
    assert "+ graph one.yaml: valid\n" in done.stdout
    assert "+ default model: echo\n" in done.stdout
    assert "- store: there is none in .teamgraph yet" in done.stdout


def test_what_is_wrong_with_graphs_and_the_store_is_said(project: Project) -> None:
    assert checked(project)[1]["graphs"] == ("note", "there are none in this project")
    project.write("pyproject.toml", "[tool.teamgraph]\nmodel = 'echo'\n")
    project.write("one.yaml", GRAPH.format(model="echo"))
    runner = Runner(Graph.load("one.yaml"), store=TinyDBStore(".teamgraph"))
    runner.run("hi", session_id="s")
    assert checked(project)[1]["store"][1].startswith("1 session in .teamgraph, ")
    project.write("one.yaml", GRAPH.format(model="echo").replace("role", "rol"))
    (journal,) = project.folder.glob(".teamgraph/users/*/*/*.jsonl")
    journal.write_bytes(journal.read_bytes()[:-20])
    done = project.teamgraph("doctor")
    assert (done.exit_code, done.stderr) == (1, "2 problems, each marked by an x\n")
    assert "x graph one.yaml: it is not valid; `teamgraph check one.yaml` says why" in done.stdout
    assert "1 problem; `teamgraph store verify` lists them" in done.stdout
    marker = project.folder / ".teamgraph" / "store.json"
    marker.write_text('{"version": 99}', encoding="utf-8")
    assert "it is not a store of teamgraph" in checked(project)[1]["store"][1]
