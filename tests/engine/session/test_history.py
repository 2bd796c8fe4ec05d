"""What a run can read of what was before it, in its session and in others."""

from __future__ import annotations

import pytest

from teamgraph import Graph, Runner, ScriptedModel, SessionKey, Store
from teamgraph.engine.session.history import StoredPast
from teamgraph.errors import ModelError, NodeError
from teamgraph.nodes import Member
from tests.teams import wait_for


def say(store: Store, message: str, session: str, *, user: str | None = "ann") -> str:
    graph = Graph(name="g", model="m", nodes={"member": Member()})
    runner = Runner(graph, model=ScriptedModel(lambda _: f"re: {message}"), store=store)
    return runner.run(message, user_id=user, session_id=session).run_id


def fail(store: Store, session: str) -> None:
    graph = Graph(name="g", model="m", nodes={"member": Member()})
    runner = Runner(graph, model=ScriptedModel([ModelError("gone", model="m")]), store=store)
    with pytest.raises(NodeError):
        runner.run("hello", user_id="ann", session_id=session)


def past(store: Store, session: str = "now") -> StoredPast:
    return StoredPast(store, SessionKey("ann", session), until=9)


def elsewhere(store: Store, sessions: int, runs: int = 3, text: str = "") -> list[object]:
    found = wait_for(past(store).other_sessions(sessions=sessions, runs=runs, text=text))
    return [(each.session_id, [run.input for run in each.runs]) for each in found]


def test_the_last_other_sessions_are_found_by_activity_and_not_by_name(store: Store) -> None:
    for session in ("c", "a", "now", "b", "a"):
        say(store, f"in {session}", session)
    assert elsewhere(store, 2) == [("a", ["in a", "in a"]), ("b", ["in b"])]
    assert elsewhere(store, 9) == [("a", ["in a", "in a"]), ("b", ["in b"]), ("c", ["in c"])]
    assert elsewhere(store, 2, runs=1) == [("a", ["in a"]), ("b", ["in b"])]
    assert elsewhere(store, 0) == []


def test_sessions_in_which_nothing_was_answered_do_not_count(store: Store) -> None:
    say(store, "old", "a")
    for number in range(5):
        fail(store, f"failed-{number}")
    say(store, "here", "now")
    assert elsewhere(store, 1) == [("a", ["old"])]
    assert elsewhere(store, 1, text="old") == [("a", ["old"])]


def test_a_text_finds_the_newest_turns_that_contain_it_in_those_sessions(store: Store) -> None:
    for session in ("a", "b"):
        for number in range(4):
            say(store, f"tea {number} in {session}", session)
        say(store, f"bread in {session}", session)
    say(store, "tea here", "now")
    assert elsewhere(store, 2, runs=2, text="TEA") == [
        ("b", ["tea 2 in b", "tea 3 in b"]),
        ("a", ["tea 2 in a", "tea 3 in a"]),
    ]
    assert elsewhere(store, 1, text="bread in a") == []
    assert elsewhere(store, 2, text="bread in a") == [("a", ["bread in a"])]


def test_what_was_found_can_be_read_again_by_its_numbers(store: Store) -> None:
    for number in range(3):
        say(store, f"tea {number}", "a")
    found = wait_for(past(store).other_sessions(sessions=1, runs=2))
    numbers = {each.session_id: [run.number for run in each.runs] for each in found}
    assert numbers == {"a": [2, 3]}
    say(store, "tea 4", "a")
    assert wait_for(past(store).quoted_turns(numbers)) == found
    assert wait_for(past(store).quoted_turns({"a": [], "gone": [1]})) == []
    wait_for(store.delete_session(SessionKey("ann", "a")))
    assert wait_for(past(store).quoted_turns(numbers)) == []


def test_a_run_that_is_not_there_called_no_tools(store: Store) -> None:
    run_id = say(store, "hello", "now")
    assert wait_for(past(store).calls(run_id)) == []
    assert list(wait_for(past(store).calls("nowhere"))) == []


def test_what_was_said_since_a_run_began_is_not_before_it(store: Store) -> None:
    for number in range(4):
        say(store, f"turn {number}", "s")
    before = StoredPast(store, SessionKey("ann", "s"), until=2)
    for since, last, expected in (
        (0, None, ["turn 0", "turn 1"]),
        (0, 1, ["turn 1"]),
        (1, None, ["turn 1"]),
        (2, None, []),
        (3, 5, []),
    ):
        found = wait_for(before.turns(since=since, last=last))
        assert [turn.input for turn in found] == expected
