"""Records as they are written: what many of them share is stored once, the rest is shorter.

What a node and a model call are made of is the same in every turn, so it is a document of the table
`words`, and a record has its number: `made` for `kind` and `fingerprint`, `call` for `prompt`,
`prompt_hash` and `model`. `replied` says that the output is the last reply. A usage is a list.
Times count from the record's start, in 1/2^22 of a second: `took` for `ended`, `at` for both times
of an exchange. `turns` are consecutive runs that were replayed, the first and the last. A record
without these, as version 1 has them, is unpacked as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ..codec import USAGE
from ..journal.line import Document

Words: TypeAlias = tuple[str, ...]
_CALL = ("prompt", "prompt_hash", "model")
_TICKS = 1 << 22  # the times of this century are whole numbers of them


def pack(document: Document, share: Callable[[Words], int]) -> Document:
    """A record's document as it is written; `share` gives the number of some words."""
    packed = dict(document)
    if "fingerprint" in packed:
        packed["made"] = share((packed.pop("kind", ""), packed.pop("fingerprint")))
    started = packed.get("started", 0.0)
    if (took := _ticks(packed.get("ended", 0.0), started)) is not None:
        packed["took"] = took
        del packed["ended"]
    exchanges = packed.get("exchanges", ())
    if exchanges and packed.get("output") == exchanges[-1]["reply"]:
        packed["replied"] = True
        del packed["output"]
    if exchanges:
        packed["exchanges"] = [_pack_exchange(each, started, share) for each in exchanges]
    return packed


def unpack(document: Document, words: Mapping[int, Words]) -> Document:
    """The record's document that was packed, changed in place; `words` are those by number.

    Words that a salvage has lost are empty.
    """
    if "made" in document:
        kind, document["fingerprint"] = words.get(document.pop("made"), ("", ""))
        if kind:
            document["kind"] = kind
    started = document.get("started", 0.0)
    if "took" in document:
        document["ended"] = started + document.pop("took") / _TICKS
    for exchange in document.get("exchanges", ()):
        _unpack_exchange(exchange, started, words)
    if document.pop("replied", False):
        document["output"] = document["exchanges"][-1]["reply"]
    return document


def _pack_exchange(exchange: Document, started: float, share: Callable[[Words], int]) -> Document:
    packed = dict(exchange)
    packed["call"] = share(tuple(packed.pop(name) for name in _CALL))
    times = [_ticks(packed.get(name, 0.0), started) for name in ("started", "ended")]
    if None not in times:
        packed["at"] = times
        del packed["started"], packed["ended"]
    if "usage" in packed:
        packed["usage"] = [packed["usage"].get(name, default) for name, default in USAGE]
    packed["messages"] = _pack_turns(packed["messages"])
    return packed


def _unpack_exchange(exchange: Document, started: float, words: Mapping[int, Words]) -> None:
    if "call" in exchange:
        exchange |= zip(_CALL, words.get(exchange.pop("call"), ("", "", "")), strict=True)
    if "at" in exchange:
        begun, ended = exchange.pop("at")
        exchange["started"], exchange["ended"] = started + begun / _TICKS, started + ended / _TICKS
    if isinstance(exchange.get("usage"), list):
        exchange["usage"] = dict(zip((name for name, _ in USAGE), exchange["usage"], strict=True))
    exchange["messages"] = [
        each for message in exchange.get("messages", ()) for each in _unpack_turns(message)
    ]


def _pack_turns(messages: Sequence[Document]) -> list[Document]:
    packed: list[Document] = []
    for message in messages:
        run = message.get("turn")
        before: Any = packed[-1].get("turns") if packed else None
        if run is not None and before and before[1] == run - 1:
            before[1] = run
        else:
            packed.append(message if run is None else {"turns": [run, run]})
    return packed


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
