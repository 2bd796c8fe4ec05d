"""`Session`: read, rename, export, restore and delete one session of a store.

Every method is async and named `a...`; the plain name is its synchronous version. All raise
`NotFound` for a session that does not exist, or that belongs to another user.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar, cast

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import TypeAdapter, ValidationError

from ..blocking import all_items, door
from ..errors import Advice, InputError, NotFound
from ..messages import JSON, NO_USAGE, FrozenStruct, Message, Usage, as_plain
from ..records import Change, Head, Record, Run, SessionKey, Summary, Turn
from ..unknown_names import explained, missing_attribute
from ..values import as_state, check_counts, check_ids, json_problem
from .history import fill_quotes, run_texts
from .store import FinishedRun, SetsState, Store, put_attachments, stored_attachments

VERSION = 1
_LEVELS_AROUND = 10  # of an exported session around the values in it
T = TypeVar("T")


class Metrics(Struct, frozen=True):
    """Totals over all runs of a session: model calls, tokens, cost, time.

    `runs` counts every run, `turns` the completed ones; `seconds` is the sum of their durations.
    """

    runs: int = 0
    turns: int = 0
    usage: Usage = NO_USAGE
    seconds: float = 0.0


class Session(Struct, frozen=True):
    """Handle on one session of one user; nothing is read before a method is called."""

    key: SessionKey
    store: Store

    @explained
    async def aget_head(self) -> Head:
        """The number of turns, state, summary and name of the session, in one read."""
        head = await self.store.head(self.key)
        if head is None:
            raise no_session(self.key)
        return head

    @explained
    async def ahistory(self, *, limit: int | None = 20, offset: int = 0) -> list[Turn]:
        """The completed turns, oldest first: the last `limit`, without the last `offset` of all.

        `limit` None is no limit.
        """
        check_counts(limit=limit, offset=offset)
        await self.aget_head()
        enough = None if limit is None else max(0, limit) + max(0, offset)
        turns = await self.store.turns(self.key, last=enough)
        return turns[: max(0, len(turns) - max(0, offset))]

    @explained
    async def amessages(self, *, limit: int | None = 20, offset: int = 0) -> list[Message]:
        """The messages of completed turns in order: what the user wrote, and the answers."""
        turns = await self.ahistory(limit=limit, offset=offset)
        return [message for turn in turns for message in _messages(turn)]

    @explained
    async def aruns(self, *, limit: int = 20, offset: int = 0) -> list[Turn]:
        """The runs of any status, the newest first."""
        check_counts(limit=limit, offset=offset)
        await self.aget_head()
        return await self.store.runs(self.key, limit=limit, offset=offset)

    @explained
    async def arun(self, run_id: str) -> Run:
        """One run with the records of its nodes."""
        check_ids(run_id=run_id)
        await self.aget_head()
        run = await self.store.run(self.key, run_id)
        if run is None:
            raise self._no_run(run_id)
        return run

    @explained
    async def asummary(self) -> Summary | None:
        """The newest summary, None if there is none."""
        return (await self.aget_head()).summary

    @explained
    async def astate(self) -> Mapping[str, JSON]:
        """The state that all nodes share, as it is stored."""
        return (await self.aget_head()).state

    @explained
    async def aset_state(
        self, values: Mapping[str, JSON] | None = None, *, remove: Collection[str] = ()
    ) -> None:
        """Set keys of the state, and remove others, outside of a turn.

        A run in progress goes on with the state it began with; the keys that it sets replace these
        when it is done. A removed key has the default of the graph again, if it has one there.

        Raises `InputError` for a value that is not JSON, for a key that is both set and removed,
        and if the store cannot do it.
        """
        given = as_state(values) or {}
        if isinstance(remove, str) or not all(isinstance(name, str) for name in remove):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            raise InputError(f"remove is {remove!r}; give a list of keys, such as ['name']")
        if both := sorted({*given} & {*remove}):
            raise InputError(f"the key {both[0]!r} is both set and removed; give it in one of them")
        if not await self._sets_state().set_state(self.key, given, remove=tuple(remove)):
            raise no_session(self.key)

    @explained
    async def aname(self) -> str | None:
        """The name of the session, None if it has none."""
        return (await self.aget_head()).name

    @explained
    async def arename(self, name: str | None) -> None:
        """Name the session; None removes the name."""
        if name is not None and not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            raise InputError(f"the name is {name!r}; give a text, or None to remove it")
        if not await self.store.rename(self.key, name):
            raise no_session(self.key)

    @explained
    async def ametrics(self) -> Metrics:
        """Totals over all runs; if the cost of one run is unknown, so is the total."""
        turns = await self._all_runs()
        return Metrics(
            runs=len(turns),
            turns=sum(turn.status == "done" for turn in turns),
            usage=sum((turn.usage for turn in turns), start=NO_USAGE),
            seconds=sum(max(0.0, turn.ended - turn.started) for turn in turns if turn.ended),
        )

    @explained
    async def adelete(self) -> None:
        """Delete the session with its runs, state and summaries."""
        if not await self.store.delete_session(self.key):
            raise no_session(self.key)

    @explained
    async def adelete_run(self, run_id: str) -> None:
        """Delete a run and all its text, also where other runs quote it."""
        await self.aget_head()
        if not await self.store.delete_run(self.key, run_id):
            raise self._no_run(run_id)

    @explained
    async def aexport(self) -> dict[str, JSON]:
        """The whole session as JSON: its runs with all records, oldest first, state and summary.

        The bytes of its attachments are in it, in base64.
        """
        head, turns = await self.aget_head(), await self._all_runs()
        runs = [await self.store.run(self.key, turn.run_id) for turn in reversed(turns)]
        data = {
            "version": VERSION,
            "session_id": self.key.session_id,
            "user_id": self.key.user_id,
            "name": head.name,
            "state": head.state,
            "node_states": head.node_states,
            "summary": head.summary,
            "runs": [
                {"turn": run.turn, "records": list(run.records.values())} for run in runs if run
            ],
        }
        exported = cast("dict[str, JSON]", as_plain(data))
        if attached := await stored_attachments(self.store, self.key, turns):
            exported["attachments"] = {
                digest: b64encode(data).decode() for digest, data in attached.items()
            }
        return exported

    @explained
    async def arestore(self, data: Mapping[str, JSON]) -> None:
        """Create this session, which must not exist yet, from what `export` returned.

        Completed turns are renumbered without gaps; of the summaries only the newest is stored.
        After an error nothing is stored.
        """
        if await self.store.head(self.key) is not None:
            raise InputError(
                f"the session {self.key.session_id!r} exists; restore into one that does not"
            )
        exported = _read(data)
        if exported.runs:
            runs = exported.finished_runs()
            has_done = any(run.turn.status == "done" for run in runs)
            store = self._sets_state() if exported.state and not has_done else None
            await put_attachments(self.store, self.key, exported.attached())
            await self.store.create(self.key, runs, name=exported.name)
            if store is not None:
                await store.set_state(self.key, exported.state)

    get_head = door(aget_head)
    history = door(ahistory)
    messages = door(amessages)
    runs = door(aruns)
    run = door(arun)
    summary = door(asummary)
    state = door(astate)
    set_state = door(aset_state)
    name = door(aname)
    rename = door(arename)
    metrics = door(ametrics)
    delete = door(adelete)
    delete_run = door(adelete_run)
    export = door(aexport)
    restore = door(arestore)

    if not TYPE_CHECKING:  # pragma: no branch - type checkers would allow every attribute

        def __getattr__(self, name: str) -> object:
            raise missing_attribute(type(self), name, _ALTERNATIVES)

    async def _all_runs(self) -> list[Turn]:
        await self.aget_head()
        return [turn async for turn in all_items(partial(self.store.runs, self.key))]

    def _sets_state(self) -> SetsState:
        if isinstance(self.store, SetsState):
            return self.store
        raise InputError(
            f"{type(self.store).__name__} changes state only with a turn; it lacks `set_state` "
            "(docs/your-own-store.md); pass `state` to the next run, or use another store"
        )

    def _no_run(self, run_id: str) -> NotFound:
        return NotFound(
            f"session {self.key.session_id!r} has no run {run_id!r}",
            advice=Advice(
                python="its `runs` lists them",
                terminal="`teamgraph runs list` lists those there are",
                http="GET /api/sessions/ID lists them",
            ),
        )


def no_session(key: SessionKey) -> NotFound:
    """The error for a session that a user does not have."""
    lists = Advice(
        python="`Runner.sessions` lists",
        terminal="`teamgraph sessions list` lists",
        http="GET /api/sessions lists",
    )
    if key.user_id is not None:
        fact, form = f"user {key.user_id!r} has no session {key.session_id!r}", "{} them"
    else:
        fact = f"without a user there is no session {key.session_id!r}"
        form = "give the user_id that it belongs to, if there is one; {} those there are"
    return NotFound(fact, advice=Advice(*map(form.format, lists)))


_ALTERNATIVES = {
    **dict.fromkeys(("get_messages", "get_chat_history"), "use messages()"),
    **dict.fromkeys(("session_data", "session_state", "values"), "use state()"),
    "created_at": "use runs()[-1].started",
    "update_state": "use set_state({...}, remove=[...])",
    "get_run": "use run(run_id)",
    "session_id": "use key.session_id",
    "user_id": "use key.user_id",
}
"""Attributes of sessions elsewhere, and what takes their place."""


class _ExportedRun(FrozenStruct, frozen=True, eq=False):
    turn: Turn
    records: tuple[Record, ...]


class _Exported(FrozenStruct, frozen=True, eq=False):
    """A session as `export` writes it."""

    version: int
    session_id: str
    user_id: str | None
    name: str | None
    state: Mapping[str, JSON]
    node_states: Mapping[str, Mapping[str, JSON]]
    summary: Summary | None
    runs: tuple[_ExportedRun, ...]
    attachments: Mapping[str, str] = field(default_factory=dict[str, str])

    def attached(self) -> dict[str, bytes]:
        """The bytes of attachments by their hash; raises `InputError` if they have another."""
        attached: dict[str, bytes] = {}
        for digest, text in self.attachments.items():
            try:
                data = b64decode(text, validate=True)
            except ValueError:
                data = b""
            if sha256(data).hexdigest() != digest:
                raise InputError(
                    f"this is not an exported session: attachments.{digest[:70]}: its bytes have "
                    "another sha256; use what `export` returned"
                )
            attached[digest] = data
        return attached

    def finished_runs(self) -> list[FinishedRun]:
        """The runs as they are to be stored; the last done one sets what no other run has set."""
        texts = {each.turn.run_id: run_texts(each.turn, each.records) for each in self.runs}
        left = sum(each.turn.status == "done" for each in self.runs)
        number, before, found = 0, Change(), list[FinishedRun]()
        for each in self.runs:
            change = Change()
            if each.turn.status == "done":
                number, left = number + 1, left - 1
                change = self._change(each, before, number, is_last=not left)
                state = {**before.state, **change.state}
                before = Change(state, {**before.node_states, **change.node_states})
            records = [fill_quotes(record, texts) for record in each.records]
            found.append(FinishedRun(replace(each.turn, number=0), records, change))
        return found

    def _change(self, run: _ExportedRun, before: Change, number: int, *, is_last: bool) -> Change:
        """The change that a done run makes, given the state that the runs before it have set."""
        own = Change.of(run.turn, run.records)
        if not is_last:
            return Change(_only(own.state, self.state), _only(own.node_states, self.node_states))
        summary = self.summary
        return Change(
            _different(self.state, before.state),
            _different(self.node_states, before.node_states),
            summary and replace(summary, covers=min(summary.covers, number)),
        )


def _only(values: Mapping[str, T], wanted: Mapping[str, T]) -> Mapping[str, T]:
    return {name: value for name, value in values.items() if name in wanted}


def _different(wanted: Mapping[str, T], present: Mapping[str, T]) -> Mapping[str, T]:
    return {
        name: value
        for name, value in wanted.items()
        if name not in present or present[name] != value
    }


def _read(data: Mapping[str, JSON]) -> _Exported:
    try:
        exported = TypeAdapter(_Exported).validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise InputError(
            f"this is not an exported session: {where}: {first['msg']}; use what `export` returned"
        ) from error
    problem = json_problem(data, envelope=_LEVELS_AROUND)
    problem = problem or json_problem(data.get("state"), envelope=1)
    problem = problem or json_problem(data.get("node_states"), envelope=2)
    if problem:
        path, reason = problem
        where = ".".join(map(str, path))
        raise InputError(f"this is not an exported session: {where}: {reason}; correct the value")
    if exported.version != VERSION:
        raise InputError(
            f"the exported session has version {exported.version}, and this teamgraph reads "
            f"{VERSION}; restore it with a newer one"
        )
    return exported


def _messages(turn: Turn) -> Sequence[Message]:
    return (
        Message(role="user", content=turn.input, origin=turn.run_id, parts=turn.attachments),
        Message(role="assistant", content=turn.answer or "", origin=turn.run_id),
    )
