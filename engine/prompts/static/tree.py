"""Parsed templates: syntax tree, references to other templates, inheritance chains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar, cast

from jinja2 import nodes
from msgspec import Struct, field

from ...errors import Problem
from ..sources import START, LineIndex, Position, TemplateSource, position_of

Kind = TypeVar("Kind", bound=nodes.Node)


class ParsedTemplate(Struct, frozen=True, eq=False):
    """A template and its syntax tree, or the problem that prevented parsing."""

    source: TemplateSource
    tree: nodes.Template
    problem: Problem | None = None
    _found: dict[object, Sequence[nodes.Node]] = field(
        default_factory=dict[object, Sequence[nodes.Node]]
    )

    @property
    def name(self) -> str:
        """The name that other templates reference it by."""
        return self.source.name

    @property
    def parent(self) -> nodes.Extends | None:
        """The `extends` tag at the top level, if any."""
        return next((node for node in self.tree.body if isinstance(node, nodes.Extends)), None)

    def find_all(self, *kinds: type[Kind]) -> Sequence[Kind]:
        """The nodes of these kinds, in reading order; cached."""
        if kinds not in self._found:
            if nodes.Node not in self._found:
                self._found[nodes.Node] = [*_walked(self.tree)]
            everything = self._found[nodes.Node]
            self._found[kinds] = [node for node in everything if isinstance(node, kinds)]
        return cast("Sequence[Kind]", self._found[kinds])

    def after(self, node: nodes.Node, pattern: str) -> Position:
        """The position of group 1 of `pattern`, searched from `node` on; else that of `node`."""
        position = position_of(node.lineno)
        match = re.compile(pattern, re.DOTALL).search(self.source.text, position.offset)
        return LineIndex(self.source.text).position(match.start(1)) if match else position

    def problem_at(
        self,
        position: nodes.Node | Position,
        code: str,
        message: str,
        suggestion: str | None = None,
    ) -> Problem:
        """A problem at a position in this template."""
        at = position if isinstance(position, Position) else position_of(position.lineno)
        return Problem(
            code,
            message,
            file=self.source.file,
            line=int(at),
            column=at.column,
            suggestion=suggestion,
        )


TemplateLookup: TypeAlias = Callable[[str], "ParsedTemplate | Problem | None"]
"""Gets a template by name: parsed, the problem why not, or None if it does not exist."""


def literal_names(template: nodes.Expr) -> list[nodes.Const] | None:
    """The names that an include, import or extends can have, or None if computed at run time."""
    match template:
        case nodes.Const() if isinstance(template.value, str):
            return [template]
        case nodes.Tuple() | nodes.List():
            parts = template.items
        case nodes.CondExpr() if template.expr2 is not None:
            parts = [template.expr1, template.expr2]
        case _:
            return None
    found = [literal_names(part) for part in parts]
    if not found or any(names is None for names in found):
        return None
    return [name for names in found if names is not None for name in names]


Reference: TypeAlias = nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends


def references(template: ParsedTemplate) -> Sequence[Reference]:
    """The tags that reference other templates."""
    return template.find_all(nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


def is_optional(node: Reference) -> bool:
    """Whether the referenced template may be missing."""
    return isinstance(node, nodes.Include) and (
        node.ignore_missing or not isinstance(node.template, nodes.Const | nodes.CondExpr)
    )


class ReachableTemplates:
    """The transitive closure of references, itself included; cached by template."""

    def __init__(self, find: TemplateLookup) -> None:
        self._find = find
        self._known: dict[str, frozenset[str]] = {}

    def names_from(self, template: ParsedTemplate) -> frozenset[str]:
        """The names of all templates that includes, imports and parents lead to."""
        if template.name not in self._known:
            reached: set[str] = set()
            todo = [template]
            while todo:
                each = todo.pop()
                if each.name in reached:
                    continue
                reached.add(each.name)
                names = [
                    one for tag in references(each) for one in literal_names(tag.template) or ()
                ]
                found = [self._find(name.value) for name in names]
                todo += [one for one in found if isinstance(one, ParsedTemplate)]
            self._known[template.name] = frozenset(reached)
        return self._known[template.name]


class BlockOverride(Struct, frozen=True, eq=False):
    """A block as one template of an inheritance chain defines it."""

    template: ParsedTemplate
    block: nodes.Block


class InheritanceChain:
    """A template with the parents that it extends, and the overrides of their blocks.

    The overrides of a block are in the order of `super()`: the template's own first.
    """

    def __init__(self, template: ParsedTemplate, find: TemplateLookup) -> None:
        self.members = [template]
        while (tag := self.members[-1].parent) is not None:
            names = literal_names(tag.template)
            found = find(names[0].value) if names else None
            if not isinstance(found, ParsedTemplate) or found in self.members:
                break
            self.members.append(found)
        self.overrides: dict[str, list[BlockOverride]] = {}
        for member in self.members:
            for block in member.find_all(nodes.Block):
                self.overrides.setdefault(block.name, []).append(BlockOverride(member, block))

    @property
    def base(self) -> ParsedTemplate:
        """The last parent, whose text outside of blocks is rendered."""
        return self.members[-1]


def _walked(tree: nodes.Template) -> Iterator[nodes.Node]:
    todo: list[nodes.Node] = [tree]
    while todo:
        node = todo.pop()
        yield node
        todo += reversed([*node.iter_child_nodes()])


def empty_tree() -> nodes.Template:
    """The tree of a template that could not be parsed."""
    return nodes.Template([], lineno=START)


def block_call(node: nodes.Expr) -> str | None:
    """The block that a call of `self.NAME()` prints, "super" for `super()`, else None."""
    if not isinstance(node, nodes.Call):
        return None
    called = node.node
    if isinstance(called, nodes.Name) and called.name == "super":
        return "super"
    if isinstance(called, nodes.Getattr) and isinstance(called.node, nodes.Name):
        return called.attr if called.node.name == "self" else None
    return None


def start_position(node: nodes.Node) -> Position:
    """The first character of an expression: its own node may have the position of an operator."""
    parts = (node, *node.find_all(nodes.Expr))
    return min((position_of(part.lineno) for part in parts), key=lambda position: position.offset)
