"""What an operator, a filter or a test cannot take is found at load; what it can is left alone.

Each of these was found by rendering random templates, or by asking which there could be.
"""

# ruff: noqa: E501  a template is easier to read on one line
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pytest

from teamgraph.engine.prompts.library import Prompts
from teamgraph.engine.prompts.static.types import ScalarType
from teamgraph.errors import Problem, PromptError


@dataclass
class Leaf:
    word: Literal["one", "two", None]
    size: int
    note: str | None = None


GIVEN: dict[str, object] = {
    "text": str,
    "anything": object,
    "maybe": str | None,
    "number": int,
    "now": ScalarType(datetime),
    "leaf": Leaf,
    "leaves": Sequence[Leaf],
    "texts": list[str],
    "mixed": list[str | None],
    "table": dict[str, int],
    "pairs": list[tuple[str, int]],
    "nested": list[tuple[tuple[str, int], str]],
    "rows": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}},
}  # fmt: skip
VALUES = {
    "text": "",
    "maybe": None,
    "number": 3,
    "now": datetime(2026, 1, 1),  # noqa: DTZ001  as good as any
    "leaf": Leaf(None, 2),
    "leaves": [],
    "texts": [],
    "mixed": ["a", None],
    "table": {},
    "pairs": [],
    "nested": [(("a", 1), "b")],
    "rows": [{}],
}


def all_problems(source: str) -> list[Problem]:
    prompts = Prompts(inline={"t": source})
    return prompts.problems("t.inline") or prompts.type_problems("t.inline", GIVEN)


