"""Answers in OpenAI's format that arrive in parts, as different servers cut them."""

from __future__ import annotations

import pytest

from teamgraph import ToolCall
from teamgraph.engine.models.partial_reply import PartialCalls, text_in


def part(
    arguments: object = None, name: str = "", call_id: str = "", index: int | None = None
) -> dict[str, object]:
    return {
        "index": index,
        "id": call_id,
        "function": {"name": name, "arguments": arguments},
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hello", "hello"),
        (None, ""),
        (["hel", {"type": "text", "text": "lo"}], "hello"),
        ([{"text": "hello"}, {"type": "image_url"}, {"type": "text", "text": 3}], "hello"),
    ],
)
def test_a_content_is_a_text_or_a_list_of_parts(content: object, text: str) -> None:
    assert text_in(content) == text


@pytest.mark.parametrize(
    ("parts", "calls"),
    [
        (
            [part('{"a"', "f", "1", 0), part("{}", "g", "2", 1), part(": 1}", index=0)],
            [("1", "f", '{"a": 1}'), ("2", "g", "{}")],
        ),
        (
            [part('{"a"', "f", "1"), part("{}", "g", "2"), part(": 1}", call_id="1")],
            [("1", "f", '{"a": 1}'), ("2", "g", "{}")],
        ),
        ([part('{"a"', "f"), part(": 1}", "f")], [("", "f", '{"a": 1}')]),
        ([part("{}", "f"), part("{}", "f")], [("", "f", "{}"), ("", "f", "{}")]),
        ([part("{}", "f"), part("{}", "g")], [("", "f", "{}"), ("", "g", "{}")]),
        ([part({"a": "é"}, "f", "1")], [("1", "f", '{"a": "é"}')]),
        ([part(name="f")], [("", "f", "")]),
    ],
    ids=["index", "id", "same name", "twice", "other name", "a mapping", "no arguments"],
)
def test_a_part_continues_the_call_that_it_belongs_to(
    parts: list[dict[str, object]], calls: list[tuple[str, str, str]]
) -> None:
    made = PartialCalls()
    for each in parts:
        made.add(each)
    assert made.complete() == tuple(
        ToolCall(id=call_id, name=name, arguments=arguments) for call_id, name, arguments in calls
    )
