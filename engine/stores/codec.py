"""Turns, records and summaries to and from documents.

What has its default value is left out, and so is a usage that is the sum of the exchanges'.

Values as documents that leave out what has its default value.

Exchanges with models to and from documents, and what a deletion takes out of them.

A message that was replayed from an earlier run is kept as `{"user": 12}` or `{"assistant": 12}`,
where 12 is the document of that run, and the two of one turn in a row as `{"turn": 12}`: no
replayed word is stored twice. Other messages refer to what they quote (`quoting`). An exchange that
goes on from the one before it, with the results of tools, is marked `continues` and keeps only the
messages that are new. Replayed tool calls are kept in full, with the run that they are of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, TypeVar, cast

from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields, replace
from pydantic import ValidationError

from ..errors import DamagedStore
from ..messages import JSON, NO_USAGE, Message, Role, ToolCall, Usage
from ..records import READERS, Exchange, Record, Summary, Turn
from .compact_json import Document, dump, parse, parse_document
from .quoting import DELETED, Quoting, Reading, References

Made = TypeVar("Made")
Defaults: TypeAlias = tuple[tuple[str, object], ...]


def sparse(value: object, defaults: Defaults) -> Document:
    """The fields of a value that are not what they are by default."""
    return {
        name: item
        for name, default in defaults
        if (item := getattr(value, name)) is not default and (default is None or item != default)
    }


def defaults(kind: type[Struct], *, drop: tuple[str, ...] = ()) -> Defaults:
    """The fields of a struct with their defaults, without those in `drop`."""
    return tuple(
        (column.name, _default(column)) for column in fields(kind) if column.name not in drop
    )


def build(kind: Callable[..., Made], document: Document) -> Made:
    """Make an object of a parsed document; raises `DamagedStore` if it does not fit."""
    try:
        return kind(**document)
    except (TypeError, ValidationError) as error:
        name = getattr(kind, "__name__", "document").lower()
        raise DamagedStore(
            f"a stored {name} has the wrong shape: {error}; restore the file from a backup"
        ) from error


def _default(column: FieldInfo) -> object:
    made: object = column.default_factory
    return made() if callable(made) else column.default


_REPLAYED: tuple[Role, Role] = ("user", "assistant")
_WORDS = {"role", "content"}
_REPLAY = {"role", "content", "origin"}


class Writing:
    """The exchanges of one record as documents."""

    def __init__(self, references: References, quoting: Quoting) -> None:
        self._references = references
        self._quoting = quoting

    def exchanges(self, exchanges: Iterable[Exchange]) -> list[Document]:
        """The documents of the exchanges, in their order."""
        documents: list[Document] = []
        onward: tuple[Message, ...] | None = None
        for exchange in exchanges:
            sent = exchange.messages
            if onward is not None and sent[: len(onward)] == onward:
                document = self._exchange(exchange, sent[len(onward) :]) | {"continues": True}
            else:
                document = self._exchange(exchange, sent)
            documents.append(document)
            onward = exchange.onward if exchange.tool_calls else None
        return documents

    def _exchange(self, exchange: Exchange, messages: Iterable[Message]) -> Document:
        document = sparse(exchange, _EXCHANGE)
        document["messages"] = self._messages(messages)
        if exchange.tool_calls:
            document["tool_calls"] = [sparse(call, _TOOL_CALL) for call in exchange.tool_calls]
            made = own_results(document)
            document["tool_results"] = [
                self._message(each, of_result=each.tool_call_id in made)
                for each in exchange.tool_results
            ]
        if usage := sparse(exchange.usage, USAGE):
            document["usage"] = usage
        return document

    def _messages(self, messages: Iterable[Message]) -> list[Document]:
        documents: list[Document] = []
        asked: JSON = None
        for message in messages:
            run = self._replayed(message)
            if run is None:
                documents.append(self._message(message))
            elif message.role == "assistant" and run == asked:
                documents[-1] = {"turn": run}
            else:
                documents.append({message.role: run})
            asked = run if message.role == "user" else None
        return documents

    def _replayed(self, message: Message) -> JSON:
        """The run whose words the message is; None if it is not just these."""
        if message.origin is None or not _is_replay(message):
            return None
        source = self._references.source(message.origin)
        turn = None if source is None else self._references.turn(source)
        if turn is None:
            return None
        words = turn.input if message.role == "user" else turn.answer
        return source if words == message.content else None

    def _message(self, message: Message, *, of_result: bool = False) -> Document:
        if message.model_fields_set == _WORDS:
            return {"role": message.role, "content": self._quoting.content(message.content)}
        document = sparse(message, _MESSAGE)
        if message.tool_calls:
            document["tool_calls"] = [sparse(call, _TOOL_CALL) for call in message.tool_calls]
        if message.origin is None:
            document["content"] = self._quoting.content(message.content, of_result=of_result)
        elif self._quoting.has_lost(message.origin):
            return _emptied(document)
        return document


def read_exchanges(
    documents: Iterable[Document], references: References, reading: Reading
) -> tuple[Exchange, ...]:
    """Read what `Writing` wrote, with the words of other runs filled in."""
    exchanges: list[Exchange] = []
    for document in documents:
        before = exchanges[-1].onward if document.pop("continues", False) else ()
        if "usage" in document:
            document["usage"] = build(Usage, document["usage"])
        messages = (
            message
            for each in document.get("messages", ())
            for message in _read_messages(each, references, reading)
        )
        document["messages"] = (*before, *messages)
        if "tool_calls" in document:
            calls, results = document["tool_calls"], document["tool_results"]
            document["tool_calls"] = tuple(build(ToolCall, call) for call in calls)
            document["tool_results"] = tuple(_read_message(each, reading) for each in results)
        exchanges.append(build(Exchange, document))
    return tuple(exchanges)


def own_results(document: Document) -> set[str]:
    """The ids of the calls in an exchange's document that tell more than what was said before."""
    calls = document.get("tool_calls", ())
    return {call["id"] for call in calls if call["name"] not in READERS}


