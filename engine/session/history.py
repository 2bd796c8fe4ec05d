"""What a run can read of the past: earlier turns of its session, other sessions of its user."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from ..messages import JSON, Quote, text_of
from ..node_path import ROOT, NodePath, select_inside
from ..records import (
    READERS,
    Change,
    Head,
    PastToolCall,
    Record,
    Run,
    SessionInfo,
    SessionKey,
    StateKey,
    Summary,
    Turn,
    past_tool_calls,
)
from .store import Store

INPUT, ANSWER, SUMMARY, RESULT = "input", "answer", "summary", "/result"
ATTACHED = "attachments/"
"""Names of places in a run at which a text can stand; `RESULT` ends that of a tool's result, and
`ATTACHED` begins that of an attachment's name."""


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
    for number, part in enumerate(turn.attachments):
        texts[f"{ATTACHED}{number}"] = part.name
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


_MAX_QUOTED = 500
"""Characters of a text from another session; a longer one is cut and ends with the mark.

It is no word: what a model is told in words stands in templates.
"""
_CUT_MARK = "…"
_MAX_HITS = 1000
"""Turns that one search looks through before they are sorted by session."""


class Quoted(Struct, frozen=True):
    """A turn of another session; long texts are cut and end with `…`."""

    number: int
    input: str
    answer: str


class OtherSession(Struct, frozen=True):
    """What is quoted from another session of the same user, oldest turn first."""

    session_id: str
    runs: tuple[Quoted, ...]


class Past(Protocol):
    """The session before this turn, for kinds and tools that read it."""

    async def run(self, run_id: str) -> Run | None:
        """An earlier run of this session with its records, or None.

        In a graph that runs inside a node, these are the records of that graph, and input and
        answer are those of the node around it.
        """
        ...

    def inside(self, node_id: str) -> Past:
        """The past as the graph inside a node sees it."""
        ...

    async def turns(self, *, last: int | None = None, since: int = 0) -> Sequence[Turn]:
        """The completed turns with a number over `since`, the newest `last`, oldest first."""
        ...

    async def summary(self, *, until: int) -> Summary | None:
        """The newest summary that covers no turn after number `until`."""
        ...

    async def calls(self, run_id: str) -> Sequence[PastToolCall]:
        """The tool calls of an earlier run of this session with their results, oldest first."""
        ...

    async def other_sessions(
        self, *, sessions: int, runs: int, text: str = ""
    ) -> Sequence[OtherSession]:
        """The newest `runs` turns of each of the user's last other `sessions`, latest first.

        Sessions are ordered by activity; those without a completed turn do not count. With `text`
        only the turns that contain it, and only the sessions that have any.
        """
        ...

    async def quoted_turns(self, turns: Mapping[str, Sequence[int]]) -> Sequence[OtherSession]:
        """Like `other_sessions`, for the numbers of turns by session id, without deleted ones."""
        ...


