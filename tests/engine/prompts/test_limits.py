"""A template that never ends, or that makes a huge text, is stopped and told."""

# ruff: noqa: E501  a template is easier to read on one line

from __future__ import annotations

import gc
import re
import sys
import tracemalloc
from collections.abc import Iterator
from enum import Enum

import pytest

from teamgraph.engine.prompts.library import Prompts
from teamgraph.errors import PromptError

LONGEST = 20_000
BIG = "x" * 18_000


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 10**9 * 'x' }}",
        "{{ ['x'] * 10**9 }}",
        "{{ [big] * 1000 }}",
        "{{ [big] * 1000 ~ '' }}",
        "{{ [big] | map('upper') | list + [big, big] }}",
        "{{ [[big] * 9] | join }}",
        "{{ ([big] * 9) | tojson }}",
        "{{ ([big] * 9) | pprint }}",
        "{{ ([big] * 9) | string }}",
        "{{ ([big] * 9) | join }}",
        "{{ ([big] * 9) | bullets }}",
        "{{ {'a': big, 'b': big} }}",
        "{{ dict(a=big, b=big) | fence('a') }}",
        "{{ 10 ** 10000 }}",
        "{{ 7 ** 10000 }}",
        "{% set n = namespace(x=7) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%(a)1000000000d' | format(a=1) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 10**9) }}",
        "{{ '{a:>1000000000}'.format_map({'a': 1}) }}",
        "{{ 'x'.encode() * 10**9 }}",
        "{{ '%1000000000d'.encode() % 1 }}",
        "{{ 'x' | center(10**9) }}",
        "{{ 'x' | indent(10**9, true) }}",
        "{{ 'x\ny' | indent('-' * 9000) | indent('-' * 9000) }}",
        "{{ big | replace('x', 'yyyyyyyyyy') }}",
        "{{ big | wordwrap(1, wrapstring='yyyyyyyyyy') }}",
        "{{ [1] | batch(10**9, 'x') | list }}",
        "{{ [1] | slice(10**9) | list }}",
        "{{ 'x'.center(10**9) }}",
        "{{ 'x'.ljust(10**9) }}",
        "{{ 'x'.zfill(10**9) }}",
        "{{ '\t'.expandtabs(10**9) }}",
        "{{ '\t'.expandtabs(tabsize=10**9) }}",
        "{{ big.replace('x', 'yyyyyyyyyy') }}",
        "{{ big.translate({120: 'yyyyyyyyyy'}) }}",
        "{{ big.join(['a', 'b', 'c']) }}",
        "{{ ', '.join([big] * 9) }}",
        "{{ (1).to_bytes(10**9, 'big') }}",
        "{{ [1] | map('center', 10**9) | list }}",
        "{{ ([big] * 15000) | bullets }}",
        "{{ ([big] * 15000) | sort | first }}",
        "{{ ([{'a': big}] * 15000) | sort(attribute='a') | first }}",
        "{{ ([[1] * 15000] * 15000) | sum(start=[]) }}",
        "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = n.x + [big | list] %}{% endfor %}",
        "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = n.x + [big[i:]] %}{% endfor %}",
        "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = n.x + [big.split('y', i)] %}{% set n.x = n.x + [big.upper()] %}{% endfor %}",
        "{{ 1 | round(-10**9) }}",
        "{{ ('%(a)s' * 3000) % {'a': big} }}",
        "{{ ('%(a)s' * 3000) | format(a=big) }}",
        "{{ ('{0}' * 3000).format(big) }}",
        "{{ big.translate({120: big}) }}",
        "{{ (big * 1) | wordwrap(1) | length }}",
        "{% for i in range(9999) %}{{ big.count('xxy') }}{% endfor %}",
        "{% for i in range(9999) %}{{ big | wordcount }}{% endfor %}",
        "{% for i in range(9999) %}{{ big == big ~ i }}{% endfor %}",
        "{% for i in range(9999) %}{{ i in [1] * 9999 }}{% endfor %}",
        "{% for i in range(9999) %}{{ ([1] * 9999) | max }}{% endfor %}",
        "{{ ([big] * 9999) | select('upper') | list | length }}",
        "{{ ([big] * 9999) | select('==', big ~ '') | list | length }}",
        "{% set x = [1] * 9999 %}{{ [x] * 9999 == [x] * 9999 }}",
        "{% set x = [1] * 9999 %}{{ ([x] * 9999) | max }}",
        "{{ range(19999) | map('string') | list | length }}",
        "{{ range(10**9) }}",
        "{{ range(10**9) | list | length }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) | map('string') %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}{{ a }}{% for b in [1] * 9999 %}{{ b }}{% endfor %}{% endfor %}",
        "{% for a in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
        "{% for a in range(9) recursive %}{% if loop.depth < 9 %}{{ loop(range(99)) }}{% endif %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(99) }}",
        "{% set n = namespace(x='xy') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x='xy') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x='\\\\') %}{% for i in range(99) %}{% set n.x = n.x|tojson %}{% endfor %}",
        "{% set n = namespace(x='\\\\') %}{% for i in range(99) %}{% set n.x = n.x|pprint %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}"
        "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        "{% set n = namespace(x=[]) %}{% for i in range(9999) %}"
        "{% set n.x = n.x + [big ~ i] %}{% endfor %}",
        "{% block a %}{% if n is undefined %}{{ self.a() }}{{ self.a() }}{% endif %}{% endblock %}",
        "{% for i in range(2) %}{{ big }}{% endfor %}",
        "{% for i in range(2) %}{% user %}{{ big }}{% enduser %}{% endfor %}",
    ],
)
def test_it_ends_in_an_error(source: str) -> None:
    prompts = Prompts(inline={"a": source}, max_length=LONGEST)
    assert prompts.problems("a.inline") == []
    tracemalloc.start()
    try:
        with pytest.raises(PromptError) as caught:
            prompts.render("a.inline", {"big": BIG})
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert any(word in str(caught.value) for word in ("longe", "more than", "without end", "width"))


