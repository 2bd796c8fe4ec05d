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

from .budget import TooMuch, allow, allow_copies_of, allow_text_of, as_text

Filter: TypeAlias = Callable[..., object]

_LONGEST_INTEGER = 10_000
"""In bits: Python itself does not print much longer ones."""

_DIRECTIVE = re.compile(r"%(?:\([^)]*\))?[-#0 +]*(\*|\d+)?(?:\.(\*|\d+))?")
_DIGITS = re.compile(r"\d+")
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
    for width, precision in _DIRECTIVE.findall(template):
        if "*" in (width, precision):
            raise TooMuch("a format has the width '*'; write the number")
        allow(max(int(width or 0), int(precision or 0)))
    allow(len(template))
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
            longest = max((len(each) for each in args if isinstance(each, str)), default=1)
            allow(size * max(longest, 1))
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
        if check is not None:
            check(*args[passed:], **kwargs)
        result = function(*args, **kwargs)
        charge(result)
        return result

    return filter_within_bounds


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


def _parts(value: object, count: int, fill_with: object = None) -> None:
    allow(count)


def _format(value: str, *args: object, **kwargs: object) -> None:
    check_percent(value, kwargs or args)


def _text(value: object, *args: object, **kwargs: object) -> None:
    allow_text_of(value)


def _copies(value: object, *args: object, **kwargs: object) -> None:
    allow_copies_of(value)


_PLAIN = frozenset(("count", "length", "abs", "int", "float", "round", "default", "d"))

_CHECKS: Mapping[str, Callable[..., None]] = {
    "batch": _parts,
    "center": _center,
    "format": _format,
    "groupby": _copies,
    "indent": _indent,
    "pprint": _text,
    "replace": _replace,
    "slice": _parts,
    "sort": _copies,
    "string": _text,
    "sum": _copies,
    "unique": _copies,
    "wordwrap": _wordwrap,
}
"""What Jinja's filters would make longer; the checks take the same arguments as the filters."""
