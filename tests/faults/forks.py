"""A process forks at any call of a turn that one of its threads makes; both processes go on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import tempfile
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from teamgraph import Change, Record, SessionKey, Store, Turn
from teamgraph.engine.stores.journal.disk import Disk
from teamgraph.errors import Conflict, SessionBusy

from .judge import Counts, Open, judge
from .process import Child
from .said import KEY, Said, Tell, word

OTHER = SessionKey("ann", "other")
MOMENTS = 48
"""System calls of the turn at which the fork may happen: more than it makes."""
_EARLIER = 3


class Stopping(Disk):
    """Stops the one thread that calls it, before or after the call `at`, until it is let go on."""

    def __init__(self) -> None:
        self.count, self.at = 0, -1
        self.is_after = False
        self.process = os.getpid()
        self.reached, self.go = threading.Event(), threading.Event()

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401  it stands before any method
        found = super().__getattribute__(name)
        if name.startswith("_") or name in ("now", "pause") or not hasattr(Disk, name):
            return found

        def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401  of every method
            is_chosen = self._is_chosen()
            if is_chosen and not self.is_after:
                self._stop()
            answer = found(*args, **options)
            if is_chosen and self.is_after:
                self._stop()
            return answer

        return call

    def _is_chosen(self) -> bool:
        if os.getpid() != self.process:
            return False
        self.count += 1
        return self.count - 1 == self.at

    def _stop(self) -> None:
        self.reached.set()
        self.go.wait()


def forks(open_store: Open, trials: int, seed: int) -> Counts:
    """Each moment with each thing that the child does, the parent going on or being killed."""
    counts = Counts()
    chosen = random.Random(seed)
    table = [(moment, act) for moment in range(MOMENTS) for act in ACTS]
    chosen.shuffle(table)
    for moment, act in table[:trials]:
        is_killed = chosen.random() < 0.3
        with tempfile.TemporaryDirectory() as folder:
            _try(open_store, Path(folder), (moment, act, is_killed), counts)
    return counts


def _try(open_store: Open, place: Path, case: tuple[int, str, bool], counts: Counts) -> None:
    text = b""
    parent = Child(lambda tell: _parent(open_store, place, case, tell))
    os.waitpid(parent.pid, 0)  # not for the end of its pipe: its child may stay, and has that too
    os.set_blocking(parent.pipe, False)
    with suppress(BlockingIOError):
        while data := os.read(parent.pipe, 1 << 20):
            text += data
    os.close(parent.pipe)
    lines = text.decode().split("\n")[:-1]
    said = Said()
    said.take(line for line in lines if not line.startswith("{"))
    told = [json.loads(line) for line in lines if line.startswith("{")]
    try:
        judge(open_store, place, said, counts)
        for one in told:
            if "wrong" in one:
                counts.note(f"{case}: {one['wrong']}", "wrong")
        if not any("child" in one for one in told):
            counts.note(f"{case}: the child told nothing", "wrong")
    finally:
        for one in told:
            if "child" in one:
                with suppress(ProcessLookupError):
                    os.kill(one["child"], signal.SIGKILL)


def _parent(  # noqa: PLR0915  one thing after the other
    open_store: Open, place: Path, case: tuple[int, str, bool], tell: Tell
) -> None:
    """Use the store, fork in the midst of a thread's turn, and let that turn go on to its end."""
    moment, act, is_killed = case
    disk = Stopping()
    store = open_store(place, disk)
    for number in range(_EARLIER):
        asyncio.run(_turn(store, f"early.{number}", tell))
    leases: list[Any] = []
    state = {"begun": False, "over": False}
    disk.at, disk.is_after = disk.count + moment // 2 * 2, bool(moment % 2)
    turn = threading.Thread(target=lambda: asyncio.run(_turn(store, "main", tell, state, leases)))
    turn.start()
    while not disk.reached.wait(0.005) and turn.is_alive():
        pass  # a turn with fewer calls than this is over
    is_busy = state["begun"] and not state["over"]
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _as_child(store, act, (is_busy, state["over"], leases), writing)
    os.close(writing)
    tell(json.dumps({"child": child}) + "\n")
    with os.fdopen(reading) as pipe:
        for line in pipe:
            tell(line)
            if "stays" in line:
                break
    if is_killed:
        os.kill(os.getpid(), signal.SIGKILL)
    disk.go.set()
    turn.join()
    asyncio.run(_turn(store, "late", tell))
    asyncio.run(store.close())
    if act != "stay":
        os.waitpid(child, 0)