class Letter(Enum):
    A = 1


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("view", "make it a list with | list"),
        ("unordered", "make it a list with | sort"),
        ("'x'.encode()", "decode them with .decode()"),
        ("'%d'.encode() % 1", "decode them with .decode()"),
        ("[letter]", "a Letter inside a list or mapping has no text; use | tojson"),
        ("'%s' | format(1, a=2)", "by position or by name, not both"),
        ("'a' | replace(1, 'b')", "replace takes two texts"),
    ],
)
def test_what_has_no_text_is_refused_with_what_to_write(expression: str, reason: str) -> None:
    prompts = Prompts(inline={"a": f"{{{{ {expression} }}}}"})
    with pytest.raises(PromptError, match=re.escape(reason)):
        prompts.render("a.inline", {"view": {1: 2}.values(), "unordered": {1}, "letter": Letter.A})


def test_lists_and_tuples_are_joined_to_a_list() -> None:
    prompts = Prompts(inline={"a": "{{ [1] + (2, 3) }}{{ (1,) + [2] }}"})
    assert prompts.render("a.inline", {})[0].content == "[1, 2, 3][1, 2]"


def test_templates_that_include_each_other_for_ever_are_stopped() -> None:
    prompts = Prompts(inline={"a": "{% include 'b.inline' %}", "b": "{% include 'a.inline' %}"})
    assert {each.code for each in prompts.problems("a.inline")} == {"P014"}
    with pytest.raises(PromptError, match="includes itself"):
        prompts.render("a.inline", {})


def test_a_loop_over_something_endless_is_stopped() -> None:
    def naturals() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    prompts = Prompts(inline={"a": "{% for x in xs %}{% endfor %}"}, max_length=1000)
    with pytest.raises(PromptError, match="does too much work"):
        prompts.render("a.inline", {"xs": naturals()})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ 'ab' * 3 }}{{ 3 * [1] }}{{ 2 ** 10 }}{{ 2.0 ** 3 }}{{ 7 % 4 }}{{ 3 * 4 }}", None),
        ("{{ 'x' * -1 }}{{ 2 ** -1 }}{{ 1 + 2 }}{{ [1] + [2] }}{{ 'a' + 'b' }}", "0.53[1, 2]ab"),
        ("{{ '%5.2f|%s|%%' % (1.5, 'a') }}", " 1.50|a|%"),
        (
            "{{ '%(a)s' % {'a': 1} }}{{ '%s-%s' | format(1, 2) }}{{ '%(b)s' | format(b=3) }}",
            "11-23",
        ),
        ("{{ '{:>5}|{a}'.format(1, a=2) }}{{ '{a}'.format_map({'a': 3}) }}", "    1|23"),
        ("{{ 'a' ~ 1 ~ [2] ~ none }}", "a1[2]None"),
        ("{{ 'a,b'.split(',') | join('-') }}{{ ', '.join(['a', 'b']) }}", "a-ba, b"),
        ("{{ [{'n': 1}, {'n': 2}] | join('+', attribute='n') }}", "1+2"),
        ("{{ 'ab' | center(6) }}|{{ 'a\nb' | indent(2) }}|{{ 'a\nb' | indent('> ') }}", None),
        ("{{ 'a-b' | replace('-', '+') }}{{ 'aaa' | replace('a', 'b', 1) }}", "a+bbaa"),
        ("{{ 'aaaa bbbb' | wordwrap(4) }}{{ 'a' is lower }}{{ ['b', 'a'] | max }}", None),
        ("{{ 2.567 | round(2) }}{{ 'x' is eq 'x' }}{{ 3 in [1, 3] }}{{ 1 < 2 <= 2 }}", None),
        ("{{ 'abc'.translate({97: 'x'}) }}{{ '%(a)s%(b)s' % {'a': 1, 'b': 2} }}", "xbc12"),
        ("{{ [1, 2, 3] | batch(2, 'x') | list }}{{ [1, 2] | slice(2) | list }}", None),
        ("{{ 'a\tb'.expandtabs(4) }}{{ 'a'.ljust(3) }}{{ '7'.zfill(3) }}", "a   ba  007"),
        ("{{ 'abc'.replace('b', 'x') }}{{ 'abc'.upper() }}{{ 'x'.encode().decode() }}", "axcABCx"),
        ("{{ {'a': 1}.items() | list }}{{ (255).bit_length() }}", "[('a', 1)]8"),
        (
            "{% for a in [[1], []] recursive %}({{ loop(a) if a is iterable }}){% endfor %}",
            "(())()",
        ),
        ("{{ range(3) | list }}{{ range(1, 9, 4) | sum }}{{ dict(a=1).a }}", "[0, 1, 2]61"),
        (
            "{{ 'abcd'[1:3] }}{{ [1, 2, 3][::2] }}{{ 'abc'[-1] }}{{ [3, 1] | sort }}",
            "bc[1, 3]c[1, 3]",
        ),
        ("{{ [1, 1] | unique | list }}{{ [[1], [2]] | sum(start=[]) }}", "[1][1, 2]"),
        ("{{ 'x' | string | pprint }}{{ {'a': 1} | pprint }}", "'x'{'a': 1}"),
        ("{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ joiner('-')() }}", "ab"),
    ],
)
def test_honest_work_is_left_alone(source: str, said: str | None) -> None:
    prompts = Prompts(inline={"a": source})
    (message,) = prompts.render("a.inline", {})
    assert said is None or message.content == said


