"""The kit itself: what it says of a store that is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from msgspec.structs import replace

import teamgraph.testing
from teamgraph import (
    JSON,
    Change,
    Head,
    Hit,
    Lease,
    MemoryStore,
    Policy,
    Record,
    Run,
    SessionInfo,
    SessionKey,
    Store,
    Summary,
    Turn,
)
from teamgraph.engine.testing.conformance.machine import ALL_KEYS, StoreMachine
from teamgraph.engine.testing.conformance.store_tests import StoreOpener, StoreTests
from teamgraph.errors import Conflict, InputError
from teamgraph.testing import StoreConformance


class MixesUsersUp(MemoryStore):
    async def head(self, key: SessionKey) -> Head | None:
        return await super().head(SessionKey(None if key.user_id == "None" else key[0], key[1]))


class SearchesEverywhere(MemoryStore):
    async def search(
        self,
        user_id: str | None,
        text: str,
        *,
        last: int,
        exclude: str | None = None,
        limit: int = 20,
    ) -> list[Hit]:
        mine = await super().search(user_id, text, last=last, exclude=exclude, limit=limit)
        return mine + await super().search(None, text, last=last, exclude=exclude, limit=limit)


class KeepsTheSessionOfADeletedUser(MemoryStore):
    async def delete_user(self, user_id: str | None) -> int:
        return len(await self.sessions(user_id))


class RemembersWhoWasDeleted(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str | None, None] = {}

    async def users(self, *, limit: int = 20, offset: int = 0) -> list[str | None]:
        self._known |= dict.fromkeys(await super().users(limit=99))
        return list(self._known)[offset:][:limit]


class ForgetsAttempts(MemoryStore):
    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        await super().put(lease, [replace(record, attempt=1) for record in records])


class GivesTheTurnToEverybody(MemoryStore):
    async def begin(
        self,
        key: SessionKey,
        turn: Turn,
        *,
        policy: Policy = "serialize",
        is_stored: bool | None = None,
    ) -> Lease:
        del policy
        return await super().begin(key, turn, policy="fork", is_stored=is_stored)


class TakesLateWrites(MemoryStore):
    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        try:
            await super().put(lease, records)
        except Conflict:
            return


class MovesForAFailedRun(MemoryStore):
    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        return await super().finish(lease, replace(turn, status="done"), change)


class LosesTheState(MemoryStore):
    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        return await super().finish(lease, turn, replace(change, state={}))


class KeepsDeletedWords(MemoryStore):
    async def delete_run(self, key: SessionKey, run_id: str) -> bool:
        run = await super().run(key, run_id)
        return run is not None and self._forget(key, run_id)

    def _forget(self, key: SessionKey, run_id: str) -> bool:
        session = self._sessions[key]
        session.done = [one for one in session.done if one != run_id]
        return session.turns.pop(run_id, None) is not None


class ListsInTheOrderOfNames(MemoryStore):
    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        listed = await super().sessions(user_id, limit=99)
        return sorted(listed, key=lambda info: info.key.session_id)[offset : offset + limit]


class ServesTheWrongRun(MemoryStore):
    async def run(self, key: SessionKey, run_id: str) -> Run | None:
        turns = await self.runs(key)
        return await super().run(key, turns[0].run_id if turns else run_id)


class TakesEmptyIds(MemoryStore):
    async def sessions(
        self, user_id: str | None, *, limit: int = 20, offset: int = 0
    ) -> list[SessionInfo]:
        return await super().sessions(user_id or None, limit=limit, offset=offset)


class SharesAttachments(MemoryStore):
    async def get_attachment(self, key: SessionKey, sha256: str) -> bytes | None:
        found = [each.get(sha256) for each in self._attachments.values()]
        return next((data for data in found if data is not None), None)


class RemovesNoState(MemoryStore):
    async def set_state(
        self, key: SessionKey, values: Mapping[str, JSON], *, remove: Collection[str] = ()
    ) -> bool:
        return await super().set_state(key, values)


class SetsNoState(MemoryStore):
    set_state = None  # type: ignore[assignment]  # it has no such method


class HasNoRoom(MemoryStore):
    put_attachment = None  # type: ignore[assignment]  # it has no such method


BROKEN: Mapping[type[MemoryStore], str] = {
    MixesUsersUp: "test_users_see_only_their_own_sessions",
    SearchesEverywhere: "test_users_see_only_their_own_sessions",
    KeepsTheSessionOfADeletedUser: "test_a_user_is_deleted_and_no_other",
    RemembersWhoWasDeleted: "test_a_user_is_deleted_and_no_other",
    ForgetsAttempts: "test_a_record_of_the_same_attempt_is_replaced_and_the_last_attempt_is_read",
    GivesTheTurnToEverybody: "test_a_busy_session_is_refused_at_once_waited_for_or_forked",
    TakesLateWrites: "test_a_lease_that_has_ended_writes_nothing_more",
    LosesTheState: "test_a_done_turn_changes_the_session",
    KeepsDeletedWords: "test_a_deleted_run_is_gone_with_all_its_texts",
    ListsInTheOrderOfNames: "test_sessions_are_listed_by_their_last_activity",
    ServesTheWrongRun: "test_users_see_only_their_own_sessions",
    TakesEmptyIds: "test_empty_ids_are_refused",
    MovesForAFailedRun: "test_turns_are_the_newest_oldest_first",
    SharesAttachments: "test_an_attachment_is_read_in_its_session_alone",
    RemovesNoState: "test_state_is_set_and_removed_outside_of_a_turn",
}
# It opens no session under an empty id, attaches nothing, holds nothing against the words of a
# system message, and takes seconds until it removes a key that is there.
BEYOND_THE_MACHINE = (TakesEmptyIds, SharesAttachments, RemovesNoState)


def kit_of(broken: type[MemoryStore]) -> StoreConformance:
    """The kit for a store that is made with `broken`."""

    class Kit(StoreConformance):
        examples = 60

        def __init__(self) -> None:
            self.there: dict[Path, Store] = {}

        def open_store(self, place: Path) -> Store:
            return self.there.setdefault(place, broken())

    return Kit()


def test_a_sound_store_agrees_with_the_model_in_every_operation(tmp_path: Path) -> None:
    """Those that `run_machine` chooses at random, and so not each of them each time."""
    machine = StoreMachine(StoreOpener(kit_of(MemoryStore).open_store, tmp_path))
    key, other, new = ALL_KEYS[:3]
    for number, run_id in enumerate(("r1", "r2")):
        summary = Summary("one", covers=number)
        machine.run_turn(key=key, run_id=run_id, text="one", value=1, summary=summary)
        machine.agrees_with_the_model()
    for run_id in ("r1", "../r", "../r"):  # a run that is done is refused
        machine.run_turn(key=key, run_id=run_id, text="one", value=1, summary=None)
    machine.delete(key=key, run_id="r1", what="run")  # what `r2` quotes
    machine.delete(key=key, run_id="r1", what="run")
    machine.begin(key=other, run_id="r1", text="one", policy="serialize", which=0)
    machine.begin(key=other, run_id="r2", text="one", policy="serialize", which=1)  # it is busy
    machine.put("a", 1, "one", replays=False, which=0)
    machine.finish("failed", 1, None, which=0)
    for each in (key, new):
        machine.rename(key=each, name="None\n", which=0)
        machine.set_state(key=each, name="r1", value=1, removed="r2", which=0)
    for what in ("run", "session", "user"):
        machine.begin(key=other, run_id="r2", text="one", policy="fork", which=0)
        machine.delete(key=other, run_id="r2", what=what)
    machine.begin(key=new, run_id="r1", text="one", policy="fork", which=0)
    machine.release(which=0)
    machine.write_late(which=0)
    machine.begin(key=new, run_id="r1", text="one", policy="fork", which=0)
    machine.reopen(which=0)
    for _ in range(4):
        machine.agrees_with_the_model()
    machine.teardown()


def test_a_store_without_room_for_attachments_skips_their_tests(tmp_path: Path) -> None:
    kit = kit_of(HasNoRoom)
    with pytest.raises(pytest.skip.Exception, match="does not implement attachments"):
        kit.test_an_attachment_is_read_in_its_session_alone(StoreOpener(kit.open_store, tmp_path))


def test_a_store_that_sets_no_state_is_tested_without_it(tmp_path: Path) -> None:
    kit = kit_of(SetsNoState)
    machine = StoreMachine(StoreOpener(kit.open_store, tmp_path))
    machine.set_state(key=ALL_KEYS[0], name="r1", value=1, removed="r2", which=0)
    machine.teardown()
    with pytest.raises(pytest.skip.Exception, match="does not implement `set_state`"):
        kit.test_state_is_set_and_removed_outside_of_a_turn(StoreOpener(kit.open_store, tmp_path))


@pytest.mark.parametrize(("broken", "test"), BROKEN.items())
def test_a_broken_store_fails_the_test_that_is_there_for_it(
    broken: type[MemoryStore], test: str, tmp_path: Path
) -> None:
    kit = kit_of(broken)
    given = {"key": SessionKey("", "s")} if "empty_ids" in test else {}
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(kit, test)(StoreOpener(kit.open_store, tmp_path), **given)


@pytest.fixture
def first_failure() -> Iterator[None]:
    """hypothesis tries the same each time, and seeks no shorter way to a failure it has found."""
    settings.register_profile(
        "first failure", settings.get_profile("house"), phases=[Phase.generate], derandomize=True
    )
    settings.load_profile("first failure")
    yield
    settings.load_profile("house")


@pytest.mark.usefixtures("first_failure")
@pytest.mark.parametrize("broken", [one for one in BROKEN if one not in BEYOND_THE_MACHINE])
def test_the_state_machine_finds_what_is_wrong_by_itself(
    broken: type[MemoryStore], tmp_path: Path
) -> None:
    kit = kit_of(broken)
    with pytest.raises((AssertionError, pytest.fail.Exception, Conflict)):
        kit.test_any_operations_in_any_order_do_what_the_model_does(
            StoreOpener(kit.open_store, tmp_path)
        )


def test_a_kit_that_opens_no_store_says_what_to_define() -> None:
    with pytest.raises(InputError, match="open_store"):
        StoreTests().open_store(Path())


def test_the_state_machine_says_what_to_install_where_hypothesis_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "teamgraph.engine.testing.conformance.machine", raising=False)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    kit = kit_of(MemoryStore)
    with pytest.raises(InputError, match=r"teamgraph\[testing\]"):
        kit.test_any_operations_in_any_order_do_what_the_model_does(
            StoreOpener(kit.open_store, tmp_path)
        )


def test_the_plug_in_loads_neither_the_kit_nor_hypothesis() -> None:
    program = (
        "import sys, teamgraph.engine.testing.plugin as plugin; "
        "wanted = {'hypothesis', 'teamgraph.engine.stores', 'teamgraph.testing'}; "
        "print(sorted(wanted & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_the_front_door_has_the_kit_and_no_other_name() -> None:
    assert teamgraph.testing.StoreConformance is StoreConformance
    with pytest.raises(AttributeError, match="'NoSuchName'"):
        getattr(teamgraph.testing, "NoSuchName")  # noqa: B009
