"""Finds what a model was asked for in what it wrote: JSON or labels, with or without words around.

The same reading serves every way of asking, since no server can be relied on to enforce a form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import cast

from ..errors import closest
from ..messages import JSON
from ..values import parse_json

_THOUGHTS = re.compile(r"\A\s*<(think|thinking|thought|reasoning)>.*?</\1>", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)```", re.DOTALL)
_QUOTES = "`\"'*_. \t\n"
_BULLET = re.compile(r"\A\s*(?:[-*•+]|\d+[.)])\s+")
_SEPARATORS = re.compile(r"[,;\n]|\band\b|\bund\b|\bet\b")
_NOTHING = frozenset(("", "none", "null", "nothing", "no label", "none of them", "[]"))
_MAX_CANDIDATES = 50
"""Places where JSON may begin that are looked at: a text of brackets has no more to say."""
_PAIRS = {"{": "}", "[": "]"}


def answer_in(text: str) -> str:
    """The text without a byte order mark and without thoughts that stand before the answer."""
    return _THOUGHTS.sub("", text.lstrip("\ufeff"), count=1).strip()


def json_values(text: str) -> Iterator[JSON]:
    """The JSON values in a text, in the order of trust; raises `ValueError` if there is none.

    If the whole text is JSON, that is the only one. Otherwise these are the contents of fences, and
    the objects and lists between words; then the same with small faults repaired, such as trailing
    commas and single quotes. What was cut off is not completed.
    """
    bare = answer_in(text)
    try:
        yield parse_json(bare)
    except ValueError as error:
        if not isinstance(error.__cause__, json.JSONDecodeError):
            raise  # JSON that no store could read again, or none at all
        candidates = [*(found.strip() for found in _FENCE.findall(bare)), *_brackets(bare)]
        found_any = False
        for read in (parse_json, _repaired):
            for candidate in candidates:
                try:
                    value = read(candidate)
                except ValueError:
                    continue
                found_any = True
                yield value
        if not found_any:
            raise


def labels_in(text: str, labels: Sequence[str]) -> list[str] | None:
    """The labels that a text names without JSON; None if it does not say which.

    It is a label, a list of labels, a word for none, or a sentence that names exactly one.
    """
    bare = answer_in(text)
    fenced = _FENCE.fullmatch(bare)
    bare = fenced.group(1) if fenced else bare
    whole = matching_label(bare.strip(_QUOTES), labels)
    if whole is not None:
        return [whole]
    if bare.strip(_QUOTES).casefold() in _NOTHING:
        return []
    parts = [_BULLET.sub("", part).strip(_QUOTES) for part in _SEPARATORS.split(bare)]
    named = [matching_label(part, labels) for part in parts if part]
    if named and None not in named:
        return [label for label in named if label is not None]
    mentioned = [label for label in labels if _mentions(bare, label)]
    return mentioned if len(mentioned) == 1 else None


def matching_label(name: object, labels: Sequence[str]) -> str | None:
    """The label that a model named: exactly, or else with upper and lower case ignored."""
    if not isinstance(name, str):
        return None
    if name in labels:
        return name
    folded = name.strip(_QUOTES).casefold()
    return next((label for label in labels if label.casefold() == folded), None)


def label_hint(name: str, labels: Sequence[str]) -> str:
    """A remark with the label that was probably meant; empty if there is none."""
    near = closest(name, labels)
    return f" (did you mean {near!r}?)" if near else ""


def _mentions(text: str, label: str) -> bool:
    pattern = rf"(?<!\w){re.escape(label.casefold())}(?!\w)"
    return re.search(pattern, text.casefold()) is not None


def _brackets(text: str) -> Iterator[str]:
    """The parts of a text from a bracket to the one that closes it."""
    start, count = 0, 0
    while count < _MAX_CANDIDATES and (found := re.search(r"[{\[]", text[start:])):
        start += found.start()
        end = _closing(text, start)
        if end is None:
            start += 1
        else:
            yield text[start:end]
            start = end
        count += 1


def _closing(text: str, start: int) -> int | None:
    """Where the bracket at `start` is closed; None if it is not."""
    waiting: list[str] = []
    is_inside, skip = False, False
    for at in range(start, len(text)):
        letter = text[at]
        if skip:
            skip = False
        elif is_inside:
            skip = letter == "\\"
            is_inside = letter != '"'
        elif letter == '"':
            is_inside = True
        elif letter in _PAIRS:
            waiting.append(_PAIRS[letter])
        elif waiting and letter == waiting[-1]:
            waiting.pop()
            if not waiting:
                return at + 1
    return None


def _repaired(text: str) -> JSON:
    """The object or list in a text with small faults; `ValueError` if it is neither."""
    from json_repair import loads  # noqa: PLC0415  few answers need it

    if not text or _closing(text, 0) != len(text):
        raise ValueError("it is not closed")
    try:
        value: object = loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict | list):
        raise ValueError("it is no object and no list")
    return parse_json(json.dumps(cast("JSON", value)))
