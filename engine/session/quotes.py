"""Provenance of text across runs: which texts of earlier runs a run has read.

A store writes a record that repeats such a text with references in place of the words, so that
deleting the earlier run deletes its words everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec.structs import replace

from ..messages import JSON, Quote, text_of
from ..records import READERS, Change, Head, Record, Run, StateKey, Summary, Turn, past_tool_calls

INPUT, ANSWER, SUMMARY, RESULT = "input", "answer", "summary", "/result"


def texts_of(turn: Turn, records: Collection[Record] = ()) -> dict[str, str]:
    """The texts of a run that are not empty, by their places in it (`input`, `node/output`)."""
    texts = {INPUT: turn.input, ANSWER: turn.answer or ""}
    for record in records:
        texts[f"{record.node}/output"] = text_of(record.output)
        if is_summary(record):
            texts[SUMMARY] = text_of(record.output)
        for number, call in enumerate(past_tool_calls([record])):
            texts[f"{record.node}/{number}/arguments"] = call.arguments
            if call.tool not in READERS:  # their results repeat texts of other runs
                texts[f"{record.node}/{number}{RESULT}"] = call.result
    if records or turn.given_state:
        for key, value in Change.of(turn, records).values().items():
            texts |= _texts_in(key, value)
    return {place: text for place, text in texts.items() if text.strip()}


def is_summary(record: Record) -> bool:
    """Whether the record is of a node that wrote a new summary of the session."""
    return isinstance(record.fields.get("covers"), int)


class QuoteLog:
    """Collects the texts of earlier runs that nodes and tools of one run have read."""

    def __init__(self) -> None:
        self._quotes: dict[tuple[str | None, str, str], Quote] = {}

    def turns(self, turns: Iterable[Turn], *, session_id: str | None = None) -> None:
        """Add the texts of turns, of another session if `session_id` names one."""
        for turn in turns:
            self._add(turn.run_id, texts_of(turn), session_id)

    def run(self, run: Run) -> None:
        """Add all texts of a run of the same session."""
        self._add(run.run_id, texts_of(run.turn, [*run.records.values()]), None)

    def summary(self, summary: Summary | None) -> None:
        """Add the text of a summary of the same session."""
        if summary is not None and summary.run_id and summary.text.strip():
            self._add(summary.run_id, {SUMMARY: summary.text}, None)

    def head(self, head: Head) -> None:
        """Add the summary, and the texts that earlier runs wrote into the state."""
        self.summary(head.summary)
        state = Change(head.state, head.node_states).values()
        for key, run_id in head.writers.items():
            self._add(run_id, _texts_in(key, state[key]), None)

    def quotes(self, own: Turn) -> tuple[Quote, ...]:
        """The run's own message, then all texts that were read; empty if none was."""
        if not self._quotes:
            return ()
        return (Quote(own.run_id, INPUT, own.input), *self._quotes.values())

    def _add(self, run_id: str, texts: dict[str, str], session_id: str | None) -> None:
        for place, text in texts.items():
            quote = Quote(run_id, place, text, session_id)
            self._quotes.setdefault((session_id, run_id, place), quote)


def _texts_in(key: StateKey, value: JSON) -> dict[str, str]:
    return {
        f"{key.scope}/{key.name}/{number}": text
        for number, text in enumerate(_words(value))
        if text.strip()
    }


def _words(value: JSON) -> Iterator[str]:
    """The texts in a value, keys of mappings included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)


def quoting(record: Record, texts: Mapping[str, Mapping[str, str]]) -> Record:
    """The record with the texts of its quotes filled in, as `Store.put` takes it."""
    quotes = (
        replace(quote, text=texts.get(quote.run_id, {}).get(quote.place, ""))
        for quote in record.quotes
    )
    return replace(record, quotes=tuple(quotes))
