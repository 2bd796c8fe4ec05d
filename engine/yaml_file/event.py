"""What the parser reports, one event after the other: the only place that knows the library.

The library's objects carry no types, so they are read through the protocols at the end and
become `Event`s of our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, Protocol, TypeAlias, cast

from ruamel.yaml import YAML
from ruamel.yaml import events as kinds
from ruamel.yaml.error import YAMLError

Kind: TypeAlias = Literal["scalar", "mapping", "sequence", "end", "alias", "document"]

_KINDS: dict[type, Kind] = {
    kinds.ScalarEvent: "scalar",
    kinds.MappingStartEvent: "mapping",
    kinds.SequenceStartEvent: "sequence",
    kinds.MappingEndEvent: "end",
    kinds.SequenceEndEvent: "end",
    kinds.AliasEvent: "alias",
    kinds.DocumentStartEvent: "document",
}
# What the library raises on broken input besides its own errors, such as for "\U00110000".
_BROKEN = (
    YAMLError,
    ValueError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
)


class Event(NamedTuple):
    """A scalar, the begin or end of a collection, an alias, or the begin of a document.

    `start` and `end` are offsets into the text. `style` is the sign of a quoted or block scalar,
    empty for a plain one, whose `value` is still to be understood. `flow` is true in brackets,
    `directed` if lines with % stand above a document.
    """

    kind: Kind
    start: int
    end: int
    anchor: str | None = None
    tag: str | None = None
    value: str = ""
    style: str = ""
    flow: bool = False
    directed: bool = False


class SyntaxFault(Exception):
    """The text is not YAML: what the parser said, where, and where it had begun to read."""

    def __init__(self, said: str, *, here: int | None, began: int | None) -> None:
        super().__init__(said)
        self.said = said
        self.here = here
        self.began = began


def events(text: str) -> Iterator[Event]:
    """The events of a text. Raises `SyntaxFault` at the first error."""
    parser = cast("_Parser", YAML(typ="safe", pure=True))
    try:
        for event in parser.parse(text):
            kind = _KINDS.get(type(event))
            if kind is not None:
                yield _event(kind, event)
    except _BROKEN as error:
        said = f"{getattr(error, 'context', None) or ''}: {getattr(error, 'problem', None) or ''}"
        here, began = _index(error, "problem_mark"), _index(error, "context_mark")
        raise SyntaxFault(said, here=here, began=began) from error


def _event(kind: Kind, event: object) -> Event:
    match kind:
        case "scalar":
            word = cast("_Scalar", event)
            return Event(
                kind, *_span(word), word.anchor, _tag(word), word.value, style=word.style or ""
            )
        case "mapping" | "sequence":
            opened = cast("_Collection", event)
            flow = bool(opened.flow_style)
            return Event(kind, *_span(opened), opened.anchor, _tag(opened), flow=flow)
        case "document":
            document = cast("_Document", event)
            directed = bool(document.tags) or document.version not in (None, (1, 2))
            return Event(kind, *_span(document), directed=directed)
        case _:
            alias = cast("_Marked", event)
            return Event(kind, *_span(alias), getattr(event, "anchor", None))


def _span(event: _Marked) -> tuple[int, int]:
    return event.start_mark.index, event.end_mark.index


def _tag(event: _Tagged) -> str | None:
    return None if event.ctag is None else str(event.ctag)


def _index(error: Exception, name: str) -> int | None:
    index = getattr(getattr(error, name, None), "index", None)
    return index if isinstance(index, int) else None


class _Mark(Protocol):
    index: int


class _Marked(Protocol):
    start_mark: _Mark
    end_mark: _Mark


class _Tagged(_Marked, Protocol):
    anchor: str | None
    ctag: object | None


class _Scalar(_Tagged, Protocol):
    value: str
    style: str | None


class _Collection(_Tagged, Protocol):
    flow_style: bool | None


class _Document(_Marked, Protocol):
    version: tuple[int, int] | None
    tags: Mapping[str, str] | None


class _Parser(Protocol):
    def parse(self, stream: str) -> Iterator[object]: ...
