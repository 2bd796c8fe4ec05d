"""The filters that teamgraph adds to Jinja's own: fence, tojson, bullets, quote, written, ..."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from functools import cache, lru_cache
from math import isfinite
from types import SimpleNamespace
from typing import cast
from unicodedata import normalize

from jinja2 import Undefined
from jinja2.filters import do_float, do_int
from msgspec import Struct
from pydantic import BaseModel

from .limits import as_text, charge_length, concatenate, limit_text

FENCE_TAG = re.compile(r"[a-z][a-z0-9_-]*")
_INVISIBLE = (
    "\\x00-\\x08\\x0e-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f"
    "\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb"
    "\\ud800-\\udfff\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff"
)
"""Invisible characters, and those lost on the way to a model, for a regex character class."""
_GAP = rf"[\s{_INVISIBLE}]*+"
_LOOKALIKE_RANGES = (
    *(*range(0xA0, 0x100), *range(0x2B0, 0x300), *range(0x1D2C, 0x1DC0), *range(0x2070, 0x20A0)),
    *(*range(0x2100, 0x2150), *range(0x2460, 0x2500), *range(0x2C7C, 0x2C7E)),
    *(*range(0xA770, 0xA771), *range(0xA7F2, 0xA7FA), *range(0xFE50, 0xFF60)),
    *(*range(0x10780, 0x107BB), *range(0x1D400, 0x1D800), *range(0x1E030, 0x1E06E)),
    *(*range(0x1F100, 0x1F190), *range(0x1FBF0, 0x1FBFA)),
)
"""Unicode ranges with lookalikes of `<`, `/` and the letters: wide, small, bold, raised."""
_WIDEST_INDENT = 16
_JSON_TYPES = (Mapping, list, tuple, BaseModel, Struct, SimpleNamespace)


def fence(value: object, tag: str) -> str:
    """Wrap data in `<tag>` and `</tag>` so that it cannot close its own fence.

    Whatever in the data looks like that tag, in any case, spacing or Unicode form of its letters,
    gets `&lt;` for its `<`. A list, mapping or record is written as JSON.
    """
    marks, body = _fence_pattern(tag), to_prompt_text(value)
    if marks.search(body):  # searching is cheaper than replacing, and rarely finds any
        body = marks.sub(r"&lt;\1", body)
    charge_length(len(body))
    return f"<{tag}>\n{body}\n</{tag}>"


@lru_cache(maxsize=256)
def _fence_pattern(tag: str) -> re.Pattern[str]:
    if not FENCE_TAG.fullmatch(tag):
        raise ValueError(f"fence tag {tag!r}: use small letters, digits, '_' and '-' only")
    lookalikes = _lookalikes()
    letters = f"[{_INVISIBLE}]*+".join(f"[{lookalikes[letter]}]" for letter in tag)
    slash = f"(?:[{lookalikes['/']}]{_GAP})?+"  # possessive: no backtracking
    return re.compile(
        rf"[{lookalikes['<']}]({_GAP}{slash}{letters}(?!-*[A-Za-z0-9_]))", re.IGNORECASE
    )


@cache
def _lookalikes() -> Mapping[str, str]:
    """Each character of a fence with its lookalikes, as the body of a regex character class."""
    lookalikes = {each: re.escape(each) for each in "</-_abcdefghijklmnopqrstuvwxyz0123456789"}
    for each in map(chr, _LOOKALIKE_RANGES):
        plain = normalize("NFKC", each).strip("()").lower()
        if plain in lookalikes:
            lookalikes[plain] += each
    return lookalikes


def tojson(value: object, indent: int | None = None) -> str:
    """JSON with sorted keys and unescaped letters, also of models, dataclasses and structs."""
    if indent is not None and not 0 <= indent <= _WIDEST_INDENT:
        raise ValueError(f"tojson: indent must be from 0 to {_WIDEST_INDENT}, not {indent}")
    limit_text(value)
    text = json.dumps(
        value, ensure_ascii=False, sort_keys=True, indent=indent, default=_json_default
    )
    charge_length(len(text))
    return text


def _json_default(value: object) -> object:
    match value:
        case BaseModel():
            plain: object = value.model_dump()
        case Mapping():
            entries = cast("Mapping[object, object]", value)
            plain = {key: entries[key] for key in entries}
        case SimpleNamespace():
            plain = vars(value)
        case datetime() | date() | time():
            plain = value.isoformat()
        case set() | frozenset():
            raise TypeError("tojson: a set has no order; make it a list with | sort")
        case _ if names := _fields_of(value):
            plain = {name: getattr(value, name) for name in names}
        case Undefined():
            plain = str(value)
        case _:
            raise TypeError(f"tojson: a {type(value).__name__} cannot be written as JSON")
    return plain


def _fields_of(value: object) -> Iterable[str]:
    if isinstance(value, Struct):
        return value.__struct_fields__
    if is_dataclass(value) and not isinstance(value, type):
        return [each.name for each in fields(value)]
    return ()


def to_prompt_text(value: object) -> str:
    """A value as text for a prompt: lists, mappings and records as JSON, None as nothing."""
    kind = type(value)
    if kind is str:
        return cast("str", value)
    if value is None:
        return ""
    is_whole = issubclass(kind, _JSON_TYPES) or is_dataclass(kind)
    return tojson(value) if is_whole else as_text(value)


def bullets(values: Iterable[object]) -> str:
    """One `- item` per line, lists and records as JSON; further lines of an item are indented."""
    if isinstance(values, str):
        raise TypeError("bullets: a text is not a list; put it in [ ]")
    lines: list[str] = []
    for value in values:
        text = to_prompt_text(value)
        charge_length(len(text))
        lines += ("- ", text.replace("\n", "\n  "), "\n")
    return concatenate(lines[:-1])


def quote(value: object) -> str:
    """The text with `> ` before every line, as in an e-mail."""
    text = as_text(value)
    charge_length(3 * len(text))
    return "\n".join(f"> {line}" if line else ">" for line in text.split("\n"))


def truncate_chars(value: object, length: int) -> str:
    """At most `length` characters; the last one is `…` where the text was cut."""
    if length < 1:
        raise ValueError(f"truncate_chars: the length must be 1 or more, not {length}")
    text = as_text(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def to_int(value: object, default: object = 0, base: int = 10) -> object:
    """Jinja's filter `int`; a number that is not finite gives the default, too."""
    try:
        return cast("object", do_int(value, cast("int", default), base))
    except OverflowError:
        return default


def to_float(value: object, default: object = 0.0) -> object:
    """Jinja's filter `float`; what is not finite (inf, nan) gives the default, too."""
    try:
        found = cast("object", do_float(value, cast("float", default)))
    except OverflowError:
        return default
    return found if not isinstance(found, float) or isfinite(found) else default


CONVERSIONS: Mapping[str, Callable[..., object]] = {"int": to_int, "float": to_float}
"""Jinja's filters that raise for some numbers, or give such."""

FILTERS: Mapping[str, Callable[..., str]] = {
    "fence": fence,
    "tojson": tojson,
    "bullets": bullets,
    "quote": quote,
    "written": to_prompt_text,
    "truncate_chars": truncate_chars,
}
