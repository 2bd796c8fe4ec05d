"""The server is killed in the midst of streams and started again; its clients come back.

Each client has to get the rest: the last event, every node once, and the answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from time import sleep
from urllib.request import urlopen

from teamgraph.engine.server.listen import bind

from .judge import Counts, Open
from .team import SLOW_TEAM

STREAMS = 50
"""Streams that are open when the server is killed."""
NODES = ("a", "b", "c", "last")
SLOW = "from time import sleep\n\n\ndef work() -> str:\n    sleep(0.2)\n    return 'done'\n"


def server(open_store: Open, trials: int, seed: int) -> Counts:
    """Open `trials` streams, 50 at a time, and kill the server once in each fifty."""
    del open_store
    chosen, counts = random.Random(seed), Counts()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "team.yaml").write_text(SLOW_TEAM)
        (place / "slow.py").write_text(SLOW)
        for first in range(0, trials, STREAMS):
            names = [f"r{number}" for number in range(first, min(trials, first + STREAMS))]
            asyncio.run(_killed(place, names, chosen.uniform(0.3, 1.5), counts))
    return counts


async def _killed(place: Path, names: list[str], moment: float, counts: Counts) -> None:
    with bind("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
    running = _start(place, port)
    begun = asyncio.Event()
    streams = [
        asyncio.create_task(_read(port, "POST", "/api/runs", name, begun=begun)) for name in names
    ]
    async with asyncio.timeout(60):
        await begun.wait()  # a slow machine would be judged by nothing
    await asyncio.sleep(moment)
    running.kill()
    running.wait()
    told = await asyncio.gather(*streams)
    running = _start(place, port)
    try:
        back = [
            _read(port, "GET", f"/api/runs/{name}/events", name, last=events[-1]["id"])
            for name, events in zip(names, told, strict=True)
            if events
        ]
        rests = await asyncio.gather(*back)
    finally:
        running.terminate()
        running.wait()
    for events, rest in zip([each for each in told if each], rests, strict=True):
        _judge(events, rest, counts)


def _judge(events: list[dict[str, str]], rest: list[dict[str, str]], counts: Counts) -> None:
    counts.trials += 1
    counts.acknowledged += len(events)
    names = [each["event"] for each in events + rest]
    finished = [
        json.loads(each["data"])["node"]
        for each in events + rest
        if each["event"] == "node_finished"
    ]
    if names[-1] != "run_finished":
        counts.note(f"the stream ends with {names[-1]}: {rest[-1:]}", "lost")
    elif sorted(finished) != sorted(NODES):
        counts.note(f"the nodes told are {finished}", "again")


def _start(place: Path, port: int) -> subprocess.Popen[bytes]:
    """A server that answers."""
    words = ("serve", "team.yaml", "--allow", "slow", "--no-token", "--port", str(port))
    with (place / "log.txt").open("ab") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "teamgraph", *words],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
    for _ in range(600):
        try:
            with urlopen(f"http://127.0.0.1:{port}/healthz"):
                return running
        except OSError:
            sleep(0.05)
    raise AssertionError((place / "log.txt").read_text())


async def _read(
    port: int,
    method: str,
    path: str,
    name: str,
    *,
    last: str | None = None,
    begun: asyncio.Event | None = None,
) -> list[dict[str, str]]:
    """The events of a stream, until it ends or is cut; the first sets `begun`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"message": "hi", "run_id": name, "session_id": name, "stream": True})
    content = body if method == "POST" else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Content-Length: {len(content)}\r\n"
    if last is not None:
        head += f"Last-Event-ID: {last}\r\n"
    writer.write(f"{head}\r\n{content}".encode())
    events, fields = list[dict[str, str]](), dict[str, str]()
    try:
        while line := await reader.readline():
            key, separator, value = line.decode().rstrip("\r\n").partition(": ")
            if separator and key in ("id", "event", "data"):
                fields[key] = value
            elif "data" in fields and line.strip() == b"":
                events.append({"id": "", **fields})
                fields = {}
                if begun is not None:
                    begun.set()
    except ConnectionError:  # it was killed
        pass
    writer.close()
    return events
