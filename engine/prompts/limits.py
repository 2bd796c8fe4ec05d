"""Resource limits of one render: the length of its text, and a budget of work.

The length of a result is computed before the result: an operator, method or filter that would make
something huge (`"x" * 10**9`, `"%1000000000d"`) is refused. Work is counted where that is cheap: a
loop when it begins (its length is known), a call, an include, and every text that an operator,
filter or method makes longer. So an endless loop ends in an error after a bounded time, and an
ordinary prompt hardly pays for it.
"""

from __future__ import annotations

import re
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    Sized,
    ValuesView,
)
from contextvars import ContextVar
from dataclasses import is_dataclass
from enum import Enum
from functools import wraps
from itertools import islice
from pprint import pformat
from types import BuiltinMethodType, MethodType, NoneType, SimpleNamespace
from typing import TypeAlias, cast

from jinja2 import Environment, Undefined, pass_environment
from jinja2.filters import make_attrgetter
from jinja2.runtime import LoopContext, TemplateReference
from jinja2.utils import Namespace
from msgspec import Struct
from pydantic import BaseModel

from ..messages import Message, Part

PART = 20
ROUND = 50
CALL = 100
TEMPLATE = 500
"""Work units of visiting an item, an iteration, a call and an include; a character costs 1."""

_SIZED = frozenset((list, tuple))
_PRINTED = (str, int, float, Undefined)
_INTERNAL = (LoopContext, Namespace, TemplateReference)
_CONTAINERS = (list, tuple, Mapping, range)
_ATOMS = frozenset((int, float, bool, type(None)))

_WORK = 50
"""The work budget of a render, as a multiple of its maximum length."""

_COPIES = 10
"""How much one filter may copy, as a multiple of the maximum length."""


class RenderLimitExceeded(Exception):
    """A template makes more text, or does more work, than one render may."""


class RenderState:
    """A render in progress: its messages so far, and the work that it may still do."""

    __slots__ = (
        *("condition", "max_length", "message_chars", "messages", "parts", "value", "work_left"),
    )

    def __init__(self, max_length: int) -> None:
        self.messages: list[Message] = []
        self.parts: list[Part] = []
        self.max_length = max_length
        self.work_left = max_length * _WORK
        self.message_chars = 0
        self.condition = False
        self.value: object = None

    def write(self, message: Message) -> None:
        """Append a message that the template wrote itself, with what was attached in it."""
        self.message_chars += len(message.content)
        if self.message_chars > self.max_length:
            raise RenderLimitExceeded(
                f"the prompt has more than {self.max_length} characters; make it shorter"
            )
        if self.parts:
            message = message.model_copy(update={"parts": tuple(self.parts)})
            self.parts = []
        self.messages.append(message)


CURRENT_RENDER: ContextVar[RenderState] = ContextVar("render")


def charge_work(amount: int) -> None:
    """Take `amount` from the work budget of the render; raises `RenderLimitExceeded`."""
    render = CURRENT_RENDER.get()
    render.work_left -= amount
    if render.work_left < 0:
        raise RenderLimitExceeded(
            "the template does too much work: it loops, calls or builds text without end; "
            "use fewer iterations or shorter texts"
        )


def charge_length(length: int) -> None:
    """Refuse a text or list of this length before it is made, else charge it."""
    max_length = CURRENT_RENDER.get().max_length
    if length > max_length:
        raise RenderLimitExceeded(f"a text or list is longer than {max_length}; make it shorter")
    charge_work(length)


def print_value(value: object) -> str:
    """What `{{ value }}` prints; the fast path is for str."""
    return value if type(value) is str else as_text(value)


def concatenate(pieces: Iterable[str]) -> str:
    """Join the pieces, unless the text would be too long."""
    parts = pieces if isinstance(pieces, list) else list(pieces)
    charge_length(sum(map(len, parts)))
    return "".join(parts)


