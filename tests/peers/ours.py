"""teamgraph, by its public names, as a user would write it; the store is as it comes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from teamgraph import Chunk, Graph, Reply, Request, Runner, SessionKey, TinyDBStore, Usage
from teamgraph.kinds import Node, Upstream
from teamgraph.nodes import HistoryLoader, Member, Python, Router, Summarizer

from .work import LATENCY, MEMBERS, MODEL, WINDOW, main, member_for

_EXCHANGES = "{% messages history.messages %}\n{% user %}{{ input.message }}{% enduser %}"
_PROMPTS = {
    "router": "{% system %}Route the user to one of alice, bob, carol.\nAnswer with one name."
    "{% endsystem %}\n" + _EXCHANGES,
    "member": '{% system %}You are {{ node.id }}.\nSo far: {{ session.summary or "" }}'
    "{% endsystem %}\n" + _EXCHANGES,
    "summarizer": 'Summarize.\nSo far: {{ session.summary or "" }}\n'
    "{% for turn in turns %}user: {{ turn.input }}\n{{ turn.answer }}\n{% endfor %}",
}


class Scripted:
    """The model: a router gets the label that it wants, a summarizer its JSON."""

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        text = await MODEL.ask(request.messages)
        if request.choices:
            text = json.dumps({"reason": "", "choice": member_for(request.messages[-1].content)})
        elif request.schema:
            text = json.dumps({"summary": text, "topics": ["ferries"]})
        yield Chunk(text)
        yield Reply(text, usage=Usage(input_tokens=200, output_tokens=40, calls=1))


async def add(upstream: Sequence[Upstream]) -> object:
    """One more than the function before."""
    return 1 + (int(str(upstream[0].output)) if upstream else 0)


async def begin() -> int:
    """The first of the fan."""
    return 0


async def nap() -> int:
    """One of the many."""
    await asyncio.sleep(LATENCY)
    return 1


async def count(upstream: Sequence[Upstream]) -> int:
    """The last of the fan."""
    return len(upstream)


class Ours:
    """A runner is the graph; without a store it has the default one, which keeps runs."""

    def chain(self, length: int) -> Runner:
        nodes = _in_a_row(length, add)
        return Runner(Graph(name="chain", nodes=nodes, output=f"n{length - 1}"))

    async def run_chain(self, graph: Runner) -> int:
        return int((await graph.arun("go")).answer or "")

    def fan(self, width: int) -> Runner:
        many: dict[str, Node] = {f"n{i}": Python(call=nap, needs="first") for i in range(width)}
        last = Python(call=count, needs=list(many))
        nodes = {"first": Python(call=begin), **many, "last": last}
        return Runner(Graph(name="fan", nodes=nodes, output="last"))

    async def run_fan(self, graph: Runner) -> int:
        return int((await graph.arun("go")).answer or "")

    async def open_team(self, folder: Path) -> Runner:
        members = {name: Member(role=name, prompt=_PROMPTS["member"]) for name in MEMBERS}
        routes = {name: f"Questions for {name}" for name in MEMBERS}
        nodes: dict[str, Node] = {
            "past": HistoryLoader(runs=WINDOW),
            "router": Router(routes=routes, prompt=_PROMPTS["router"]),
            **members,
            "summary": Summarizer(needs=list(MEMBERS), prompt=_PROMPTS["summarizer"]),
        }
        graph = Graph(name="team", model="scripted", nodes=nodes, output=list(MEMBERS))
        return Runner(graph, store=TinyDBStore(folder), model=Scripted())

    async def turn(self, team: Runner, user: str, session: str, text: str) -> str:
        return (await team.arun(text, user_id=user, session_id=session)).answer or ""

    async def turns(self, team: Runner, user: str, session: str) -> int:
        return len(await team.store.turns(SessionKey(user, session)))

    async def close_team(self, team: Runner) -> None:
        await team.store.close()


def _in_a_row(length: int, call: Callable[..., object]) -> dict[str, Node]:
    return {f"n{i}": Python(call=call, needs=[f"n{i - 1}"] * bool(i)) for i in range(length)}


if __name__ == "__main__":
    main(Ours(), sys.argv[1:])