def forget_replayed(document: Document, run_id: str, source: JSON) -> bool:
    """Take what was replayed of a deleted run out of a record's document; False if nothing was."""
    is_changed = False
    for exchange in document.get("exchanges", ()):
        kept = [each for message in exchange["messages"] for each in _cut(message, run_id, source)]
        is_changed = is_changed or kept != exchange["messages"]
        exchange["messages"] = kept
    return is_changed


def _is_replay(message: Message) -> bool:
    return message.model_fields_set == _REPLAY or message == Message(
        role=message.role, content=message.content, origin=message.origin
    )


def _read_messages(document: Document, references: References, reading: Reading) -> list[Message]:
    roles = _roles(document)
    if not roles:
        return [_read_message(document, reading)]
    turn = references.turn(document["turn"] if "turn" in document else document[roles[0]])
    if turn is None:
        return [Message(role=role, content=DELETED) for role in roles]
    words = {"user": turn.input, "assistant": turn.answer or ""}
    return [Message(role=role, content=words[role], origin=turn.run_id) for role in roles]


def _read_message(document: Document, reading: Reading) -> Message:
    document["content"] = reading.text(document["content"])
    return build(Message, document)


def _roles(message: Document) -> list[Role]:
    """The roles of the messages that a reference stands for; none if it is a message itself."""
    return [role for role in _REPLAYED if role in message or "turn" in message]


def _cut(message: Document, run_id: str, source: JSON) -> list[Document]:
    """A message of another run without the words of a deleted one; a pair of them is two."""
    if roles := _roles(message):
        if message.get(roles[0], message.get("turn")) != source:
            return [message]
        return [{"role": role, "content": DELETED, "origin": run_id} for role in roles]
    return [_emptied(message) if message.get("origin") == run_id else message]


def _emptied(message: Document) -> Document:
    emptied = {**message, "content": DELETED}
    if "tool_calls" in message:
        emptied["tool_calls"] = [{**call, "arguments": "{}"} for call in message["tool_calls"]]
    return emptied


