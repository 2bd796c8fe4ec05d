"""Which names a template reads, where, and whether it has made sure that they are there."""

# ruff: noqa: E501  a template is easier to read on one line

from __future__ import annotations

from pathlib import Path

import pytest

from teamgraph.engine.prompts.library import Prompts


def reads(source: str, **others: str) -> list[str]:
    """The paths that are read in order; `?` marks the guarded, `~` the ones set on some ways."""
    found = Prompts(inline={"t": source, **others}).reads("t.inline")
    return [each.path + "?" * each.guarded + "~" * each.assigned for each in found]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("text", ""),
        ("{{ a.b.c }}", "a.b.c"),
        ("{{ a['b'].c }}", "a.b.c"),
        ("{{ a[0].c }}", "a"),
        ("{{ a.x[b.y].c['d'] }}", "a.x b.y"),
        ("{{ a[1:n] }}", "a n"),
        ("{{ a.b.upper() }}{{ f(x) }}{{ a.items().y }}", "a.b f x a"),
        ("{{ (a or b).c }}", "a? b"),
        ("{{ a | join(b) }}{{ [a, (b, c)] }}{{ {k: v} }}", "a b a b c k v"),
        ("{{ -a + b * c ~ d }}{{ 1 < a <= b }}{{ a in b }}", "a b c d a b a b"),
        ("{{ a is divisibleby(b) }}", "a b"),
        ("{{ a if b else c }}{{ a if b }}", "b? a c b? a"),
        ("{{ range(n) }}{{ namespace(x=a) }}{{ cycler(b) }}{{ joiner }}{{ dict }}", "n a b"),
        ("{{ lipsum }}{{ loop }}{{ caller }}", "lipsum loop caller"),
        ("{% messages history.messages %}", "history.messages"),
        ("{% user name=who cache=c %}{{ x }}{% enduser %}", "who c x"),
        ("{% set x = a %}{{ x.y }}", "a"),
        ("{% set x, y = a %}{{ x }}{{ y }}{% set (p, q) = b %}{{ p }}{{ q }}", "a b"),
        ("{{ x }}{% set x = 1 %}{{ x }}", "x"),
        ("{% set x = x %}{{ x }}", "x"),
        ("{% set x %}{{ a }}{% set y = 1 %}{% endset %}{{ x }}{{ y }}", "a y"),
        ("{% set x | replace(a, b) %}{% endset %}{{ x }}", "a b"),
        ("{% set n = namespace(x=1) %}{% set n.x = a %}{{ n.x }}{% set m.x = 2 %}", "a m"),
        ("{% for x in xs %}{{ x.a }}{{ loop.index }}{{ y }}{% else %}{{ x }}{% endfor %}", "xs y x"),
        ("{% for x in xs if x.ok and y %}{{ x }}{% endfor %}{{ x }}{{ loop }}", "xs y? x loop"),
        ("{% for k, (v, w) in d.items() %}{{ k }}{{ v }}{{ w }}{% set s = 1 %}{% endfor %}{{ s }}",
         "d s"),
        ("{% for x in xs recursive %}{{ loop(x.children) }}{% endfor %}", "xs"),
        ("{% with x = a, y = x %}{{ x }}{{ y }}{% endwith %}{{ y }}", "a x y"),
        ("{% filter replace(a, b) %}{{ c }}{% set x = 1 %}{% endfilter %}{{ x }}", "a b c x"),
        ("{% system %}{% set x = 1 %}{{ x }}{% endsystem %}{{ x }}", "x"),
        ("{% macro m(x, y=a) %}{{ x }}{{ y }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller() }}"
         "{% endmacro %}{{ m(c) }}", "a b c"),
        ("{% macro m(x) %}{{ z }}{% endmacro %}{% set z = 1 %}{{ m(1) }}", ""),
        ("{% macro m() %}{{ z }}{% endmacro %}{% if z is defined %}{{ m() }}{% endif %}", "z? z?"),
        ("{% macro m() %}{{ z }}{% endmacro %}{% if z is defined %}{{ m() }}{% endif %}{{ m() }}",
         "z? z"),
        ("{% macro m() %}{{ m() }}{{ z }}{% endmacro %}{{ m() }}", "z"),
        ("{% macro m() %}{{ z }}{% endmacro %}", "z"),
        ("{% set k = m %}{% macro m() %}{{ z }}{% endmacro %}{% set k = m %}"
         "{% if z %}{{ k() }}{% endif %}", "m z? z?"),
        ("{% macro m(x) %}{{ caller(x) }}{% endmacro %}"
         "{% call(u, v=a) m(b) %}{{ u }}{{ v }}{{ c }}{% endcall %}{{ u }}", "b a c u"),
        ("{% if a is defined %}{{ a.b }}{% endif %}{{ a.c }}", "a? a.b? a.c"),
        ("{% if a is undefined %}{{ a.b }}{% else %}{{ a.c }}{% endif %}", "a? a.b a.c?"),
        ("{% if a is not defined %}x{% elif b %}{{ a }}{{ b }}{% else %}{{ a }}{{ b }}{% endif %}",
         "a? b? a? b? a? b"),
        ("{% if a %}{{ a.b }}{% endif %}{% if not a %}{{ a.b }}{% endif %}", "a? a.b? a? a.b"),
        ("{% if a and b.c and a.d %}{{ a }}{{ b }}{% endif %}", "a? b.c a.d? a? b"),
        ("{% if a or b %}{{ a }}{% else %}{{ b }}{% endif %}", "a? b? a b"),
        ("{% if not a or a.b %}{{ a }}{% endif %}", "a? a.b? a"),
        ("{% if not (a is undefined or b is undefined) %}{{ a }}{{ b }}{% endif %}", "a? b? a? b?"),
        ("{% if (a and c) or (a and d) %}{{ a }}{{ c }}{% endif %}", "a? c? a? d? a? c"),
        ("{{ a.b if a is defined else a.c }}", "a? a.b? a.c"),
        ("{{ a and a.b }}{{ a or 'x' }}{{ not a }}", "a a.b? a? a?"),
        ("{{ a | default('x') }}{{ a | d(b) }}{{ a.b | default('x') }}", "a? a? b a.b"),
        ("{% if a.b is defined %}{{ a.b }}{% endif %}{{ a is none }}", "a.b a.b a"),
        ("{% if a is defined %}{% for x in a %}{{ a }}{% set y = a %}{% endfor %}{% endif %}",
         "a? a? a? a?"),
        ("{% if c %}{% set x = 1 %}{% else %}{% set x = 2 %}{% endif %}{{ x }}", "c?"),
        ("{% if c %}{% set x = 1 %}{% endif %}{{ x }}{% if x is defined %}{{ x }}{% endif %}",
         "c? x~ x?~ x?~"),
        ("{% if c %}{% if d %}{% set x = 1 %}{% endif %}{% endif %}{{ x }}", "c? d? x~"),
        ("{% if c %}{% set range = 1 %}{% endif %}{{ range }}", "c? range~"),
        ("{% if c %}{% macro m() %}{{ a }}{% endmacro %}{% else %}{% macro m() %}{{ b }}{% endmacro %}"
         "{% endif %}{{ m() }}", "c? a b"),
        ("{% block b %}{{ x }}{{ super() }}{% endblock %}{{ self.b() }}{{ self.none() }}{{ super() }}", "x"),
        ("{% set x = 1 %}{% for y in ys %}{% block b %}{{ x }}{{ y }}{% endblock %}{% endfor %}",
         "ys y"),
        ("{% for y in ys %}{% block b scoped %}{{ y }}{% endblock %}{% endfor %}", "ys"),
        ("{% if a %}{% set x = 1 %}{% block b %}{{ x }}{{ a }}{% set z = 1 %}{% endblock %}{% endif %}{{ z }}",
         "a? a? z"),
        ("{% set x = 1 %}{% include 'p.inline' %}{{ y }}", "y p.q y"),
        ("{% if p is defined %}{% include 'p.inline' %}{% endif %}", "p? x y p.q?"),
        ("{% for x in xs %}{% include ['none.jinja', 'p.inline'] ignore missing %}{% endfor %}",
         "xs y p.q"),
        ("{% include 't.inline' %}{{ a }}", "a"),
        ("{% include a %}", "a"),
        ("{% import 'm.inline' as m %}{{ m.f(a) }}{{ m.g }}", "a"),
        ("{% import 'm.inline' as m with context %}{{ m.f(a) }}{{ m.nope() }}", "free inside a"),
        ("{% from 'm.inline' import f, g as h with context %}{{ f(1) }}{{ h }}{{ g }}",
         "free inside g"),
        ("{% set inside = 1 %}{% from 'm.inline' import f with context %}{{ f(1) }}", "free"),
        ("{% if a %}{% from 'm.inline' import f with context %}{% endif %}{{ f(1) }}", "a? free inside f~"),
        ("{% if a %}{% import 'm.inline' as m with context %}{% endif %}{{ m.f(1) }}", "a? free inside m~"),
        ("{% from 'm.inline' import f with context %}{% set fs = [f] %}{{ fs[0](1) }}", "free inside"),
        ("{% import 'm.inline' as m with context %}{% set fs = [m.f] %}{{ fs[0](1) }}", "free inside"),
        ("{% import 'm.inline' as m with context %}{% set k = m %}{{ k.g }}", "free"),
        ("{% from 'm.inline' import f with context %}{% set inside = 1 %}{{ f(1) }}", "free inside"),
        ("{% with inside = 1 %}{% include 'q.inline' %}{% endwith %}{% include 'q.inline' %}", "free inside"),
        ("{% from x import y %}{{ y }}", "x"),
        ("{% import 'none.jinja' as m %}{{ m.f() }}", ""),
        ("{% from 'none.jinja' import f %}{{ f() }}", ""),
    ],
)  # fmt: skip
def test_every_construct_is_read_rightly(source: str, expected: str) -> None:
    part = "{{ x }}{{ y }}{{ p.q }}{% set y = 1 %}"
    module = "{{ free }}{% set g = 1 %}{% macro f(x) %}{{ x }}{{ inside }}{% endmacro %}"
    call = "{% from 'm.inline' import f with context %}{{ f(1) }}"
    assert reads(source, p=part, m=module, q=call) == expected.split()


