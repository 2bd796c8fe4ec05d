"""The store: a record in a long session, compared with plain TinyDB and SQLite; many sessions."""

from __future__ import annotations

import asyncio
import gc
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
from pydantic import BaseModel

from teamgraph import Change, Exchange, Message, Record, SessionKey, Store, TinyDBStore, Turn, Usage

from .peers import Document, Peer, PlainTinyDB, SQLite
from .row import Row, cpu, cpu_of, median

_NODES = 10
_PUTS = 20
_LONG, _SHORT = SessionKey("u", "long"), SessionKey("u", "short")


def rows(*, short: bool) -> Iterator[Row]:
    """One session of 1 000 turns with 10 records each, then 10 000 sessions of one turn."""
    turns, rounds = (30, 2) if short else (1000, 9)
    with tempfile.TemporaryDirectory() as folder:
        yield from _long(Path(folder), turns, rounds)
    with tempfile.TemporaryDirectory() as folder:
        yield from asyncio.run(_many(Path(folder), 50 if short else 10_000, rounds))


def _long(folder: Path, turns: int, rounds: int) -> Iterator[Row]:
    ours = folder / "ours"
    asyncio.run(_fill(ours, turns))
    documents = [_document(turn, node) for turn in range(turns) for node in range(_NODES)]
    kinds: dict[str, Callable[[Path], Peer]] = {"plain TinyDB": PlainTinyDB, "SQLite": SQLite}
    for kind in kinds.values():
        peer = kind(folder)
        peer.fill(documents)
        peer.close()
    yield from _sizes(folder, turns)
    yield from asyncio.run(_appends(ours, turns, rounds))
    for name, kind in kinds.items():
        yield from asyncio.run(_beside(ours, name, partial(kind, folder), rounds))


def _sizes(folder: Path, turns: int) -> Iterator[Row]:
    ours = (path for path in (folder / "ours").rglob("*.jsonl") if path.is_file())
    largest = max(path.stat().st_size for path in ours)
    for name, size in (
        ("ours", largest),
        ("plain TinyDB", (folder / "plain.json").stat().st_size),
        ("SQLite", (folder / "peer.sqlite").stat().st_size),
    ):
        yield Row(f"bytes for each of {turns * _NODES} records, {name}", size / turns / _NODES, "B")


async def _appends(path: Path, turns: int, rounds: int) -> Iterator[Row]:
    """Puts and reads of the long session, alternating with those of a short one."""
    store = TinyDBStore(path, sync="never")
    new: list[float] = []
    old: list[float] = []
    few: list[float] = []
    many: list[float] = []
    for number in range(rounds):
        new.append(await _puts(store, SessionKey("u", f"empty{number}"), "r"))
        old.append(await _puts(store, _LONG, f"more{number}"))
        few.append(await cpu_of(lambda: _read(store, _SHORT)))
        many.append(await cpu_of(lambda: _read(store, _LONG)))
    await store.close()
    beside, longer = median(old) / median(new), median(many) / median(few)
    return iter(
        (
            Row("a record put into an empty session", median(new) * 1e6, "CPU µs"),
            Row(f"  after {turns * _NODES} records, in units of that", beside, "x", 1.5),
            Row("the last 5 runs with their records, of 10 turns", median(few) * 1e3, "CPU ms"),
            Row(f"  of {turns} turns, in units of that", longer, "x", 1.2),
        )
    )


async def _beside(path: Path, name: str, reopen: Callable[[], Peer], rounds: int) -> Iterator[Row]:
    """Ours and a peer alternating, each syncing its writes if it can."""
    mine: list[float] = []
    theirs: list[float] = []
    opened: list[float] = []
    reopened: list[float] = []
    rounds = min(rounds, 5)
    for number in range(rounds):
        opened.append(await cpu_of(lambda: _open(path)))
        reopened.append(cpu(lambda: _reopen(reopen())))
        store = TinyDBStore(path, sync="always")
        mine.append(await _puts(store, _LONG, f"{name}{number}"))
        await store.close()
        peer = reopen()
        same = [_document(number, 0)] * (1 if name == "plain TinyDB" else _PUTS)
        theirs.append(cpu(partial(_add, peer, same)) / len(same))
        peer.close()
    put, load = median(mine) / median(theirs), median(opened) / median(reopened)
    bar = 0.01 if name == "plain TinyDB" else None
    return iter(
        (
            Row(f"a record put into it, {name}", median(theirs) * 1e6, "CPU µs"),
            Row("  ours, sync always, in units of that", put, "x", bar),
            Row(f"opening it and reading its end, {name}", median(reopened) * 1e3, "CPU ms"),
            Row("  ours, in units of that", load, "x"),
        )
    )


