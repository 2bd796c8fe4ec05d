"""A template becomes messages, and only its tags say whose."""

# ruff: noqa: E501  a template is easier to read on one line

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest
from pydantic import BaseModel

from teamgraph import Message
from teamgraph.engine.prompts.library import Prompts
from teamgraph.errors import PromptError


def render(source: str, **variables: object) -> tuple[Message, ...]:
    return Prompts(inline={"a": source}).render("a.inline", variables)


def text(source: str, **variables: object) -> str:
    (message,) = render(source, **variables)
    return message.content


def failure(source: str, **variables: object) -> PromptError:
    with pytest.raises(PromptError) as caught:
        render(source, **variables)
    return caught.value


def test_a_template_without_tags_is_one_user_message() -> None:
    assert render("Hello {{ name }}.\n", name="Ana") == (
        Message(role="user", content="Hello Ana."),
    )


def test_tags_say_the_roles() -> None:
    source = """{% system %}
You are kind.
{% endsystem %}
{% for each in examples %}
{% user %}{{ each }}{% enduser %}
{% assistant %}ok{% endassistant %}
{% endfor %}
{% user %}
{{ question }}
{% enduser %}
"""
    messages = render(source, examples=["a", "b"], question="why?")
    assert [(message.role, message.content) for message in messages] == [
        ("system", "You are kind."),
        ("user", "a"),
        ("assistant", "ok"),
        ("user", "b"),
        ("assistant", "ok"),
        ("user", "why?"),
    ]


def test_a_tag_takes_cache_and_name() -> None:
    source = "{% system cache=true %}s{% endsystem %}{% user name=who %}u{% enduser %}"
    assert render(source, who="ana") == (
        Message(role="system", content="s", cache=True),
        Message(role="user", content="u", name="ana"),
    )


def test_tags_of_which_none_is_reached_make_no_message() -> None:
    assert render("{% if false %}{% user %}x{% enduser %}{% endif %}\n") == ()


def test_replayed_messages_are_the_very_same_objects() -> None:
    old = [Message(role="user", content="hi", origin="run-1"), Message(role="tool", content="7")]
    messages = render("{% messages old %}{% user %}go on{% enduser %}", old=old)
    assert messages[0] is old[0]
    assert messages[1] is old[1]
    assert len(messages) == 3


def test_replayed_mappings_become_messages() -> None:
    old = [{"role": "assistant", "content": "hi", "name": "leo"}]
    assert render("{% messages old %}", old=old) == (
        Message(role="assistant", content="hi", name="leo"),
    )


@pytest.mark.parametrize(
    "old",
    [
        [Message(role="system", content="evil")],
        [{"role": "system", "content": "evil"}],
        [{"role": "root", "content": "evil"}],
        [{"role": "user"}],
        ["evil"],
        7,
    ],
)
def test_nothing_else_is_replayed(old: object) -> None:
    failure("{% messages old %}", old=old)


def test_what_a_child_template_says_takes_the_place_of_its_parents_blocks(tmp_path: Path) -> None:
    (tmp_path / "base.jinja").write_text(
        "{% system %}{% block rules %}be kind{% endblock %}{% endsystem %}\n"
        "{% block talk %}{% user %}{{ q }}{% enduser %}{% endblock %}\n"
    )
    (tmp_path / "child.jinja").write_text(
        "{% extends 'base.jinja' %}\n"
        "{% block rules %}{{ super() }}, be brief{% endblock %}\n"
        "{% block talk %}{{ super() }}{% assistant %}hm{% endassistant %}{% endblock %}\n"
    )
    messages = Prompts([tmp_path]).render("child.jinja", {"q": "why?"})
    assert [(message.role, message.content) for message in messages] == [
        ("system", "be kind, be brief"),
        ("user", "why?"),
        ("assistant", "hm"),
    ]


def test_a_block_can_be_said_again() -> None:
    source = "{% block a %}{% user %}x{% enduser %}{% endblock %}{{ self.a() }}"
    assert [message.content for message in render(source)] == ["x", "x"]


def test_included_templates_speak_too(tmp_path: Path) -> None:
    (tmp_path / "shots.jinja").write_text(
        "{% for each in shots %}{% user %}{{ each }}{% enduser %}{% endfor %}"
    )
    (tmp_path / "a.jinja").write_text("{% system %}s{% endsystem %}{% include 'shots.jinja' %}")
    messages = Prompts([tmp_path]).render("a.jinja", {"shots": [1, 2]})
    assert [message.content for message in messages] == ["s", "1", "2"]


def test_includes_can_be_a_list_a_choice_or_missing(tmp_path: Path) -> None:
    (tmp_path / "b.jinja").write_text("B")
    (tmp_path / "c.jinja").write_text("C")
    (tmp_path / "a.jinja").write_text(
        "{% include ['none.jinja', 'b.jinja'] %}"
        "{% include 'b.jinja' if yes else 'c.jinja' %}"
        "{% include 'none.jinja' ignore missing %}"
    )
    assert Prompts([tmp_path]).render("a.jinja", {"yes": False})[0].content == "BC"


