"""OpenTelemetry spans of runs: one each for a run, a node, a model call and a tool call.

A reader of events. Each span is made current in the task in which its event was emitted, so asyncio
carries it to whatever happens inside, in tasks and threads, and what begins there has the right
parent. The attributes are those of the conventions for generative AI, and some of our own
(docs/decisions/0029-tracing.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .errors import InputError
from .events import (
    Event,
    ModelAnswered,
    NodeFailed,
    NodeFinished,
    NodeRetried,
    NodeSkipped,
    NodeStarted,
    PromptRendered,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    RunWaiting,
    ToolAnswered,
    ToolCalled,
)
from .messages import JSON, Message
from .node_path import NodePath

try:
    from opentelemetry import context as contexts
    from opentelemetry import propagate, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError as error:
    _TEXT = "teamgraph.tracing needs the extra `otel`: pip install 'teamgraph[otel]'"
    raise ImportError(_TEXT) from error

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import AttributeValue

TracedOperation: TypeAlias = Literal["run", "node", "model call", "tool call"]
Attributes: TypeAlias = "Mapping[str, AttributeValue]"
ContentAttributes: TypeAlias = Mapping[str, Callable[[], str]]
"""Attributes that are made and recorded only on request."""

PERSON = "person"
"""The model in the events of a prompt that is shown to a person: none is called."""
PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""The conventions' names of the providers that model ids name otherwise."""
FAILED = frozenset({"failed", "late", "invalid", "unknown", "refused"})
"""What may become of a tool call that is an error."""
NO_REPLY = "_OTHER"
"""The conventions' type of an error of which no more is known."""
STATUSES = {NodeFinished: "done", NodeSkipped: "skipped", NodeFailed: "failed"}
NO_CONTENT: ContentAttributes = MappingProxyType({})


