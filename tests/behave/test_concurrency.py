"""Concurrent runs in tasks, threads and processes: nothing is mixed up and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from teamgraph import (
    Chunk,
    Graph,
    Reply,
    Request,
    Runner,
    ScriptedModel,
    Store,
    TinyDBStore,
    ToolCall,
    ToolContext,
)
from teamgraph.graphs import Agent, Team
from teamgraph.kinds import Result
from teamgraph.nodes import Member, Python
from tests.memory_team import words_in
from tests.teams import STORES, wait_for

SETTERS = 8
INDEX_OBJECTS = 40
"""What stays of a short session that the store has closed: its index, up to 256 MB in all."""


def keep(context: ToolContext, key: str) -> str:
    """Set a key.

    Args:
        context: Whose session it is.
        key: Which key.
    """
    context.session_state[key] = "tool"
    return "kept"


def note(message: str) -> Result:
    """Sets a key from a `python` node."""
    return Result("noted", session_state={f"node-{message}": "node"})


def calling(request: Request) -> Any:  # noqa: ANN401  any answer of a script
    """Call the tool with the message, then answer."""
    message = request.messages[-1]
    if message.role == "user":
        arguments = f'{{"key": "tool-{message.content.strip()}"}}'
        return Reply("", tool_calls=(ToolCall(id="c", name="keep", arguments=arguments),))
    return "done"


def setting(store: Store) -> Runner:
    """A graph with a tool and a function that each set a key of their own in every run."""
    nodes = {"note": Python(call=note), "member": Member(needs="note", tools=[keep])}
    graph = Graph(name="g", model="m", state={"usual": 1}, nodes=nodes, output="member")
    return Runner(graph, store=store, model=ScriptedModel(calling))


async def set_one(runner: Runner, name: str) -> None:
    """One run that sets its three keys."""
    await runner.arun(name, user_id="ann", session_id="s", state={f"given-{name}": "given"})


def assert_all_stored(runner: Runner) -> None:
    """Assert that every run and every key is stored, in one order."""
    session = runner.session("s", user_id="ann")
    expected = {f"{way}-{n}": way for way in ("tool", "node", "given") for n in range(SETTERS)}
    assert session.state() == expected
    turns = session.history(limit=None)
    assert [turn.number for turn in turns] == list(range(1, SETTERS + 1))
    assert {turn.input for turn in turns} == {str(number) for number in range(SETTERS)}
    assert [turn.run_id for turn in session.runs()] == [turn.run_id for turn in turns][::-1]
    assert runner.graph.state == {"usual": 1}


def test_concurrent_tasks_lose_no_key_of_the_state(store: Store) -> None:
    runner = setting(store)

    async def together() -> None:
        await asyncio.gather(*(set_one(runner, str(number)) for number in range(SETTERS)))

    wait_for(together())
    assert_all_stored(runner)


def test_concurrent_threads_lose_no_key_of_the_state(store: Store) -> None:
    runner = setting(store)
    with ThreadPoolExecutor(SETTERS) as pool:
        list(pool.map(lambda name: asyncio.run(set_one(runner, name)), map(str, range(SETTERS))))
    assert_all_stored(runner)


CHILD = """
import asyncio, sys
sys.path.insert(0, ".")
from teamgraph import TinyDBStore
from tests.behave.test_concurrency import set_one, setting
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(set_one(setting(TinyDBStore(sys.argv[1])), sys.argv[2]))
"""


def test_concurrent_processes_lose_no_key_of_the_state(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "store"), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for number in range(SETTERS)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    store = TinyDBStore(tmp_path / "store")
    assert_all_stored(setting(store))
    wait_for(store.close())


USERS = 1000 if os.environ.get("TEAMGRAPH_ALL_USERS") else 400  # half fill the store's open files
TURNS, AT_ONCE = 5, 100


class Crowded:
    """Repeats the words that it was sent; stores nothing, so that memory use is the engine's."""

    def __init__(self) -> None:
        self.strangers: list[set[str]] = []
        self.asked = 0

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        self.asked += 1
        await asyncio.sleep(0)
        seen = words_in(request.messages)
        if len({word.split("-")[1] for word in seen}) != 1:
            self.strangers.append(seen)
        yield Reply("english" if request.choices else " ".join(sorted(seen)))


async def crowd(team: Team, users: range) -> None:
    """Let each user talk in a session of their own, a number of them concurrently."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def talk(user: int) -> None:
        async with gate:
            for turn in range(TURNS):
                run = await team.arun(f"word-u{user}-{turn}", user_id=f"u{user}", session_id="s")
                assert words_in(run.answer) == {f"word-u{user}-{n}" for n in range(turn + 1)}

    await asyncio.gather(*(talk(user) for user in users))


@pytest.mark.parametrize("name", list(STORES))
def test_many_concurrent_users_are_never_mixed_up_and_lose_nothing(
    name: str, tmp_path: Path
) -> None:
    store, model = STORES[name](tmp_path), Crowded()
    team = Team(
        members=[Agent(name=name, role=f"You speak {name}") for name in ("English", "French")],
        model=model,
        store=store,
        respond_directly=True,
        add_history_to_context=True,
        num_history_runs=TURNS,
    )
    alive: list[int] = []
    quarter = USERS // 4
    for first in range(0, USERS, quarter):
        wait_for(crowd(team, range(first, first + quarter)))
        gc.collect()
        alive.append(len(gc.get_objects()))
    assert model.strangers == []
    assert model.asked == USERS * TURNS * 2
    for user in range(USERS):
        said = team.get_chat_history("s", user_id=f"u{user}")
        assert [one.content for one in said[::2]] == [f"word-u{user}-{n}" for n in range(TURNS)]
    second, third, fourth = (later - before for before, later in pairwise(alive))
    if name == "memory":  # the sessions themselves, which are all that may grow
        assert fourth <= third * 1.1 <= second * 1.21
    else:
        assert fourth <= third * 1.1 <= INDEX_OBJECTS * quarter, "more stays than the indexes"
    wait_for(store.close())
