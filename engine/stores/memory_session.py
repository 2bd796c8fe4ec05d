"""A session of the memory store."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..messages import JSON, Message
from ..session import Change, Head, Record, SessionInfo, SessionKey, Summary, Turn
from .codec import normal_mapping
from .forgetting import DELETED, Words


@dataclass(slots=True)
class MemorySession:
    """What a session holds; `done` are the run ids of the done turns in their order.

    `covers` are the keys of `summaries`, sorted.
    """

    activity: int = 0
    name: str | None = None
    last_number: int = 0
    turns: dict[str, Turn] = field(default_factory=dict[str, Turn])
    done: list[str] = field(default_factory=list[str])
    records: dict[str, dict[tuple[str, int], Record]] = field(
        default_factory=dict[str, dict[tuple[str, int], Record]]
    )
    state: dict[str, JSON] = field(default_factory=dict[str, JSON])
    node_states: dict[str, Mapping[str, JSON]] = field(
        default_factory=dict[str, Mapping[str, JSON]]
    )
    summaries: dict[int, Summary] = field(default_factory=dict[int, Summary])
    covers: list[int] = field(default_factory=list[int])

    def head(self) -> Head:
        """Where the session stands."""
        return Head(
            version=self.last_number,
            turns=self.last_number,
            state=normal_mapping(self.state),
            node_states={node: normal_mapping(state) for node, state in self.node_states.items()},
            summary=self.summary(),
            name=self.name,
        )

    def summary(self, *, until: int | None = None) -> Summary | None:
        """The newest summary, of those that cover no turn after number `until` if it is given."""
        count = len(self.covers) if until is None else bisect_right(self.covers, until)
        return self.summaries[self.covers[count - 1]] if count else None

    def info(self, key: SessionKey) -> SessionInfo:
        """The session in a list."""
        runs = list(self.turns.values())
        latest = [*runs[-1:], *(self.turns[run_id] for run_id in self.done[-1:])]
        return SessionInfo(
            key=key,
            turns=self.last_number,
            started=runs[0].started if runs else 0.0,
            updated=max((max(turn.started, turn.ended) for turn in latest), default=0.0),
            name=self.name,
            first_input=runs[0].input if runs else "",
        )

    def finish(self, run_id: str, turn: Turn, change: Change) -> Turn:
        """Close a run; if it is done, the session moves."""
        number = self.last_number + 1 if turn.status == "done" else 0
        turn = replace(plain_turn(turn), run_id=run_id, number=number)
        state = normal_mapping(change.state)
        node_states = {node: normal_mapping(kept) for node, kept in change.node_states.items()}
        self.turns[run_id] = turn
        if number:
            self.last_number = number
            self.done.append(run_id)
            self.state.update(state)
            self.node_states.update(node_states)
            if (summary := change.summary_at(number)) is not None:
                if summary.covers not in self.summaries:
                    insort(self.covers, summary.covers)
                self.summaries[summary.covers] = summary
        return turn

    def delete_run(self, run_id: str) -> bool:
        """Delete a run and its words; False if it is not there."""
        if run_id not in self.turns:
            return False
        turn = self.turns.pop(run_id)
        number, words = turn.number, Words.of(turn)
        self.records.pop(run_id, None)
        for records in self.records.values():
            for attempt, record in records.items():
                records[attempt] = _without_run(record, words)
        if number:
            self.done.remove(run_id)
            start = bisect_left(self.covers, number)
            for covers in self.covers[start:]:
                del self.summaries[covers]
            del self.covers[start:]
        return True


def plain_turn(turn: Turn) -> Turn:
    """The turn as it comes back from a store."""
    if not turn.given_state:
        return turn
    return replace(turn, given_state=normal_mapping(turn.given_state))


def _without_run(record: Record, words: Words) -> Record:
    exchanges = tuple(
        replace(
            exchange,
            messages=tuple(_without_words(message, words) for message in exchange.messages),
            tool_results=tuple(_without_words(result, words) for result in exchange.tool_results),
        )
        for exchange in record.exchanges
    )
    return replace(record, exchanges=exchanges)


def _without_words(message: Message, words: Words) -> Message:
    if message.origin == words.run_id:
        calls = tuple(call.model_copy(update={"arguments": "{}"}) for call in message.tool_calls)
        return message.model_copy(update={"content": DELETED, "tool_calls": calls})
    cut = words.cut_of(message.role)
    return message.model_copy(update={"content": cut(message.content)})
