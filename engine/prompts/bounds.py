"""How long the result of an operator, a method or one of Jinja's filters would be, asked before.

Everything here refuses what would be huge (`"x" * 10**9`, `"%1000000000d"`) and lets the rest be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from functools import wraps
from types import BuiltinMethodType
from typing import TypeAlias, cast

from jinja2 import Environment, pass_environment
from jinja2.filters import make_attrgetter

from .budget import CALL, TooMuch, allow, allow_copies_of, allow_text_of, as_text, spend

Filter: TypeAlias = Callable[..., object]

_LONGEST_INTEGER = 10_000
"""In bits: Python itself does not print much longer ones."""

_MOST_DIGITS = 400
"""Places to round to: a float has no more than 308."""

_DIRECTIVE = re.compile(r"%(?:\(([^)]*)\))?[-#0 +]*(\*|\d+)?(?:\.(\*|\d+))?")
_DIGITS = re.compile(r"\d+")
_COPIED = 100
"""Characters that are copied as fast as one is looked at."""

_SHORT = 1000
"""Characters that can be compared for nothing."""

_WIDENING = frozenset(("center", "ljust", "rjust", "zfill", "to_bytes"))


def check_operation(operator: str, left: object, right: object) -> None:
    """Refuse `left operator right` where the result would be huge."""
    match operator:
        case "+":
            allow(_length(left) + _length(right))
        case "*":
            _check_product(left, right)
            _check_product(right, left)
        case "**":
            if isinstance(left, int) and isinstance(right, int):
                _check_bits(left.bit_length() * max(right, 0))
        case _:
            if isinstance(left, str | bytes):
                text = left if isinstance(left, str) else left.decode("latin-1")
                check_percent(text, right)


def check_percent(template: str, values: object) -> None:
    """Refuse `template % values` where a width in it, or the result, would be huge."""
    named = _by_name(values)
    allow(len(template))
    for name, width, precision in _DIRECTIVE.findall(template):
        if "*" in (width, precision):
            raise TooMuch("a format has the width '*'; write the number")
        allow(max(int(width or 0), int(precision or 0)))
        if name in named:
            allow_text_of(named[name])
    if not named:
        allow_text_of(values)


def check_specification(specification: str) -> None:
    """Refuse a format specification such as `>1000000000`."""
    for size in _DIGITS.findall(specification):
        allow(int(size))


def checked_arguments(
    method: BuiltinMethodType, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[object, ...]:
    """The arguments of a text's or number's method, its result known to be bounded."""
    owner = method.__self__
    charge(owner)
    if not isinstance(owner, str | bytes | int):
        return args
    size = owner.bit_length() if isinstance(owner, int) else len(owner)
    numbers = [value for value in (*args, *kwargs.values()) if isinstance(value, int)]
    match method.__name__:
        case name if name in _WIDENING:
            allow(max(numbers, default=0))
        case "expandtabs":
            allow(max(numbers, default=8) * size)
        case "replace" | "translate":
            given = [one for each in args for one in _replacements(each)]
            allow(size * max(1, *map(_length, given)))
        case "join" if args:
            args = ([*cast("Iterable[object]", args[0])],)
            allow(size * _length(args[0]))
            allow_text_of(args[0])
        case _:
            pass
    return args


def bounded(name: str, function: Filter) -> Filter:
    """Jinja's own filter `name`, its result taken from what the rendering may spend."""
    if name in _PLAIN:
        return function
    if name == "join":
        return join
    check = _CHECKS.get(name)
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def filter_within_bounds(*args: object, **kwargs: object) -> object:
        spend(CALL)
        charge(args[passed] if len(args) > passed else None)
        if check is not None:
            check(*args[passed:], **kwargs)
        result = function(*args, **kwargs)
        charge(result)
        return result

    return filter_within_bounds


def bounded_test(function: Filter) -> Filter:
    """Jinja's own test, its values taken from what the rendering may spend."""

    @wraps(function)
    def test_within_bounds(*args: object) -> object:
        for value in args:
            compared(value)
        return function(*args)

    return test_within_bounds


