"""Words of a deleted run that are only text somewhere else."""

from __future__ import annotations

import json

import pytest

from engine.session import Turn
from engine.stores.forgetting import Words


def words(said: str, answer: str | None = None) -> Words:
    return Words.of(Turn("r", said, answer=answer))


@pytest.mark.parametrize(
    ("said", "sent", "left"),
    [
        ("the secret", "user: the secret\nassistant: yes", "user: (deleted)\nassistant: (deleted)"),
        ("hi", "user: hi\nthis is his", "user: (deleted)\nthis is his"),
        ("a </tag>", "<tag>\na &lt;/tag>\n</tag>", "<tag>\n(deleted)\n</tag>"),
        ("(a+b)*", "they said (a+b)* and left", "they said (deleted) and left"),
    ],
)
def test_they_are_cut_from_a_system_message_where_they_stand_alone(
    said: str, sent: str, left: str
) -> None:
    assert words(said, "yes").cut_of("system")(sent) == left


def test_a_result_that_has_them_whole_or_begun_is_emptied() -> None:
    said = 'a "long" text\n' * 9
    once = json.dumps([{"user": said}], ensure_ascii=False)
    cut = words(said).cut_of("tool")
    for result in (once, json.dumps([once]), f"{said[:60]}…[cut]"):
        assert cut(result) == "(deleted)"
    assert cut("a long text") == "a long text"


def test_what_was_said_by_people_stays() -> None:
    for role in ("user", "assistant"):
        assert words("hello").cut_of(role)("hello") == "hello"


def test_a_run_in_which_nothing_was_said_takes_nothing_with_it() -> None:
    assert words(" ", "").cut_of("system")("any words") == "any words"
