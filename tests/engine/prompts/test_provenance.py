"""Every word of a rendered prompt can be told where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph import Message
from teamgraph.engine.prompts.library import CapturedPrompt, Prompts
from teamgraph.engine.prompts.provenance import Span, render_traced, trace_spans
from teamgraph.engine.run.template_scope import JSONView, json_view
from teamgraph.engine.testing.cases import CaseFile, PromptCase
from teamgraph.engine.testing.snapshots import SUFFIX
from teamgraph.errors import PromptError
from teamgraph.kinds import Exchanged
from tests.engine.prompts.test_reads_match_render import bodies

CASES = Path(__file__).parents[2] / "prompts"
RUNS = [Exchanged("Who?", "Ana."), Exchanged("Where?", "Rome </answer>")]
NAMES: Mapping[str, object] = {
    "input": SimpleNamespace(message="Hello", item=3),
    "history": SimpleNamespace(
        runs=RUNS,
        messages=(Message(role="user", content="Who?"), Message(role="assistant", content="Ana.")),
    ),
    "upstream": (SimpleNamespace(id="french", output="Bonjour"),),
    "node": SimpleNamespace(role="a tutor", params=JSONView({"tags": ["b", "a"], "items": "two"})),
    "session": SimpleNamespace(state=JSONView({"vip": "yes", "a b": {"c": "deep"}}), summary=None),
    "now": datetime(2026, 1, 2, tzinfo=UTC),
    "user_id": "ana",
    "nested": [["x", "y"], ["z"]],
}


def rendered(source: str, names: Mapping[str, object] = NAMES, **others: str) -> CapturedPrompt:
    prompts = Prompts(inline={"t": source, **others})
    assert prompts.problems("t.inline") == []
    messages = prompts.render("t.inline", names)
    return CapturedPrompt("t.inline", prompts.sources("t.inline"), names, messages)


def told(source: str, **others: str) -> list[tuple[str, str, str]]:
    """The words of the first message: line and column, paths of values, words."""
    prompt = rendered(source, **others)
    text = prompt.messages[0].content
    return [
        (f"{each.line}:{each.column}", ", ".join(each.values), text[each.start : each.end])
        for each in trace_spans(prompt)[0]
    ]


def holds(prompt: CapturedPrompt) -> None:
    """The same text again; stretches that tile it; text that stands where it is said to stand."""
    assert [*map(str, render_traced(prompt))] == [message.content for message in prompt.messages]
    for message, stretches in zip(prompt.messages, trace_spans(prompt), strict=True):
        ends = [0, *(stretch.end for stretch in stretches)]
        assert ends == [*(stretch.start for stretch in stretches), len(message.content)]
        for stretch in stretches:
            assert stretch.end > stretch.start
            words = message.content[stretch.start : stretch.end]
            source = prompt.sources[stretch.template].split("\n")
            there = "\n".join(source[stretch.line - 1 :])[stretch.column - 1 :]
            assert there.startswith(words) or not stretch.is_text


def test_text_and_values_are_told_apart() -> None:
    assert told("You are {{ node.role }}.\nSay: {{ input.message }}") == [
        ("1:1", "", "You are "),
        ("1:12", "node.role", "a tutor"),
        ("1:24", "", ".\nSay: "),
        ("2:9", "input.message", "Hello"),
    ]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ input.message | upper }}", [("input.message", "HELLO")]),
        ("{{ input.message.upper() }}", [("input.message", "HELLO")]),
        ("{{ input.message[1:3] }}", [("input.message", "el")]),
        ("{{ input.message | replace('l', user_id) }}",
         [("input.message, user_id", "Heanaanao")]),
        ("{{ {'ana': input.message}[user_id] }}", [("input.message", "Hello")]),
        ("{{ input.message * 2 }}", [("input.message", "HelloHello")]),
        ("{{ '%s!' % input.message }}", [("input.message", "Hello!")]),
        ("{{ '{}!'.format(input.message) }}", [("input.message", "Hello!")]),
        ("{{ '<' ~ input.message ~ input.item }}",
         [("", "<"), ("input.message", "Hello"), ("input.item", "3")]),
        ("{{ '<' + input.message }}", [("", "<"), ("input.message", "Hello")]),
        ("{{ 1 + input.item }}", [("input.item", "4")]),
        ("{{ now }}", [("now", "2026-01-02 00:00:00+00:00")]),
        ("{{ user_id }}", [("user_id", "ana")]),
        ("{{ session.summary }}", [("session.summary", "None")]),
        ("{{ session.summary or 'none' }}", [("", "none")]),
        ("{{ session.state.sum | default('none') }}", [("", "none")]),
        ("{{ 'new' if session.summary is none else 'old' }}", [("", "new")]),
        ("{{ upstream[0].output }}", [("upstream[french].output", "Bonjour")]),
        ("{{ session.state['a b'].c }}", [("session.state['a b'].c", "deep")]),
        ("{{ session.state.get('vip') }}", [("session.state.vip", "yes")]),
        ("{{ node.params.items }}", [("node.params.items", "two")]),
        ("{{ node.params.tags | join('+') }}",
         [("node.params.tags[0]", "b"), ("", "+"), ("node.params.tags[1]", "a")]),
        ("{{ history.runs | join('+', attribute='answer') | length }}",
         [("history.runs[0].answer, history.runs[1].answer", "19")]),
        ("{{ [1, input.item] | join('+') }}", [("input.item", "1+3")]),
        ("{{ history.runs | map(attribute='input') | list }}",
         [("history.runs[0].input, history.runs[1].input", "['Who?', 'Where?']")]),
        ("{{ (history.runs | first).input }}", [("history.runs[0].input", "Who?")]),
        ("{{ input.message | fence('m') }}",
         [("", "<m>\n"), ("input.message", "Hello"), ("", "\n</m>")]),
        ("{{ history.runs[1].answer | fence('answer') }}",
         [("", "<answer>\n"), ("history.runs[1].answer", "Rome &lt;/answer>"),
          ("", "\n</answer>")]),
        ("{{ session.state | fence('s') | length }}", [("session.state", "45")]),
        ("{% filter upper %}A {{ user_id }}{% endfilter %}", [("user_id", "A ANA")]),
        ("{% filter trim %} A {{ user_id }} {% endfilter %}",
         [("", "A "), ("user_id", "ana")]),
        ("{% filter trim | upper %} A {{ user_id }} {% endfilter %}", [("user_id", "A ANA")]),
        ("{% set x %}A {{ user_id }}{% endset %}{{ x }}", [("", "A "), ("user_id", "ana")]),
        ("{% set x | upper %}A {{ user_id }}{% endset %}{{ x }}", [("user_id", "A ANA")]),
        ("{% set x = user_id | upper %}{{ x }}", [("user_id", "ANA")]),
        ("{% set n = namespace(x=user_id) %}{% set n.x = n.x ~ 1 %}{{ n.x }}",
         [("user_id", "ana"), ("", "1")]),
        ("{% set n = 3 %}{{ n }}", [("n", "3")]),
        ("{% with x = user_id %}{{ x }}{% endwith %}", [("user_id", "ana")]),
        ("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(user_id) }}",
         [("", "["), ("user_id", "ana"), ("", "]")]),
        ("{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}{{ user_id }}{% endcall %}",
         [("", "["), ("user_id", "ana"), ("", "]")]),
        ("{% macro m(x) %}{{ x }}{% endmacro %}{{ m('a') | upper }}", [("", "A")]),
        ("{{ dict(a=user_id) }}", [("user_id", "{'a': 'ana'}")]),
    ],
)  # fmt: skip
def test_an_expression_tells_the_values_that_its_words_show(
    source: str, words: list[tuple[str, str]]
) -> None:
    assert [(values, text) for _, values, text in told(source)] == words
    holds(rendered(source))


@pytest.mark.parametrize(
    ("over", "shows", "paths"),
    [
        ("run in history.runs", "run.input", ["history.runs[0].input", "history.runs[1].input"]),
        ("run in history.runs | reverse", "run.input",
         ["history.runs[1].input", "history.runs[0].input"]),
        ("run in history.runs if run.answer", "run.input",
         ["history.runs[0].input", "history.runs[1].input"]),
        ("run in history.runs[1:]", "run.input", ["history.runs[1].input"]),
        ("some in history.runs | batch(1)", "some[0].input",
         ["history.runs[0].input", "history.runs[1].input"]),
        ("group in history.runs | groupby('input')", "group.list[0].input",
         ["history.runs[1].input", "history.runs[0].input"]),
        ("tag in node.params.tags", "tag", ["node.params.tags[0]", "node.params.tags[1]"]),
        ("tag in node.params.tags | sort", "tag", ["node.params.tags[1]", "node.params.tags[0]"]),
        ("tag in node.params.tags | map('upper')", "tag", ["node.params.tags"] * 2),
        ("answer in history.runs | map(attribute='answer')", "answer",
         ["history.runs[0].answer", "history.runs[1].answer"]),
        ("key in session.state", "key", ["session.state"] * 2),
        ("key, value in session.state.items()", "value",
         ["session.state.vip", "session.state['a b']"]),
        ("value in session.state.values()", "value", ["session.state"] * 2),
        ("key, value in {'a': user_id}.items()", "value", ["user_id"]),
        ("key, value in session.state | dictsort", "value", ["session.state"] * 2),
        ("letter in 'ab'", "letter", ["letter"] * 2),
        ("letter in user_id", "letter", ["user_id"] * 3),
        ("number in range(2)", "loop.index", ["loop.index"] * 2),
        ("part in nested recursive", "loop(part) if part is not string else part",
         ["nested[0][0]", "nested[0][1]", "nested[1][0]"]),
    ],
)  # fmt: skip
def test_a_loop_tells_which_item_its_words_came_from(
    over: str, shows: str, paths: list[str]
) -> None:
    source = f"{{% for {over} %}}{{{{ {shows} }}}}{{% endfor %}}"
    assert [values for _, values, _ in told(source)] == paths
    holds(rendered(source))


def test_included_imported_and_inherited_words_are_told_by_their_own_template() -> None:
    source = (
        "{% extends 'base.inline' %}{% block b %}{{ super() }} mine {{ m(user_id) }}{% endblock %}"
    )
    prompt = rendered(
        "{% from 'macro.inline' import m with context %}" + source,
        base="Base\n{% block b %}of all{% endblock %}\n{% include 'part.inline' %}",
        macro="{% macro m(x) %}macro {{ x }}{% endmacro %}",
        part="\n\nPart {{ input.message }}\n",
    )
    holds(prompt)
    text = prompt.messages[0].content
    assert [
        (each.template, f"{each.line}:{each.column}", text[each.start : each.end])
        for each in trace_spans(prompt)[0]
    ] == [
        ("base.inline", "1:1", "Base\n"),
        ("base.inline", "2:14", "of all"),
        ("t.inline", "1:101", " mine "),
        ("macro.inline", "1:17", "macro "),
        ("macro.inline", "1:26", "ana"),
        ("part.inline", "1:1", "\n\nPart "),
        ("part.inline", "3:9", "Hello"),
    ]


def test_messages_that_are_replayed_are_told_by_their_number() -> None:
    prompt = rendered("{% messages history.messages %}{% user %}\n\n{{ user_id }}\n{% enduser %}")
    assert [[each.values for each in stretches] for stretches in trace_spans(prompt)] == [
        [("history.messages[0].content",)],
        [("history.messages[1].content",)],
        [("user_id",)],
    ]
    made = rendered("{% messages [{'role': 'user', 'content': input.message}] %}")
    assert [each.values for each in trace_spans(made)[0]] == [("input.message",)]


def test_text_is_told_where_it_stands_after_the_space_before_it_was_dropped() -> None:
    source = "{% system %}\n\n  \n A\nB {{ user_id }}\n{% endsystem %}"
    assert told(source)[0] == ("3:1", "", "  \n A\nB ")
    assert told("{% set x %}\n\n  C\n{% endset %}{{ x | trim }}")[0] == ("3:3", "", "C")
    assert told("{% set x %}  C{% endset %}{{ x | trim }}")[0] == ("1:14", "", "C")


def test_a_template_that_makes_another_text_each_time_is_named_as_a_whole() -> None:
    first = rendered("{{ user_id }}")
    other = CapturedPrompt(first.template, first.sources, {"user_id": "bob"}, first.messages)
    assert trace_spans(other) == ((Span(0, 3, "t.inline", 1, 1),),)


def test_an_empty_message_has_no_stretches() -> None:
    assert trace_spans(rendered("{% user %}{% enduser %}")) == ((),)
    assert trace_spans(rendered("{% if not user_id %}{% user %}{% enduser %}{% endif %}")) == ()


def every_case() -> list[PromptCase]:
    return [case for file in sorted(CASES.glob(f"*{SUFFIX}")) for case in CaseFile.load(file).cases]


@pytest.mark.parametrize("case", every_case(), ids=lambda case: case.name)
def test_it_holds_for_every_prompt_of_the_graphs_that_are_shipped(case: PromptCase) -> None:
    for node in case.render().values():
        for prompt in node.prompts:
            assert prompt._rendered is not None
            holds(prompt._rendered)


MARKS = dict(zip("abcde", "①②③④⑤", strict=True))


@settings(max_examples=60, deadline=None)
@given(bodies(), bodies(), st.frozensets(st.sampled_from("abcde"), min_size=3))
def test_whatever_a_template_does_the_words_of_a_value_lead_back_to_it(
    body: str, part: str, given_too: frozenset[str]
) -> None:
    part = part.replace("'part.inline'", "'none.jinja' ignore missing")
    prompts = Prompts(
        inline={
            "t": "{% macro m(x) %}[{{ x }}]{% endmacro %}" + body,
            "part": "{% macro m(x) %}{% endmacro %}" + part,
            "module": "{% macro m(x) %}<{{ x }}>{% endmacro %}",
        }
    )
    if prompts.problems("t.inline"):
        return
    reads = {read.name for read in prompts.reads("t.inline") if not read.guarded}
    names = {name: MARKS[name] for name in reads | given_too if name in MARKS}
    try:
        messages = prompts.render("t.inline", names)
    except PromptError:
        return  # a macro that calls itself
    prompt = CapturedPrompt("t.inline", prompts.sources("t.inline"), names, messages)
    holds(prompt)
    text = messages[0].content
    for stretch in trace_spans(prompt)[0]:
        words = text[stretch.start : stretch.end]
        assert {name for name, mark in MARKS.items() if mark in words} <= {*stretch.values}


def test_a_value_is_told_as_it_is_shown_to_templates() -> None:
    data = json_view({"rows": [{"id": "r1", "text": "one"}, {"id": "two words", "text": "two"}]})
    source = "{% for row in data.rows %}{{ row.text }}{% endfor %}"
    prompt = rendered(source, {"data": data})
    assert [each.values for each in trace_spans(prompt)[0]] == [
        ("data.rows[r1].text",),
        ("data.rows[1].text",),
    ]
