"""A session through the runner's door: read, named, exported, taken in again, deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from teamgraph import MemoryStore, Runner, ScriptedModel, Session, SessionKey, Store, Usage
from teamgraph.errors import BlockedLoopWarning, InputError, NodeError, NotFound
from tests.teams import STORES, alone, desk, desk_model, wait_for


def talked(store: Store, *messages: str, user_id: str | None = "ann") -> Session:
    runner = Runner(desk(state={"mood": "calm"}), store=store, model=desk_model())
    for message in messages:
        runner.run(message, user_id=user_id, session_id="s", state={"last": message})
    return runner.session("s", user_id=user_id)


def test_a_session_tells_what_was_said_in_it(store: Store) -> None:
    session = talked(store, "one", "two", "three")
    assert [turn.input for turn in session.history()] == ["one", "two", "three"]
    said = [(message.role, message.content) for message in session.messages(limit=1)]
    assert said == [("user", "three"), ("assistant", "Bonjour mon ami")]
    summary = session.summary()
    assert summary is not None
    assert (summary.text, summary.topics) == ("in short", ("greetings",))
    assert session.state() == {"last": "three"}


def test_the_history_of_a_session_is_paged_from_its_end(store: Store) -> None:
    session = talked(store, *"abcde")
    pages = [
        [turn.input for turn in session.history(limit=2, offset=offset)] for offset in (0, 2, 4, 6)
    ]
    assert pages == [["d", "e"], ["b", "c"], ["a"], []]
    assert [turn.input for turn in session.history(limit=None, offset=1)] == [*"abcd"]
    assert [turn.input for turn in session.runs(limit=2, offset=1)] == ["d", "c"]


def test_a_run_of_a_session_has_its_records(store: Store) -> None:
    session = talked(store, "one")
    run = session.run(session.runs()[0].run_id)
    assert run.records["french"].output == "Bonjour mon ami"
    with pytest.raises(NotFound, match="has no run 'nope'"):
        session.run("nope")


def test_the_state_of_a_session_is_set_outside_of_a_turn(store: Store) -> None:
    session = talked(store, "one")
    session.set_state({"name": "Ann", "tone": ("dry", 1)}, remove=["last"])
    assert session.state() == {"name": "Ann", "tone": ["dry", 1]}
    session.set_state(remove=["tone", "never there"])
    copy = Session(SessionKey("ann", "copy"), store)
    copy.restore(session.export())
    assert copy.state() == session.state() == {"name": "Ann"}
    for values, remove, reason in (
        ([], (), "the state is a list; give a mapping of keys to values"),
        ({"a": object()}, (), "the state"),
        ({"a": 1}, "a", r"remove is 'a'; give a list of keys, such as \['name'\]"),
        ({"a": 1}, [2], r"remove is \[2\]; give a list of keys"),
        ({"a": 1, "b": 1}, ["b"], "the key 'b' is both set and removed; give it in one of them"),
    ):
        with pytest.raises(InputError, match=reason):
            session.set_state(values, remove=remove)  # type: ignore[arg-type]  # wrong types
    with pytest.raises(NotFound, match="has no session 'other'"):
        Session(SessionKey("ann", "other"), store).set_state({"a": 1})
    assert session.state() == {"name": "Ann"}


def test_a_session_without_a_done_turn_is_restored_with_its_state() -> None:
    runner = Runner(alone(), model=ScriptedModel([RuntimeError("down")]))
    with pytest.raises(NodeError):
        runner.run("one", session_id="s")
    session = runner.session("s")
    session.set_state({"name": "Ann"})
    copy = runner.session("copy")
    copy.restore(session.export())
    assert copy.state() == {"name": "Ann"}


def test_a_store_that_cannot_set_state_says_so() -> None:
    class Turns(MemoryStore):
        set_state = None  # type: ignore[assignment]  # as if it were not there

    session = talked(Turns(), "one")
    text = (
        "Turns changes state only with a turn; it lacks `set_state` .* pass `state` to the next run"
    )
    with pytest.raises(InputError, match=text):
        session.set_state({"name": "Ann"})


def test_metrics_sum_up_every_call_of_every_run(store: Store) -> None:
    runner = Runner(alone(), store=store, model=ScriptedModel(["fine", RuntimeError("down")]))
    first = runner.run("one", session_id="s")
    with pytest.raises(NodeError) as failed:
        runner.run("two", session_id="s")
    assert failed.value.run is not None
    metrics = runner.session("s").metrics()
    assert (metrics.runs, metrics.turns) == (2, 1)
    assert metrics.usage == first.usage == Usage(first.usage.input_tokens, 1, 0, 1, 0.0)
    assert metrics.seconds == pytest.approx(first.duration + failed.value.run.duration)


def test_metrics_count_every_run_of_a_long_session(store: Store) -> None:
    runner = Runner(alone(), store=store, model=ScriptedModel("fine"))
    for turn in range(101):
        runner.run(f"message {turn}", session_id="s")
    metrics = runner.session("s").metrics()
    assert (metrics.runs, metrics.usage.calls) == (101, 101)


def test_a_session_is_named_and_the_name_is_taken_away(store: Store) -> None:
    session = talked(store, "one")
    assert session.name() is None
    session.rename("greetings")
    assert session.name() == "greetings"
    session.rename(None)
    assert session.name() is None


ASKED: dict[str, Callable[[Session], object]] = {
    "head": lambda session: session.get_head(),
    "history": lambda session: session.history(),
    "messages": lambda session: session.messages(),
    "runs": lambda session: session.runs(),
    "run": lambda session: session.run("r"),
    "summary": lambda session: session.summary(),
    "state": lambda session: session.state(),
    "name": lambda session: session.name(),
    "rename": lambda session: session.rename("mine"),
    "metrics": lambda session: session.metrics(),
    "delete": lambda session: session.delete(),
    "delete run": lambda session: session.delete_run("r"),
    "export": lambda session: session.export(),
}


@pytest.mark.parametrize("asked", list(ASKED))
def test_another_users_session_looks_exactly_like_none(store: Store, asked: str) -> None:
    before = talked(store, "one").export()
    runner = Runner(desk(), store=store)
    with pytest.raises(NotFound) as of_another:
        ASKED[asked](runner.session("s", user_id="bob"))
    with pytest.raises(NotFound) as of_nobody:
        ASKED[asked](runner.session("t", user_id="bob"))
    assert str(of_another.value) == str(of_nobody.value).replace("'t'", "'s'")
    with pytest.raises(NotFound, match="without a user there is no session 's'; give the user_id"):
        ASKED[asked](runner.session("s"))
    assert runner.session("s", user_id="ann").export() == before


def test_what_is_deleted_is_gone_and_the_rest_stays(store: Store) -> None:
    session = talked(store, "one", "two")
    session.delete_run(session.history()[0].run_id)
    assert [turn.input for turn in session.history()] == ["two"]
    with pytest.raises(NotFound, match="has no run"):
        session.delete_run("nope")
    bobs = talked(store, "three", user_id="bob")
    runner = Runner(desk(), store=store)
    assert runner.delete_user("ann") == 1
    assert runner.sessions("ann") == []
    bobs.delete()
    assert runner.sessions("bob") == []


def test_an_exported_session_goes_on_where_it_is_imported(store: Store, tmp_path: Path) -> None:
    session = talked(store, "one", "two")
    session.rename("greetings")
    exported = session.export()
    for make in STORES.values():
        other = make(tmp_path / "other")
        runner = Runner(desk(), store=other, model=desk_model())
        taken = runner.session("copy", user_id="bob")
        taken.restore(exported)
        again = taken.export()
        assert {**again, "session_id": "s", "user_id": "ann"} == exported
        runner.run("three", user_id="bob", session_id="copy")
        assert [turn.number for turn in taken.history()] == [1, 2, 3]
        wait_for(other.close())


def test_a_failed_run_is_exported_and_imported_as_one(store: Store) -> None:
    model = ScriptedModel([RuntimeError("down")])
    with pytest.raises(NodeError):
        Runner(alone(), store=store, model=model).run("one", session_id="s")
    runner = Runner(alone(), store=store)
    copy = runner.session("copy")
    copy.restore(runner.session("s").export())
    assert [turn.status for turn in copy.runs()] == ["failed"]
    assert copy.history() == []
    assert copy.name() is None


def test_an_exported_session_without_runs_makes_no_session(store: Store) -> None:
    exported = talked(store, "one").export()
    runner = Runner(desk(), store=store)
    runner.session("copy").restore({**exported, "runs": []})
    assert runner.sessions() == []


def test_nothing_is_imported_over_a_session_that_is_there(store: Store) -> None:
    session = talked(store, "one")
    with pytest.raises(InputError, match="'s' exists; restore into one that does not"):
        session.restore(session.export())


def test_what_was_not_exported_is_not_imported(store: Store) -> None:
    exported = talked(store, "one").export()
    copy = Runner(desk(), store=store).session("copy")
    with pytest.raises(InputError, match="not an exported session: runs: "):
        copy.restore({**exported, "runs": "many"})
    with pytest.raises(InputError, match="has version 2, and this teamgraph reads 1"):
        copy.restore({**exported, "version": 2})
    with pytest.raises(InputError, match="not an exported session: version: "):
        copy.restore({})


@pytest.mark.parametrize("ids", [{"session_id": ""}, {"session_id": "s", "user_id": ""}])
def test_an_empty_id_opens_no_session(ids: dict[str, str]) -> None:
    with pytest.raises(InputError, match="is empty"):
        Runner(alone()).session(**ids)


def test_a_door_also_opens_where_a_loop_runs(store: Store) -> None:
    session = talked(store, "one")

    async def inside() -> int:
        return len(session.history()) + len(await session.ahistory())

    with pytest.warns(BlockedLoopWarning, match=r"await ahistory\("):
        assert wait_for(inside()) == 2
