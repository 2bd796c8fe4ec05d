"""Signatures of filters, methods and formats: the categories that they accept, the types returned.

Each place of a format (`"%d of %s"`, `"{:.2f}"`) accepts a category, too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count
from string import Formatter

from jinja2.sandbox import modifies_known_mutable
from msgspec import Struct
from msgspec.structs import replace

from ..environment import LOOP, SLICE
from .types import (
    ABSENT,
    ANY,
    BOOLEAN,
    BYTES,
    CALLABLE,
    CLOCK,
    CONVERTED,
    DATE,
    DURATION,
    FORMATTED,
    INDEXED,
    INTEGER,
    LISTED,
    LOOPED,
    MOMENTS,
    NONE,
    NUMBER,
    NUMERIC,
    PAIRED,
    PRINTED,
    SIZED,
    TEXT,
    TEXTUAL,
    TIME,
    USER_TEXT,
    WRITTEN,
    Accepts,
    CallableType,
    ListType,
    LiteralType,
    MappingType,
    RecordType,
    ScalarType,
    StaticType,
    TupleType,
    categories_of,
    is_user_text,
    item_type,
    keys_of,
    limited,
    members,
    min_length,
    record_type,
    union,
    value_at,
    values_of,
    without_absent,
    without_none,
    without_null,
)

Given = Mapping[int | str, StaticType]
"""The types of arguments, by position and by name."""

_TEXT, _MOMENTS = frozenset(("text",)), frozenset(("time", "date", "clock"))
_PARTS_OF_TEXT = TupleType((TEXT, TEXT, TEXT))
_OF_TEXT: Mapping[str, StaticType] = {
    **dict.fromkeys(
        (
            *("upper", "lower", "title", "capitalize", "casefold", "swapcase", "strip", "lstrip"),
            *("rstrip", "replace", "center", "ljust", "rjust", "zfill", "expandtabs", "format"),
            *("join", "removeprefix", "removesuffix", "format_map", "translate"),
        ),
        TEXT,
    ),
    **dict.fromkeys(("count", "find", "index", "rfind", "rindex"), INTEGER),
    **dict.fromkeys(("startswith", "endswith"), BOOLEAN),
    **dict.fromkeys((name for name in dir(str) if name.startswith("is")), BOOLEAN),
    **dict.fromkeys(("split", "rsplit", "splitlines"), ListType(TEXT)),
    **dict.fromkeys(("partition", "rpartition"), _PARTS_OF_TEXT),
    "encode": BYTES,
    "maketrans": MappingType(union(ANY, NONE), INTEGER),
}
_ACCEPTED_BY_TEXT: Mapping[str, Accepts] = {
    **dict.fromkeys(
        (
            *("replace", "split", "rsplit", "strip", "lstrip", "rstrip", "count", "find", "index"),
            *("removeprefix", "removesuffix", "partition", "rpartition"),
        ),
        TEXTUAL,
    ),
    "join": LOOPED,
}
_ACCEPTED_BY_TIME: Mapping[str, Accepts] = {"strftime": TEXTUAL}
_OF_DATE: Mapping[str, StaticType] = {
    **dict.fromkeys(("isoformat", "strftime", "ctime"), TEXT),
    **dict.fromkeys(("weekday", "isoweekday", "toordinal"), INTEGER),
    "isocalendar": TupleType((INTEGER, INTEGER, INTEGER), names=("year", "week", "weekday")),
    "replace": DATE,
}
_OF_CLOCK: Mapping[str, StaticType] = {
    **dict.fromkeys(("isoformat", "strftime"), TEXT),
    **dict.fromkeys(("dst", "utcoffset"), union(DURATION, NONE)),
    "tzname": union(TEXT, NONE),
    "replace": CLOCK,
}
_OF_TIME: Mapping[str, StaticType] = {
    **_OF_DATE,
    **_OF_CLOCK,
    **dict.fromkeys(("replace", "astimezone"), TIME),
    **dict.fromkeys(("time", "timetz"), CLOCK),
    "date": DATE,
    "timestamp": NUMBER,
}
_OF_NUMBER: Mapping[str, StaticType] = {
    **dict.fromkeys(("bit_length", "bit_count", "from_bytes"), INTEGER),
    **dict.fromkeys(("conjugate", "fromhex"), NUMBER),
    "as_integer_ratio": TupleType((INTEGER, INTEGER)),
    "is_integer": BOOLEAN,
    "hex": TEXT,
    "to_bytes": BYTES,
}


_BY_CATEGORY: Mapping[str, Mapping[str, StaticType]] = {
    "text": _OF_TEXT,
    "time": _OF_TIME,
    "date": _OF_DATE,
    "clock": _OF_CLOCK,
    "duration": {"total_seconds": NUMBER},
    "number": _OF_NUMBER,
    "truth": _OF_NUMBER,
    "bytes": {"decode": TEXT, "hex": TEXT},
}
_DIRECTIVE = re.compile(r"%(?:\(([^)]*)\))?[-#0 +]*(\*|\d+)?(?:\.(\*|\d*))?[hlL]?(.|$)", re.DOTALL)
_SPECIFICATION = re.compile(
    r"(?:.?([<>=^]))?([-+ ]?)z?(#?)0?\d*([,_]?)(\.\d+)?([a-zA-Z%]?)", re.DOTALL
)
_WHOLE = "bcdoxX"
_NUMBERS = "eEfFgGn%"


def method_result(owner: StaticType, name: str, given: Given) -> StaticType:
    """The type of a method call, `ANY` where unknown."""
    return union(*(_method_result(each, name, given) for each in members(owner)))


def _method_result(owner: StaticType, name: str, given: Given) -> StaticType:
    match owner:
        case MappingType(value=value, key=key):
            got = union(without_absent(value), given.get(1, NONE))
            results = _of_mapping(key, value, got, owner, given)
        case RecordType(is_mapping=True):
            found = value_at(owner, given.get(0, ANY))
            is_certain = ABSENT not in members(found)
            default = given.get(1, NONE)
            got = found if is_certain else default
            if found != ABSENT and not is_certain:
                got = union(without_absent(found), default)
            results = _of_mapping(keys_of(owner), values_of(owner), got, owner, given)
        case ListType() | TupleType():
            results = {"count": INTEGER, "index": INTEGER, "copy": owner}
        case _:
            results = _BY_CATEGORY.get(min(categories_of(owner), default="any"), {})
    if name in ("split", "rsplit") and given and results is _OF_TEXT:
        return ListType(TEXT, min_items=1)
    return results.get(name, ANY)


def _of_mapping(
    key: StaticType, value: StaticType, got: StaticType, copy: StaticType, given: Given
) -> Mapping[str, StaticType]:
    return {
        "items": ListType(TupleType((key, value))),
        "keys": ListType(key),
        "values": ListType(value),
        "get": got,
        "copy": copy,
        "fromkeys": MappingType(given.get(1, NONE), item_type(given.get(0, ANY))),
    }


def global_result(name: str, given: Given, *, has_only_keywords: bool) -> StaticType:
    """The type of a call of one of Jinja's global functions."""
    values = union(*given.values())
    match name:
        case "dict" if has_only_keywords:
            parts = {str(key): value for key, value in given.items()}
            return limited(record_type("mapping", parts, is_mapping=True))
        case "dict":
            return MappingType(ANY)
        case "joiner":
            return CallableType(union(TEXT, values))
        case "cycler" if given:
            parts = {"next": CallableType(values), "current": values, "reset": CALLABLE}
            return record_type("cycler", parts)
        case _:
            return ANY


