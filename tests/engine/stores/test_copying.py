"""Sessions copied between folders and PostgreSQL: equal in all that anybody sees."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from teamgraph import (
    Attachment,
    Graph,
    PostgresStore,
    Request,
    Runner,
    ScriptedModel,
    Session,
    SessionKey,
    Store,
    TinyDBStore,
)
from teamgraph.engine.stores.copying import (
    Copyable,
    copy_prompts,
    copy_session,
    is_same,
    sessions_of,
)
from teamgraph.engine.testing.conformance.machine import ALL_RUN_IDS, USER_IDS, StoreMachine
from teamgraph.engine.testing.conformance.store_tests import StoreOpener
from teamgraph.errors import InputError
from teamgraph.nodes import HistoryLoader, Human, Member, Search, Summarizer
from tests.postgres import Server
from tests.teams import wait_for

from .test_postgres_store import schema_of

QUICK = settings(
    max_examples=4,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


async def everything(store: Store, users: Sequence[str | None]) -> str:
    """All that users see of their sessions, as one text."""
    told: list[Any] = []
    for user in users:
        for info in await store.sessions(user, limit=99):
            told += [repr(info), await Session(info.key, store).aexport()]
            told += [repr(await store.summary(info.key, until=number)) for number in range(6)]
            told += [repr(await store.turns(info.key)), repr(await store.head(info.key))]
        told += [repr(await store.waiting(user)), repr(await store.search(user, "", last=9))]
        for run_id in ALL_RUN_IDS:
            told.append(repr(await store.find(user, run_id)))
    return json.dumps(told)


async def copied(source: Copyable, target: Copyable) -> int:
    """Copy all sessions; the number of those that were not there."""
    keys = await sessions_of(source, None, ())
    await copy_prompts(source, target)
    count = sum([await copy_session(source, target, key, set(keys)) for key in keys])
    assert [key for key in keys if not await is_same(source, target, key)] == []
    return count


def test_any_sessions_are_the_same_in_a_database_and_in_a_folder_again(
    server: Server, tmp_path: Path
) -> None:
    places = iter(range(1000))

    class Copying(StoreMachine):
        def __init__(self) -> None:
            self.place = tmp_path / str(next(places))
            self.place.mkdir()
            super().__init__(
                StoreOpener(lambda place: TinyDBStore(place, sync="never"), self.place)
            )

        def teardown(self) -> None:
            try:
                self._wait(self.compare())
            finally:
                super().teardown()

        async def compare(self) -> None:
            folder, again = (TinyDBStore(self.place / at, sync="never") for at in (".", "again"))
            database = PostgresStore(server.dsn, schema=schema_of(tmp_path))
            for user in USER_IDS:
                await database.delete_user(user)
            assert await copied(folder, database) == await copied(database, again)
            wanted = await everything(folder, USER_IDS)
            assert await everything(database, USER_IDS) == wanted
            assert await everything(again, USER_IDS) == wanted
            for store in (folder, database, again):
                await store.close()

    run_state_machine_as_test(Copying, settings=QUICK)


DESK = Graph(
    name="desk",
    model="m",
    nodes={
        "history": HistoryLoader(runs=2),
        "earlier": Search(needs=["history"]),
        "clerk": Member(role="You help", needs=["earlier"]),
        "sum": Summarizer(needs=["clerk"]),
    },
    output="clerk",
    state={"mood": "calm"},
)
ASKING = Graph(
    name="asking",
    model="m",
    nodes={"history": HistoryLoader(), "boss": Human(), "clerk": Member(needs=["boss"])},
    output="clerk",
    state={"mood": "calm"},
)
PNG = Attachment(name="cat.png", data=b"\x89PNG\r\n\x1a\n and more")


def answer(request: Request) -> str:
    is_summary = "ummar" in request.messages[0].content
    return '{"summary": "S", "topics": []}' if is_summary else "blue"


def team(graph: Graph, store: Store) -> Runner:
    return Runner(graph, store=store, model=ScriptedModel(answer), while_waiting="allow")


def test_what_a_team_has_made_goes_on_in_the_copy(server: Server, tmp_path: Path) -> None:
    folder = TinyDBStore(tmp_path / "folder")
    database = PostgresStore(server.dsn, schema=schema_of(tmp_path))
    again = TinyDBStore(tmp_path / "again")
    runner = team(DESK, folder)
    runner.run("a red bicycle", user_id="ann", session_id="old", attachments=[PNG])
    first = runner.run("bicycle?", user_id="ann", session_id="new", state={"mood": "glad"})
    runner.fork(first.run_id, node="clerk", user_id="ann", session_id="new", into="fork")
    runner.session("new", user_id="ann").rename("a name")
    runner.session("new", user_id="ann").set_state({"more": [1.0, None]})
    waits = team(ASKING, folder).run("pay?", user_id="ann", session_id="new")
    assert waits.status == "waiting"
    assert wait_for(copied(folder, database)) == 3
    assert wait_for(copied(folder, database)) == 0
    assert wait_for(copied(database, again)) == 3
    wanted = wait_for(everything(folder, ["ann"]))
    assert "red bicycle" in wanted.partition('"session_id": "new"')[2]
    assert wait_for(everything(database, ["ann"])) == wanted
    assert wait_for(everything(again, ["ann"])) == wanted
    for store in (folder, database, again):
        answered = team(ASKING, store).respond(waits.run_id, {"boss": "yes"}, user_id="ann")
        assert answered.answer == "blue"
        wait_for(store.delete_session(SessionKey("ann", "old")))
    seen = [wait_for(everything(store, ["ann"])) for store in (folder, database, again)]
    assert ["red bicycle" in each for each in seen] == [False, False, False]
    assert len(wait_for(database.prompt_hashes())) == len(wait_for(folder.prompt_hashes())) > 0


def plain(value: Any, key: str = "") -> Any:  # noqa: ANN401  any JSON
    """JSON without times."""
    if isinstance(value, dict):
        return {name: plain(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return 0 if key in ("started", "ended", "updated") else value


def test_the_same_turns_are_the_same_in_each_store(server: Server, tmp_path: Path) -> None:
    def made(store: Store) -> str:
        for number, text in enumerate(("a red bicycle", "is it red?", "and blue?")):
            ids = {"user_id": "ann", "session_id": "s", "run_id": f"r{number}"}
            run = team(DESK, store).run(text, attachments=[PNG], **ids)
            state = {"m": number, f"k{number}": number}
            team(DESK, store).session("s", user_id="ann").set_state(state)
            assert run.answer == "blue"
        head = wait_for(store.head(SessionKey("ann", "s")))
        exported = wait_for(Session(SessionKey("ann", "s"), store).aexport())
        sources = [wait_for(store.prompt(each)) for each in wait_for(store.prompt_hashes())]
        return json.dumps([plain(exported), [*head.state] if head else None, sources])

    assert made(PostgresStore(server.dsn, schema=schema_of(tmp_path))) == made(
        TinyDBStore(tmp_path)
    )


def quoting(store: Store) -> None:
    """A session `new` that quotes the session `old`."""
    runner = team(DESK, store)
    for session, text in (("old", "a red bicycle"), ("new", "what did I say?")):
        runner.run(text, user_id="ann", session_id=session)


@pytest.mark.parametrize("kind", ["folder", "database"])
def test_a_session_is_not_copied_without_those_that_it_quotes(
    server: Server, tmp_path: Path, kind: str
) -> None:
    def opened(name: str) -> Copyable:
        if kind == "folder":
            return TinyDBStore(tmp_path / name)
        return PostgresStore(server.dsn, schema=schema_of(tmp_path / name))

    one, two, three = map(opened, ("one", "two", "three"))
    quoting(one)
    new, old = SessionKey("ann", "new"), SessionKey("ann", "old")
    assert wait_for(sessions_of(one, ["ann"], ["new"])) == [new]
    with pytest.raises(InputError, match="'new' quotes session 'old', which is not copied"):
        wait_for(copy_session(one, two, new, {new}))
    assert wait_for(two.sessions("ann")) == []
    assert wait_for(copy_session(one, two, old, {old}))
    assert wait_for(copy_session(one, two, new, {new}))
    assert wait_for(is_same(one, two, new))
    wait_for(one.delete_session(old))
    assert wait_for(copy_session(one, three, new, {new}))
    assert wait_for(is_same(one, three, new))
    assert not wait_for(copy_session(one, three, old, {old}))
    assert wait_for(is_same(one, three, old))


def rename(store: TinyDBStore) -> None:
    wait_for(store.rename(SessionKey("ann", "old"), "else"))


def delete(store: TinyDBStore) -> None:
    wait_for(store.delete_session(SessionKey("ann", "old")))


def run(store: TinyDBStore) -> None:
    team(DESK, store).run("more", user_id="ann", session_id="old")


def drop(store: TinyDBStore) -> None:
    (attached,) = store.path.rglob("*.attached")
    attached.unlink()


@pytest.mark.parametrize("change", [rename, delete, run, drop])
def test_what_has_changed_since_is_found(
    tmp_path: Path, change: Callable[[TinyDBStore], None]
) -> None:
    one, two = TinyDBStore(tmp_path / "one"), TinyDBStore(tmp_path / "two")
    team(DESK, one).run("a red bicycle", user_id="ann", session_id="old", attachments=[PNG])
    assert wait_for(copied(one, two)) == 1
    change(two)
    assert not wait_for(is_same(one, two, SessionKey("ann", "old")))
