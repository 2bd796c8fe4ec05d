"""A recorded run is kept as a case, which passes from then on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from teamgraph import Graph, MemoryStore, Run, Runner, Store
from teamgraph.engine.testing.cases import CaseFile
from teamgraph.engine.testing.keep import keep_case
from teamgraph.errors import InputError
from teamgraph.nodes import HistoryLoader
from tests.builders import written
from tests.teams import desk, desk_model

OF_DESK = """
    # What the desk is asked.
    graph: desk.yaml
    cases:
      # the first
      one:
        input: hi   # a word
"""


def kept(run: Run, store: Store, graph: Graph, file: Path, **options: object) -> str:
    project = options.pop("project", file.parent)
    assert isinstance(project, Path)
    return asyncio.run(keep_case(run, store, graph, file, project=project, **options))  # type: ignore[arg-type]  # by the tests


def loaded(folder: Path, graph: Graph | None = None) -> Graph:
    (graph or desk()).dump(folder / "desk.yaml")
    return Graph.load(folder / "desk.yaml")


def failures(file: Path) -> list[str]:
    return [each for case in CaseFile.load(file).cases for each in case.failures(case.render())]


def test_a_run_is_kept_with_what_it_began_with_and_what_its_nodes_gave(tmp_path: Path) -> None:
    own = {"own": HistoryLoader(of="french", runs=1), **desk().nodes}
    graph, store = loaded(tmp_path, desk(state={"town": "Ulm"}, nodes=own)), MemoryStore()
    runner = Runner(graph, store=store, model=desk_model())
    for number in range(4):
        run = runner.run(f"message {number}", session_id="s", user_id="ann", state={"n": number})
    file = tmp_path / "desk.prompts.yaml"
    assert kept(run, store, graph, file) == "message 3"
    (case,) = CaseFile.load(file).cases
    assert [*case.scene.history] == [
        {"input": "message 1", "answer": "Bonjour mon ami"},
        {"input": "message 2", "answer": "Bonjour mon ami"},
    ]
    assert case.scene.state == {"n": 3}
    assert case.scene.session["turns"] == 3
    assert case.scene.session["summary"] == "in short"
    assert "own" in dict(case.scene.session["node_states"])  # type: ignore[call-overload]
    assert case.scene.assume["router"] == "french"
    assert set(case.expect) == {"router", "english", "french", "summary"}
    assert case.expect["english"] == "skipped"
    assert failures(file) == []
    sent = run.records["french"].exchanges[0].messages
    assert [each.content for each in case.render()["french"].messages] == [
        each.content for each in sent
    ]


def test_a_case_file_keeps_its_comments_and_other_cases(tmp_path: Path) -> None:
    graph, store = loaded(tmp_path), MemoryStore()
    file = written(tmp_path, OF_DESK, name="desk.prompts.yaml")
    run = Runner(graph, store=store, model=desk_model()).run("hello " * 20, session_id="s")
    names = [kept(run, store, graph, file) for _ in range(2)]
    assert names == [f"{'hello ' * 8}he...", f"{'hello ' * 8}he... 2"]
    text = file.read_text("utf-8")
    assert text.startswith("# What the desk is asked.\ngraph: desk.yaml\n")
    assert "  # the first\n  one:\n    input: hi   # a word\n" in text
    assert failures(file) == []
    assert kept(run, store, graph, file, name="a greeting") == "a greeting"


def test_what_ran_inside_other_nodes_is_assumed_there(tmp_path: Path) -> None:
    written(
        tmp_path,
        """
        name: rounds
        model: m
        nodes:
          plan: {returns: {steps: "list[str]"}}
          each: {kind: map, over: plan.output.steps, graph: {prompt: "{{ input.item }}\\n"}}
          lead: {kind: leader, needs: each}
        """,
        name="rounds.yaml",
    )
    graph, store = Graph.load(tmp_path / "rounds.yaml"), MemoryStore()
    model = desk_model(summary={"steps": ["a", "b"]}, said="done")
    run = Runner(graph, store=store, model=model).run("go")
    file = tmp_path / "rounds.prompts.yaml"
    kept(run, store, graph, file)
    (case,) = CaseFile.load(file).cases
    assert case.scene.assume == {
        "plan": {"steps": ["a", "b"]},
        "each[1]/each": "done",
        "each[2]/each": "done",
        "lead": "done",
    }
    assert case.render()["each[1]/each"].text == "a"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("desk.yaml", "name a case file"),
        ("../other.prompts.yaml", "name a case file"),
        ("other.prompts.yaml", "its cases are about .*other.yaml; name another file"),
    ],
)
def test_only_a_case_file_of_the_project_is_written(
    tmp_path: Path, name: str, message: str
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    graph, store = loaded(project), MemoryStore()
    other = written(project, "graph: other.yaml", name="other.prompts.yaml")
    run = Runner(graph, store=store, model=desk_model()).run("hello")
    with pytest.raises(InputError, match=message):
        kept(run, store, graph, project / name, project=project)
    assert other.read_text() == "graph: other.yaml"
    assert {each.name for each in tmp_path.rglob("*")} == {
        *("project", "desk.yaml", "other.prompts.yaml")
    }


def test_a_graph_of_no_file_has_no_case_file(tmp_path: Path) -> None:
    store = MemoryStore()
    run = Runner(desk(), store=store, model=desk_model()).run("hello")
    with pytest.raises(InputError, match=r"is of no file.*graph\.dump\(path\)"):
        kept(run, store, desk(), tmp_path / "x.prompts.yaml")


@pytest.mark.parametrize("before", [None, OF_DESK])
def test_what_does_not_pass_is_not_kept(tmp_path: Path, before: str | None) -> None:
    graph, store = loaded(tmp_path), MemoryStore()
    file = tmp_path / "desk.prompts.yaml"
    if before is not None:
        written(tmp_path, before, name=file.name)
    text = file.read_text() if before else None
    run = Runner(graph, store=store, model=desk_model()).run("hello")
    written(tmp_path, "{% broken", name="prompts/member.jinja")
    with pytest.raises(InputError, match="does not pass as a case for the graph of today"):
        kept(run, store, graph, file)
    assert (file.read_text() if file.exists() else None) == text
