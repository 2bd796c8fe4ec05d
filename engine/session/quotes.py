"""The texts of earlier runs that a run was given, so that a store can tell whose they are.

A record that repeats them is kept with references in their place: whoever deletes the earlier run
deletes its words everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec.structs import replace

from ..messages import JSON, Quote, text_of
from ..records import READERS, Change, Head, Record, Run, StateKey, Summary, Turn, past_tool_calls

INPUT, ANSWER, SUMMARY, RESULT = "input", "answer", "summary", "/result"


def said(turn: Turn, records: Collection[Record] = ()) -> dict[str, str]:
    """The texts of a run by the places at which they stand, without those that are empty."""
    texts = {INPUT: turn.input, ANSWER: turn.answer or ""}
    for record in records:
        texts[f"{record.node}/output"] = text_of(record.output)
        if is_summary(record):
            texts[SUMMARY] = text_of(record.output)
        for number, call in enumerate(past_tool_calls([record])):
            texts[f"{record.node}/{number}/arguments"] = call.arguments
            if call.tool not in READERS:  # what those told stands where it was said
                texts[f"{record.node}/{number}{RESULT}"] = call.result
    if records or turn.given_state:
        for key, value in Change.of(turn, records).values().items():
            texts |= _kept(key, value)
    return {place: text for place, text in texts.items() if text.strip()}


def is_summary(record: Record) -> bool:
    """Whether the record is of a node that wrote the session's summary anew."""
    return isinstance(record.fields.get("covers"), int)


class QuoteLog:
    """What one run was given of earlier ones, whichever of its nodes or tools asked for it."""

    def __init__(self) -> None:
        self._quotes: dict[tuple[str | None, str, str], Quote] = {}

    def turns(self, turns: Iterable[Turn], *, session_id: str | None = None) -> None:
        """What was said in turns, of another session if that is named."""
        for turn in turns:
            self._note(turn.run_id, said(turn), session_id)

    def run(self, run: Run) -> None:
        """All that was said in a run of the same session."""
        self._note(run.run_id, said(run.turn, [*run.records.values()]), None)

    def summary(self, summary: Summary | None) -> None:
        """A summary of the same session."""
        if summary is not None and summary.run_id and summary.text.strip():
            self._note(summary.run_id, {SUMMARY: summary.text}, None)

    def head(self, head: Head) -> None:
        """Where the session stands: its summary, and what earlier runs left in the state."""
        self.summary(head.summary)
        state = Change(head.state, head.node_states).values()
        for key, run_id in head.writers.items():
            self._note(run_id, _kept(key, state[key]), None)

    def quotes(self, own: Turn) -> tuple[Quote, ...]:
        """All of it, behind the message of the run itself; nothing if nothing was given."""
        if not self._quotes:
            return ()
        return (Quote(own.run_id, INPUT, own.input), *self._quotes.values())

    def _note(self, run_id: str, texts: dict[str, str], session_id: str | None) -> None:
        for place, text in texts.items():
            quote = Quote(run_id, place, text, session_id)
            self._quotes.setdefault((session_id, run_id, place), quote)


def _kept(key: StateKey, value: JSON) -> dict[str, str]:
    return {
        f"{key.scope}/{key.name}/{number}": text
        for number, text in enumerate(_words(value))
        if text.strip()
    }


def _words(value: JSON) -> Iterator[str]:
    """The texts in a value; the keys of a mapping are texts too."""
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
    """The record with the texts of the runs that it quotes, as a store wants them."""
    quotes = (
        replace(quote, text=texts.get(quote.run_id, {}).get(quote.place, ""))
        for quote in record.quotes
    )
    return replace(record, quotes=tuple(quotes))