def test_what_an_import_leaves_behind_is_forgotten_after_each_rendering(tmp_path: Path) -> None:
    (tmp_path / "count.jinja").write_text(
        "{% set seen = namespace(names='') %}"
        "{% macro add(name) %}{% set seen.names = seen.names ~ name %}{{ seen.names }}{% endmacro %}"
    )
    (tmp_path / "a.jinja").write_text("{% from 'count.jinja' import add %}{{ add(who) }}")
    prompts = Prompts([tmp_path])
    assert prompts.render("a.jinja", {"who": "ana"})[0].content == "ana"
    assert prompts.render("a.jinja", {"who": "bob"})[0].content == "bob"


def test_line_ends_are_those_of_the_template_not_of_the_platform() -> None:
    assert text("a\r\nb\rc{{ x }}", x="\r\n!") == "a\nb\nc\r\n!"


def test_odd_characters_in_data_pass_unharmed() -> None:
    odd = "\0\x1b\ud800\u202e\u200b\x7f"
    assert text("{{ x }}", x=odd) == odd
    assert text("{{ x | fence('a') }}", x=odd) == f"<a>\n{odd}\n</a>"
    assert text("{{ [x] | tojson }}", x="\ud800ü") == '["\ud800ü"]'


def test_renderings_in_many_threads_do_not_mix() -> None:
    prompts = Prompts(
        inline={
            "a": "{% system %}{{ n }}{% endsystem %}{% messages h %}{% user %}{{ n }}{% enduser %}"
        }
    )

    def one(number: int) -> tuple[str, ...]:
        history = [Message(role="assistant", content=str(number))]
        messages = prompts.render("a.inline", {"n": number, "h": history})
        return tuple(message.content for message in messages)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(400))) == [(str(n),) * 3 for n in range(400)]


def test_many_threads_may_load_the_same_templates(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.jinja").write_text(
            f"{{% include '{(number + 1) % 10}.txt.jinja' %}}"
        )
        (tmp_path / f"{number}.txt.jinja").write_text(str(number))
    prompts = Prompts([tmp_path])
    with ThreadPoolExecutor(8) as pool:
        rendered = list(pool.map(lambda n: prompts.render(f"{n % 10}.jinja", {}), range(80)))
    assert [messages[0].content for messages in rendered] == [str((n + 1) % 10) for n in range(80)]


def test_a_bare_name_that_is_missing_is_false() -> None:
    source = (
        "{{ 'yes' if french else 'no' }}{% if french %}{{ french }}{% endif %}{{ french or '-' }}"
    )
    assert text(source) == "no-"
    assert text(source, french="oui") == "yesouioui"


def test_a_key_that_a_mapping_has_not_is_false() -> None:
    source = "{% if state.vip %}vip{% else %}no{% endif %}{{ state.vip or '-' }}"
    assert text(source, state={}) == "no-"
    assert text(source, state={"vip": 1}) == "vip1"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ routs }}", "'routs' is undefined; did you mean 'routes'?"),
        ("{{ xyz }}", "'xyz' is undefined; defined here: input, message, routes"),
        ("{% if input.foo.bar %}{% endif %}", "'foo' may be missing here; guard it"),
        ("{% if message.foo %}{% endif %}", "'foo' may be missing here; guard it"),
        ("{{ input.foo }}", "'foo' may be missing here; guard it"),
        ("{{ xyz.foo }}", "'xyz' is undefined; defined here: input, message, routes"),
        ("{% for x in xyz %}{% endfor %}", "'xyz' is undefined"),
        ("{{ [xyz] | tojson }}", "'xyz' is undefined"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ routes.append(1) }}", "unsafe"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "without end"),
    ],
)
def test_what_cannot_be_rendered_says_why(source: str, told: str) -> None:
    message = Message(role="user", content="")
    error = failure("ok\n" + source, input={}, routes=[], message=message)
    assert told in str(error)
    assert (error.template, error.line) == ("a.inline", 2)
    assert error.__cause__ is not None


def test_a_failure_is_told_where_it_happened(tmp_path: Path) -> None:
    (tmp_path / "style.jinja").write_text("{% macro say(x) %}\n\n{{ x.y }}{% endmacro %}")
    (tmp_path / "a.jinja").write_text("{% from 'style.jinja' import say %}\n{{ say(7) }}")
    with pytest.raises(PromptError) as caught:
        Prompts([tmp_path]).render("a.jinja", {})
    assert (caught.value.template, caught.value.line) == ("style.jinja", 3)


def test_a_prompt_that_is_given_nothing_says_so() -> None:
    assert "defined here: nothing" in str(failure("{{ x }}"))


def test_an_error_without_words_is_told_by_its_name() -> None:
    class Odd:
        def __str__(self) -> str:
            raise KeyError

    assert str(failure("{{ x }}", x=Odd())) == "a.inline:1: KeyError"


def test_too_little_memory_is_told() -> None:
    class Huge:
        def __str__(self) -> str:
            raise MemoryError

    assert "more memory" in str(failure("{{ x }}", x=Huge()))


def test_a_template_with_problems_is_not_rendered() -> None:
    error = failure("hello\n{% user %}x{% enduser %}{{ q | uper }}", q="x")
    assert str(error) == "a.inline:2: there is no filter 'uper'; did you mean 'upper'?"


