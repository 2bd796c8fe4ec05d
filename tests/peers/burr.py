"""Burr: actions in a graph that is built once; an application for each run, as its docs have it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from burr.core import ApplicationBuilder, State, action, when
from burr.core.graph import Graph, GraphBuilder
from burr.core.parallelism import MapStates
from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister
from jinja2 import Template

from .work import LATENCY, MEMBERS, MODEL, PROMPTS, WINDOW, main, member_for

Team = tuple[Graph, AsyncSQLitePersister]


@action(reads=["sum"], writes=["sum"])
async def add(state: State) -> State:
    return state.update(sum=state["sum"] + 1)


@action(reads=[], writes=["begun"])
async def begin(state: State) -> State:
    return state.update(begun=True)


@action(reads=[], writes=["one"])
async def nap(state: State) -> State:
    await asyncio.sleep(LATENCY)
    return state.update(one=1)


@action(reads=["count"], writes=["last"])
async def end(state: State) -> State:
    return state.update(last=state["count"])


class Many(MapStates):
    """The concurrent actions of the fan."""

    def action(self, state: State, inputs: dict[str, Any]) -> Any:
        return nap

    async def states(self, state: State, context: Any, inputs: Any) -> AsyncIterator[State]:
        for _ in range(state["width"]):
            yield state

    async def reduce(self, state: State, states: AsyncIterator[State]) -> State:
        return state.update(count=sum([each["one"] async for each in states]))

    def is_async(self) -> bool:
        return True

    @property
    def reads(self) -> list[str]:
        return ["width"]

    @property
    def writes(self) -> list[str]:
        return ["count"]


class Burr:
    """Its persister writes the state after each action."""

    def chain(self, length: int) -> tuple[Graph, int]:
        names = [f"n{index}" for index in range(length)]
        builder = GraphBuilder().with_actions(**dict.fromkeys(names, add))
        return builder.with_transitions(*pairwise(names)).build(), length

    async def run_chain(self, graph: tuple[Graph, int]) -> int:
        builder = ApplicationBuilder().with_graph(graph[0]).with_state(sum=0)
        application = builder.with_entrypoint("n0").build()
        *_, state = await application.arun(halt_after=[f"n{graph[1] - 1}"])
        return int(state["sum"])

    def fan(self, width: int) -> tuple[Graph, int]:
        builder = GraphBuilder().with_actions(begin=begin, many=Many(), end=end)
        return builder.with_transitions(("begin", "many"), ("many", "end")).build(), width

    async def run_fan(self, graph: tuple[Graph, int]) -> int:
        builder = ApplicationBuilder().with_graph(graph[0]).with_state(width=graph[1])
        *_, state = await builder.with_entrypoint("begin").build().arun(halt_after=["end"])
        return int(state["last"])

    async def open_team(self, folder: Path) -> Team:
        persister = await AsyncSQLitePersister.from_values(str(folder / "burr.sqlite"))
        await persister.initialize()
        return _team(), persister

    async def turn(self, team: Team, user: str, session: str, text: str) -> str:
        graph, persister = team
        builder = ApplicationBuilder().with_graph(graph)
        builder = builder.with_identifiers(app_id=session, partition_key=user)
        builder = builder.initialize_from(
            persister,
            resume_at_next_action=True,
            default_state={"turns": [], "summary": ""},
            default_entrypoint="past",
        )
        application = await builder.with_state_persister(persister).abuild()
        *_, state = await application.arun(halt_after=["summarizer"], inputs={"text": text})
        return str(state["answer"])

    async def turns(self, team: Team, user: str, session: str) -> int:
        stored = await team[1].load(user, session)
        return len(stored["state"]["turns"]) // 2 if stored else 0

    async def close_team(self, team: Team) -> None:
        await team[1].cleanup()


def _team() -> Graph:
    templates = {name: Template(text) for name, text in PROMPTS.items()}

    @action(reads=["turns"], writes=["history", "text"])
    async def past(state: State, text: str) -> State:
        return state.update(text=text, history=state["turns"][-2 * WINDOW :])

    @action(reads=["history", "text"], writes=["member"])
    async def router(state: State) -> State:
        await MODEL.ask(templates["router"].render(history=state["history"], text=state["text"]))
        return state.update(member=member_for(state["text"]))

    def member(name: str) -> Any:
        @action(reads=["history", "text", "summary"], writes=["answer"])
        async def answer(state: State) -> State:
            names = {key: state[key] for key in ("history", "text", "summary")}
            prompt = templates["member"].render(member=name, **names)
            return state.update(answer=await MODEL.ask(prompt))

        return answer

    @action(reads=["text", "summary", "member", "answer"], writes=["summary", "turns"])
    async def summarizer(state: State) -> State:
        names = {key: state[key] for key in ("text", "summary", "member", "answer")}
        summary = await MODEL.ask(templates["summarizer"].render(**names))
        asked = {"role": "user", "content": state["text"]}
        answered = {"role": "assistant", "content": state["answer"]}
        return state.update(summary=summary).extend(turns=[asked, answered])

    members = {name: member(name) for name in MEMBERS}
    builder = GraphBuilder().with_actions(
        past=past, router=router, summarizer=summarizer, **members
    )
    return builder.with_transitions(
        ("past", "router"),
        *[("router", name, when(member=name)) for name in MEMBERS],
        *[(name, "summarizer") for name in MEMBERS],
        ("summarizer", "past"),
    ).build()


if __name__ == "__main__":
    main(Burr(), sys.argv[1:])
