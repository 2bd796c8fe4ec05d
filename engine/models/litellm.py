"""The adapter for litellm: sends a request to any provider that litellm knows.

This is the only module that imports litellm (two to three CPU seconds), when the first request is
made. Retries, fallbacks and budgets are the engine's own, so litellm's are switched off. Its
exceptions are translated into `ModelError`s here: it tells faults apart by class, status and
text, each with gaps.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import sys
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from email.utils import parsedate_to_datetime
from functools import partial, wraps
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, cast, get_args

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import BaseModel

from ..errors import AnswerError, ModelError, NoModelError
from ..messages import NO_USAGE, Message, Part, Usage
from ..os_fork import FORKS
from . import http_guard
from .endpoints import check_endpoint, is_trusted, key_of
from .http_guard import CURRENT, HttpExchange
from .partial_reply import PartialCalls, get, text_in
from .protocol import Chunk, Reply, Request

if TYPE_CHECKING:
    from ..messages import JSON

_ENGINE_PARAMETERS = frozenset(("id", "fallback", "api_key_env", "structured"))
"""Keys of a graph's `model` that are the engine's, not the provider's."""
_WITH_CACHE_MARKS = ("anthropic/", "bedrock/", "claude", "gemini/", "openrouter/", "vertex_ai/")
_WITH_REASONING = frozenset(
    (
        *("deepseek", "moonshot", "dashscope", "zai", "minimax", "openrouter", "fireworks_ai"),
        *("hosted_vllm", "lm_studio", "llamafile", "litellm_proxy", "custom_openai"),
    )
)
"""Prefixes of providers that take back what their model thought, as a text."""
_EMPTY = "(empty)"
"""What a tool returned that returned an empty text."""
_OPENING = "(The conversation begins.)"
"""What a user says before a conversation that begins with the assistant's words."""
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_SHORTEST_KEY = 8
StructuredMode: TypeAlias = Literal["schema", "tool", "json", "text"]
"""How a schema is asked for: enforced, as a tool's arguments, as any JSON, or only in words."""
FORMS: Sequence[StructuredMode] = get_args(StructuredMode)
_SUPPORTS = {
    "image": "supports_vision",
    "audio": "supports_audio_input",
    "video": "supports_video_input",
}
"""What litellm's table says of the models that take attachments of a kind; else: of documents."""
_AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/mp4": "m4a", "audio/x-wav": "wav"}
"""What OpenAI's format calls audio by another name than its media type has."""
_NO_SCHEMA_WITH_TOOLS = ("gemini/", "vertex_ai/", "groq/")
_REFUSALS = frozenset((400, 422))
_OTHER_REFUSALS = frozenset(("ContextWindowExceededError", "ContentPolicyViolationError"))
_IMPORTED_BY_REQUESTS = ("litellm.proxy._types", "openai.resources", "anyio._backends._asyncio")
"""What litellm would import in its first request, more than a second of CPU."""

Awaited = TypeVar("Awaited")


