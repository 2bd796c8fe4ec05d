"""LangGraph: a compiled state graph; AsyncSqliteSaver writes a checkpoint at each step."""

from __future__ import annotations

import asyncio
import operator
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

from jinja2 import Template
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from .work import LATENCY, MEMBERS, MODEL, PROMPTS, WINDOW, main, member_for


class Sum(TypedDict):
    """The state of the chain."""

    sum: int


class Count(TypedDict):
    """The state of the fan."""

    ones: Annotated[list[int], operator.add]
    last: int


class Talk(TypedDict, total=False):
    """The state of the team."""

    turns: Annotated[list[dict[str, str]], operator.add]
    text: str
    history: list[dict[str, str]]
    member: str
    answer: str
    summary: str


class LangGraph:
    """A session is a thread of the saver."""

    def chain(self, length: int) -> tuple[Any, int]:
        async def add(state: Sum) -> dict[str, int]:
            return {"sum": state["sum"] + 1}

        graph = StateGraph(Sum)
        for index in range(length):
            graph.add_node(f"n{index}", add)
            graph.add_edge(f"n{index - 1}" if index else START, f"n{index}")
        return graph.compile(), length

    async def run_chain(self, graph: tuple[Any, int]) -> int:
        limit = {"recursion_limit": graph[1] + 10}
        return int((await graph[0].ainvoke({"sum": 0}, limit))["sum"])

    def fan(self, width: int) -> Any:
        async def begin(state: Count) -> dict[str, int]:
            return {}

        async def nap(state: Count) -> dict[str, list[int]]:
            await asyncio.sleep(LATENCY)
            return {"ones": [1]}

        async def last(state: Count) -> dict[str, int]:
            return {"last": len(state["ones"])}

        graph = StateGraph(Count)
        graph.add_node("begin", begin)
        graph.add_node("end", last)
        graph.add_edge(START, "begin")
        names = [f"n{index}" for index in range(width)]
        for name in names:
            graph.add_node(name, nap)
            graph.add_edge("begin", name)
        graph.add_edge(names, "end")
        return graph.compile()

    async def run_fan(self, graph: Any) -> int:
        return int((await graph.ainvoke({"ones": []}))["last"])

    async def open_team(self, folder: Path) -> tuple[Any, Any]:
        opened = AsyncSqliteSaver.from_conn_string(str(folder / "langgraph.sqlite"))
        saver = await opened.__aenter__()
        await saver.setup()
        return _team(saver), opened

    async def turn(self, team: tuple[Any, Any], user: str, session: str, text: str) -> str:
        return str((await team[0].ainvoke({"text": text}, _thread(user, session)))["answer"])

    async def turns(self, team: tuple[Any, Any], user: str, session: str) -> int:
        state = await team[0].aget_state(_thread(user, session))
        return len(state.values.get("turns", [])) // 2

    async def close_team(self, team: tuple[Any, Any]) -> None:
        await team[1].__aexit__(None, None, None)


def _thread(user: str, session: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": f"{user}/{session}"}}


def _team(saver: Any) -> Any:
    templates = {name: Template(text) for name, text in PROMPTS.items()}

    async def past(state: Talk) -> Talk:
        return {"history": state.get("turns", [])[-2 * WINDOW :]}

    async def router(state: Talk) -> Talk:
        await MODEL.ask(templates["router"].render(history=state["history"], text=state["text"]))
        return {"member": member_for(state["text"])}

    def member(name: str) -> Any:
        async def answer(state: Talk) -> Talk:
            names = {"summary": "", **state, "member": name}
            return {"answer": await MODEL.ask(templates["member"].render(**names))}

        return answer

    async def summarizer(state: Talk) -> Talk:
        names = {"summary": "", **state}
        summary = await MODEL.ask(templates["summarizer"].render(**names))
        asked = {"role": "user", "content": state["text"]}
        answered = {"role": "assistant", "content": state["answer"]}
        return {"summary": summary, "turns": [asked, answered]}

    graph = StateGraph(Talk)
    graph.add_node("past", past)
    graph.add_node("router", router)
    graph.add_node("summarizer", summarizer)
    for name in MEMBERS:
        graph.add_node(name, member(name))
        graph.add_edge(name, "summarizer")
    graph.add_edge(START, "past")
    graph.add_edge("past", "router")
    graph.add_conditional_edges("router", lambda state: state["member"], list(MEMBERS))
    graph.add_edge("summarizer", END)
    return graph.compile(checkpointer=saver)


if __name__ == "__main__":
    main(LangGraph(), sys.argv[1:])
