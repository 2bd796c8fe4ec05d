"""Clients that need a socket: the official one of MCP, litellm, curl, and one that is cancelled."""

# ruff: noqa: ANN401  clients give what they like
from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from threading import Event as ThreadEvent
from typing import Any

import httpx
import httpx2
import openai
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from teamgraph import Chunk, Graph, MemoryStore, Reply, Request, Runner, ScriptedModel
from teamgraph.errors import InputError
from teamgraph.nodes import HistoryLoader, Member, Python
from teamgraph.server import create_app, mcp_server
from tests.engine.server.conftest import ASKS, TOKEN
from tests.engine.server.running import running
from tests.teams import wait_for, words_of

CHAT = Graph(
    name="team chat",
    description="Talks about everything",
    model="m",
    nodes={"history": HistoryLoader(), "member": Member()},
    output=["member"],
)


def fail(message: str) -> str:
    raise ValueError(f"oh no: {message}")


BAD = Graph(name="bad", nodes={"bad": Python(call=fail)}, output=["bad"])
GRAPHS = [CHAT, ASKS, BAD]
MESSAGES: Any = [{"role": "user", "content": "hi"}]


async def called(client: Client, tool: str, **arguments: Any) -> tuple[str, bool]:
    found: Any = await client.call_tool(tool, arguments)
    return found.content[0].text, bool(found.is_error)


async def use_tools(client: Client) -> None:
    """What the tools of the graphs do, over any transport."""
    tools = {each.name: each for each in (await client.list_tools()).tools}
    assert list(tools) == ["team_chat", "asks", "bad"]
    assert tools["team_chat"].description == "Talks about everything"
    assert tools["asks"].description == "Asks the team 'asks', and returns its answer."
    assert tools["asks"].input_schema["required"] == ["message"]
    first, _ = await called(client, "team_chat", message="one", session_id="s")
    again, _ = await called(client, "team_chat", message="two", session_id="s")
    alone, _ = await called(client, "team_chat", message="two")
    assert again.endswith(f"one\n{first}\ntwo")
    assert "one" not in alone
    text, is_error = await called(client, "asks", message="hi")
    assert is_error
    assert "session_id" in text
    assert await called(client, "asks", message="hi", session_id="s") == ("May I? (yes/no)", False)
    text, is_error = await called(client, "asks", message="yes", session_id="s")
    assert text.endswith("hi")
    text, is_error = await called(client, "bad", message="hi")
    assert is_error
    assert "oh no: hi" in text


def test_each_graph_is_a_tool_of_an_mcp_server() -> None:
    async def use() -> None:
        async with Client(mcp_server(GRAPHS, model=ScriptedModel(words_of))) as client:
            await use_tools(client)

    wait_for(use())


def test_graphs_of_one_tool_name_are_refused() -> None:
    other = Graph(name="team-chat", nodes=CHAT.nodes, model="m", output=["member"])
    assert mcp_server([CHAT, other])
    same = Graph(name="team_chat", nodes=CHAT.nodes, model="m", output=["member"])
    with pytest.raises(InputError, match=r"'team chat' and 'team_chat' would be one tool"):
        mcp_server([CHAT, same])


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "teamgraph.engine.server.mcp_server", raising=False)
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    with pytest.raises(InputError, match=r"pip install \"teamgraph\[mcp\]\""):
        create_app([CHAT], mcp=True)


def test_an_mcp_client_calls_them_over_http_as_its_user() -> None:
    store = MemoryStore()

    async def use(address: str, user: str) -> None:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx2.AsyncClient(headers={"X-User": user}))
            transport = streamable_http_client(f"{address}/mcp", http_client=http)
            await use_tools(await stack.enter_async_context(Client(transport)))

    app = create_app(
        GRAPHS,
        store=store,
        model=ScriptedModel(words_of),
        auth=lambda request: request.headers.get("x-user"),
        mcp=True,
    )
    with running(app) as address:
        wait_for(use(address, "ana"))
    runner = Runner(CHAT, store=store)
    assert [each.key.session_id for each in runner.sessions("ana")] == ["s"]
    assert runner.sessions() == []