class LiteLLM:
    """Model that sends each request to the provider in its id (`openai/gpt-5-mini`).

    The first request imports litellm, in a worker thread. Keys are read from the provider's own
    environment variables, or from the one that the parameter `api_key_env` names.
    """

    def __init__(self) -> None:
        self._forms: dict[tuple[str, str], StructuredMode] = {}

    async def warm_up(self, model_id: str) -> None:
        """Import litellm, before the time of an attempt begins; `NoModelError` if it is missing."""
        await _loaded(model_id)

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Stream the answer, or request it whole; see `Request.stream`.

        The parameter `stream` of the graph decides if it is there. Raises `NoModelError` if there
        is no such provider or no key for it.
        """
        check_endpoint(request.model, request.parameters, request.allow_api_base)
        if request.schema is None or "response_format" in request.parameters:
            async with aclosing(self._pieces(request, "text", HttpExchange())) as pieces:
                async for piece in pieces:
                    yield piece
            return
        refused: ModelError | None = None
        server = (request.model, str(request.parameters.get("api_base", "")))
        for form in self._ladder(await _loaded(request.model), request, server):
            exchange = HttpExchange()
            try:
                async with aclosing(self._pieces(request, form, exchange)) as pieces:
                    async for piece in pieces:
                        if refused is not None:
                            self._forms[server] = form
                        yield piece
                return
            except ModelError as error:
                if not _is_refusal(error, exchange):
                    raise
                refused = refused or error
        raise refused or NoModelError("no form is left", model=request.model)

    async def takes(self, request: Request, part: Part) -> bool:
        """See `TakesAttachments`: what litellm's table says of the model.

        A model that it does not know, and one of a server of one's own, may take it: the server
        says if it does not.
        """
        if "api_base" in request.parameters:
            return True
        return _takes(await _loaded(request.model), request.model, part.media_type)

    def _ladder(
        self, litellm: _LiteLLMModule, request: Request, server: tuple[str, str]
    ) -> Sequence[StructuredMode]:
        """The forms in which to ask for the schema: the first, then those if it is refused."""
        wanted = request.parameters.get("structured", "auto")
        if wanted != "auto":
            return (cast(StructuredMode, wanted),)
        first = self._forms.get(server) or _known_form(litellm, request)
        return FORMS[FORMS.index(first) :]

    async def _pieces(
        self, request: Request, form: StructuredMode, exchange: HttpExchange
    ) -> AsyncGenerator[Chunk | Reply]:
        key = None if "api_key" in request.parameters else key_of(request)
        litellm = await _loaded(request.model)
        await _CLIENTS.close_with_loop(litellm)
        answer = PartialReply(request.model, exchange)
        is_streamed = _is_streamed(request)
        exchange.is_trusted, exchange.is_streamed = is_trusted(request), is_streamed
        stream: _Stream | None = None
        try:
            opened = litellm.acompletion(**_arguments(request, key, form))
            if is_streamed:
                stream = cast(_Stream, await _guarded(opened, exchange, request.idle))
                while (
                    chunk := await _guarded(anext(stream, None), exchange, request.idle)
                ) is not None:
                    if text := answer.add(chunk):
                        yield Chunk(text)
            else:
                whole = cast(WholeAnswer, await _guarded(opened, exchange, request.idle))
                answer.add_whole(whole)
        except Exception as error:
            failure = _failure(litellm, error, request, key, exchange)
            failure.interrupted = answer.has_begun
            raise failure from error
        finally:
            await _close(stream)
        reason = getattr(stream, "received_finish_reason", answer.finish_reason)
        answer.end(has_reason=not is_streamed or reason is not None)
        reply = answer.reply(_cost(litellm, answer))
        yield _with_answer(reply, request) if form == "tool" else reply


class Delta(Protocol):
    """What a chunk adds to the answer, or the whole message."""

    content: object
    tool_calls: Sequence[object] | None


class ChunkChoice(Protocol):
    """The part of a chunk for one of the answers; only one answer is requested."""

    delta: Delta
    finish_reason: str | None


class StreamChunk(Protocol):
    """A chunk of litellm's stream; the last one may also have a `usage`."""

    model: str | None
    choices: Sequence[ChunkChoice]


class _WholeChoice(Protocol):
    message: Delta
    finish_reason: str | None


class WholeAnswer(Protocol):
    """litellm's answer that is no stream."""

    model: str | None
    choices: Sequence[_WholeChoice]


class _Stream(Protocol):
    def __aiter__(self) -> _Stream: ...
    async def __anext__(self) -> StreamChunk: ...
    async def aclose(self) -> None: ...


class _Client(Protocol):
    """One of litellm's HTTP clients, or of those of its providers' packages."""

    async def close(self) -> None: ...


class _ClientCache(Protocol):
    """litellm's clients; each key ends with the `id` of the event loop that its client is for."""

    cache_dict: dict[str, _Client]
    ttl_dict: dict[str, float]


class _LiteLLMModule(Protocol):
    """What is used of litellm; its own types are too loose to be of help."""

    suppress_debug_info: bool
    in_memory_llm_clients_cache: _ClientCache
    model_cost: Mapping[str, Mapping[str, object]]

    async def acompletion(self, **arguments: object) -> _Stream | WholeAnswer: ...
    def get_model_info(self, model: str) -> Mapping[str, object]: ...
    def cost_per_token(self, **arguments: object) -> tuple[float, float]: ...
    def validate_environment(self, model: str) -> Mapping[str, Sequence[str]]: ...


async def _loaded(model: str) -> _LiteLLMModule:
    """litellm, imported in a worker thread if it is not yet; `NoModelError` if it is missing."""
    try:
        if IMPORTER.is_done:
            return IMPORTER.module()
        return await asyncio.to_thread(IMPORTER.module)
    except ImportError as error:
        raise NoModelError(
            f"model {model}: litellm cannot be imported ({error}); pip install litellm, or use "
            "another model (local, echo)",
            model=model,
        ) from error


