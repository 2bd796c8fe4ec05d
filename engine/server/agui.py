"""AG-UI: `/agui/{graph}` runs a graph for front ends of that protocol (package `ag-ui-protocol`).

The thread is the session, and the newest message that of the user: earlier ones are the session's
own. A run that waits for a person ends with an interrupt for each question; `resume` answers them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ag_ui.core import (
    PROTOCOL_VERSION,
    AudioPart,
    BaseEvent,
    DataSource,
    DocumentPart,
    FileSource,
    ImagePart,
    Interrupt,
    RunAgentInput,
    RunErrorEvent,
    RunFinishedCancelledOutcome,
    RunFinishedEvent,
    RunFinishedInterruptOutcome,
    RunFinishedSuccessOutcome,
    RunStartedEvent,
    StepFinishedEvent,
    StepStartedEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    TextPart,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
    UrlSource,
    UserMessage,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import TeamgraphError
from ..events import (
    Event,
    NodeFailed,
    NodeFinished,
    NodeSkipped,
    NodeStarted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunWaiting,
    Token,
    ToolAnswered,
    ToolCalled,
)
from ..records import Question, Run
from .access import caller
from .answers import waiting_run
from .attached import check_attaches, read_attachment
from .errors import Refusal, info_of
from .http import data_frame, event_response, path_parameter, read_json, until_disconnect
from .runs import LiveRun
from .server import server_of

if TYPE_CHECKING:
    from ..attachments import Attachment


async def run_agent(request: Request) -> Response:
    """Run the graph on the newest message of the thread, or answer what its run waits for."""
    asked = await read_json(request, RunAgentInput)
    server = server_of(request)
    runner = server.runner(path_parameter(request, "graph"))
    user_id = caller(request).user(request.query_params.get("user"))
    if asked.resume:
        answers = {
            each.interrupt_id: each.payload for each in asked.resume if each.status == "resolved"
        }
        waiting = await waiting_run(runner, user_id, asked.thread_id)
        if waiting is None:
            raise Refusal(409, "not_waiting", f"no run of thread {asked.thread_id!r} is waiting")
        source = runner.arespond_stream(
            waiting.run_id, answers, user_id=user_id, session_id=asked.thread_id
        )
    else:
        message, attached = _message_of(asked)
        check_attaches(runner.graph, ["messages" for _ in attached])
        source = runner.astream(
            message,
            user_id=user_id,
            session_id=asked.thread_id,
            run_id=asked.run_id,
            attachments=attached or None,
        )
    live = await until_disconnect(request, server.runs.begin(source.tell, grace=0))
    return event_response(_frames(live, asked))


async def _frames(live: LiveRun, asked: RunAgentInput) -> AsyncGenerator[bytes]:
    async with aclosing(agui_events(live, asked)) as events:
        async for event in events:
            # As the package's encoder, which fails at half a surrogate pair.
            yield data_frame(event.model_dump(by_alias=True))


async def agui_events(live: LiveRun, asked: RunAgentInput) -> AsyncGenerator[BaseEvent]:
    """The events of a run as those of AG-UI: text messages and steps are closed before its end."""
    ids: dict[str, Any] = {"thread_id": asked.thread_id, "run_id": asked.run_id}
    yield RunStartedEvent(**ids, protocol_version=PROTOCOL_VERSION)
    translator = _Translator(f"{live.run_id}-answer")
    try:
        async with aclosing(live.read()) as events:
            async for each in events:
                for event in translator.of(each.event):
                    yield event
                match each.event:
                    case RunFinished(run=run) | RunWaiting(run=run) | RunCancelled(run=run):
                        for event in translator.rest():
                            yield event
                        yield RunFinishedEvent(**ids, outcome=_outcome(run), result=run.answer)
                    case RunFailed(error=error):
                        raise error
                    case _:
                        pass
    except TeamgraphError as error:
        info = info_of(error)
        yield RunErrorEvent(message=info.message, code=info.code)


class _Translator:
    """Turns events into those of AG-UI, and knows which message and steps are open."""

    def __init__(self, message_id: str) -> None:
        self._message_id = message_id
        self._is_open = False
        self._steps: list[str] = []

    def of(self, event: Event) -> Iterator[BaseEvent]:
        """The events of AG-UI for an event of the run."""
        match event:
            case NodeStarted(node=str() as node) if node not in self._steps:
                self._steps.append(node)
                yield StepStartedEvent(step_name=node)
            case NodeFinished() | NodeFailed() | NodeSkipped() if event.node in self._steps:
                self._steps.remove(event.node)
                yield StepFinishedEvent(step_name=event.node)
            case Token(answer=True, text=text):
                if not self._is_open:
                    self._is_open = True
                    yield TextMessageStartEvent(message_id=self._message_id)
                yield TextMessageContentEvent(message_id=self._message_id, delta=text)
            case ToolCalled(call_id=call_id):
                yield ToolCallStartEvent(tool_call_id=call_id, tool_call_name=event.tool)
                yield ToolCallArgsEvent(tool_call_id=call_id, delta=event.arguments)
                yield ToolCallEndEvent(tool_call_id=call_id)
            case ToolAnswered(call_id=call_id):
                yield ToolCallResultEvent(
                    message_id=f"{call_id}-result", tool_call_id=call_id, content=event.result
                )
            case _:
                pass

    def rest(self) -> Iterator[BaseEvent]:
        """The ends of what is open."""
        for node in self._steps:
            yield StepFinishedEvent(step_name=node)
        if self._is_open:
            yield TextMessageEndEvent(message_id=self._message_id)


def _outcome(run: Run) -> Any:  # noqa: ANN401  a union of the package's
    if run.questions:
        return RunFinishedInterruptOutcome(
            type="interrupt", interrupts=[_interrupt(each) for each in run.questions]
        )
    if run.status == "cancelled":
        return RunFinishedCancelledOutcome(type="cancelled")
    return RunFinishedSuccessOutcome(type="success")


def _interrupt(question: Question) -> Interrupt:
    schema: dict[str, Any] | None = None
    if question.schema is not None:
        schema = dict(question.schema)
    elif question.options:
        schema = {"enum": [*question.options]}
    expires = datetime.fromtimestamp(question.expires, UTC).isoformat()
    return Interrupt(
        id=question.path,
        reason="tool_call" if question.tool is not None else "question",
        message=question.text,
        response_schema=schema,
        expires_at=expires if question.expires else None,
    )


def _message_of(asked: RunAgentInput) -> tuple[str, list[Attachment]]:
    """The newest message, and what comes with it."""
    newest = asked.messages[-1] if asked.messages else None
    if not isinstance(newest, UserMessage):
        raise Refusal(400, "invalid_request", "messages: the last one must be the user's")
    if isinstance(newest.content, str):
        return newest.content, []
    texts: list[str] = []
    attached: list[Attachment] = []
    for part in newest.content:
        match part:
            case TextPart(text=text):
                texts.append(text)
            case ImagePart(source=source) | AudioPart(source=source) | DocumentPart(source=source):
                attached.append(_attachment_of(source, part.type))
            case _:
                reason = f"messages: {part.type!r} is not taken here"
                raise Refusal(400, "invalid_request", reason)
    return "\n\n".join(texts), attached


def _attachment_of(source: DataSource | UrlSource | FileSource, kind: str) -> Attachment:
    match source:
        case DataSource(value=data, mime_type=media_type):
            return read_attachment(f"data:{media_type};base64,{data}", "messages")
        case UrlSource(value=url, mime_type=media_type):
            usual = media_type or ("image/jpeg" if kind == "image" else None)
            return read_attachment(url, "messages", usual=usual)
        case _:
            reason = "messages: no files are kept here; send the bytes, or a URL"
            raise Refusal(400, "invalid_request", reason)


routes = [Route("/agui/{graph}", run_agent, methods=["POST"])]
