"""Every filter, method, test and operator that the sandbox allows, each applied to every kind of value.

`X` is the value, `Y` another one. A construct that is missing here fails a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta

FILTERS: Mapping[str, tuple[str, ...]] = {
    "abs": ("X | abs",),
    "attr": ("X | attr('id')", "X | attr('output')", "X | attr(input.message)"),
    "batch": ("X | batch(2) | list", "X | batch(2, none) | map('list') | list"),
    "bullets": ("X | bullets",),
    "capitalize": ("X | capitalize",),
    "center": ("X | center(9)",),
    "count": ("X | count",),
    "d": ("X | d('')", "X | d", "X | d(none)"),
    "default": ("X | default('')", "X | default('', true)", "X | default(none)"),
    "dictsort": ("X | dictsort", "X | dictsort(by='value')"),
    "e": ("X | e",),
    "escape": ("X | escape",),
    "fence": ("X | fence('x')",),
    "filesizeformat": ("X | filesizeformat",),
    "first": ("X | first",),
    "float": ("X | float", "X | float(none)"),
    "forceescape": ("X | forceescape",),
    "format": (
        *("X | format", "'%s' | format(X)", "'%r' | format(X)", "'%(a)s' | format(a=X)"),
        *("'%d of %s' | format(X, Y)", "'%.1f' | format(X)", "'%x' | format(X)"),
    ),
    "groupby": (
        "X | groupby('input')",
        "X | groupby('input') | map(attribute='grouper') | list",
        "X | groupby('note', default=none) | map(attribute='grouper') | list",
        "X | groupby('input') | map('first') | list",
    ),
    "indent": ("X | indent(2)",),
    "int": ("X | int", "X | int(none)"),
    "items": (
        "X | items | list",
        "X | items | map('last') | list",
        "X | items | map('join') | join",
    ),
    "join": ("X | join(', ')", "X | join(', ', 'input')", "X | join(attribute='note')"),
    "last": ("X | last",),
    "length": ("X | length",),
    "list": ("X | list",),
    "lower": ("X | lower",),
    "map": (
        "X | map('upper') | list",
        "X | map('pprint') | list",
        "X | map('string') | join",
        "X | map('list') | list",
        "X | map('attr', 'input') | list",
        "X | map(attribute='note') | list",
        "X | map(attribute='note', default=none) | list",
        "X | map(attribute='note', default='') | list",
        "X | map('default', '') | list",
        "X | map('int', none) | list",
        "X | map('items') | map('list') | list",
        "X | map('tojson') | join",
        "X | map('written') | join",
        "X | map('join') | list",
    ),
    "max": ("X | max", "X | max(attribute='price')"),
    "min": ("X | min", "X | min(attribute='price')"),
    "pprint": ("X | pprint",),
    "quote": ("X | quote",),
    "reject": ("X | reject('none') | list", "X | reject | list", "X | reject('string') | list"),
    "rejectattr": ("X | rejectattr('note') | list", "X | rejectattr('note', 'none') | list"),
    "replace": ("X | replace('a', 'b')", "'a' | replace('a', X)"),
    "reverse": ("X | reverse | list", "X | reverse"),
    "round": ("X | round", "X | round(1, 'floor')"),
    "safe": ("X | safe",),
    "select": ("X | select | list", "X | select('string') | list", "X | select('>', 1) | list"),
    "selectattr": ("X | selectattr('note') | list", "X | selectattr('price', '>', 1) | list"),
    "slice": ("X | slice(2) | list", "X | slice(2, none) | map('list') | list"),
    "sort": ("X | sort", "X | sort(attribute='price') | list", "X | sort(false, true, 'input')"),
    "string": ("X | string",),
    "striptags": ("X | striptags",),
    "sum": ("X | sum", "X | sum(attribute='price')"),
    "title": ("X | title",),
    "tojson": ("X | tojson", "X | tojson(2)"),
    "trim": ("X | trim",),
    "truncate": ("X | truncate(9)", "X | truncate(9, true, '...')"),
    "truncate_chars": ("X | truncate_chars(3)",),
    "unique": ("X | unique | list", "X | unique(attribute='input') | list"),
    "upper": ("X | upper",),
    "urlencode": ("X | urlencode",),
    "urlize": ("X | urlize",),
    "wordcount": ("X | wordcount",),
    "wordwrap": ("X | wordwrap(5)",),
    "written": ("X | written",),
    "xmlattr": ("X | xmlattr",),
}

TESTS: Mapping[str, str] = {
    **{name: f"X is {name}" for name in ("boolean", "callable", "defined", "escaped", "even")},
    **{name: f"X is {name}" for name in ("false", "float", "integer", "iterable", "lower")},
    **{name: f"X is {name}" for name in ("mapping", "none", "number", "odd", "sequence")},
    **{name: f"X is {name}" for name in ("string", "true", "undefined", "upper")},
    **{name: f"X is {name} Y" for name in ("eq", "equalto", "ne", "sameas", "in", "lt", "le")},
    **{name: f"X is {name} Y" for name in ("lessthan", "gt", "ge", "greaterthan")},
    **{name: f"[X] | select('{name}', Y) | list | length" for name in ("==", "!=", "<", "<=")},
    **{name: f"[X] | select('{name}', Y) | list | length" for name in (">", ">=")},
    "divisibleby": "X is divisibleby(3)",
    "filter": "X is filter",
    "test": "X is test",
}

OPERATORS = (
    *("X + Y", "X - Y", "X * 2", "2 * X", "X / 2", "X // 2", "X % 2", "X ** 2", "-X", "+X"),
    *("'%d' % X", "'%5.1f %s' % (X, Y)", "'{:.2f}'.format(X)", "'{0:,} {a:d}'.format(X, a=Y)"),
    *("X ~ Y", "X ~ 'a'", "'%s' % X", "'%r' % (X,)", "'%(a)s' % {'a': X}", "not X"),
    *("X and Y", "X or Y", "X or none", "X if Y", "X if Y else none", "X == Y", "X != Y"),
    *(
        "X < Y",
        "X <= Y",
        "X > Y",
        "X >= Y",
        "X in Y",
        "X not in Y",
        "X[0]",
        "X[-1]",
        "X[:2]",
        "X['input']",
    ),
    *("X[0:1][0]", "[X]", "[X, Y]", "(X, Y)", "{'a': X}", "{'a': X}.a", "{'a': X}['a']"),
    *("[X][0]", "(X, 1)[0]", "[X] + [Y]", "(X,) + (Y,)", "[X] * 2", "{'a': X}.get('b')"),
    *("{'a': X}.get('a')", "{'a': X} | list", "{'a': X} | length", "{'a': X}.values() | list"),
    *("{'a': X} | items | list", "{'a': X}[triage.output.lang]", "dict(a=X).a", "dict(a=X)"),
    *("namespace(a=X).a", "namespace(a=X)", "cycler(X, Y).next()", "cycler(X).current", "X"),
    *("joiner(X)()", "range(3)", "range(X)", "cycler(X)", "joiner(X)", "X()", "X.a", "X.input"),
)

METHODS: Mapping[type, Mapping[str, str]] = {
    str: {
        **{name: f"X.{name}()" for name in ("capitalize", "casefold", "encode", "expandtabs")},
        **{name: f"X.{name}()" for name in dir(str) if name.startswith("is")},
        **{name: f"X.{name}()" for name in ("lower", "lstrip", "rsplit", "rstrip", "split")},
        **{name: f"X.{name}()" for name in ("splitlines", "strip", "swapcase", "title", "upper")},
        **{name: f"X.{name}('a')" for name in ("count", "endswith", "find", "partition")},
        **{name: f"X.{name}('a')" for name in ("removeprefix", "removesuffix", "rfind")},
        **{name: f"X.{name}('a')" for name in ("rpartition", "startswith")},
        **{name: f"X.{name}(9)" for name in ("center", "ljust", "rjust", "zfill")},
        "format": "'{} {!r} {:>9}'.format(X, Y, X)",
        "format_map": "'{a}'.format_map({'a': X})",
        "index": "('a' ~ X).index('a')",
        "join": "X.join(['a', 'b'])",
        "maketrans": "X.maketrans('a', 'b')",
        "replace": "X.replace('a', 'b')",
        "rindex": "('a' ~ X).rindex('a')",
        "translate": "X.translate({97: 'b'})",
    },
    list: {
        "copy": "[X].copy()",
        "count": "[X].count(Y)",
        "index": "[1, 2].index(1)",
    },
    tuple: {"count": "(X, 1).count(Y)", "index": "(1, 2).index(1)"},
    dict: {
        "copy": "{'a': X}.copy()",
        "fromkeys": "{}.fromkeys(['a'], X)",
        "get": "X.get('a')",
        "items": "X.items() | list",
        "keys": "X.keys() | list",
        "values": "X.values() | list",
    },
    int: {
        **{name: f"X.{name}()" for name in ("as_integer_ratio", "bit_count", "bit_length")},
        **{name: f"X.{name}" for name in ("denominator", "imag", "numerator", "real")},
        "conjugate": "X.conjugate()",
        "from_bytes": "(1).from_bytes('a'.encode(), 'big')",
        "to_bytes": "(1).to_bytes(1, 'big')",
    },
    float: {
        **{name: f"X.{name}()" for name in ("as_integer_ratio", "conjugate", "hex")},
        **{name: f"X.{name}" for name in ("imag", "real")},
        "fromhex": "(1.5).fromhex('0x1.8p+0')",
        "is_integer": "X.is_integer()",
    },
    bytes: {"decode": "'a'.encode().decode()", "hex": "X.encode().hex()"},
    datetime: {
        **{name: f"X.{name}" for name in ("year", "month", "day", "hour", "minute", "second")},
        **{name: f"X.{name}()" for name in ("weekday", "isoweekday", "isocalendar", "toordinal")},
        **{name: f"X.{name}()" for name in ("dst", "tzname", "utcoffset", "isoformat", "ctime")},
        **{name: f"X.{name}()" for name in ("date", "time", "timetz", "timestamp", "astimezone")},
        "microsecond": "X.microsecond",
        "replace": "X.replace(day=1)",
        "strftime": "X.strftime('%Y')",
    },
    date: {
        **{name: f"now.date().{name}" for name in ("year", "month", "day")},
        **{name: f"now.date().{name}()" for name in ("weekday", "isoweekday", "isocalendar")},
        **{name: f"now.date().{name}()" for name in ("toordinal", "isoformat", "ctime")},
        "replace": "now.date().replace(day=1)",
        "strftime": "now.date().strftime('%Y')",
    },
    time: {
        **{name: f"now.time().{name}" for name in ("hour", "minute", "second", "microsecond")},
        **{name: f"now.time().{name}()" for name in ("dst", "tzname", "utcoffset", "isoformat")},
        "replace": "now.time().replace(hour=1)",
        "strftime": "now.time().strftime('%H')",
    },
    timedelta: {
        **{name: f"(now - X).{name}" for name in ("days", "seconds", "microseconds")},
        "total_seconds": "(now - X).total_seconds()",
    },
}
"""The methods by type; a list and a mapping may not be changed, so what would change is missing.

