"""Which texts of earlier runs a run has read, so that they can be stored as references.

A record that repeats such a text has a reference in its place: when the earlier run is deleted, its
words are gone everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec.structs import replace

from ..messages import JSON, Quote, text_of
from ..records import READERS, Change, Head, Record, Run, StateKey, Summary, Turn, past_tool_calls

INPUT, ANSWER, SUMMARY, RESULT = "input", "answer", "summary", "/result"
"""Names of places in a run at which a text can stand; `RESULT` ends that of a tool's result."""


class QuoteLog:
    """What the nodes and tools of one run have read of earlier runs."""

    def __init__(self) -> None:
        self._quotes: dict[tuple[str | None, str, str], Quote] = {}

    def add_turns(self, turns: Iterable[Turn], *, session_id: str | None = None) -> None:
        """Inputs and answers of turns, of another session if that is named."""
        for turn in turns:
            self._add(turn.run_id, run_texts(turn), session_id)

    def add_run(self, run: Run) -> None:
        """All texts of a run of the same session."""
        self._add(run.run_id, run_texts(run.turn, [*run.records.values()]), None)

    def add_summary(self, summary: Summary | None) -> None:
        """A summary of the same session."""
        if summary is not None and summary.run_id and summary.text.strip():
            self._add(summary.run_id, {SUMMARY: summary.text}, None)

    def add_head(self, head: Head) -> None:
        """The session's summary, and what earlier runs left in its state."""
        self.add_summary(head.summary)
        state = Change(head.state, head.node_states).values()
        for key, run_id in head.writers.items():
            self._add(run_id, _state_texts(key, state[key]), None)

    def quotes(self, turn: Turn) -> tuple[Quote, ...]:
        """All of it, after the message of the run's own turn; empty if nothing was read."""
        if not self._quotes:
            return ()
        return (Quote(turn.run_id, INPUT, turn.input), *self._quotes.values())

    def _add(self, run_id: str, texts: dict[str, str], session_id: str | None) -> None:
        for place, text in texts.items():
            quote = Quote(run_id, place, text, session_id)
            self._quotes.setdefault((session_id, run_id, place), quote)


def run_texts(turn: Turn, records: Collection[Record] = ()) -> dict[str, str]:
    """The texts of a run by their places, without those that are empty."""
    texts = {INPUT: turn.input, ANSWER: turn.answer or ""}
    for record in records:
        texts[f"{record.node}/output"] = text_of(record.output)
        if is_summary(record):
            texts[SUMMARY] = text_of(record.output)
        for number, call in enumerate(past_tool_calls([record])):
            texts[f"{record.node}/{number}/arguments"] = call.arguments
            if call.tool not in READERS:  # their results are texts of other runs
                texts[f"{record.node}/{number}{RESULT}"] = call.result
    if records or turn.given_state:
        for key, value in Change.of(turn, records).values().items():
            texts |= _state_texts(key, value)
    return {place: text for place, text in texts.items() if text.strip()}


def is_summary(record: Record) -> bool:
    """Whether the record is of a node that wrote the session's summary."""
    return isinstance(record.fields.get("covers"), int)


def fill_quotes(record: Record, texts: Mapping[str, Mapping[str, str]]) -> Record:
    """The record with the texts that it quotes, as `Store.put` wants them.

    `texts` are by run id and place; what is not there is empty.
    """
    quotes = (
        replace(quote, text=texts.get(quote.run_id, {}).get(quote.place, ""))
        for quote in record.quotes
    )
    return replace(record, quotes=tuple(quotes))


def _state_texts(key: StateKey, value: JSON) -> dict[str, str]:
    return {
        f"{key.scope}/{key.name}/{number}": text
        for number, text in enumerate(_texts_in(value))
        if text.strip()
    }


def _texts_in(value: JSON) -> Iterator[str]:
    """The texts in a value; the keys of a mapping are texts too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts_in(inner)
