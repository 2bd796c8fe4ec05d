"""What keeps a template from being rendered is told at load, all at once, each at its place."""

# ruff: noqa: E501  a template is easier to read on one line

from __future__ import annotations

from pathlib import Path

import pytest

from teamgraph.engine.prompts.library import Prompts
from teamgraph.errors import DefinitionError, Problem


def problems(source: str, **others: str) -> list[Problem]:
    return Prompts(inline={"a": source, **others}).problems("a.inline")


def told(source: str, **others: str) -> list[tuple[str, int | None, int | None, str | None]]:
    found = problems(source, **others)
    return [(each.code, each.line, each.column, each.suggestion) for each in found]


def write(folder: Path, **files: str) -> Prompts:
    for name, text in files.items():
        (folder / f"{name}.jinja").write_text(text)
    return Prompts([folder])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ a | uper }}", ("P001", 1, 8, "upper")),
        ("{{ a |\n  uper }}", ("P001", 2, 3, "upper")),
        ("{{ a | xyzzy }}", ("P001", 1, 8, None)),
        ("{% filter uper %}{% endfilter %}", ("P001", 1, 11, "upper")),
        ("{% set a | uper %}{% endset %}", ("P001", 1, 12, "upper")),
        ("{{ a | map(attribte='x') }}", ("P009", 1, 12, "attribute")),
        ("{{ a | truncate(10, nd='') }}", ("P009", 1, 21, "end")),
        ("{{ a | fence(tga='x') }}", ("P009", 1, 14, "tag")),
        ("{{ a is defned }}", ("P001", 1, 9, "defined")),
        ("{{ a is not\n defned }}", ("P001", 2, 2, "defined")),
        ("{% include 'nothing.jinja' %}", ("P001", 1, 12, None)),
        ("{% include ['nothing.jinja'] %}", ("P001", 1, 13, None)),
        ("{% include 'b.inline' if x else 'nothing' %}", ("P001", 1, 33, None)),
        ("{% extends 'nothing.jinja' %}", ("P001", 1, 12, None)),
        ("{% import 'nothing.jinja' as m %}", ("P001", 1, 11, None)),
        ("{% from 'nothing.jinja' import m %}", ("P001", 1, 9, None)),
        ("{% from 'b.inline' import x as y,\n  hullo %}", ("P001", 2, 3, "hello")),
        ("{% include x %}", ("P013", 1, 12, None)),
        ("{% include x.y %}", ("P013", 1, 12, None)),
        ("{% include 'a' ~ x %}", ("P013", 1, 12, None)),
        ("{% include [x, 'b.inline'] %}", ("P013", 1, 12, None)),
        ("{% include [] %}", ("P013", 1, 12, None)),
        ("{% include 7 %}", ("P013", 1, 12, None)),
        ("{% include 'b.inline' if x %}", ("P013", 1, 12, None)),
        ("{% extends x %}", ("P013", 1, 12, None)),
        ("{% from x import y %}", ("P013", 1, 9, None)),
        ("{% include 'b.inline' without context %}", ("P013", 1, 4, None)),
        ("{{ a | fence }}", ("P017", 1, 8, None)),
        ("{{ a | fence('A b') }}", ("P017", 1, 14, None)),
        ("{{ a | fence(7) }}", ("P017", 1, 14, None)),
        ("{% autoescape true %}{% endautoescape %}", ("P011", 1, 4, None)),
        ("{% if a %}{% extends 'b.inline' %}{% endif %}", ("P014", 1, 14, None)),
        ("{% block b %}{% endblock %}{% block b %}{% endblock %}", ("P014", 1, 37, None)),
        ("{% block b required %}{% endblock %}", ("P014", 1, 4, None)),
        ("{{ super() }}", ("P014", 1, 4, None)),
        ("{% block b %}{% if a %}{{ super() }}{% endif %}{% endblock %}", ("P014", 1, 27, None)),
        ("{% block rules %}{% endblock %}{{ self.rulez() }}", ("P014", 1, 40, "rules")),
        ("{% for loop in x %}{{ loop }}{% endfor %}", ("P011", 1, 8, None)),
        ("{% macro m(caller) %}{{ caller() }}{% endmacro %}", ("P011", 1, 4, None)),
        ("{% usr %}x{% endusr %}", ("P011", 1, 4, "user")),
        ("{% xyzzy %}", ("P011", 1, 4, None)),
        ("{% endif %}", ("P011", 1, 4, None)),
        ("{% endfr %}", ("P011", 1, 4, "endfor")),
        ("{% user %}x{% endusr %}", ("P011", 1, 15, "enduser")),
        ("{% user %}x{% endsystem %}", ("P011", 1, 15, "enduser")),
        ("{% if a %}\n{% for b in a %}{% endfor %}", ("P011", 1, 4, None)),
        ("{% set a = 1 %}{% set b %}{% set c = 2 %}", ("P011", 1, 19, None)),
        ("{% if a %}{% endif %}{% if b %}", ("P011", 1, 25, None)),
        ("{% user cach=true %}{% enduser %}", ("P011", 1, 9, "cache")),
        ("{% user xyz=true %}{% enduser %}", ("P011", 1, 9, None)),
        ("{% user name='a' name='b' %}{% enduser %}", ("P011", 1, 18, None)),
        ("{% user 7 %}{% enduser %}", ("P011", 1, 9, None)),
        ("{% user name %}{% enduser %}", ("P011", 1, 14, None)),
        ("{{ " + "(" * 400 + "1" + ")" * 400 + " }}", ("P011", 1, 1, None)),
        ("{{ " + "a + " * 800 + "1 }}", ("P011", 1, 1, None)),
        ("{{ " + "9" * 5000 + " }}", ("P011", 1, 1, None)),
        ("{% for a in b %}" * 25 + "{% endfor %}" * 25, ("P011", 1, 1, None)),
    ],
)
def test_a_mistake_is_told_at_its_place(
    source: str, expected: tuple[str, int, int, str | None]
) -> None:
    assert told(source, b="{% macro hello() %}{% endmacro %}{% set x = 1 %}") == [expected]


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("hello {% user %}x{% enduser %}", 1, 1),
        ("\n\n  hello {% user %}x{% enduser %}", 3, 3),
        ("{% user %}x{% enduser %}\n {{ q.x | upper }}", 2, 5),
        ("{% user %}x{% enduser %}{% include 'text.inline' %}", 1, 36),
        ("{% include 'shots.inline' %} and", 1, 30),
        ("{% user %}x{% enduser %}{% filter upper %}x{% endfilter %}", 1, 28),
        ("{% macro m() %}{{ caller() }}{% endmacro %}{% user %}x{% enduser %}"
         "{% call m() %}x{% endcall %}", 1, 71),
        ("{% user %}x{% enduser %}{% for a in b %}{% else %}x{% endfor %}", 1, 51),
        ("{% user %}x{% enduser %}{% if a %}{% elif b %}{% else %}x{% endif %}", 1, 57),
        ("{% user %}x{% enduser %}{% with a = 1 %}{{ a }}{% endwith %}", 1, 44),
        ("{% block a %}x{% endblock %}{% messages h %}{{ self.a() }}", 1, 14),
        ("{% system %}{% user %}x{% enduser %}{% endsystem %}", 1, 16),
        ("{% system %}{% messages x %}{% endsystem %}", 1, 16),
        ("{% system %}{% include 'shots.inline' %}{% endsystem %}", 1, 4),
        ("{% macro m() %}{% user %}x{% enduser %}{% endmacro %}", 1, 19),
        ("{% set x %}{% user %}x{% enduser %}{% endset %}", 1, 15),
        ("{% set x %}{% block b %}{% user %}x{% enduser %}{% endblock %}{% endset %}", 1, 28),
        ("{% filter upper %}{% user %}x{% enduser %}{% endfilter %}", 1, 22),
        ("{% import 'shots.inline' as m %}", 1, 4),
        ("{% from 'shots.inline' import m %}", 1, 4),
    ],
)  # fmt: skip
def test_text_and_tags_stand_where_they_may(source: str, line: int, column: int) -> None:
    shots = "{% user %}shot{% enduser %}{% set m = 1 %}"
    found = [each for each in problems(source, text="text", shots=shots) if each.code == "P012"]
    assert (found[0].line, found[0].column) == (line, column)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "just text",
        "{# only a comment #}",
        "{{ x | fence(tag='a') }}{{ x | fence(t) }}",
        "{% user %}x{% enduser %}\n \n{# between #}\n{% assistant %}y{% endassistant %}\n",
        "{% if a %}{% user %}x{% enduser %}{% else %}\n{% messages h %}{% endif %}",
        "{% set x = 1 %}{% macro m() %}text{% endmacro %}{% user %}{{ m() }}{{ x }}{% enduser %}",
        "{% user %}{% include 'b.inline' %}{% enduser %}",
        "{% include ['none.jinja', 'b.inline'] %}{% include 'none.jinja' ignore missing %}",
        "{% include 'b.inline' if x else 'b.inline' %}",
        "{% include ['none.jinja'] ignore missing %}",
        "{% import 'b.inline' as b %}{{ b.hello() }}",
        "{% from 'b.inline' import hello with context %}{{ hello() }}",
        "{% from 'c.inline' import p, q, r, s, t, u as v, hello %}",
        "{% extends 'base.inline' %}\n\n\n{# a child #}  {% block x %}{{ super() }}{% endblock %}\n\n",
    ],
)
def test_a_sound_template_has_no_problems(source: str) -> None:
    macros = "{% macro hello() %}{% endmacro %}text"
    module = (
        "{% import 'b.inline' as p %}{% from 'b.inline' import hello as q %}"
        "{% from 'b.inline' import hello %}{% if q %}{% set r = 1 %}{% endif %}"
        "{% set s, (t, w) = q %}{% set u %}{% endset %}"
    )
    base = "{% block x %}base{% endblock %}"
    assert problems(source, b=macros, c=module, base=base) == []


