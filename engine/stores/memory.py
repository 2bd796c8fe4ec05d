"""The in-memory store, for tests and for runs whose sessions need not outlive the process."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import count
from threading import RLock
from typing import TypeAlias, cast

from msgspec import Struct, field
from msgspec.structs import replace

from ..messages import JSON
from ..os_fork import FORKS
from ..records import Change, Head, Record, Run, SessionInfo, SessionKey, StateKey, Summary, Turn
from ..session.history import RESULT, run_texts
from ..session.store import VERSION, FinishedRun, Hit, Lease, Policy, WhileWaiting, mentions
from ..unknown_names import explained
from ..values import check_counts, check_mapping
from .codec import (
    DecodeRecord,
    decode_own_words,
    decode_record,
    encode_record,
    round_trip_mapping,
    round_trip_record,
)
from .journal.line import dump_json, parse_document
from .leases import (
    Leases,
    SessionQueue,
    check_key,
    check_stored,
    check_user,
    check_waiting,
    run_deleted,
    session_exists,
)
from .quoting import References, text_of_turn
from .redaction import (
    StateChange,
    StateValue,
    only_of,
    redact_run,
    redact_summary,
    set_outside,
    undo,
    values_set_by,
    wrote_summary,
)

MAX_UNNAMED = 1000
"""Sessions that nobody named which a `MemoryStore` keeps by default."""
StoredRecord: TypeAlias = "Record | bytes"
"""A record, encoded if it quotes other runs."""


class MemorySession(Struct):
    """A session in memory; `done` are the run ids of the done turns in their order.

    `waiting` are the ids of the runs that wait for a person.
    `covers` are the keys of `summaries`, sorted. `deleted` counts the runs that were deleted.
    `outside` is what was last done to a key of the state outside of a turn.
    """

    activity: int = 0
    deleted: int = 0
    name: str | None = None
    last_number: int = 0
    turns: dict[str, Turn] = field(default_factory=dict[str, Turn])
    done: list[str] = field(default_factory=list[str])
    waiting: dict[str, None] = field(default_factory=dict[str, None])
    records: dict[str, dict[tuple[str, int], StoredRecord]] = field(
        default_factory=dict[str, "dict[tuple[str, int], StoredRecord]"]
    )
    state: dict[str, JSON] = field(default_factory=dict[str, JSON])
    node_states: dict[str, Mapping[str, JSON]] = field(
        default_factory=dict[str, Mapping[str, JSON]]
    )
    writers: dict[StateKey, str] = field(default_factory=dict[StateKey, str])
    outside: dict[str, Mapping[str, JSON]] = field(default_factory=dict[str, Mapping[str, JSON]])
    summaries: dict[int, Summary] = field(default_factory=dict[int, Summary])
    covers: list[int] = field(default_factory=list[int])

    def head(self) -> Head:
        """Version, state and summary of the session."""
        return Head(
            version=self.last_number,
            turns=self.last_number,
            state=round_trip_mapping(self.state),
            node_states={
                node: round_trip_mapping(state) for node, state in self.node_states.items()
            },
            summary=self.summary(),
            name=self.name,
            deleted=self.deleted,
            writers=dict(self.writers),
        )

    def is_unnamed(self, key: SessionKey) -> bool:
        """Whether it is a single run, called as its session since the runner named both.

        One that waits for a person counts as named.
        """
        run = self.turns.get(key.session_id)
        is_single = run is not None and len(self.turns) == 1 and run.status != "waiting"
        return is_single and self.name is None and not self.outside

    def summary(self, *, until: int | None = None) -> Summary | None:
        """The newest summary, of those that cover no turn after number `until` if it is given."""
        count = len(self.covers) if until is None else bisect_right(self.covers, until)
        return self.summaries[self.covers[count - 1]] if count else None

    def info(self, key: SessionKey) -> SessionInfo:
        """The session's entry in a list."""
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

    def put(
        self, lease: Lease, records: Sequence[Record], sessions: Mapping[SessionKey, MemorySession]
    ) -> None:
        """Store records of a run, all or none; `sessions` are those that they may quote."""
        is_late = lease.head.deleted != self.deleted
        new: dict[tuple[str, int], StoredRecord] = {}
        for record in records:
            stored: StoredRecord = round_trip_record(record)
            if record.quotes:
                references = MemoryReferences(self, lease.key.user_id, sessions)
                document = encode_record(0, record, references)
                if is_late:
                    redact_summary(document)
                stored = dump_json(document)
            new[record.node, record.attempt] = stored
        self.records.setdefault(lease.run_id, {}).update(new)

    def last_records(
        self, run_id: str, references: References, decode: DecodeRecord = decode_record
    ) -> list[Record]:
        """The last record of each node of a run, decoded by `decode`."""
        last: dict[str, tuple[int, StoredRecord]] = {}
        for (node, attempt), stored in self.records.get(run_id, {}).items():
            if node not in last or last[node][0] <= attempt:
                last[node] = (attempt, stored)
        return [
            decode(parse_document(stored), references) if isinstance(stored, bytes) else stored
            for _, stored in last.values()
        ]

    def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Finish a run; a done one is numbered and its change applied."""
        run_id = lease.run_id
        number = max(self.last_number + 1, turn.number) if turn.status == "done" else 0
        turn = replace(_copied(turn), run_id=run_id, number=number)
        state = round_trip_mapping(change.state)
        node_states = {
            node: round_trip_mapping(values) for node, values in change.node_states.items()
        }
        self.turns[run_id] = turn
        if turn.status == "waiting" and turn.waiting:
            self.waiting[run_id] = None
        if number:
            self.last_number = number
            self.done.append(run_id)
            self.apply(StateChange(values_set_by(run_id, Change(state, node_states))))
            summary = change.summary_at(number)
            if summary is not None and lease.head.deleted == self.deleted:
                if summary.covers not in self.summaries:
                    insort(self.covers, summary.covers)
                self.summaries[summary.covers] = summary
        return turn

    def set_state(self, values: Mapping[str, JSON], remove: Collection[str]) -> None:
        """Set and remove keys of the state outside of a turn."""
        values = round_trip_mapping(values)
        entries = set_outside(values, remove, after=self.last_number)
        entries |= {
            StateKey("state", name): StateValue(value, "") for name, value in values.items()
        }
        self.apply(StateChange(entries, [StateKey("state", name) for name in remove]))

    def apply(self, change: StateChange) -> None:
        """Change the state."""
        for key in change.dropped:
            (self.state if key.scope == "state" else self.node_states).pop(key.name, None)
            self.writers.pop(key, None)
        for key, (value, run_id) in change.put.items():
            if key.scope == "state":
                self.state[key.name] = value
            elif key.scope == "node":
                self.node_states[key.name] = cast("dict[str, JSON]", value)
            else:
                self.outside[key.name] = cast("dict[str, JSON]", value)
            if run_id:
                self.writers[key] = run_id
            else:
                self.writers.pop(key, None)

    def values(self) -> dict[StateKey, StateValue]:
        """The state by scope and name, with the runs that were the last to set it."""
        found: dict[StateKey, JSON] = {}
        for scope, values in (
            ("state", self.state), ("node", self.node_states), ("set", self.outside),
        ):  # fmt: skip
            found |= {StateKey(scope, name): cast("JSON", value) for name, value in values.items()}
        return {key: StateValue(value, self.writers.get(key, "")) for key, value in found.items()}

    def delete_run(self, run_id: str, references: References) -> bool:
        """Delete a run and its texts; False if there is none."""
        if run_id not in self.turns:
            return False
        number, attached = self.turns[run_id].number, only_of(run_id, self.turns.values())
        self._undo(run_id, number, references)
        self.deleted += 1
        del self.turns[run_id]
        self.waiting.pop(run_id, None)
        self.records.pop(run_id, None)
        for other in self.records:
            self._redact(other, run_id, number, attached, references)
        if number:
            self.done.remove(run_id)
            start = bisect_left(self.covers, number)
            for covers in self.covers[start:]:
                del self.summaries[covers]
            del self.covers[start:]
        return True

    def _undo(self, run_id: str, number: int, references: References) -> None:
        def values(run_id: str) -> dict[StateKey, StateValue]:
            records = self.last_records(run_id, references)
            return values_set_by(run_id, Change.of(self.turns[run_id], records))

        others = (
            (self.turns[other].number, values(other))
            for other in reversed(self.done)
            if other != run_id
        )
        self.apply(undo(values(run_id) if number else {}, number, others, self.outside))

    def _redact(
        self, other: str, run_id: str, number: int, attached: set[str], references: References
    ) -> None:
        """Remove the texts of a run, which had this number, from the records of another one."""
        since = self.turns[other].number
        may_summarize = bool(number) and not 0 < since < number
        for attempt, stored in list(self.records[other].items()):
            if isinstance(stored, bytes):
                document = parse_document(stored)
            else:
                document = encode_record(0, stored, references)
            if may_summarize and not since and wrote_summary(document):
                del self.records[other][attempt]
                continue
            if redact_run(document, run_id, run_id, may_summarize=may_summarize, attached=attached):
                self.records[other][attempt] = dump_json(document)


class MemoryReferences(Struct, frozen=True):
    """References from one session's records to earlier runs: a `quoting.References`.

    A run of the same session is referred to by its id, one of another session by both ids.
    """

    session: MemorySession
    user_id: str | None
    sessions: Mapping[SessionKey, MemorySession]

    def reference(self, run_id: str, session_id: str | None = None) -> JSON:
        """See `References.reference`."""
        if session_id is not None:
            return [session_id, run_id]
        return run_id if run_id in self.session.turns else None

    def replayed(self, run_id: str) -> tuple[JSON, Turn] | None:
        """See `References.replayed`."""
        turn = self.session.turns.get(run_id)
        return None if turn is None else (run_id, turn)

    def turn(self, reference: JSON) -> Turn | None:
        """See `References.turn`."""
        return self.session.turns.get(reference) if isinstance(reference, str) else None

    def text(self, reference: JSON, place: str) -> str | None:
        """See `References.text`."""
        if isinstance(reference, list):
            session_id, run_id = map(str, reference)
            session = self.sessions.get(SessionKey(self.user_id, session_id))
            turn = session.turns.get(run_id) if session is not None else None
            return None if turn is None else text_of_turn(turn, place)
        turn = self.turn(reference)
        if turn is None:
            return None
        text = text_of_turn(turn, place)
        if text is not None:
            return text
        decode = partial(decode_own_words, results=place.endswith(RESULT))
        records = self.session.last_records(turn.run_id, self, decode)
        return run_texts(turn, records).get(place)


def _copied(turn: Turn) -> Turn:
    """The turn with its given state copied: the caller may change that."""
    if not turn.given_state:
        return turn
    return replace(turn, given_state=round_trip_mapping(turn.given_state))


class MemoryStore:
    """Stores sessions in memory; safe to use from many tasks and threads.

    It behaves like `TinyDBStore`, except that nothing outlives the object, and that of the sessions
    that nobody named only the newest `max_unnamed` stay: those of single runs without `session_id`
    and `run_id`. A session stays from its second turn on, or once it is renamed or its state is
    set. `sessions` are its sessions at the start.
    """

    version = VERSION

    @explained
    def __init__(
        self,
        sessions: Mapping[SessionKey, MemorySession] | None = None,
        *,
        max_unnamed: int = MAX_UNNAMED,
    ) -> None:
        sessions = {} if sessions is None else sessions
        check_mapping("sessions", sessions, "keys to sessions; TinyDBStore('folder') has a folder")
        check_counts(max_unnamed=max_unnamed)
        self._guard = RLock()
        self.reset_after_fork()
        self._clock = count(1)
        self._sessions: dict[SessionKey, MemorySession] = dict(sessions)
        self._max_unnamed = max_unnamed
        self._unnamed: dict[SessionKey, None] = {}
        self._prompts: dict[str, dict[str, str]] = {}
        self._attachments: dict[SessionKey, dict[str, bytes]] = {}
        FORKS.hold(self._guard)
        FORKS.own(self)

    def reset_after_fork(self) -> None:
        """See `ProcessOwned`: a forked child has a copy of the sessions, and no lease."""
        self._queue = SessionQueue()
        self._leases: Leases[MemorySession] = Leases()

    async def begin(
        self,
        key: SessionKey,
        turn: Turn,
        *,
        policy: Policy = "serialize",
        is_stored: bool | None = None,
        while_waiting: WhileWaiting = "refuse",
    ) -> Lease:
        """Lease the session to a run, and store the run as running."""
        check_key(key)
        is_exclusive = policy != "fork"
        if is_exclusive:
            await self._queue.acquire(key, policy)
        try:
            with self._guard:
                return self._begin(key, turn, policy, is_stored, while_waiting)
        except BaseException:
            if is_exclusive:
                self._queue.release(key)
            raise

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        """Store `records`, all or none; a record of the same node and attempt is replaced."""
        with self._guard:
            session = self._leased(lease)
            session.put(lease, records, self._sessions)
            self._touch(session)

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Finish the run and release the session; a done turn is numbered, its change applied."""
        self._leases.check(lease)
        try:
            with self._guard:
                session = self._leased(lease)
                stored = session.finish(lease, turn, change)
                self._touch(session)
                return stored
        finally:
            await self.release(lease)

    async def release(self, lease: Lease) -> None:
        """Release the session and leave the run as it is, to be resumed."""
        grant = self._leases.end(lease)
        if grant is None:
            return
        with self._guard:
            session = self._sessions.get(lease.key)
            if session is not None and session.is_unnamed(lease.key):
                self._unnamed[lease.key] = None
            while len(self._unnamed) > self._max_unnamed:
                oldest = next(iter(self._unnamed))  # not in use: such a one is not in there
                del self._unnamed[oldest], self._sessions[oldest]
                self._attachments.pop(oldest, None)
        if grant.is_exclusive:
            self._queue.release(lease.key)

    async def create(
        self, key: SessionKey, runs: Sequence[FinishedRun], *, name: str | None = None
    ) -> None:
        """Create a session with finished runs, all or nothing; `InputError` if it exists."""
        check_key(key)
        session = MemorySession(name=name)
        for run in runs:
            lease = Lease(key, run.turn.run_id, Head())
            session.turns[lease.run_id] = run.turn
            session.put(lease, run.records, self._sessions)
            session.finish(lease, run.turn, run.change)
        with self._guard:
            if key in self._sessions:
                raise session_exists(key)
            self._sessions[key] = session
            self._touch(session)

    async def head(self, key: SessionKey) -> Head | None:
        """Version, state and summary of the session, or None if there is no such session."""
        with self._guard:
            session = self._session(key)
            return None if session is None else session.head()

    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        """A run with the last record of each of its nodes, or None."""
        with self._guard:
            session = self._session(key)
            if session is None or run_id not in session.turns:
                return None
            records = session.last_records(run_id, self._references(key, session))
            return Run(key, session.turns[run_id], {record.node: record for record in records})

    async def turns(
        self, key: SessionKey, *, last: int | None = None, since: int = 0
    ) -> list[Turn]:
        """The done turns with `number` > `since`, the newest `last` of them, oldest first."""
        with self._guard:
            session = self._session(key)
            if session is None:
                return []
            turns = session.turns
            start = bisect_right(session.done, since, key=lambda run_id: turns[run_id].number)
            if last is not None:
                start = max(start, len(session.done) - max(0, last))
            return [session.turns[run_id] for run_id in session.done[start:]]

    async def runs(self, key: SessionKey, *, limit: int = 20, offset: int = 0) -> list[Turn]:
        """All runs of a session whatever their status, newest first."""
        with self._guard:
            session = self._session(key)
            if session is None:
                return []
            return list(reversed(session.turns.values()))[offset : offset + limit]

    async def summary(self, key: SessionKey, *, until: int) -> Summary | None:
        """The newest summary that covers no turn after number `until`."""
        with self._guard:
            session = self._session(key)
            return None if session is None else session.summary(until=until)

    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        """The sessions of one user, the one with the latest activity first."""
        with self._guard:
            page = self._by_activity(user_id)[offset : offset + limit]
            return [session.info(key) for key, session in page]

    async def users(self, *, limit: int = 20, offset: int = 0) -> list[str | None]:
        """The users who have a session, in the order of their first ones."""
        with self._guard:
            return list(dict.fromkeys(key.user_id for key in self._sessions))[offset:][:limit]

    async def search(
        self,
        user_id: str | None,
        text: str,
        *,
        last: int,
        exclude: str | None = None,
        limit: int = 20,
    ) -> list[Hit]:
        """The done turns that have `text` in their input or answer, the newest first."""
        with self._guard:
            others = [
                (key, session)
                for key, session in self._by_activity(user_id)
                if key.session_id != exclude
            ]
            hits = [
                Hit(key, session.turns[run_id])
                for key, session in others[: max(0, last)]
                for run_id in reversed(session.done)
                if mentions(session.turns[run_id], text)
            ]
            return hits[: max(0, limit)]

    async def waiting(self, user_id: str | None, *, limit: int = 20, offset: int = 0) -> list[Hit]:
        """The runs of a user that wait for a person, the newest first; also those that expired."""
        with self._guard:
            hits = [
                Hit(key, session.turns[run_id])
                for key, session in self._by_activity(user_id)
                for run_id in reversed(session.waiting)
            ]
            return hits[max(0, offset) :][: max(0, limit)]

    async def rename(self, key: SessionKey, name: str | None) -> bool:
        """Name a session, or remove its name; False if there is no such session."""
        with self._guard:
            session = self._session(key)
            if session is None:
                return False
            session.name = name
            self._unnamed.pop(key, None)
            return True

    async def set_state(
        self, key: SessionKey, values: Mapping[str, JSON], *, remove: Collection[str] = ()
    ) -> bool:
        """See `SetsState.set_state`."""
        with self._guard:
            session = self._session(key)
            if session is None:
                return False
            session.set_state(values, remove)
            self._unnamed.pop(key, None)
            return True

    async def delete_run(self, key: SessionKey, run_id: str) -> bool:
        """Delete a run and its texts wherever the store has them; False if there is none."""
        with self._guard:
            session = self._session(key)
            if session is None:
                return False
            if (stored := self._attachments.get(key)) is not None:
                for sha256 in only_of(run_id, session.turns.values()):
                    stored.pop(sha256, None)
            return session.delete_run(run_id, self._references(key, session))

    async def delete_session(self, key: SessionKey) -> bool:
        """Delete a session with everything in it; False if there is none."""
        check_key(key)
        with self._guard:
            self._unnamed.pop(key, None)
            self._attachments.pop(key, None)
            return self._sessions.pop(key, None) is not None

    async def delete_user(self, user_id: str | None) -> int:
        """Delete all sessions of a user; returns how many there were."""
        check_user(user_id)
        with self._guard:
            keys = [key for key in self._sessions if key.user_id == user_id]
            for key in keys:
                del self._sessions[key]
                self._unnamed.pop(key, None)
            for key in [each for each in self._attachments if each.user_id == user_id]:
                del self._attachments[key]
            return len(keys)

    async def find(self, user_id: str | None, run_id: str) -> SessionKey | None:
        """The session of a user that a run belongs to; of several the latest active one."""
        with self._guard:
            for key, session in self._by_activity(user_id):
                if run_id in session.turns:
                    return key
            return None

    async def put_attachment(self, key: SessionKey, sha256: str, data: bytes) -> None:
        """See `StoresAttachments.put_attachment`."""
        check_key(key)
        with self._guard:
            self._attachments.setdefault(key, {})[sha256] = data

    async def get_attachment(self, key: SessionKey, sha256: str) -> bytes | None:
        """See `StoresAttachments.get_attachment`."""
        check_key(key)
        return self._attachments.get(key, {}).get(sha256)

    async def put_prompt(self, prompt_hash: str, sources: Mapping[str, str]) -> None:
        """Store the sources of a template, once for each hash."""
        if prompt_hash not in self._prompts:
            self._prompts[prompt_hash] = dict(sources)

    async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        """The sources stored under a hash, or None."""
        sources = self._prompts.get(prompt_hash)
        return None if sources is None else dict(sources)

    async def prompt_hashes(self, prefix: str = "") -> list[str]:
        """The hashes under which sources are stored that begin with `prefix`, sorted."""
        return sorted(each for each in self._prompts if each.startswith(prefix))

    async def close(self) -> None:
        """Do nothing: there is no file to close, and the sessions stay."""

    def _begin(
        self,
        key: SessionKey,
        turn: Turn,
        policy: Policy,
        is_stored: bool | None,
        while_waiting: WhileWaiting,
    ) -> Lease:
        begun = replace(_copied(turn), status="running", number=0)
        self._unnamed.pop(key, None)
        session = self._sessions.get(key)
        if session is None:
            check_stored(key, turn.run_id, None, expected=is_stored)
            session = self._sessions[key] = MemorySession()
        self._leases.reserve(session, turn.run_id)
        try:
            earlier = session.turns.get(turn.run_id)
            check_stored(key, turn.run_id, earlier, expected=is_stored)
            others = [session.turns[run_id] for run_id in session.waiting]
            check_waiting(key, others, earlier, policy, while_waiting)
        except BaseException:
            self._leases.unreserve(session, turn.run_id)
            raise
        session.turns[turn.run_id] = begun
        session.waiting.pop(turn.run_id, None)
        self._touch(session)
        return self._leases.grant(
            Lease(key, turn.run_id, session.head()), session, is_exclusive=policy != "fork"
        )

    def _leased(self, lease: Lease) -> MemorySession:
        session = self._leases.check(lease).session
        if session is not self._sessions.get(lease.key) or lease.run_id not in session.turns:
            raise run_deleted(lease.run_id, lease.key)
        return session

    def _session(self, key: SessionKey) -> MemorySession | None:
        check_key(key)
        return self._sessions.get(key)

    def _by_activity(self, user_id: str | None) -> list[tuple[SessionKey, MemorySession]]:
        check_user(user_id)
        mine = [item for item in self._sessions.items() if item[0].user_id == user_id]
        return sorted(mine, key=lambda item: item[1].activity, reverse=True)

    def _references(self, key: SessionKey, session: MemorySession) -> MemoryReferences:
        return MemoryReferences(session, key.user_id, self._sessions)

    def _touch(self, session: MemorySession) -> None:
        session.activity = next(self._clock)
