"""Asking a model from a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from teamgraph import Chunk, Model, Reply, Request


async def ask_all(model: Model, request: Request) -> tuple[list[str], Reply]:
    """All pieces of text and the reply; fails if it is not the last thing, and the only one."""
    *pieces, reply = [part async for part in model.ask(request)]
    assert isinstance(reply, Reply)
    assert all(isinstance(piece, Chunk) for piece in pieces)
    return [piece.text for piece in pieces], reply


def ask(model: Model, request: Request) -> tuple[list[str], Reply]:
    """`ask_all` in a loop of its own."""
    return asyncio.run(ask_all(model, request))


async def wait_until(holds: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait for something that must come true; `TimeoutError` if it does not."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - it comes true in another thread
            await asyncio.sleep(0.005)
