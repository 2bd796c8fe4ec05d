"""What cannot hold for the types of the variables is found at load, at its place."""

# ruff: noqa: E501  a template is easier to read on one line

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field

from teamgraph import Message
from teamgraph.engine.prompts.library import Prompts
from teamgraph.engine.prompts.static.types import USER_TEXT, ListType
from teamgraph.errors import Problem


class RouterOutput(BaseModel):
    choice: Literal["french", "german", "english"]
    reason: str


class Router(BaseModel):
    output: RouterOutput
    labels: list[Literal["french", "german"]] = Field(default_factory=list)


@dataclass
class Member:
    id: str
    role: str
    score: float | None = None


class Params(TypedDict):
    max_words: int
    style: NotRequired[str]


class Tree(BaseModel):
    name: str
    children: list[Tree]
    parent: Tree | None = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: str

    @computed_field
    @property
    def made(self) -> str:
        return "made"

    @property
    def size(self) -> int:
        return 1


@dataclass
class Lost:
    field: Unknown  # type: ignore[name-defined]  # noqa: F821  as where a type is only imported to be checked


class Session(BaseModel):
    id: str
    summary: str | None
    state: dict[str, Any]


SCHEMA = {
    "title": "Triage",
    "type": "object",
    "additionalProperties": False,
    "required": ["lang", "tags", "by", "kind", "any", "map"],
    "properties": {
        "lang": {"enum": ["fr", "de"]},
        "score": {"type": "number"},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/Tag"}},
        "by": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "who": {"type": ["string", "null"]},
        "kind": {"const": "ticket"},
        "any": {},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "$defs": {
        "Tag": {
            "type": "object",
            "title": "Tag",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        }
    },
}

GIVEN: dict[str, object] = {
    "router": Router,
    "session": Session,
    "members": Sequence[Member],
    "params": Params,
    "tree": Tree,
    "open": Open,
    "triage": SCHEMA,
    "messages": tuple[Message, ...],
    "pair": tuple[str, int],
    "counts": Mapping[str, int],
    "text": str,
    "number": Annotated[int, "counted"],
    "anything": Any,
    "maybe": str | None,
    "trees": Mapping[str, Tree | None],
    "level": Literal[1, 2],
    "lost": Lost,
    "nothing": None,
    "either": RouterOutput | Member,
}


def problems(source: str, **others: str) -> list[Problem]:
    prompts = Prompts(inline={"t": source, **others})
    assert prompts.problems("t.inline") == []
    return prompts.type_problems("t.inline", GIVEN)


@pytest.mark.parametrize(
    ("source", "code", "column", "suggestion"),
    [
        ("{{ router.output.chioce }}", "P002", 18, "choice"),
        ("{{ router.output . chioce }}", "P002", 20, "choice"),
        ("{{ router['outptu'].choice }}", "P002", 11, "output"),
        ("{{ router.xyz }}", "P002", 11, None),
        ("{{ text.uper() }}", "P002", 9, "upper"),
        ("{{ number.upper() }}", "P002", 11, None),
        ("{{ members.role }}", "P002", 12, None),
        ("{% for m in members %}{{ m.rol }}{% endfor %}", "P002", 28, "role"),
        ("{% for m in members %}{{ loop.indx }}{% endfor %}", "P002", 31, "index"),
        ("{% for m in members if m.rol %}{% endfor %}", "P002", 26, "role"),
        ("{{ members and members[0].rol }}", "P002", 27, "role"),
        ("{% for m in members %}{{ (members | first).rol }}{% endfor %}", "P002", 44, "role"),
        ("{{ members | map(attribute='rol') | join }}", "P002", 28, "role"),
        ("{{ members | selectattr('rol') | list | length }}", "P002", 25, "role"),
        ("{% for m in members %}{{ (members | sort(attribute='id') | last).rol }}{% endfor %}", "P002", 66, "role"),
        ("{% for m in members[1:] %}{{ m.rol }}{% endfor %}", "P002", 32, "role"),
        ("{{ router.output.chioce is defined }}", "P002", 18, "choice"),
        ("{{ router.output.chioce | default('x') }}", "P002", 18, "choice"),
        ("{% set r = router.output %}{{ r.resaon }}", "P002", 33, "reason"),
        ("{% set a, b = pair %}{{ a.upper() }}{{ b.upper() }}", "P002", 42, None),
        ("{% with r = router.output %}{{ r.resaon }}{% endwith %}", "P002", 34, "reason"),
        ("{% macro m(r) %}{{ r.resaon }}{% endmacro %}{{ m(router.output) }}", "P002", 22, "reason"),
        ("{% macro m(r=router.output) %}{{ router.outptu }}{% endmacro %}", "P002", 41, "output"),
        ("{% set x %}{% endset %}{{ x.uper() }}", "P002", 29, "upper"),
        ("{% for k, v in counts.items() %}{{ k.uper() }}{% endfor %}", "P002", 38, "upper"),
        ("{% for v in counts.values() %}{{ v.upper() }}{% endfor %}", "P002", 36, None),
        ("{% if counts.total %}{{ counts.total.upper() }}{% endif %}", "P002", 38, None),
        ("{% if counts['a b'] %}{{ counts['a b'].upper() }}{% endif %}", "P002", 40, None),
        ("{% for k in counts %}{{ counts[k].upper() }}{% endfor %}", "P002", 35, None),
        ("{{ {'total': 1}.totl }}", "P002", 17, "total"),
        ("{{ triage.lnag }}", "P002", 11, "lang"),
        ("{% for tag in triage.tags %}{{ tag.txt }}{% endfor %}", "P002", 36, "text"),
        ("{% for t in tree.children if t.children %}{{ t.children[0].nmae }}{% endfor %}", "P002", 60, "name"),
        ("{{ either.choice }}", "P002", 11, None),
        ("{{ ('a' if text else 'b').uper() }}", "P002", 27, "upper"),
        ("{{ text.split(',')[0].uper() }}", "P002", 23, "upper"),
        ("{% filter indent(router.outptu) %}{% endfilter %}", "P002", 25, "output"),
        ("{{ [router.output][0].resaon }}", "P002", 23, "reason"),
        ("{{ (router.output, 1)[0].resaon }}", "P002", 26, "reason"),
        ("{% for i in range(3) %}{{ i.upper() }}{% endfor %}", "P002", 29, None),
        ("{% if not router.outptu %}{% endif %}", "P002", 18, "output"),
        ("{{ number is divisibleby(router.outptu) }}", "P002", 33, "output"),
        ("{% messages session.mesages %}", "P002", 21, None),
        ("{{ session.summary }}", "P005", 4, None),
        ("{{ session.summary | upper }}", "P005", 4, None),
        ("{{ session.summary | fence('a') }}", "P005", 4, None),
        ("{{ session.summary.upper() }}", "P005", 4, None),
        ("{{ 'a' ~ session.summary }}", "P005", 10, None),
        ("{{ session.summary or maybe }}", "P005", 4, None),
        ("{{ maybe and 'x' }}", "P005", 4, None),
        ("{{ maybe if text }}", "P005", 4, None),
        ("{{ maybe | default('x') }}", "P005", 4, None),
        ("{% for x in maybe %}{% endfor %}", "P005", 13, None),
        ("{% if session.summary is defined %}{{ session.summary }}{% endif %}", "P005", 39, None),
        ("{% if maybe or text %}{{ maybe }}{% endif %}", "P005", 26, None),
        ("{% if maybe %}{% set maybe = session.summary %}{{ maybe }}{% endif %}", "P005", 51, None),
        ("{{ counts.get('a') }}", "P005", 4, None),
        ("{{ triage.by }}", "P005", 4, None),
        ("{{ triage.who }}", "P005", 4, None),
        ("{{ triage.score }}", "P005", 4, None),
        ("{{ params.style }}", "P005", 4, None),
        ("{{ tree.parent.name }}", "P005", 4, None),
        ("{{ nothing }}", "P005", 4, None),
        ("{{ none }}", "P005", 4, None),
        ("{{ maybe[0] }}", "P005", 4, None),
        ("{% messages maybe %}", "P005", 13, None),
        ("{{ router }}", "P006", 4, None),
        ("{{ router.output | upper }}", "P006", 4, None),
        ("{{ 'a' ~ router.output }}", "P006", 10, None),
        ("{% for m in members %}{{ m }}{% endfor %}", "P006", 26, None),
        ("{{ members }}", "P006", 4, None),
        ("{{ members | join(', ') }}", "P006", 4, None),
        ("{{ trees | trim }}", "P006", 4, None),
        ("{{ (1, router) }}", "P006", 5, None),
        ("{{ either }}", "P006", 4, None),
        ("{% for x in router %}{% endfor %}", "P007", 13, None),
        ("{% for x in number %}{% endfor %}", "P007", 13, None),
        ("{% for x in level %}{% endfor %}", "P007", 13, None),
        ("{{ lost.feild }}", "P002", 9, "field"),
        ("{% if router.output.choice == 'frnch' %}{% endif %}", "P008", 31, "french"),
        ("{% if 'frnch' != router.output.choice %}{% endif %}", "P008", 7, "french"),
        ("{% if router.output.choice in ['french', 'italian'] %}{% endif %}", "P008", 42, None),
        ("{% if 'italian' in router.labels %}{% endif %}", "P008", 7, None),
        ("{{ 'a' if triage.lang == 'it' else 'b' }}", "P008", 26, None),
        ("{% set c = router.output.choice %}{% if c == 'frnch' %}{% endif %}", "P008", 46, "french"),
        ("{% if number == 'two' %}{% endif %}", "P008", 17, None),
        ("{% if 'yes' == triage.lang is defined %}{% endif %}", "P008", 7, None),
        ("{% if counts != 'a' %}{% endif %}", "P008", 17, None),
        ("{% if text in [1, 'a'] %}{% endif %}", "P008", 16, None),
        ("{% macro m(a, b=1) %}{% endmacro %}{{ m() }}", "P009", 39, None),
        ("{% macro m(a, b=1) %}{% endmacro %}{{ m(1, 2, 3) }}", "P009", 39, None),
        ("{% macro m(lang, b=1) %}{% endmacro %}{{ m(1, lnag=2) }}", "P009", 42, "lang"),
        ("{% macro m(a) %}{{ caller() }}{% endmacro %}{% call m() %}{% endcall %}", "P009", 53, None),
        ("{% for i in range() %}{% endfor %}", "P009", 13, None),
        ("{{ ', '.join(members) }}", "P018", 14, None),
        ("{{ ['a'] | urlencode }}", "P018", 4, None),
        ("{{ '{a}'.format_map(counts) }}", "P005", 21, None),
        ("{% for m in members %}{{ loop.cyle(1) }}{% endfor %}", "P002", 31, "cycle"),
    ],
)  # fmt: skip
def test_what_cannot_hold_is_told_at_its_place(
    source: str, code: str, column: int, suggestion: str | None
) -> None:
    found = [(each.code, each.column, each.suggestion) for each in problems(source)]
    assert found == [(code, column, suggestion)]


@pytest.mark.parametrize(
    "source",
    [
        "{{ router.output.choice }}{{ text }}{{ number + 1 }}{{ unknown.x.y }}{{ anything.x.y }}",
        "{{ router.output.choice.upper() }}{{ text[0] if text }}{{ counts.a | default(0) }}{{ open.what.ever }}",
        "{{ lost.field.x }}{{ pair[-1] }}{{ open.made }}{{ open.size }}{{ open.known }}{{ triage.any.x }}{{ triage.map }}",
        "{{ router | tojson }}{{ maybe | tojson }}{{ members | length }}{{ members | tojson }}",
        "{% if session.summary %}{{ session.summary }}{% endif %}",
        "{% if not session.summary %}{% else %}{{ session.summary }}{% endif %}",
        "{% if session.summary is not none %}{{ session.summary }}{% endif %}",
        "{% if session.summary != none %}{{ session['summary'] }}{% endif %}",
        "{% if session.summary == none %}{% else %}{{ session.summary }}{% endif %}",
        "{% if maybe == 'x' %}{{ maybe }}{% endif %}{% if maybe is string %}{{ maybe }}{% endif %}",
        "{% if maybe != 'x' %}{% else %}{{ maybe }}{% endif %}",
        "{% if maybe and tree.parent and tree.parent.name %}{{ maybe ~ tree.parent.name }}{% endif %}",
        "{% if not (maybe and text) %}{% else %}{{ maybe }}{% endif %}",
        "{% if not maybe or not tree.parent %}{% else %}{{ maybe }}{{ tree.parent.name }}{% endif %}",
        "{% if maybe %}{% elif text %}{% endif %}{{ maybe if maybe }}{{ maybe or 'x' }}",
        "{{ maybe | default('x', true) }}{{ maybe | default('', boolean=true) }}",
        "{{ tree.parent.name is defined }}{{ tree.parent.name | default('y') }}",
        "{% for m in members if m.score %}{{ m.score }}{{ loop.index }}{{ loop.cycle(1, 2) }}{% endfor %}",
        "{% for a, b in [['x', 'y']] %}{{ a.upper() }}{% endfor %}{% for c in text %}{{ c.upper() }}{% endfor %}",
        "{% for k in counts %}{{ k.upper() }}{% endfor %}{% for x in pair %}{{ x }}{% endfor %}",
        "{% messages messages %}{% user name=text %}{{ text }}{% enduser %}",
        "{{ counts.get('a', 0) }}{{ counts.keys() | list }}{{ namespace(x=1).x }}{{ {'a': 1}.a }}",
        "{% macro m(a, b=1) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}{{ m(*pair) }}{{ m(**counts) }}",
        "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, x=2) }}",
        "{% macro m(t) %}{{ t.name }}{% for c in t.children %}{{ m(c) }}{% endfor %}{% endmacro %}{{ m(tree) }}",
        "{% macro m(t) %}{% if t %}{{ m([t]) }}{% endif %}{% endmacro %}{{ m(tree) }}",
        "{% macro m() %}{% if maybe %}{{ n() }}{% endif %}{% endmacro %}{% macro n() %}{{ text }}{% endmacro %}",
        "{% macro m() %}{{ maybe }}{% endmacro %}{% if maybe %}{{ m() }}{% endif %}",
        "{% if text %}{% set x = 'a' %}{% else %}{% set x = anything %}{% endif %}{{ x }}",
        "{% block b %}{{ text }}{% endblock %}{{ self.b() }}{% include 'part.inline' %}",
        "{% import 'part.inline' as p %}{{ p.sep.upper() }}{{ p.m(1) }}{% from 'part.inline' import sep, m %}{{ m(sep) }}",
        "{{ members | map(attribute='id') | map('upper') | list }}{{ members | map(attribute='id') | first | default('') }}",
        "{{ members | groupby('id') | list | length }}{{ members | sum(attribute='score') }}"
        if False
        else "{{ members | groupby('id') | length }}{{ members | join(', ', attribute='id') }}",
        "{{ (text | upper).lower() }}{{ number is odd }}{{ 1 < number < 3 }}{{ text in 'abc' }}{{ -number }}",
        "{% if router.output.choice not in ('french', 'german') and 'french' in router.labels %}{% endif %}",
        "{% if triage.kind == 'ticket' and router.output.choice != none %}{% endif %}",
        "{% for t in trees.values() %}{{ loop.changed(t) }}{% endfor %}{{ dict(anything) }}",
        "{% for m in members %}{{ loop.cycle(*pair) }}{% endfor %}{{ [pair] | urlencode }}",
        "{{ members | map(attribute=text) | list }}{% if 'a' in counts.keys() %}{{ counts.a }}{% endif %}",
        "{{ text | default }}{{ text | d('x') }}{{ [] | join }}{% filter upper %}x{% endfilter %}",
    ],
)
def test_nothing_is_said_against_what_may_hold(source: str) -> None:
    part = "{% set sep = ', ' %}{% macro m(x) %}{{ x }}{{ sep }}{% endmacro %}"
    assert problems(source, part=part) == []


@pytest.mark.parametrize(
    ("over", "index", "is_there"),
    [
        ("triage.tags", "loop.index0", True),
        ("triage.tags", "loop.index", False),
        ("triage.tags", "loop.index - 1", True),
        ("triage.tags", "loop.index0 + 1", False),
        ("triage.tags", "loop.length", False),
        ("triage.tags", "number", False),
        ("triage.tags", "open.index0", False),
        ("members", "loop.index0", False),
        ("members[1:]", "loop.index0", False),
    ],
)
def test_an_item_by_the_loops_counter_is_there_if_it_counts_from_zero(
    over: str, index: str, is_there: bool
) -> None:
    found = problems(
        f"{{% for m in triage.tags %}}{{{{ {over}[{index}] | tojson }}}}{{% endfor %}}"
    )
    assert (found == []) is is_there, found


def test_an_included_template_sees_what_was_imported_before_it() -> None:
    (found,) = problems(
        "{% import 'part.inline' as p %}{% include 'user.inline' %}",
        part="{% set sep = ', ' %}",
        user="{{ p.sep.uper() }}",
    )
    assert (found.code, found.column, found.suggestion) == ("P002", 10, "upper")


def test_the_contract_holds_in_all_that_is_reached(tmp_path: Path) -> None:
    files = {
        "a": "{% extends 'base.jinja' %}{% block b %}{{ super() }}{{ text.uper() }}{% endblock %}",
        "base": "{% block b %}{{ session.sumary }}{% endblock %}{% include 'part.jinja' %}",
        "part": "{% from 'macros.jinja' import m %}\n{{ m(router) }}",
        "macros": "{% macro m(r) %}\n\n{{ r.outptu }}{% endmacro %}",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.jinja").write_text(text)
    found = Prompts([tmp_path]).type_problems("a.jinja", GIVEN)
    assert [(Path(each.file or "").stem, each.line, each.column) for each in found] == [
        ("base", 1, 25),
        ("a", 1, 61),
        ("macros", 3, 6),
    ]


def noted(source: str, **others: str) -> list[tuple[str, int | None, int | None]]:
    prompts = Prompts(inline={"t": source, **others})
    assert prompts.problems("t.inline") == []
    found = prompts.type_problems(
        "t.inline", {"said": USER_TEXT, "text": str, "rows": ListType(USER_TEXT)}
    )
    assert {each.severity for each in found} <= {"note"}
    return [(each.code, each.line, each.column) for each in found]


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("{% system %}{{ said }}{% endsystem %}", (1, 16)),
        ("{% system %}x{% if text %}\n {{ said | trim }}\n{% endif +%}{% endsystem %}", (2, 5)),
        ("{% system %}{% for one in rows %}{{ one }}{% endfor %}{% endsystem %}", (1, 37)),
        ("{% macro m() %}{{ said }}{% endmacro %}{% system %}{{ m() }}{% endsystem %}", (1, 19)),
        ("{% system %}{{ text if text else said }}{% endsystem %}", (1, 16)),
    ],
)
def test_a_users_words_in_a_system_message_are_noted(source: str, place: tuple[int, int]) -> None:
    assert ("P110", *place) in noted(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% user %}{{ said }}{% enduser %}",
        "{% system %}{{ said | fence('x') }}{{ said | quote }}{{ said | tojson }}{% endsystem %}",
        "{% system %}{{ rows | bullets }}{{ said | length }}{{ text }}{% endsystem %}",
        "{% macro m() %}{{ said }}{% endmacro %}{% user %}{{ m() }}{% enduser %}",
    ],
)
def test_words_that_are_set_apart_or_stand_elsewhere_are_not_noted(source: str) -> None:
    assert noted(source) == []


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("A {% if text %}b{% endif %}\nC", (1, 17)),
        ("{{ text }}{# why #}\nC", (1, 11)),
        ("{% for x in rows %}- {{ text }}{% if text %}, b{% endif %}\n{% endfor %}", (1, 48)),
        ("A {% if text %}\nb\n{% endif %}", (1, 3)),
        ("A {% include 'part.inline' %}\nC", (1, 3)),
        ("A\nB {% if text %}b{% endif %}\n C", (2, 17)),
        ("A\n{#- why -#}{# how #}\nC", (2, 12)),
    ],
)
def test_a_line_break_that_is_swallowed_is_noted(source: str, place: tuple[int, int]) -> None:
    assert noted(source, part="x") == [("P111", *place)]


