"""What OpenAI's clients do against a server: `python talk.py ADDRESS TOKEN`.

It runs in an environment of its own, so it imports nothing of ours. The server has the graph
`echo`, whose answer is the message after `echo: `, and `bad`, which fails.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import openai

USER = "ada"
ASKED: Any = [{"role": "user", "content": "hi you"}]
ANSWER = "echo: hi you"


class Clients:
    """The clients of a server, and what each has to get of it."""

    def __init__(self, address: str, token: str) -> None:
        self.options: dict[str, Any] = {
            "base_url": f"{address}/v1",
            "api_key": token,
            "max_retries": 0,
        }

    def whole(self) -> None:
        """A completion, its usage and its raw response."""
        with openai.OpenAI(**self.options) as client:
            assert [each.id for each in client.models.list()] == ["echo", "bad"]
            raw = client.chat.completions.with_raw_response.create(
                model="echo", messages=ASKED, temperature=0.5
            )
            done = raw.parse()
            assert done.choices[0].message.content == ANSWER
            assert done.usage is not None
            assert done.usage.total_tokens > 0
            assert raw.headers["x-teamgraph-ignored"] == "temperature"

    def streamed(self) -> None:
        """The chunks of a completion, and the helper that adds them up."""
        with openai.OpenAI(**self.options) as client:
            chunks = client.chat.completions.create(model="echo", messages=ASKED, stream=True)
            texts = [each.choices[0].delta.content or "" for each in chunks]
            assert "".join(texts) == ANSWER
            assert len(texts) > 2
            with client.chat.completions.stream(model="echo", messages=ASKED) as stream:
                final = stream.get_final_completion()
            assert final.choices[0].message.content == ANSWER

    def asynchronous(self) -> None:
        """Whole and streamed, by several tasks at once."""

        async def talk(client: openai.AsyncOpenAI, number: int) -> None:
            asked: Any = [{"role": "user", "content": f"hi {number}"}]
            done = await client.chat.completions.create(model="echo", messages=asked)
            chunks = await client.chat.completions.create(model="echo", messages=asked, stream=True)
            texts = [each.choices[0].delta.content or "" async for each in chunks]
            assert done.choices[0].message.content == "".join(texts) == f"echo: hi {number}"

        async def all_at_once() -> None:
            async with openai.AsyncOpenAI(**self.options) as client:
                await asyncio.gather(*(talk(client, number) for number in range(8)))

        asyncio.run(all_at_once())

    def responses(self) -> None:
        """A thread of responses, whole and streamed."""
        with openai.OpenAI(**self.options) as client:
            first = client.responses.create(model="echo", input="hi you", user=USER)
            assert first.output_text == ANSWER
            with client.responses.stream(
                model="echo", input="again", user=USER, previous_response_id=first.id
            ) as stream:
                assert stream.until_done().get_final_response().output_text == "echo: again"
            shown = client.responses.retrieve(first.id, extra_query={"user": USER})
            assert shown.output_text == ANSWER

    def errors(self) -> None:
        """The classes of errors, their codes and their texts."""
        with openai.OpenAI(**{**self.options, "api_key": "wrong"}) as stranger:
            _fails(openai.AuthenticationError, "token", stranger.models.list)
        with openai.OpenAI(**self.options) as client:
            ask = client.chat.completions.create
            _fails(openai.NotFoundError, "'echo'", lambda: ask(model="eco", messages=ASKED))
            _fails(openai.BadRequestError, "n:", lambda: ask(model="echo", messages=ASKED, n=2))
            _fails(openai.APIStatusError, "oh no", lambda: ask(model="bad", messages=ASKED))
            stream = ask(model="bad", messages=ASKED, stream=True)
            _fails(openai.APIError, "oh no", lambda: list(stream))

    def langchain(self) -> None:
        """`ChatOpenAI`: whole, streamed, async, with history and with the usage."""
        from langchain_openai import ChatOpenAI  # noqa: PLC0415  the suite's environment has none

        model = ChatOpenAI(model="echo", **self.options)
        done = model.invoke([("user", "hello"), ("assistant", "Hello!"), ("user", "hi you")])
        assert done.content == ANSWER
        assert done.usage_metadata["total_tokens"] > 0
        assert "".join(str(each.content) for each in model.stream("hi you")) == ANSWER
        assert asyncio.run(model.ainvoke("hi you")).content == ANSWER
        assert [each.content for each in model.batch(["a", "b"])] == ["echo: a", "echo: b"]
        through_responses = ChatOpenAI(model="echo", use_responses_api=True, **self.options)
        assert through_responses.invoke("hi you").text == ANSWER
        tools = model.bind_tools([{"type": "function", "function": {"name": "f"}}])
        _fails(openai.BadRequestError, "tools", lambda: tools.invoke("hi"))


OF_OPENAI = ("whole", "streamed", "asynchronous", "responses", "errors")


def _fails(error: type[Exception], text: str, call: Callable[[], object]) -> None:
    told = "nothing"
    try:
        call()
    except error as caught:
        told = str(caught)
    assert text in told, told


if __name__ == "__main__":
    clients = Clients(*sys.argv[1:3])
    for name in (*OF_OPENAI, "langchain"):
        getattr(clients, name)()
        package = "langchain-openai" if name == "langchain" else "openai"
        print(f"{package} {version(package)}: {name} works", flush=True)
