"""Names of Python things in graph files: what is found, what is refused, and how it is told."""

from __future__ import annotations

import functools
import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teamgraph.engine.imports import resolve
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import reference

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules of packages that only this test can import."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def module(path: str, source: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source), encoding="utf-8")

    yield module
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refused(name: str, *allow: str) -> Problem:
    with pytest.raises(DefinitionError) as caught:
        resolve(name, allow)
    (problem,) = caught.value.problems
    assert problem.path == ()
    return problem


class Outer:
    class Inner:
        pass

    def method(self) -> None: ...

    @classmethod
    def make(cls) -> None: ...


def a_function() -> None: ...


def test_a_name_in_an_allowed_module_is_found(write: Write) -> None:
    write("tg_shop/__init__.py", "")
    write("tg_shop/orders.py", "class Order:\n    @staticmethod\n    def find(): return 'found'")
    find = resolve("tg_shop.orders:Order.find", ["tg_shop"])
    assert callable(find)
    assert find() == "found"
    assert resolve("tg_shop.orders:Order", ["tg_shop.orders"]) is not None


def test_a_misspelt_package_is_told_with_the_allowed_one_that_was_meant() -> None:
    assert refused("tg_shp:find", "tg_shop").suggestion == "tg_shop"
    assert refused("os:getcwd", "tg_shop").suggestion is None


@pytest.mark.parametrize("allowed", ["tg_sho", "tg_shop2", "tg_shop.order", "tg_shop.orders.x", ""])
def test_what_is_not_allowed_is_not_imported(write: Write, allowed: str) -> None:
    write("tg_shop/__init__.py", "raise AssertionError('imported')")
    write("tg_shop/orders.py", "")
    problem = refused("tg_shop.orders:Order", allowed)
    assert problem.code == "G021"
    assert "pass allow=['tg_shop'], --allow tg_shop, or set it in pyproject.toml" in str(problem)
    assert "tg_shop" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        *("", "json", "json:", ":dumps", "json:dumps:x", ".json:dumps", "json: dumps", "1json:x"),
        *("json:dumps()", "json:a..b", "json:__loader__.get_data", "json:JSONEncoder.__init__"),
    ],
)
def test_a_malformed_name_is_told_with_the_right_form(text: str) -> None:
    problem = refused(text, "json")
    assert problem.code == "G020"
    assert "'package.module:name'" in problem.message


def test_a_module_is_no_way_to_what_was_not_allowed(write: Write) -> None:
    write("tg_open.py", "import os")
    assert "'os:name'" in refused("tg_open:os.system", "tg_open").message
    assert refused("tg_open:os", "tg_open").code == "G021"


def test_a_missing_module_is_told_with_the_one_that_was_meant(write: Write) -> None:
    write("tg_shop/__init__.py", "")
    write("tg_shop/orders.py", "")
    problem = refused("tg_shop.order:find", "tg_shop")
    assert problem.message == "'tg_shop.order:find': there is no module 'tg_shop.order'"
    assert problem.suggestion == "tg_shop.orders"
    assert refused("tg_shop.zzz.deep:find", "tg_shop").suggestion is None


def test_a_missing_package_is_told_with_a_way_out() -> None:
    problem = refused("tg_nowhere.orders:find", "tg_nowhere")
    assert "there is no module 'tg_nowhere'; install it" in problem.message


def test_a_module_is_no_package(write: Write) -> None:
    write("tg_flat.py", "")
    assert "there is no module 'tg_flat.orders'" in refused("tg_flat.orders:x", "tg_flat").message


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise RuntimeError('first line\\nno database')", "RuntimeError: no database"),
        ("import tg_not_installed", "ModuleNotFoundError: No module named 'tg_not_installed'"),
        ("def broken(:", "SyntaxError"),
        ("raise ValueError", "failed with ValueError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_an_error_while_importing_is_told_and_kept(write: Write, source: str, told: str) -> None:
    write("tg_broken.py", source)
    with pytest.raises(DefinitionError, match="importing 'tg_broken' failed") as caught:
        resolve("tg_broken:x", ["tg_broken"])
    assert told in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_missing_name_is_told_with_the_one_that_was_meant(write: Write) -> None:
    write("tg_shop.py", "class Order:\n    def find(self): ...")
    problem = refused("tg_shop:Ordr", "tg_shop")
    assert str(problem) == "'tg_shop:Ordr': 'tg_shop' has no 'Ordr'; did you mean 'Order'?"
    problem = refused("tg_shop:Order.fnd", "tg_shop")
    assert str(problem).endswith("'Order' has no 'fnd'; did you mean 'find'?")


def test_a_name_that_raises_when_it_is_read_is_refused(write: Write) -> None:
    write("tg_lazy.py", "def __getattr__(name): raise RuntimeError('not today')")
    assert "RuntimeError: not today" in refused("tg_lazy:x", "tg_lazy").message


def test_an_attribute_of_an_object_is_found_too(write: Write) -> None:
    write("tg_shop.py", "class Shop:\n    open = True\nshop = Shop()")
    assert resolve("tg_shop:shop.open", ["tg_shop"]) is True
    assert "'Shop' has no 'clsd'" in refused("tg_shop:shop.clsd", "tg_shop").message


@pytest.mark.parametrize("thing", [json.dumps, json.JSONEncoder, json.JSONEncoder.encode, len])
def test_a_reference_leads_back_to_its_thing(thing: object) -> None:
    name = reference(thing)
    assert resolve(name, [name.partition(":")[0]]) is thing


def test_classes_in_classes_and_class_methods_have_a_reference() -> None:
    module = sys.modules.setdefault(__name__, sys.modules[a_function.__module__])
    assert reference(Outer.Inner) == f"{module.__name__}:Outer.Inner"
    assert reference(Outer.make) == f"{module.__name__}:Outer.make"


def local() -> object:
    def inside() -> None: ...

    return inside


def elsewhere() -> object:
    def moved() -> None: ...

    moved.__qualname__ = "a_function"
    return moved


def script() -> object:
    def main() -> None: ...

    main.__qualname__, main.__module__ = "main", "__main__"
    return main


@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (lambda: None, "a lambda cannot be written to a file; define"),
        (local(), "defined inside a function, cannot be written to a file"),
        (functools.partial(a_function), "a partial cannot"),
        (Outer().method, "'Outer.method', a method of one object, cannot"),
        (Outer(), "an object of 'Outer' cannot"),
        (json, "<module 'json'"),
        (list[int], "an object of 'GenericAlias'"),
        (elsewhere(), "is not where it can be found"),
        (script(), "it is defined in the script that runs (__main__); move it"),
    ],
)
def test_what_has_no_name_cannot_be_written(thing: object, told: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        reference(thing)
    (problem,) = caught.value.problems
    assert problem.code == "G023"
    assert told in problem.message