@pytest.mark.parametrize(
    "source",
    [
        "A {% if text %}b{% endif +%}\nC",
        "A {% if text %}b{% endif -%}\nC",
        "A {% if text %}b{% endif %}\n\nC",
        "A {% if text %}b{% endif %}\n",
        "A {% if text %}b{% endif %} \nC",
        "{% if text %}\nA\n{% endif %}\nB",
        "{% system %}A{% endsystem %}\n{% user %}B {% if text %}c{% endif %}\n{% enduser %}\n",
        "{% set x %}a{% endset %}\n{% macro m(a) %}{{ a }}{% endmacro %}\n{{ m(x) }}",
        "A\n{# why #}{% if text %}\nB\n{% endif %}",
    ],
)
def test_a_line_break_that_is_kept_or_not_missed_is_not_noted(source: str) -> None:
    assert noted(source) == []


def test_a_schema_that_leads_into_itself_is_followed_as_far_as_needed() -> None:
    nested = {"type": "array", "items": {"$ref": "#/$defs/nested"}}
    tag = {"type": "object", "properties": {"a": {}}, "additionalProperties": False}
    endless = {"anyOf": [{"$ref": "#/$defs/endless"}, {"type": "string"}]}
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["nested", "endless", "lost", "odd", "twice"],
        "properties": {
            "nested": {"$ref": "#/$defs/nested"},
            "endless": {"$ref": "#/$defs/endless"},
            "lost": {"$ref": "#/$defs/nowhere/0"},
            "odd": {"enum": [["a"], {"b": 1}]},
            "twice": {"anyOf": [{"$ref": "#/$defs/tag"}, {"$ref": "#/$defs/tag"}]},
        },
        "$defs": {"nested": nested, "endless": endless, "tag": tag},
    }
    source = "{% for a in s.nested %}{% for b in a %}{{ b | length }}{% endfor %}{% endfor %}{{ s.endless.x }}{{ s.lost.x }}{{ s.odd.x }}{{ s.nestd }}{{ s.twice.b }}"
    found = Prompts(inline={"t": source}).type_problems("t.inline", {"s": schema})
    wrong = [("P002", source.index("nestd") + 1), ("P002", source.index("b }}", 90) + 1)]
    assert [(each.code, each.column) for each in found] == wrong