_EXCHANGE = defaults(Exchange, drop=("usage", "messages", "tool_calls", "tool_results"))
USAGE = defaults(Usage)
_MESSAGE: Defaults = tuple(
    (name, NODEFAULT if column.is_required() else column.default)
    for name, column in Message.model_fields.items()
    if name != "tool_calls"
)
_TOOL_CALL: Defaults = tuple((name, NODEFAULT) for name in ToolCall.model_fields)


Decode: TypeAlias = "Callable[[bytes, References], Record]"
"""What reads the document of a record."""


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
    document = sparse(turn, _TURN)
    if usage := sparse(turn.usage, USAGE):
        document["usage"] = usage
    return dump(document)


def decode_turn(data: bytes) -> Turn:
    """Read a document that `encode_turn` wrote."""
    document = parse_document(data)
    if "usage" in document:
        document["usage"] = build(Usage, document["usage"])
    return build(Turn, document)


def encode_record(run: int, record: Record, references: References) -> bytes:
    """The document of what a node did in the run that is document `run`."""
    document: Document = {"run": run, **sparse(record, _RECORD)}
    if record.usage != _sum(record.exchanges):
        document["usage"] = sparse(record.usage, USAGE)
    if record.exchanges or record.quotes:
        document |= _told(record, references)
    return dump(document)


def _told(record: Record, references: References) -> Document:
    """What may quote earlier runs, with references to them."""
    quoting = Quoting(record.quotes, references)
    document: Document = {}
    if record.exchanges:
        document["exchanges"] = Writing(references, quoting).exchanges(record.exchanges)
    if record.quotes:
        contents = {
            name: quoting.content(text)
            for name, text in record.fields.items()
            if isinstance(text, str)
        }
        if told := {
            name: content for name, content in contents.items() if isinstance(content, list)
        }:
            rest = {name: field for name, field in record.fields.items() if name not in told}
            document |= {"fields": rest, "quoting_fields": told}
    if quoting.sources:
        document["quotes"] = quoting.sources
    return document


def decode_record(data: bytes, references: References) -> Record:
    """Read a document that `encode_record` wrote, with the words of other runs filled in."""
    return _record(parse_document(data), references)


def decode_own_words(data: bytes, references: References, *, results: bool) -> Record:
    """The record without what it quotes of other runs, which quote others.

    So it has no messages, and of its tools only the `results` that they made themselves, if any.
    """
    document = parse_document(data)
    for exchange in document.get("exchanges", ()):
        exchange["messages"] = ()
        made = own_results(exchange) if results else set[str]()
        for result in exchange.get("tool_results", ()):
            if result["tool_call_id"] not in made:
                result["content"] = ""
    document.pop("quoting_fields", None)
    return _record(document, references)


def _record(document: Document, references: References) -> Record:
    document.pop("run", None)
    reading = Reading(document.pop("quotes", ()), references)
    if document.get("choices") is not None:
        document["choices"] = tuple(document["choices"])
    for name, content in document.pop("quoting_fields", {}).items():
        document["fields"][name] = reading.text(content)
    exchanges = read_exchanges(document.get("exchanges", ()), references, reading)
    document["exchanges"] = exchanges
    document["usage"] = build(Usage, document["usage"]) if "usage" in document else _sum(exchanges)
    document["quotes"] = tuple(reading.quotes)
    return build(Record, document)


def encode_summary(summary: Summary) -> bytes:
    """The document of a summary."""
    return dump(sparse(summary, _SUMMARY))


def decode_summary(data: bytes) -> Summary:
    """Read a document that `encode_summary` wrote."""
    document = parse_document(data)
    document["topics"] = tuple(document.get("topics", ()))
    return build(Summary, document)


def _sum(exchanges: Iterable[Exchange]) -> Usage:
    return sum((exchange.usage for exchange in exchanges), start=NO_USAGE)


_TURN = (*defaults(Turn, drop=("usage", "status")), ("status", NODEFAULT))
_RECORD = defaults(Record, drop=("usage", "exchanges", "quotes"))
_SUMMARY = defaults(Summary)
