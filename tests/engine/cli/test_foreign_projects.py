"""The command line in projects whose own modules have the names of our folders."""

from __future__ import annotations

import pytest

from .conftest import Project

NAMES = ("engine", "nodes", "graphs", "prompts")
MODULE = '''\
def shout(message):
    return message.upper() + " from NAME"

def price(item: str) -> str:
    """The price of an item."""
    return "3"
'''
LAYOUTS = {
    "module": ("{0}.py", "{0}"),
    "package": ("{0}/__init__.py", "{0}"),
    "folder without __init__.py": ("{0}/own.py", "{0}.own"),
}
CASES = "graph: NAME.yaml\ncases:\n  one: {input: hello, assume: {shouted: HELLO}}\n"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_functions_and_tools_are_those_of_the_project(project: Project, layout: str) -> None:
    file, module = LAYOUTS[layout]
    allow = ", ".join(repr(name) for name in NAMES)
    project.write("pyproject.toml", f"[tool.teamgraph]\nallow = [{allow}]\n")
    for name in NAMES:
        own = module.format(name)
        project.write(file.format(name), MODULE.replace("NAME", name))
        nodes = f"  shouted: {{kind: python, call: '{own}:shout'}}\n"
        nodes += f"  a: {{tools: ['{own}:price'], needs: shouted}}\n"
        outputs = f"name: {name}\nmodel: echo\nnodes:\n{nodes}output: shouted\n"
        project.write(f"{name}.yaml", outputs)
        project.write(f"{name}.prompts.yaml", CASES.replace("NAME", name))
    done = project.shell(
        "set -e\n"
        f"$teamgraph check {' '.join(f'{name}.yaml' for name in NAMES)}\n"
        f"for name in {' '.join(NAMES)}; do $teamgraph run $name.yaml hello; done\n"
        "$teamgraph prompts update\n"
    )
    assert done.returncode == 0, done.stderr
    answers = [line for line in done.stdout.splitlines() if line.startswith("HELLO")]
    assert answers == [f"HELLO from {name}" for name in NAMES]
    assert done.stdout.count("prompt snapshot written: ") == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_of_the_project_is_not_found_before_it_is_allowed(
    project: Project, name: str
) -> None:
    project.write(f"{name}.py", MODULE)
    project.write("one.yaml", f"name: one\nnodes:\n  a: {{kind: python, call: '{name}:shout'}}\n")
    done = project.teamgraph("check", "one.yaml")
    assert done.exit_code == 1
    assert f"'{name}' is not allowed here" in done.stdout
    assert f"--allow {name}" in done.stdout


def test_modules_beside_the_graph_are_found_from_any_folder(project: Project) -> None:
    project.write("deep/er/own.py", MODULE)
    graph = "name: one\nmodel: echo\nnodes:\n  a: {kind: python, call: 'own:shout'}\n"
    project.write("deep/er/one.yaml", graph)
    for folder, name in (
        (".", "deep/er/one.yaml"),
        ("deep", "er/one.yaml"),
        ("deep/er", "one.yaml"),
    ):
        done = project.shell(f"cd {folder} && $teamgraph run {name} hello --allow own")
        assert (done.returncode, done.stdout) == (0, "HELLO from NAME\n"), done.stderr


@pytest.mark.parametrize("place", ["own.py", "deep/own.py", "deep/er/own.py"])
def test_modules_of_case_files_are_found_from_any_folder(project: Project, place: str) -> None:
    """In the current folder, in the project's, and beside the cases."""
    project.write("deep/pyproject.toml", "[tool.teamgraph]\n")
    project.write(place, MODULE)
    graph = "name: one\nmodel: echo\nnodes:\n  a: {kind: python, call: 'own:shout'}\n  b: {}\n"
    project.write("deep/er/one.yaml", graph + "output: [b, a]\n")
    cases = "graph: one.yaml\nallow: [own]\ncases:\n  one: {input: hello}\n"
    project.write("deep/er/one.prompts.yaml", cases)
    for command in ("update", "coverage"):
        done = project.shell(f"$teamgraph prompts {command} deep")
        assert done.returncode == 0, done.stderr