_DATE_PARTS, _CLOCK_PARTS = ("year", "month", "day"), ("hour", "minute", "second", "microsecond")
_PARTS: Mapping[str, Sequence[str]] = {
    "date": _DATE_PARTS,
    "clock": _CLOCK_PARTS,
    "time": (*_DATE_PARTS, *_CLOCK_PARTS),
}
"""What `replace` takes of dates and times."""
_CLASSES: Mapping[str, Iterable[type]] = {
    "text": (str,),
    "number": (int, float),
    "truth": (bool,),
    "list": (list,),
    "tuple": (tuple,),
    "mapping": (dict,),
}
_LEAST_AND_MOST: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(
        ("count", "find", "index", "rfind", "rindex", "startswith", "endswith"), (1, 3)
    ),
    **dict.fromkeys(("items", "keys", "values", "copy", "conjugate", "ctime"), (0, 0)),
    **dict.fromkeys(("date", "time", "timetz", "timestamp", "total_seconds"), (0, 0)),
    **dict.fromkeys(("dst", "tzname", "utcoffset", "toordinal", "weekday"), (0, 0)),
    **dict.fromkeys(("isoweekday", "isocalendar"), (0, 0)),
    **dict.fromkeys(("isoformat", "astimezone", "hex"), (0, 1)),
    **dict.fromkeys(("strftime", "format_map"), (1, 1)),
    "maketrans": (1, 3),
}
"""How many arguments methods take of which Python does not know the signature."""