def problems(source: str) -> list[Problem]:
    prompts = Prompts(inline={"t": source})
    assert prompts.problems("t.inline") == []
    return [each for each in prompts.type_problems("t.inline", GIVEN) if each.severity == "error"]


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("{{ number + text }}", "P018", "number is a number and text is a text"),
        ("{{ text - 1 }}", "P018", "cannot be combined by -"),
        ("{{ maybe + 'a' }}", "P005", "maybe may be None"),
        ("{{ -text }}", "P018", "text is a text, and - takes a number"),
        ("{{ '%s' % maybe }}", "P005", "maybe may be None"),
        ("{{ '%s' | format(maybe) }}", "P005", "maybe may be None"),
        ("{{ '{}'.format(maybe) }}", "P005", "maybe may be None"),
        ("{{ '{x}'.format(x=maybe) }}", "P005", "maybe may be None"),
        ("{{ text.replace('a', 'b').upper }}", "P018", "() is missing"),
        ("{{ text.upper }}", "P018", "text.upper is not called"),
        ("{{ text.strip(number) }}", "P018", "number is a number, and .strip() takes a text"),
        ("{{ now.strftime(number) }}", "P018", "takes a text"),
        ("{{ text() }}", "P018", "text is a text, and cannot be called"),
        ("{{ number | length }}", "P018", "number is a number, and | length takes"),
        ("{{ number | join }}", "P018", "| join takes a list"),
        ("{{ number | wordwrap }}", "P018", "| wordwrap takes a text"),
        ("{{ text | round }}", "P018", "| round takes a number"),
        ("{{ texts | sum }}", "P018", "| sum takes a number"),
        ("{{ leaves | sort | list | length }}", "P018", "cannot be ordered"),
        ("{{ leaves | sort(attribute='note') | length }}", "P005", "may contain None"),
        ("{{ mixed | join }}", "P005", "may contain None"),
        ("{{ mixed }}", "P005", "an item of mixed may be None"),
        ("{{ leaves | map(attribute='word') | join }}", "P005", "may contain None"),
        ("{% for pair in pairs %}{{ pair + mixed }}{% endfor %}", "P005", "an item of this value"),
        ("{% for pair in pairs %}{{ mixed + pair }}{% endfor %}", "P005", "an item of this value"),
        ("{{ ('a' if text) | reverse }}", "P018", "an iterator, not a list"),
        ("{{ texts | map('upper') }}", "P018", "an iterator, not a list"),
        ("{{ mixed | map('upper') | join }}", "P005", "may be None"),
        ("{{ texts | select | length }}", "P018", "| list"),
        ("{{ texts | reverse | last }}", "P018", "| last takes a list"),
        ("{{ texts | first }}", "P005", "may be missing"),
        ("{{ texts[0] }}", "P005", "texts[0] may be missing"),
        ("{{ text[0] }}", "P005", "text[0] may be missing"),
        ("{{ number[0] }}", "P018", "[ ] takes a list"),
        ("{{ table.key }}", "P005", "table.key may be missing"),
        ("{{ table[text] }}", "P005", "may be missing"),
        ("{% for key in table %}{{ table[key.upper()] }}{% endfor %}", "P005", "may be missing"),
        ("{% for key in table %}{{ (table if text else table)[key] }}{% endfor %}", "P005", "may be missing"),
        ("{{ number is even and text is even }}", "P018", "is even takes a number"),
        ("{% if maybe < 'a' %}{% endif %}", "P005", "maybe may be None"),
        ("{% if number < 'a' %}{% endif %}", "P018", "cannot be compared"),
        ("{% if number is gt('a') %}{% endif %}", "P018", "cannot be compared"),
        ("{% if 'a' in maybe %}{% endif %}", "P005", "maybe may be None"),
        ("{% if 'a' in number %}{% endif %}", "P018", "in takes a list"),
        ("{% if number in text %}{% endif %}", "P018", "cannot be used with `in`"),
        ("{% if text is in number %}{% endif %}", "P018", "in takes a list"),
        ("{{ texts.append('a') }}", "P018", "texts cannot be changed here"),
        ("{{ table.update({}) }}", "P018", "table cannot be changed here"),
        ("{% for a, b in texts %}{% endfor %}", "P018", "cannot be unpacked into 2 names"),
        ("{% for a, b, c in pairs %}{% endfor %}", "P018", "cannot be unpacked into 3 names"),
        ("{% for a in range(text) %}{% endfor %}", "P018", "range takes a number"),
        ("{% for a in texts %}{{ loop.previtem | upper }}{% endfor %}", "P005", "may be missing"),
        ("{{ ('a' if text).upper() }}", "P005", "has no `else`"),
        ("{{ ('a' if text) + 'b' }}", "P018", "has no `else`"),
        ("{{ leaf.word }}", "P005", "leaf.word may be None"),
        ("{% if rows[0].a is not none %}{{ rows[0].a }}{% endif %}", "P005", "missing"),
        ("{% for row in rows %}{% if row.a == 'b' %}{% endif %}{% endfor %}", "P005", "missing"),
        ("{% for row in rows %}{% if row.a is not none %}{{ row.a }}{% endif %}{% endfor %}", "P005", "missing"),
        ("{% set each = leaves | last %}{{ each.note | default('') }}", "P005", "each may be missing"),
        ("{% set x = leaves | first %}{% if x.note is defined %}{% endif %}", "P005", "x may be missing"),
        ("{% macro m(a=none) %}{{ a }}{% endmacro %}{{ m() }}", "P005", "a may be None"),
        ("{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "P005", "caller may be missing"),
        ("{% macro m() %}{% endmacro %}{% call m() %}{% endcall %}", "P009", "calls no caller()"),
        ("{% macro m() %}{{ caller(none) }}{% endmacro %}{% call(a) m() %}{{ a }}{% endcall %}", "P005", "a may be None"),
        ("{% macro m() %}{% endmacro %}{{ m }}", "P018", "m is not called"),
        ("{% set x | length %}{{ text }}{% endset %}{{ x + 'a' }}", "P018", "cannot be combined"),
        ("{% set x = leaf %}{% if text %}{% set x = none %}{% endif %}{{ x.size }}", "P005", "x may be None"),
        ("{% for x in leaves %}{% if text %}{% set x = 1 %}{% endif %}{{ x.size }}{% endfor %}", "P002", "x is a number"),
        ("{% set n = namespace(a=1) %}{{ n.b }}", "P002", "n has no 'b'"),
        ("{% set n = namespace(a=none) %}{{ n.a }}", "P005", "n.a may be None"),
        ("{% set n = namespace(a=none) %}{% if n.a %}{% set n.a = none %}{{ n.a }}{% endif %}", "P005", "n.a may be None"),
        ("{% set n = namespace() %}{% if text %}{% set n.a = 'x' %}{% endif %}{{ n.a }}", "P005", "n.a may be missing"),
        ("{{ leaf and leaf }}", "P006", "whole Leaf"),
        ("{% set leaf.size = 1 %}", "P018", "leaf is not a namespace"),
        ("{% for t in text.split(',') %}{{ text[0] }}{% endfor %}", "P005", "text[0] may be missing"),
        ("{{ mixed | reject('even') | join }}", "P005", "may contain None"),
        ("{% set n = namespace(a='x') %}{% for t in texts %}{{ n.a }}{% set n.a = none %}{% endfor %}", "P005", "n.a may be None"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_told(source: str, code: str, words: str) -> None:
    found = problems(source)
    assert (found[0].code, words in found[0].message) == (code, True), found


@pytest.mark.parametrize(
    "source",
    [
        "{{ number + 1 }}{{ text + 'a' }}{{ text ~ number }}{{ text * 2 }}{{ (texts + texts) | length }}",
        "{{ '%s %s' % (text, number) }}{{ '%s' | format(text) }}{{ '{} {x}'.format(text, x=number) }}",
        "{{ text.upper() }}{{ text.split(',')[0] }}{{ now.year + 1 }}{{ now.isoformat() }}{{ (now - now).days }}",
        "{{ number / 2 }}{{ -number }}{{ +number }}{{ number ** 2 }}{{ number // 2 }}{{ number % 2 }}",
        "{% if texts %}{{ texts[0] }}{{ texts[-1] }}{{ texts | first }}{{ texts | last }}{{ texts | max }}{% endif %}",
        "{% if texts | length > 0 %}{{ texts[0] }}{% endif %}{% if 1 <= texts | length %}{{ texts[0] }}{% endif %}",
        "{% if texts | length %}{{ texts | first }}{% endif %}{% for t in texts %}{{ texts[0] }}{% endfor %}",
        "{% if text %}{{ text[0] }}{{ text | first }}{% endif %}{{ texts[3] | default('none') }}",
        "{% for key in table %}{{ table[key] + 1 }}{% endfor %}{% for key in table | sort %}{{ table[key] }}{% endfor %}",
        "{% for key, value in table.items() %}{{ key }}{{ value + 1 }}{{ table[key] }}{% endfor %}{{ table.get('a', 0) + 1 }}",
        "{% for key, value in table | dictsort %}{{ key }}{{ value + 1 }}{% endfor %}{% for key in table.keys() %}{{ key }}{% endfor %}",
        "{{ mixed | select | join }}{{ mixed | reject('none') | join }}{{ mixed | map('default', '', true) | join }}{{ mixed | tojson }}",
        "{{ leaves | sort(attribute='size') | map(attribute='size') | sum }}{{ leaves | sum(attribute='size') }}",
        "{{ texts | map('upper') | join }}{{ texts | reverse | list | length }}{{ text | reverse | upper }}{{ texts[:2] | join }}",
        "{{ texts | batch(2) | map('join') | join }}{{ texts | unique | sort | join }}{{ pairs | map('first') | join }}",
        "{% for size, found in leaves | groupby('size') %}{{ found[0].size }}{% endfor %}",
        "{% for a, b in pairs %}{{ a.upper() }}{{ b + 1 }}{% endfor %}{% for a in range(3) %}{{ a + 1 }}{% endfor %}",
        "{% for (a, b), c in nested %}{{ a.upper() }}{{ b + 1 }}{{ c.upper() }}{{ nested[0] | length }}{% endfor %}",
        "{{ table.copy() | length }}{{ table.copy().a | default(0) }}{% for key in table.copy() %}{{ key }}{% endfor %}",
        "{% for leaf in leaves %}{% if not loop.first %}{{ loop.previtem.size }}{% endif %}{% if not loop.last %}{{ loop.nextitem.size }}{% endif %}{% endfor %}",
        "{% for leaf in leaves %}{{ loop.cycle('a', 'b') }}{% if loop.changed(leaf.size) %}x{% endif %}{% endfor %}",
        "{% if 'a' in text and text in texts and number in [1, 2] and 'a' in table %}{% endif %}",
        "{% if maybe is not none and maybe < 'b' %}{{ maybe }}{% endif %}{% if none != maybe %}{{ maybe }}{% endif %}",
        "{% if number is divisibleby(2) and number is gt(1) and text is lower and number is eq(3) %}{% endif %}",
        "{{ ('a' if text) }}{{ ('a' if text) | upper }}{{ 'b' ~ ('a' if text) }}{{ ('a' if text) | default('c') }}",
        "{{ leaf.word or 'none' }}{% if leaf.word == 'one' %}{{ leaf.word | upper }}{% endif %}",
        "{% for row in rows %}{% if row.a is defined %}{{ row.a }}{% endif %}{% if row.a %}{{ row.a }}{% endif %}{% endfor %}",
        "{% if rows[1] %}{{ rows[1].a | default('') }}{% endif %}{% if rows[1] is defined %}{{ rows[1].a | default('') }}{% endif %}",
        "{% macro m(a=none) %}{{ a or '' }}{% endmacro %}{{ m() }}{{ m('a') }}",
        "{% macro m() %}{{ caller() if caller else 'alone' }}{% endmacro %}{{ m() }}{% call m() %}{{ text }}{% endcall %}",
        "{% macro m() %}{{ caller('a', 1) }}{% endmacro %}{% call(a, b) m() %}{{ a.upper() }}{{ b + 1 }}{% endcall %}",
        "{% set x | length %}{{ text }}{% endset %}{{ x + 1 }}{% filter upper %}{{ text }}{% endfilter %}",
        "{% set x = 'a' %}{% if text %}{% set x = 'b' %}{% endif %}{{ x.upper() }}",
        "{% set n = namespace(a=none, b=0) %}{% for t in texts %}{% set n.a = t %}{% set n.b = n.b + 1 %}{% endfor %}{% if n.a %}{{ n.a.upper() }}{% endif %}{{ n.b + 1 }}",
        "{% set n = namespace() %}{% set n.a %}{{ text }}{% endset %}{{ n.a | default('') }}",
        "{% set n = namespace({'a': 1}) %}{{ n.a }}",
        "{% set n = anything %}{% set n.a = 1 %}{% call n.told() %}{{ text }}{% endcall %}{{ texts | map(n.name) | list | length }}",
        "{% for x in [] %}{{ x | first | default('') }}{{ x | length }}{{ x + 1 }}{% endfor %}",
        "{{ [] | length }}{% for x in [] %}{{ x.what }}{% endfor %}{{ (texts if text else [])[:1] | join }}",
    ],
)  # fmt: skip
def test_what_can_be_taken_is_rendered(source: str) -> None:
    assert problems(source) == []
    for text in ("", "a") if "anything" not in source else ():
        Prompts(inline={"t": source}).render("t.inline", {**VALUES, "text": text})


@pytest.mark.parametrize("source", ["{{ texts[0] }}", "{{ text.upper }}", "{{ texts | map('upper') }}"])  # fmt: skip
def test_what_is_told_would_have_failed(source: str) -> None:
    with pytest.raises(PromptError):
        Prompts(inline={"t": source}).render("t.inline", VALUES)


CONSTANTS = [
    "1 / 0", "1 // 0", "1 % 0", "number / 0", "number // 0", "0 ** -1", "10 ** 400 * 1.0", "10 ** 400 / 3",
    "'a'.split('')", "text.split('')", "'a'.partition('')",
    "'abc'.index('z')", "[1].index(5)", "text.ljust(5, 'xx')", "text.startswith(('a', 1))",
    "[1, 2] | slice(0) | list", "texts | slice(0) | list", "[1, 2] | slice(1.5) | list", "text[::0]", "[1, 2][::0]",
    "text | truncate(-1)", "text | truncate(1, true, 'long end')", "text | wordwrap(0)",
    "number | round(method='x')", "table | dictsort(by='z')", "{'a b': 1} | xmlattr", "4 is divisibleby(0)",
    "number is divisibleby(0)", "[1] | select('divisibleby', 0) | list", "[] in {}", "cycler()", "cycler(*[])",
    "dict([1])", "range(0, 10, 0)", "[1, 2] | sum(start='a')",
    "'a' ~ (1 / 0)", "{'a': 1 / 0}['a']", "((1 / 0) if 'a' else 1)", "text | default(1 / 0)",
]  # fmt: skip


@pytest.mark.parametrize("expression", CONSTANTS)
def test_what_constants_alone_make_fail_is_found_at_load(expression: str) -> None:
    """Each fails in a render, too, so nothing sound is refused."""
    source = f"{{% if {expression} %}}x{{% endif %}}"
    found = problems(source)
    assert [each.code for each in found] == ["P019"], found
    assert "fails in every run that reaches it: " in found[0].message
    with pytest.raises(PromptError):
        Prompts(inline={"t": source}).render("t.inline", {**VALUES, "text": "some text"})


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("text.center(text)", "wrong arguments of the method 'center'"),
        ("text.center(1 + 1.5)", "wrong arguments of the method 'center'"),
        ("text.startswith(number)", "wrong arguments of the method 'startswith'"),
        ("text.split(maxsplit=text)", "wrong arguments of the method 'split'"),
        ("text.zfill(none)", "wrong arguments of the method 'zfill'"),
        ("text | wordwrap(text)", "text is a text, and | wordwrap takes a number"),
        ("text | truncate(length=text)", "text is a text, and | truncate takes a number"),
        ("number | round(text)", "text is a text, and | round takes a number"),
        ("'{0.nothing}'.format(leaf)", "leaf has no 'nothing'"),
        ("'{0[nothing]}'.format(leaf)", "leaf has no 'nothing'"),
        ("text.translate(1)", "wrong arguments of the method 'translate'"),
        ("dict(text)", "text is a text, and dict takes a mapping or a list of pairs"),
        ("texts | map('upperr') | list", "there is no filter 'upperr'"),
        ("texts | select('evenn') | list", "there is no test 'evenn'"),
        ("leaves | rejectattr('size', 'evenn') | list", "there is no test 'evenn'"),
    ],
)
def test_a_wrong_argument_is_found_at_load(expression: str, words: str) -> None:
    found = all_problems(f"{{% if {expression} %}}x{{% endif %}}")
    assert any(words in each.message for each in found), found


