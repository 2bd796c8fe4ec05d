"""A hypothesis state machine over the operations of a store, and the model that it compares with.

This is the one module of the kit that imports hypothesis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import Struct, field
from msgspec.structs import replace

from ...errors import Conflict, InputError, SessionBusy
from ...messages import JSON, Message
from ...records import Change, Head, Record, RunStatus, SessionKey, Summary, Turn
from ...session.store import Lease, Policy, SetsState, Store
from .store_tests import StoreOpener, asked, replayed

DELETED = "(deleted)"


class ModelSession(Struct):
    """A session of the model: its runs in the order in which they were begun, and their effects.

    `is_settled` is false after records were put: whether that counts as activity in a list of
    sessions is up to the store.
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
        attempts = self.records.setdefault(run_id, {}).setdefault(record.node, {})
        attempts[record.attempt] = record
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
        self.summaries = {
            covers: summary
            for covers, summary in self.summaries.items()
            if not turn.number or covers < turn.number
        }
        return True

    def done(self) -> list[Turn]:
        turns = [turn for turn in self.runs.values() if turn.number]
        return sorted(turns, key=lambda turn: turn.number)

    def last_records(self, run_id: str) -> dict[str, Record]:
        nodes = self.records.get(run_id, {})
        return {node: attempts[max(attempts)] for node, attempts in nodes.items()}

    def summary(self, until: int) -> Summary | None:
        covers = [covered for covered in self.summaries if covered <= until]
        return self.summaries[max(covers)] if covers else None

    def head(self) -> Head:
        newest = self.summary(max(self.summaries, default=0))
        return Head(self.last, self.last, self.state, {}, newest, self.name, self.deleted)


class ModelStore:
    """The model of a store: all sessions, the one with the latest activity last."""

    def __init__(self) -> None:
        self.sessions: dict[SessionKey, ModelSession] = {}

    def active(self, key: SessionKey) -> ModelSession:
        """The session, created if needed, as the one with the latest activity."""
        session = self.sessions.pop(key, None) or ModelSession()
        self.sessions[key] = session
        return session

    def keys(self, user_id: str | None) -> list[SessionKey]:
        """The sessions of a user, the one with the latest activity first."""
        return [key for key in reversed(self.sessions) if key.user_id == user_id]

    def has(self, key: SessionKey, run_id: str) -> bool:
        """Whether a run is in a session."""
        return run_id in self.sessions[key].runs

    def settled(self, keys: Iterable[SessionKey]) -> list[SessionKey]:
        """Those of the sessions whose position in a list is defined."""
        return [key for key in keys if self.sessions[key].is_settled]


def _without(record: Record, run_id: str) -> Record:
    exchanges = tuple(
        replace(exchange, messages=tuple(_blank(one, run_id) for one in exchange.messages))
        for exchange in record.exchanges
    )
    return replace(record, exchanges=exchanges)


def _blank(message: Message, run_id: str) -> Message:
    is_deleted = message.origin == run_id
    return message.model_copy(update={"content": DELETED}) if is_deleted else message


T = TypeVar("T")
USER_IDS = (None, "None")
ALL_KEYS = [SessionKey(user, session) for user in USER_IDS for session in ("s", "é\0\n")]
ALL_RUN_IDS = ("r1", "r2", "../r", 'r"\\')
USERS, KEYS, RUN_IDS = map(st.sampled_from, (USER_IDS, ALL_KEYS, ALL_RUN_IDS))
TEXTS = st.sampled_from(["one", "None\n", "THREE 🎈", "\ud800", "x" * 40])
POLICIES: st.SearchStrategy[Policy] = st.sampled_from(["serialize", "reject", "fork"])
STATUSES: st.SearchStrategy[RunStatus] = st.sampled_from(["done", "done", "failed", "waiting"])
SUMMARIES = st.none() | st.builds(Summary, TEXTS, covers=st.integers(0, 4))
NODES = st.sampled_from(["a", "b"])
WHICH = st.integers(0, 5)


class Leased(Struct, eq=False):
    """A lease, and the opener that granted it."""

    store: Store
    lease: Lease
    is_exclusive: bool

    @property
    def key(self) -> SessionKey:
        return self.lease.key

    @property
    def run_id(self) -> str:
        return self.lease.run_id