def wrong_arguments(
    owner: StaticType, name: str, positional: int, keywords: Collection[str]
) -> str | None:
    """What is wrong with the arguments of a method, as far as only their number and names say."""
    for category in categories_of(owner):
        methods = [getattr(kind(), name, None) for kind in _CLASSES.get(category, ())]
        try:
            inspect.signature(next(filter(None, methods))).bind(
                *range(positional), **dict.fromkeys(keywords)
            )
        except (StopIteration, ValueError):
            parts = _PARTS.get(category, ()) if name == "replace" else ()
            if parts and (positional > len(parts) or not {*keywords} <= {*parts}):
                return f"it takes {', '.join(parts)}"
            least, most = _LEAST_AND_MOST.get(name, (0, positional + len(keywords)))
            if not least <= positional + len(keywords) <= most:
                return f"it takes {least}" + (f" to {most}" if most > least else "")
        except TypeError as error:
            return str(error)
    return None


def wrong_types(owner: StaticType, name: str, given: Given) -> str | None:
    """What a method of a text says of arguments of these types; it is called with samples."""
    if categories_of(owner) != _TEXT or not hasattr(str, name) or name in _CHECKED_ALONE:
        return None
    samples = {key: _sample(each) for key, each in given.items()}
    if ... in samples.values():
        return None
    positional = [value for key, value in samples.items() if isinstance(key, int)]
    named = {str(key): value for key, value in samples.items() if isinstance(key, str)}
    try:
        getattr("one two", name)(*positional, **named)
    except TypeError as error:
        return str(error)
    except ValueError:  # the sample is not found: that depends on the data
        return None
    return None


def _sample(value_type: StaticType) -> object:
    """A value of the type, `...` where there is not just one kind."""
    found = _SAMPLES.get(value_type, ...)
    return "x" if found is ... and categories_of(value_type) == _TEXT else found


_CHECKED_ALONE = frozenset(("format", "format_map", "join"))
_SAMPLES: Mapping[StaticType, object] = {INTEGER: 1, NUMBER: 1.5, BOOLEAN: True, NONE: None}


def method_accepts(owner: StaticType, name: str) -> Accepts | None:
    """What a method accepts as its first argument; None if anything."""
    categories = categories_of(owner)
    if categories <= _MOMENTS:
        return _ACCEPTED_BY_TIME.get(name)
    return _ACCEPTED_BY_TEXT.get(name) if categories == _TEXT else None


def is_mutation(owner: StaticType, name: str) -> bool:
    """Whether a method would mutate a list or mapping, which the sandbox forbids."""
    match owner:
        case ListType() | TupleType():
            return modifies_known_mutable([], name)
        case MappingType():
            return modifies_known_mutable({}, name)
        case RecordType(is_mapping=True):
            return name not in owner.fields and modifies_known_mutable({}, name)
        case _:
            return False


_TEXTS = (
    *("upper", "lower", "title", "capitalize", "trim", "replace", "join", "string", "indent"),
    *("wordwrap", "truncate", "format", "e", "escape", "forceescape", "center", "urlencode"),
    *("striptags", "pprint", "filesizeformat", "xmlattr", "urlize", "safe", "truncate_chars"),
    "written",
)
_SET_APART = ("fence", "tojson", "quote", "bullets")
_RETURNS: Mapping[str, StaticType] = {
    **dict.fromkeys((*_TEXTS, *_SET_APART), TEXT),
    **dict.fromkeys(("length", "count", "int", "wordcount"), INTEGER),
    **dict.fromkeys(("float", "round", "abs", "sum"), NUMBER),
}
_LOOPING = (
    *("select", "reject", "selectattr", "rejectattr", "unique", "batch", "slice", "map", "sort"),
    *("list", "first", "min", "max", "join", "sum", "groupby", "reverse"),
)
ACCEPTS_NONE = frozenset(("tojson", "written", LOOP))
WRITES_JSON = frozenset(("fence", "bullets", "written", "tojson"))
ORDERS = frozenset(("sort", "min", "max", "groupby"))
ATTRIBUTE_AT: Mapping[str, int] = {
    "join": 1,
    "sort": 2,
    "sum": 0,
    "unique": 1,
    "min": 1,
    "max": 1,
    "groupby": 0,
    "selectattr": 0,
    "rejectattr": 0,
}
"""Where filters take the name of an attribute by position."""

