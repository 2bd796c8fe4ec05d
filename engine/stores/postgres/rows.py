"""Rows of the database as sessions in memory, and what was read and is needed again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from threading import Lock
from typing import Any, cast

from msgspec.structs import replace

from ...messages import JSON
from ...records import Head, Record, SessionKey, StateKey, Summary, Turn
from ...session.history import ANSWER, INPUT
from ..codec import decode_summary, decode_turn, encode_turn
from ..journal.line import Document, dump_json, parse_document, parse_json

CACHED = 2000
"""Turns of which the store remembers what it has read: a run replays and quotes them."""
_MARK = "\ufffd"


def to_bytes(text: str) -> bytes:
    """A text as it is stored: UTF-8, lone surrogates passed on."""
    return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    """Decode what `to_bytes` encoded."""
    return data.decode("utf-8", "surrogatepass")


def digest(*parts: str | None) -> bytes:
    """A digest by which a row is found: 32 bytes, however long the ids are."""
    return sha256(dump_json(parts)).digest()


def session_digest(key: SessionKey) -> bytes:
    """The digest of a session: no query can name a session without its user."""
    return digest("session", key.user_id, key.session_id)


def user_digest(user_id: str | None) -> bytes:
    """The digest of a user; that of no user is one of its own."""
    return digest("user", user_id)


def turn_row(turn: Turn) -> bytes:
    """The document of a turn without its number, which the database gives."""
    return dump_json(encode_turn(replace(turn, number=0)))


def turn_of(document: bytes, number: int = 0) -> Turn:
    """Decode what `turn_row` encoded."""
    turn = decode_turn(parse_document(document))
    return replace(turn, number=number) if number else turn


def search_words(turn: Turn) -> str:
    """What a search compares: input and answer, in lower case, without what `text` cannot hold."""
    return f"{needle(turn.input)}\x01{needle(turn.answer or '')}"


def needle(text: str) -> str:
    """A text as it is compared; whoever finds it by that must look again."""
    folded = text.casefold().replace("\0", _MARK).replace("\x01", _MARK)
    return folded.encode("utf-8", "replace").decode()


def head_of(row: Mapping[str, Any]) -> Head:
    """The head of a session from the row of `begin_run`."""
    state: dict[str, JSON] = {}
    node_states: dict[str, Mapping[str, JSON]] = {}
    writers: dict[StateKey, str] = {}
    columns = (
        row["scopes"] or (),
        row["names"] or (),
        row["values_set"] or (),
        row["writers"] or (),
    )
    for scope, name, value, run_id in zip(*columns, strict=True):
        key = StateKey(scope, to_text(name))
        if run_id:
            writers[key] = to_text(run_id)
        if scope == "state":
            state[key.name] = cast("JSON", parse_json(value))
        elif scope == "node":
            node_states[key.name] = parse_document(value)
    summary: bytes | None = row["summary"]
    turns: int = row["turns_so_far"] or 0
    return Head(
        version=turns,
        turns=turns,
        state=state,
        node_states=node_states,
        summary=summary_of(summary) if summary is not None else None,
        name=to_text(row["session_name"]) if row["session_name"] is not None else None,
        deleted=row["deleted_so_far"] or 0,
        writers=writers,
    )


def summary_of(document: bytes) -> Summary:
    """Decode a summary."""
    return decode_summary(parse_document(document))


def runs_named(records: Iterable[Record]) -> set[str]:
    """The runs of the same session that records replay or quote."""
    named = {quote.run_id for record in records for quote in record.quotes if not quote.session_id}
    for record in records:
        for exchange in record.exchanges:
            for message in (*exchange.messages, *exchange.tool_results):
                if message.origin is not None:
                    named.add(message.origin)
    return named


def references_in(documents: Iterable[Document]) -> tuple[set[str], set[tuple[str, str]]]:
    """What records refer to: runs of their session, and of others as `(session, run)`."""
    own: set[str] = set()
    others: set[tuple[str, str]] = set()
    for document in documents:
        for reference in _references(document):
            if isinstance(reference, str):
                own.add(reference)
            elif isinstance(reference, list):  # pragma: no branch - else it was deleted
                session_id, run_id = map(str, cast("Sequence[object]", reference))
                others.add((session_id, run_id))
    return own, others


def needs_records(document: Document) -> set[str]:
    """The runs of which a record's document quotes more than message and answer."""
    runs = document.get("quotes", ())
    found: set[str] = set()
    for number, place in _pieces(document):
        if place not in (INPUT, ANSWER) and number < len(runs) and isinstance(runs[number], str):
            found.add(runs[number])
    return found


def has_quotes(document: Document) -> bool:
    """Whether a record's document quotes other runs in its texts."""
    return any(True for _ in _pieces(document))


def _pieces(value: object) -> Iterable[tuple[int, str]]:
    """Whatever may be a reference `[run, place, ...]`, wherever it stands."""
    if isinstance(value, dict):
        for inner in cast("dict[str, object]", value).values():
            yield from _pieces(inner)
    elif isinstance(value, list):
        match cast("list[object]", value):
            case [int() as number, str() as place, *_]:
                yield number, place
            case inner:
                for each in inner:
                    yield from _pieces(each)


def _references(document: Document) -> Iterable[object]:
    yield from document.get("quotes", ())
    for exchange in document.get("exchanges", ()):
        for message in exchange.get("messages", ()):
            if len(message) == 1:
                yield from message.values()
            if isinstance(message.get("origin"), str):
                yield message["origin"]


class TurnCache:
    """LRU cache of turns by session and run (`CACHED` entries); safe to use from many threads.

    What a run replays is compared with the turn that it came from, which the run itself has read.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._turns: OrderedDict[tuple[bytes, str], Turn] = OrderedDict()

    def add(self, session: bytes, turns: Iterable[Turn]) -> None:
        """Remember turns of a session."""
        with self._guard:
            for turn in turns:
                self._turns[session, turn.run_id] = turn
                self._turns.move_to_end((session, turn.run_id))
            while len(self._turns) > CACHED:
                self._turns.popitem(last=False)

    def get(self, session: bytes, run_ids: Collection[str]) -> dict[str, Turn]:
        """Those of the turns that are there."""
        with self._guard:
            found = ((run_id, self._turns.get((session, run_id))) for run_id in run_ids)
            return {run_id: turn for run_id, turn in found if turn is not None}

    def drop(self, session: bytes) -> None:
        """Forget the turns of a session: one of them was deleted."""
        with self._guard:
            for key in [key for key in self._turns if key[0] == session]:
                del self._turns[key]