def test_what_is_unpacked_from_a_list_has_the_type_of_its_items() -> None:
    found = problems("{% set a, b = [(texts | map('upper')), 1] %}{{ a | tojson }}{{ b | tojson }}")
    assert "a is an iterator" in found[0].message
    assert "number" in problems("{% set a, b = [number, 1] %}{{ a.upper() }}")[0].message
    assert problems("{% for a, b in table.items() %}{{ a.upper() }}{{ b + 1 }}{% endfor %}") == []


def test_a_loop_over_a_number_or_a_cycle_of_nothing_is_found() -> None:
    start = "{% for x in texts recursive %}"
    assert "loop takes a list" in problems(start + "{{ loop(number) }}{% endfor %}")[0].message
    assert "needs a value" in problems(start + "{{ loop.cycle() }}{% endfor %}")[0].message


@pytest.mark.parametrize(
    "source",
    [
        "{{ text.split(text or ',') | length }}{{ text.center(number) }}{{ text.ljust(5, 'x') }}",
        "{{ text.find(text) }}{{ text.count('') }}{{ text.startswith(('a', 'b')) }}{{ text.encode().hex() }}",
        "{{ '{0.size:>3}'.format(leaf) }}{{ '{0[a]}'.format(dict(a=1)) }}{{ '%s' % 0 }}",
        "{% for x in [['a'], 'b'] recursive %}{{ loop(x) if x is not string else x }}{% endfor %}",
        "{% set range = 0 %}{{ range }}{{ dict([('a', 1)]) | length }}{{ dict(table) | length }}",
        "{% filter indent(2) %}{{ text }}{% endfilter %}{{ 1 / 4 }}{{ [1, 2] | slice(2) | map('join') | join }}",
        "{{ text | map('upper') | join }}{{ number / 2 }}",
    ],
)
def test_sound_constants_and_arguments_are_accepted(source: str) -> None:
    assert problems(source) == []
    for text in ("", "ab"):
        Prompts(inline={"t": source}).render("t.inline", {**VALUES, "text": text})


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e999", "9" * 5000])
def test_a_text_that_is_no_finite_number_is_the_default(text: str) -> None:
    source = "{{ text | float }} {{ text | float | int }} {{ text | float(2.5) }} {{ big | float }} {{ huge | int }}"
    values = {"text": text, "big": 10**400, "huge": float("inf")}
    found = Prompts(inline={"t": source}).render("t.inline", values)
    assert found[0].content == "0.0 0 2.5 0.0 0"