class StoredPast(Struct, frozen=True, eq=False):
    """The past of a run as its store has it: implements `Past`.

    `until` is the number of the last turn before the run: concurrent runs may add others. `node` is
    the path of the node whose inner graph reads it. `quotes` collects what was read.
    """

    store: Store
    key: SessionKey
    until: int
    node: NodePath = ROOT
    quotes: QuoteLog = field(default_factory=QuoteLog)

    async def run(self, run_id: str) -> Run | None:
        """See `Past.run`."""
        run = await self._run(run_id)
        return _inner_run(run, self.node) if run is not None and self.node else run

    def inside(self, node_id: str) -> StoredPast:
        """See `Past.inside`."""
        return replace(self, node=self.node.child(node_id))

    async def turns(self, *, last: int | None = None, since: int = 0) -> Sequence[Turn]:
        """See `Past.turns`."""
        if since >= self.until:
            return ()
        turns = await self.store.turns(self.key, last=last, since=since)
        later = turns[-1].number - self.until if turns else 0
        if later > 0:
            enough = None if last is None else last + later
            turns = await self.store.turns(self.key, last=enough, since=since)
            turns = [turn for turn in turns if turn.number <= self.until]
        self.quotes.add_turns(turns)
        return turns

    async def summary(self, *, until: int) -> Summary | None:
        """See `Past.summary`."""
        summary = await self.store.summary(self.key, until=until)
        self.quotes.add_summary(summary)
        return summary

    async def calls(self, run_id: str) -> Sequence[PastToolCall]:
        """See `Past.calls`."""
        run = await self._run(run_id)
        return past_tool_calls(run.records.values()) if run is not None else ()

    async def other_sessions(
        self, *, sessions: int, runs: int, text: str = ""
    ) -> Sequence[OtherSession]:
        """See `Past.other_sessions`."""
        others, looked_at = await self._others(sessions)
        if not text:
            turns = [await self.store.turns(other.key, last=runs) for other in others]
        else:
            turns = await self._found(others, runs, text, looked_at)
        return [
            self._quoted(other.key.session_id, found)
            for other, found in zip(others, turns, strict=True)
            if found
        ]

    async def quoted_turns(self, turns: Mapping[str, Sequence[int]]) -> Sequence[OtherSession]:
        """See `Past.quoted_turns`."""
        sessions: list[OtherSession] = []
        for session_id, numbers in turns.items():
            key = SessionKey(self.key.user_id, session_id)
            since = await self.store.turns(key, since=min(numbers, default=1) - 1)
            wanted = [turn for turn in since if turn.number in numbers]
            if wanted:
                sessions.append(self._quoted(session_id, wanted))
        return sessions

    async def _run(self, run_id: str) -> Run | None:
        run = await self.store.run(self.key, run_id)
        if run is not None:
            self.quotes.add_run(run)
        return run

    def _quoted(self, session_id: str, turns: Sequence[Turn]) -> OtherSession:
        self.quotes.add_turns(turns, session_id=session_id)
        runs = (
            Quoted(turn.number, shorten(turn.input), shorten(turn.answer or "")) for turn in turns
        )
        return OtherSession(session_id, tuple(runs))

    async def _others(self, count: int) -> tuple[list[SessionInfo], int]:
        """The user's last `count` other sessions, and how many there were to look at."""
        found: dict[SessionKey, SessionInfo] = {}
        looked_at, page_size = 0, count + 1
        while len(found) < count:
            page = await self.store.sessions(self.key.user_id, limit=page_size, offset=looked_at)
            found |= {info.key: info for info in page if info.turns and info.key != self.key}
            looked_at += len(page)
            if len(page) < page_size:
                break
        return list(found.values())[:count], looked_at

    async def _found(
        self, others: Sequence[SessionInfo], runs: int, text: str, looked_at: int
    ) -> list[list[Turn]]:
        """The newest `runs` turns of each session that contain `text`, oldest first."""
        found: dict[SessionKey, list[Turn]] = {other.key: [] for other in others}
        hits = await self.store.search(
            self.key.user_id,
            text,
            last=looked_at,
            exclude=self.key.session_id,
            limit=_MAX_HITS,
        )
        for hit in hits:
            if hit.key in found:
                found[hit.key].append(hit.turn)
        return [turns[:runs][::-1] for turns in found.values()]


def shorten(text: str) -> str:
    """The text, at most `_MAX_QUOTED` characters of it."""
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}{_CUT_MARK}"


def _inner_run(run: Run, node: NodePath) -> Run | None:
    """The part of a run in the graph inside a node; None if the node was not done.

    Of several rounds or items it is the last one.
    """
    paths = [NodePath(path) for path in run.records]
    path = max((each for each in paths if each.declared == node), key=_numbers, default=node)
    outer = run.records.get(path)
    if outer is None or outer.status != "done":
        return None
    message = outer.fields.get("input", run.input)
    turn = replace(run.turn, input=str(message), answer=text_of(outer.output))
    depth = len(path.steps)
    times = {NodePath.from_steps(*each.steps[:depth]) for each in paths if each.is_inside(path)}
    last = max(times, key=_numbers, default=path)
    records = {
        each: replace(record, node=each)
        for each, record in select_inside(run.records, last).items()
    }
    return Run(run.key, turn, records)


def _numbers(path: NodePath) -> tuple[int, ...]:
    return tuple(NodePath(step).number or 0 for step in path.steps)
