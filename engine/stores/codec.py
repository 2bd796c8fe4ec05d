"""Turns, records and summaries to and from documents.

What has its default value is left out, and so is a usage that is the sum of the exchanges'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, cast

from msgspec import NODEFAULT
from msgspec.structs import replace

from ..messages import JSON, NO_USAGE, Usage
from ..session import Exchange, Record, Summary, Turn
from .compact_json import Document, dump, parse, parse_document
from .exchanges import USAGE, Writing, own_results, read_exchanges
from .quoting import Quoting, Reading, References
from .sparse import build, defaults, sparse

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