def test_what_is_imported_from_a_broken_template_is_not_told_twice() -> None:
    assert told("{% from 'b.inline' import x %}", b="{{ broken") == [("P011", 1, 4, None)]


def test_templates_that_reach_too_deep_are_told() -> None:
    chain = {f"n{number}": f"{{% include 'n{number + 1}.inline' %}}" for number in range(400)}
    assert told("{% include 'n0.inline' %}", **chain, n400="x") == [("P011", 1, 1, None)]


@pytest.mark.parametrize("terms", range(440, 500, 3))
def test_a_long_sum_is_rendered_or_refused(terms: int) -> None:
    assert len(problems("{{ " + "+".join("a" * terms) + " }}")) <= 1


def test_all_problems_come_at_once_each_once() -> None:
    source = "{{ a | uper }}\n{{ b | lowr }}\n{% include 'b.inline' %}{% include 'b.inline' %}"
    assert told(source, b="{{ c | triim }}") == [
        ("P001", 1, 8, "upper"),
        ("P001", 2, 8, "lower"),
        ("P001", 1, 8, "trim"),
    ]


def test_problems_are_found_in_all_that_is_reached(tmp_path: Path) -> None:
    prompts = write(
        tmp_path,
        a="{% extends 'base.jinja' %}{% block x %}{% include 'part.jinja' %}{% endblock %}",
        base="{% from 'macros.jinja' import m %}{% block x %}{% endblock %}",
        part="{{ a | uper }}",
        macros="{% macro m() %}\n{{ a | lowr }}{% endmacro %}",
    )
    found = {(Path(each.file or "").name, each.line) for each in prompts.problems("a.jinja")}
    assert found == {("part.jinja", 1), ("macros.jinja", 2)}


