"""Isolation of users: no text of one user's session reaches another user by any kind of memory."""

from __future__ import annotations

from typing import Any

import pytest

from teamgraph import Store
from teamgraph.errors import NotFound
from teamgraph.graphs import Agent
from tests.memory_team import RepeatingModel, memory_team, remember, words_in

USERS = ("ann", "bob", None)


def test_no_text_of_a_session_reaches_another_user(store: Store) -> None:
    model = RepeatingModel()
    team = memory_team(store, model)
    for turn in range(3):
        for session in ("one", "two"):
            for user in USERS:
                before = len(model.requests)
                whose: dict[str, Any] = {"user_id": user, "session_id": session}
                run = team.run(f"word-{user}-{session}-{turn}".lower(), **whose)
                asked = model.requests[before:]
                mine = f"word-{user}-".lower()
                assert all(
                    word.startswith(mine) for word in words_in((run.turn, run.records, asked))
                )
                if session == "two":
                    assert f"{mine}one-{turn}" in words_in(asked), "the search found nothing"
                if turn:
                    assert f"{mine}{session}-{turn - 1}" in words_in(asked)
    for user in USERS:
        for session in ("one", "two"):
            exported = team.session(session, user_id=user).export()
            assert all(word.startswith(f"word-{user}-".lower()) for word in words_in(exported))
            own = {f"word-{user}-{session}-{turn}".lower() for turn in range(3)}
            assert set(team.get_session_state(session, user_id=user)) == own


@pytest.mark.parametrize("user", ["bob", None])
def test_other_users_can_neither_name_nor_delete_a_session(store: Store, user: str | None) -> None:
    team = memory_team(store, RepeatingModel())
    team.run("word-ann", user_id="ann", session_id="s")
    before = team.session("s", user_id="ann").export()
    texts: list[str] = []
    for session in ("s", "there-is-none"):
        with pytest.raises(NotFound) as renamed:
            team.set_session_name("mine", session_id=session, user_id=user)
        with pytest.raises(NotFound) as deleted:
            team.delete_session(session, user_id=user)
        texts += [str(error.value).replace(repr(session), "?") for error in (renamed, deleted)]
    assert len(set(texts)) == 1
    assert team.session("s", user_id="ann").export() == before


def test_runs_without_a_session_id_share_nothing(store: Store) -> None:
    model = RepeatingModel()
    keeper = Agent(name="Keeper", tools=[remember], read_chat_history=True)
    team = memory_team(store, model, members=[keeper], search_session_history=False)
    ids: set[str] = set()
    for number in range(2):
        for user in USERS:
            before = len(model.requests)
            run = team.run(f"word-{user}-{number}".lower(), user_id=user)
            ids.add(run.session_id)
            assert words_in((run.turn, run.records, model.requests[before:])) == {
                f"word-{user}-{number}".lower()
            }
    assert len(ids) == 6