def test_litellm_is_a_client_so_a_team_can_be_the_model_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEAM_KEY", TOKEN)
    app = create_app([CHAT], token=TOKEN, model=ScriptedModel(words_of))
    with running(app) as address:
        spec = {"id": "openai/team chat", "api_base": f"{address}/v1", "api_key_env": "TEAM_KEY"}
        outer = Graph(name="outer", model=spec, nodes={"member": Member(role="Ask")})
        runner = Runner(outer)
        whole = runner.run("hello")
        streamed = [
            event.text for event in runner.stream("hello") if type(event).__name__ == "Token"
        ]
    assert (whole.answer or "").endswith("hello")
    assert "".join(streamed) == whole.answer


def client_at(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=TOKEN, max_retries=0)


class Endless:
    """A model that says a word, and then nothing until the run is cancelled."""

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        del request
        yield Chunk("word")
        await asyncio.Event().wait()


def test_a_stream_of_a_run_that_somebody_cancels_ends_with_an_error() -> None:
    app = create_app([CHAT], token=TOKEN, model=Endless())
    with running(app) as address, client_at(address) as client:
        options: Any = {"metadata": {"session_id": "s"}, "stream": True}
        raw: Any = client.chat.completions.with_raw_response.create(
            model="team chat", messages=MESSAGES, **options
        )
        chunks = raw.parse()
        assert [next(chunks).choices[0].delta.content for _ in range(2)] == ["", "word"]
        run_id = raw.headers["x-run-id"]
        client.post(f"{address}/api/runs/{run_id}/cancel", cast_to=object, body={})
        with pytest.raises(openai.APIError, match="cancelled"):
            next(chunks)


def test_a_front_end_is_told_that_its_run_was_cancelled() -> None:
    asked = {"threadId": "t", "runId": "r", "messages": [{**MESSAGES[0], "id": "1"}]}
    asked |= {"tools": [], "context": [], "state": {}, "forwardedProps": {}}
    app = create_app([CHAT], token=TOKEN, model=Endless())
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with running(app) as address, httpx.Client(base_url=address, headers=headers) as client:  # noqa: SIM117  three lines else
        with client.stream("POST", "/agui/team chat", json=asked) as answer:
            lines = answer.iter_lines()
            assert any("TEXT_MESSAGE_CONTENT" in line for line in lines)
            client.post("/api/runs/r/cancel", json={})
            told = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert told[-1]["type"] == "RUN_FINISHED"
    assert told[-1]["outcome"] == {"type": "cancelled"}


def test_a_client_that_leaves_cancels_its_run() -> None:
    ended = ThreadEvent()

    class Watched(Endless):
        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            try:
                async for each in super().ask(request):
                    yield each
            finally:
                ended.set()

    app = create_app([CHAT], token=TOKEN, model=Watched())
    with running(app) as address, client_at(address) as client:
        with client.chat.completions.create(
            model="team chat", messages=MESSAGES, stream=True
        ) as stream:
            next(stream)
        assert ended.wait(30)


@pytest.mark.skipif(
    shutil.which("curl") is None,
    reason="curl is not installed; the tests above stream with the official client",
)
def test_curl_shows_the_chunks_of_a_stream() -> None:
    app = create_app([CHAT], token=TOKEN, model=ScriptedModel(["hello you"]))
    with running(app) as address:
        words = ["curl", "-sN", f"{address}/v1/chat/completions"]
        words += ["-H", f"Authorization: Bearer {TOKEN}", "--json"]
        body = {"model": "team chat", "stream": True, "messages": MESSAGES}
        words.append(json.dumps(body))
        told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout
    lines = told.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert '"content":"hello "' in lines[1]
