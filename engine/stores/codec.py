"""Turns, records, exchanges and summaries as JSON documents.

Fields with their default value are left out, and so is a usage that is the sum of the exchanges'.
A message that was replayed from an earlier run is stored as `{"user": 12}` or `{"assistant": 12}`,
where 12 is the document of that run, and the two of one turn in a row as `{"turn": 12}`: no
replayed text is stored twice. Other messages refer to what they quote (`quoting`). An exchange that
continues the one before it, with the results of tools, is marked `continues` and has only the
messages that are new. Replayed tool calls are stored in full, with the run that made them.

`pack_turn`, `pack_record` and `pack_summary` make a document shorter for a file: what its key says
is left out, and what many share is stored once. What a node, a model call or a turn is made of is
the same in every turn, so it is a document of the table `words`, and a document has its number:
`made` for `kind` and `fingerprint` of a record and for `graph` and `declared` of a turn, `call` for
`prompt`, `prompt_hash` and `model`. A long piece of a system message is most often the template's:
it is a document of the table `texts`, and the message has its number. `replied` says that the
output is the last reply, or names the key under which the reply, in JSON, has it. A usage is a
list, and a message `{role: content}`. Times count from the start, in 1/2^22 of a second: `took` for
`ended`, `at` for both times of an exchange. `turns` are consecutive runs that were replayed, the
first and the last. A document without these, as older versions have them, is unpacked as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields, replace
from pydantic import ValidationError

from ..errors import DamagedStore, InputError
from ..messages import JSON, NO_USAGE, Message, Part, Role, ToolCall, Usage
from ..records import READERS, Exchange, Fault, Question, Record, Response, Summary, Turn
from .journal.line import RECOVER, Document, dump_json, parse_document, parse_json
from .quoting import DELETED, QuoteDecoder, QuoteEncoder, References

T = TypeVar("T")
Defaults: TypeAlias = tuple[tuple[str, object], ...]
DecodeRecord: TypeAlias = "Callable[[Document, References], Record]"
_REPLAYED: tuple[Role, Role] = ("user", "assistant")
_PLAIN = {"role", "content"}
_REPLAY = {"role", "content", "origin"}
SharedWords: TypeAlias = tuple[str, ...]
_MADE, _DECLARED = ("kind", "fingerprint"), ("graph", "declared")
_CALL = ("prompt", "prompt_hash", "model")
_TICKS = 1 << 22  # the times of this century are whole numbers of them
_SHARED, _SAID = 64, 16
"""Characters of a text that it pays to store once, and of an output to look for in the reply."""


def round_trip(value: object) -> JSON:
    """A deep copy by way of JSON, as a stored value is read: tuples become lists."""
    if value is None or isinstance(value, str | int | float):
        return value
    return cast("JSON", parse_json(dump_json(value)))


def round_trip_mapping(value: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """A deep copy of a mapping by way of JSON."""
    return parse_document(dump_json(value)) if value else {}


def round_trip_record(record: Record) -> Record:
    """The record as it is read from a store, with its JSON values copied."""
    output, state, session_state = record.output, record.state, record.session_state
    if not isinstance(output, str):
        output = round_trip(output)
    if output is record.output and not record.fields and state is session_state is None:
        return record
    return replace(
        record,
        output=output,
        fields=round_trip_mapping(record.fields),
        state=None if state is None else round_trip_mapping(state),
        session_state=None if session_state is None else round_trip_mapping(session_state),
    )


def encode_turn(turn: Turn) -> Document:
    """The document of a run."""
    document = without_defaults(turn, _TURN)
    if usage := without_defaults(turn.usage, USAGE):
        document["usage"] = usage
    if turn.attachments:
        document["attachments"] = [_part(part) for part in turn.attachments]
    return document


def decode_turn(document: Document) -> Turn:
    """Decode what `encode_turn` encoded."""
    if "usage" in document:
        document["usage"] = build(Usage, document["usage"])
    document["waiting"] = tuple(document.get("waiting", ()))
    if "attachments" in document:
        document["attachments"] = tuple(build(Part, each) for each in document["attachments"])
    check_types("turn", document, _TURN_TYPES)
    return build(Turn, document)


def _part(part: Part) -> Document:
    return part.model_dump(exclude_defaults=True)


def encode_record(run: int, record: Record, references: References) -> Document:
    """The document of a record of the run that is document `run`."""
    document: Document = {"run": run, **without_defaults(record, _RECORD)}
    if (usage := _sum(record.exchanges)) is not record.usage and usage != record.usage:
        document["usage"] = without_defaults(record.usage, USAGE)
    if record.faults:
        document["faults"] = [_fault(each) for each in record.faults]
    if record.exchanges or record.quotes or record.questions:
        _add_rendered(document, record, references)
    return document


def _add_rendered(document: Document, record: Record, references: References) -> None:
    """Add to a record's document what was rendered, which may quote earlier runs."""
    quotes = QuoteEncoder(record.quotes, references)
    if record.questions:
        document["questions"] = [_question(each, quotes) for each in record.questions]
    if record.exchanges:
        document["exchanges"] = ExchangeEncoder(references, quotes).encode(record.exchanges)
    if record.quotes:
        quoting = _quoting_fields(record, quotes)
        if quoting:
            rest = {name: value for name, value in record.fields.items() if name not in quoting}
            document |= {"fields": rest, "quoting_fields": quoting}
    if quotes.runs:
        document["quotes"] = quotes.runs