def test_a_child_says_only_what_its_parents_have_room_for(tmp_path: Path) -> None:
    prompts = write(
        tmp_path,
        base="{% block rules %}{% endblock %}{% block role required %}{% endblock %}",
        middle="{% extends 'base.jinja' %}{% block rules %}{% block inner %}{% endblock %}{% endblock %}",
        a="lost\n{% extends 'middle.jinja' %}\n{% set x = 1 %}{% macro m() %}fine{% endmacro %}\n"
        "{% if x %}{{ x }}{% set y %}fine{% endset %}{% endif %}\n"
        "{% for i in [1] %}{% endfor %}\n"
        "{% block inner %}{% endblock %}{% block  rulez %}{% block new %}{% endblock %}{% endblock %}\n",
    )
    found = [(e.code, e.line, e.column, e.suggestion) for e in prompts.problems("a.jinja")]
    assert found == [
        ("P014", 6, 42, "rules"),
        ("P014", 2, 12, None),
        ("P015", 1, 1, None),
        ("P015", 4, 14, None),
        ("P015", 5, 4, None),
    ]


def test_roles_stand_where_the_parents_block_stands(tmp_path: Path) -> None:
    prompts = write(
        tmp_path,
        base="{% system %}{% block rules %}r{% endblock %}{% endsystem %}\n"
        "{% block talk %}{% user %}u{% enduser %}{% endblock %}",
        a="{% extends 'base.jinja' %}{% block rules %}{% user %}x{% enduser %}{% endblock %}\n"
        "{% block talk %}\n {{ super() }} text{% endblock %}",
    )
    found = [(each.code, each.line, each.column) for each in prompts.problems("a.jinja")]
    assert found == [("P012", 1, 47), ("P012", 3, 16)]


def test_templates_that_extend_each_other_are_told() -> None:
    found = told("{% extends 'b.inline' %}", b="{% extends 'a.inline' %}")
    assert found == [("P014", 1, 12, None), ("P014", 1, 12, None)]


