"""The front doors of the packages: each name is taken from its module when it is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import teamgraph
from teamgraph import dispatch, errors, events, graphs, kinds, nodes, testing, tracing

MIN_WORDS = 3
PACKAGES = pytest.mark.parametrize(
    "package", [teamgraph, nodes, graphs], ids=lambda it: it.__name__
)
DOORS = pytest.mark.parametrize(
    "package",
    [teamgraph, nodes, graphs, dispatch, kinds, errors, events, testing, tracing],
    ids=lambda it: it.__name__,
)


def declared(package: ModuleType) -> dict[str, str]:
    """Each name that type checkers see in the package, and the module that it is imported from."""
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    return {
        name.name: f"{package.__spec__.parent}.{node.module}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for name in node.names
        if name.name in package.__all__
    }


@DOORS
def test_the_list_of_public_names_is_what_type_checkers_see(package: ModuleType) -> None:
    own = {"FOLDER"} if package is graphs else set[str]()
    assert {*declared(package), *own} == set(package.__all__)


@DOORS
def test_every_name_is_the_one_of_its_module(package: ModuleType) -> None:
    for name, module in declared(package).items():
        assert getattr(package, name) is getattr(import_module(module), name), name


def test_a_name_that_is_not_there_is_told_with_what_was_meant() -> None:
    with pytest.raises(AttributeError, match="'teamgraph' has no 'Grph'; did you mean 'Graph'"):
        teamgraph.Grph  # type: ignore[attr-defined]  # noqa: B018  that it is not there is the point


@pytest.mark.parametrize(
    ("name", "door"),
    [
        ("Team", "graphs"),
        ("Member", "nodes"),
        ("NodeFinished", "events"),
        ("StoreError", "errors"),
        ("Context", "kinds"),
    ],
)
def test_a_name_of_another_module_is_refused_with_the_import_that_works(
    name: str, door: str
) -> None:
    way = f"from teamgraph.{door} import {name}"
    with pytest.raises(ImportError, match=f"^'{name}' is in teamgraph.{door}: {way}$"):
        exec(f"from teamgraph import {name}")  # noqa: S102  a statement, as users write it
    exec(way)  # noqa: S102  as above


@PACKAGES
def test_a_name_that_is_nowhere_near_is_told_too(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match=rf"'{package.__name__}' has no 'zzz'$"):
        getattr(package, "zzz")  # noqa: B009  no type checker knows it


@PACKAGES
def test_the_package_lists_its_names(package: ModuleType) -> None:
    assert set(package.__all__) <= set(dir(package))


@PACKAGES
def test_importing_a_package_alone_imports_nothing_else(package: ModuleType) -> None:
    name = package.__name__
    code = (
        f"import sys, {name}; print([each for each in sys.modules if each.startswith('{name}.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_graph_waits_only_for_the_kinds_that_it_names_and_for_nothing_that_writes() -> None:
    code = "import sys, teamgraph; teamgraph.Graph(name='n', nodes={'a': {}})\n"
    code += "print([each for each in sys.modules if each.startswith('teamgraph.nodes.')])\n"
    code += "print('teamgraph.engine.graph.yaml.writer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['teamgraph.nodes.member']\nFalse\n"


def docstring(name: str, package: ModuleType) -> str:
    """The docstring of a class or function, or the text below an assignment to the name."""
    value: object = getattr(package, name)
    if isinstance(value, type | FunctionType):
        return (
            value.__dict__.get("__doc__") or "" if isinstance(value, type) else value.__doc__ or ""
        )
    home = import_module(declared(package).get(name, package.__name__))
    body = ast.parse(Path(str(home.__file__)).read_text(encoding="utf-8")).body
    for statement, following in pairwise(body):
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
        is_named = any(isinstance(each, ast.Name) and each.id == name for each in targets)
        if (
            is_named
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            return str(following.value.value)
    return ""


@DOORS
def test_every_name_has_a_docstring_of_its_own_that_is_a_sentence(package: ModuleType) -> None:
    for name in package.__all__:
        first = docstring(name, package).strip().partition("\n\n")[0]
        assert first.endswith((".", ":")), f"{package.__name__}.{name}: {first!r}"
        assert len(first.split()) > MIN_WORDS, f"{package.__name__}.{name}: {first!r}"
        assert not first.lower().startswith(("the same", "see ")), f"{package.__name__}.{name}"


def test_a_door_of_an_extra_has_its_names_and_no_others() -> None:
    door = import_module("teamgraph.dispatch")
    assert all(hasattr(door, name) for name in door.__all__)
    with pytest.raises(AttributeError, match=r"has no attribute 'zzz'$"):
        getattr(door, "zzz")  # noqa: B009  no type checker knows it


def test_without_pytest_the_door_of_the_tests_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [*sys.modules]:
        if name == "teamgraph.testing" or name.startswith("teamgraph.engine.testing.conformance"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pytest", None)
    words = r"the extra `testing`: pip install 'teamgraph\[testing\]'"
    with pytest.raises(ImportError, match=words):
        import_module("teamgraph.testing")
