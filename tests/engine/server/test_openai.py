"""OpenAI's clients against the server: chat completions and responses."""

# ruff: noqa: ANN401  clients pass what they like
from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from typing import Any

import httpx
import openai
import pytest

from teamgraph import Graph, MemoryStore, Request, Runner, ScriptedModel
from teamgraph.nodes import HistoryLoader, Member, Python, Summarizer
from teamgraph.server import Limits, create_app
from tests.engine.server.conftest import ASKS, DUO, TOKEN, Serve
from tests.teams import words_of

CHAT = Graph(
    name="chat",
    model="m",
    nodes={"history": HistoryLoader(runs=3), "member": Member()},
    output=["member"],
)
BRIEF = Graph(
    name="brief",
    model="m",
    nodes={
        "history": HistoryLoader(runs=3),
        "member": Member(
            prompt="{% system %}\n{{ (input.system or '') | fence('rules') }}\n{% endsystem %}\n"
            "{% messages history.messages %}\n{% user %}\n{{ input.message }}\n{% enduser %}"
        ),
    },
    output=["member"],
)
FORM = Graph(name="form", model="m", nodes={"member": Member(returns={"city": "str"})})


def repeat(request: Request) -> str:
    """What the model was asked, as its answer."""
    return words_of(request)


def client_of(served: Any, **options: Any) -> openai.OpenAI:
    """The official client, of an app in this process."""
    return openai.OpenAI(
        base_url="http://testserver/v1",
        api_key=options.pop("api_key", TOKEN),
        http_client=served.client,
        max_retries=0,
        **options,
    )


def user(*texts: Any) -> Any:
    """Messages of user and assistant by turns."""
    roles = ["user", "assistant"] * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


@pytest.fixture
def served(serve: Serve) -> Any:
    return serve(CHAT, BRIEF, ASKS, FORM, DUO, model=ScriptedModel(repeat))


@pytest.fixture
def client(served: Any) -> openai.OpenAI:
    return client_of(served)


def chat(client: openai.OpenAI, messages: Any, model: str = "chat", **options: Any) -> Any:
    return client.chat.completions.with_raw_response.create(
        model=model, messages=messages, **options
    )


def answer(raw: Any) -> Any:
    return raw.parse().choices[0].message.content


