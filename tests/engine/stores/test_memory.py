"""The store in memory: what nobody named does not stay for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from teamgraph import Graph, MemoryStore, Model, Reply, Request, Runner, ScriptedModel
from teamgraph.nodes import Member


def runner(max_unnamed: int, model: Model | None = None) -> Runner:
    graph = Graph(name="alone", model="m", nodes={"member": Member()})
    return Runner(
        graph, store=MemoryStore(max_unnamed=max_unnamed), model=model or ScriptedModel("yes")
    )


def test_a_session_whose_state_was_set_stays() -> None:
    team = runner(max_unnamed=1)
    key = team.run("one").key
    team.session(key.session_id).set_state({"name": "Ann"})
    for message in ("two", "three"):
        team.run(message)
    assert team.session(key.session_id).state() == {"name": "Ann"}


def session_ids(of: Runner) -> set[str]:
    return {info.key.session_id for info in of.sessions(limit=100)}


def test_of_the_sessions_that_nobody_named_the_newest_stay() -> None:
    team = runner(max_unnamed=2)
    named = {
        team.run("hello", session_id="named").key.session_id,
        team.run("hello", run_id="also-named").key.session_id,
    }
    runs = [team.run("hello") for _ in range(5)]
    assert session_ids(team) == {*named, *(run.key.session_id for run in runs[-2:])}
    assert runs[0].answer == "yes"


def test_a_session_that_is_used_again_or_renamed_stays() -> None:
    team = runner(max_unnamed=1)
    used = team.run("hello").key.session_id
    team.run("again", session_id=used)
    renamed = team.run("hello").key.session_id
    team.session(renamed).rename("mine")
    last = [team.run("hello").key.session_id for _ in range(3)][-1]
    assert session_ids(team) == {used, renamed, last}
    assert team.session(used).metrics().turns == 2


def test_deleted_ones_do_not_count() -> None:
    team = runner(max_unnamed=2)
    first, second, third = (
        team.run("hello", user_id=user).key.session_id for user in (None, None, "ann")
    )
    assert session_ids(team) == {second}
    team.session(second).delete()
    team.delete_user("ann")
    kept = {team.run("hello").key.session_id for _ in range(2)}
    assert session_ids(team) == kept
    assert not kept & {first, third}


def test_a_run_in_progress_is_not_dropped() -> None:
    async def scenario() -> None:
        started, go = asyncio.Event(), asyncio.Event()

        class Waiting:
            async def ask(self, request: Request) -> AsyncGenerator[Reply]:
                if request.messages[-1].content == "wait":
                    started.set()
                    await go.wait()
                yield Reply("yes")

        team = runner(max_unnamed=1, model=Waiting())
        waiting = asyncio.create_task(team.arun("wait"))
        await started.wait()
        others = [(await team.arun("hello")).key.session_id for _ in range(3)]
        assert len(await team.asessions()) == 2
        go.set()
        last = (await waiting).key
        assert [info.key for info in await team.asessions()] == [last]
        assert last.session_id not in others

    asyncio.run(scenario())