class _Importer:
    """Imports litellm once, whichever thread comes first; the others wait for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._module: _LiteLLMModule | None = None
        FORKS.own(self)

    @property
    def is_done(self) -> bool:
        """Whether it is imported, so that nobody has to wait."""
        return self._module is not None

    def module(self) -> _LiteLLMModule:
        """litellm; raises `ImportError` if it is not installed."""
        with self._lock:
            if self._module is None:
                self._module = _import_litellm()
            return self._module

    def import_quietly(self) -> None:
        """The same, without an error."""
        with suppress(Exception):
            self.module()

    def reset_after_fork(self) -> None:
        """Another lock, since a thread of the parent may hold this one."""
        self._lock = Lock()


def _import_litellm() -> _LiteLLMModule:
    """Import and configure litellm: no network, no `.env` file, no prints, no log records.

    All that is set for a whole process is set here, once.
    """
    was_imported = "litellm" in sys.modules  # its clients were made without guards
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import litellm as imported  # noqa: PLC0415 - it costs seconds
    from litellm.litellm_core_utils.prompt_templates import (  # noqa: PLC0415 - as above
        image_handling,
    )
    from litellm.llms.custom_httpx import http_handler  # noqa: PLC0415 - as above
    from litellm.llms.openai.common_utils import BaseOpenAILLM  # noqa: PLC0415 - as above
    from litellm.types import utils  # noqa: PLC0415 - as above

    if was_imported:
        cast(Any, imported).in_memory_llm_clients_cache.flush_cache()
    http_guard.install(http_handler, BaseOpenAILLM)
    _silence_dumps(cast(Any, utils).OpenAIObject)
    # URLs of attachments are passed on; where a provider takes none, litellm would fetch them.
    cast(Any, image_handling).MAX_IMAGE_URL_DOWNLOAD_SIZE_MB = 0

    for model in (utils.Message, utils.Choices, utils.ModelResponse, utils.Usage):
        _settle(model)
    for part in (utils.Delta, utils.StreamingChoices, utils.ModelResponseStream):
        _settle(part)
    litellm = cast(_LiteLLMModule, imported)
    litellm.suppress_debug_info = True
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    FORKS.call_in_child(partial(_drop_clients, litellm, []))
    for name in _IMPORTED_BY_REQUESTS:
        with suppress(ImportError):
            import_module(name)
    return litellm


IMPORTER = _Importer()


def _drop_clients(litellm: _LiteLLMModule, inherited: list[object]) -> None:
    """Forget the HTTP clients of the parent in a forked child; litellm creates others when needed.

    They are kept in `inherited`: whoever closed them would end connections that the parent uses.
    """
    names = ("in_memory_llm_clients_cache", "module_level_aclient", "module_level_client")
    inherited.extend(vars(litellm).pop(name, None) for name in names)


class _LoopClients:
    """Closes litellm's HTTP clients with their event loop; litellm itself keeps them for an hour.

    A loop with clients is referenced until it is closed, so no other can get its `id`.
    """

    def __init__(self) -> None:
        self._closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None]] = {}

    async def close_with_loop(self, litellm: _LiteLLMModule) -> None:
        """Have the clients of the running loop closed when the loop shuts down its generators."""
        loop = asyncio.get_running_loop()
        if loop not in self._closers:
            self._closers[loop] = self._closer(litellm, loop)
            await anext(self._closers[loop])
            for closed in [each for each in list(self._closers) if each.is_closed()]:
                await self._close(litellm, closed)  # it was closed without `shutdown_asyncgens`

    async def _closer(
        self, litellm: _LiteLLMModule, loop: asyncio.AbstractEventLoop
    ) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self._close(litellm, loop)

    async def _close(self, litellm: _LiteLLMModule, loop: asyncio.AbstractEventLoop) -> None:
        cache = litellm.in_memory_llm_clients_cache
        keys = [key for key in list(cache.cache_dict) if key.endswith(f"-{id(loop)}")]
        clients = [cache.cache_dict.pop(key) for key in keys]
        for key in keys:
            cache.ttl_dict.pop(key, None)
        self._closers.pop(loop, None)
        shared = [*cache.cache_dict.values(), vars(litellm).get("module_level_aclient")]
        sessions = [each for each in map(_session_of, shared) if _loop_of(each) is loop]
        for each in (*clients, *sessions):
            with suppress(Exception):
                await each.close()


def _session_of(client: Any) -> Any:  # noqa: ANN401  aiohttp's
    """The connections of a client that all loops share; litellm makes others where they are closed.

    Gemini's and Vertex's clients are made when litellm is imported, where no loop is running.
    """
    return getattr(getattr(getattr(client, "client", None), "_transport", None), "client", None)


def _loop_of(session: Any) -> asyncio.AbstractEventLoop | None:  # noqa: ANN401  aiohttp's
    return getattr(session, "_loop", None)


_CLIENTS = _LoopClients()


def _silence_dumps(model: Any) -> None:  # noqa: ANN401  a class of the openai package
    """Let odd chunks be dumped without warnings of pydantic, in requests of ours."""
    original = model.model_dump

    @wraps(original)
    def model_dump(self: object, **options: object) -> object:
        quiet = options if CURRENT.get() is None else {**options, "warnings": False}
        return original(self, **quiet)

    model.model_dump = model_dump


def _settle(model: type[BaseModel]) -> None:
    """Do now what would warn at requests: litellm's filters for that may be gone then (pytest).

    Pydantic builds a type when it is first used; and litellm reads these attributes of a class
    through its objects, which is deprecated.
    """
    model.model_rebuild()
    for name in ("model_fields", "model_computed_fields"):
        setattr(model, name, getattr(model, name))


def _takes(litellm: _LiteLLMModule, model: str, media_type: str) -> bool:
    try:
        known = litellm.get_model_info(model=model)
    except Exception:  # noqa: BLE001  litellm raises this and that for a model it does not know
        return True
    kind = media_type.partition("/")[0]
    return bool(known.get(_SUPPORTS.get(kind, "supports_pdf_input")))


def _known_form(litellm: _LiteLLMModule, request: Request) -> StructuredMode:
    """The form to begin with, by what litellm knows of the model."""
    if request.tools and request.model.startswith(_NO_SCHEMA_WITH_TOOLS):
        return "tool"
    try:
        known = litellm.get_model_info(model=request.model)
    except Exception:  # noqa: BLE001  litellm raises this and that for a model it does not know
        return "schema"
    if known.get("supports_response_schema") is False and known.get("supports_function_calling"):
        return "tool"
    return "schema"


def _is_refusal(error: ModelError, exchange: HttpExchange) -> bool:
    """Whether the request was refused for what it asks: perhaps for the form of the answer."""
    cause = error.__cause__
    if exchange.refusal is not None or isinstance(error, NoModelError):
        return False
    if type(cause).__name__ in _OTHER_REFUSALS:
        return False
    return isinstance(cause, Exception) and _status(cause) in _REFUSALS and not error.retryable


def _answer_tool(request: Request) -> str:
    """The name of the tool that takes the answer; not that of another tool."""
    names = {str(get(get(tool, "function"), "name")) for tool in request.tools}
    return next(name for name in ("answer", "final_answer", "_answer") if name not in names)


def _with_answer(reply: Reply, request: Request) -> Reply:
    """The reply with the arguments of the answer's tool as its text."""
    name = _answer_tool(request)
    others = tuple(call for call in reply.tool_calls if call.name != name)
    answers = [call.arguments for call in reply.tool_calls if call.name == name]
    if not answers or others:
        return replace(reply, tool_calls=others)
    return replace(reply, text=answers[0], tool_calls=())