def _fault(fault: Fault) -> Document:
    return {**without_defaults(fault, _FAULT), "usage": without_defaults(fault.usage, USAGE)}


def _decode_fault(document: Document) -> Fault:
    document["usage"] = build(Usage, document.get("usage", {}))
    return build(Fault, document)


def _question(question: Question, quotes: QuoteEncoder) -> Document:
    document = {**without_defaults(question, _QUESTION), "text": quotes.encode(question.text)}
    if question.response is not None:
        document["response"] = without_defaults(question.response, _RESPONSE)
    return document


def _decode_question(document: Document, quotes: QuoteDecoder) -> Question:
    document["text"] = quotes.decode(document["text"])
    document["options"] = tuple(document.get("options", ()))
    if "response" in document:
        document["response"] = build(Response, document["response"])
    return build(Question, document)


def _quoting_fields(record: Record, quotes: QuoteEncoder) -> dict[str, list[object]]:
    """The fields of a record that quote earlier runs, encoded."""
    quoting: dict[str, list[object]] = {}
    for name, text in record.fields.items():
        if isinstance(text, str) and isinstance(content := quotes.encode(text), list):
            quoting[name] = content
    return quoting


def decode_own_words(document: Document, references: References, *, results: bool) -> Record:
    """Decode a record without what it quotes of other runs; see `keep_own_words`."""
    keep_own_words(document, results=results)
    return decode_record(document, references)


def keep_own_words(document: Document, *, results: bool) -> None:
    """Remove from a record's document what it quotes of other runs, which may quote others in turn.

    It keeps no messages, and of its tools' results only their own, if `results`.
    """
    for exchange in document.get("exchanges", ()):
        exchange["messages"] = ()
        own = ids_of_own_results(exchange) if results else set[str]()
        for result in exchange.get("tool_results", ()):
            if result["tool_call_id"] not in own:
                result["content"] = ""
    document.pop("quoting_fields", None)
    for question in document.get("questions", ()):
        question["text"] = ""


def decode_record(document: Document, references: References) -> Record:
    """Decode what `encode_record` encoded, with the texts of other runs filled in."""
    document.pop("run", None)
    quotes = QuoteDecoder(document.pop("quotes", ()), references)
    if document.get("choices") is not None:
        document["choices"] = tuple(document["choices"])
    for name, content in document.pop("quoting_fields", {}).items():
        document["fields"][name] = quotes.decode(content)
    exchanges = decode_exchanges(document.get("exchanges", ()), references, quotes)
    document["exchanges"] = exchanges
    questions = document.get("questions", ())
    document["questions"] = tuple(_decode_question(each, quotes) for each in questions)
    if "faults" in document:
        document["faults"] = tuple(map(_decode_fault, document["faults"]))
    document["usage"] = build(Usage, document["usage"]) if "usage" in document else _sum(exchanges)
    document["quotes"] = tuple(quotes.quotes)
    return build(Record, document)


