"""Worker processes of graphs that are made in Python, forked from one process, which imports once.

`python -m tests.workers` forks a worker for each line `DSN MODULE CONCURRENCY` on its standard
input. The module has the functions `graph` and `model`, and may have a `Worker` of its own. Each
worker prints its process id once it takes turns, and ends at SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

from teamgraph import PostgresStore, Runner
from teamgraph.dispatch import Worker

ROOT = Path(__file__).parents[1]


class Workers:
    """The process that forks workers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, dsn: str, module: str, many: int = 1, *, concurrency: int = 8) -> list[int]:
        """Start some more; returns their process ids once they take turns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(
            f"{dsn} {module} {concurrency}\n" * many, end="", file=self._process.stdin, flush=True
        )
        return [int(self._process.stdout.readline()) for _ in range(many)]

    def stop(self, workers: list[int]) -> None:
        """Stop some, and wait for their end."""
        assert self._process.stdout is not None
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        ended = {-int(self._process.stdout.readline()) for _ in workers}
        assert ended == {*workers}


@contextmanager
def forked_workers() -> Iterator[Workers]:
    """Workers until the end of the block."""
    environment = {key: text for key, text in os.environ.items() if "COVERAGE" not in key}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.workers"],
        cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield Workers(process)
        finally:
            process.communicate()


def main() -> None:
    """Fork workers; at the end of the input stop those that are left, and wait for them."""
    children: list[int] = []
    for line in sys.stdin:
        dsn, module, concurrency = line.split()
        made = import_module(module)
        child = os.fork()
        if child == 0:
            asyncio.run(_work(dsn, made, int(concurrency)))
            os.write(1, f"-{os.getpid()}\n".encode())
            os._exit(0)
        children.append(child)
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
    for child in children:
        os.waitpid(child, 0)


async def _work(dsn: str, made: ModuleType, concurrency: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = PostgresStore(dsn)
    runner = Runner(made.graph(), store=store, model=made.model())
    kind: type[Worker] = getattr(made, "Worker", Worker)
    worker = kind([runner], dsn, concurrency=concurrency, grace=5, log=_tell)
    await worker.run(stop)
    await store.close()


def _tell(event: str, facts: Mapping[str, object]) -> None:
    if event == "ready":
        os.write(1, f"{os.getpid()}\n".encode())
    elif event not in ("draining", "stopped"):
        os.write(2, f"{event} {dict(facts)}\n".encode())


if __name__ == "__main__":
    main()
