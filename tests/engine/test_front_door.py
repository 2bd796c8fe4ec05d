"""`import engine`: every public name, taken from its module when it is first asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import engine


def declared() -> dict[str, str]:
    """Each name that type checkers see in the package, and the module that it is imported from."""
    tree = ast.parse(Path(str(engine.__file__)).read_text(encoding="utf-8"))
    return {
        name.name: f"engine.{node.module}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for name in node.names
        if name.name in engine.__all__
    }


def test_the_list_of_public_names_is_what_type_checkers_see() -> None:
    assert sorted(declared()) == sorted(engine.__all__)


def test_every_name_is_the_one_of_its_module() -> None:
    for name, module in declared().items():
        assert getattr(engine, name) is getattr(import_module(module), name), name


def test_a_name_that_is_not_there_is_told_with_what_was_meant() -> None:
    with pytest.raises(AttributeError, match="'engine' has no 'Grph'; did you mean 'Graph'"):
        engine.Grph  # type: ignore[attr-defined]  # noqa: B018  that it is not there is the point
    with pytest.raises(AttributeError, match=r"'engine' has no 'zzz'$"):
        engine.zzz  # type: ignore[attr-defined]  # noqa: B018  likewise


def test_the_package_lists_its_names() -> None:
    assert set(engine.__all__) <= set(dir(engine))


def test_importing_the_package_alone_imports_nothing_else() -> None:
    code = "import sys, engine; print([name for name in sys.modules if name.startswith('engine.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
