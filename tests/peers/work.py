"""The work that each framework does, and how it is measured.

Only the standard library is imported, for a peer has an environment of its own. A peer is a class
with the methods of `Peer`; its module ends with `main(...)`, which measures one kind of work and
prints what it found as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Generic, Protocol, TypeVar

Graph = TypeVar("Graph")
Team = TypeVar("Team")

ANSWER = (
    "The ferry leaves at nine from the old harbour and takes two hours, and the last one back is "
    "at six. Take a warm coat, for the wind on the upper deck is cold until the middle of May."
)
MEMBERS = ("alice", "bob", "carol")
WINDOW = 3
"""Turns of history in a prompt."""
LATENCY = 0.02
"""Seconds that a node of the fan, and a model in many sessions, takes."""
_EXCHANGES = "{% for each in history %}{{ each.role }}: {{ each.content }}\n{% endfor %}"
PROMPTS = {
    "router": "Route the user to one of alice, bob, carol.\n"
    + _EXCHANGES
    + "user: {{ text }}\nAnswer with one name.",
    "member": "You are {{ member }}.\nSo far: {{ summary }}\n" + _EXCHANGES + "user: {{ text }}",
    "summarizer": "Summarize.\nSo far: {{ summary }}\nuser: {{ text }}\n{{ member }}: {{ answer }}",
}
"""Jinja templates of the team, for frameworks without prompts of their own."""


@dataclass
class Model:
    """The model of every peer: a text after `latency` seconds, three times in a turn."""

    latency: float = 0.0
    calls: int = 0

    async def ask(self, prompt: object) -> str:
        """Answer whatever was asked."""
        assert prompt
        self.calls += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        return ANSWER


MODEL = Model()


def member_for(text: str) -> str:
    """Whom a router chooses, by the number of the turn in the user's text."""
    return MEMBERS[int(text.split()[1]) % len(MEMBERS)]


def question(number: int) -> str:
    """What a user says in a turn."""
    return f"turn {number} of our talk: when does the ferry leave, and what do we need on it?"


class Peer(Protocol, Generic[Graph, Team]):
    """One framework: graphs without a store, and a team whose turns are stored in a folder.

    The team is a history of three turns, a router, three members and a summarizer.
    """

    def chain(self, length: int) -> Graph:
        """A graph of functions, one after the other, each of which adds one."""
        ...

    async def run_chain(self, graph: Graph) -> int:
        """Run it; the sum, which is its length."""
        ...

    def fan(self, width: int) -> Graph:
        """One function, then many concurrent ones that sleep `LATENCY`, then one that counts."""
        ...

    async def run_fan(self, graph: Graph) -> int:
        """Run it; the count, which is its width."""
        ...

    async def open_team(self, folder: Path) -> Team:
        """The team, with a store in the folder."""
        ...

    async def turn(self, team: Team, user: str, session: str, text: str) -> str:
        """One turn, stored when it returns; the answer."""
        ...

    async def turns(self, team: Team, user: str, session: str) -> int:
        """How many turns the store has of a session."""
        ...

    async def close_team(self, team: Team) -> None:
        """Close the store."""
        ...


Found = dict[str, float]


@dataclass(frozen=True)
class Scale:
    """How much is measured: for a table, or only to see that it works."""

    chain: int = 1000
    fan: int = 100
    repeats: int = 5
    turns: int = 1000
    sessions: int = 1000
    seconds: float = 30.0
    """After which no further turn of a long session begins, and none of many sessions."""


SHORT = Scale(chain=20, fan=5, repeats=1, turns=12, sessions=4, seconds=10.0)


async def measure_chain(peer: Peer[Graph, Team], scale: Scale) -> Found:
    """CPU time of a node in a chain of functions, and of making the graph."""
    started = process_time()
    graph = peer.chain(scale.chain)
    made = process_time() - started
    _check(await peer.run_chain(graph), scale.chain)
    cost = await _median_cpu(lambda: peer.run_chain(graph), scale.repeats)
    return {"node": cost / scale.chain * 1e6, "graph": made * 1e3}


async def measure_fan(peer: Peer[Graph, Team], scale: Scale) -> Found:
    """CPU time of a fan-out."""
    graph = peer.fan(scale.fan)
    _check(await peer.run_fan(graph), scale.fan)
    return {"fan": await _median_cpu(lambda: peer.run_fan(graph), scale.repeats * 3) * 1e3}


async def measure_session(peer: Peer[Graph, Team], scale: Scale) -> Found:
    """CPU time of a durable turn at the beginning of a session and late in it."""
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        team = await peer.open_team(Path(folder))
        await peer.turn(team, "other", "warm", question(0))
        costs: list[float] = []
        ends = perf_counter() + scale.seconds
        while len(costs) < scale.turns and perf_counter() < ends:
            started = process_time()
            answer = await peer.turn(team, "user", "long", question(len(costs)))
            costs.append(process_time() - started)
            assert ANSWER[:20] in answer, answer
        _check(await peer.turns(team, "user", "long"), len(costs))
        await peer.close_team(team)
    for turn in (10, 100, scale.turns):
        if turn <= len(costs):
            found[f"turn {turn}"] = median(costs[max(0, turn - 5 - turn // 20) : turn]) * 1e3
    return found


async def measure_sessions(peer: Peer[Graph, Team], scale: Scale) -> Found:
    """CPU time of a turn of many short sessions, 100 at a time, and the slowest turns."""
    latencies: list[float] = []
    begun: list[int] = []
    at_once, turns = asyncio.Semaphore(100), 5
    with tempfile.TemporaryDirectory() as folder:
        team = await peer.open_team(Path(folder))
        await peer.turn(team, "other", "warm", question(0))

        async def session(number: int) -> None:
            async with at_once:
                if perf_counter() > ends:
                    return
                begun.append(number)
                for turn in range(turns):
                    started = perf_counter()
                    await peer.turn(team, f"u{number % 50}", f"s{number}", question(turn))
                    latencies.append(perf_counter() - started)

        MODEL.latency = LATENCY
        started, ends = process_time(), perf_counter() + scale.seconds
        try:
            await asyncio.gather(*map(session, range(scale.sessions)))
        finally:
            MODEL.latency = 0.0
        cost = process_time() - started
        for number in begun[:: max(1, len(begun) // 20)]:
            _check(await peer.turns(team, f"u{number % 50}", f"s{number}"), turns)
        await peer.close_team(team)
    slowest = sorted(latencies)[int(len(latencies) * 0.99)]
    return {"turn": cost / len(latencies) * 1e3, "p99": slowest * 1e3}


WORK: dict[str, Callable[[Peer[object, object], Scale], Awaitable[Found]]] = {
    "chain": measure_chain,
    "fan": measure_fan,
    "session": measure_session,
    "sessions": measure_sessions,
}


def main(peer: Peer[Graph, Team], arguments: Sequence[str]) -> None:
    """Do the work that the command line names, and print what was found."""
    name, *options = arguments
    scale = SHORT if options else Scale()
    found = asyncio.run(WORK[name](peer, scale))  # type: ignore[arg-type]  # of whatever graphs
    sys.stdout.write(json.dumps(found) + "\n")


async def _median_cpu(work: Callable[[], Awaitable[object]], repeats: int) -> float:
    costs: list[float] = []
    for _ in range(repeats):
        started = process_time()
        await work()
        costs.append(process_time() - started)
    return median(costs)


def _check(found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"{found} is not {wanted}: the work was not done")