def test_blocks_are_read_as_the_child_writes_them(tmp_path: Path) -> None:
    files = {
        "base": "{{ x }}{% if french is defined %}{% block a %}{{ base_a }}{% endblock %}{% endif %}"
        "{% block b %}{{ base_b }}{% endblock %}{{ end }}",
        "middle": "{% extends 'base.jinja' %}{% block b %}{{ middle_b }}{{ super() }}{% endblock %}",
        "child": "{% extends 'middle.jinja' %}{% set x = 1 %}{% macro m() %}{{ macro }}{% endmacro %}"
        "{{ lost }}{% block a %}{{ french }}{{ m() }}{{ x }}{% endblock %}"
        "{% if y %}{% set z = 1 %}{% else %}{% set z = 2 %}{% endif %}"
        "{% block b %}{{ super() }}{{ z }}{% endblock %}{% block none %}{{ never }}{% endblock %}",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.jinja").write_text(text)
    found = Prompts([tmp_path]).reads("child.jinja")
    assert [(Path(each.file).stem, each.path, each.guarded) for each in found] == [
        ("child", "y", True),
        ("base", "french", True),
        ("child", "french", True),
        ("child", "macro", False),
        ("middle", "middle_b", False),
        ("base", "base_b", False),
        ("base", "end", False),
    ]


def test_each_place_is_read_once_and_told_exactly() -> None:
    source = "é {{ a.b }}\r\n{{- x\n  .y }}{% for i in [1] %}{{ a.b }}{% endfor %}"
    found = Prompts(inline={"t": source}).reads("t.inline")
    assert [(each.name, each.path, each.line, each.column) for each in found] == [
        ("a", "a.b", 1, 6),
        ("x", "x.y", 2, 5),
        ("a", "a.b", 3, 29),
    ]
    assert {each.file for each in found} == {"t.inline"}


def test_a_template_that_is_not_there_reads_nothing() -> None:
    assert Prompts().reads("nothing.jinja") == []
    assert reads("{{ broken") == []
