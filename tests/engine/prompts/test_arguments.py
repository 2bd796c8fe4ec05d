"""Formats, methods, filters and tests get the values that they take, as many as they take."""

from __future__ import annotations

import pytest

from teamgraph.engine.prompts.library import Prompts
from tests.soundness.checks import accepted, failure
from tests.soundness.world import KNOWN, WORLDS

FINE = """\
{% block b %}x{% endblock %}{{ self.b() }}{% set c = self.b() %}{{ c }}
{{ "%s and %d %%" % (input.message, session.turns) }}
{{ "%(a)s is %(b).1f" % {"a": input.message, "b": node.params.half} }}
{{ "%s" | format(session.turns) }}{{ "%(a)s" | format(a=1) }}
{{ "{} {!r} {:>9} {0}".format(1, 2, "x") if false else "{0} {1!r} {a:>9}".format(1, 2, a="x") }}
{{ "{:.2f} {:d} {:,} {:>{}} {:%Y}".format(1.5, 2, 3, "x", 9, now) }}
{{ "{0.year} {a[0]}".format(now, a="x") }}{{ "{a}".format_map({"a": 1}) }}
{% set text = "%s" %}{{ text % 1 }}{{ input.message.format(1, a=2) }}
{{ {"a": "b"}.get("a") }}{{ {"a": "b"}.get("c", "x") }}{{ node.params.deep.get("other", "x") }}
{{ "a".center(9, "-") }}{{ "a".count("a", 0) }}{{ now.strftime(format="%Y") }}{{ now.isoformat() }}
{{ "a".encode().decode() }}{{ "a".encode().hex() }}{{ (true).bit_length() }}
{{ now.date().replace(day=1) }} {{ now.time().hour }} {{ (now - now).days }}
{{ now + (now - now) }} {{ ((now - now) * 2).total_seconds() }} {{ now.isocalendar().week }}
{% for key in {1: "a"} %}{{ key + 1 }}{% endfor %}{{ {(1, "a"): 2} | length }}
{% for key, value in {1: "a"}.items() %}{{ key + 1 }}{% endfor %}{{ {1: "a"} | items | list }}
{% for a, b in [["x", 1], ["y", 2]] %}{{ a }}{% endfor %}{% set a, b = ("x", 1) %}{{ b }}
{{ {"b": 1, "a": 2} | dictsort(by="value") }}{{ {"b": 1} | dictsort }}
{{ [user_id, "x"] | select | join }}{{ ("x" if user_id) | reverse | list }}
{{ ("x" if user_id) | default("y") }}{{ (none | default("x", true)) }}
{{ 2.5.is_integer() }}{{ (5).real }}{{ (2.5).real }}{{ "x" is filter }}
{{ "a {} b".format(1) }}{{ "a".center(*[9]) }}{{ input.message | format }}{{ "x" | d("y") }}
{{ [none, {"a": "b"}] | map(attribute="a", default="") | list }}{{ node.params.half | string }}
{{ (session.state.town | default({})) is string }}{{ now.replace(day=1, hour=2) }}
{{ [1, 2] | tojson }}{{ history | tojson }}{{ "x" | truncate_chars(3) }}{{ [2, 1] | sort(true) }}
""".splitlines()