def test_a_template_that_extends_itself_is_pointed_to_the_builtin(tmp_path: Path) -> None:
    prompts = write(tmp_path, router="{% extends 'router.jinja' %}")
    (problem,) = prompts.problems("router.jinja")
    assert "extend 'builtin/router.jinja'" in problem.message


def test_two_extends_are_one_too_many() -> None:
    found = told("{% extends 'b.inline' %}{% extends 'b.inline' %}", b="x")
    assert ("P014", 1, 28, None) in found


def test_a_module_cannot_see_the_context_unless_it_is_told_to() -> None:
    macro = "{% macro m(x) %}{{ x }}{{ input.message }}{% if y is defined %}{{ y }}{% endif %}{% endmacro %}"
    (problem,) = problems("{% from 'b.inline' import m %}{{ m(1) }}", b=macro)
    assert (problem.code, problem.file, problem.line, problem.column) == ("P002", None, 1, 27)
    assert "'input'" in problem.message
    assert problems("{% from 'b.inline' import m with context %}{{ m(1) }}", b=macro) == []
    assert problems("{% from 'b.inline' import m %}", b=macro) == []


@pytest.mark.parametrize(
    ("source", "columns"),
    [
        ("{% user %}{{ x }}{% enduser %}{% set x = 1 %}", [14]),
        (
            "{% macro m() %}{{ x }}{% endmacro %}{% user %}{{ m() }}{% enduser %}{% set x = 1 %}",
            [19],
        ),
        (
            "{% user %}{{ x }}{% enduser %}{% if a %}{% set x = 1 %}{% else %}{% set x = 2 %}{% endif %}",
            [14],
        ),
        ("{% user %}{{ x }}{% enduser %}{% if a %}{% set x = 1 %}{% endif %}", []),
        ("{% user %}{{ x }}{% enduser %}{% from 'k.inline' import y as x %}", [14]),
        ("{% user %}{{ x }}{% enduser %}{% import 'k.inline' as x %}", [14]),
        ("{% user %}{{ x }}{% enduser %}{% macro x() %}{% endmacro %}", [14]),
        ("{% user %}{{ x if x is defined }}{% set x = 1 %}{% enduser %}{% set x = 1 %}", [14]),
        ("{% user %}{% if x is defined %}{{ x }}{% endif %}{% enduser %}{% set x = 1 %}", [35]),
        ("{% user %}{{ x is defined }}{% enduser %}{% set x = 1 %}", []),
        ("{% block b %}{% user %}{{ x }}{% enduser %}{% endblock %}{% set x = 1 %}", []),
        ("{% user %}{% include 'm.inline' %}{% enduser %}{% set x = 1 %}", []),
        ("{% user %}{% if x %}{{ x }}{% endif %}{% set x = 1 %}{% enduser %}", []),
        ("{% if x %}{% user %}{{ x }}{% enduser %}{% endif %}{% set x = 1 %}", [24]),
    ],
)
def test_a_name_is_not_used_before_an_outer_scope_sets_it(source: str, columns: list[int]) -> None:
    found = problems(source, m="{{ x }}", k="{% set y = 1 %}")
    assert [(each.code, each.column) for each in found] == [("P002", column) for column in columns]


def test_a_missing_template_has_no_place_but_a_suggestion(tmp_path: Path) -> None:
    prompts = write(tmp_path, summarize="x")
    (problem,) = prompts.problems("sumarize.jinja")
    assert (problem.code, problem.file, problem.line) == ("P001", None, None)
    assert problem.suggestion == "summarize.jinja"


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jinja").write_bytes(b"ok\xff")
    (tmp_path / "b.jinja").write_text("{% include 'a.jinja' %}")
    prompts = Prompts([tmp_path])
    (problem,) = prompts.problems("a.jinja")
    assert problem.code == "P016"
    assert "byte 2" in problem.message
    assert prompts.problems("b.jinja") == [problem]
    assert prompts.reads("a.jinja") == []


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "a.jinja").write_text("x")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    (problem,) = Prompts([tmp_path]).problems("a.jinja")
    assert problem.code == "P016"
    assert "Permission denied" in problem.message