def test_macros_that_call_one_another_too_deep_are_not_held_against_a_template() -> None:
    for count in range(10, 150, 10):
        macros = "".join(
            f"{{% macro m{each}(t) %}}{{{{ m{each + 1}(t) }}}}{{% endmacro %}}"
            for each in range(count)
        )
        source = f"{macros}{{% macro m{count}(t) %}}{{{{ t }}}}{{% endmacro %}}{{{{ m0(text) }}}}"
        assert Prompts(inline={"t": source}).type_problems("t.inline", {"text": str}) == []


def test_a_template_that_is_not_there_has_no_contract() -> None:
    assert Prompts().type_problems("nothing.jinja", GIVEN) == []


IDENTIFIERS = {
    "t": """{% from 'style.inline' import rule %}
{% system %}
You are {{ member.id }}, {{ member.role }}.
{% if router.output.choice == "french" %}
{{ rule("French") }}
{% elif router.output.choice == "german" %}
{{ rule("German") }}
{% endif %}
At most {{ params.max_words }} words.
{% for other in members %}
- {{ other.id }}: {{ other.role | fence("role") }}
{% endfor %}
{% if session.summary %}
{{ session.summary | fence("summary") }}
{% endif %}
{% endsystem %}
{% messages messages %}
{% user %}
{{ router.output.reason }}
{% enduser %}
""",
    "style": "{% macro rule(language) %}Answer in {{ language }} only.{% endmacro %}",
}