class OpenTelemetry:
    """Makes OpenTelemetry spans of runs: `Runner(..., listeners=[OpenTelemetry()])`.

    The spans are made with `tracer_provider` (default: the global one); that of a run is a child of
    the caller's current span. Prompts, answers, arguments and results of tools, texts of errors and
    user ids are recorded only with `content`. One object serves any number of runs, at once and
    in any thread.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, *, content: bool = False
    ) -> None:
        if tracer_provider is not None and not hasattr(tracer_provider, "get_tracer"):
            raise InputError(
                f"tracer_provider is a {type(tracer_provider).__name__}; give a TracerProvider, or "
                "leave it out for the global one"
            )
        self._tracer = trace.get_tracer("teamgraph", tracer_provider=tracer_provider)
        self._content = content
        self._key = contexts.create_key("teamgraph")
        self._runs: dict[str, _OpenSpan] = {}
        self._starts: Mapping[type, Callable[[Any], None]] = {
            RunStarted: self._start_run,
            NodeStarted: self._start_node,
            PromptRendered: self._start_model_call,
            ToolCalled: self._start_tool_call,
        }
        self._ends: Mapping[type, tuple[TracedOperation, Callable[[_OpenSpan, Any], None]]] = {
            ModelAnswered: ("model call", self._end_model_call),
            ToolAnswered: ("tool call", self._end_tool_call),
            NodeRetried: ("node", self._retry_node),
            NodeFinished: ("node", self._end_node),
            NodeSkipped: ("node", self._end_node),
            NodeFailed: ("node", self._end_node),
            RunFinished: ("run", self._end_run),
            RunFailed: ("run", self._end_run),
            RunCancelled: ("run", self._end_run),
            RunWaiting: ("run", self._end_run),
        }

    def __call__(self, event: Event) -> None:
        """Start or end the span that the event is about."""
        if (start := self._starts.get(type(event))) is not None:
            start(event)
        elif (found := self._ends.get(type(event))) is not None:
            operation, end = found
            opened = self._find(event, operation)
            if opened is not None:  # a node that is skipped has none
                end(opened, event)

    @contextmanager
    def continue_trace(self, headers: Mapping[str, str]) -> Generator[None]:
        """Let runs that begin in this block be inside the span that `headers` of a request name.

        `headers` have lower-case names, such as `traceparent`. Where a span is current already, as
        in an instrumented server, that remains the parent. The server of `teamgraph.server` does
        this for each request.
        """
        if trace.get_current_span().get_span_context().is_valid:
            yield
            return
        token = contexts.attach(propagate.extract(headers))
        try:
            yield
        finally:
            contexts.detach(token)

    def _start_run(self, event: RunStarted) -> None:
        attributes = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.agent.name": event.graph,
        }
        asked = Message(role="user", content=event.input)
        content = {"gen_ai.input.messages": lambda: _messages([asked])}
        if (user_id := event.user_id) is not None:
            content["user.id"] = lambda: user_id
        name = f"invoke_workflow {event.graph}"
        self._runs[event.run_id] = self._start("run", event, None, name, attributes, content)

    def _start_node(self, event: NodeStarted) -> None:
        path = NodePath(event.node or "")
        if self._find(event, "node") is not None:
            return  # another attempt, in the same span
        around = self._enclosing(event, lambda it: it.may_enclose(path))
        if around.operation == "node":
            around.name_after("invoke_workflow")
        attributes = {"teamgraph.node.path": path, "teamgraph.node.kind": event.kind}
        self._start("node", event, around, f"{event.kind} {path.node_id}", attributes)

    def _start_model_call(self, event: PromptRendered) -> None:
        if event.model == PERSON:
            return
        node = self._enclosing(event, lambda it: it.is_of(event, "node"))
        node.name_after("invoke_agent")
        provider, _, rest = event.model.partition("/")
        model = rest or provider
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDERS.get(provider, provider),
            "gen_ai.request.model": model,
            "teamgraph.prompt": event.prompt,
        }
        content = {"gen_ai.input.messages": lambda: _messages(event.messages)}
        self._start("model call", event, node, f"chat {model}", attributes, content)

    def _end_model_call(self, call: _OpenSpan, event: ModelAnswered) -> None:
        usage = event.usage
        attributes: dict[str, AttributeValue] = {
            "gen_ai.response.model": event.model,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        }
        if event.finish_reason is not None:
            attributes["gen_ai.response.finish_reasons"] = [event.finish_reason]
        if usage.cost is not None:
            attributes["teamgraph.usage.cost"] = usage.cost
        reason = event.finish_reason or ("tool_call" if event.tool_calls else "stop")
        answer = Message(role="assistant", content=event.text, tool_calls=event.tool_calls)
        content = {"gen_ai.output.messages": lambda: _messages([answer], finish_reason=reason)}
        self._set(call, attributes, content)
        self._end(call, event)

    def _start_tool_call(self, event: ToolCalled) -> None:
        node = self._enclosing(event, lambda it: it.is_of(event, "node"))
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": event.tool,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": event.call_id,
        }
        content = {"gen_ai.tool.call.arguments": lambda: event.arguments}
        self._start("tool call", event, node, f"execute_tool {event.tool}", attributes, content)

    def _end_tool_call(self, call: _OpenSpan, event: ToolAnswered) -> None:
        attributes = {"teamgraph.tool.status": event.status}
        self._set(call, attributes, {"gen_ai.tool.call.result": lambda: event.result})
        self._end(call, event, event.status if event.status in FAILED else None, event.result)

    def _retry_node(self, node: _OpenSpan, event: NodeRetried) -> None:
        """End what the failed attempt has left open; the span of the node goes on."""
        for inner in [*node.inside]:
            self._end(inner, event, event.error_type, event.error)
        attributes: dict[str, AttributeValue] = {
            "error.type": event.error_type,
            "teamgraph.node.attempt": event.attempt,
            "teamgraph.node.wait": event.wait,
        }
        node.span.add_event("teamgraph.node.retried", attributes, _nanoseconds(event))

    def _end_node(self, node: _OpenSpan, event: NodeFinished | NodeSkipped | NodeFailed) -> None:
        attributes: dict[str, AttributeValue] = {
            "teamgraph.node.status": STATUSES[type(event)],
            "teamgraph.node.attempt": event.attempt,
        }
        self._set(node, attributes)
        if isinstance(event, NodeFailed):
            self._end(node, event, event.error_type, event.error)
        else:
            self._end(node, event)

    def _end_run(
        self, run: _OpenSpan, event: RunFinished | RunFailed | RunCancelled | RunWaiting
    ) -> None:
        answer = Message(role="assistant", content=event.run.answer or "")
        attributes = {"teamgraph.run.status": event.run.status}
        content = {"gen_ai.output.messages": lambda: _messages([answer], finish_reason="stop")}
        self._set(run, attributes, content)
        if isinstance(event, RunFailed):
            cause = event.error.__cause__ or event.error
            self._end(run, event, type(cause).__name__, str(event.error))
        else:
            self._end(run, event, "cancelled" if isinstance(event, RunCancelled) else None)

    def _start(
        self,
        operation: TracedOperation,
        event: Event,
        parent: _OpenSpan | None,
        name: str,
        attributes: Mapping[str, str],
        content: ContentAttributes = NO_CONTENT,
    ) -> _OpenSpan:
        """Start a span inside `parent`, and make it current where the event was emitted."""
        outside = contexts.get_current()
        if parent is not None and parent is not contexts.get_value(self._key):
            outside = parent.context
        span = self._tracer.start_span(
            _sendable(name),
            outside,
            SpanKind.CLIENT if operation == "model call" else SpanKind.INTERNAL,
            {
                **{key: _sendable(text) for key, text in attributes.items()},
                "gen_ai.conversation.id": event.session_id,
                "teamgraph.run.id": event.run_id,
            },
            start_time=_nanoseconds(event),
        )
        opened = _OpenSpan(operation, event, span, parent, outside)
        opened.context = contexts.set_value(
            self._key, opened, trace.set_span_in_context(span, outside)
        )
        contexts.attach(opened.context)
        self._set(opened, {}, content)
        return opened

    def _set(
        self, opened: _OpenSpan, attributes: Attributes, content: ContentAttributes = NO_CONTENT
    ) -> None:
        opened.span.set_attributes(attributes)
        if self._content and opened.span.is_recording():
            for name, made in content.items():
                opened.span.set_attribute(name, _sendable(made()))

    def _end(
        self, ended: _OpenSpan, event: Event, error_type: str | None = None, text: str = ""
    ) -> None:
        """End a span, with what is still open inside it, which got no end of its own."""
        for inner in [*ended.inside]:
            self._end(inner, event, error_type or inner.unanswered, text)
        if error_type is not None:
            described = _sendable(text) if self._content else None
            ended.span.set_status(Status(StatusCode.ERROR, described))
            ended.span.set_attribute("error.type", error_type)
        ended.span.end(_nanoseconds(event))
        ended.close()
        if contexts.get_value(self._key) is ended:
            contexts.attach(ended.outside)

    def _innermost(self, event: Event) -> _OpenSpan:
        """The innermost open span of the run where the event was emitted."""
        opened = contexts.get_value(self._key)
        if not isinstance(opened, _OpenSpan) or opened.run_id != event.run_id:
            return self._runs[event.run_id].innermost(NodePath(event.node or ""))
        while opened.is_ended and opened.parent is not None:
            opened = opened.parent
        return opened

    def _find(self, event: Event, operation: TracedOperation) -> _OpenSpan | None:
        """The open span of the event's run or node, or of a call in it; one of a run is dropped."""
        if operation == "run":
            return self._runs.pop(event.run_id, None)
        opened: _OpenSpan | None = self._innermost(event)
        while opened is not None and not opened.is_of(event, operation):
            opened = opened.parent
        return opened

    def _enclosing(self, event: Event, encloses: Callable[[_OpenSpan], bool]) -> _OpenSpan:
        """The open span that a new one is inside of; the run's, if there is no other.

        What is further inside has ended without an event: a call that failed and was not repeated,
        a node that waits for a person.
        """
        opened = self._innermost(event)
        while opened.parent is not None and not encloses(opened):
            self._end(opened, event, opened.unanswered)
            opened = opened.parent
        return opened


