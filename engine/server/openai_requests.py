"""What OpenAI's clients send, read as the arguments of a run, and their run started.

Parameters that a graph decides itself (temperature, stop, ...) are ignored, and named in the header
`X-Teamgraph-Ignored`; what would change the answer's form in a way that the client relies on (its
own tools, several choices, a JSON Schema) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import uuid4

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from ..errors import TeamgraphError
from ..messages import JSON, as_plain
from ..records import Run
from ..run.questions import can_wait
from .access import caller
from .answers import waiting_run
from .attached import check_attaches, read_attachment
from .errors import Refusal, info_of
from .http import until_disconnect
from .runs import LiveRun
from .server import server_of

if TYPE_CHECKING:
    from ..attachments import Attachment

IGNORED = "X-Teamgraph-Ignored"
SESSION = "X-Session-Id"
RUN = "X-Run-Id"
_MOST_NAMED = 20
_NAMEABLE = re.compile(r"[\w.\[\]-]{1,64}", re.ASCII)
_ROLES = "system, developer, user and assistant"
_TEXT_PARTS = ("text", "input_text", "output_text")
_PARTS = "texts, or images, audio and files with their bytes or URL"


class Sent(BaseModel):
    """Base class of what an OpenAI client sends: fields that are not known here are kept aside."""

    model_config = ConfigDict(frozen=True, extra="allow")


class SentFile(Sent):
    """A file, as `file` of chat completions and the parts of responses name it."""

    filename: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None


class SentImage(Sent):
    """Where an image is."""

    url: str


class SentAudio(Sent):
    """Audio in base64."""

    data: str
    format: str


class ContentPart(SentFile):
    """A part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: SentImage | str | None = None
    input_audio: SentAudio | None = None
    file: SentFile | None = None


class SentMessage(Sent):
    """A message of a conversation."""

    role: str
    content: str | Sequence[ContentPart] | None = None
    tool_calls: Sequence[JSON] | None = None


class SentBody(Sent):
    """The parameters that both APIs have and that are used, or refused, here."""

    model: str = Field(description="The graph.")
    stream: bool = Field(default=False, description="Answer as it is written.")
    user: str | None = Field(default=None, description="The user; ignored where the login says it.")
    metadata: Mapping[str, JSON] | None = Field(
        default=None, description="`session_id` is the session."
    )
    tools: Sequence[JSON] | None = None
    tool_choice: JSON = None


class Conversation(Struct, frozen=True):
    """The messages of a client as the arguments of a run.

    `history` are the turns before the message, `attached` what comes with it, by its place in the
    request. `ignored` names what a run has no use for.
    """

    message: str
    history: tuple[tuple[str, str], ...] = ()
    system: str | None = None
    attached: Mapping[str, Attachment] = {}
    ignored: tuple[str, ...] = ()


class Asked(Struct, frozen=True):
    """A request, read: whom the conversation is with, and whose it is."""

    graph: str
    conversation: Conversation
    user_id: str | None
    session_id: str | None
    stream: bool
    ignored: tuple[str, ...] = ()


class Started(NamedTuple):
    """The run of a request, with the headers of its response."""

    live: LiveRun
    headers: Mapping[str, str]


class _Said(NamedTuple):
    role: str
    text: str


def refused(param: str, reason: str, *, code: str = "unsupported_parameter") -> Refusal:
    """The error of a parameter that is not taken."""
    return Refusal(400, code, f"{param}: {reason}", param=param)


def read_conversation(
    messages: Sequence[SentMessage], name: str = "messages", instructions: str | None = None
) -> Conversation:
    """The last message, the turns before it and the system text; raises `Refusal`.

    Messages of one role that follow each other are one, with blank lines between. Those of tools
    are ignored: the graph calls its own. So is what an assistant says before any user, which is no
    answer to anything, and what earlier messages attach: their turn is over.
    """
    system = [instructions] if instructions else list[str]()
    said: list[_Said] = []
    attached: dict[str, Attachment] = {}
    ignored: list[str] = []
    for index, message in enumerate(messages):
        place, role = f"{name}[{index}]", message.role
        if role != "user":
            ignored += attached
            attached = {}
        text = _text_of(message.content, f"{place}.content", attached)
        if message.tool_calls:
            ignored.append(f"{place}.tool_calls")
        if role in ("system", "developer"):
            system.append(text)
        elif role == "user" or (role == "assistant" and said):
            said += [_Said(role, text)] if text or role == "user" else []
        elif role in ("assistant", "tool", "function"):
            ignored.append(place)
        else:
            raise refused(f"{place}.role", f"{role!r} is unknown; there are {_ROLES}")
    if not messages or messages[-1].role != "user":
        reason = "this server calls the tools of its graphs itself" if messages else "there is none"
        raise refused(name, f"the last one must be the user's; {reason}", code="invalid_request")
    groups = groupby(said, attrgetter("role"))
    *before, last = ["\n\n".join(each.text for each in group) for _, group in groups]
    history = tuple(zip(before[::2], before[1::2], strict=True))
    return Conversation(last, history, "\n\n".join(system) or None, attached, tuple(ignored))


def read_request(
    request: Request, body: SentBody, conversation: Conversation, *, session_id: str | None = None
) -> Asked:
    """The request, with the names of the parameters that are ignored; raises `Refusal`."""
    if body.tools and body.tool_choice != "none":
        raise refused("tools", "a graph calls its own tools only; declare them in the graph")
    more = cast("Mapping[str, JSON]", body.model_extra or {})
    unused = tuple(name for name, value in more.items() if value is not None)
    return Asked(
        graph=body.model,
        conversation=conversation,
        user_id=caller(request).user(body.user),
        session_id=session_id or _named_session(request, body),
        stream=body.stream,
        ignored=(*unused, *conversation.ignored),
    )


