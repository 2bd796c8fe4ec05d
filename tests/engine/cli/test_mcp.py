"""`teamgraph mcp`: what it says of a lock file; that it asks servers is tested with the tools."""

from __future__ import annotations

import json

import pytest

from .conftest import Project

LOCKED = {"files": {"read": {"description": "Read it.\nAll.", "parameters": {"type": "object"}}}}


def test_locked_tools_are_listed_without_a_server(project: Project) -> None:
    done = project.teamgraph("mcp", "list", "desk.yaml")
    assert done.exit_code == 1
    assert "there is no such file; write it with `teamgraph mcp lock desk.yaml`" in done.stderr
    project.write("mcp_lock.json", json.dumps({"version": 1, "servers": LOCKED}))
    assert "files.read\tRead it.\n" in project.teamgraph("mcp", "list", "desk.yaml").stdout
    assert json.loads(project.teamgraph("mcp", "list", "desk.yaml", "--json").stdout) == LOCKED


@pytest.mark.parametrize("way", ["nothing", "option", "settings", "case file"])
def test_whoever_allows_a_server_lets_the_graph_through(project: Project, way: str) -> None:
    project.write("mcp_lock.json", json.dumps({"version": 1, "servers": LOCKED}))
    server = "mcp: {files: {command: no-such-program}}"
    node = "nodes:\n  a: {tools: [files.read]}\n"
    project.write("files.yaml", f"name: files\nmodel: echo\n{server}\n{node}")
    allow = "allow_mcp: [files]\n" if way == "case file" else ""
    cases = f"graph: files.yaml\n{allow}cases: {{c: {{input: hi}}}}\n"
    project.write("files.prompts.yaml", cases)
    if way == "settings":
        project.write("pyproject.toml", '[tool.teamgraph]\nallow_mcp = ["files"]\n')
    option = ("--allow-mcp", "files") if way == "option" else ()
    graph = [("check", "files.yaml"), ("render", "files.yaml", "hi"), ("run", "files.yaml", "hi")]
    done = [project.teamgraph(*words, *option) for words in graph]
    assert {each.exit_code == 0 for each in done} == {way in ("option", "settings")}
    assert all(("is not allowed here" in each.output) == (each.exit_code != 0) for each in done)
    case = project.teamgraph("prompts", "update", "files.prompts.yaml")
    assert (case.exit_code == 0) == (way in ("settings", "case file")), case.output


@pytest.mark.parametrize(
    ("mcp", "says"),
    [
        ("", "declares no MCP servers; add `mcp: {files: {command: [...]}}`"),
        (
            "mcp: {files: {command: x}}",
            "files.yaml:2:7: error: the MCP server 'files' is not allowed here",
        ),
        ("mcp: {shop: {command: x, url: y}, shop2: 3}", "has either a `command`"),
        (
            "mcp: {shop: {command: x, url: y}, shop2: 3}",
            "a server is a mapping: {command: [...]} or",
        ),
        ("mcp: {shop: {command: no-such-program}}", "there is no program 'no-such-program'"),
    ],
)
def test_what_cannot_be_locked_is_told_with_the_way_on(
    project: Project, mcp: str, says: str
) -> None:
    project.write("files.yaml", f"name: files\n{mcp}\nnodes:\n  a: {{}}\n")
    allowed = ("--allow-mcp", "shop", "--allow-mcp", "shop2")
    done = project.teamgraph("mcp", "lock", "files.yaml", *allowed)
    assert done.exit_code != 0
    assert says in done.stderr
    assert not (project.folder / "mcp_lock.json").exists()
