"""What the project and the environment say, and who wins."""

from __future__ import annotations

import sys

import pytest

from .conftest import Project


def store_after(project: Project, *words: str) -> str:
    """The store that a run wrote to."""
    project.teamgraph("run", "desk.yaml", "hello", "--model", "echo", *words)
    (marker,) = project.folder.rglob("store.json")
    return marker.parent.relative_to(project.folder).as_posix()


def test_a_project_names_its_store(project: Project) -> None:
    project.write("pyproject.toml", '[tool.teamgraph]\nstore = "of/project"\n')
    assert store_after(project) == "of/project"


def test_the_environment_wins_over_the_project(project: Project) -> None:
    project.write("pyproject.toml", '[tool.teamgraph]\nstore = "of/project"\n')
    project.more["TEAMGRAPH_STORE"] = "of/environment"
    assert store_after(project) == "of/environment"


def test_the_option_wins_over_all(project: Project) -> None:
    project.more["TEAMGRAPH_STORE"] = "of/environment"
    assert store_after(project, "--store", "of/option") == "of/option"


def test_settings_are_those_of_the_nearest_project_above(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("pyproject.toml", '[tool.teamgraph]\nstore = "st"\nmodel = "echo"\n')
    project.write("below/deep/note", "")
    monkeypatch.chdir(project.folder / "below/deep")
    done = project.shell("$teamgraph run ../../desk.yaml hello")
    assert done.stdout == "echo: hello\n"
    assert (project.folder / "st/store.json").is_file()


def test_the_environments_model_wins_over_the_projects_and_the_graphs_over_both(
    project: Project,
) -> None:
    project.write("pyproject.toml", '[tool.teamgraph]\nmodel = "no/such"\n')
    project.more["TEAMGRAPH_MODEL"] = "echo"
    assert project.shell("$teamgraph run desk.yaml hello").stdout == "echo: hello\n"
    project.more["TEAMGRAPH_MODEL"] = "no/such"
    project.write("named.yaml", "name: t\nmodel: echo\nnodes:\n  a: {}\n")
    assert project.shell("$teamgraph run named.yaml hello").stdout == "echo: hello\n"


def test_a_project_allows_packages_and_names_folders_of_prompts(project: Project) -> None:
    table = '[tool.teamgraph]\nallow = ["own"]\nprompts = "texts"\n'
    project.write("pyproject.toml", table)
    project.write("own.py", "def shout(message):\n    return message.upper()\n")
    project.write("texts/say.jinja", "{{ shouted.output }}")
    nodes = "  shouted: {kind: python, call: 'own:shout'}\n  a: {prompt: say.jinja}\n"
    project.write("graphs/one.yaml", f"name: one\nmodel: echo\nnodes:\n{nodes}output: a\n")
    assert project.shell("$teamgraph run graphs/one.yaml hello").stdout == "echo: HELLO\n"


KIND = """
from typing import ClassVar

from teamgraph.kinds import Context, Node, Result

class Shout(Node):
    prompts: ClassVar[bool] = False
    mark: str

    async def run(self, context: Context) -> Result:
        return Result(context.input.message.upper() + self.mark)

class Again(Shout):
    kind: ClassVar[str] = "shout"
"""


def test_a_project_names_kinds_of_its_own(project: Project) -> None:
    project.write("own/kinds.py", KIND)
    project.write("loud.yaml", "name: loud\nnodes: {a: {kind: shout, mark: '!'}}\n")
    project.write("loud.prompts.yaml", "graph: loud.yaml\ncases: {hello: {input: hello}}\n")
    unknown = project.teamgraph("check", "loud.yaml")
    assert (
        "one of your own is named by `--kind package.module:Class`, or by `kinds`" in unknown.stdout
    )
    named = "$teamgraph check loud.yaml --kind own.kinds:Shout"
    assert project.shell(named).returncode == 0
    project.write("pyproject.toml", '[tool.teamgraph]\nkinds = ["own.kinds:Shout"]\n')
    script = "$teamgraph run loud.yaml hello && $teamgraph prompts update && $teamgraph schema"
    done = project.shell(script)
    assert (done.returncode, done.stdout.partition("\n")[0]) == (0, "HELLO!")
    assert '"shout"' in done.stdout
    assert list(project.folder.rglob("hello.md"))


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (["own:Shuot"], "--kind: 'own:Shuot': 'own' has no 'Shuot'; did you mean 'Shout'?"),
        (
            ["own:Context"],
            "--kind: 'own:Context' is no kind; name a subclass of teamgraph.kinds.Node",
        ),
        (["own"], "--kind: 'own' must be written as 'package.module:name'"),
        (["own:Shout", "own:Again"], "'own:Again' and another class are both of the kind 'shout'"),
    ],
)
def test_a_kind_that_cannot_be_used_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, kinds: list[str], told: str
) -> None:
    project.write("own.py", KIND)
    monkeypatch.syspath_prepend(project.folder)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    words = [word for kind in kinds for word in ("--kind", kind)]
    done = project.teamgraph("check", "desk.yaml", *words)
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.split())


def test_a_folder_of_prompts_that_is_named_must_be_there(project: Project) -> None:
    done = project.teamgraph("check", "desk.yaml", "--prompts", "nowhere")
    assert done.exit_code == 2
    assert "'nowhere' does not exist" in done.stderr
    project.write("pyproject.toml", "[tool.teamgraph]\nprompts = 'nowhere'\n")
    done = project.teamgraph("check", "desk.yaml")
    assert done.exit_code == 2
    assert "nowhere: there is no such folder; create it, or remove it from `prompts`" in done.stderr
    assert project.teamgraph("sessions", "list").exit_code == 0


def test_a_package_that_is_not_allowed_is_refused_with_the_way_to_allow_it(
    project: Project,
) -> None:
    project.write("own.py", "def shout(message):\n    return message.upper()\n")
    project.write("one.yaml", "name: one\nnodes:\n  a: {kind: python, call: 'own:shout'}\n")
    done = project.teamgraph("run", "one.yaml", "hello")
    assert done.exit_code == 2
    assert "--allow own" in done.stderr
    assert project.shell("$teamgraph run one.yaml hi --allow own").stdout == "HI\n"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("[tool.teamgraph]\nstor = 'x'\n", "unknown key 'stor'; did you mean 'store'?"),
        (
            "[tool.teamgraph]\nzzz = 'x'\n",
            "unknown key 'zzz'; it knows allow, allow_api_base, allow_mcp, kinds, prom",
        ),
        ("[tool.teamgraph]\nstore = 3\n", "store must be a text, not 3"),
        ("[tool.teamgraph]\nallow = [3]\n", "allow must be a list of texts, not [3]"),
        ("[tool.teamgraph]\nprompts = 3\n", "prompts must be a list of texts, not 3"),
        ("[tool]\nteamgraph = 3\n", "[tool.teamgraph] must be a table"),
        ("tool = 3\n", "[tool.teamgraph] must be a table"),
        ("[tool\n", "it cannot be read: "),
    ],
)
def test_invalid_settings_are_named(project: Project, table: str, told: str) -> None:
    project.write("pyproject.toml", table)
    done = project.teamgraph("run", "desk.yaml", "hello", "--model", "echo")
    assert done.exit_code == 2
    assert "pyproject.toml: " in done.stderr
    assert told in done.stderr
    assert not (project.folder / ".teamgraph").exists()


def test_a_project_without_settings_is_no_obstacle(project: Project) -> None:
    project.write("pyproject.toml", "[project]\nname = 'x'\n")
    assert store_after(project) == ".teamgraph"