def encode_summary(summary: Summary) -> Document:
    """The document of a summary."""
    return without_defaults(summary, _SUMMARY)


def decode_summary(document: Document) -> Summary:
    """Decode what `encode_summary` encoded."""
    document["topics"] = tuple(document.get("topics", ()))
    check_types("summary", document, _SUMMARY_TYPES)
    return build(Summary, document)


def _sum(exchanges: Iterable[Exchange]) -> Usage:
    usage = NO_USAGE
    for exchange in exchanges:
        usage += exchange.usage
    return usage


class NoReferences:
    """References to runs that all read as deleted: for documents whose types alone matter."""

    def reference(self, run_id: str, session_id: str | None = None) -> JSON:
        """See `References.reference`."""

    def replayed(self, run_id: str) -> tuple[JSON, Turn] | None:
        """See `References.replayed`."""

    def turn(self, reference: JSON) -> Turn | None:
        """See `References.turn`."""

    def text(self, reference: JSON, place: str) -> str | None:
        """See `References.text`."""


class ExchangeEncoder:
    """Encodes the exchanges of one record."""

    def __init__(self, references: References, quotes: QuoteEncoder) -> None:
        self._references = references
        self._quotes = quotes

    def encode(self, exchanges: Iterable[Exchange]) -> list[Document]:
        """The documents of the exchanges, in their order."""
        documents: list[Document] = []
        onward: tuple[Message, ...] | None = None
        for exchange in exchanges:
            document = without_defaults(exchange, _EXCHANGE)
            if onward is not None and exchange.messages[: len(onward)] == onward:
                document["messages"] = self._messages(exchange.messages[len(onward) :])
                document["continues"] = True
            else:
                document["messages"] = self._messages(exchange.messages)
            if exchange.tool_calls:
                document["tool_calls"] = [
                    without_defaults(call, _TOOL_CALL) for call in exchange.tool_calls
                ]
                own = ids_of_own_results(document)
                document["tool_results"] = [
                    self._message(each, is_result=each.tool_call_id in own)
                    for each in exchange.tool_results
                ]
            if usage := without_defaults(exchange.usage, USAGE):
                document["usage"] = usage
            documents.append(document)
            onward = exchange.onward if exchange.tool_calls else None
        return documents

    def _messages(self, messages: Iterable[Message]) -> list[Document]:
        documents: list[Document] = []
        asked: JSON = None
        for message in messages:
            role = message.role
            run = None if message.origin is None else self._replayed_run(message, role)
            if run is not None:
                if role == "assistant" and run == asked:
                    documents[-1] = {"turn": run}
                else:
                    documents.append({role: run})
            elif message.__pydantic_fields_set__ == _PLAIN:
                documents.append({"role": role, "content": self._quotes.encode(message.content)})
            else:
                documents.append(self._message(message))
            asked = run if role == "user" else None
        return documents

    def _replayed_run(self, message: Message, role: Role) -> JSON:
        """The reference to the run that a message repeats; None if it does not just repeat it."""
        if message.__pydantic_fields_set__ != _REPLAY and not _is_replay(message):
            return None
        replayed = self._references.replayed(cast("str", message.origin))
        if replayed is None:
            return None
        run, turn = replayed
        return run if message.content == (turn.said if role == "user" else turn.answer) else None

    def _message(self, message: Message, *, is_result: bool = False) -> Document:
        document = without_defaults(message, _MESSAGE)
        if message.tool_calls:
            document["tool_calls"] = [
                without_defaults(call, _TOOL_CALL) for call in message.tool_calls
            ]
        if message.parts:
            document["parts"] = [_part(part) for part in message.parts]
        if message.origin is None:
            document["content"] = self._quotes.encode(message.content, is_result=is_result)
        elif self._quotes.is_deleted(message.origin):
            return _redacted(document)
        return document


