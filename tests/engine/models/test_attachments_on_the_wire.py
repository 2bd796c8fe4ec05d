"""What is attached, as providers get it: real HTTP, the real litellm."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from pathlib import Path

import pytest
from msgspec.structs import replace

from teamgraph import (
    Attachment,
    EchoModel,
    Graph,
    Message,
    ModelSpec,
    Recorder,
    Replay,
    Request,
    Runner,
    ScriptedModel,
)
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph.errors import NodeError, ReplayMiss
from teamgraph.nodes import Member
from tests.stub import StubProvider, ask
from tests.stub.client import request_to

pytestmark = pytest.mark.usefixtures("_keys")

PNG = Attachment(name="cat.png", data=b"\x89PNG")
MP3 = Attachment(name="words.mp3", data=b"ID3")
WAV = Attachment(name="words.wav", data=b"RIFF")
PDF = Attachment(name="a.pdf", data=b"%PDF")
LINK = Attachment(name="b.png", url="https://x.example/b.png")
TEXT = {"type": "text", "text": "look"}


def base64(attachment: Attachment) -> str:
    return b64encode(attachment.data or b"").decode()


def part(attachment: Attachment) -> dict[str, object]:
    """An attachment in OpenAI's format."""
    kind, url = attachment.media_type.partition("/")[0], attachment.url
    if kind == "image":
        url = url or f"data:image/png;base64,{base64(attachment)}"
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "audio":
        form = attachment.name.rpartition(".")[2]
        return {"type": "input_audio", "input_audio": {"data": base64(attachment), "format": form}}
    data = f"data:application/pdf;base64,{base64(attachment)}"
    return {"type": "file", "file": {"filename": attachment.name, "file_data": data}}


@pytest.mark.parametrize("given", [PNG, LINK, MP3, WAV, PDF])
def test_an_attachment_is_sent_in_the_provider_s_form(
    stub: StubProvider, given: Attachment
) -> None:
    model = ModelSpec(id="openai/stub", api_base=stub.base_url)
    Runner(Graph(name="g", model=model, nodes={"a": Member()})).run("look", attachments=[given])
    assert stub.requests[0].messages[-1] == {"role": "user", "content": [TEXT, part(given)]}


def test_messages_with_attachments_are_joined_and_never_left_out(stub: StubProvider) -> None:
    parts = (PNG.part, LINK.part)
    messages = (
        Message(role="user", content="", parts=parts[:1]),
        Message(role="user", content="look", cache=True, parts=parts[1:]),
    )
    request = replace(
        request_to(stub), messages=messages, attachments={PNG.part.sha256: PNG.data or b""}
    )
    for model in ("openai/stub", "openai/claude-like"):
        ask(LiteLLM(), replace(request, model=model))
    marked = {**TEXT, "cache_control": {"type": "ephemeral"}}
    for sent, text in zip(stub.requests, (TEXT, marked), strict=True):
        [message] = sent.messages
        first, image, linked = message["content"]
        assert (first["type"], first["text"]) == ("text", text["text"])
        assert image == part(PNG)
        assert linked == part(LINK)
    assert "cat.png" not in json.dumps([each.body for each in stub.requests])


@pytest.mark.parametrize(
    ("model", "given", "kind"),
    [
        ("openai/gpt-3.5-turbo", PNG, "images"),
        ("openai/gpt-4o", MP3, "audio"),
        ("openai/gpt-3.5-turbo", PDF, "files of the type application/pdf"),
        ("openai/gpt-4o", Attachment(name="a.mp4", data=b"x"), "video"),
    ],
)
def test_a_model_that_litellm_says_is_blind_is_refused_before_any_call(
    model: str, given: Attachment, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    runner = Runner(Graph(name="g", model=model, nodes={"a": Member()}))
    with pytest.raises(NodeError, match=f"model {model} takes no {kind}, and member.jinja attach"):
        runner.run("look", attachments=[given])


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("openai/gpt-4o", PNG),
        ("gemini/gemini-2.5-flash", MP3),
        ("openai/a-model-that-litellm-does-not-know", PDF),
    ],
)
def test_a_model_that_may_take_it_is_not_refused(model: str, given: Attachment) -> None:
    assert asyncio.run(LiteLLM().takes(Request(model, ()), given.part))


def test_a_url_is_never_fetched_here(stub: StubProvider) -> None:
    """litellm would fetch a document for a provider that takes no URL of one."""
    link = Attachment(name="c.pdf", url=f"{stub.base_url}/c.pdf")
    model = ModelSpec(id="openai/stub", api_base=stub.base_url)
    runner = Runner(Graph(name="g", model=model, nodes={"a": Member()}))
    with pytest.raises(NodeError, match="takes no URL of an attachment; attach the file, or its"):
        runner.run("look", attachments=[link])
    assert stub.requests == []


def test_a_recording_has_the_hash_and_a_replay_wants_the_same(tmp_path: Path) -> None:
    graph = Graph(name="g", nodes={"a": Member()})
    recorder = Recorder(tmp_path, ScriptedModel("a cat"))
    Runner(graph, model=recorder).run("look", attachments=[PNG])
    [file] = tmp_path.iterdir()
    assert PNG.part.sha256 in file.read_text()
    assert base64(PNG) not in file.read_text()
    assert Runner(graph, model=Replay(tmp_path)).run("look", attachments=[PNG]).answer == "a cat"
    with pytest.raises(NodeError) as other:
        Runner(graph, model=Replay(tmp_path)).run("look", attachments=[PDF])
    assert isinstance(other.value.__cause__, ReplayMiss)
    with pytest.raises(NodeError, match="takes no images"):
        Runner(graph, model=Recorder(tmp_path, EchoModel())).run("look", attachments=[PNG])
