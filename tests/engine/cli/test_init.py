"""`teamgraph init`: a project that works at once, and nothing of anybody's is overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from teamgraph import Graph

from .conftest import Project

ROOT = Path(__file__).parents[3]
ASKED = "My parcel did not come."
FILES = {
    ".github/workflows/prompts.yaml",
    ".gitignore",
    ".schema/graph.v1.json",
    ".schema/prompts.v1.json",
    ".vscode/settings.json",
    "README.md",
    "prompts/delivery.jinja",
    "prompts/products.jinja",
    "pyproject.toml",
    "team.yaml",
    "tests/team.prompts.yaml",
}


def there(folder: Path) -> set[str]:
    """The files of a project but for its snapshots."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if "__prompts__" not in name}


def test_a_new_project_of_a_shipped_wheel_is_green_and_answers(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project.more["PYTHONPATH"] = str(unpacked_wheel(tmp_path_factory.mktemp("wheel")))
    done = project.shell(
        f"""
        set -e
        git init -q .
        $teamgraph init shop > written
        cd shop
        {sys.executable} -m pytest -q -p no:cacheprovider
        $teamgraph check team.yaml
        $teamgraph prompts coverage --fail-under 100
        $teamgraph run team.yaml "{ASKED}" --user ann --session s
        ls -A
        git add -A .
        git status --short
        """
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
    assert f"echo: {ASKED}\n" in done.stdout
    listed, _, added = done.stdout.partition("A  .gitignore\n")
    assert ".teamgraph\n" in listed
    assert "A  prompts/products.jinja\n" in added
    assert ".teamgraph" not in added


def unpacked_wheel(folder: Path) -> Path:
    """Where the packages of a wheel, as it is shipped, can be imported from."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "lib")
    return folder / "lib"


def test_without_pytest_the_way_to_get_it_comes_first(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)
    done = project.teamgraph("init", "shop")
    assert "  cd shop\n  pip install pytest\n  pytest\n" in done.stderr


def test_what_was_written_and_what_to_do_next_is_told(project: Project) -> None:
    done = project.teamgraph("init", "a shop")
    assert done.exit_code == 0
    assert there(project.folder / "a shop") == FILES
    assert "a shop/tests/__prompts__/team/a-parcel-that-did-not-come.md\n" in done.stdout
    assert len(done.stdout.splitlines()) == len(FILES) + 5
    assert done.stderr.startswith("created a-shop; next steps:\n  cd 'a shop'\n  pytest\n")
    assert "the model is echo" in done.stderr


def test_the_snapshots_are_what_the_templates_give_under_the_projects_name(
    project: Project,
) -> None:
    project.teamgraph("init", "shop")
    stored = (project.folder / "shop/tests/__prompts__/team/auto-router-delivery.md").read_text()
    assert stored.startswith("# shop / auto router=delivery\n")
    assert "    Say first that you are sorry" in stored


def test_the_folder_may_be_this_one_if_nothing_is_in_the_way(project: Project) -> None:
    done = project.teamgraph("init", ".", "--json", "--model", "openai/gpt-5-mini")
    assert (done.exit_code, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["name"] == Graph.load("team.yaml").name == project.folder.name
    assert set(told["files"]) >= FILES
    assert told["next"][0] == "pytest"
    assert (project.folder / "desk.yaml").is_file()
    assert 'model = "openai/gpt-5-mini" #' in (project.folder / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("named", "graph"),
    [("My shöp (2)", "My-shöp-2"), ("no", "no"), ("1.5", "1.5"), ("$x", "x"), ("!!", "team")],
)
def test_the_name_of_the_graph_is_made_of_the_folders(
    project: Project, named: str, graph: str
) -> None:
    assert project.teamgraph("init", named).exit_code == 0
    assert Graph.load(Path(named) / "team.yaml").name == graph


@pytest.mark.parametrize(
    ("there_already", "named"),
    [
        (["shop/team.yaml"], "shop/team.yaml: already exists"),
        (["shop/README.md", "shop/tests"], "shop/README.md, shop/tests: already exists"),
        (["shop"], "shop: already exists"),
        (
            ["shop/tests/__prompts__/team/auto-router-products.md"],
            "products.md: already exists",
        ),
    ],
)
def test_nothing_is_written_where_something_would_be_overwritten(
    project: Project, there_already: list[str], named: str
) -> None:
    for name in there_already:
        project.write(name, "mine")
    before = sorted(project.folder.rglob("*"))
    done = project.teamgraph("init", "shop")
    assert (done.exit_code, done.stdout) == (2, "")
    assert named in done.stderr
    assert "nothing was written" in done.stderr
    assert sorted(project.folder.rglob("*")) == before
    assert {(project.folder / name).read_text() for name in there_already} == {"mine"}


def test_a_link_that_leads_nowhere_is_in_the_way_too(project: Project) -> None:
    (project.folder / "team.yaml").symlink_to("nowhere.yaml")
    done = project.teamgraph("init", ".")
    assert done.exit_code == 2
    assert "team.yaml: already exists; nothing was written" in done.stderr
    assert not (project.folder / "nowhere.yaml").exists()


def test_a_folder_that_cannot_be_made_is_told(project: Project) -> None:
    done = project.teamgraph("init", "desk.yaml/shop")
    assert done.exit_code == 2
    assert "cannot write it: not a directory; name another folder" in done.stderr


@pytest.mark.parametrize("model", ["", " ", "a\nb"])
def test_a_model_has_an_id(project: Project, model: str) -> None:
    done = project.teamgraph("init", "shop", "--model", model)
    assert done.exit_code == 2
    assert "is not a model id; name one, such as openai/gpt-5-mini" in done.stderr
    assert not (project.folder / "shop").exists()


def test_no_letter_of_a_models_id_breaks_the_settings(project: Project) -> None:
    assert project.teamgraph("init", "shop", "--model", 'a"b\\c$d').exit_code == 0
    done = project.shell("cd shop && $teamgraph run team.yaml hello")
    assert done.returncode == 2
    assert 'a"b\\c$d' in done.stderr


def test_the_schemas_of_a_project_accept_its_files_and_are_named_by_them(project: Project) -> None:
    project.teamgraph("init", "shop")
    shop = project.folder / "shop"
    for schema, name in (("graph", "team.yaml"), ("prompts", "tests/team.prompts.yaml")):
        printed = json.loads(project.teamgraph("schema", schema).stdout)
        validator = Draft202012Validator(printed)
        assert json.loads((shop / f".schema/{schema}.v1.json").read_text("utf-8")) == printed
        written = (shop / name).read_text("utf-8")
        named = written.partition("$schema=")[2].partition("\n")[0]
        assert ((shop / name).parent / named).resolve() == shop / f".schema/{schema}.v1.json"
        data = YAML(typ="safe", pure=True).load(written)
        assert list(validator.iter_errors(data)) == []
        assert list(validator.iter_errors({**data, "casse": {}}))
    settings = json.loads((shop / ".vscode/settings.json").read_text("utf-8"))
    assert all((shop / schema).is_file() for schema in settings["yaml.schemas"])


def test_a_dumped_graph_names_a_schema_only_if_there_is_one(project: Project) -> None:
    Graph.load("desk.yaml").dump("copy.yaml")
    assert "$schema" not in (project.folder / "copy.yaml").read_text("utf-8")
    project.teamgraph("init", "shop")
    Graph.load("desk.yaml").dump("shop/copy.yaml")
    written = (project.folder / "shop/copy.yaml").read_text("utf-8")
    assert written.startswith("# yaml-language-server: $schema=.schema/graph.v1.json\n")