def decode_exchanges(
    documents: Iterable[Document], references: References, quotes: QuoteDecoder
) -> tuple[Exchange, ...]:
    """Decode what `ExchangeEncoder` encoded, with the texts of other runs filled in."""
    exchanges: list[Exchange] = []
    for document in documents:
        before = exchanges[-1].onward if document.pop("continues", False) else ()
        if "usage" in document:
            document["usage"] = build(Usage, document["usage"])
        messages = (
            message
            for each in document.get("messages", ())
            for message in _decode_messages(each, references, quotes)
        )
        document["messages"] = (*before, *messages)
        if "tool_calls" in document:
            calls, results = document["tool_calls"], document["tool_results"]
            document["tool_calls"] = tuple(build(ToolCall, call) for call in calls)
            document["tool_results"] = tuple(_decode_message(each, quotes) for each in results)
        exchanges.append(build(Exchange, document))
    return tuple(exchanges)


def ids_of_own_results(document: Document) -> set[str]:
    """The ids of an exchange's tool calls whose results do not just repeat earlier turns."""
    calls = document.get("tool_calls", ())
    return {call["id"] for call in calls if call["name"] not in READERS}


def redact_replayed(document: Document, run_id: str, run: JSON) -> bool:
    """Redact messages of a deleted run in a record's document; False if there are none."""
    is_changed = False
    for exchange in document.get("exchanges", ()):
        redacted = [
            each for message in exchange["messages"] for each in _redact(message, run_id, run)
        ]
        is_changed = is_changed or redacted != exchange["messages"]
        exchange["messages"] = redacted
    return is_changed


def redact_parts(document: Document, attached: Collection[str]) -> bool:
    """Remove attachments of a deleted run from a record's messages; False if there are none."""
    is_changed = False
    for exchange in document.get("exchanges", ()):
        for message in exchange["messages"]:
            parts = message.get("parts", ())
            left = [part for part in parts if part_id(build(Part, part)) not in attached]
            if len(left) < len(parts):
                message["parts"], is_changed = left, True
    return is_changed


def map_references(document: Document, translate: Callable[[JSON], JSON]) -> None:
    """Replace each reference to a run in a record's document by what `translate` makes of it."""
    if "quotes" in document:
        document["quotes"] = [translate(each) for each in document["quotes"]]
    for exchange in document.get("exchanges", ()):
        for message in exchange["messages"]:
            for role in ("turn", *_roles(message)):
                if role in message:
                    message[role] = translate(message[role])


def part_id(part: Part) -> str:
    """What tells an attachment from others: the hash of its bytes, or its URL."""
    return part.sha256 or part.url


def _is_replay(message: Message) -> bool:
    return message == Message(role=message.role, content=message.content, origin=message.origin)


def _decode_messages(
    document: Document, references: References, quotes: QuoteDecoder
) -> list[Message]:
    roles = _roles(document)
    if not roles:
        return [_decode_message(document, quotes)]
    turn = references.turn(document["turn"] if "turn" in document else document[roles[0]])
    if turn is None:
        return [Message(role=role, content=DELETED) for role in roles]
    texts = {"user": turn.said, "assistant": turn.answer or ""}
    return [Message(role=role, content=texts[role], origin=turn.run_id) for role in roles]


def _decode_message(document: Document, quotes: QuoteDecoder) -> Message:
    document["content"] = quotes.decode(document["content"])
    return build(Message, document)


def _roles(message: Document) -> list[Role]:
    """The roles of the messages that are stored as a reference; none for a message itself."""
    return [role for role in _REPLAYED if role in message or "turn" in message]


def _redact(message: Document, run_id: str, run: JSON) -> list[Document]:
    """A message of another record, redacted if it is of the deleted run; a `turn` gives two."""
    if roles := _roles(message):
        if message.get(roles[0], message.get("turn")) != run:
            return [message]
        return [{"role": role, "content": DELETED, "origin": run_id} for role in roles]
    return [_redacted(message) if message.get("origin") == run_id else message]


def _redacted(message: Document) -> Document:
    redacted = {**message, "content": DELETED}
    if "tool_calls" in message:
        redacted["tool_calls"] = [{**call, "arguments": "{}"} for call in message["tool_calls"]]
    return redacted