def _form_arguments(request: Request, form: StructuredMode) -> dict[str, object]:
    """The arguments that ask for an answer of the request's schema."""
    schema = dict(request.schema or {})
    match form:
        case "schema":
            named = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case "json":
            return {"response_format": {"type": "json_object"}}
        case "tool":
            name = _answer_tool(request)
            description = request.answer_tool or name  # litellm's Cohere needs one
            function = {"name": name, "description": description, "parameters": schema}
            forced = {"type": "function", "function": {"name": name}}
            tools = [*(dict(tool) for tool in request.tools), {**forced, "function": function}]
            choice = "required" if request.tools else forced
            return {"tools": tools, "tool_choice": request.parameters.get("tool_choice", choice)}
        case _:
            return {}


def _arguments(
    request: Request, key: str | None, form: StructuredMode = "schema"
) -> dict[str, object]:
    """The keyword arguments for `acompletion`."""
    arguments: dict[str, object] = {
        name: value for name, value in request.parameters.items() if name not in _ENGINE_PARAMETERS
    }
    if key is not None:
        arguments["api_key"] = key
    if request.tools:
        arguments["tools"] = [dict(tool) for tool in request.tools]
    if request.schema is not None and "response_format" not in arguments:
        arguments |= _form_arguments(request, form)
    if _is_streamed(request):
        arguments = {"stream_options": {"include_usage": True}, **arguments, "stream": True}
    else:
        arguments.pop("stream_options", None)
        arguments["stream"] = False
    return arguments | {
        "model": request.model,
        "messages": [_message(message, request) for message in acceptable(request.messages)],
        "max_retries": 0,
        "num_retries": 0,
        "_skip_mcp_handler": True,  # else tools need the mcp package
    }


def _is_streamed(request: Request) -> bool:
    return bool(request.parameters.get("stream", request.stream))


