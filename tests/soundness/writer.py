"""Writes random templates, mostly ones that hold, over all that `world` has to read.

What may be None or missing is mostly guarded, in one of many ways, some of them wrong; a part of
the expressions is put anywhere, whatever its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import TypeAlias

from .checks import accepted
from .constructs import OTHERS, VALUES, constructs

FAULTS = (0, 0, 1, 1, 2)
"""How many expressions of a template are taken whatever their kind, or guards are wrong."""
RECKLESS = 0.1
"""How soon they come."""
CONSTRUCTS = sorted(set(constructs()))
TRIES = 12
"""How many constructs are tried on a value before one is taken that suits it."""
SHAPES = (
    *("{{ V }}", "{{ V }}", "{{ V }}", "{{ V | string }}", "{{ V | tojson }}", "{{ V ~ '!' }}"),
    *("{% for one in V %}{{ one }}{% endfor %}", "{% for one in V %}{{ loop.index }}{% endfor %}"),
    "{% for one in V if one %}{{ one | written }}{% endfor %}",
    "{% for one, two in V %}{{ one }}={{ two }}{% endfor %}",
    "{% if V %}{{ V }}{% else %}no{% endif %}",
    "{% set it = V %}{% if it %}{{ it }}{% endif %}",
    "{% set it = V %}{% if it is not none and it is defined %}{{ it }}{% endif %}",
    "{% set it = V %}{{ it | default('d', true) }}",
    "{% set it %}{{ V }}{% endset %}{{ it | upper }}",
    "{% with it = V %}{{ it | written }}{% endwith %}",
    "{% set one, two = V %}{{ one | tojson }}",
    "{% with one, two = V %}{{ two | written }}{% endwith %}",
    "{% filter trim %}{{ V }}{% endfilter %}",
    "{% macro show(it) %}{{ it }}{% endmacro %}{{ show(V) }}",
    "{% macro show(it=V) %}{{ it }}{% endmacro %}{{ show() }}",
    "{% macro box() %}{{ caller(V) }}{% endmacro %}{% call(it) box() %}{{ it }}{% endcall %}",
    "{% set space = namespace(it=V) %}{{ space.it }}",
    "{% set space = namespace(it='') %}{% for _ in [1, 2] %}{% set space.it = V %}{% endfor %}"
    "{{ space.it }}",
    "{% if V is defined %}yes{% endif %}",
    "{% if not V %}no{% endif %}",
)
"""Statements around a value `V`, from the most to the least that they ask of it."""


@dataclass(frozen=True)
class Rec:
    fields: Mapping[str, Kind]


@dataclass(frozen=True)
class Many:
    item: Kind


@dataclass(frozen=True)
class Keyed:
    value: Kind


@dataclass(frozen=True)
class Maybe:
    """May be None; `absent` if it may be no name at all."""

    kind: Kind
    absent: bool = False


Kind: TypeAlias = str | Rec | Many | Keyed | Maybe
"""A text is "text", a number "number" or "float", then "truth", "time"; a word is "fr|de"."""

OWNER = Rec({"name": "text", "age": Maybe("number")})
THING = Rec(
    {
        "title": "text",
        "price": "float",
        "sold": "truth",
        "owner": Maybe(OWNER),
        "tags": Many("text"),
        "note": Maybe("text"),
    }
)
SAID = Rec({"input": "text", "answer": "text"})
MEMBER = Rec({"id": "text", "kind": "text", "role": "text", "description": "text"})


def _node(output: Kind, **more: Kind) -> Kind:
    return Rec({"output": output, **more})


NAMES: Mapping[str, Kind] = {
    "input": Rec({"message": "text"}),
    "user_id": Maybe("text"),
    "now": "time",
    "run": Rec({"id": "text"}),
    "session": Rec(
        {
            "id": "text",
            "summary": Maybe("text"),
            "turns": "number",
            "state": Rec({"orders": "number", "town": "text"}),
        }
    ),
    "history": Rec(
        {
            "runs": Many(SAID),
            "messages": Many(Rec({"role": "user|assistant|system", "content": "text"})),
            "summary": Maybe("text"),
            "output": "text",
        }
    ),
    "graph": Rec({"name": "text", "description": "text", "members": Many(MEMBER)}),
    "node": Rec(
        {
            "id": "text",
            "role": "text",
            "task": Maybe("text"),
            "params": Rec(
                {
                    "style": "text",
                    "most": "number",
                    "half": "float",
                    "rows": Many(Rec({"a": "number", "b": Maybe("text", absent=True)})),
                }
            ),
        }
    ),
    "upstream": Many(Rec({"id": "text", "kind": "text", "role": "text"})),
    "router": _node("english|french", reason="text"),
    "moods": _node(Many("glad|sad"), reason="text"),
    "english": Maybe(_node("text"), absent=True),
    "french": Maybe(_node("text"), absent=True),
    "maybe": Maybe(_node("text"), absent=True),
    "sad": Maybe(_node(Rec({"why": "text", "level": Maybe("number")})), absent=True),
    "triage": _node(Rec({"lang": "fr|de", "score": Maybe("float"), "tags": Many("text")})),
    "ticket": _node(
        Rec(
            {
                "urgency": "low|high",
                "owner": OWNER,
                "things": Many(THING),
                "best": Maybe(THING),
                "places": Keyed(OWNER),
                "words": Many(Maybe("text")),
            }
        )
    ),
    "shaky": _node(Maybe("text")),
    "search": _node(Many(Rec({"session_id": "text", "runs": Many(SAID)}))),
    "sights": _node(Many(Rec({"name": "text", "miles": "number"}))),
    "sight": _node(Maybe(Rec({"name": "text", "miles": "number"}))),
}


@dataclass(frozen=True)
class KeyPath:
    """An expression that reads a value; `guards` are the parts of it that may be None."""

    text: str
    kind: Kind
    guards: tuple[tuple[str, bool], ...] = ()


@dataclass
class Macro:
    name: str
    takes: tuple[Kind, ...]
    calls: bool


@dataclass
class Sight:
    """What can be read at a place: names, macros, and what a guard has found to be there."""

    names: dict[str, Kind]
    macros: dict[str, Macro] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    loops: int = 0
    depth: int = 0
    spoken: bool = False
    callers: bool = False
    spaces: tuple[str, ...] = ()

    def inside(self, **names: Kind) -> Sight:
        return Sight(
            {**self.names, **names},
            dict(self.macros),
            frozenset(each for each in self.held if each.split(".")[0] not in names),
            self.loops,
            self.depth + 1,
            self.spoken,
            self.callers,
            self.spaces,
        )


def is_text(kind: Kind) -> bool:
    return kind == "text" or (isinstance(kind, str) and "|" in kind)


def is_number(kind: Kind) -> bool:
    return kind in ("number", "float")


def is_list(kind: Kind) -> bool:
    return isinstance(kind, Many)


class Writer:
    """Writes one template after the other, as `chance` has it.

    With a `construct`, the number of one in the table, it uses this one and any others.
    """

    def __init__(self, chance: Random, *, construct: int | None = None) -> None:
        self._chance = chance
        self._faults = chance.choice(FAULTS)
        self._first = "" if construct is None else CONSTRUCTS[construct % len(CONSTRUCTS)]
        self.constructs = set[str]()
        """The constructs of the table that were written."""

    def _is_reckless(self) -> bool:
        is_fault = self._faults > 0 and self._chance.random() < RECKLESS
        self._faults -= is_fault
        return is_fault

    def files(self) -> dict[str, str]:
        """A template called `t`, and all that it reaches."""
        shared = Sight(dict(NAMES))
        part = shared.inside()
        part.depth = 3  # it includes nothing, itself least of all
        files = {"part": self.body(part, 2)}
        module = Sight({})
        takes = tuple(
            self._one("text", "number", Many("text")) for _ in range(self._chance.randrange(1, 3))
        )
        files["module"] = self._macro(module, "told", takes, around={})
        if self._chance.random() < 0.25:
            sight = Sight(dict(NAMES))
            files["base"] = (
                "{% block top %}" + self.body(sight.inside(), 1) + "{% endblock %}\n"
                "{% block end %}" + self.body(sight.inside(), 2) + "{% endblock %}"
            )
            parts = ["{% extends 'base.inline' %}"]
            for name in ("top", "end"):
                if self._chance.random() < 0.7:
                    above = "{{ super() }}" if self._chance.random() < 0.5 else ""
                    parts.append(
                        f"{{% block {name} %}}{above}{self.body(sight.inside(), 2)}{{% endblock %}}"
                    )
            files["t"] = "\n".join(parts)
        else:
            files["t"] = self.body(shared, self._chance.randrange(1, 5), whole=True)
        if self._first:
            files["t"] += self.use(self._first)
        return files

    def use(self, construct: str) -> str:
        """A statement with this construct on some value that it suits; "" if there is none."""
        self._faults = 0
        others = OTHERS if "Y" in construct else ("",)
        every = [(value, other) for value in VALUES for other in others]
        for value, other in self._chance.sample(every, len(every)):
            if written := self._applied(construct, value, other):
                self.constructs.add(construct)
                return self._shaped(written, written)
        return ""

    def body_alone(self) -> str:
        """A template that reaches no other."""
        sight = Sight(dict(NAMES))
        sight.depth = 3
        return self.body(sight, 4)

    def body(self, sight: Sight, statements: int, *, whole: bool = False) -> str:
        return "".join(self._statement(sight, whole=whole) for _ in range(statements))

    # what stands in a body

    def _statement(self, sight: Sight, *, whole: bool = False) -> str:
        plain = [self._print] * 6 + [
            self._set,
            self._set,
            self._guarded,
            self._guarded,
            self._guarded,
        ]
        deeper = [
            *(self._if, self._for, self._for, self._for, self._with, self._set_block, self._filter),
            *(self._macro_called, self._call_block, self._include, self._import, self._namespace),
            self._loop_edges,
        ]
        if self._first and "session" in sight.names:
            plain += [self._constructs] * 4
        ways: list[Callable[[Sight], str]] = plain + (deeper if sight.depth < 3 else [])
        if whole and not sight.spoken:
            ways += [self._comment]
        return self._chance.choice(ways)(sight)

    def _comment(self, sight: Sight) -> str:
        return "{# {{ nothing.here }} #}{% raw %}{{ no }}{% endraw %}"

    def _print(self, sight: Sight) -> str:
        ways = [self.text] * 4 + [self.number, self._shown]
        return f"{{{{ {self._chance.choice(ways)(sight)} }}}}\n"

    def _shown(self, sight: Sight) -> str:
        path = self._path(sight, lambda kind: not self._may_be_absent(kind))
        kept = path.text if not path.guards else f"({path.text} if {self._guard(path)} else 'no')"
        return f"{kept} | " + self._one("tojson", "fence('x')", "written")

    def _constructs(self, sight: Sight) -> str:
        """Constructs of the table one in another, on anything that can be read here.

        Whether one suits a local name is found out with a name of the same kind that all have.
        """
        path = self._path(sight, lambda kind: _of_kind(kind) != ())
        value, model = path.text, path.text
        if path.guards or self._chance.random() < 0.4:
            value = model = self._chance.choice(VALUES)
        elif path.text.split(".")[0] not in NAMES:
            model = self._chance.choice(_of_kind(path.kind))
        for _ in range(self._chance.randrange(1, 5)):
            for _ in range(TRIES):
                construct = self._chance.choice(CONSTRUCTS)
                if applied := self._applied(construct, model, self._one(*OTHERS)):
                    self.constructs.add(construct)
                    value, model = applied.replace(model, value), applied
                    break
        return self._shaped(value, model)

    def _applied(self, construct: str, value: str, other: str) -> str:
        """The construct applied to the values if the checks accept that alone, else ""."""
        applied = construct.replace("X", value).replace("Y", other)
        applied = f"({applied})"
        is_fit = self._is_reckless() or _is_accepted(f"{{% set it = {applied} %}}")
        return applied if is_fit else ""

    def _shaped(self, value: str, model: str) -> str:
        """A statement around a value: the first that the checks accept."""
        begin = self._chance.randrange(len(SHAPES))
        for shape in (*SHAPES[begin:], *SHAPES):
            if _is_accepted(shape.replace("V", model)) or self._is_reckless():
                return shape.replace("V", value)
        return ""

    def _set(self, sight: Sight) -> str:
        name = self._name(sight)
        kind, value = self._value(sight)
        self._bind(sight, name, kind)
        return f"{{% set {name} = {value} %}}"

    def _bind(self, sight: Sight, name: str, kind: Kind) -> None:
        sight.names[name] = kind
        sight.held = frozenset(each for each in sight.held if each.split(".")[0] != name)

    def _set_block(self, sight: Sight) -> str:
        name = self._name(sight)
        filters = self._one("", " | upper", " | trim")
        text = f"{{% set {name}{filters} %}}{self.body(sight.inside(), 1)}{{% endset %}}"
        self._bind(sight, name, "text")
        return text

    def _filter(self, sight: Sight) -> str:
        name = self._one("upper", "trim", "indent(2)", "fence('x')", "quote")
        return f"{{% filter {name} %}}{self.body(sight.inside(), 1)}{{% endfilter %}}"

    def _guarded(self, sight: Sight) -> str:
        """An `if` about what may be None, and reads of that in its branches."""
        paths = [path for path in self._paths(sight) if path.guards or self._is_none(path.kind)]
        if not paths:
            return self._print(sight)
        path = self._chance.choice(paths)
        over = path.text
        missing = [(each, absent) for each, absent in path.guards if each not in sight.held]
        conditions: list[str] = []
        for each, absent in missing:
            conditions.append(self._test_of(each, absent))
        if self._is_none(path.kind) and over not in {each for each, _ in missing}:
            conditions.append(self._test_of(over, self._may_be_absent(path.kind)))
        if not conditions:
            return self._print(sight)
        yes, no = sight.inside(), sight.inside()
        held = frozenset([*(each for each, _ in missing), over])
        test = " and ".join(conditions)
        shape = self._chance.random()
        if shape < 0.12:
            no.held |= held
            test = " or ".join(f"not ({each})" for each in conditions)
        elif shape < 0.2:
            no.held |= held
            test = f"not ({test})"
        elif shape < 0.26:
            yes.held |= held
            test = f"not (not ({test}) or {self.test(sight)})"
        elif shape < 0.34:
            yes.held |= held
            test = f"({test}) and {self.test(yes)}"
        elif shape < 0.36:
            yes.held |= held
            test = f"({test}) or {self.test(sight)}"
        else:
            yes.held |= held
        middle = ""
        if self._chance.random() < 0.15:
            middle = f"{{% elif {self.test(no)} %}}{self.body(no.inside(), 1)}"
        first = (self._use(yes, path) if shape >= 0.2 else "") + self.body(yes, 1)
        other = self._use(no, path) if shape < 0.2 else self.body(no, 1)
        return f"{{% if {test} %}}{first}{middle}{{% else %}}{other}{{% endif %}}"

    def _use(self, sight: Sight, path: KeyPath) -> str:
        """Something made of a value that is there now."""
        kind = path.kind.kind if isinstance(path.kind, Maybe) else path.kind
        if is_text(kind) or is_number(kind) or kind in ("truth", "time"):
            return f"{{{{ {path.text} }}}}{{{{ {path.text} | string | upper }}}}"
        if isinstance(kind, Rec):
            name, of = self._chance.choice(sorted(kind.fields.items(), key=str))
            inner = KeyPath(f"{path.text}.{name}", of)
            return self._use(sight, inner) if not isinstance(of, Maybe) else self.body(sight, 1)
        if isinstance(kind, Many):
            return self._loop_over(sight, path.text, kind.item)
        return self.body(sight, 1)

    def _test_of(self, text: str, absent: bool) -> str:
        """A guard for a value that may be None."""
        ways = [text, text, f"{text} is defined and {text}"]
        if absent:
            ways += [f"{text} is defined", f"{text} is not undefined"]
        else:
            ways += [
                f"{text} is not none",
                f"{text} != none",
                f"none != {text}",
                f"not {text} is none",
            ]
        if self._is_reckless():
            ways = [
                *(f"{text} is defined", f"{text} is not none", f"{text} is none", f"not {text}"),
                *(f"{text} is string", f"{text} == none", f"{text} | length", f"{text} is mapping"),
                *(f"{text} is not undefined", f"{text} is undefined", f"{text} is iterable"),
                *(f"{text} != ''", f"{text} | default('')", f"{text} or {text}", f"{text} is true"),
                *(
                    f"{text} is not string",
                    f"{text} in [none]",
                    f"'' == {text}",
                    f"{text} is sequence",
                ),
            ]
        return self._chance.choice(ways)

    def _if(self, sight: Sight) -> str:
        text = f"{{% if {self.test(sight)} %}}{self.body(sight.inside(), 1)}"
        for _ in range(self._chance.choice((0, 0, 1, 2))):
            text += f"{{% elif {self.test(sight)} %}}{self.body(sight.inside(), 1)}"
        if self._chance.random() < 0.5:
            text += f"{{% else %}}{self.body(sight.inside(), 1)}"
        return text + "{% endif %}\n"

    def _for(self, sight: Sight) -> str:
        if self._chance.random() < 0.1:
            inner = sight.inside(k="text", v=OWNER, loop="loop")
            inner.loops += 1
            over = self._one(
                "ticket.output.places.items()",
                "ticket.output.places | items",
                "ticket.output.places | dictsort",
            )
            return f"{{% for k, v in {over} %}}{self.body(inner, 1)}{{% endfor %}}"
        item, over = self.list(sight)
        return self._loop_over(sight, over, item)

    def _loop_over(self, sight: Sight, over: str, item: Kind) -> str:
        name = self._name(sight)
        inner = sight.inside(**{name: item, "loop": "loop"})
        inner.loops += 1
        test = (
            f" if {self.test(sight.inside(**{name: item}))}" if self._chance.random() < 0.2 else ""
        )
        otherwise = (
            f"{{% else %}}{self.body(sight.inside(), 1)}" if self._chance.random() < 0.3 else ""
        )
        return f"{{% for {name} in {over}{test} %}}{self.body(inner, 2)}{otherwise}{{% endfor %}}\n"

    def _loop_edges(self, sight: Sight) -> str:
        if not sight.loops:
            return self._for(sight)
        way = self._one(
            "{% if not loop.first %}{{ loop.previtem | tojson }}{% endif %}",
            "{% if loop.previtem is defined %}{{ loop.previtem | tojson }}{% endif %}",
            "{{ loop.nextitem | default('') | tojson }}",
            "{{ ', ' if not loop.last }}",
            "{{ loop.index ~ '/' ~ loop.length }}",
            "{{ loop.cycle('a', 'b') }}",
            "{% if loop.changed(loop.index) %}x{% endif %}",
            "{{ loop.index0 + loop.revindex }}",
        )
        if self._is_reckless():
            way = self._one(
                "{{ loop.previtem | tojson }}",
                "{{ loop.nextitem }}",
                "{{ loop.name }}",
                "{{ loop }}",
            )
        return way

    def _with(self, sight: Sight) -> str:
        name = self._name(sight)
        kind, value = self._value(sight)
        return f"{{% with {name} = {value} %}}{self.body(sight.inside(**{name: kind}), 2)}{{% endwith %}}"

    def _macro(
        self,
        sight: Sight,
        name: str,
        takes: tuple[Kind, ...],
        *,
        around: Mapping[str, Kind] | None = None,
    ) -> str:
        arguments = {f"a{index}": kind for index, kind in enumerate(takes)}
        inner = (
            sight.inside(**arguments) if around is None else Sight({**around, **arguments}, depth=3)
        )
        inner.loops = 0
        inner.held = frozenset()
        inner.names.pop("loop", None)
        inner.callers = calls = self._chance.random() < 0.3
        signature = ", ".join(
            f"{each}={self._default(kind)}"
            if index == len(takes) - 1 and self._chance.random() < 0.5
            else each
            for index, (each, kind) in enumerate(arguments.items())
        )
        body = self.body(inner, 2)
        if calls:
            body += (
                "{{ caller() if caller else '' }}" if not self._is_reckless() else "{{ caller() }}"
            )
        sight.macros[name] = Macro(name, takes, calls)
        return f"{{% macro {name}({signature}) %}}{body}{{% endmacro %}}\n"

    def _default(self, kind: Kind) -> str:
        if isinstance(kind, Maybe):
            return "none"
        return {"text": "'d'", "number": "1"}.get(str(kind), "[]")

    def _macro_called(self, sight: Sight) -> str:
        text = ""
        if not sight.macros or self._chance.random() < 0.5:
            takes = tuple(
                self._one("text", "number", Many("text"), Maybe("text"), THING, Many(SAID))
                for _ in range(self._chance.randrange(3))
            )
            text = self._macro(sight, self._one("m", "n"), takes)
        macro = self._chance.choice(sorted(sight.macros.values(), key=lambda each: each.name))
        return f"{text}{{{{ {self._called(sight, macro)} }}}}"

    def _called(self, sight: Sight, macro: Macro) -> str:
        given = [self.of(sight, kind) for kind in macro.takes]
        return f"{macro.name}({', '.join(given)})"

    def _call_block(self, sight: Sight) -> str:
        calling = [each for each in sight.macros.values() if each.calls]
        if not calling:
            return self._macro_called(sight)
        macro = self._chance.choice(sorted(calling, key=lambda each: each.name))
        return f"{{% call {self._called(sight, macro)} %}}{self.body(sight.inside(), 1)}{{% endcall %}}"

    def _include(self, sight: Sight) -> str:
        return self._one(
            "{% include 'part.inline' %}",
            "{% include ['none.jinja', 'part.inline'] %}",
            "{% include 'none.jinja' ignore missing %}",
        )

    def _import(self, sight: Sight) -> str:
        text = self.of(sight, "text")
        return self._one(
            f"{{% from 'module.inline' import told %}}{{{{ told({text}) }}}}",
            f"{{% import 'module.inline' as kit with context %}}{{{{ kit.told({text}) }}}}",
            f"{{% from 'module.inline' import told as tell %}}{{{{ tell({text}) }}}}",
        )

    def _namespace(self, sight: Sight) -> str:
        name = "ns"
        value = self.of(sight, "number")
        sight.names.pop(name, None)
        item, over = self.list(sight)
        found = self._one("i", "i2")
        inner = sight.inside(**{found: item})
        last = self.of(inner, "text")
        sight.spaces = (*sight.spaces, name)
        return (
            f"{{% set {name} = namespace(count={value}, last='nil') %}}"
            f"{{% for {found} in {over} %}}{{% set {name}.count = {name}.count + 1 %}}"
            f"{{% set {name}.last = {last} %}}{{% endfor %}}{{{{ {name}.count }}}} {{{{ {name}.last }}}}"
        )

    # expressions

    def of(self, sight: Sight, kind: Kind) -> str:
        if is_text(kind):
            return self.text(sight)
        if is_number(kind):
            return self.number(sight)
        if isinstance(kind, Maybe):
            return self._one(
                "none", self.of(sight, kind.kind), self._read(sight, lambda each: each == kind)
            )
        if isinstance(kind, Many) and kind.item == "text":
            return self._read(sight, lambda each: each == kind)
        return self._read(sight, lambda each: each == kind)

    def text(self, sight: Sight, depth: int = 2) -> str:
        if self._is_reckless():
            return self._anything(sight)
        leaf = lambda: self._read(sight, is_text, "'nil'")  # noqa: E731
        if depth <= 0 or self._chance.random() < 0.35:
            return leaf()
        inner = lambda: self.text(sight, depth - 1)  # noqa: E731
        number = lambda: self.number(sight, depth - 1)  # noqa: E731
        ways: list[Callable[[], str]] = [
            lambda: f"({inner()} {self._text_filter()})",
            lambda: f"({inner()} {self._text_filter()})",
            lambda: f"({inner()} ~ {self._one(inner, number)()})",
            lambda: f"({inner()} + {inner()})",
            lambda: f"({inner()} * 2)",
            lambda: f"({inner()} if {self.test(sight)} else {inner()})",
            lambda: f"({inner()} if {self.test(sight)})",
            lambda: f"({inner()} or {inner()})",
            lambda: f"({inner()} and {inner()})",
            lambda: f"({number()} | string)",
            lambda: f"{inner()}[:3]",
            lambda: f"{inner()}." + self._one("upper()", "strip()", "replace('a', 'b')", "title()"),
            lambda: f"('%s, %s' | format({inner()}, {number()}))",
            lambda: f"('%s' % {inner()})",
            lambda: f"'{{}}'.format({self._one(inner, number)()})",
            lambda: self._joined(sight),
            lambda: self._joined(sight),
            lambda: self._picked(sight),
            lambda: (
                "'now'"
                if "now" not in sight.names
                else "now." + self._one("isoformat()", "strftime('%Y')", "year")
            ),
        ]
        return self._chance.choice(ways)()

    def _text_filter(self) -> str:
        return self._one(
            *("| upper", "| lower", "| trim", "| truncate(9)", "| replace('a', 'b')", "| title"),
            *("| fence('x')", "| quote", "| default('d')", "| default('d', true)", "| indent(2)"),
            *("| wordwrap(10)", "| center(9)", "| truncate_chars(5)", "| e", "| capitalize"),
            *("| string", "| urlencode", "| striptags", "| reverse", "| tojson", "| trim | upper"),
        )

    def _joined(self, sight: Sight) -> str:
        item, over = self.list(sight)
        over = f"({over})"
        if is_text(item) or is_number(item):
            return (
                f"({over} | "
                + self._one(
                    "join(', ')",
                    "sort | join",
                    "unique | join",
                    "map('string') | join",
                    "reverse | join",
                    "select | join",
                    "bullets",
                    "list | tojson",
                    "join",
                )
                + ")"
            )
        fields = item.fields.items() if isinstance(item, Rec) else ()
        texts = [name for name, kind in fields if is_text(kind)]
        if not texts:
            return f"({over} | list | tojson)"
        name = self._chance.choice(texts)
        return (
            f"({over} | "
            + self._one(
                f"map(attribute='{name}') | join(', ')",
                f"join(', ', attribute='{name}')",
                f"selectattr('{name}') | map(attribute='{name}') | join",
                f"rejectattr('{name}', 'equalto', 'x') | map(attribute='{name}') | list | tojson",
                f"sort(attribute='{name}') | map(attribute='{name}') | join",
                f"groupby('{name}') | map('first') | join",
                f"map(attribute='{name}') | map('upper') | join",
                f"unique(attribute='{name}') | map(attribute='{name}') | join",
            )
            + ")"
        )

    def _picked(self, sight: Sight) -> str:
        """One of a list, where there is any."""
        path = self._path(sight, lambda kind: isinstance(kind, Many) and is_text(kind.item))
        text = path.text
        if path.guards or not isinstance(path.kind, Many):
            return "'picked'"
        if self._is_reckless():
            return self._one(
                f"({text} | first)",
                f"{text}[0]",
                f"({text} | last)",
                f"{text}[-1]",
                f"({text} | min)",
            )
        return self._one(
            f"({text} | first if {text} else 'd')",
            f"({text}[0] if {text} else 'd')",
            f"({text} | last | default('d'))",
            f"({text}[-1] | default('d'))",
            f"({text} | max | default('d'))",
        )

    def number(self, sight: Sight, depth: int = 2) -> str:
        if self._is_reckless():
            return self._anything(sight)
        if depth <= 0 or self._chance.random() < 0.4:
            if sight.loops and self._chance.random() < 0.3:
                return self._one("loop.index", "loop.index0", "loop.length", "loop.revindex")
            return self._read(sight, is_number, "7")
        inner = lambda: self.number(sight, depth - 1)  # noqa: E731
        ways: list[Callable[[], str]] = [
            lambda: f"({inner()} {self._one('+', '-', '*')} {inner()})",
            lambda: f"({inner()} {self._one('/', '//', '%')} 2)",
            lambda: f"({inner()} | {self._one('int', 'float', 'round', 'abs', 'round(1)')})",
            lambda: (
                f"({self.text(sight, depth - 1)} | {self._one('length', 'wordcount', 'int', 'float', 'count')})"
            ),
            lambda: f"(({self.list(sight)[1]}) | list | length)",
            lambda: f"(-{inner()})",
            lambda: f"({inner()} if {self.test(sight)} else {inner()})",
            lambda: f"({inner()} or {inner()})",
            lambda: self._summed(sight),
            lambda: f"({self._read(sight, is_list, '[1]')} | length)",
        ]
        return self._chance.choice(ways)()

    def _summed(self, sight: Sight) -> str:
        item, over = self.list(sight)
        if is_number(item):
            return f"(({over}) | {self._one('sum', 'list | sum')})"
        fields = item.fields.items() if isinstance(item, Rec) else ()
        numbers = [name for name, kind in fields if is_number(kind)]
        if not numbers:
            return "1"
        name = self._chance.choice(numbers)
        return self._one(
            f"(({over}) | sum(attribute='{name}'))", f"(({over}) | map(attribute='{name}') | sum)"
        )

    def test(self, sight: Sight, depth: int = 2) -> str:
        if self._is_reckless():
            return self._anything(sight)
        roll = self._chance.random()
        if depth > 0 and roll < 0.25:
            return self._one(
                f"({self.test(sight, depth - 1)} {self._one('and', 'or')} {self.test(sight, depth - 1)})",
                f"(not {self.test(sight, depth - 1)})",
            )
        path = self._path(sight, lambda kind: True)
        if path.guards:
            path = KeyPath("'plain'", "text")
        kind, text = path.kind, path.text
        ways = [
            text,
            f"{text} is defined",
            f"{text} is not none",
            f"{text} is none",
            f"{text} is string",
        ]
        if self._may_be_absent(kind):
            return self._one(text, f"{text} is defined", f"{text} is undefined")
        if isinstance(kind, str) and "|" in kind:
            words = kind.split("|")
            word = self._chance.choice(words)
            ways += [f"{text} == '{word}'", f"'{word}' != {text}", f"{text} in ['{word}']"] * 2
        elif kind == "text":
            ways += [
                f"{text} == 'hi'",
                f"'a' in {text}",
                f"{text} | length > 2",
                f"{text} != ''",
                f"{text} < 'b'",
            ]
            ways += [
                f"{text}.startswith('a')",
                f"{text} is lower",
                f"{text} is eq('b')",
                f"{text} in {self.text(sight, 0)}",
            ]
        elif is_number(kind):
            ways += [
                f"{text} > 1",
                f"{text} == 1",
                f"0 <= {text} < 9",
                f"{text} is number",
                f"{text} != {self.number(sight, 0)}",
            ]
            ways += ["%s is even" % text, "%s is divisibleby(2)" % text] if kind == "number" else []
        elif isinstance(kind, Many):
            ways += [
                f"{text} | length > 1",
                f"not {text}",
                f"{text} is iterable",
                f"{text} is sequence",
            ]
            ways += [f"'hi' in {text}"] if kind.item == "text" else []
        elif isinstance(kind, Rec):
            ways = [text, f"{text} is defined"]
        elif isinstance(kind, Maybe) and is_text(kind.kind):
            ways += [
                f"{text} == 'hi'",
                f"{text} in ['hi', none]",
                f"{text} and {text} | length > 1",
                f"{text} is none or 'a' in {text}",
            ]
        elif isinstance(kind, Maybe) and is_number(kind.kind):
            ways += [f"{text} == 1", f"({text} is not none and {text} > 1)", f"({text} or 0) > 1"]
        return self._chance.choice(ways)

    def list(self, sight: Sight) -> tuple[Kind, str]:
        """What the items of a list are, and the list."""
        path = self._path(sight, is_list)
        if not isinstance(path.kind, Many):
            return self._one(
                ("number", "range(3)"),
                ("text", "['a', 'b']"),
                ("text", "'a,b'.split(',')"),
                ("text", "'a\\nb'.splitlines()"),
            )
        text, item = path.text, path.kind.item
        if path.guards:
            text = self._one(f"({text} if {self._guard(path)} else [])", f"{text} | default([])")
            if not all(absent for _, absent in path.guards):
                text = f"({path.text} if {self._guard(path)} else [])"
        if self._is_reckless():
            return item, self._anything(sight)
        if self._chance.random() < 0.5:
            return item, text
        ways = [
            f"{text}[:2]",
            f"{text} | reverse",
            f"{text} | list",
            f"{text} + {text}",
            f"{text}[-2:]",
            f"{text} | select",
            f"({text} or [])",
        ]
        if is_text(item) or is_number(item):
            ways += [f"{text} | sort", f"{text} | unique", f"{text} | map('string')"]
            if ways[-1]:
                choice = self._chance.choice(ways)
                return ("text" if "map" in choice else item), choice
        return item, self._chance.choice(ways)

    def _value(self, sight: Sight) -> tuple[Kind, str]:
        """Anything that a name can be set to."""
        roll = self._chance.random()
        if roll < 0.35:
            return "text", self.text(sight)
        if roll < 0.5:
            return "number", self.number(sight)
        if roll < 0.6:
            item, over = self.list(sight)
            return Many(item), f"({over}) | list"
        if roll < 0.65:
            return Maybe("text"), self._one(
                "none", self._read(sight, lambda kind: kind == Maybe("text"), "none")
            )
        if roll < 0.7:
            path = self._path(
                sight, lambda kind: isinstance(kind, Many) and isinstance(kind.item, Rec)
            )
            if isinstance(path.kind, Many) and not path.guards:
                return Maybe(
                    path.kind.item, absent=True
                ), f"{path.text} | {self._one('first', 'last')}"
        path = self._path(sight, lambda kind: not self._may_be_absent(kind))
        return (path.kind, path.text) if not path.guards else ("text", "'value'")

    def _read(self, sight: Sight, fits: Callable[[Kind], bool], otherwise: str = "'nil'") -> str:
        """A path of a kind, guarded where it must be."""
        path = self._path(sight, fits)
        if not fits(path.kind):
            return otherwise
        if not path.guards:
            return path.text
        if self._is_reckless():
            return path.text
        return self._one(
            f"({path.text} if {self._guard(path)} else {otherwise})",
            f"({path.text} if {self._guard(path)} else {otherwise})",
        )

    def _guard(self, path: KeyPath) -> str:
        return " and ".join(self._test_of(*each) for each in path.guards)

    def _anything(self, sight: Sight) -> str:
        path = self._chance.choice(list(self._paths(sight)))
        return path.text + self._one(
            "",
            "",
            "",
            " | first",
            "[0]",
            ".name",
            ".items",
            "['x']",
            " | length",
            " | join",
            "()",
            " | sum",
        )

    def _path(self, sight: Sight, fits: Callable[[Kind], bool]) -> KeyPath:
        """A path of a kind that fits; a plain one if there is none."""
        found = [path for path in self._paths(sight) if fits(path.kind)]
        # What stands near is read more often than the hundred other things.
        near = [path for path in found if path.text.split(".")[0] not in NAMES]
        if near and self._chance.random() < 0.5:
            found = near
        return self._chance.choice(found) if found else KeyPath("'plain'", "text")

    def _paths(self, sight: Sight) -> Iterator[KeyPath]:
        for name, kind in sight.names.items():
            yield from _walked(KeyPath(name, kind), sight.held)

    def _is_none(self, kind: Kind) -> bool:
        return isinstance(kind, Maybe)

    def _may_be_absent(self, kind: Kind) -> bool:
        return isinstance(kind, Maybe) and kind.absent

    def _name(self, sight: Sight) -> str:
        return self._one("x", "y", "z", "each")

    def _one(self, *choices):  # noqa: ANN002, ANN202
        return self._chance.choice(choices)


@cache
def _is_accepted(template: str) -> bool:
    return accepted({"t": template})


def _of_kind(kind: Kind) -> tuple[str, ...]:
    """The paths of such a value that every template can read."""
    every = (KeyPath(name, of) for name, of in NAMES.items())
    paths = (path for each in every for path in _walked(each, frozenset()))
    return tuple(path.text for path in paths if path.kind == kind and not path.guards)


def _walked(path: KeyPath, held: frozenset[str], depth: int = 4) -> Iterator[KeyPath]:
    kind = path.kind
    if isinstance(kind, Maybe):
        if path.text in held:
            path = KeyPath(path.text, kind.kind, path.guards)
            yield path
        else:
            yield path
            path = KeyPath(path.text, kind.kind, (*path.guards, (path.text, kind.absent)))
            if not isinstance(kind.kind, Rec):
                yield path
        kind = kind.kind
    elif kind != "loop":
        yield path
    if isinstance(kind, Rec) and depth:
        for name, each in kind.fields.items():
            yield from _walked(KeyPath(f"{path.text}.{name}", each, path.guards), held, depth - 1)
