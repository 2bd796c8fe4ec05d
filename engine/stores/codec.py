"""Turns, records and summaries to and from documents.

What has its default value is left out, and so is a usage that is the sum of the exchanges'. A
message that was replayed from an earlier run is kept as `{"user": 12}` or `{"assistant": 12}`,
where 12 is the document of that run, and the two of one turn in a row as `{"turn": 12}`: no
replayed word is stored twice. An exchange that goes on from the one before it, with the results of
tools, is marked `continues` and keeps only the messages that are new. Replayed tool calls and their
results are kept in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, replace
from typing import Any, TypeAlias, TypeVar, cast

from pydantic import ValidationError

from ..errors import DamagedStore
from ..messages import JSON, NO_USAGE, Message, Role, ToolCall, Usage
from ..session import Exchange, Record, Summary, Turn
from .compact_json import Document, dump, parse, parse_document
from .forgetting import DELETED, Words

Made = TypeVar("Made")
Refer: TypeAlias = Callable[[Message], int | None]
Resolve: TypeAlias = Callable[[int], Turn | None]
_Defaults: TypeAlias = tuple[tuple[str, object], ...]
_REPLAYED: tuple[Role, Role] = ("user", "assistant")
_WORDS = {"role", "content"}
_REPLAY = {"role", "content", "origin"}


def normal(value: object) -> JSON:
    """The value as it comes back from a store: tuples as lists, and no part shared."""
    if value is None or isinstance(value, str | int | float):
        return value
    return cast("JSON", parse(dump(value)))


def normal_mapping(value: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """The mapping as it comes back from a store."""
    return parse_document(dump(value)) if value else {}


def normal_record(record: Record) -> Record:
    """The record as it comes back from a store."""
    output = normal(record.output)
    state, session_state = record.state, record.session_state
    if output is record.output and not record.fields and state is session_state is None:
        return record
    return replace(
        record,
        output=output,
        fields=normal_mapping(record.fields),
        state=None if state is None else normal_mapping(state),
        session_state=None if session_state is None else normal_mapping(session_state),
    )


def encode_turn(turn: Turn) -> bytes:
    """The document of a run."""
    document = _sparse(turn, _TURN)
    if turn.usage != NO_USAGE:
        document["usage"] = _sparse(turn.usage, _USAGE)
    return dump(document)


def decode_turn(data: bytes) -> Turn:
    """Read a document that `encode_turn` wrote."""
    document = parse_document(data)
    if "usage" in document:
        document["usage"] = _build(Usage, document["usage"])
    return _build(Turn, document)


def encode_record(run: int, record: Record, refer: Refer) -> bytes:
    """The document of what a node did in the run that is document `run`.

    `refer` finds the document of the run that a message was replayed from, None if its words are
    not those of that run.
    """
    document: Document = {"run": run, **_sparse(record, _RECORD)}
    if record.usage != _sum(record.exchanges):
        document["usage"] = _sparse(record.usage, _USAGE)
    if record.exchanges:
        document["exchanges"] = _exchanges(record.exchanges, refer)
    return dump(document)


def decode_record(data: bytes, resolve: Resolve) -> Record:
    """Read a document that `encode_record` wrote, with replayed words filled in.

    `resolve` finds the run of a document, None if it has been deleted.
    """
    document = parse_document(data)
    document.pop("run", None)
    if document.get("choices") is not None:
        document["choices"] = tuple(document["choices"])
    exchanges = _read_exchanges(document.get("exchanges", ()), resolve)
    document["exchanges"] = exchanges
    document["usage"] = _build(Usage, document["usage"]) if "usage" in document else _sum(exchanges)
    return _build(Record, document)


def encode_summary(summary: Summary) -> bytes:
    """The document of a summary."""
    return dump(_sparse(summary, _SUMMARY))


def decode_summary(data: bytes) -> Summary:
    """Read a document that `encode_summary` wrote."""
    document = parse_document(data)
    document["topics"] = tuple(document.get("topics", ()))
    return _build(Summary, document)


def without_run(data: bytes, words: Words, run: int) -> bytes | None:
    """A record's document without the words of a deleted run; None if it had none of them."""
    document = parse_document(data)
    is_changed = False
    for exchange in document.get("exchanges", ()):
        kept = [each for message in exchange["messages"] for each in _cut(message, words, run)]
        results = exchange.get("tool_results", [])
        kept_results = [each for result in results for each in _cut(result, words, run)]
        is_changed = is_changed or (kept, kept_results) != (exchange["messages"], results)
        exchange["messages"] = kept
        if results:
            exchange["tool_results"] = kept_results
    return dump(document) if is_changed else None


def _cut(message: Document, words: Words, run: int) -> list[Document]:
    """A message of another run without the words of a deleted one; a pair of them is two."""
    if roles := _roles(message):
        if message.get(roles[0], message.get("turn")) != run:
            return [message]
        return [{"role": role, "content": DELETED, "origin": words.run_id} for role in roles]
    if message.get("origin") == words.run_id:
        return [_emptied(message)]
    cut = words.cut_of(message["role"])
    return [{**message, "content": cut(message["content"])}]


def _emptied(message: Document) -> Document:
    emptied = {**message, "content": DELETED}
    if "tool_calls" in message:
        emptied["tool_calls"] = [{**call, "arguments": "{}"} for call in message["tool_calls"]]
    return emptied