async def _turn(
    store: Store,
    run_id: str,
    tell: Tell,
    state: dict[str, bool] | None = None,
    leases: list[Any] | None = None,
) -> None:
    def say(*what: str | int) -> None:
        tell(json.dumps(what) + "\n")

    state = {} if state is None else state
    try:
        lease = await store.begin(KEY, Turn(run_id, word(run_id)), policy="reject")
        state["begun"] = True
        if leases is not None:
            leases.append(lease)
        for node in ("a", "b"):
            say("put", run_id, node, run_id)
            await store.put(lease, [Record(node, "done", output=run_id)])
            say("ack")
        say("finish", run_id)
        done = Turn(run_id, word(run_id), status="done", answer=word(run_id) * 2)
        state["over"] = True  # from here on the session may be free
        turn = await store.finish(lease, done, Change({"last": run_id, run_id: 1}))
        say("ack", turn.number)
    except Exception as error:  # noqa: BLE001  whatever it is, the parent had nothing to notice
        say("error", f"the parent's turn {run_id}: {error!r}")


Acts = Callable[[Store, tuple[bool, bool, list[Any]]], Coroutine[Any, Any, None]]


async def _read(store: Store, given: tuple[bool, bool, list[Any]]) -> None:
    turns = [turn.run_id for turn in await store.turns(KEY)]
    assert turns[:_EARLIER] == [f"early.{number}" for number in range(_EARLIER)], turns
    run = await store.run(KEY, "early.1")
    assert run is not None
    assert run.records["b"].output == "early.1"
    head = await store.head(KEY)
    assert head is not None
    assert head.state["early.2"] == 1


async def _list(store: Store, given: tuple[bool, bool, list[Any]]) -> None:
    assert [info.key for info in await store.sessions("ann")] == [KEY]
    assert len(await store.search("ann", "<early", last=3)) == _EARLIER


async def _write_another(store: Store, given: tuple[bool, bool, list[Any]]) -> None:
    lease = await store.begin(OTHER, Turn("r", "x"))
    await store.put(lease, [Record("n", "done")])
    await store.finish(lease, Turn("r", "x", status="done"), Change())
    assert await store.find("ann", "r") == OTHER
    await store.close()


async def _write_the_same(store: Store, given: tuple[bool, bool, list[Any]]) -> None:
    is_busy, is_ending, _ = given
    try:
        lease = await store.begin(KEY, Turn("child", "x"), policy="reject")
    except SessionBusy:
        return  # the parent has it, or is about to, or has not given it back yet
    assert not is_busy, "the child has taken over a live turn"
    del is_ending
    await store.release(lease)
    assert await store.delete_run(KEY, "child")


async def _use_the_lease(store: Store, given: tuple[bool, bool, list[Any]]) -> None:
    for lease in given[2]:
        try:
            await store.put(lease, [Record("stolen", "done")])
        except Conflict:
            continue
        raise AssertionError("the child has written with its parent's lease")
    for lease in given[2]:
        await store.release(lease)


async def _close(store: Store, given: tuple[bool, bool, list[Any]]) -> None:
    await store.close()
    await _read(store, given)


async def _leave(store: Store, given: tuple[bool, bool, list[Any]]) -> None:
    return


ACTS: dict[str, Acts] = {
    "read": _read,
    "list": _list,
    "write another": _write_another,
    "write the same": _write_the_same,
    "use the lease": _use_the_lease,
    "close": _close,
    "leave": _leave,
    "stay": _read,
}


def _as_child(
    store: Store, act: str, given: tuple[bool, bool, list[Any]], pipe: int
) -> None:  # pragma: no cover - in a process of its own
    def too_long(number: int, frame: object) -> None:
        raise TimeoutError(f"signal {number}: the child hangs at {frame}")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(10)
    told: dict[str, str] = {"did": act}
    try:
        asyncio.run(ACTS[act](store, given))
    except BaseException as error:  # noqa: BLE001  a child has nobody to raise it to
        told = {"wrong": f"{act}: {error!r}"}
    if act == "stay":
        signal.alarm(0)
        os.write(pipe, json.dumps({**told, "stays": ""}).encode() + b"\n")
        os.close(pipe)
        while True:
            signal.pause()
    os.write(pipe, json.dumps(told).encode() + b"\n")
    os._exit(0)