@pytest.mark.parametrize(
    ("files", "column", "text"),
    [
        ({"a": "{% include 'a.inline' %}"}, 12, "includes itself;"),
        ({"a": "{% if x %}{% include 'a.inline' %}{% endif %}"}, 22, "includes itself;"),
        ({"a": "{% import 'a.inline' as a %}"}, 11, "imports itself;"),
        ({"a": "{% from 'a.inline' import b %}"}, 9, "imports itself;"),
        (
            {"a": "{% include 'b.inline' %}", "b": "{% include 'a.inline' %}"},
            12,
            "through 'b.inline'",
        ),
        (
            {"a": "{% include 'b.inline' %}", "b": "{% extends 'a.inline' %}"},
            12,
            "through 'b.inline'",
        ),
        ({"a": "{% include ['none.jinja', 'a.inline'] %}"}, 27, "includes itself;"),
    ],
)
def test_a_template_that_reaches_itself_is_refused(
    files: dict[str, str], column: int, text: str
) -> None:
    problem = next(
        each for each in Prompts(inline=files).problems("a.inline") if text in each.message
    )
    assert (problem.code, problem.line, problem.column) == ("P014", 1, column)


def test_the_place_of_a_byte_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a.jinja").write_bytes("\ufefföne\r\ntwo \n x".encode() + b"\xff")
    (problem,) = Prompts([tmp_path]).problems("a.jinja")
    assert (problem.code, problem.line, problem.column) == ("P016", 3, 3)


@pytest.mark.parametrize("name", [f"{'x' * 300}.jinja", f"{'d/' * 3000}x.jinja"])
def test_a_name_longer_than_a_file_name_may_be_is_not_found(name: str, tmp_path: Path) -> None:
    (problem,) = Prompts([tmp_path]).problems(name)
    assert problem.code == "P001"


def test_a_link_out_of_its_folder_is_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "prompts"
    inside.mkdir()
    (tmp_path / "secret.jinja").write_text("secret")
    (inside / "real.jinja").write_text("real")
    (inside / "out.jinja").symlink_to(tmp_path / "secret.jinja")
    (inside / "in.jinja").symlink_to(inside / "real.jinja")
    (inside / "folder").symlink_to(tmp_path)
    (inside / "ring.jinja").symlink_to(inside / "ring.jinja")
    prompts = Prompts([inside])
    assert [each.code for each in prompts.problems("out.jinja")] == ["P016"]
    assert [each.code for each in prompts.problems("folder/secret.jinja")] == ["P016"]
    assert [each.code for each in prompts.problems("ring.jinja")] == ["P001"]
    assert prompts.problems("in.jinja") == []
    assert {"out.jinja", "folder/secret.jinja"}.isdisjoint(prompts.names())


def test_what_reads_the_problems_cannot_change_them() -> None:
    prompts = Prompts(inline={"a": "{{ a | uper }}"})
    prompts.problems("a.inline").clear()
    assert len(prompts.problems("a.inline")) == 1


@pytest.mark.parametrize(
    ("source", "column", "text"),
    [
        ("{% if a = b %}{% endif %}", 9, "compare with =="),
        ("{{ a = b }}", 6, "compare with =="),
        ('{{ "abc }}', 4, 'the quote " is never closed'),
        ("{{ 'abc }}", 4, "the quote ' is never closed"),
        ("{{ a == }}", 9, "the expression is not finished"),
        ("{{ a | }}", 8, "the expression is not finished"),
        ("{% if %}{% endif %}", 7, "the expression is not finished"),
    ],
)
def test_a_common_mistake_is_explained(source: str, column: int, text: str) -> None:
    (problem,) = Prompts(inline={"a": source}).problems("a.inline")
    assert text in problem.message
    assert (problem.code, problem.column) == ("P011", column)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a ==", "is not finished"),
        ("a = b", "compare with =="),
        ("a and", "is not finished"),
        ("'x", "is never closed"),
        ("", "is not finished"),
    ],
)
def test_a_common_mistake_in_a_condition_is_explained(source: str, text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        Prompts().expression(source)


@pytest.mark.parametrize("tag", ["elseif", "elsif"])
def test_the_tag_of_another_language_suggests_elif(tag: str) -> None:
    source = f"{{% if a %}}{{% {tag} b %}}{{% endif %}}"
    (problem,) = Prompts(inline={"a": source}).problems("a.inline")
    assert problem.suggestion == "elif"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("{% set total = 1 %}{{ totl }}", "total"),
        ("{% macro m(title) %}{{ titel }}{% endmacro %}{{ m(1) }}", "title"),
        ("{% for each in xs %}{{ eech }}{% endfor %}", "each"),
        ("{% with colour = 1 %}{{ color }}{% endwith %}", "colour"),
    ],
)
def test_a_misspelt_name_of_the_template_itself_is_known(source: str, name: str) -> None:
    reads = Prompts(inline={"a": source}).reads("a.inline")
    assert name in {read.local_name for read in reads}