async def _many(path: Path, count: int, rounds: int) -> Iterator[Row]:
    """First turns of the sessions of one user, and the list of them."""
    store = TinyDBStore(path, sync="never")
    half = count // 2

    async def begin(first: int) -> None:
        for number in range(first, first + half):
            await _turn(store, SessionKey("u", f"s{number}"), number, nodes=3)

    cost = await cpu_of(lambda: begin(0))
    await store.close()  # and keep no index
    gc.collect()
    alive = len(gc.get_objects())
    cost += await cpu_of(lambda: begin(half))
    await store.close()
    gc.collect()
    grown = (len(gc.get_objects()) - alive) / half
    few = 20  # a user who has no more than one page
    for number in range(few):
        await _turn(store, SessionKey("few", f"s{number}"), number, nodes=3)
    listed = [await cpu_of(lambda: store.sessions("u")) for _ in range(rounds)]
    page = [await cpu_of(lambda: store.sessions("few")) for _ in range(rounds)]
    recent = [await cpu_of(lambda: store.find("u", f"r{count - 3}")) for _ in range(rounds)]
    oldest = await cpu_of(lambda: store.find("u", "r0"))
    again = [await cpu_of(lambda: store.find("u", "r0")) for _ in range(rounds)]
    waiting = [await cpu_of(lambda: store.waiting("u")) for _ in range(rounds)]
    searched = await cpu_of(lambda: store.search("u", "no such words", last=count))
    await store.close()
    anew = TinyDBStore(path)
    cold = await cpu_of(lambda: anew.sessions("u"))
    await anew.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bar = None if count < 1000 else 1.5  # else both are one or two pages
    return iter(
        (
            Row(f"a first turn of 3 records, {count} sessions", cost / count * 1e3, "CPU ms"),
            Row("  objects that stay for each session when it is closed", grown, "objects"),
            Row("  the list of the newest 20 of them", median(listed) * 1e3, "CPU ms"),
            Row("    in units of that of a user with 20", median(listed) / median(page), "x", bar),
            Row("  the same by a store just opened", cold * 1e3, "CPU ms"),
            Row("  the session of one of the newest runs", median(recent) * 1e3, "CPU ms"),
            Row(
                "  the session of the oldest run, asked for the first time", oldest * 1e3, "CPU ms"
            ),
            Row("    asked for again", median(again) * 1e3, "CPU ms"),
            Row(
                "  the list of the runs that wait, of which there are none",
                median(waiting) * 1e3,
                "CPU ms",
            ),
            Row("  a search without a hit", searched * 1e3, "CPU ms", 300),
            Row("  memory of this process, all benchmarks so far included", memory, "MB"),
        )
    )


async def _fill(path: Path, turns: int) -> None:
    store = TinyDBStore(path, sync="never")
    for key, count in ((_SHORT, 10), (_LONG, turns)):
        for number in range(count):
            await _turn(store, key, number)
    await store.close()


async def _turn(store: Store, key: SessionKey, number: int, nodes: int = _NODES) -> None:
    turn = Turn(f"r{number}", f"question {number}")
    lease = await store.begin(key, turn)
    await store.put(lease, [record_of(number, node) for node in range(nodes)])
    done = Turn(turn.run_id, turn.input, status="done", answer=f"answer {number}")
    await store.finish(lease, done, Change())


async def _puts(store: Store, key: SessionKey, run_id: str) -> float:
    """CPU seconds of one put into an open session with a run in progress."""
    turn = Turn(run_id, "question")
    lease = await store.begin(key, turn)
    records = [record_of(0, node) for node in range(_PUTS)]

    async def put() -> None:
        for record in records:
            await store.put(lease, [record])

    cost = await cpu_of(put) / _PUTS
    await store.finish(lease, Turn(run_id, "question", status="cancelled"), Change())
    return cost


async def _read(store: Store, key: SessionKey) -> None:
    for turn in await store.turns(key, last=5):
        run = await store.run(key, turn.run_id)
        assert run is not None
        assert len(run.records) == _NODES


async def _open(path: Path) -> None:
    store = TinyDBStore(path)
    await _read(store, _LONG)
    await store.close()


def _add(peer: Peer, documents: Sequence[Document]) -> None:
    for document in documents:
        peer.add(document)


def _reopen(peer: Peer) -> None:
    assert peer.last(5 * _NODES) == 5 * _NODES
    peer.close()


def record_of(turn: int, node: int) -> Record:
    asked = f"What about the weather in place {turn}, and the sea at beach {node}?"
    reply = f"At {turn}.{node} it is sunny, with a light wind from the west. " * 3
    sent = (
        Message(role="system", content="You answer. " * 20),
        Message(role="user", content=asked),
    )
    usage = Usage(input_tokens=200, output_tokens=30, calls=1, cost=0.001)
    exchange = Exchange("member.jinja", "0" * 64, "some/model", sent, reply, usage)
    return Record(f"n{node}", "done", output=reply, exchanges=(exchange,), usage=usage)


def _document(turn: int, node: int) -> Document:
    document: Document = msgspec.to_builtins(record_of(turn, node), enc_hook=_dumped)
    return document


def _dumped(value: object) -> object:
    assert isinstance(value, BaseModel)
    return value.model_dump(mode="json", exclude_defaults=True)
