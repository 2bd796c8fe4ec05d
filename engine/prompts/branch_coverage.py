"""Branch coverage of templates: probes in the syntax tree count what is rendered.

A template that is compiled while no coverage is measured has no probes, so this costs nothing in
production. Probes count that a condition was true or a body was entered, and change no output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, cast

from jinja2 import nodes

from .environment import BRANCH, HIT, LOOP, PromptEnvironment
from .sources import TemplateSource, position_of

NEVER_EMPTY = "{# never empty #}"
NO_COVER = "{# no cover #}"
"""Comments on the line of a tag: the loop always runs; its branches are not counted."""


class Branch(NamedTuple):
    """A branch of a template; `what` describes it, `template` is its file."""

    template: str
    line: int
    column: int
    what: str


class Coverage:
    """Counters of the branches of all templates compiled while this is the current coverage.

    `folders` are the search paths of the graphs loaded meanwhile.
    """

    def __init__(self) -> None:
        self.folders: set[tuple[Path, ...]] = set()
        self._numbers: dict[Branch, int] = {}
        self._counts: list[int] = []

    @property
    def counts(self) -> dict[Branch, int]:
        """How often each branch was taken, in reading order."""
        return {branch: self._counts[self._numbers[branch]] for branch in sorted(self._numbers)}

    def add(self, branch: Branch, count: int = 0) -> int:
        """Register a branch, add `count` to its counter, and return its number."""
        number = self._numbers.setdefault(branch, len(self._counts))
        if number == len(self._counts):
            self._counts.append(0)
        self._counts[number] += count
        return number

    def watch(self, environment: PromptEnvironment) -> None:
        """Register the probe filters in an environment."""
        environment.filters |= {HIT: self._count_hit, BRANCH: self._count_branch}

    def probe(self, environment: PromptEnvironment, source: TemplateSource) -> nodes.Template:
        """Parse a template again, with probes in its tree."""
        tree = environment.read(source.text, source.name)
        _Probes(self, source).insert(tree)
        return cast("nodes.Template", tree.set_environment(environment))

    def _count_hit(self, value: object, number: int) -> object:
        self._counts[number] += 1
        return value

    def _count_branch(self, value: object, true: int | None, false: int | None) -> object:
        number = true if value else false
        if number is not None:
            self._counts[number] += 1
        return value


CURRENT_COVERAGE: ContextVar[Coverage | None] = ContextVar("measured", default=None)
"""The coverage that templates compiled now are counted in, or None."""


class _Probes:
    def __init__(self, coverage: Coverage, source: TemplateSource) -> None:
        self._coverage = coverage
        self._lines = source.text.split("\n")
        self._template = source.file or f"{source.name}#{_short_hash(source.text)}"

    def insert(self, tree: nodes.Template) -> None:
        guarded = set(_guarded(tree))
        parts = list(tree.find_all((nodes.If, nodes.For, nodes.CondExpr, nodes.Macro)))
        elifs = {id(one) for part in parts if isinstance(part, nodes.If) for one in part.elif_}
        for part in parts:
            match part:
                case nodes.If() if id(part) not in elifs:
                    self._insert_if(part)
                case nodes.For():
                    self._insert_for(part, is_guarded=id(part) in guarded)
                case nodes.CondExpr():
                    part.test = self._with_branch_probe(part.test, part, "inline if", "inline else")
                case nodes.Macro():
                    part.body.insert(0, self._entered(part, f"macro {part.name} called"))
                case _:
                    pass
        tree.body.insert(0, self._entered(tree, "template rendered"))

    def _insert_if(self, tag: nodes.If) -> None:
        otherwise = "else taken" if tag.else_ else "if not taken"
        chain = [tag, *tag.elif_]
        for one in chain:
            what = "if taken" if one is tag else "elif taken"
            last = otherwise if one is chain[-1] else None
            one.test = self._with_branch_probe(one.test, one, what, last, tag)

    def _insert_for(self, tag: nodes.For, *, is_guarded: bool) -> None:
        tag.body.insert(0, self._entered(tag, "for ran"))
        if not is_guarded and NEVER_EMPTY not in self._line(tag):
            tag.else_.insert(0, self._entered(tag, "for empty"))

    def _with_branch_probe(
        self,
        test: nodes.Node,
        tag: nodes.Node,
        true: str,
        false: str | None,
        whole: nodes.Node | None = None,
    ) -> nodes.Expr:
        numbers = [
            self._number(tag, true),
            None if false is None else self._number(whole or tag, false),
        ]
        return _filtered(cast("nodes.Expr", test), BRANCH, numbers)

    def _entered(self, tag: nodes.Node, what: str) -> nodes.ExprStmt:
        nothing = nodes.Const(None, lineno=tag.lineno)
        probe = _filtered(nothing, HIT, [self._number(tag, what)])
        return nodes.ExprStmt(probe, lineno=tag.lineno)

    def _number(self, tag: nodes.Node, what: str) -> int:
        place = position_of(tag.lineno)
        branch = Branch(self._template, int(place), place.column, what)
        return self._coverage.add(branch, 1 if NO_COVER in self._line(tag) else 0)

    def _line(self, tag: nodes.Node) -> str:
        return self._lines[int(tag.lineno) - 1] if tag.lineno <= len(self._lines) else ""


def _filtered(value: nodes.Expr, name: str, numbers: Iterable[int | None]) -> nodes.Filter:
    constants: list[nodes.Expr] = [nodes.Const(each, lineno=value.lineno) for each in numbers]
    return nodes.Filter(value, name, constants, [], None, None, lineno=value.lineno)


def _guarded(tree: nodes.Template) -> Iterator[int]:
    """The loops inside an `if` that tests the very expression they iterate over."""
    for tag in tree.find_all(nodes.If):
        inside = (loop for part in tag.body for loop in _loops(part))
        yield from (id(loop) for loop in inside if _iterated(loop) == tag.test)


def _loops(part: nodes.Node) -> Iterator[nodes.For]:
    if isinstance(part, nodes.For):
        yield part
    yield from part.find_all(nodes.For)


def _iterated(loop: nodes.For) -> nodes.Node | None:
    """What a loop iterates over, without the filter that charges its iterations."""
    with_limits: nodes.Node = loop.iter
    if (
        not isinstance(with_limits, nodes.Filter)
        or with_limits.name != LOOP
        or loop.test is not None
    ):
        return None
    return with_limits.node


def _short_hash(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()[:8]