def _exchanges(exchanges: Iterable[Exchange], refer: Refer) -> list[Document]:
    documents: list[Document] = []
    onward: tuple[Message, ...] | None = None
    for exchange in exchanges:
        sent = exchange.messages
        if onward is not None and sent[: len(onward)] == onward:
            document = _exchange(exchange, sent[len(onward) :], refer) | {"continues": True}
        else:
            document = _exchange(exchange, sent, refer)
        documents.append(document)
        onward = exchange.onward if exchange.tool_calls else None
    return documents


def _exchange(exchange: Exchange, messages: Iterable[Message], refer: Refer) -> Document:
    document = _sparse(exchange, _EXCHANGE)
    document["messages"] = _messages(messages, refer)
    if exchange.tool_calls:
        document["tool_calls"] = [_sparse(call, _TOOL_CALL) for call in exchange.tool_calls]
        results = exchange.tool_results
        document["tool_results"] = [_message(result, is_plain=False) for result in results]
    if exchange.usage != NO_USAGE:
        document["usage"] = _sparse(exchange.usage, _USAGE)
    return document


def _messages(messages: Iterable[Message], refer: Refer) -> list[Document]:
    documents: list[Document] = []
    asked: int | None = None
    for message in messages:
        given = message.model_fields_set
        run = refer(message) if given == _REPLAY or _is_replay(message) else None
        if run is None:
            documents.append(_message(message, is_plain=given == _WORDS))
        elif message.role == "assistant" and run == asked:
            documents[-1] = {"turn": run}
        else:
            documents.append({message.role: run})
        asked = run if message.role == "user" else None
    return documents


def _is_replay(message: Message) -> bool:
    return message.origin is not None and message == Message(
        role=message.role, content=message.content, origin=message.origin
    )


def _message(message: Message, *, is_plain: bool) -> Document:
    if is_plain:
        return {"role": message.role, "content": message.content}
    document = _sparse(message, _MESSAGE)
    if message.tool_calls:
        document["tool_calls"] = [_sparse(call, _TOOL_CALL) for call in message.tool_calls]
    return document


def _read_exchanges(documents: Iterable[Document], resolve: Resolve) -> tuple[Exchange, ...]:
    exchanges: list[Exchange] = []
    for document in documents:
        before = exchanges[-1].onward if document.pop("continues", False) else ()
        exchanges.append(_read_exchange(document, before, resolve))
    return tuple(exchanges)


def _read_exchange(document: Document, before: tuple[Message, ...], resolve: Resolve) -> Exchange:
    if "usage" in document:
        document["usage"] = _build(Usage, document["usage"])
    messages = (
        message
        for each in document.get("messages", ())
        for message in _read_messages(each, resolve)
    )
    document["messages"] = (*before, *messages)
    if "tool_calls" in document:
        calls, results = document["tool_calls"], document["tool_results"]
        document["tool_calls"] = tuple(_build(ToolCall, call) for call in calls)
        document["tool_results"] = tuple(_build(Message, result) for result in results)
    return _build(Exchange, document)


def _read_messages(document: Document, resolve: Resolve) -> list[Message]:
    roles = _roles(document)
    if not roles:
        return [_build(Message, document)]
    turn = resolve(int(document["turn"] if "turn" in document else document[roles[0]]))
    if turn is None:
        return [Message(role=role, content=DELETED) for role in roles]
    words = {"user": turn.input, "assistant": turn.answer or ""}
    return [Message(role=role, content=words[role], origin=turn.run_id) for role in roles]


def _roles(message: Document) -> list[Role]:
    """The roles of the messages that a reference stands for; none if it is a message itself."""
    return [role for role in _REPLAYED if role in message or "turn" in message]


def _sum(exchanges: Iterable[Exchange]) -> Usage:
    return sum((exchange.usage for exchange in exchanges), start=NO_USAGE)


def _build(kind: Callable[..., Made], document: Document) -> Made:
    """Make an object of a parsed document; raises `DamagedStore` if it does not fit."""
    try:
        return kind(**document)
    except (TypeError, ValidationError) as error:
        name = getattr(kind, "__name__", "document").lower()
        raise DamagedStore(
            f"a stored {name} has the wrong shape: {error}; restore the file from a backup"
        ) from error


def _sparse(value: object, defaults: _Defaults) -> Document:
    return {
        name: item
        for name, default in defaults
        if (item := getattr(value, name)) is not default and (default is None or item != default)
    }


def _defaults(columns: Iterable[Field[Any]], *, drop: tuple[str, ...] = ()) -> _Defaults:
    return tuple((column.name, _default(column)) for column in columns if column.name not in drop)


def _default(column: Field[Any]) -> object:
    if column.default_factory is not MISSING:
        return cast("object", column.default_factory())
    return cast("object", column.default)


_TURN = (*_defaults(fields(Turn), drop=("usage", "status")), ("status", MISSING))
_RECORD = _defaults(fields(Record), drop=("usage", "exchanges"))
_EXCHANGE = _defaults(fields(Exchange), drop=("usage", "messages", "tool_calls", "tool_results"))
_SUMMARY = _defaults(fields(Summary))
_USAGE = _defaults(fields(Usage))
_MESSAGE: _Defaults = tuple(
    (name, MISSING if column.is_required() else column.default)
    for name, column in Message.model_fields.items()
    if name != "tool_calls"
)
_TOOL_CALL: _Defaults = tuple((name, MISSING) for name in ToolCall.model_fields)
