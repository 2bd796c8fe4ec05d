"""Deletion: deleted text is in no file, and no late writer restores it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from teamgraph import Chunk, Reply, Request, Store
from teamgraph.errors import NotFound, RunError
from tests.memory_team import RepeatingModel, memory_team, words_in
from tests.teams import wait_for


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / "store"


def files_with(folder: Path, text: str) -> list[Path]:
    """The files whose bytes or names contain a text."""
    return [
        path
        for path in folder.rglob("*")
        if text in path.name or (path.is_file() and text.encode() in path.read_bytes())
    ]


def talked(store: Store, *sessions: tuple[str | None, str]) -> Any:  # noqa: ANN401  a team
    team = memory_team(store, RepeatingModel(), search_session_history=False)
    for turn in range(2):
        for user, session in sessions:
            team.run(f"word-{user}-{session}-{turn}".lower(), user_id=user, session_id=session)
    return team


def test_a_deleted_session_is_in_no_file_and_the_others_are_as_they_were(
    store: Store, tmp_path: Path
) -> None:
    team = talked(store, ("ann", "one"), ("bob", "one"), (None, "one"))
    before = [team.session("one", user_id=user).export() for user in ("bob", None)]
    team.delete_session("one", user_id="ann")
    assert files_with(folder_of(tmp_path), "word-ann") == []
    assert files_with(folder_of(tmp_path), '"ann"') == []
    with pytest.raises(NotFound):
        team.session("one", user_id="ann").export()
    assert [team.session("one", user_id=user).export() for user in ("bob", None)] == before


def test_a_deleted_user_is_in_no_file(store: Store, tmp_path: Path) -> None:
    team = talked(store, ("ann", "one"), ("ann", "two"), ("bob", "one"))
    before = team.session("one", user_id="bob").export()
    assert team.runner.delete_user("ann") == 2
    assert files_with(folder_of(tmp_path), "word-ann") == []
    assert team.runner.sessions("ann") == []
    assert team.session("one", user_id="bob").export() == before


class Held:
    """A model that pauses in the middle of its answer until it is released."""

    def __init__(self) -> None:
        self.said, self.go = asyncio.Event(), asyncio.Event()

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        if request.choices:
            yield Reply("keeper")
            return
        yield Chunk("word-late ")
        self.said.set()
        await self.go.wait()
        yield Chunk("answer")
        yield Reply("word-late answer")


@pytest.mark.parametrize("what", ["session", "user", "run"])
def test_a_run_in_progress_cannot_restore_a_deleted_session(
    store: Store, tmp_path: Path, what: str
) -> None:
    talked(store, ("ann", "one"), ("bob", "one"))

    async def scenario() -> None:
        model = Held()
        team = memory_team(store, model, search_session_history=False)
        late = asyncio.create_task(
            team.runner.arun("word-late", user_id="ann", session_id="one", run_id="late")
        )
        await model.said.wait()
        session = team.session("one", user_id="ann")
        if what == "session":
            await session.adelete()
        elif what == "user":
            assert await team.runner.adelete_user("ann") == 1
        else:
            await session.adelete_run("late")
        model.go.set()
        with pytest.raises(RunError, match="was deleted"):
            await late
        infos = await team.runner.asessions("ann")
        assert len(infos) == (what == "run")
        if what == "run":
            assert "word-late" not in words_in(await session.aexport())
            assert [turn.status for turn in await session.aruns()] == ["done", "done"]
        assert len(await team.runner.asessions("bob")) == 1
        team = memory_team(store, RepeatingModel(), search_session_history=False)
        again = await team.arun("word-again", user_id="ann", session_id="one")
        assert again.turn.number == (3 if what == "run" else 1)

    wait_for(scenario())
    assert files_with(folder_of(tmp_path), "word-late") == []


class Terse(RepeatingModel):
    """Calls every tool and repeats nothing that it was sent."""

    def script(self, request: Request) -> Any:  # noqa: ANN401  any answer of a script
        """The next answer to a request."""
        answer = super().script(request)
        if isinstance(answer, dict):
            return {"summary": "short", "topics": []}
        if isinstance(answer, Reply):
            return Reply("", tool_calls=tuple(answer.tool_calls[:-1]))
        return answer if request.choices else f'"re": {request.messages[1].content[:9]}'


@pytest.mark.parametrize("more", ["", ' </earlier-message> {é}\n"two" lines', " and so on" * 99])
def test_a_deleted_run_is_in_no_file(store: Store, tmp_path: Path, more: str) -> None:
    team = memory_team(store, Terse(), search_session_history=False)
    for message in ("secret", "second", "third"):
        for user in ("ann", "bob"):
            team.run(f"{message}-of-{user}{more}", user_id=user, session_id="one")
    session = team.session("one", user_id="ann")
    bobs = team.session("one", user_id="bob").export()
    first = session.history()[0]
    session.delete_run(first.run_id)
    assert "secret-of-ann" not in json.dumps(session.export())
    assert files_with(folder_of(tmp_path), "secret-of-ann") == []
    assert [turn.number for turn in session.history()] == [2, 3]
    assert team.session("one", user_id="bob").export() == bobs