def without_defaults(value: object, defaults: Defaults) -> Document:
    """The fields of a value that differ from their defaults."""
    document: Document = {}
    for name, default in defaults:  # as fast again as a comprehension
        item = getattr(value, name)
        if item is not default and (default is None or item != default):
            document[name] = item
    return document


def defaults(kind: type[Struct], *, drop: tuple[str, ...] = ()) -> Defaults:
    """The fields of a struct with their defaults, except those in `drop`."""
    return tuple(
        (column.name, _default(column)) for column in fields(kind) if column.name not in drop
    )


def build(kind: Callable[..., T], document: Document) -> T:
    """Build an object from a parsed document; raises `DamagedStore` if it does not fit."""
    try:
        return kind(**document)
    except (TypeError, InputError, ValidationError) as error:
        name = getattr(kind, "__name__", "document").lower()
        raise DamagedStore(f"a stored {name} has the wrong shape: {error}; {RECOVER}") from error


def check_types(name: str, document: Document, types: Mapping[str, tuple[type, ...]]) -> None:
    """Raise `DamagedStore` if a field of a document has another type than those given for it."""
    for field, value in document.items():
        if field in types and not isinstance(value, types[field]):
            raise DamagedStore(
                f"a stored {name} has {field}: {str(value)[:40]!r}, which is of the wrong type; "
                f"{RECOVER}"
            )


def _types(kind: type[Struct]) -> dict[str, tuple[type, ...]]:
    """The types of the plain fields of a struct, by what their defaults are."""
    types: dict[str, tuple[type, ...]] = {}
    for column in fields(kind):
        if isinstance(column.default, float):
            types[column.name] = (int, float)
        elif isinstance(column.default, str | int):
            types[column.name] = (type(column.default),)
    return types


def _default(column: FieldInfo) -> object:
    made: object = column.default_factory
    return made() if callable(made) else column.default


_EXCHANGE = defaults(Exchange, drop=("usage", "messages", "tool_calls", "tool_results"))
USAGE = defaults(Usage)
_MESSAGE: Defaults = tuple(
    (name, NODEFAULT if column.is_required() else column.default)
    for name, column in Message.model_fields.items()
    if name not in ("tool_calls", "parts")
)
_TOOL_CALL: Defaults = tuple((name, NODEFAULT) for name in ToolCall.model_fields)
_TURN = (*defaults(Turn, drop=("usage", "status", "attachments")), ("status", NODEFAULT))
_RECORD = defaults(Record, drop=("usage", "exchanges", "quotes", "questions", "faults"))
_FAULT = defaults(Fault, drop=("usage",))
_QUESTION = defaults(Question, drop=("text", "response"))
_RESPONSE = defaults(Response)
_SUMMARY = defaults(Summary)
_TURN_TYPES = {
    **_types(Turn),
    **dict.fromkeys(("run_id", "input"), (str,)),
    **dict.fromkeys(("answer", "error", "forked_from", "system"), (str, type(None))),
    "given_state": (dict, type(None)),
}
_SUMMARY_TYPES = {**_types(Summary), "text": (str,)}


class Shared(Protocol):
    """Numbers of what many documents share, and what has these numbers."""

    def words(self, words: SharedWords) -> int:
        """The number of some words."""
        ...

    def text(self, text: str) -> int | None:
        """The number of a text, None if it is not shared."""
        ...


class SharedLookup(Protocol):
    """What has the numbers that `Shared` gave; the defaults where it was lost."""

    def words_at(self, number: int) -> SharedWords | None:
        """The words of a number, None if they were lost."""
        ...

    def text_at(self, number: int) -> str:
        """The text of a number."""
        ...


def pack_turn(document: Document, shared: Shared) -> Document:
    """A run's document as it is written, beside a key with its `run_id` and `number`."""
    packed = dict(document)
    del packed["run_id"]
    is_done = packed.pop("number", 0) > 0
    if packed["status"] == ("done" if is_done else "running"):
        del packed["status"]
    _pack_words(packed, "made", _DECLARED, shared)
    _pack_end(packed)
    if "usage" in packed:
        packed["usage"] = _pack_usage(packed["usage"])
    return packed