class StoreMachine(RuleBasedStateMachine):
    """The state machine: two openers of one store, and the model."""

    def __init__(self, stores: StoreOpener) -> None:
        super().__init__()
        self._loop = asyncio.Runner()
        self._stores = stores
        self._model = ModelStore()
        self._out: list[Leased] = []
        self._ended: list[Leased] = []
        self._openers = [stores.open(), stores.open()]
        self._touched = ALL_KEYS[0]
        self._looks = 0

    @rule(key=KEYS, run_id=RUN_IDS, text=TEXTS, policy=POLICIES, which=WHICH)
    def begin(self, key: SessionKey, run_id: str, text: str, policy: Policy, which: int) -> None:
        self._touched = key
        store, session = self._openers[which % 2], self._model.sessions.get(key, ModelSession())
        is_busy = policy != "fork" and any(one.key == key and one.is_exclusive for one in self._out)
        mine = [one for one in self._out if (one.key, one.run_id) == (key, run_id)]
        earlier = session.runs.get(run_id)
        refused: type[Exception] | None = SessionBusy if is_busy or mine else None
        if not is_busy and earlier is not None and earlier.status == "done":
            refused = InputError
        if refused is not None:
            immediate: Policy = "reject" if policy == "serialize" and is_busy else policy
            with pytest.raises(refused):
                self._wait(store.begin(key, Turn(run_id, text), policy=immediate))
            return
        lease = self._wait(store.begin(key, Turn(run_id, text), policy=policy))
        assert lease.head == session.head()
        self._model.active(key).begin(run_id, text)
        self._out.append(Leased(store, lease, is_exclusive=policy != "fork"))

    @precondition(lambda self: self._out)
    @rule(node=NODES, attempt=st.integers(1, 2), text=TEXTS, replays=st.booleans(), which=WHICH)
    def put(self, node: str, attempt: int, text: str, *, replays: bool, which: int) -> None:
        leased = self._choose(which)
        session = self._model.sessions[leased.key]
        record = Record(node, "done", attempt=attempt, output=text)
        earlier = session.done()
        if replays and earlier:
            record = asked(*replayed(earlier[-1]), node=node)
        self._wait(leased.store.put(leased.lease, [record]))
        session.put(leased.run_id, record)

    @precondition(lambda self: self._out)
    @rule(status=STATUSES, value=st.integers(), summary=SUMMARIES, which=WHICH)
    def finish(self, status: RunStatus, value: int, summary: Summary | None, which: int) -> None:
        leased = self._choose(which)
        change = Change({leased.run_id: value}, summary=summary)
        turn = self._model.active(leased.key).finish(leased.lease, status, change)
        given = Turn(turn.run_id, turn.input, status=status, answer=turn.answer)
        assert self._wait(leased.store.finish(leased.lease, given, change)) == turn
        self._end(leased)

    @rule(key=KEYS, run_id=RUN_IDS, text=TEXTS, value=st.integers(), summary=SUMMARIES)
    def run_turn(
        self, key: SessionKey, run_id: str, text: str, value: int, summary: Summary | None
    ) -> None:
        """A whole turn, unless it is refused."""
        before = len(self._out)
        self.begin(key, run_id, text, "reject", value)
        if len(self._out) > before:
            self.put("a", 1, text, replays=True, which=-1)
            self.finish("done", value, summary, which=-1)

    @precondition(lambda self: self._out)
    @rule(which=WHICH)
    def release(self, which: int) -> None:
        self._release(self._choose(which))

    @precondition(lambda self: self._ended)
    @rule(which=WHICH)
    def write_late(self, which: int) -> None:
        """A lease that has ended cannot write, and can be released again."""
        leased = self._ended[which % len(self._ended)]
        self._touched = leased.key
        with pytest.raises(Conflict):
            self._wait(leased.store.put(leased.lease, [Record("late", "done")]))
        with pytest.raises(Conflict):
            self._wait(leased.store.finish(leased.lease, Turn(leased.run_id, "x"), Change()))
        self._wait(leased.store.release(leased.lease))

    @rule(key=KEYS, name=st.none() | TEXTS, which=WHICH)
    def rename(self, key: SessionKey, name: str | None, which: int) -> None:
        self._touched = key
        session = self._model.sessions.get(key)
        assert self._wait(self._openers[which % 2].rename(key, name)) == (session is not None)
        if session is not None:
            session.name = name

    @rule(key=KEYS, name=RUN_IDS, value=st.integers(), removed=RUN_IDS, which=WHICH)
    def set_state(self, key: SessionKey, name: str, value: int, removed: str, which: int) -> None:
        store, session = self._openers[which % 2], self._model.sessions.get(key)
        if not isinstance(store, SetsState):
            return
        self._touched = key
        remove = {removed} - {name}
        done = self._wait(store.set_state(key, {name: value}, remove=remove))
        assert done == (session is not None)
        if session is not None:
            session.state[name] = value
            for each in remove:
                session.state.pop(each, None)

    @rule(key=KEYS, run_id=RUN_IDS, what=st.sampled_from(["run", "run", "session", "user"]))
    def delete(self, key: SessionKey, run_id: str, what: str) -> None:
        self._touched = key
        store, user_id = self._openers[self._looks % 2], key.user_id
        session = self._model.sessions.get(key)
        if what == "run":
            existed = session is not None and session.delete_run(run_id)
            assert self._wait(store.delete_run(key, run_id)) == existed
            self._end_deleted([one for one in self._out if (one.key, one.run_id) == (key, run_id)])
        elif what == "session":
            self._model.sessions.pop(key, None)
            assert self._wait(store.delete_session(key)) == (session is not None)
            self._end_deleted([one for one in self._out if one.key == key])
        else:
            deleted = [self._model.sessions.pop(one) for one in self._model.keys(user_id)]
            assert self._wait(store.delete_user(user_id)) == len(deleted)
            self._end_deleted([one for one in self._out if one.key.user_id == user_id])

    @rule(which=WHICH)
    def reopen(self, which: int) -> None:
        store = self._openers[which % 2]
        for one in [one for one in self._out if one.store is store]:
            self._release(one)
        self._wait(store.close())
        self._openers[which % 2] = self._stores.open()

    @invariant()
    def agrees_with_the_model(self) -> None:
        """The session that was changed last is as in the model, every fourth time another one."""
        self._looks += 1
        store, is_idle = self._openers[self._looks % 2], self._looks % 4 == 0
        key = ALL_KEYS[self._looks // 4 % len(ALL_KEYS)] if is_idle else self._touched
        session = self._model.sessions.get(key)
        assert self._wait(store.head(key)) == (None if session is None else session.head())
        self._see_turns(store, key, session or ModelSession())
        self._see_runs(store, key, session or ModelSession())
        self._see_user(store, key.user_id)

    def _see_turns(self, store: Store, key: SessionKey, session: ModelSession) -> None:
        turns, few = session.done(), self._looks % 4
        assert self._wait(store.turns(key)) == turns
        assert self._wait(store.turns(key, last=few)) == turns[max(0, len(turns) - few) :]
        after = [turn for turn in turns if turn.number > few]
        assert self._wait(store.turns(key, since=few)) == after
        assert self._wait(store.summary(key, until=few)) == session.summary(few)

    def _see_runs(self, store: Store, key: SessionKey, session: ModelSession) -> None:
        runs, few = list(reversed(session.runs.values())), self._looks % 4
        assert self._wait(store.runs(key)) == runs
        assert self._wait(store.runs(key, limit=2, offset=few)) == runs[few : few + 2]
        run_id = ALL_RUN_IDS[self._looks % 4]
        found = self._wait(store.run(key, run_id))
        assert (found and found.turn) == session.runs.get(run_id)
        last_records = session.last_records(run_id)
        assert list(found.records.items() if found else ()) == list(last_records.items())
        owner = self._wait(store.find(key.user_id, run_id))
        mine = [one for one in self._model.keys(key.user_id) if self._model.has(one, run_id)]
        assert owner in mine if mine else owner is None

    def _see_user(self, store: Store, user_id: str | None) -> None:
        users = self._wait(store.users(limit=99))
        listed = self._wait(store.sessions(user_id))
        keys, wanted = [info.key for info in listed], self._model.keys(user_id)
        assert sorted(keys, key=repr) == sorted(wanted, key=repr)
        assert users.count(user_id) == bool(wanted)
        assert self._model.settled(keys) == self._model.settled(wanted)
        for info in listed:
            session = self._model.sessions[info.key]
            first = next((turn.input for turn in session.runs.values()), "")
            assert (info.turns, info.name, info.first_input) == (session.last, session.name, first)
        text, left_out = ("", None) if self._looks % 2 else ("one", "s")
        hits = self._wait(store.search(user_id, text, last=9, exclude=left_out, limit=99))
        assert {hit.key for hit in hits} <= set(wanted)
        for key in wanted:
            turns = reversed(self._model.sessions[key].done() if key[1] != left_out else [])
            found = [turn for turn in turns if text in turn.input.lower()]
            assert [hit.turn for hit in hits if hit.key == key] == found

    def teardown(self) -> None:
        try:
            for key in self._model.sessions:
                self._touched = key
                self.agrees_with_the_model()
        finally:
            self._wait(self._stores.close())
            self._loop.close()

    def _wait(self, operation: Coroutine[object, object, T]) -> T:
        return self._loop.run(operation)

    def _choose(self, which: int) -> Leased:
        leased = self._out[which % len(self._out)]
        self._touched = leased.key
        return leased

    def _end_deleted(self, lost: list[Leased]) -> None:
        """Leases of deleted runs can no longer write."""
        for one in lost:
            with pytest.raises(Conflict):
                self._wait(one.store.put(one.lease, [Record("late", "done")]))
            self._release(one)

    def _release(self, leased: Leased) -> None:
        self._wait(leased.store.release(leased.lease))
        self._end(leased)

    def _end(self, leased: Leased) -> None:
        self._out.remove(leased)
        self._ended.append(leased)


def run_machine(open_stores: Callable[[], StoreOpener], *, examples: int) -> None:
    """Try `examples` sequences of operations, each on a store that is empty at first."""

    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(open_stores())

    slow: tuple[HealthCheck, ...] = (HealthCheck.too_slow,)
    chosen = settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=slow
    )
    run_state_machine_as_test(Machine, settings=chosen)