def test_every_typo_of_one_letter_in_an_identifier_is_caught_where_it_stands() -> None:
    given = {**GIVEN, "member": Member}
    source = IDENTIFIERS["t"]
    sound = Prompts(inline=IDENTIFIERS)
    assert sound.problems("t.inline") == sound.type_problems("t.inline", given) == []
    words = [
        (tag.start() + word.start(), word[0])
        for tag in re.finditer(r"\{[{%].*?[%}]\}", source)
        for word in re.finditer(r"(?<!['\"\w])[a-z_]{2,}(?!['\"\w])", tag[0])
    ]
    caught = exact = 0
    for start, word in words:
        broken = source[:start] + word[0] + "q" + word[2:] + source[start + len(word) :]
        found = _all_problems({**IDENTIFIERS, "t": broken}, given)
        line = source.count("\n", 0, start) + 1
        caught += bool(found)
        exact += (line, start - source.rfind("\n", 0, start)) in found
    assert caught == len(words) > 40
    assert exact >= 0.95 * len(words)


def _all_problems(inline: dict[str, str], given: Mapping[str, object]) -> list[tuple[int, int]]:
    prompts = Prompts(inline=inline)
    found = prompts.problems("t.inline")
    if not found:
        found = prompts.type_problems("t.inline", given)
        found += [
            Problem("P002", "", line=read.line, column=read.column)
            for read in prompts.reads("t.inline")
            if read.name not in given
        ]
    return [(each.line or 0, each.column or 0) for each in found]