WRONG = {
    "{{ self }}": "self is not called: () is missing",
    "{{ self | tojson }}": "self is not called: () is missing",
    "{{ super }}": "super is not called: () is missing",
    "{{ 1e999 }}": "too large to be a finite one",
    "{% if -1e999 < 1 %}x{% endif %}": "too large to be a finite one",
    "{{ {'a': 'b'}.get('c', session) }}": "would print a whole session",
    "{{ {'a': 'b'}.get('c') }}": "may be None",
    '{{ "%d" % input.message }}': "a text, and the format takes a number",
    '{{ "%x" % node.params.half }}': "may be a fraction; the format takes whole numbers",
    '{{ "%s %s" % (1,) }}': "2 places for 1 values",
    '{{ "%s %s" | format(1) }}': "2 places for 1 values",
    '{{ "100%" % 1 }}': "write %% for a %",
    '{{ "%*d" % (1, 2) }}': "write the number",
    '{{ "%(a)s" % {"b": 1} }}': "may be missing",
    '{{ "%(a)s" | format(b=1) }}': "no value for 'a'",
    '{{ ("%s" | format(1)) % 2 }}': "only a text of the template is a format",
    "{{ input.message % 2 }}": "only a text of the template is a format",
    '{{ "{} {}".format(1) }}': "no value for 1",
    '{{ "{".format(1) }}': "Single '{' encountered",
    '{{ "{:.2f}".format("x") }}': "the format takes a number",
    '{{ "{:+}".format("x") }}': "the format takes a number",
    '{{ "{:.3}".format(1) }}': "the format takes a text",
    '{{ "{:>3}".format([1]) }}': "the format takes a text or a number",
    '{{ "{:%Y}".format("x") }}': "the format takes a time",
    '{{ "{a}".format_map({"a": none}) }}': "may be None",
    '{{ "a".center() }}': "missing a required argument: 'width'",
    '{{ "a".count() }}': "wrong arguments of the method 'count': it takes 1 to 3",
    "{{ now.strftime() }}": "it takes 1",
    '{{ "a".replace(old="a", new="b") }}': "wrong arguments of the method 'replace'",
    "{{ 2.5.is_integer(1) }}": "too many positional arguments",
    '{{ "a" | upper(1) }}': "wrong arguments of the filter 'upper'",
    '{{ "a" | truncate_chars }}': "missing a required argument: 'length'",
    "{{ 1 is divisibleby }}": "wrong arguments of the test 'divisibleby'",
    "{{ now.today() }}": "has no 'today'",
    '{{ "a".encode().upper() }}': "bytes, not a text, which has no 'upper'",
    "{{ (now - now) + 1 }}": "cannot be combined by +",
    '{{ joiner(",").upper() }}': "not called: () is missing, which has no 'upper'",
    "{% for each in joiner(',') %}{% endfor %}": "not a list",
    "{% for each in (session or [1]) %}{% endfor %}": "not a list",
    "{% set a, b = input.message %}": "cannot be unpacked into 2 names",
    "{% with a, b = history.runs %}{% endwith %}": "cannot be unpacked into 2 names",
    "{% for a, b in history.runs | batch(2) %}{% endfor %}": "cannot be unpacked into 2 names",
    "{{ cycler(1, 2) | tojson }}": "a part of this value is not called",
    "{{ namespace(a=1) | tojson }}": "a part of this value is a namespace",
    "{{ [joiner] | written }}": "cannot be written as JSON",
    "{{ {'a': [1] | map('string')} | tojson }}": "cannot be written as JSON",
    "{{ ([1] | map('string'), 1) | tojson }}": "cannot be written as JSON",
    "{{ [history.runs | first].count(1) }}": "may be missing",
    "{{ (history.runs | first, 1) == (1, 1) }}": "may be missing",
    "{{ [history.runs | first] | select('==', 1) | list | length }}": "may be missing",
    "{{ {'a': history.runs | first} | length }}": "may be missing",
    "{{ dict(a=history.runs | first) | length }}": "may be missing",
    "{{ (1 in none) is defined }}": "may be None",
    "{{ [[1]] | unique | list }}": "a list, and | unique of a list takes",
    "{{ [ticket.output.pair] | unique | list }}": "a list, and | unique of a list takes",
    "{{ {(1, [2]): 3} | length }}": "a list, and a key takes",
    "{{ [1] is filter }}": "a list, and is filter takes",
    "{{ {'a': 1, 'b': 'x'} | dictsort(by='value') }}": "cannot be ordered",
    "{{ {1: 'a', 'b': 'x'} | dictsort }}": "cannot be ordered",
    "{{ [none] | map(attribute='a', default=none) | list }}": "may be None",
    "{{ now.time().replace(day=1) }}": "it takes hour, minute, second, microsecond",
    "{{ now.replace(day='x') }}": "a text, and .replace() takes a number",
    "{% for a, b in [none] | map(attribute='x', default='') %}{% endfor %}": "into 2 names",
    "{{ input.message | format(session) }}": "a whole",
    "{{ {}.other }}": "mapping has no 'other'",
}


@pytest.mark.parametrize("template", FINE)
def test_what_works_is_accepted(template: str) -> None:
    assert accepted({"t": template})
    assert [one for world in WORLDS[:8] if (one := failure({"t": template}, world))] == []


@pytest.mark.parametrize(("template", "told"), WRONG.items())
def test_what_would_fail_is_refused_with_its_reason(template: str, told: str) -> None:
    prompts = Prompts(inline={"t": template})
    problems = [*prompts.problems("t.inline"), *prompts.type_problems("t.inline", KNOWN)]
    assert any(told in problem.message for problem in problems), problems