def test_every_graph_is_a_model(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["chat", "brief", "asks", "form", "duo"]
    assert client.models.retrieve("chat").owned_by == "teamgraph"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("chaat")
    assert "did you mean 'chat'?" in caught.value.message


def test_a_whole_completion_has_usage_and_ids(client: openai.OpenAI) -> None:
    raw = chat(client, user("hello"))
    done = raw.parse()
    assert done.object == "chat.completion"
    assert done.model == "chat"
    assert done.choices[0].finish_reason == "stop"
    assert done.choices[0].message.content.endswith("hello")
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0
    assert done.id == f"chatcmpl-{raw.headers['x-run-id']}"
    assert "x-teamgraph-ignored" not in raw.headers


def test_a_stream_gives_the_same_with_the_usage_at_its_end(client: openai.OpenAI) -> None:
    whole = answer(chat(client, user("hello")))
    stream = client.chat.completions.create(
        model="chat",
        messages=user("hello"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(each.choices[0].delta.content or "" for each in chunks[:-1]) == whole
    assert [each.choices[0].finish_reason for each in chunks[:-1]][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0
    with client.chat.completions.stream(model="chat", messages=user("hello")) as helper:
        assert helper.get_final_completion().choices[0].message.content == whole


def test_the_messages_before_the_last_are_the_history(client: openai.OpenAI) -> None:
    said = user("one", "1", "two", "2", "three")
    assert answer(chat(client, said)).endswith("one\n1\ntwo\n2\nthree")
    assert answer(chat(client, user("four"))).endswith("\nfour")  # nothing was kept


def test_a_session_goes_on_by_itself(client: openai.OpenAI, served: Any) -> None:
    first = chat(client, user("one"), user="ana", metadata={"session_id": "s"})
    again = chat(client, user("x", "y", "two"), user="ana", extra_headers={"X-Session-Id": "s"})
    assert first.headers["x-session-id"] == again.headers["x-session-id"] == "s"
    assert answer(again).endswith(f"one\n{answer(first)}\ntwo")
    assert again.headers["x-teamgraph-ignored"] == "history"
    other = chat(client, user("two"), user="eva", metadata={"session_id": "s"})
    assert "one" not in answer(other)


def test_a_system_message_is_for_templates_that_read_it(client: openai.OpenAI) -> None:
    rules: Any = [{"role": "system", "content": "Be"}, {"role": "developer", "content": "brief"}]
    brief = chat(client, [*rules, *user("hi")], "brief")
    assert "<rules>\nBe\n\nbrief\n</rules>" in answer(brief)
    assert "x-teamgraph-ignored" not in brief.headers
    other = chat(client, [*rules, *user("hi")])
    assert "brief" not in answer(other)
    assert other.headers["x-teamgraph-ignored"] == "system"


TOOL_TALK: Any = [
    {"role": "assistant", "content": "Welcome!"},
    {"role": "user", "content": [{"type": "text", "text": "one"}]},
    {"role": "user", "content": "more"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "secret"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    {"role": "user", "content": "two"},
]


def test_what_a_graph_has_no_use_for_is_ignored_by_name(client: openai.OpenAI) -> None:
    options: Any = {"temperature": 0.5, "stop": ["x"], "extra_body": {"a\nb": 1, "c d": 2}}
    raw = chat(client, TOOL_TALK, tools=[], n=1, seed=None, **options)
    assert answer(raw).endswith("one\n\nmore\nno\ntwo")
    ignored = "stop, temperature, ..., ..., messages[0], messages[3].tool_calls, messages[4]"
    assert raw.headers["x-teamgraph-ignored"] == ignored


PNG = b64encode(b"\x89PNG\r\n\x1a\n...").decode()
DATA_URL = f"data:image/png;base64,{PNG}"
PDF = b64encode(b"%PDF-...").decode()
PARTS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "image": ({"image_url": {"url": DATA_URL}}, ("attachment.png", "image/png")),
    "address": ({"image_url": {"url": "https://e.com/a.webp"}}, ("a.webp", "image/webp")),
    "signed address": ({"image_url": {"url": "https://e.com/"}}, ("attachment", "image/jpeg")),
    "audio": ({"input_audio": {"data": PNG, "format": "mp3"}}, ("audio.mp3", "audio/mpeg")),
    "file": (
        {"file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        ("a.pdf", "application/pdf"),
    ),
    "base64": (
        {"file": {"filename": "a.pdf", "file_data": PDF}},
        ("a.pdf", "application/pdf"),
    ),
    "litellm's": ({"file": {"file_id": "https://e.com/a.pdf"}}, ("a.pdf", "application/pdf")),
    "response's image": (
        {"type": "input_image", "image_url": DATA_URL},
        ("attachment.png", "image/png"),
    ),
    "response's file": (
        {"type": "input_file", "file_url": "https://e.com/a.pdf"},
        ("a.pdf", "application/pdf"),
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_what_comes_with_the_last_message_is_attached(serve: Serve, name: str) -> None:
    part, expected = PARTS[name]
    part = {"type": next(iter(part)), **part}
    model = ScriptedModel(repeat)
    client = client_of(serve(CHAT, model=model))
    if part["type"] in ("input_image", "input_file"):
        sent: Any = user([{"type": "input_text", "text": "What?"}, part])
        client.responses.create(model="chat", input=sent)
    else:
        raw = chat(client, user([part], "One.", [{"type": "text", "text": "What?"}, part]))
        assert raw.headers["x-teamgraph-ignored"] == "messages[0].content[0]"
    (attached,) = model.requests[0].messages[-1].parts
    assert (attached.name, attached.media_type) == expected


TOOLS = [{"type": "function", "function": {"name": "f"}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
EMPTY = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]
PATH = [{"type": "input_file", "file_url": "/etc/passwd", "filename": "a.pdf"}]
STORED = [{"type": "file", "file": {"file_id": "file-1"}}]
BROKEN = [{"type": "image_url", "image_url": {"url": "http://["}}]
NAMELESS = [{"type": "input_file", "file_url": "https://e.com/"}]
IMAGE = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
VIDEO = [{"type": "video_url", "video_url": {"url": DATA_URL}}]


@pytest.mark.parametrize(
    ("changed", "param", "reason"),
    [
        ({"n": 2}, "n", "one answer"),
        ({"tools": TOOLS}, "tools", "declare them in the graph"),
        ({"functions": TOOLS}, "functions", "declare them in the graph"),
        ({"response_format": SCHEMA}, "response_format", "declare `returns`"),
        ({"messages": []}, "messages", "the last one must be the user's; there is none"),
        ({"messages": user("a", "b")}, "messages", "the last one must be the user's"),
        ({"messages": user(" ")}, None, "the message is empty"),
        ({"messages": [{"role": "boss", "content": "x"}, *user("a")]}, "messages[0].role", "boss"),
        ({"messages": user(EMPTY)}, "messages[0].content[0]", "is empty; leave it out"),
        ({"messages": user(PATH)}, "messages[0].content[0]", "'/etc/passwd' is no data:, http"),
        ({"messages": user(STORED)}, "messages[0].content[0]", "no files are kept here"),
        ({"messages": user(BROKEN)}, "messages[0].content[0]", "Invalid IPv6"),
        ({"messages": user(NAMELESS)}, "messages[0].content[0]", "its media type is unknown"),
        ({"messages": user(VIDEO)}, "messages[0].content[0]", "'video_url' is not taken here"),
        ({"messages": user(IMAGE), "model": "brief"}, "messages[0].content[1]", "{% attach input"),
        ({"metadata": {"session_id": ""}}, "metadata.session_id", "not empty"),
        (
            {"metadata": {"session_id": "a"}, "extra_headers": {"X-Session-Id": "b"}},
            "metadata.session_id",
            "names another one",
        ),
        ({"model": "asks"}, "metadata.session_id", "only a session can wait"),
        ({"messages": 7}, None, "messages"),
    ],
)
def test_what_is_refused_has_its_parameter_and_a_reason(
    client: openai.OpenAI, changed: Any, param: str | None, reason: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "chat", "messages": user("hi"), **changed})
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param
    assert reason in caught.value.message


def test_errors_are_those_that_the_client_knows(served: Any, serve: Serve) -> None:
    with pytest.raises(openai.AuthenticationError):
        chat(client_of(served, api_key="wrong"), user("hi"))
    with pytest.raises(openai.NotFoundError) as caught:
        chat(client_of(served), user("hi"), "chatt")
    assert caught.value.code == "not_found"
    failing = Graph(name="t", nodes={"bad": Python(call=fail)}, output=["bad"])
    client = client_of(serve(failing))
    with pytest.raises(openai.InternalServerError) as failed:
        chat(client, user("hi"), "t")
    assert failed.value.response.headers["x-should-retry"] == "false"
    assert failed.value.response.headers["x-request-id"] == failed.value.request_id
    with pytest.raises(openai.APIError, match="oh no"):
        list(client.chat.completions.create(model="t", messages=user("hi"), stream=True))


def fail(message: str) -> str:
    raise ValueError(f"oh no: {message}")


@pytest.mark.parametrize("stream", [False, True])
def test_a_person_is_asked_and_answers_in_the_chat(client: openai.OpenAI, stream: bool) -> None:
    def say(text: str) -> Any:
        options: Any = {"metadata": {"session_id": "s"}, "stream": stream}
        raw = chat(client, user(text), "asks", **options)
        if not stream:
            return answer(raw)
        return "".join(each.choices[0].delta.content or "" for each in raw.parse())

    assert say("do it") == "May I? (yes/no)"
    with pytest.raises(openai.BadRequestError, match="did you mean 'yes'"):
        say("yess")
    assert say("YES").endswith("do it")
    assert say("do it") == "May I? (yes/no)"


def test_what_comes_with_an_answer_to_a_question_is_ignored_by_name(client: openai.OpenAI) -> None:
    options: Any = {"metadata": {"session_id": "s"}}
    chat(client, user("do it"), "asks", **options)
    sent = [{"type": "text", "text": "yes"}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
    raw = chat(client, user(sent), "asks", **options)
    assert answer(raw).endswith("do it")
    assert raw.headers["x-teamgraph-ignored"] == "messages[0].content[1]"


def test_a_model_that_takes_no_image_is_named(serve: Serve) -> None:
    with pytest.raises(openai.InternalServerError, match="model echo takes no image"):
        chat(client_of(serve(DUO, model=None)), user(IMAGE), "duo")


def test_a_graph_that_answers_in_json_takes_a_form(serve: Serve) -> None:
    client = client_of(serve(FORM, model=ScriptedModel([{"city": "Rome"}] * 2)))
    raw = chat(client, user("where?"), "form", response_format={"type": "json_object"})
    assert answer(raw) == '{"city": "Rome"}'
    text: Any = {"format": {"type": "json_object"}}
    assert client.responses.create(model="form", input="where?", text=text).output_text


def test_responses_are_a_thread(client: openai.OpenAI) -> None:
    first: Any = client.responses.create(model="chat", input="one", user="ana")
    assert first.output_text.endswith("\none")
    assert first.status == "completed"
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens
    second = client.responses.create(
        model="chat", input=user("two"), user="ana", previous_response_id=first.id
    )
    assert second.output_text.endswith(f"one\n{first.output_text}\ntwo")
    assert second.previous_response_id == first.id
    shown = client.responses.retrieve(second.id, extra_query={"user": "ana"})
    assert shown.output_text == second.output_text
    with pytest.raises(openai.BadRequestError, match=re.escape(second.id)) as caught:
        client.responses.create(model="chat", input="x", user="ana", previous_response_id=first.id)
    assert caught.value.code == "not_the_last_response"
    for stranger in ("eva", openai.omit):
        with pytest.raises(openai.NotFoundError, match="there is no response"):
            client.responses.create(
                model="chat", input="x", user=stranger, previous_response_id=second.id
            )


def test_a_response_that_failed_is_no_part_of_its_thread(serve: Serve) -> None:
    graph = Graph(name="t", nodes={"bad": Python(call=fail_once)}, output=["bad"])
    client = client_of(serve(graph))
    first = client.responses.create(model="t", input="fine")
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="t", input="bad", previous_response_id=first.id)
    again = client.responses.create(model="t", input="fine", previous_response_id=first.id)
    assert again.output_text == "fine"


def fail_once(message: str) -> str:
    return fail(message) if message == "bad" else message


def test_a_response_that_is_not_kept_cannot_be_continued(client: openai.OpenAI) -> None:
    given = client.responses.create(
        model="brief", input=[*user("one", "1"), *user("two")], instructions="Be brief"
    )
    assert "<rules>\nBe brief\n</rules>" in given.output_text
    assert given.output_text.endswith("one\n1\ntwo")
    other = client.responses.create(model="chat", input="one", store=False)
    item: Any = {"type": "reasoning", "id": "r", "summary": []}
    ignored = client.responses.create(model="chat", input=[*user("a", "b"), item, *user("c")])
    assert ignored.output_text.endswith("a\nb\nc")
    for each in (given, other, ignored):
        assert each.to_dict()["store"] is False
        with pytest.raises(openai.NotFoundError, match="that was kept"):
            client.responses.create(model="chat", input="x", previous_response_id=each.id)


@pytest.mark.parametrize(
    ("options", "param"),
    [({"background": True}, "background"), ({"text": {"format": SCHEMA}}, "text.format")],
)
def test_what_a_response_cannot_be_is_refused(
    client: openai.OpenAI, options: Any, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="chat", input="x", **options)
    assert caught.value.param == param


def test_a_streamed_response_has_every_frame_that_the_helper_needs(
    client: openai.OpenAI, serve: Serve
) -> None:
    with client.responses.stream(model="chat", input="one") as stream:
        names = [event.type.removeprefix("response.") for event in stream]
        final = stream.get_final_response()
    assert final.output_text.endswith("\none")
    assert list(dict.fromkeys(names)) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert client.responses.retrieve(final.id).output_text == final.output_text
    failing = client_of(serve(Graph(name="t", nodes={"bad": Python(call=fail)}, output=["bad"])))
    events = list(failing.responses.create(model="t", input="x", stream=True))
    assert events[-1].type == "response.failed"
    assert "oh no" in events[-1].response.error.message  # type: ignore[union-attr]  # it failed


def test_a_waiting_thread_is_answered_by_the_next_input(client: openai.OpenAI) -> None:
    asked = client.responses.create(model="asks", input="do it")
    assert asked.output_text == "May I? (yes/no)"
    done = client.responses.create(model="asks", input="yes", previous_response_id=asked.id)
    assert done.output_text.endswith("do it")


def test_ten_turns_by_the_client_are_kept_as_those_of_a_runner(serve: Serve) -> None:
    nodes = {**CHAT.nodes, "summary": Summarizer(needs=["member"])}
    graph = Graph(name="chat", model="m", nodes=nodes, output=["member"])

    def said(request: Request) -> Any:
        text = str(len(words_of(request)))
        return text if request.schema is None else {"summary": text, "topics": [text]}

    by_client, by_runner = MemoryStore(), MemoryStore()
    client = client_of(serve(graph, store=by_client, model=ScriptedModel(said)))
    runner = Runner(graph, store=by_runner, model=ScriptedModel(said))
    for number in range(10):
        options: Any = {"stream": number % 2 == 1, "metadata": {"session_id": "s"}}
        got = chat(client, user(f"turn {number}"), user="ana", **options).parse()
        if number % 2:
            assert list(got)
        runner.run(f"turn {number}", user_id="ana", session_id="s")
    served = Runner(graph, store=by_client).session("s", user_id="ana").export()
    assert without_times(served) == without_times(runner.session("s", user_id="ana").export())


def without_times(value: Any, ids: dict[str, str] | None = None) -> Any:
    """A value without times, and with ids by the order in which they occur."""
    ids = {} if ids is None else ids
    if isinstance(value, dict):
        return {
            without_times(key, ids): without_times(each, ids)
            for key, each in value.items()
            if key not in ("started", "ended", "updated", "asked")
        }
    if isinstance(value, list):
        return [without_times(each, ids) for each in value]
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value):
        return ids.setdefault(value, f"id {len(ids)}")
    return value


def test_users_who_talk_at_once_never_meet() -> None:
    app = create_app(
        [CHAT],
        store=MemoryStore(),
        model=ScriptedModel(repeat),
        hosts=["testserver"],
        limits=Limits(at_once=0, per_minute=0),
    )
    transport = httpx.ASGITransport(app)
    mine = openai.AsyncOpenAI(
        base_url="http://testserver/v1",
        api_key="none",
        max_retries=0,
        http_client=httpx.AsyncClient(transport=transport),
    )

    async def talk(number: int) -> None:
        nonce = f"nonce-{number}-"
        for turn in range(3):
            options: Any = {"user": f"user {number}", "metadata": {"session_id": "s"}}
            got = await mine.chat.completions.create(
                model="chat", messages=user(f"{nonce}{turn}"), **options
            )
            text = got.choices[0].message.content or ""
            assert set(re.findall(r"nonce-\d+-", text)) == {nonce}
            assert all(f"{nonce}{earlier}" in text for earlier in range(turn + 1))
        history = user(f"{nonce}a", "b", f"{nonce}c")
        stream = await mine.chat.completions.create(model="chat", messages=history, stream=True)
        text = "".join([each.choices[0].delta.content or "" async for each in stream])
        assert set(re.findall(r"nonce-\d+-\w", text)) == {f"{nonce}a", f"{nonce}c"}

    async def all_at_once() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(talk(number))

    asyncio.run(all_at_once())
