"""Projects of others, with folders and modules called as ours are, where teamgraph is installed.

Each project has all four names at once, in one of three forms. The whole cross product of forms and
ways to call pytest is run; the commands of teamgraph are run once for each form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.builders import written
from tests.packaging.bare import FOLDERS, Bare, Done

FORMS: Mapping[str, str] = {  # where a name's module lies, and how it is imported
    "package": "{name}/__init__.py",
    "folder": "{name}/mine.py",
    "module": "{name}.py",
}
MODULE = '''\
def where() -> str:
    return "theirs: {name}"


def look_in_{name}(word: str) -> str:
    """Look a word up.

    Args:
        word: The word.
    """
    return word
'''
TEST = """\
def test_{name}() -> None:
    import {module}

    assert {module}.where() == "theirs: {name}"


def test_teamgraph_is_the_installed_one() -> None:
    import teamgraph

    assert teamgraph.__file__ == {installed!r}
"""
CASES = """\
graph: team.yaml
cases:
  a question:
    input: What is it?
    expect: {clerk: {contains: [You serve in the shop]}}
"""
PYTEST: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, str]]] = {
    "pytest": ("pytest", (), {}),
    "python -m pytest": ("python", ("-m", "pytest"), {}),
    "PYTHONPATH=.": ("pytest", ("--import-mode=importlib",), {"PYTHONPATH": "."}),
    "xdist": ("python", ("-m", "pytest", "-n", "2"), {}),
}
SILENT = """\
import sys

import engine


def test_it() -> None:
    assert engine.OWN
    assert [name for name in sys.modules if name.startswith("teamgraph")] == [
        "teamgraph",
        "teamgraph.engine.os_fork",
        "teamgraph.engine",
        "teamgraph.engine.testing",
        "teamgraph.engine.testing.plugin",
    ]
"""


def module_of(name: str, form: str) -> str:
    """How the module of a project is imported."""
    return f"{name}.mine" if form == "folder" else name


@pytest.fixture(params=list(FORMS))
def form(request: pytest.FixtureRequest) -> str:
    """In which form the project has its own names."""
    form: str = request.param
    return form


@pytest.fixture
def project(form: str, bare: Bare, tmp_path: Path) -> Path:
    """A project with its own engine, graphs, nodes and prompts, and a test of each."""
    installed = str(bare.site_packages / "teamgraph" / "__init__.py")
    for name in FOLDERS:
        written(tmp_path, MODULE.format(name=name), name=FORMS[form].format(name=name))
        test = TEST.format(name=name, module=module_of(name, form), installed=installed)
        written(tmp_path, test, name=f"test_{name}.py")
    return tmp_path


def team(form: str) -> str:
    """A graph whose nodes call the project's own functions, and whose member has its tools."""
    calls = "".join(
        f"  from_{name}: {{kind: python, call: '{module_of(name, form)}:where'}}\n"
        for name in FOLDERS
    )
    tools = ", ".join(f"'{module_of(name, form)}:look_in_{name}'" for name in FOLDERS)
    needs = ", ".join(f"from_{name}" for name in FOLDERS)
    return f"""\
name: theirs
nodes:
{calls}
  clerk: {{role: You serve in the shop, tools: [{tools}], needs: [{needs}], prompt: clerk.jinja}}
output: clerk
"""


def passed(done: Done, tests: int) -> None:
    """Check that pytest passed, with so many tests."""
    assert done.code == 0, done.out + done.err
    assert f"{tests} passed" in done.out, done.out


@pytest.mark.parametrize("way", PYTEST)
def test_their_tests_import_their_modules(bare: Bare, project: Path, way: str) -> None:
    program, words, variables = PYTEST[way]
    done = bare.run(program, *words, cwd=project, **variables)
    passed(done, 2 * len(FOLDERS))
    assert done.err == ""


def test_commands_find_their_functions(bare: Bare, project: Path, form: str) -> None:
    written(project, team(form), name="team.yaml")
    template = "{{ node.role }}\n" + "".join(f"{{{{ from_{name}.output }}}}\n" for name in FOLDERS)
    written(project, template, name="prompts/clerk.jinja")
    written(project, CASES, name="team.prompts.yaml")
    allow = [word for name in FOLDERS for word in ("--allow", name)]
    settings = f"[tool.teamgraph]\nallow = {json.dumps(FOLDERS)}\n"

    refused = bare.run("teamgraph", "check", "team.yaml", cwd=project)
    assert refused.code == 1
    assert "--allow nodes" in refused.err + refused.out

    checked = bare.run("teamgraph", "check", "team.yaml", *allow, cwd=project)
    assert checked.code == 0, checked.out + checked.err

    words = ("run", "team.yaml", "What is it?", "--model", "echo", "--json", *allow)
    run = bare.run("teamgraph", *words, cwd=project)
    assert run.code == 0, run.out + run.err
    assert all(f"theirs: {name}" in run.out for name in FOLDERS)

    written(project, settings, name="pyproject.toml")
    updated = bare.run("teamgraph", "prompts", "update", cwd=project)
    assert updated.code == 0, updated.out + updated.err
    passed(bare.run("pytest", cwd=project), 2 * len(FOLDERS) + 1)


def test_a_project_that_does_not_use_teamgraph_sees_nothing_of_it(
    bare: Bare, tmp_path: Path
) -> None:
    written(tmp_path, "OWN = True\n", name="engine/__init__.py")
    written(tmp_path, SILENT, name="test_it.py")
    done = bare.run("python", "-W", "error", "-m", "pytest", "-q", cwd=tmp_path)
    passed(done, 1)
    assert done.out.splitlines()[0].split() == [".", "[100%]"]
    assert "teamgraph" not in done.out + done.err
    assert "prompt" not in done.out + done.err


def test_a_started_project_may_get_modules_called_as_ours(bare: Bare, tmp_path: Path) -> None:
    started = bare.run("teamgraph", "init", "shop", cwd=tmp_path)
    assert started.code == 0, started.err
    shop = tmp_path / "shop"
    for name in FOLDERS:
        written(shop, MODULE.format(name=name), name=f"{name}/__init__.py")
    path = shop / "team.yaml"
    text = path.read_text(encoding="utf-8")
    text = text.replace("output:", '  theirs: {kind: python, call: "nodes:where"}\n\noutput:')
    path.write_text(text, encoding="utf-8")
    words = ("run", "team.yaml", "Hello", "--allow", "nodes", "--json")
    run = bare.run("teamgraph", *words, cwd=shop)
    assert run.code == 0, run.out + run.err
    assert "theirs: nodes" in run.out
    settings = shop / "pyproject.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("store =", 'allow = ["nodes"]\nstore ='), encoding="utf-8")
    updated = bare.run("pytest", "--prompts-update", cwd=shop)
    passed(updated, 5)  # a new node is a change of every snapshot
    passed(bare.run("pytest", cwd=shop), 5)
