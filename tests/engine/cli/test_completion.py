"""The Tab key: what bash is given, by the protocol that it speaks with the command."""

from __future__ import annotations

import pytest

from teamgraph import Runner, TinyDBStore

from .conftest import Project

GRAPH = """\
name: team
model: {id: openai/one, fallback: [openai/two, {id: openai/three}]}
nodes:
  answer: {role: You answer, model: {temperature: 0}}
  check: {kind: loop, until: output, max: 2, graph: {nodes: {critic: {}, writer: {}}}}
  desk: {kind: swarm, start: ann, members: {ann: {hands_to: bob}, bob: {}}}
output: [answer, check, desk]
"""


@pytest.fixture
def completed(project: Project) -> Project:
    project.write("pyproject.toml", "[tool.teamgraph]\nmodel = 'openai/project'\n")
    project.write("deep/team.yaml", GRAPH)
    project.write("deep/notes.yaml", "a: 1\n")
    project.write("broken.yaml", "nodes: [\n")
    runner = Runner(project.folder / "desk.yaml", store=TinyDBStore(".teamgraph"), model="echo")
    for user, session in ((None, "talk-1"), (None, "talk-2"), ("ann", "hers")):
        runner.run("hi", user_id=user, session_id=session, run_id=f"run-{session}")
    return project


CASES = {
    "ch": "chat check",
    "run ": "broken.yaml desk.yaml deep/team.yaml",
    "run de": "desk.yaml deep/team.yaml",
    "run deep/": "deep/team.yaml",
    "run nowhere/": "",
    "run deep/team.yaml hello --model openai/": "one two three project",
    "run deep/team.yaml hello --model e": "echo",
    "run other.yaml hello --model ": "",
    "render deep/team.yaml --node ": "answer check check/critic check/writer desk desk/ann"
    " desk/bob",
    "render broken.yaml --node ": "",
    "render desk.yaml --session ": "talk-2 talk-1",
    "chat desk.yaml --user ": "ann",
    "chat desk.yaml --user ann --session ": "hers",
    "sessions show ": "talk-2 talk-1",
    "sessions show --store other ": "",
    "runs show ": "run-talk-2 run-talk-1",
    "runs show --session talk-1 ": "run-talk-1",
    "runs show run-talk-1 --node b": "billing",
    "runs show run-none --node ": "",
    "runs fork run-talk-1 --graph deep/team.yaml --from a": "answer",
    "explain P00": "P001 P002 P004 P005 P006 P007 P008 P009",
}


@pytest.mark.parametrize("typed", CASES)
def test_tab_offers_what_is_there(completed: Project, typed: str) -> None:
    completed.more["_ROOT_COMPLETE"] = "complete_bash"  # _TEAMGRAPH_COMPLETE, of the whole command
    completed.more["COMP_WORDS"] = f"teamgraph {typed}"
    completed.more["COMP_CWORD"] = str(len(f"teamgraph {typed}x".split()) - 1)
    done = completed.teamgraph()
    assert done.stderr == ""
    offered = [line.removeprefix("openai/") for line in done.stdout.split()]
    assert offered == CASES[typed].split()
