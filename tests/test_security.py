"""SECURITY.md: every promise names tests, they exist, and a run of all tests looks at them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.builders import written
from tests.security import named_tests

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISES = PAGE.partition("## What is promised")[2].partition("## What is not promised")[0]
TESTS = """\
import pytest


@pytest.mark.parametrize("case", [1, 2])
def test_it(case):
    pass


@pytest.mark.skip(reason="an example of a skipped test")
def test_other():
    pass
"""


@cache
def functions(file: str) -> set[str]:
    """The tests of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("test", named_tests(PAGE))
def test_a_named_test_exists(test: str) -> None:
    file, name = test.split("::")
    assert name in functions(file)


def test_every_promise_names_a_test() -> None:
    promises = PROMISES.split("\n- ")[1:]
    assert len(promises) > 20
    assert [text for text in promises if not named_tests(text)] == []


@pytest.mark.parametrize(
    ("named", "words", "says"),
    [
        ("test_it", (), ""),
        ("test_it", ("-n", "1"), ""),
        ("test_other", ("-n", "1"), "names tests/test_a.py::test_other, which was skipped"),
        ("test_gone", (), "names tests/test_a.py::test_gone, which was not run"),
        ("test_gone", ("-k", "it"), ""),
        ("test_gone", ("tests/test_a.py",), ""),
    ],
)
def test_a_run_of_all_tests_fails_without_a_named_one(
    named: str, words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    written(tmp_path, "[pytest]\ntestpaths = tests\n", name="pytest.ini")
    written(tmp_path, TESTS, name="tests/test_a.py")
    written(tmp_path, f"- A promise. `tests/test_a.py::{named}`\n", name="SECURITY.md")
    command = [sys.executable, "-m", "pytest", "-p", "tests.security", *words]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--import-mode=importlib"],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if says else 0), done.stdout + done.stderr
    assert says in done.stdout
    assert ("SECURITY.md" in done.stdout) == bool(says)