_ACCEPTS: Mapping[str, Accepts] = {
    **dict.fromkeys((*_TEXTS, "wordcount"), PRINTED),
    **dict.fromkeys(_LOOPING, LOOPED),
    **dict.fromkeys(("indent", "wordwrap", "truncate", "urlize", "format"), TEXTUAL),
    **dict.fromkeys(("length", "count"), SIZED),
    **dict.fromkeys(("last", SLICE), INDEXED),
    **dict.fromkeys(("abs", "round", "filesizeformat"), NUMERIC),
    **dict.fromkeys(("int", "float"), CONVERTED),
    **dict.fromkeys(("tojson", "written", "fence"), WRITTEN),
    **dict.fromkeys(("items", "dictsort", "xmlattr"), PAIRED),
    "bullets": LISTED,
    "quote": PRINTED,
}
_ARGUMENTS: Mapping[tuple[str, int | str], Accepts] = {
    ("replace", 0): TEXTUAL,
    ("replace", 1): TEXTUAL,
    ("join", 0): TEXTUAL,
    ("join", "d"): TEXTUAL,
    ("truncate", 2): TEXTUAL,
    ("truncate", "end"): TEXTUAL,
    ("wordwrap", 2): TEXTUAL,
    ("wordwrap", "wrapstring"): TEXTUAL,
    **dict.fromkeys(
        (
            *(("truncate_chars", 0), ("center", 0), ("center", "width"), ("wordwrap", 0)),
            *(("wordwrap", "width"), ("batch", 0), ("batch", "linecount"), ("slice", 0)),
            ("slice", "slices"),
            *(("truncate", 0), ("truncate", "length"), ("truncate", 3), ("truncate", "leeway")),
            *(("round", 0), ("round", "precision"), ("int", 1), ("int", "base")),
        ),
        NUMERIC,
    ),
}


def filter_accepts(name: str) -> Accepts | None:
    """What a filter accepts; None if anything."""
    return _ACCEPTS.get(name)


def argument_accepts(name: str, key: int | str) -> Accepts | None:
    """What a filter accepts as an argument; None if anything."""
    return _ARGUMENTS.get((name, key))


def makes_text(name: str) -> bool:
    """Whether a filter converts its input to text."""
    return (
        _RETURNS.get(name) == TEXT and name not in WRITES_JSON and name != "join"
    ) or name == "wordcount"


def filter_result(
    name: str, base: StaticType, given: Given, picked: StaticType | None
) -> StaticType:
    """The type that a filter returns; `picked` is what it takes from each item, if it does."""
    item = item_type(base)
    found: StaticType
    if name == "map":
        found = ListType(ANY if picked is None else picked, is_stream=True)
    elif name == "groupby":
        group = (ANY if picked is None else picked, ListType(item, min_items=1))
        found = ListType(TupleType(group, names=("grouper", "list")))
    elif name in _TEXTS and is_user_text(base):
        found = USER_TEXT
    elif name in ("int", "float"):
        default = given.get(0, given.get("default"))
        found = _RETURNS[name] if default is None else union(_RETURNS[name], default)
    elif name in ("batch", "slice"):
        fill = given.get(1, given.get("fill_with", NONE))
        found = ListType(ListType(item if fill == NONE else union(item, fill)), is_stream=True)
    else:
        make = _MAKES.get(name)
        found = _RETURNS.get(name, ANY) if make is None else make(base)
    return found


def selected(name: str, test: object, base: StaticType) -> StaticType:
    """What `select` or `reject` returns for a test without arguments."""
    item = item_type(base)
    if name == "select" and test is None:
        item = without_null(item)
    elif (name, test) == ("reject", "none"):
        item = without_none(item)
    return ListType(item, is_stream=True)