def acceptable(messages: Iterable[Message]) -> Sequence[Message]:
    """The messages as strict providers take them; most prompts are so already.

    Messages without a text are left out, consecutive ones of one role are joined, and a user speaks
    first.
    """
    sent: list[Message] = []
    for message in messages:
        before = sent[-1] if sent else None
        if not (message.content.strip() or message.tool_calls or message.parts):
            if message.role == "tool":
                sent.append(message.model_copy(update={"content": _EMPTY}))
        elif before is not None and _is_one(before, message):
            texts = [each for each in (before.content, message.content) if each.strip()]
            parts = (*before.parts, *message.parts)
            joined = {"content": "\n\n".join(texts), "parts": parts}
            sent[-1] = message.model_copy(update=joined)
        else:
            sent.append(message)
    first = next((at for at, each in enumerate(sent) if each.role != "system"), None)
    if first is not None and sent[first].role == "assistant":
        sent.insert(first, Message(role="user", content=_OPENING))
    return sent


def _is_one(before: Message, message: Message) -> bool:
    """Whether two messages are sent as one; a mark for the cache ends a message."""
    is_plain = not (before.tool_calls or before.cache or before.role == "tool")
    return is_plain and (before.role, before.name) == (message.role, message.name)


def _reasoning(message: Message, request: Request) -> dict[str, object]:
    """The fields of a message with what the model thought; only for the model that did.

    Blocks with signatures go back to whoever sent them. The bare text goes to providers that want
    it, and to servers of one's own; others refuse the field.
    """
    kept: dict[str, object] = json.loads(message.reasoning)
    if kept.pop("model") != request.model:
        return {}
    text = kept.pop("reasoning_content", None)
    prefix = request.model.partition("/")[0]
    is_own = prefix == "openai" and "api_base" in request.parameters
    if text is not None and (is_own or prefix in _WITH_REASONING):
        kept["reasoning" if prefix == "openrouter" else "reasoning_content"] = text
    return kept


