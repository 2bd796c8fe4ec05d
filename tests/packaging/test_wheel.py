"""The wheel and the sdist: which files are in them, and under which name they are imported."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

from tests.packaging.bare import FOLDERS, ROOT, Bare
from tests.packaging.conftest import Built

IMPORTABLE = f"""
from importlib.util import find_spec
print([name for name in {(*FOLDERS, "teamgraph")} if find_spec(name)])
"""


def content(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel."""
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tracked() -> set[str]:
    """The files of the package in the checkout, as paths in the wheel."""
    within = {f"teamgraph/{folder}": ROOT / folder for folder in FOLDERS}
    found = {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in within.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    found |= {f"teamgraph/docs/{name}" for name in ("graph-checks.md", "prompt-checks.md")}
    return found | {
        f"teamgraph/{path.name}" for path in (ROOT / "teamgraph").iterdir() if path.is_file()
    }


def test_the_wheel_has_every_file_of_the_package_and_no_other(built: Built) -> None:
    files = set(content(built.wheel))
    info = {name for name in files if name.partition("/")[0].endswith(".dist-info")}
    assert files - info == tracked()
    assert {name.partition("/")[0] for name in info} == {"teamgraph-0.1.0.dist-info"}


def test_the_wheel_has_what_is_no_python(built: Built) -> None:
    files = set(content(built.wheel))
    assert {
        "teamgraph/py.typed",
        "teamgraph/prompts/member.jinja",
        "teamgraph/graphs/desk.yaml",
        "teamgraph/graphs/prompts/by_example.jinja",
        "teamgraph/engine/cli/starter/gitignore",
        "teamgraph/engine/cli/starter/prompts/products.jinja",
    } <= files


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_checkout(built: Built) -> None:
    assert content(built.wheel_of_sdist) == content(built.wheel)


def test_the_sdist_needs_no_link(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    names = {member.name.partition("/")[2] for member in members}
    assert {*FOLDERS, "teamgraph"} <= {name.partition("/")[0] for name in names}
    assert not any(name.startswith(f"teamgraph/{folder}") for name in names for folder in FOLDERS)


def test_an_installed_wheel_is_importable_as_teamgraph_alone(bare: Bare, tmp_path: Path) -> None:
    done = bare.run("python", "-c", IMPORTABLE, cwd=tmp_path)
    assert (done.code, done.out) == (0, "['teamgraph']\n"), done.err


def test_a_checkout_is_importable_as_teamgraph_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTABLE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "['teamgraph']\n"), done.stderr


def test_the_bare_environment_has_the_files_of_the_wheel(bare: Bare, tmp_path: Path) -> None:
    code = "import sys, teamgraph.engine; print(teamgraph.__file__, teamgraph.engine.__file__)\n"
    code += f"print([path for path in sys.path if path.startswith({str(ROOT)!r} + '/.e')])"
    done = bare.run("python", "-c", code, cwd=tmp_path)
    home = bare.site_packages / "teamgraph"
    assert done.out == f"{home / '__init__.py'} {home / 'engine' / '__init__.py'}\n[]\n"
    assert not home.is_symlink()


def test_the_command_and_the_module_are_the_same(bare: Bare, tmp_path: Path) -> None:
    command = bare.run("teamgraph", "--help", cwd=tmp_path)
    module = bare.run("python", "-m", "teamgraph", "--help", cwd=tmp_path)
    assert (command.code, command.err) == (0, "")
    assert "init" in command.out
    assert module == command


def test_the_pages_of_problem_codes_are_installed(bare: Bare, tmp_path: Path) -> None:
    for code in ("G012", "P002"):
        explained = bare.run("teamgraph", "explain", code, cwd=tmp_path)
        assert (explained.code, explained.err) == (0, "")
        assert explained.out.startswith(f"{code}: ")


def test_the_public_modules_are_importable(bare: Bare, tmp_path: Path) -> None:
    code = """
from teamgraph import *
from teamgraph.errors import *
from teamgraph.events import *
from teamgraph.graphs import *
from teamgraph.kinds import *
from teamgraph.nodes import *
from teamgraph.testing import *
import teamgraph.prompts
print(Graph.load(FOLDER / "desk.yaml").name, Runner.__name__, Router.__name__)
"""
    done = bare.run("python", "-c", code, cwd=tmp_path)
    assert (done.code, done.out) == (0, "desk Runner Router\n"), done.err
