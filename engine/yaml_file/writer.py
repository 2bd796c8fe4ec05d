"""Data as YAML that reads well, and that reads back as exactly the same data.

Mappings are indented, except short ones without further nesting, which stand in braces; long
texts are blocks; entries that take several lines are set apart by an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..messages import JSON
from .scalar import resolve
from .writable import check_size, check_writable

WIDTH = 100
_STEP = "  "
_KEY_AT_MOST = 120  # the parser finds a key only if its colon is near; longer ones are marked
_AIRY_DEPTHS = 2  # the file itself and its sections have empty lines between long entries

_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]')
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_WORDS = {None: "null", True: "true", False: "false"}
_SPECIAL_FIRST = frozenset("-?:,[]{}#&*!|>'\"%@`=<\t \xa0")
_UNQUOTABLE = re.compile(r":(?:\s|$)| #|^(?:---|\.\.\.)|\s$|[\n\r\t]")
# What readers of YAML 1.1 take for something else than text.
_MISTAKABLE = re.compile(
    r"(?i:y|n|yes|no|on|off|true|false|null|nan|inf)|[-+.]?[0-9][-+0-9_.:,eExXoObBa-fA-F tTzZ]*"
    r"|[-+]?\.(?:[0-9_]*|(?i:inf|nan))"
)


def dumps(data: Mapping[str, JSON]) -> str:
    """The data as YAML text; `parse(dumps(data))` has the same data.

    Raises `DefinitionError` for what YAML cannot hold: half a surrogate pair, a number that is
    none, a key that is not text, more than fifty levels.
    """
    check_writable(data)
    text = "".join(f"{line}\n" for line in mapping_lines(data, depth=0)) if data else "{}\n"
    check_size(text)
    return text


def mapping_lines(mapping: Mapping[str, JSON], *, depth: int) -> list[str]:
    """The lines of an indented mapping, each already indented by `depth` steps."""
    lines: list[str] = []
    was_long = False
    for key, value in mapping.items():
        entry = entry_lines(key, value, depth=depth)
        is_long = len(entry) > 1 and depth < _AIRY_DEPTHS
        if lines and (is_long or was_long):
            lines.append("")
        lines += entry
        was_long = is_long
    return lines


def entry_lines(key: str, value: JSON, *, depth: int) -> list[str]:
    """The lines of one key with its value."""
    pad = _STEP * depth
    word = scalar(key)
    if len(word) > _KEY_AT_MOST:
        return [f"{pad}? {word}", *_value_lines(f"{pad}:", value, depth=depth)]
    return _value_lines(f"{pad}{word}:", value, depth=depth)


def _value_lines(head: str, value: JSON, *, depth: int) -> list[str]:
    """The lines of a value, the first of them after `head`."""
    if isinstance(value, str):
        return _text_lines(head, value, depth=depth)
    if isinstance(value, Mapping) and not _fits(head, value):
        return [head, *mapping_lines(value, depth=depth + 1)]
    if isinstance(value, Sequence) and not _fits(head, value):
        return [head, *_item_lines(value, depth=depth + 1)]
    return [f"{head} {flow(value)}"]


def _fits(head: str, value: JSON) -> bool:
    """Whether a collection can stand behind `head` on one line."""
    short = flow(value)
    return short is not None and (not value or len(head) + 1 + len(short) <= WIDTH)


def _item_lines(items: Sequence[JSON], *, depth: int) -> list[str]:
    head = f"{_STEP * depth}-"
    lines: list[str] = []
    for item in items:
        if isinstance(item, Mapping) and not _fits(head, item):
            nested = mapping_lines(item, depth=depth + 1)
            lines += [f"{head} {nested[0].lstrip(' ')}", *nested[1:]]
        else:
            lines += _value_lines(head, item, depth=depth)
    return lines


def flow(value: JSON) -> str | None:
    """The value on one line, or None if it is nested or long enough to need its own lines."""
    match value:
        case str():
            return scalar(value, in_flow=True) if "\n" not in value.strip("\n") else None
        case Mapping():
            return _braces(value)
        case Sequence():
            items = [None if _is_nested(each) else flow(each) for each in value]
            words = [each for each in items if each is not None]
            return f"[{', '.join(words)}]" if len(words) == len(items) else None
        case _:
            return _WORDS[value] if value is None or isinstance(value, bool) else repr(value)


def _braces(mapping: Mapping[str, JSON]) -> str | None:
    """A mapping without mappings in it, on one line."""
    pairs: list[str] = []
    for key, value in mapping.items():
        word = scalar(key, in_flow=True)
        short = None if isinstance(value, Mapping) and value else flow(value)
        if short is None or len(word) > _KEY_AT_MOST:
            return None
        pairs.append(f"{word}: {short}")
    return "{" + ", ".join(pairs) + "}"


def _is_nested(value: JSON) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str) and bool(value)


def _text_lines(head: str, text: str, *, depth: int) -> list[str]:
    block = _block(text)
    if block is None:
        one = scalar(text)
        folded = _folded(text) if len(head) + 1 + len(one) > WIDTH else None
        if folded is None:
            return [f"{head} {one}"]
        block = folded
    pad = _STEP * (depth + 1)
    sign, lines = block
    return [f"{head} {sign}", *(f"{pad}{line}" if line else "" for line in lines)]


def _block(text: str) -> tuple[str, list[str]] | None:
    """The sign and the lines of a literal block, or None if the text is not one.

    Where more than one line break ends the text, its quoted form is the one that editors keep.
    """
    body = text.removesuffix("\n")
    if "\n" not in text or body.endswith("\n") or not body.strip() or _needs_escapes(text):
        return None
    indicator = "2" if body.lstrip("\n").startswith((" ", "\t")) else ""
    return f"|{indicator}{'' if text.endswith(chr(10)) else '-'}", body.split("\n")


def _folded(text: str) -> tuple[str, list[str]] | None:
    """The sign and the lines of a folded block for a long line of words, else None."""
    words = text.split(" ")
    if _needs_escapes(text) or "\n" in text or "\t" in text or not all(words):
        return None
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > WIDTH - 2 * len(_STEP):
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return (">-", lines) if len(lines) > 1 else None


def scalar(text: str, *, in_flow: bool = False) -> str:
    """The text on one line, quoted only if it must be."""
    if _is_plain(text, in_flow=in_flow):
        return text
    if ('"' in text or "\\" in text) and not _needs_escapes(text) and "\n" not in text:
        doubled = text.replace("'", "''")
        return f"'{doubled}'"
    return '"' + _ESCAPED.sub(lambda match: _escape(match[0]), text) + '"'


def _is_plain(text: str, *, in_flow: bool) -> bool:
    if not text or _UNQUOTABLE.search(text) or _MISTAKABLE.fullmatch(text):
        return False
    first = text[0] in _SPECIAL_FIRST and not (text[0] == "-" and text[1:2].isalnum())
    if first or (in_flow and any(sign in text for sign in ",[]{}")):
        return False
    return not _needs_escapes(text) and isinstance(resolve(text), str)


def _needs_escapes(text: str) -> bool:
    return any(match[0] not in '"\\\n\t' for match in _ESCAPED.finditer(text))


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    return f"\\u{code:04x}"