Of bytes and of times there are some only; the checks refuse the others.
"""

VALUES = (
    *("input.message", "user_id", "session.turns", "ticket.output.best", "ticket.output.owner"),
    *("triage.output", "triage.output.score", "triage.output.lang", "triage.output.tags", "none"),
    *("ticket.output.things", "ticket.output.words", "ticket.output.places", "session.state"),
    *(
        "ticket.output.pair",
        "history.runs",
        "history.messages",
        "history",
        "session",
        "node",
        "now",
    ),
    *("node.params", "node.params.deep", "node.params.rows", "node.params.half", "node.tools"),
    *(
        "moods.output",
        "search.output",
        "sights.output",
        "sight.output",
        "upstream",
        "graph.members",
    ),
    *("[none]", "[[none]]", "['a', 'b']", "[1, 2]", "('a', 1)", "[('a', none)]", "range", "true"),
    *("{'a': none}", "{'a': 'b'}", "{'a': {'a': 1}}", "[now]", "('a' if user_id)", "'a'", "1.5"),
    *("(user_id | default(none))", "[history.runs]", "(['a'] | map('upper'))", "'a'.upper", "[]"),
    *(
        "{}",
        "['a', none]",
        "node.returns",
    ),
)
OTHERS = ("1", "'a'", "none", "session", "ticket.output.words")


def constructs() -> Iterator[str]:
    """Every use of a construct, with `X` and `Y` in place of values."""
    for uses in FILTERS.values():
        yield from uses
    yield from TESTS.values()
    yield from OPERATORS
    for methods in METHODS.values():
        yield from methods.values()


def applied(construct: str, others: Sequence[str] = OTHERS) -> Iterator[str]:
    """The expressions in which every value takes part in a construct."""
    for value in VALUES:
        for other in others if "Y" in construct else ("",):
            yield construct.replace("X", value).replace("Y", other)