def test_a_prompt_may_be_as_long_as_it_is_allowed() -> None:
    prompts = Prompts(inline={"a": "{{ x }}"}, max_length=10)
    assert len(prompts.render("a.inline", {"x": "x" * 10})[0].content) == 10
    with pytest.raises(PromptError, match="longer than 10"):
        prompts.render("a.inline", {"x": "x" * 11})


def test_rendering_again_and_again_keeps_nothing() -> None:
    prompts = Prompts(
        inline={
            "a": "{% from 'b.inline' import m %}{% system %}{{ m(x) }}{% endsystem %}"
            "{% for i in y %}{% user %}{{ i }}{% enduser %}{% endfor %}",
            "b": "{% macro m(x) %}{{ x | fence('t') }}{% endmacro %}",
        }
    )
    variables = {"x": "text", "y": [1, 2]}
    for _ in range(100):
        prompts.render("a.inline", variables)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        prompts.render("a.inline", variables)
    gc.collect()
    assert sys.getallocatedblocks() - before < 1000


DOUBLED = "{% set x = (1, 2) %}" + "{% set x = (x, x) %}" * 40
DOUBLED_TWICE = DOUBLED + DOUBLED.replace("x", "y")


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "'{}'.format(x)",
            "'%s' | format(x)",
            "[x].index(y)",
            "[x].count(y)",
            "x == y",
            "x in [y]",
        ),
        *("{x: 1}", "{'a': 1}[x]", "{}.get(x)", "[x] | unique | list", "x | pprint", "x ~ ''"),
        *("x | string", "[x, y] | sort | list", "x is eq y", "cycler(x).next() == y", "x | join"),
    ],
)
def test_parts_that_are_shared_forty_times_over_end_in_an_error(expression: str) -> None:
    prompts = Prompts(inline={"a": f"{DOUBLED_TWICE}{{{{ {expression} }}}}"}, max_length=LONGEST)
    prompts.type_problems("a.inline", {})
    with pytest.raises(PromptError):
        prompts.render("a.inline", {})


@pytest.mark.parametrize("link", [".strip()", ".a", "[0]", " | trim", " ~ t", ".get('a')"])
def test_a_long_chain_is_checked_in_linear_time(link: str) -> None:
    prompts = Prompts(inline={"a": "{{ t" + link * 40 + " }}"})
    prompts.type_problems("a.inline", {"t": str})


def test_thirty_templates_that_include_the_next_twice_are_checked_at_once() -> None:
    twice = {n: f"{{% include 'b{n + 1}.inline' %}}" * 2 for n in range(30)}
    files = {f"b{n}": text for n, text in twice.items()} | {"b30": "x"}
    prompts = Prompts(inline=files)
    assert prompts.problems("b0.inline") == []
    assert prompts.type_problems("b0.inline", {}) == []
    with pytest.raises(PromptError, match="without end"):
        prompts.render("b0.inline", {})
