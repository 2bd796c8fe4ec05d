"""`python -m tests.stub`: the stub provider until it is interrupted."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

from .server import StubProvider


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stub")
    parser.add_argument("--port", type=int, default=8011)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before the first byte")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between chunks")
    options = parser.parse_args()
    stub = StubProvider(port=options.port, latency=options.latency, pause=options.pause)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(stub))


async def _serve(stub: StubProvider) -> None:
    async with stub:
        sys.stdout.write(f"stub provider on {stub.base_url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