def charge_loop(values: Iterable[object]) -> Iterable[object]:
    """The iterable of a loop, after charging all of its iterations."""
    if type(values) not in _SIZED and not isinstance(values, Sized):
        values = list(islice(values, CURRENT_RENDER.get().work_left // ROUND + 1))
    charge_work(len(cast("Sized", values)) * ROUND)
    return values


def estimate_size(value: object, most: int, visit: Callable[[object], None] | None = None) -> int:
    """About the length of `value` as text, charging the visit; stops counting above `most`.

    `visit` is called for each part that is no text or number.
    """
    weight = parts = 0
    affordable = CURRENT_RENDER.get().work_left // PART + 1
    todo = [value]
    while todo and weight <= most and parts < affordable:
        part = todo.pop()
        parts += 1
        weight += 1
        if isinstance(part, str | bytes):
            weight += len(part)
        elif type(part) not in _ATOMS:
            if visit is not None:
                visit(part)
            todo += _parts_of(part)
    charge_work(parts * PART)
    return weight


def _parts_of(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        # A field may be called `keys` or `items`: nothing but [ ] can be trusted here.
        return [*entries, *(entries[key] for key in entries)]
    if isinstance(value, Sequence | set | frozenset):
        return cast("Iterable[object]", value)
    return ()


def limit_text(value: object) -> None:
    """Refuse a value whose text would be too long, else charge it."""
    charge_length(estimate_size(value, CURRENT_RENDER.get().max_length))


def limit_copies(value: object) -> None:
    """Refuse a list that a filter copies or searches, if it is too large, else charge it."""
    most = CURRENT_RENDER.get().max_length * _COPIES
    weight = estimate_size(value, most)
    if weight > most:
        raise RenderLimitExceeded(f"a list is longer than {most} in all; make it shorter")
    charge_work(weight)


def as_text(value: object) -> str:
    """A value as text; raises if that would be too long, or if the value has no text.

    Everything that turns a value into text passes through here, or through `printable`.
    """
    if isinstance(value, _PRINTED):
        return str(value)
    data = printable(value)
    return str(value if isinstance(value, Mapping) else data)


def printable(value: object) -> object:
    """The same value in a form whose text is only data: no object, no address, no missing value.

    Each mapping becomes a `dict`; raises `TypeError` for what has no text.
    """
    if isinstance(value, _PRINTED):
        return value
    check_printable(value)
    if not isinstance(value, _CONTAINERS):
        return value
    charge_length(estimate_size(value, CURRENT_RENDER.get().max_length, _check_part))
    return _with_dicts(value)


def check_printable(value: object) -> None:
    """Refuse an object, an iterator or a set: its text is an address, code, or in any order."""
    kind = type(value)
    name = kind.__name__
    if isinstance(value, Iterator | KeysView | ValuesView | ItemsView):
        raise TypeError(f"a {name} has no text; make it a list with | list, or a text with | join")
    if isinstance(value, set | frozenset):
        raise TypeError(f"a {name} has no text, since it has no order; make it a list with | sort")
    if isinstance(value, bytes):
        raise TypeError("bytes have no text; decode them with .decode()")
    if callable(value) and not isinstance(value, Mapping):
        raise TypeError(f"a {name} has no text; call it with ()")
    if isinstance(value, _INTERNAL) or _has_default_text(kind):
        raise TypeError(f"a {name} has no text; print one of its fields, or all with | tojson")


def _check_part(part: object) -> None:
    """Refuse what prints as code inside of a list or mapping."""
    if isinstance(part, Undefined):
        str(part)  # raises the error of this undefined value
    if not isinstance(part, _CONTAINERS) and (
        isinstance(part, Enum) or not isinstance(part, int | float)
    ):
        name = type(part).__name__
        raise TypeError(f"a {name} inside a list or mapping has no text; use | tojson")


def _has_default_text(kind: type[object]) -> bool:
    """Whether `str` of such an object shows its class or address."""
    has_own_text = kind.__str__ not in (object.__str__, BaseModel.__str__)
    is_record = issubclass(kind, BaseModel | Struct | SimpleNamespace) or is_dataclass(kind)
    return not has_own_text and (is_record or kind.__repr__ is object.__repr__)


def _with_dicts(value: object) -> object:
    """The same with a `dict` for each mapping: other mappings print as objects inside of a list."""
    if isinstance(value, list):
        return [_with_dicts(each) for each in cast("list[object]", value)]
    if isinstance(value, tuple):
        return tuple(_with_dicts(each) for each in cast("tuple[object, ...]", value))
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        return {key: _with_dicts(entries[key]) for key in entries}
    return value


Filter: TypeAlias = Callable[..., object]

_LONGEST_INTEGER = 10_000
"""In bits: Python itself does not print much longer ones."""

_MOST_DIGITS = 400
"""Digits to round to: a float has at most 308."""

_DIRECTIVE = re.compile(r"%(?:\(([^)]*)\))?[-#0 +]*(\*|\d+)?(?:\.(\*|\d+))?")
_DIGITS = re.compile(r"\d+")
_COPIED = 100
"""How many characters are copied in the time that one is examined."""

_SHORT = 1000
"""Texts up to this length are compared free of charge."""

_WIDENING = frozenset(("center", "ljust", "rjust", "zfill", "to_bytes"))


def check_operator(operator: str, left: object, right: object) -> None:
    """Refuse `left operator right` where the result would be huge."""
    match operator:
        case "+":
            charge_length(_length(left) + _length(right))
        case "*":
            _check_product(left, right)
            _check_product(right, left)
        case "**":
            if isinstance(left, int) and isinstance(right, int):
                _check_bits(left.bit_length() * max(right, 0))
        case _:
            if isinstance(left, bytes):
                percent_format(left.decode("latin-1"), right)
                raise TypeError("bytes have no formats; decode them with .decode()")


def percent_format(template: str, values: object) -> str:
    """`template % values`, unless a width in it, or the result, would be huge."""
    by_name = _by_name(values)
    charge_length(len(template))
    for name, width, precision in _DIRECTIVE.findall(template):
        if "*" in (width, precision):
            raise RenderLimitExceeded("a format has the width '*'; write the number")
        charge_length(max(int(width or 0), int(precision or 0)))
        if name in by_name:
            limit_text(by_name[name])
    if by_name:
        return template % {key: _argument(by_name[key]) for key in by_name}
    is_single = len(re.findall("%[^%]", template.replace("%%", ""))) == 1
    if isinstance(values, tuple) and not (is_single and len(values) != 1):
        return template % tuple(map(_argument, cast("tuple[object, ...]", values)))
    return template % (_argument(values),)


def _argument(value: object) -> object:
    """A value as an argument of a format: data as it is, all else as its text."""
    limit_text(value)
    value = printable(value)
    return value if isinstance(value, (*_PRINTED, *_CONTAINERS, NoneType)) else str(value)


def check_format_spec(specification: str) -> None:
    """Refuse a format specification such as `>1000000000`."""
    for size in _DIGITS.findall(specification):
        charge_length(int(size))


def check_method(
    method: BuiltinMethodType | MethodType, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[object, ...]:
    """The arguments of a method of a text or number, after checking the size of its result."""
    owner = method.__self__
    charge_value(owner)
    for value in (*args, *kwargs.values()):
        charge_comparison(value)
    if not isinstance(owner, str | bytes | int):
        charge_comparison(owner)
        return args
    size = owner.bit_length() if isinstance(owner, int) else len(owner)
    numbers = [value for value in (*args, *kwargs.values()) if isinstance(value, int)]
    match method.__name__:
        case name if name in _WIDENING:
            charge_length(max(numbers, default=0))
        case "expandtabs":
            charge_length(max(numbers, default=8) * size)
        case "replace" | "translate":
            given = [one for each in args for one in _replacements(each)]
            charge_length(size * max(1, *map(_length, given)))
        case "join" if args:
            args = ([*cast("Iterable[object]", args[0])],)
            charge_length(size * _length(args[0]))
            limit_text(args[0])
        case _:
            pass
    return args


def limited_filter(name: str, function: Filter) -> Filter:
    """Jinja's own filter `name`, with its input checked and its result charged."""
    if name in _UNCHECKED:
        return function
    if name in _OWN:
        return _OWN[name]
    check = _CHECKS.get(name)
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0
    is_text = name in _OF_TEXT

    @wraps(function)
    def filter_within_bounds(*args: object, **kwargs: object) -> object:
        charge_work(CALL)
        charge_value(value := args[passed])
        if is_text and not isinstance(value, _PRINTED):
            args = (*args[:passed], as_text(value), *args[passed + 1 :])
        elif name in _OF_MAPPINGS and isinstance(value, Mapping):
            data = {key: value[key] for key in cast("Mapping[object, object]", value)}
            args = (*args[:passed], data, *args[passed + 1 :])
        if check is not None:
            check(*args[passed:], **kwargs)
        result = function(*args, **kwargs)
        charge_value(result)
        return result

    return filter_within_bounds


def limited_test(function: Filter) -> Filter:
    """Jinja's own test, with its operands charged."""

    @wraps(function)
    def test_within_bounds(*args: object) -> object:
        for value in args:
            charge_comparison(value)
        return function(*args)

    return test_within_bounds


def charge_comparison(value: object) -> object:
    """The same value, after charging that it is compared or searched."""
    kind = type(value)
    if issubclass(kind, str | bytes):
        if len(text := cast("str", value)) > _SHORT:
            charge_work(len(text))
    elif issubclass(kind, Sequence | Mapping | set | frozenset):
        limit_copies(value)
    return value


@pass_environment
def join(
    environment: Environment,
    value: Iterable[object],
    d: str = "",
    attribute: str | int | None = None,
) -> str:
    """Jinja's `join`, unless the text would be too long."""
    values = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    texts = [as_text(each) for each in values]
    charge_length(len(d) * len(texts) + sum(map(len, texts)))
    return d.join(texts)


def pretty(value: object) -> str:
    """Jinja's `pprint`, of data only."""
    text = pformat(printable(value))
    charge_length(len(text))
    return text


def format_values(value: object, *args: object, **kwargs: object) -> str:
    """Jinja's `format`: `%` with the arguments."""
    if args and kwargs:
        raise TypeError("format takes arguments by position or by name, not both")
    return percent_format(as_text(value), kwargs or args)


def charge_value(result: object) -> None:
    """Charge the length of a new text, list or mapping."""
    if isinstance(result, str | bytes | list | tuple | dict):
        charge_length(len(cast("Sized", result)))


def slice_value(
    value: Sequence[object], start: int | None, stop: int | None, step: int | None
) -> Sequence[object]:
    """A slice of a text or list."""
    part = value[start:stop:step]
    charge_value(part)
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
        charge_length(_length(value) * max(times, 0))


def _check_bits(bits: int) -> None:
    if bits > _LONGEST_INTEGER:
        raise RenderLimitExceeded(
            f"a number has more than {_LONGEST_INTEGER} bits; make it smaller"
        )


def _by_name(values: object) -> Mapping[object, object]:
    return cast("Mapping[object, object]", values) if isinstance(values, Mapping) else {}


def _replacements(argument: object) -> Iterable[object]:
    if isinstance(argument, dict):
        return cast("dict[object, object]", argument).values()
    return (argument,)


def _round(value: object, precision: int = 0, method: str = "common") -> None:
    if abs(precision) > _MOST_DIGITS:
        raise RenderLimitExceeded(
            f"round: {precision} is more than {_MOST_DIGITS} digits; make it fewer"
        )


def _center(value: object, width: int = 80) -> None:
    charge_length(width)


def _indent(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> None:
    wide = len(width) if isinstance(width, str) else width
    charge_length(len(value) + wide * (value.count("\n") + 1))


def _replace(value: object, old: object, new: object, count: int | None = None) -> None:
    if not isinstance(old, str) or not isinstance(new, str):
        raise TypeError("replace takes two texts")
    text = as_text(value)
    charge_length(len(text) + text.count(old) * len(new))


def _wordwrap(
    value: str,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: str | None = None,
    break_on_hyphens: bool = True,
) -> None:
    charge_length(len(value) * (1 + len(wrapstring or "")))
    # What is left of a long word is copied for each line that it takes.
    max_length = max(map(len, value.split()), default=0)
    charge_work(max_length * max_length // (max(width, 1) * _COPIED))


def _parts(value: object, count: int, fill_with: object = None) -> None:
    charge_length(count)


def _text(value: object, *args: object, **kwargs: object) -> None:
    printable(value)


def _copies(value: object, *args: object, **kwargs: object) -> None:
    limit_copies(value)


_UNCHECKED = frozenset(("count", "length", "abs", "int", "float", "default", "d"))

_CHECKS: Mapping[str, Callable[..., None]] = {
    "batch": _parts,
    "center": _center,
    "dictsort": _copies,
    "groupby": _copies,
    "indent": _indent,
    "max": _copies,
    "min": _copies,
    "replace": _replace,
    "round": _round,
    "slice": _parts,
    "sort": _copies,
    "sum": _copies,
    "unique": _copies,
    "urlencode": _text,
    "wordwrap": _wordwrap,
    "xmlattr": _text,
}
"""Checks of Jinja's filters that make text longer, with the arguments of the filters."""

_OF_TEXT = frozenset(
    (
        *("upper", "lower", "title", "capitalize", "trim", "replace", "string", "center", "e"),
        *("escape", "forceescape", "striptags", "wordcount", "safe", "indent", "truncate"),
    )
)
"""Jinja's filters that make a text of their input."""

_OF_MAPPINGS = frozenset(("dictsort", "items", "urlencode", "xmlattr"))
"""Jinja's filters that call methods of a mapping; a key may have the name of one."""

_OWN: Mapping[str, Filter] = {"format": format_values, "join": join, "pprint": pretty}

COMPARING = frozenset(("lower", "upper", "in", "eq", "==", "equalto", "ne", "!=", "lt", "<")) | {
    *("lessthan", "gt", ">", "greaterthan", "le", "<=", "ge", ">="),
}
"""Jinja's tests that may search a whole value."""