async def start(request: Request, asked: Asked, *, kept: bool = False) -> Started:
    """Start the run of a request, or answer the question with which its session waits.

    Without a session the run is not kept, unless `kept`. Raises `Refusal`, or what a run raises
    that does not begin.
    """
    server, said, ignored = server_of(request), asked.conversation, [*asked.ignored]
    runner = server.runner(asked.graph)
    system, session_id, waiting = said.system, asked.session_id, None
    if system and not runner.graph.reads_system:
        system = None
        ignored.append("system")
    check_attaches(runner.graph, said.attached)
    if session_id is not None or kept:
        ignored += ["history"] if said.history else []
        if session_id is not None:
            waiting = await waiting_run(runner, asked.user_id, session_id)
    elif can_wait(runner.graph):
        raise refused(
            "metadata.session_id",
            f"graph {asked.graph!r} may ask a person, and only a session can wait for the answer; "
            f"name one in metadata.session_id, or in the header {SESSION}",
            code="session_required",
        )
    if waiting is not None:
        ignored += said.attached
        question = waiting.questions[0]
        source = runner.arespond_stream(
            waiting.run_id,
            {question.path: question.parse(said.message)},
            user_id=asked.user_id,
            session_id=session_id,
            tokens=asked.stream,
        )
    else:
        run_id = uuid4().hex
        source = runner.astream(
            said.message,
            user_id=asked.user_id,
            # One without a name is called as its run, so that a store need not keep it.
            session_id=session_id or (run_id if kept else None),
            run_id=run_id,
            history=None if kept or session_id is not None else said.history,
            system=system,
            attachments=[*said.attached.values()] or None,
            tokens=asked.stream,
        )
    live = await until_disconnect(request, server.runs.begin(source.tell, grace=0))
    headers = {RUN: live.run_id}
    if session_id is not None:
        headers[SESSION] = _named(session_id)
    if ignored:
        headers[IGNORED] = ", ".join(map(_named, ignored[:_MOST_NAMED]))
    return Started(live, headers)


async def result(request: Request, live: LiveRun) -> Run:
    """Wait for the end of the run; raises `Refusal` that tells the client not to repeat it."""
    try:
        return await until_disconnect(request, live.result())
    except TeamgraphError as error:
        info = info_of(error)
        # OpenAI's clients repeat what failed with 5xx, and the run would cost as much again.
        raise Refusal(info.status, info.code, info.message, {"x-should-retry": "false"}) from error


def ids_of(run: Run) -> JSON:
    """What a response says beside what OpenAI's do, under `teamgraph`."""
    about: dict[str, JSON] = {
        "run_id": run.run_id,
        "session_id": run.session_id,
        "status": run.status,
    }
    return {**about, "questions": as_plain(run.questions)} if run.questions else about


def check_form(request: Request, body: SentBody, form: str, place: str) -> None:
    """Raise `Refusal` if a client wants JSON of a graph that does not declare it with `returns`."""
    graph = server_of(request).runner(body.model).graph
    if form != "text" and not all(node_id in graph.shapes for node_id in graph.answering):
        reason = "the graph decides the form of its answer; declare `returns` on its nodes"
        raise refused(place, reason)


def _named_session(request: Request, body: SentBody) -> str | None:
    """The session that a request names, in its metadata or its header."""
    named = (body.metadata or {}).get("session_id")
    header = request.headers.get(SESSION)
    if named is not None and (not isinstance(named, str) or not named):
        raise refused("metadata.session_id", "it must be a text that is not empty")
    if named and header and named != header:
        raise refused("metadata.session_id", f"the header {SESSION} names another one; give one")
    return named or header or None


def _text_of(
    content: str | Sequence[ContentPart] | None, place: str, attached: dict[str, Attachment]
) -> str:
    """The texts of a message; what comes with it is added to `attached`, by its place."""
    if content is None or isinstance(content, str):
        return content or ""
    texts: list[str] = []
    for index, part in enumerate(content):
        if part.type == "refusal":
            texts.append(part.refusal or "")
        elif part.type in _TEXT_PARTS:
            texts.append(part.text or "")
        else:
            where = f"{place}[{index}]"
            attached[where] = _attachment_of(part, where)
    return "\n\n".join(texts)


def _attachment_of(part: ContentPart, place: str) -> Attachment:
    match part:
        case ContentPart(type="image_url" | "input_image", image_url=SentImage(url=url) | str(url)):
            return read_attachment(url, place, usual="image/jpeg")
        case ContentPart(type="input_audio", input_audio=SentAudio(data=data, format=form)):
            kind = {"mp3": "mpeg"}.get(form, form)
            return read_attachment(f"data:audio/{kind};base64,{data}", place, name=f"audio.{form}")
        case ContentPart(type="file", file=SentFile() as file) | (
            ContentPart(type="input_file") as file
        ):
            return _file_of(file, place)
        case _:
            raise refused(place, f"{part.type!r} is not taken here; send {_PARTS}")


def _file_of(file: SentFile, place: str) -> Attachment:
    # litellm names an address as the id of a file.
    url = file.file_data or file.file_url or file.file_id or ""
    if file.file_data and not url.startswith("data:"):
        url = f"data:;base64,{url}"
    elif url == file.file_id and not url.startswith("http"):
        raise refused(place, "no files are kept here; send the bytes in `file_data`")
    return read_attachment(url, place, name=file.filename)


def _named(name: str) -> str:
    """A name that a client chose, as a header can have it."""
    return name if _NAMEABLE.fullmatch(name) else "..."
