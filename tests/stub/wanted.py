"""Requests to the stub provider, and the errors that come of them."""

from __future__ import annotations

import pytest

from teamgraph import JSON, Message, Request
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph.errors import ModelError

from .asking import ask
from .server import StubProvider

SECRET = "sk-very-secret-0123456789"  # noqa: S105 - the stub takes any
HELLO = (Message(role="user", content="hello world, how are you today"),)


def to(
    stub: StubProvider,
    model: str = "openai/stub",
    messages: tuple[Message, ...] = HELLO,
    **parameters: JSON,
) -> Request:
    """A request that the stub answers, with its key in the variable STUB_KEY."""
    given: dict[str, JSON] = {"api_base": stub.base_url, "api_key_env": "STUB_KEY"}
    return Request(model, messages, parameters=given | parameters)


def failure(request: Request) -> ModelError:
    """What litellm's adapter raises for a request that must fail."""
    with pytest.raises(ModelError) as caught:
        ask(LiteLLM(), request)
    return caught.value
