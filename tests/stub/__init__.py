"""A provider on loopback that speaks the OpenAI chat format, and fails on demand.

with StubProvider() as stub:
    stub.push("hello", StubAnswer(fault="429", retry_after=2))
    ask("openai/any", api_base=stub.base_url)
    assert stub.requests[0].messages[-1]["content"] == "..."

What it answers, the first that applies: what was pushed; what `handler` returns; what the name of
the model orders (`openai/stub?fault=500&times=2&latency=0.2`, where only the first `times` calls
fail), which a graph file can use; an instance of the schema that was asked for; a tool call where
one is forced; `echo: <the last user message>`. From a shell: `python -m tests.stub --port 8011`.
"""

from __future__ import annotations

from .answer import StubAnswer, StubRequest
from .client import ask, ask_all, wait_until
from .server import StubProvider

__all__ = ["StubAnswer", "StubProvider", "StubRequest", "ask", "ask_all", "wait_until"]
