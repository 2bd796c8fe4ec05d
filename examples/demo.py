"""What `make demo` runs: two turns of a session with the support desk, and what was stored."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from uuid import uuid4

from teamgraph import Event, Graph, Record, Runner, SessionKey, TinyDBStore
from teamgraph.errors import TeamgraphError
from teamgraph.events import Answer, NodeFailed, NodeFinished, NodeSkipped, NodeStarted, Token
from teamgraph.graphs import FOLDER

MESSAGES = ("Can I have my money back for the red lamp?", "When do I get the money?")
MODEL = "SmolLM2-135M on this machine, a 98 MB demo model: its answers can be wrong"
STORE = Path(".teamgraph")


async def main() -> int:
    """Run the turns, then print what was stored; exit code 2 for an error."""
    graph = Graph.load(FOLDER / "desk.yaml")
    store = TinyDBStore(STORE)
    session = SessionKey("demo", f"demo-{uuid4().hex[:8]}")
    own = os.environ.get("MESSAGE")
    print(f"team   {graph.name}: {graph.description}\nmodel  {MODEL}")
    try:
        await talk(Runner(graph, store=store), session, (own,) if own else MESSAGES)
        await show(store, session)
    except TeamgraphError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    finally:
        await store.close()
    return 0


async def talk(runner: Runner, session: SessionKey, messages: tuple[str, ...]) -> None:
    """Run one turn for each message and print its events as they arrive."""
    for message in messages:
        print(f"\n> {message}")
        async for event in runner.astream(
            message, user_id=session.user_id, session_id=session.session_id
        ):
            show_event(event)


def show_event(event: Event) -> None:
    """Print one line for each node; the answer is streamed."""
    match event:
        case NodeStarted(node=node):
            print(f"  {node:<10}", end="", flush=True)
        case NodeFinished(record=record) if record.kind != "member":
            print(outcome(record))
        case NodeSkipped(node=node, because=because):
            print(f"  {node:<10}skipped: {because}")
        case NodeFailed():
            print("failed")
        case Token(answer=True, text=text):
            print(text, end="", flush=True)
        case Answer():
            print()
        case _:
            pass


async def show(store: TinyDBStore, session: SessionKey) -> None:
    """Print the turns and records of the session, and its last prompt in full."""
    print(f"\nWhat the store has of session {session.session_id}, user {session.user_id}:")
    records: list[Record] = []
    for turn in await store.turns(session):
        print(f"\nturn {turn.number}: {turn.input}\n     -> {turn.answer}")
        run = await store.run(session, turn.run_id)
        records = list(run.records.values()) if run else []
        for record in records:
            print(f"  {record.node:<10}{record.status:<9}{outcome(record)}")
    for record in [record for record in records if record.exchanges][-1:]:
        exchange = record.exchanges[-1]
        print(f"\nthe last prompt of {record.node}, made by {exchange.prompt}:")
        for message in exchange.messages:
            mark = "   (from an earlier turn)" if message.origin else ""
            print(f"  {message.role:<10}{message.content.strip()}{mark}")
    print(f"\nfile   {newest()}")


def newest() -> Path:
    """The session's file: its name is a hash, but it is the newest."""
    return max(STORE.glob("users/*/*/*.jsonl"), key=lambda file: file.stat().st_mtime_ns)


def outcome(record: Record) -> str:
    """What a node did, in a few words."""
    if record.because:
        return record.because
    if record.choices:
        return f"chose {', '.join(record.choices)}"
    return f"took {record.ended - record.started:.2f} s"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
