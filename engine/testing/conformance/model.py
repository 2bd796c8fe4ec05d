"""What a store is, as plainly as it can be said: the measure of the state machine."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field
from msgspec.structs import replace

from ...messages import JSON, Message
from ...session import Change, Head, Record, RunStatus, SessionKey, Summary, Turn
from ...stores import Lease

DELETED = "(deleted)"


class ModelSession(Struct):
    """A session: its runs in the order in which they were begun, and what they left.

    `is_settled` is false after records were put: whether that counts as activity in a list of
    sessions is a store's own business.
    """

    runs: dict[str, Turn] = field(default_factory=dict[str, Turn])
    records: dict[str, dict[str, dict[int, Record]]] = field(
        default_factory=dict[str, dict[str, dict[int, Record]]]
    )
    state: dict[str, JSON] = field(default_factory=dict[str, JSON])
    summaries: dict[int, Summary] = field(default_factory=dict[int, Summary])
    last: int = 0
    deleted: int = 0
    name: str | None = None
    is_settled: bool = True

    def begin(self, run_id: str, text: str) -> None:
        self.runs[run_id] = Turn(run_id, text)
        self.is_settled = True

    def put(self, run_id: str, record: Record) -> None:
        of_node = self.records.setdefault(run_id, {}).setdefault(record.node, {})
        of_node[record.attempt] = record
        self.is_settled = False

    def finish(self, lease: Lease, status: RunStatus, change: Change) -> Turn:
        run_id = lease.run_id
        number = self.last + 1 if status == "done" else 0
        text = self.runs[run_id].input
        turn = Turn(run_id, text, status=status, answer=text.upper(), number=number)
        self.runs[run_id] = turn
        self.is_settled = True
        if number:
            self.last = number
            self.state.update(change.state)
            if change.summary is not None and lease.head.deleted == self.deleted:
                self.summaries[change.summary.covers] = change.summary
        return turn

    def delete_run(self, run_id: str) -> bool:
        turn = self.runs.pop(run_id, None)
        if turn is None:
            return False
        self.deleted += 1
        self.records.pop(run_id, None)
        for nodes in self.records.values():
            for attempts in nodes.values():
                for attempt, record in attempts.items():
                    attempts[attempt] = _without(record, run_id)
        if turn.number:
            kept = {covers: one for covers, one in self.summaries.items() if covers < turn.number}
            self.summaries = kept
        return True

    def done(self) -> list[Turn]:
        turns = [turn for turn in self.runs.values() if turn.number]
        return sorted(turns, key=lambda turn: turn.number)

    def shown(self, run_id: str) -> dict[str, Record]:
        nodes = self.records.get(run_id, {})
        return {node: attempts[max(attempts)] for node, attempts in nodes.items()}

    def summary(self, until: int) -> Summary | None:
        covers = [covered for covered in self.summaries if covered <= until]
        return self.summaries[max(covers)] if covers else None

    def head(self) -> Head:
        newest = self.summary(max(self.summaries, default=0))
        return Head(self.last, self.last, self.state, {}, newest, self.name, self.deleted)


class Model:
    """All sessions, the one with the latest activity last."""

    def __init__(self) -> None:
        self.sessions: dict[SessionKey, ModelSession] = {}

    def active(self, key: SessionKey) -> ModelSession:
        """The session, made if it is not there, as the one with the latest activity."""
        session = self.sessions.pop(key, None) or ModelSession()
        self.sessions[key] = session
        return session

    def of(self, user_id: str | None) -> list[SessionKey]:
        """The sessions of a user, the one with the latest activity first."""
        return [key for key in reversed(self.sessions) if key.user_id == user_id]

    def has(self, key: SessionKey, run_id: str) -> bool:
        """Whether a run is in a session."""
        return run_id in self.sessions[key].runs

    def settled(self, keys: Iterable[SessionKey]) -> list[SessionKey]:
        """Those of the sessions whose place in a list is beyond doubt."""
        return [key for key in keys if self.sessions[key].is_settled]


def _without(record: Record, run_id: str) -> Record:
    exchanges = tuple(
        replace(exchange, messages=tuple(_blank(one, run_id) for one in exchange.messages))
        for exchange in record.exchanges
    )
    return replace(record, exchanges=exchanges)


def _blank(message: Message, run_id: str) -> Message:
    is_gone = message.origin == run_id
    return message.model_copy(update={"content": DELETED}) if is_gone else message
