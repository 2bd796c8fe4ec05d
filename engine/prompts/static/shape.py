"""Finds the line breaks that block trimming takes away where a line of text ends in a tag.

Where role tags and text stand: what would be lost, doubled or out of order is a problem.

The tree is walked as it would be rendered, blocks in the version that a child gives them. A
template in which a role tag is reached may print nothing outside of them; a role tag may stand
neither in another one nor where text is caught (a macro, a `set`, `call` or `filter` block).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator

from jinja2 import nodes
from jinja2.lexer import Lexer
from jinja2.visitor import NodeVisitor
from msgspec import Struct, field
from msgspec.structs import replace

from ...errors import Problem
from ..positions import START, Lines, Position, position_of
from ..roles import ROLES, is_replay, role_of
from .tree import Family, Find, Parsed, Reach, Version, block_call, named, start_of


class _Spot(Struct, frozen=True):
    """Where the walk stands; `inside` names what catches the text there, None for nothing."""

    template: Parsed
    family: Family
    inside: str | None = None
    within: tuple[str, ...] = ()
    blocks: tuple[Version, ...] = ()
    version: tuple[str, int] | None = None

    def caught(self, inside: str) -> _Spot:
        return replace(self, inside=inside)


class Shape(Struct):
    """What a walk has found: whether a role tag is reached, and text outside of all."""

    speaks: bool = False
    loose: dict[Problem, None] = field(default_factory=dict[Problem, None])
    problems: dict[Problem, None] = field(default_factory=dict[Problem, None])


def shape_of(template: Parsed, find: Find) -> Shape:
    """The shape of a template and of all it reaches."""
    walk = _Walk(find, Reach(find), {})
    walk.template(_Spot(template, Family(template, find)))
    return walk.shape


class _Walk(NodeVisitor):
    """A walk through one template; `shapes` has those of the parts that were walked before."""

    def __init__(self, find: Find, reach: Reach, shapes: dict[Hashable, Shape]) -> None:
        self._find = find
        self._reach = reach
        self._shapes = shapes
        self.shape = Shape()

    def template(self, around: _Spot) -> None:
        parsed = around.template
        family = Family(parsed, self._find)
        spot = replace(around, family=family, within=(*around.within, parsed.name), version=None)
        for member in family.members[:-1]:
            self._child(member.tree.body, replace(spot, template=member))
        self._body(family.base.tree.body, replace(spot, template=family.base))

    def visit_Output(self, node: nodes.Output, spot: _Spot) -> None:
        if is_replay(node):
            self._speak(node, "{% messages %}", spot)
            return
        for child in node.nodes:
            self._printed_block(child, spot)
        self._print(node, spot)

    def visit_FilterBlock(self, node: nodes.FilterBlock, spot: _Spot) -> None:
        role = role_of(node)
        tag = f"{{% {role} %}}" if role else "a {% filter %} block"
        if role:
            self._speak(node, tag, spot)
        else:
            self._print(node, spot)
        self._body(node.body, spot.caught(tag))

    def visit_Macro(self, node: nodes.Macro, spot: _Spot) -> None:
        self._body(node.body, spot.caught("a macro"))

    def visit_AssignBlock(self, node: nodes.AssignBlock, spot: _Spot) -> None:
        self._body(node.body, spot.caught("a {% set %} block"))

    def visit_CallBlock(self, node: nodes.CallBlock, spot: _Spot) -> None:
        self._print(node, spot)
        self._body(node.body, spot.caught("a {% call %} block"))

    def visit_Block(self, node: nodes.Block, spot: _Spot) -> None:
        self._version(node.name, 0, spot)

    def visit_Include(self, node: nodes.Include, spot: _Spot) -> None:
        for parsed in self._named(node.template, spot):
            part = self._part(replace(spot, template=parsed))
            if part.speaks:
                self.shape.loose |= part.loose
            elif part.loose:
                told = f"template {parsed.name!r} prints text that is part of no message: "
                told += "include it inside {% system %} or {% user %}"
                self.shape.loose[spot.template.problem_at(node.template, "P012", told)] = None

    def visit_Import(self, node: nodes.Import, spot: _Spot) -> None:
        self._import(node, spot)

    def visit_FromImport(self, node: nodes.FromImport, spot: _Spot) -> None:
        self._import(node, spot)

    def _import(self, node: nodes.Import | nodes.FromImport, spot: _Spot) -> None:
        for parsed in self._named(node.template, spot):
            self._part(replace(spot.caught("a template that is imported"), template=parsed))

    def _part(self, spot: _Spot) -> Shape:
        """The shape of a template that is rendered here, found once for places that are alike."""
        reached = self._reach.of(spot.template)
        within = frozenset(spot.within) & reached
        blocks = frozenset(each for each in spot.blocks if each.template.name in reached)
        key = (spot.template, spot.inside, within, blocks)
        if key not in self._shapes:
            part = _Walk(self._find, self._reach, self._shapes)
            part.template(spot)
            self._shapes[key] = part.shape
        self.shape.speaks |= self._shapes[key].speaks
        self.shape.problems |= self._shapes[key].problems
        return self._shapes[key]

    def _child(self, body: Iterable[nodes.Node], spot: _Spot) -> None:
        """The top of a template that extends another: nothing there is printed."""
        for node in body:
            if isinstance(node, nodes.If):
                self._child((*node.body, *node.elif_, *node.else_), spot)
            elif isinstance(node, _SILENT):
                self.visit(node, spot)
            elif not isinstance(node, nodes.Block | nodes.Extends):
                self._print_in_child(node, spot)

    def _print_in_child(self, node: nodes.Node, spot: _Spot) -> None:
        if (place := _printed(node, spot.template)) is not None:
            told = "this stands outside the blocks of a template that extends another: "
            problem = spot.template.problem_at(place, "P015", told + "move it into a block")
            self.shape.problems[problem] = None

    def _body(self, body: Iterable[nodes.Node], spot: _Spot) -> None:
        for node in body:
            self.visit(node, spot)

    def _speak(self, node: nodes.Node, tag: str, spot: _Spot) -> None:
        self.shape.speaks = True
        if spot.inside is not None:
            told = f"{tag} stands inside {spot.inside}: messages do not nest, end that first"
            self.shape.problems[spot.template.problem_at(node, "P012", told)] = None

    def _print(self, node: nodes.Node, spot: _Spot) -> None:
        if spot.inside is None and (place := _printed(node, spot.template)) is not None:
            told = "this text is part of no message: put it into {% system %} or {% user %}"
            self.shape.loose[spot.template.problem_at(place, "P012", told)] = None

    def _printed_block(self, node: nodes.Expr, spot: _Spot) -> None:
        block = block_call(node)
        if block == "super" and spot.version is not None:
            name, level = spot.version
            self._version(name, level + 1, spot)
        elif block is not None:
            self._version(block, 0, spot)

    def _version(self, name: str, level: int, spot: _Spot) -> None:
        versions = spot.family.versions.get(name, [])
        if level >= len(versions) or (version := versions[level]) in spot.blocks:
            return
        blocks = (*spot.blocks, version)
        inner = replace(
            spot, template=version.template, blocks=blocks, version=(version.block.name, level)
        )
        self._body(version.block.body, inner)

    def _named(self, template: nodes.Expr, spot: _Spot) -> list[Parsed]:
        names = [name.value for name in named(template) or ()]
        found = [self._find(name) for name in names if name not in spot.within]
        return [each for each in found if isinstance(each, Parsed)]


_SILENT = (nodes.Assign, nodes.AssignBlock, nodes.Macro, nodes.Import, nodes.FromImport)
"""What may stand at the top of a template that extends another."""


def _printed(node: nodes.Node, template: Parsed) -> Position | None:
    """Where a statement first prints something, None if it prints nothing but space."""
    if not isinstance(node, nodes.Output):
        return position_of(node.lineno)
    for child in node.nodes:
        if not isinstance(child, nodes.TemplateData):
            if block_call(child) is None:
                return start_of(child)
        elif text := child.data.lstrip():
            offset = position_of(child.lineno).offset + len(child.data) - len(text)
            return Lines(template.source.text).position(offset)
    return None


_SUSPECT = re.compile(
    r"""^(?![ \t]*\{[%#]).*[%#]\}$           # text before a tag,
      | [%#]\}(?!\{[%#]).+[%#]\}$            # or between two,
      | ^[ \t]*\{[%#]-.*[%#]\}.+[%#]\}$      # or two, the first of which joins the line above
    """,
    re.MULTILINE | re.VERBOSE,
)
"""A line that ends in a tag after something that is printed. Few templates have one."""
_PRINTS_NOTHING = frozenset(
    (*ROLES, *(f"end{role}" for role in ROLES), "messages", "set", "endset", "macro", "endmacro")
)
_ENDS = frozenset(("block_end", "comment_end"))
_ENDS_MESSAGE = re.compile(r"\n|\s*\Z|\s*\{%[-+]?\s*end(?:system|user|assistant)\b")
"""Where nothing is lost: a blank line keeps the break, and messages lose their last one anyway."""


def swallowed(template: Parsed, lexer: Lexer) -> Iterator[Problem]:
    """A note for each tag at the end of a line of text, whose line break is not kept."""
    text = template.source.text
    if not _SUSPECT.search(text):
        return
    for tag, at, after in _ends_of_lines(lexer.tokeniter(text, template.name)):
        if tag not in _PRINTS_NOTHING and not _ENDS_MESSAGE.match(text, after):
            yield _note(template, at)


def _ends_of_lines(tokens: Iterable[tuple[int, str, str]]) -> Iterator[tuple[str, Position, int]]:
    """The tags that take a line break from a line of text, each with where the next one begins."""
    prints, tag, at = False, "", START
    for place, kind, value in tokens:
        if kind == "data":
            last = value.rpartition("\n")[2]
            prints = bool(last.strip()) or (prints and "\n" not in value)
        elif kind == "variable_begin":
            prints = True
        elif kind in ("block_begin", "comment_begin"):
            tag, at = "", position_of(place)
        elif kind == "name":
            tag = tag or value
        elif kind in _ENDS and value[0] != "-" and value[-1] == "\n":
            if prints:
                yield tag, at, position_of(place).offset + len(value)
            prints = False


def _note(template: Parsed, at: Position) -> Problem:
    told = "the line break after this tag is not printed, so the next line goes on in this one; "
    told += "write +%} to keep it, or give the tag a line of its own"
    return replace(template.problem_at(at, "P111", told), severity="note")
