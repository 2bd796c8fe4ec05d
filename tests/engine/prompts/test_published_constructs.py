# ruff: noqa: E501  a construct is one line
"""Constructs that prompts in the wild are made of: the checks accept each of them."""

from __future__ import annotations

import pytest

from tests.soundness.checks import accepted, failure
from tests.soundness.world import WORLDS

CONSTRUCTS = """\
{{ input.message }}
{{ input.message | trim }}
{{ input.message | upper | replace("A", "b") }}
{{ input.message | truncate(40) }}
{{ input.message | wordwrap(20) }}
{{ input.message | indent(4) }}
{{ input.message[:20] }}{{ "..." if input.message | length > 20 }}
{{ input.message.split() | length }}
{{ input.message.splitlines() | first | default("") }}
{{ input.message | fence("question") }}
{{ user_id or "a guest" }}
{{ user_id | default("a guest", true) }}
{% if user_id %}Hello {{ user_id }}{% else %}Hello{% endif %}
{% if user_id is not none %}{{ user_id.upper() }}{% endif %}
{{ "signed in" if user_id else "anonymous" }}
{{ now.strftime("%Y-%m-%d") }}
{{ now.year }}-{{ now.month }}
{{ now.isoformat() }}
{{ now.date() }}
{{ node.params.style | title }}
{{ node.params.most + 1 }}
{{ node.params.half * 100 }} %
{{ (node.params.half * 100) | round | int }}
{{ node.params.none | join(", ") }}
{% if node.params.none %}yes{% else %}nothing{% endif %}
{{ node.params.missing | default("short") }}
{% if node.params.missing is defined %}x{% endif %}
{% for key in node.params.deep %}{{ key }}: {{ node.params.deep[key] | join(", ") }}{% endfor %}
{% for key, value in node.params.deep.items() %}{{ key }}={{ value | join }}{% endfor %}
{% for key, value in node.params.deep | dictsort %}{{ key }}{% endfor %}
{{ node.params.deep.keys() | list }}
{{ node.params.deep | length }} keys
{{ node.params.deep | list | join(", ") }}
{{ node.params.deep.get("two", []) | join }}
{{ "yes" if "two" in node.params.deep else "no" }}
{{ node.params.deep | tojson }}
{{ node.params.deep | tojson(indent=2) }}
{% for row in node.params.rows %}{{ row.a }}{% if row.b is defined %} {{ row.b }}{% endif %}{% endfor %}
{% for row in node.params.rows %}{{ row.get("b", "-") }}{% endfor %}
{{ node.params.rows | map(attribute="a") | join(", ") }}
{{ node.params.rows | map(attribute="b", default="-") | join(", ") }}
{{ node.params.rows | sum(attribute="a") }}
{{ node.params.rows | selectattr("b", "defined") | map(attribute="a") | list }}
{{ node.params.rows | length }}
{{ (node.params.rows | first).a }}
{% set names = {"fr": "French", "de": "German"} %}Answer in {{ names[triage.output.lang] }}.
{% set names = {"fr": "French"} %}{{ names.get(triage.output.lang, "English") }}
{% set names = {"fr": "French"} %}{{ names[triage.output.lang] | default("English") }}
{% set names = {"fr": "French"} %}{% if triage.output.lang in names %}{{ names[triage.output.lang] }}{% endif %}
{% set names = {"fr": "French"} %}{% if names[triage.output.lang] is defined %}{{ names[triage.output.lang] }}{% endif %}
{% set tones = dict(english="dry", french="warm") %}{{ tones[router.output] }}
{% set tones = {"english": {"tone": "dry"}, "french": {"tone": "warm"}} %}{{ tones[router.output].tone }}
{{ {"english": "Hello", "french": "Bonjour"}[router.output] }}
{% if router.output == "french" %}Bonjour{% elif router.output == "english" %}Hello{% endif %}
{% if router.output in ["french", "english"] %}x{% endif %}
{% if "glad" in moods.output %}glad{% endif %}
{{ moods.output | join(" and ") or "no mood" }}
{% if triage.output.score is not none %}{{ "%.2f" | format(triage.output.score) }}{% endif %}
{{ "%.1f" | format(triage.output.score or 0) }}
{{ triage.output.score | default("unknown", true) }}
{{ triage.output.tags | join(", ") }}
{% for tag in triage.output.tags %}{{ tag }}{{ ", " if not loop.last }}{% endfor %}
{% for tag in triage.output.tags | unique | sort %}#{{ tag }} {% endfor %}
{{ triage.output.tags | map("upper") | list }}
{{ triage.output.tags | reject("equalto", "") | join }}
{{ triage.output | tojson }}
{% for key, value in triage.output.items() if value is string %}{{ key }}: {{ value }}{% endfor %}
{% for key, value in triage.output | items %}{{ key }}: {{ value | tojson }}{% endfor %}
{{ triage.output | length }}
{% if ticket.output.best %}{{ ticket.output.best.title }}{% endif %}
{% if ticket.output.best and ticket.output.best.owner %}{{ ticket.output.best.owner.name }}{% endif %}
{{ ticket.output.things | selectattr("sold") | map(attribute="title") | join(", ") }}
{{ ticket.output.things | rejectattr("sold") | list | length }}
{{ ticket.output.things | sort(attribute="price", reverse=true) | map(attribute="title") | join }}
{{ ticket.output.things | map(attribute="price") | sum }}
{% for sold, group in ticket.output.things | groupby("title") %}{{ sold }}: {{ group | length }}{% endfor %}
{% for group in ticket.output.things | groupby("title") %}{{ group.grouper }}: {{ group.list | length }}{% endfor %}
{% for batch in ticket.output.things | batch(2) %}{% for thing in batch %}{{ thing.title }}{% endfor %}{% endfor %}
{% for word in ticket.output.words if word %}{{ word }}{% endfor %}
{{ ticket.output.words | select | join(", ") }}
{{ ticket.output.places.keys() | sort | join(", ") }}
{% for place, owner in ticket.output.places.items() %}{{ place }}: {{ owner.name }}{% endfor %}
{% for place in ticket.output.places %}{{ ticket.output.places[place].name }}{% endfor %}
{% set text, count = ticket.output.pair %}{{ text }} {{ count }}
{% for turn in history.runs %}{{ loop.index }}. {{ turn.input }} -> {{ turn.answer }}{% else %}none{% endfor %}
{% for turn in history.runs[-3:] %}{{ turn.input }}{% endfor %}
{% for turn in history.runs | reverse %}{{ turn.answer }}{% endfor %}
{% if history.runs %}{{ history.runs[-1].answer }}{% endif %}
{% if history.runs | length > 0 %}{{ history.runs[0].input }}{% endif %}
{{ (history.runs | last).answer if history.runs else "" }}
{% for m in history.messages %}{{ m.role }}: {{ m.content }}{% endfor %}
{% for m in history.messages if m.role == "user" %}{{ m.content }}{% endfor %}
{% for m in history.messages %}{% if loop.index0 == 0 or history.messages[loop.index0 - 1].role != m.role %}{{ m.role }}{% endif %}{% endfor %}
{% for m in history.messages %}{% if not loop.last and history.messages[loop.index0 + 1].role == m.role %}+{% endif %}{% endfor %}
{% for m in history.messages %}{% if loop.first or loop.previtem.role != m.role %}{{ m.role }}{% endif %}{% endfor %}
{% for m in history.messages %}{{ loop.cycle("odd", "even") }}{% if loop.changed(m.role) %}*{% endif %}{% endfor %}
{% set ns = namespace(found=false) %}{% for t in history.runs %}{% if t.input == "hi" %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}
{% set ns = namespace(total=0) %}{% for t in ticket.output.things %}{% set ns.total = ns.total + t.price %}{% endfor %}{{ ns.total }}
{% macro item(name, note="") %}- {{ name }}{{ ": " ~ note if note }}{% endmacro %}{{ item("a") }}{{ item("b", note="c") }}
{% macro box(title) %}[{{ title }}] {{ caller() }}{% endmacro %}{% call box("x") %}inside{% endcall %}
{% set comma = joiner(", ") %}{% for tag in triage.output.tags %}{{ comma() }}{{ tag }}{% endfor %}
{% set row = cycler("a", "b") %}{% for tag in triage.output.tags %}{{ row.next() }}{% endfor %}
{% filter upper %}{{ input.message }}{% endfilter %}
{% set intro %}Dear {{ user_id or "guest" }}{% endset %}{{ intro | trim }}
{% with title = graph.name %}{{ title }}{% endwith %}
{% raw %}{{ not a variable }}{% endraw %}{# a comment #}
{{ graph.members | map(attribute="id") | join(", ") }}
{% for member in graph.members %}- {{ member.id }}{% if member.role %}: {{ member.role }}{% endif %}{% endfor %}
{% for each in upstream %}{{ each.id }}{% endfor %}
{% if french is defined %}{{ french.output }}{% endif %}
{{ french.output if french is defined else english.output if english is defined else "" }}
{% for i in range(3) %}{{ i }}{% endfor %}{{ range(1, 4) | list }}
{{ [input.message, node.role] | select | join(" ") }}
{{ ("a", "b") | join }}{{ (1, 2)[0] }}{{ ["x"] + ["y"] }}
{{ session.state.town }}{% if session.state.orders > 1 %} again{% endif %}
{{ session.state.seen | join(", ") }}
{% if session.state.vip is defined %}x{% endif %}{{ session.state.vip | default("no") }}
{{ "{} of {}".format(session.turns, 10) }}{{ "%s-%s" | format(session.id, run.id) }}
{{ session.summary if session.summary else "nothing yet" }}
""".splitlines()


def test_there_are_a_hundred() -> None:
    assert len({*CONSTRUCTS}) >= 100


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_a_construct_is_accepted_and_renders(construct: str) -> None:
    files = {"t": construct}
    assert accepted(files)
    assert [found for world in WORLDS[:16] if (found := failure(files, world))] == []