def unpack_turn(document: Document, key: Sequence[Any], shared: SharedLookup) -> Document:
    """The run's document that was packed, changed in place."""
    run_id, number = key[:2]
    document.setdefault("run_id", run_id)
    if number:
        document.setdefault("number", number)
    document.setdefault("status", "done" if number else "running")
    _unpack_words(document, "made", _DECLARED, shared)
    _unpack_end(document)
    _unpack_usage(document)
    return document


def pack_summary(document: Document, reference: Callable[[str], JSON]) -> Document:
    """A summary's document as it is written, beside a key with the number that it `covers`.

    `reference` gives the document of a run, None if the session does not have it.
    """
    packed = dict(document)
    packed.pop("covers", None)
    if (run := reference(packed.get("run_id", ""))) is not None:
        packed["run"] = run
        del packed["run_id"]
    return packed


def unpack_summary(
    document: Document, key: Sequence[Any], run_id: Callable[[str], str | None]
) -> Document:
    """The summary's document that was packed, changed in place."""
    if key[0]:
        document.setdefault("covers", key[0])
    if "run" in document:
        document["run_id"] = run_id(str(document.pop("run"))) or ""
    return document


def pack_record(document: Document, shared: Shared) -> Document:
    """A record's document as it is written, beside a key with its `run`, `node` and `attempt`."""
    packed = dict(document)
    for name in ("run", "node", "attempt"):
        packed.pop(name, None)
    if packed["status"] == "done":
        del packed["status"]
    if "fingerprint" in packed:
        _pack_words(packed, "made", _MADE, shared)
    started = _pack_end(packed)
    exchanges = packed.get("exchanges", ())
    if exchanges:
        if replied := _replied(packed.get("output"), exchanges[-1]["reply"]):
            packed["replied"] = replied
            del packed["output"]
        packed["exchanges"] = [_pack_exchange(each, started, shared) for each in exchanges]
    return packed


def unpack_record(document: Document, key: Sequence[Any], shared: SharedLookup) -> Document:
    """The record's document that was packed, changed in place."""
    run, node, attempt = key
    document.setdefault("run", run)
    document.setdefault("node", node)
    if attempt != 1:
        document.setdefault("attempt", attempt)
    document.setdefault("status", "done")
    _unpack_words(document, "made", _MADE, shared)
    started = _unpack_end(document)
    for exchange in document.get("exchanges", ()):
        _unpack_exchange(exchange, started, shared)
    if replied := document.pop("replied", False):
        reply = document["exchanges"][-1]["reply"]
        document["output"] = reply if replied is True else _values_in(reply)[replied]
    return document


def shared_texts(document: Document) -> set[int]:
    """The numbers of the texts that a packed record refers to."""
    return {
        piece
        for exchange in document.get("exchanges", ())
        for message in exchange.get("messages", ())
        if isinstance(content := message.get("system"), list)
        for piece in content
        if isinstance(piece, int)
    }


def _replied(output: JSON, reply: str) -> bool | str:
    """Whether an output is the last reply, or under which key of a reply in JSON it stands."""
    if output == reply:
        return True
    if not isinstance(output, str) or len(output) < _SAID or output not in reply:
        return False
    return next((name for name, value in _values_in(reply).items() if value == output), False)


def _values_in(reply: str) -> Document:
    """The values in a reply that is a JSON object, none in others."""
    with suppress(DamagedStore):
        if reply.startswith("{"):
            return parse_document(reply.encode("utf-8", "surrogatepass"))
    return {}


def _pack_words(packed: Document, name: str, fields: SharedWords, shared: Shared) -> None:
    words = (packed.pop(fields[0], ""), packed.pop(fields[1], ""))
    if words != ("", ""):
        packed[name] = shared.words(words)


def _unpack_words(document: Document, name: str, fields: SharedWords, shared: SharedLookup) -> None:
    if name in document:
        words = shared.words_at(document.pop(name)) or ()
        document |= {field: word for field, word in zip(fields, words, strict=False) if word}