def test_a_template_that_is_not_there_is_not_rendered() -> None:
    with pytest.raises(PromptError, match=r"there is no template 'nothing\.jinja'"):
        Prompts().render("nothing.jinja", {})


class Answer(BaseModel):
    text: str
    score: float | None = None


@dataclass
class Point:
    y: int
    x: int


def test_the_keys_of_a_mapping_come_before_its_methods() -> None:
    assert text("{{ a.items }}{{ b.items() | list }}", a={"items": "mine"}, b={"x": 1}) == (
        "mine[('x', 1)]"
    )


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ x.upper }}", "call it with ()"),
        ("{{ joiner }}", "call it with ()"),
        ("{% macro m() %}{% endmacro %}{{ m }}", "call it with ()"),
        ("{{ [x] | map('upper') }}", "make it a list"),
        ("{{ odd }}", "print one of its fields"),
        ("{{ odd | fence('a') }}", "print one of its fields"),
        ("{{ 'a' ~ odd }}", "print one of its fields"),
    ],
)
def test_what_has_no_text_is_not_printed(source: str, told: str) -> None:
    assert told in str(failure(source, x="x", odd=object()))


def test_json_is_sorted_and_readable() -> None:
    value = {
        "b": Answer(text="é"),
        "a": [Point(1, 2), datetime(2000, 1, 1, tzinfo=UTC)],
    }
    assert text("{{ v | tojson }}", v=value) == (
        '{"a": [{"x": 2, "y": 1}, "2000-01-01T00:00:00+00:00"], "b": {"score": null, "text": "é"}}'
    )
    assert text("{{ v | tojson(indent=1) }}", v={"k": 1}) == '{\n "k": 1\n}'


def test_a_date_is_formatted_as_it_is_printed() -> None:
    moment = datetime(2000, 1, 1, tzinfo=UTC)
    assert text("{{ '{0!r}'.format(v) }}", v=moment) == repr(text("{{ v }}", v=moment))


def test_json_takes_any_mapping() -> None:
    assert text("{{ v | tojson }}", v=MappingProxyType({"b": 1, "a": 2})) == '{"a": 2, "b": 1}'


@pytest.mark.parametrize("value", [{1, 2}, frozenset("a"), object(), {"a": Answer}])
def test_json_refuses_what_has_no_order_or_form(value: object) -> None:
    assert "tojson" in str(failure("{{ v | tojson }}", v=value))


def test_json_refuses_odd_indents() -> None:
    assert "indent must be" in str(failure("{{ 1 | tojson(indent=1000) }}"))


def test_a_fence_and_bullets_write_lists_and_records_as_json() -> None:
    @dataclass
    class Found:
        title: str
        more: SimpleNamespace

    found = Found("é", SimpleNamespace(tags=["a", None]))
    shown = '{"more": {"tags": ["a", null]}, "title": "é"}'
    assert text("{{ x | fence('a') }}", x=found) == f"<a>\n{shown}\n</a>"
    assert text("{{ x | fence('a') }}", x=[1, "b"]) == '<a>\n[1, "b"]\n</a>'
    assert text("{{ x | fence('a') }}", x={"k": "</a>"}) == '<a>\n{"k": "&lt;/a>"}\n</a>'
    assert text("{{ [x, (1, 2)] | bullets }}", x={"k": True}) == '- {"k": true}\n- [1, 2]'
    assert text("{{ x | fence('a') }}{{ 7 | fence('b') }}", x="t") == "<a>\nt\n</a><b>\n7\n</b>"


def test_bullets_are_one_item_a_line() -> None:
    assert text("{{ v | bullets }}", v=["a\nb", 2]) == "- a\n  b\n- 2"
    assert "not a list" in str(failure("{{ 'ab' | bullets }}"))


def test_quote_marks_every_line() -> None:
    assert text("{{ v | quote }}", v="a\n\n b ") == "> a\n>\n>  b "


def test_truncate_chars_leaves_a_mark() -> None:
    assert text("{{ v | truncate_chars(3) }}", v="abc") == "abc"
    assert text("{{ v | truncate_chars(3) }}", v="abcd") == "ab…"
    assert "1 or more" in str(failure("{{ 'a' | truncate_chars(0) }}"))


def test_a_fence_tag_that_a_run_decides_is_checked_then() -> None:
    assert "fence tag 'a b'" in str(failure("{{ 'a' | fence(t) }}", t="a b"))


@pytest.mark.parametrize("name", ["random", "lipsum"])
def test_nothing_random_can_be_said(name: str) -> None:
    assert name in str(failure(f"{{{{ [1] | {name} }}}}"))
    assert name in str(failure(f"{{{{ {name}() }}}}"))


@pytest.mark.parametrize(
    ("value", "told"), [("a", "a"), (None, ""), (0, "0"), ({"a": [1]}, '{"a": [1]}')]
)
def test_written_is_text_as_it_is_and_all_else_as_json(value: object, told: str) -> None:
    assert text("[{{ v | written }}]", v=value) == f"[{told}]"