def compared(value: object) -> object:
    """A value that is about to be compared with another, or looked through."""
    kind = type(value)
    if issubclass(kind, str | bytes):
        if len(text := cast("str", value)) > _SHORT:
            spend(len(text))
    elif issubclass(kind, Sequence | Mapping | set | frozenset):
        allow_copies_of(value)
    return value


@pass_environment
def join(
    environment: Environment,
    value: Iterable[object],
    d: str = "",
    attribute: str | int | None = None,
) -> str:
    """Jinja's `join`, refused before the text is made if it would be too long."""
    values = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    texts = [as_text(each) for each in values]
    allow(len(d) * len(texts) + sum(map(len, texts)))
    return d.join(texts)


def charge(result: object) -> None:
    """Take a new text, list or mapping from what the rendering may spend."""
    if isinstance(result, str | bytes | list | tuple | dict):
        allow(len(cast("Sized", result)))


def part_of(
    value: Sequence[object], start: int | None, stop: int | None, step: int | None
) -> Sequence[object]:
    """A slice of a text or list."""
    part = value[start:stop:step]
    charge(part)
    return part


def _length(value: object) -> int:
    if isinstance(value, Sequence):
        return len(cast("Sequence[object]", value))
    return 0


def _check_product(value: object, times: object) -> None:
    if not isinstance(times, int):
        return
    if isinstance(value, int):
        _check_bits(value.bit_length() + times.bit_length())
    else:
        allow(_length(value) * max(times, 0))


def _check_bits(bits: int) -> None:
    if bits > _LONGEST_INTEGER:
        raise TooMuch(f"a number has more than {_LONGEST_INTEGER} bits; make it smaller")


def _by_name(values: object) -> Mapping[object, object]:
    return cast("Mapping[object, object]", values) if isinstance(values, Mapping) else {}


def _replacements(argument: object) -> Iterable[object]:
    if isinstance(argument, dict):
        return cast("dict[object, object]", argument).values()
    return (argument,)


def _round(value: object, precision: int = 0, method: str = "common") -> None:
    if abs(precision) > _MOST_DIGITS:
        raise TooMuch(f"round: {precision} is more than {_MOST_DIGITS} digits; make it fewer")


def _center(value: object, width: int = 80) -> None:
    allow(width)


def _indent(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> None:
    wide = len(width) if isinstance(width, str) else width
    allow(len(value) + wide * (value.count("\n") + 1))


def _replace(value: object, old: str, new: str, count: int | None = None) -> None:
    text = as_text(value)
    allow(len(text) + text.count(old) * len(new))


def _wordwrap(
    value: str,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: str | None = None,
    break_on_hyphens: bool = True,
) -> None:
    allow(len(value) * (1 + len(wrapstring or "")))
    # What is left of a long word is copied for each line that it takes.
    longest = max(map(len, value.split()), default=0)
    spend(longest * longest // (max(width, 1) * _COPIED))


def _parts(value: object, count: int, fill_with: object = None) -> None:
    allow(count)


def _format(value: str, *args: object, **kwargs: object) -> None:
    check_percent(value, kwargs or args)


def _text(value: object, *args: object, **kwargs: object) -> None:
    allow_text_of(value)


def _copies(value: object, *args: object, **kwargs: object) -> None:
    allow_copies_of(value)


_PLAIN = frozenset(("count", "length", "abs", "int", "float", "default", "d"))

_CHECKS: Mapping[str, Callable[..., None]] = {
    "batch": _parts,
    "center": _center,
    "format": _format,
    "groupby": _copies,
    "indent": _indent,
    "max": _copies,
    "min": _copies,
    "pprint": _text,
    "replace": _replace,
    "round": _round,
    "slice": _parts,
    "sort": _copies,
    "string": _text,
    "sum": _copies,
    "unique": _copies,
    "wordwrap": _wordwrap,
}
"""What Jinja's filters would make longer; the checks take the same arguments as the filters."""

COMPARING = frozenset(("lower", "upper", "in", "eq", "==", "equalto", "ne", "!=", "lt", "<")) | {
    *("lessthan", "gt", ">", "greaterthan", "le", "<=", "ge", ">="),
}
"""Jinja's tests that look through all of a value."""
