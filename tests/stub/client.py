"""Asking a model from a test, and requests that go to the stub provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from teamgraph import JSON, Chunk, Message, Model, Reply, Request
from teamgraph.engine.blocking import run_blocking
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph.errors import ModelError

from .server import StubProvider

SECRET = "sk-very-secret-0123456789"  # noqa: S105 - the stub takes any
HELLO = (Message(role="user", content="hello world, how are you today"),)


async def ask_all(model: Model, request: Request) -> tuple[list[str], Reply]:
    """All texts and the reply; fails unless the reply is the last thing, and the only one."""
    *chunks, reply = [part async for part in model.ask(request)]
    assert isinstance(reply, Reply)
    assert all(isinstance(chunk, Chunk) for chunk in chunks)
    return [chunk.text for chunk in chunks], reply


def ask(model: Model, request: Request) -> tuple[list[str], Reply]:
    """`ask_all` in the loop of the synchronous methods, so that litellm's clients are shared."""
    return run_blocking(ask_all(model, request))


def request_to(
    stub: StubProvider,
    model: str = "openai/stub",
    messages: tuple[Message, ...] = HELLO,
    **parameters: JSON,
) -> Request:
    """A request that the stub answers, with its key in the variable STUB_KEY."""
    endpoint: dict[str, JSON] = {"api_base": stub.base_url, "api_key_env": "STUB_KEY"}
    return Request(model, messages, parameters=endpoint | parameters)


def failure(request: Request) -> ModelError:
    """What litellm's adapter raises for a request that must fail."""
    with pytest.raises(ModelError) as caught:
        ask(LiteLLM(), request)
    return caught.value


async def wait_until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait for something that must become true; `TimeoutError` if it does not."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it becomes true in another thread
            await asyncio.sleep(0.005)


async def cancelled_in_flight(stub: StubProvider, request: Request) -> None:
    """Cancel a request that the stub has and does not answer; its connection must be closed."""
    task = asyncio.create_task(ask_all(LiteLLM(), request))
    await wait_until(lambda: stub.in_flight == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: stub.in_flight == 0)