def _message(message: Message, request: Request) -> dict[str, object]:
    text, model = _encodable(message.content), request.model
    content: object = text
    if message.cache and any(mark in model for mark in _WITH_CACHE_MARKS):
        mark = {"type": "ephemeral"}
        content = [{"type": "text", "text": text, "cache_control": mark}]
    if message.parts:
        before = content if isinstance(content, list) else [{"type": "text", "text": text}]
        sent_parts = [_part(part, request.attachments) for part in message.parts]
        content = [*(before if text.strip() else ()), *sent_parts]
    sent: dict[str, object] = {"role": message.role, "content": content}
    if message.name is not None:
        sent["name"] = _encodable(message.name)
    if message.tool_call_id is not None:
        sent["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        sent["content"] = content or None
        sent["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _encodable(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.reasoning:
        sent |= _reasoning(message, request)
    return sent


def _part(part: Part, attachments: Mapping[str, bytes]) -> dict[str, object]:
    """An attachment in OpenAI's format, which litellm translates for other providers."""
    kind, _, subtype = part.media_type.partition("/")
    data = b64encode(attachments[part.sha256]).decode() if part.sha256 else ""
    url = part.url or f"data:{part.media_type};base64,{data}"
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "audio":
        form = _AUDIO_FORMATS.get(part.media_type, subtype)
        return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
    if part.url:
        return {"type": "file", "file": {"file_id": url, "format": part.media_type}}
    return {"type": "file", "file": {"filename": part.name, "file_data": url}}


def _encodable(text: str) -> str:
    """The text with each unpaired surrogate, which UTF-8 cannot encode, replaced by `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def is_strict(schema: Mapping[str, JSON]) -> bool:
    """Whether `schema` can be sent as `strict`, so that the provider itself enforces it.

    It can if every object requires all its properties and allows no others.
    """
    return all(_is_closed(one) for one in _object_schemas(dict(schema)))


def _object_schemas(value: JSON) -> list[dict[str, JSON]]:
    """All schemas of objects in `value`, at any depth."""
    if isinstance(value, list):
        return [one for part in value for one in _object_schemas(part)]
    if not isinstance(value, dict):
        return []
    inner = [one for part in value.values() for one in _object_schemas(part)]
    return [value, *inner] if value.get("type") == "object" else inner


def _is_closed(schema: dict[str, JSON]) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return (
        schema.get("additionalProperties") is False
        and isinstance(properties, dict)
        and isinstance(required, list)
        and list(properties) == required
    )


async def _guarded(
    awaited: Awaitable[Awaited], exchange: HttpExchange, idle: float | None
) -> Awaited:
    """Await with the guards on HTTP responses; `TimeoutError` after `idle` seconds."""
    token = CURRENT.set(exchange)
    try:
        if idle is None:
            return await awaited
        async with asyncio.timeout(idle):
            return await awaited
    finally:
        CURRENT.reset(token)


async def _close(stream: _Stream | None) -> None:
    """Cancel the request, if there is one; errors of closing are of no interest any more."""
    if stream is not None:
        with suppress(Exception):
            await stream.aclose()


class PartialReply(Struct):
    """A reply put together from the chunks of a stream, or from a whole answer."""

    model: str
    exchange: HttpExchange
    texts: list[str] = field(default_factory=list[str])
    usage: Usage = NO_USAGE
    finish_reason: str | None = None
    answered_by: str = ""
    calls: PartialCalls = field(default_factory=PartialCalls)

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer has arrived."""
        return bool(self.texts or self.calls.calls)

    def add(self, chunk: StreamChunk) -> str:
        """Add a chunk; returns the text in it."""
        self.answered_by = chunk.model or self.answered_by
        self.usage = _usage(chunk) or self.usage
        text = ""
        for choice in chunk.choices[:1]:
            self.finish_reason = choice.finish_reason or self.finish_reason
            delta = choice.delta  # each access takes 1 µs
            text = text_in(_optional(delta, "content"))
            self._add_reasoning(delta)
            for part in cast("Sequence[object]", _optional(delta, "tool_calls") or ()):
                self.calls.add(part)
        if text:
            self.texts.append(text)
        return text

    def add_whole(self, answer: WholeAnswer) -> None:
        """Take what an answer has that is no stream; litellm invents a finish reason."""
        has_reason = self.exchange.finish_reason is not None or not self.exchange.is_chat
        self.answered_by = answer.model or ""
        self.usage = _usage(answer) or self.usage
        for choice in answer.choices[:1]:
            self.finish_reason = choice.finish_reason if has_reason else None
            if text := text_in(choice.message.content):
                self.texts.append(text)
            self._add_reasoning(choice.message)
            for index, call in enumerate(choice.message.tool_calls or ()):
                self.calls.add(call, index=index)

    def reply(self, cost: float | None) -> Reply:
        """The complete reply."""
        return Reply(
            "".join(self.texts),
            tool_calls=self.calls.complete(),
            usage=replace(self.usage, calls=1, cost=cost),
            finish_reason=self.finish_reason,
            model=self.answered_by,
            reasoning=self._kept_reasoning(),
        )

    def end(self, *, has_reason: bool) -> None:
        """Forget what litellm invented, usage or finish reason; `ModelError` if it is cut."""
        exchange = self.exchange
        if exchange.is_chat and not exchange.has_usage:
            self.usage = NO_USAGE
        if exchange.finish_reason == "error":
            raise self._cut("the provider ended it with an error")
        if exchange.is_cut or not has_reason:
            self.finish_reason = None
            if not exchange.is_done and self.has_begun:
                raise self._cut("its stream has no finish reason and no [DONE]")

    def _cut(self, why: str) -> ModelError:
        return ModelError(
            f"model {self.model}: the answer ended early: {why}; ask again",
            model=self.model,
            retryable=True,
            interrupted=self.has_begun,
        )

    def _add_reasoning(self, message: Delta) -> None:
        """Add what the model thought; the guard has the blocks of OpenAI's chat format."""
        text = _optional(message, "reasoning_content")
        if isinstance(text, str):
            self.exchange.reasoning.texts.append(text)
        if not self.exchange.is_chat:
            self.exchange.reasoning.add(message)

    def _kept_reasoning(self) -> str:
        """What the model gets back with the results of its tools, as JSON; see `_reasoning`."""
        fields = self.exchange.reasoning.fields() if self.calls.calls else {}
        return json.dumps({"model": self.model, **fields}) if fields else ""


def _usage(chunk: StreamChunk | WholeAnswer) -> Usage | None:
    counts = _optional(chunk, "usage")
    if counts is None:
        return None
    details: object = getattr(counts, "prompt_tokens_details", None)
    written: object = getattr(counts, "completion_tokens_details", None)
    return Usage(
        input_tokens=_count(counts, "prompt_tokens"),
        output_tokens=_count(counts, "completion_tokens"),
        cached_tokens=_count(details, "cached_tokens"),
        calls=1,
        reasoning_tokens=_count(written, "reasoning_tokens"),
    )


def _optional(model: object, name: str) -> object:
    """An attribute that few chunks have; asking pydantic for one that is missing takes 2 µs."""
    found: object = vars(model).get(name)
    more: Mapping[str, object] = getattr(model, "__pydantic_extra__", None) or {}
    return more.get(name) if found is None else found


def _count(counts: object, name: str) -> int:
    """A number of tokens; what is no number counts as 0."""
    count: object = getattr(counts, name, 0)
    return count if isinstance(count, int) else 0


def _cost(litellm: _LiteLLMModule, answer: PartialReply) -> float | None:
    """US dollars, or None where litellm knows no price, or the provider counts nothing."""
    if not answer.usage.calls:
        return None
    return price(litellm, answer.model, answer.usage)


def price(litellm: _LiteLLMModule, model: str, usage: Usage) -> float | None:
    """US dollars by litellm's table, or None where it has no price.

    Where an entry of that table has none, litellm itself reckons with 0.
    """
    try:
        costs = litellm.cost_per_token(
            model=model,
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            cache_read_input_tokens=usage.cached_tokens,
        )
    except Exception:  # noqa: BLE001 - litellm raises whatever its tables lead to
        return None
    total = sum(costs)
    return total if total or _is_free(litellm, model, usage) else None


def _is_free(litellm: _LiteLLMModule, model: str, usage: Usage) -> bool:
    """Whether a cost of 0 is one, and not the lack of a price."""
    if model.startswith("ollama") or not (usage.input_tokens or usage.output_tokens):
        return True
    table = litellm.model_cost
    entry = table.get(model) or table.get(model.partition("/")[2], {})
    return "input_cost_per_token" in entry or "output_cost_per_token" in entry


def _failure(
    litellm: _LiteLLMModule,
    error: Exception,
    request: Request,
    key: str | None,
    exchange: HttpExchange,
) -> ModelError:
    if exchange.refusal is not None:
        return ModelError(f"model {request.model}: {exchange.refusal}", model=request.model)
    if isinstance(error, TimeoutError) and request.idle is not None:
        return ModelError(
            f"model {request.model}: nothing arrived for {request.idle:g} seconds; ask again, or "
            "raise the node's timeout",
            model=request.model,
            retryable=True,
        )
    missing: Sequence[str] = ()
    with suppress(Exception):
        missing = litellm.validate_environment(request.model)["missing_keys"]
    secrets = _secrets(request, key)
    return translate_error(
        error,
        model=request.model,
        secrets=secrets,
        missing=missing,
        has_answered=exchange.has_answered and not exchange.is_streamed,
    )


def _secrets(request: Request, key: str | None) -> list[str]:
    """All that must never be shown: the key of the request, and those litellm may have read."""
    passed = request.parameters.get("api_key")
    found = [
        value
        for name, value in os.environ.items()
        if name.upper().endswith(("_KEY", "_TOKEN", "_SECRET")) and len(value) >= _SHORTEST_KEY
    ]
    return [key or "", passed if isinstance(passed, str) else "", *found]


_KEY_LIKE = r"\b(?:sk|pk|rk|key|gsk|xai|AIza)[-_A-Za-z0-9*.]{12,}"
_EXCEPTION_NAMES = (
    r"^(?:litellm\.)?\w*(?:Error|Exception|Timeout)\w*(?: Error)?: ?|^\w+Exception - "
)
_LONGEST_DETAIL = 200
_APPENDICES = (" Original exception", ". To drop these", ": <", "Traceback (most recent")
"""What litellm appends to messages without use to the reader: messages are cut before it."""
_REDACTED = "[key]"
_NO_FETCH = "Image URL download is disabled"
"""What litellm says where it would have to fetch a URL."""

_REASONS = {
    400: "the provider refused the request",
    401: "the provider refused the key",
    403: "the provider does not allow this key to use it",
    404: "the provider does not know this model",
    408: "the provider did not answer in time",
    413: "the prompt is too large for the provider",
    422: "the provider refused the request",
    429: "the rate limit is reached, or the quota is used up",
    529: "the provider is overloaded",
}
_ADVICE = {
    400: "change the prompt or the node's model parameters",
    403: "use a key that has access, or name another model",
    404: "look up its id at the provider; ids are written as provider/model",
    408: "ask again, or raise the node's timeout",
    413: "shorten it (fewer runs of history, shorter texts) or name another model",
    422: "change the prompt or the node's model parameters",
    429: "ask again later, or lower max_parallel",
}
_RETRYABLE = frozenset((408, 409, 425, 429))
_KNOWN_FAULTS = frozenset(("ContextWindowExceededError", "MidStreamFallbackError"))
_SERVER_ERROR = 500


def translate_error(
    error: Exception,
    *,
    model: str,
    secrets: Iterable[str] = (),
    missing: Iterable[str] = (),
    has_answered: bool = False,
) -> ModelError:
    """The `ModelError` for one of litellm's; `missing` are variables for keys that are not set.

    `has_answered` says that the provider sent a whole answer, so that it is what cannot be read.
    `secrets` are redacted in all texts, also in place in those of `error` and its causes, since
    tracebacks show them.
    """
    hidden = [secret for secret in secrets if secret]
    for one in _causes(error):
        _redact_in_place(one, hidden)
    status, text = _status(error), _redacted(str(error), hidden)
    if "LLM Provider NOT provided" in text:
        return NoModelError(
            f"model {model}: no provider of this name is known; write the id as provider/model, "
            "such as openai/gpt-5-mini, or use local or echo",
            model=model,
        )
    if missing and _is_local(error) and "missing" in text.lower():
        return NoModelError(
            f"model {model}: it has no API key; set {' or '.join(missing)}, name the variable "
            "that contains it with api_key_env, or use another model (local, echo)",
            model=model,
        )
    if _NO_FETCH in text:
        reason = "the provider takes no URL of an attachment; attach the file, or its bytes"
        return ModelError(f"model {model}: {reason}", model=model)
    if has_answered and type(error).__name__ not in _KNOWN_FAULTS:
        reason = f"the provider's answer cannot be read ({_detail(text)}); ask again"
        return AnswerError(f"model {model}: {reason}", model=model)
    reason, retryable, is_from_provider = _diagnosis(error, status, text)
    return ModelError(
        f"model {model}: {reason}",
        model=model,
        retryable=retryable,
        status=status if is_from_provider else None,
        retry_after=_retry_after(error),
    )


def _diagnosis(error: Exception, status: int | None, text: str) -> tuple[str, bool, bool]:
    """Reason with advice, whether a retry may help, whether the status is the provider's own."""
    name = type(error).__name__
    detail = _detail(text)
    if name == "ContextWindowExceededError":
        reason = f"the prompt is longer than the model's context window ({detail})"
        advice = "shorten it (fewer runs of history, shorter texts) or name another model"
        return f"{reason}; {advice}", False, True
    if name == "MidStreamFallbackError":
        return f"the answer was cut off ({detail}); ask again", True, False
    if "Connection error" in text or name == "APIConnectionError":
        reason = "the provider cannot be reached, or it closed the connection; check the network "
        return f"{reason}and api_base, then ask again", True, False
    if status is None or (status >= _SERVER_ERROR and _is_local(error)):
        return f"the request could not be made ({detail}); look at its parameters", False, False
    retryable = status in _RETRYABLE or status >= _SERVER_ERROR
    return _by_status(status, detail), retryable, not _is_local(error)


def _by_status(status: int, detail: str) -> str:
    reason = _REASONS.get(status, "the provider failed")
    advice = _ADVICE.get(status, "ask again later")
    if status == 401:  # noqa: PLR2004 - what a provider says about a key may contain it
        return f"{reason} (401); set the provider's key variable, or api_key_env, to a valid key"
    return f"{reason} ({status}: {detail}); {advice}"


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _headers(error: Exception) -> Mapping[str, str]:
    """The headers of the provider's response; empty if there was none."""
    headers: Mapping[str, str] | None = getattr(error, "litellm_response_headers", None)
    return headers or {}


def _is_local(error: Exception) -> bool:
    """Whether the error was made on this machine, with no response of a provider behind it."""
    return not _headers(error)


def _retry_after(error: Exception) -> float | None:
    """Seconds to wait, from a number of seconds or from a date."""
    text = _headers(error).get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_until(text)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float | None:
    """Seconds from now to a date in HTTP's format; None if it is not one."""
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except ValueError:
        return None


def _detail(text: str) -> str:
    """The first line that is not empty, without the names of exceptions before it."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    for appendix in _APPENDICES:
        line = line.partition(appendix)[0]
    while (shorter := re.sub(_EXCEPTION_NAMES, "", line)) != line:
        line = shorter
    line = line.rstrip(" .")
    return line if len(line) <= _LONGEST_DETAIL else f"{line[:_LONGEST_DETAIL]}..."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes, contexts and the originals in litellm's own, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            original: object = getattr(one, "original_exception", None)
            waiting += [one.__cause__, one.__context__]
            waiting += [original] if isinstance(original, BaseException) else []


def _redact_in_place(error: BaseException, secrets: list[str]) -> None:
    error.args = tuple(
        _redacted(part, secrets) if isinstance(part, str) else part for part in error.args
    )
    for name, value in list(vars(error).items()):
        if isinstance(value, str):
            setattr(error, name, _redacted(value, secrets))


def _redacted(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _REDACTED)
    return re.sub(_KEY_LIKE, _REDACTED, text)
