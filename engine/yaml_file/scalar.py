"""What an unquoted word of YAML means: the core schema of YAML 1.2, to the letter.

`true` and `null` mean what they say; `no`, `on`, `1_000`, `12:30` and dates are text.
"""

from __future__ import annotations

import math
import re

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGERS = (
    (re.compile(r"[-+]?[0-9]+"), 10),
    (re.compile(r"0o[0-7]+"), 8),
    (re.compile(r"0x[0-9a-fA-F]+"), 16),
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
DIGITS_AT_MOST = 1000
_FIRST = frozenset("+-.0123456789")


def resolve(word: str) -> bool | int | float | str | None:
    """The value of an unquoted word.

    Raises `ValueError`, with the reason, for numbers that JSON cannot hold or nobody can mean.
    """
    if word in _NULL:
        return None
    if word in _BOOL:
        return _BOOL[word]
    if word[0] not in _FIRST:
        return word
    return _number(word)


def _number(word: str) -> int | float | str:
    if _NO_NUMBER.fullmatch(word):
        raise ValueError("is not a number that can be stored")
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(word):
            _check_length(word)
            return int(word.removeprefix("0o"), base)
    if not _FLOAT.fullmatch(word):
        return word
    _check_length(word)
    number = float(word)
    if math.isinf(number):
        raise ValueError("is too large for a number")
    return number


def _check_length(word: str) -> None:
    if len(word) > DIGITS_AT_MOST:
        raise ValueError(f"is a number of more than {DIGITS_AT_MOST} digits")
