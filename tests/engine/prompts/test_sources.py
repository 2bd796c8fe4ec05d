"""Templates are found by name: the folders first, then the built-ins."""

# ruff: noqa: E501  a template is easier to read on one line

from __future__ import annotations

import re
from pathlib import Path

import pytest

from teamgraph.engine.prompts.library import Prompts
from teamgraph.engine.prompts.sources import BUILTIN


def test_the_first_folder_wins_and_builtin_is_always_the_builtin(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "a.jinja").write_text(folder.name)
    (two / "b.jinja").write_text("b")
    (two / "router.jinja").write_text("mine")
    prompts = Prompts([one, two])
    assert prompts.sources("a.jinja") == {"a.jinja": "one"}
    assert prompts.sources("b.jinja") == {"b.jinja": "b"}
    assert prompts.sources("router.jinja") == {"router.jinja": "mine"}
    builtin = (BUILTIN / "router.jinja").read_text()
    form = {"answer_form.jinja": (BUILTIN / "answer_form.jinja").read_text()}  # it includes that
    assert prompts.sources("builtin/router.jinja") == {"builtin/router.jinja": builtin, **form}
    assert Prompts().sources("router.jinja") == {"router.jinja": builtin, **form}


def test_names_are_all_that_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "a.jinja").touch()
    (tmp_path / "router.jinja").touch()
    (tmp_path / "notes.txt").touch()
    names = Prompts([tmp_path], inline={"x": "y"}).names()
    assert names == sorted(set(names))
    assert {"team/a.jinja", "router.jinja", "builtin/router.jinja", "member.jinja"} <= set(names)
    assert not {"notes.txt", "x.inline"} & set(names)


@pytest.mark.parametrize(
    "name",
    ["../secret.jinja", "/etc/passwd", "a/../../secret.jinja", "..\\x", "", ".", "x\0y", "builtin/",
     "builtin/../x", "folder", "x.inline"],
)  # fmt: skip
def test_no_name_leads_out_of_the_folders(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jinja").write_text("secret")
    (tmp_path / "prompts" / "folder").mkdir(parents=True)
    (tmp_path / "prompts" / "x.inline").write_text("a file")
    prompts = Prompts([tmp_path / "prompts"])
    assert [each.code for each in prompts.problems(name)] == ["P001"]
    assert prompts.sources(name) == {}


def test_a_file_is_told_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jinja").write_text("{{ x }}{{ y | uper }}")
    monkeypatch.chdir(tmp_path)
    near = Prompts([Path("p")])
    assert near.problems("a.jinja")[0].file == str(Path("p", "a.jinja"))
    assert near.reads("a.jinja")[0].file == str(Path("p", "a.jinja"))
    monkeypatch.chdir(tmp_path / "p")
    assert Prompts([tmp_path / "p"]).problems("a.jinja")[0].file == "a.jinja"
    (tmp_path / "q").mkdir()
    monkeypatch.chdir(tmp_path / "q")
    assert Prompts([tmp_path / "p"]).problems("a.jinja")[0].file == str(tmp_path / "p" / "a.jinja")


def test_a_byte_order_mark_and_line_ends_make_no_difference(tmp_path: Path) -> None:
    (tmp_path / "a.jinja").write_bytes(b"a\nb\n")
    (tmp_path / "b.jinja").write_bytes(b"\xef\xbb\xbfa\r\nb\r")
    prompts = Prompts([tmp_path])
    assert (
        prompts.sources("b.jinja")["b.jinja"] == prompts.sources("a.jinja")["a.jinja"] == "a\nb\n"
    )


def test_a_template_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.jinja").write_text("one")
    prompts = Prompts([tmp_path])
    before = prompts.prompt_hash("a.jinja")
    (tmp_path / "a.jinja").write_text("two")
    assert prompts.render("a.jinja", {})[0].content == "one"
    assert prompts.prompt_hash("a.jinja") == before
    assert Prompts([tmp_path]).prompt_hash("a.jinja") != before


FILES = {
    "a": "{% extends 'base.jinja' %}{% block x %}{% include ['no.jinja', 'b.jinja'] %}{% endblock %}",
    "base": "{% from 'm.jinja' import m %}{% block x %}{% endblock %}",
    "b": "{% include 'c.jinja' if x else 'd.jinja' %}{% include 'a.jinja' %}",
    "c": "{% import 'm.jinja' as m %}",
    "d": "d",
    "m": "{% macro m() %}{% endmacro %}",
}


@pytest.mark.parametrize("changed", FILES)
def test_the_hash_covers_all_that_is_reached(tmp_path: Path, changed: str) -> None:
    for name, text in FILES.items():
        (tmp_path / f"{name}.jinja").write_text(text)
    (tmp_path / "alone.jinja").write_text("alone")
    first = Prompts([tmp_path])
    assert set(first.sources("a.jinja")) == {f"{name}.jinja" for name in FILES}
    (tmp_path / f"{changed}.jinja").write_text(FILES[changed] + " ")
    second = Prompts([tmp_path])
    assert first.prompt_hash("a.jinja") != second.prompt_hash("a.jinja")
    assert first.prompt_hash("alone.jinja") == second.prompt_hash("alone.jinja")
    assert re.fullmatch("[0-9a-f]{64}", second.prompt_hash("a.jinja"))


def test_the_hash_knows_where_one_text_ends() -> None:
    one = Prompts(inline={"a": "{% include 'b.inline' %}", "b": 'x", "c.inline": "y'})
    two = Prompts(inline={"a": "{% include 'b.inline' %}", "b": "x"})
    assert one.prompt_hash("a.inline") != two.prompt_hash("a.inline")
    assert Prompts(inline={"a": "\ud800"}).prompt_hash("a.inline")


@pytest.mark.parametrize("path", sorted(BUILTIN.rglob("*.jinja")), ids=lambda path: path.name)
def test_the_built_in_templates_are_sound(path: Path) -> None:
    prompts = Prompts()
    assert prompts.problems(path.relative_to(BUILTIN).as_posix()) == []