def _pack_end(packed: Document) -> float:
    started: float = packed.get("started", 0.0)
    if (took := _ticks(packed.get("ended", 0.0), started)) is not None:
        packed["took"] = took
        del packed["ended"]
    return started


def _unpack_end(document: Document) -> float:
    started: float = document.get("started", 0.0)
    if "took" in document:
        document["ended"] = started + document.pop("took") / _TICKS
    return started


def _pack_usage(usage: Document) -> list[JSON]:
    """The numbers in their order, up to the last that is not the default."""
    values: list[Any] = []
    last = 0
    for name, default in USAGE:
        values.append(usage.get(name, default))
        if name in usage:
            last = len(values)
    return values[:last]


def _unpack_usage(document: Document) -> None:
    if isinstance(document.get("usage"), list):
        names = (name for name, _ in USAGE)
        document["usage"] = dict(zip(names, document["usage"], strict=False))


def _pack_exchange(exchange: Document, started: float, shared: Shared) -> Document:
    packed = dict(exchange)
    prompt, prompt_hash, model = _CALL
    packed["call"] = shared.words((packed.pop(prompt), packed.pop(prompt_hash), packed.pop(model)))
    times = [_ticks(packed.get(name, 0.0), started) for name in ("started", "ended")]
    if None not in times:
        packed["at"] = times
        del packed["started"], packed["ended"]
    if "usage" in packed:
        packed["usage"] = _pack_usage(packed["usage"])
    packed["messages"] = _pack_messages(packed["messages"], shared)
    return packed


def _unpack_exchange(exchange: Document, started: float, shared: SharedLookup) -> None:
    if "call" in exchange:
        words = shared.words_at(exchange.pop("call")) or ("", "", "")
        exchange |= zip(_CALL, words, strict=True)
    if "at" in exchange:
        begun, ended = exchange.pop("at")
        exchange["started"], exchange["ended"] = started + begun / _TICKS, started + ended / _TICKS
    _unpack_usage(exchange)
    exchange["messages"] = [
        _unpack_message(each, shared)
        for message in exchange.get("messages", ())
        for each in _unpack_turns(message)
    ]


def _pack_messages(messages: Sequence[Document], shared: Shared) -> list[Document]:
    packed: list[Document] = []
    turns: list[Any] | None = None
    for message in messages:
        run = message.get("turn")
        if run is None:
            turns = None
            packed.append(_pack_message(message, shared))
        elif turns is not None and turns[1] == run - 1:
            turns[1] = run
        else:
            turns = [run, run]
            packed.append({"turns": turns})
    return packed


def _pack_message(message: Document, shared: Shared) -> Document:
    if message.keys() != _PLAIN:
        return message
    role, content = message["role"], message["content"]
    if role != "system":
        return {role: content}
    if isinstance(content, str):
        piece = _pack_piece(content, shared)
        return {role: content if piece is content else [piece]}
    return {role: [_pack_piece(each, shared) for each in content]}


def _pack_piece(piece: object, shared: Shared) -> object:
    if not isinstance(piece, str) or len(piece) < _SHARED:
        return piece
    number = shared.text(piece)
    return piece if number is None else number


def _unpack_message(message: Document, shared: SharedLookup) -> Document:
    if len(message) != 1:
        return message
    ((role, content),) = message.items()
    if isinstance(content, int):
        return message  # a replayed one
    if isinstance(content, list):
        pieces = [shared.text_at(each) if isinstance(each, int) else each for each in content]
        content = pieces[0] if len(pieces) == 1 and isinstance(pieces[0], str) else pieces
    return {"role": role, "content": content}


def _unpack_turns(message: Document) -> list[Document]:
    if "turns" not in message:
        return [message]
    first, last = message["turns"]
    return [{"turn": run} for run in range(first, last + 1)]


def _ticks(moment: float, started: float) -> int | None:
    """The time since the start; None if it would not be the same when it is read."""
    elapsed = (moment - started) * _TICKS
    if not moment or not started or not abs(elapsed) < _TICKS**2:
        return None
    ticks = round(elapsed)
    return ticks if started + ticks / _TICKS == moment else None
