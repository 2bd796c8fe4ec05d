"""Turns whose records must not depend on the store, or on where they run.

The graph has a node of most kinds, and the model's answers depend on all that it is sent.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

from teamgraph import Graph, Request, Runner, ScriptedModel, Store
from teamgraph.dispatch import Dispatcher, InProcessDispatcher, Submission
from teamgraph.kinds import SessionState
from teamgraph.nodes import (
    HistoryLoader,
    Human,
    Loop,
    Map,
    Member,
    Python,
    Router,
    Summarizer,
)
from tests.teams import words_of

USERS = ("ann", "bob", None)
MESSAGES = ("write it", "list it", "write it again\ud800")

TIMES = {"started", "ended", "updated", "asked", "given"}


async def talk(dispatcher: Dispatcher, store: Store) -> list[Any]:
    """Three turns of each user, in all of which a person is asked; the exports and prompts then."""

    async def turns(user: str | None) -> None:
        for number, message in enumerate(MESSAGES):
            at = {"graph": "every", "run_id": f"r{number}", "session_id": "s", "user_id": user}
            asked = await dispatcher.submit(Submission(message=message, **at))
            assert (await dispatcher.result(asked)).status == "waiting"
            answers = {"ok": "no" if number == 1 else "yes"}
            told = await dispatcher.submit(Submission(answers=answers, by="boss", **at))
            assert (await dispatcher.result(told)).status == "done"

    await asyncio.gather(*map(turns, USERS))
    runner = Runner(graph(), store=store)
    exports = [await runner.session("s", user_id=user).aexport() for user in USERS]
    sources = {each: await store.prompt(each) for each in await store.prompt_hashes()}
    return [without_times(exports), sources]


async def in_process(store: Store) -> list[Any]:
    """What is stored by one process, which closes the store."""
    dispatcher = InProcessDispatcher([Runner(graph(), store=store, model=model())])
    stored = await talk(dispatcher, store)
    await dispatcher.close()
    await store.close()
    return stored


def without_times(value: Any) -> Any:  # noqa: ANN401  any part of an export
    """A value without times, records by their nodes: those of a map end in any order."""
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if name not in TIMES}
    if isinstance(value, list):
        if value and isinstance(value[0], dict) and "node" in value[0]:
            value = sorted(value, key=lambda record: record["node"])
        return [without_times(each) for each in value]
    return value


def count(message: str, state: dict[str, Any], session_state: SessionState) -> dict[str, int]:
    """Counts turns in the node's state, and letters in the session's."""
    state["turns"] = state.get("turns", 0) + 1
    session_state["letters"] = session_state.get("letters", 0) + len(message)
    return dict(state)


def graph() -> Graph:
    """The same in every process."""
    nodes = {
        "history": HistoryLoader(runs=2),
        "count": Python(call=count),
        "router": Router(routes={"draft": "To write", "each": "To list"}, needs=["count"]),
        "draft": Loop(
            max=3,
            until="round.number == 2",
            graph=Member(prompt="{{ round.number }}: {{ round.previous or input.message }}\n"),
        ),
        "each": Map(
            over="['a', 'b']",
            graph=Member(
                prompt="{{ input.item }} of {{ session.state.letters | default('none', true) }}\n"
            ),
        ),
        "ok": Human(prompt="May I send this?\n", options=["yes", "no"], needs=["draft", "each"]),
        "last": Member(role="You send it", needs=["ok", "draft", "each"]),
        "summary": Summarizer(needs=["last"]),
    }
    return Graph(name="every", model="m", nodes=nodes, output=["last"])


def model() -> ScriptedModel:
    """Its answers are digests of its messages, so what differs once differs in every later turn."""

    def answer(request: Request) -> Any:  # noqa: ANN401  whatever the node asks for
        words = words_of(request)
        said = sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        if request.choices:
            return "each" if "list it" in request.messages[-1].content else "draft"
        if request.schema is not None:
            return {"summary": f"in short {said}", "topics": [said]}
        return f"said {said}"

    return ScriptedModel(answer)