def _picked(base: StaticType) -> StaticType:
    return item_type(base) if min_length(base) else union(item_type(base), ABSENT)


def _listed(base: StaticType) -> StaticType:
    return ListType(item_type(base), min_items=min_length(base))


def _streamed(base: StaticType) -> StaticType:
    return ListType(item_type(base), is_stream=True)


def _reversed(base: StaticType) -> StaticType:
    found = (each if each in (TEXT, USER_TEXT) else _streamed(each) for each in members(base))
    return union(*found)


def _paired(base: StaticType) -> StaticType:
    return union(*(_pairs_of(each) for each in members(base)))


def _pairs_of(base: StaticType) -> StaticType:
    match base:
        case MappingType(value=value, key=key):
            return ListType(TupleType((key, value)))
        case RecordType(is_mapping=True):
            return ListType(TupleType((keys_of(base), values_of(base))))
        case _:
            return ANY


def _sliced(base: StaticType) -> StaticType:
    parts = (
        TEXT
        if isinstance(each, LiteralType)
        else each
        if isinstance(each, ScalarType)
        else ListType(item_type(each))
        for each in members(base)
    )
    return union(*parts)


_MAKES: Mapping[str, Callable[[StaticType], StaticType]] = {
    **dict.fromkeys(("first", "last", "min", "max"), _picked),
    **dict.fromkeys(("sort", "list"), _listed),
    **dict.fromkeys(("selectattr", "rejectattr", "select", "reject", "unique"), _streamed),
    **dict.fromkeys(("items", "dictsort"), _paired),
    "reverse": _reversed,
    SLICE: _sliced,
    LOOP: lambda base: base,
}


class Place(Struct, frozen=True):
    """A place of a format: `key` is the position or the name of its argument.

    `is_whole` is true where a fraction is an error. `fields` lead from the argument to what is
    printed, as in `{0.name}`.
    """

    key: int | str
    accepts: Accepts
    is_whole: bool = False
    fields: tuple[str, ...] = ()


def percent_places(template: str) -> list[Place]:
    """The places of a format for `%`; raises `ValueError` with what is wrong in it."""
    places: list[Place] = []
    for name, width, precision, conversion in _DIRECTIVE.findall(template):
        if conversion == "%":
            continue
        if conversion not in "diouxXeEfFgGcrsa" or not conversion:
            raise ValueError(f"the format has '%{conversion}', which is none; write %% for a %")
        if "*" in (width, precision):
            raise ValueError("the format has the width '*'; write the number")
        accepts = PRINTED if conversion in "rsa" else NUMERIC
        places.append(Place(name or len(places), accepts, conversion in "oxXc"))
    return places


def brace_places(template: str) -> Iterator[Place]:
    """The places of a format for `.format()`; raises `ValueError` with what is wrong in it."""
    automatic = count()
    for _, field, specification, conversion in Formatter().parse(template):
        if field is None:
            continue
        key, fields = _key_of(field, automatic)
        yield replace(_place(key, specification or "", conversion), fields=fields)
        for _, width, _, _ in Formatter().parse(specification or ""):
            if width is not None:
                yield Place(_key_of(width, automatic)[0], NUMERIC, is_whole=True)


def _key_of(field: str, automatic: Iterator[int]) -> tuple[int | str, tuple[str, ...]]:
    """The argument that a field names, and the fields of it: `{0.name}` has one."""
    name, *fields = re.split(r"[.\[]", field)
    key = int(name) if name.isdigit() else name or next(automatic)
    return key, tuple(each.removesuffix("]") for each in fields)


def _place(key: int | str, specification: str, conversion: str | None) -> Place:
    if not specification or conversion or "{" in specification:
        return Place(key, PRINTED)
    found = _SPECIFICATION.fullmatch(specification)
    if found is None:
        return Place(key, MOMENTS)
    align, sign, alternate, grouped, precision, kind = found.groups()
    if kind and kind in _WHOLE + _NUMBERS:
        return Place(key, NUMERIC, is_whole=kind in _WHOLE)
    if align == "=" or sign or alternate or grouped:
        return Place(key, NUMERIC)
    return Place(key, TEXTUAL if precision or kind else FORMATTED)