class _OpenSpan:
    """A span that has not ended, in the tree of its run.

    `context` is the current one inside it, `outside` the one around it.
    """

    __slots__ = (
        *("context", "inside", "is_ended", "operation", "outside"),
        *("_is_named", "parent", "path", "run_id", "span"),
    )

    def __init__(
        self,
        operation: TracedOperation,
        event: Event,
        span: Span,
        parent: _OpenSpan | None,
        outside: Context,
    ) -> None:
        self.operation = operation
        self.run_id = event.run_id
        self.path = event.node or ""
        self.span = span
        self.parent = parent
        self.outside = outside
        self.context = outside
        self.inside: dict[_OpenSpan, None] = {}
        self.is_ended = False
        self._is_named = False
        if parent is not None:
            parent.inside[self] = None

    @property
    def unanswered(self) -> str | None:
        """The type of the error that it ended without an event; None if that is no error."""
        return NO_REPLY if self.operation == "model call" else None

    def is_of(self, event: Event, operation: TracedOperation) -> bool:
        """Whether it is this operation of the event's node."""
        return self.operation == operation and self.path == event.node

    def may_enclose(self, path: NodePath) -> bool:
        """Whether a node of this path can run inside it."""
        return self.operation != "model call" and path.is_inside(self.path)

    def innermost(self, path: NodePath) -> _OpenSpan:
        """The node of this path, or the one around it, of those inside; otherwise this one."""
        for inner in self.inside:
            if inner.operation == "node" and (inner.path == path or path.is_inside(inner.path)):
                return inner.innermost(path)
        return self

    def name_after(self, operation: str) -> None:
        """Name a node after the first operation of the conventions that is seen in it."""
        if not self._is_named:
            name = NodePath(self.path).node_id
            self._is_named = True
            self.span.update_name(f"{operation} {name}")
            self.span.set_attributes(
                {"gen_ai.operation.name": operation, "gen_ai.agent.name": name}
            )

    def close(self) -> None:
        """Leave the tree."""
        self.is_ended = True
        if self.parent is not None:
            self.parent.inside.pop(self, None)


def _nanoseconds(event: Event) -> int:
    return int(event.time * 1e9)


def _sendable(text: str) -> str:
    """The text as exporters take it: UTF-8 has no lone surrogates, which models may write."""
    return text.encode("utf-8", "replace").decode()


def _messages(messages: Sequence[Message], **ended: str) -> str:
    """Messages in the form that the conventions have for them, as JSON."""
    return json.dumps([{"role": each.role, "parts": _parts(each), **ended} for each in messages])


def _parts(message: Message) -> list[JSON]:
    if message.tool_call_id is not None:
        return [
            {
                "type": "tool_call_response",
                "id": message.tool_call_id,
                "response": message.content,
            }
        ]
    parts: list[JSON] = [{"type": "text", "content": message.content}] if message.content else []
    return parts + [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
