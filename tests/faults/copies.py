"""A copy of sessions that is killed or interrupted, and run again until it is done."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import tempfile
from pathlib import Path
from typing import cast

from teamgraph import Change, Record, SessionKey, Store, Summary, Turn
from teamgraph.engine.stores.copying import Copyable, copy_session, is_same, sessions_of
from teamgraph.engine.stores.journal.disk import DISK

from .judge import Counts, Open, at_peace
from .process import Child
from .said import Tell
from .stores import ours

SESSIONS, TURNS = 12, 4
_INTERRUPTED = "KeyboardInterrupt()"


def copies(open_store: Open, trials: int, seed: int) -> Counts:
    """Stop copy after copy; at any time only whole sessions are there, and none is lost."""
    chosen = random.Random(seed)
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        at_peace(lambda: _fill(ours(source, DISK)))
        while counts.trials < trials:
            target, told = Path(folder) / f"target{counts.trials}", set[str]()
            while "done" not in told:
                child = Child(
                    lambda tell, t=target: asyncio.run(_copy(open_store, source, t, tell))
                )
                child.wait_for(chosen.randint(0, SESSIONS // 2))
                if chosen.random() < 0.3:
                    child.send(signal.SIGINT)
                    lines = child.end()
                else:
                    lines = child.kill(after=chosen.uniform(0, 0.01))
                for verb, what in map(json.loads, lines):
                    told.add(verb if verb == "done" else what)
                    if verb == "error" and what != _INTERRUPTED:
                        counts.note(what, "unreadable")
                counts.trials += 1
                at_peace(lambda t=target, w=told: _look(open_store, source, t, w, counts))
    return counts


async def _fill(store: Store) -> None:
    for number in range(SESSIONS):
        key = SessionKey(f"u{number % 3}", f"s{number}")
        for turn in range(TURNS):
            run_id = f"r{turn}"
            lease = await store.begin(key, Turn(run_id, f"say {number} {turn}"))
            await store.put(lease, [Record(node, "done", output="x" * 3000) for node in "ab"])
            done = Turn(run_id, f"say {number} {turn}", status="done", answer=f"said {number}")
            change = Change({"last": turn}, summary=Summary("s", covers=turn + 1))
            await store.finish(lease, done, change)
    await store.close()


async def _copy(open_store: Open, source: Path, target: Path, tell: Tell) -> None:
    ours_, theirs = ours(source, DISK), cast("Copyable", open_store(target, DISK))
    keys = await sessions_of(ours_, None, ())
    for key in keys:
        if await copy_session(ours_, theirs, key, keys):
            tell(json.dumps(["copied", key.session_id]) + "\n")
    tell(json.dumps(["done", ""]) + "\n")
    await theirs.close()


async def _look(
    open_store: Open, source: Path, target: Path, told: set[str], counts: Counts
) -> None:
    """What is there is whole, and what was told is there."""
    ours_, theirs = ours(source, DISK), cast("Copyable", open_store(target, DISK))
    there = await sessions_of(theirs, None, ())
    counts.acknowledged += len(there)
    for key in there:
        if not await is_same(ours_, theirs, key):
            counts.note(f"session {key.session_id} is not whole", "wrong")
    wanted = {key.session_id for key in await sessions_of(ours_, None, ())}
    told_of = wanted if "done" in told else told & wanted
    for session_id in told_of - {key.session_id for key in there}:
        counts.note(f"session {session_id}", "lost")
    await theirs.close()
    await ours_.close()
