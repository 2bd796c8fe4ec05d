"""Events as rows: what is joined into one before it is written."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from teamgraph import Event
from teamgraph.engine.dispatch.event_rows import dump_events, merge_tokens, parse_events
from teamgraph.events import AnswerReset, Token


def token(text: str, *, node: str = "a", attempt: int = 1, answer: bool = True) -> Token:
    return Token("r", "s", 0, node, attempt, text=text, answer=answer)


def test_neighbouring_tokens_of_one_node_attempt_and_purpose_are_one_event() -> None:
    reset = AnswerReset("r", "s", 0, None, 0)
    first = token("one ")
    events: list[Event] = [
        first,
        token("two "),
        token("b", node="b"),
        token("three "),
        token("four"),
        reset,
        token("five"),
        token("aside", answer=False),
        token("again", attempt=2, answer=False),
    ]

    def shown(event: Event) -> Any:  # noqa: ANN401  a key
        return (event.node, event.attempt, getattr(event, "answer", None))

    merged = merge_tokens(events)
    assert [getattr(event, "text", None) for event in merged] == [
        "one two ",
        "b",
        "three four",
        None,
        "five",
        "aside",
        "again",
    ]
    assert [shown(event) for event in merged] == [key for key, _ in groupby(events, shown)]
    assert first.text == "one "  # what was gathered is as it was
    read = parse_events(dump_events(merged), len(merged), None)
    assert [event.sequence for event in read] == [*range(1, len(merged) + 1)]
