"""Puts the tracking of words into the tree of a template, before it is compiled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar, cast

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from .environment import CONCAT, LOOP
from .position import Position, position_of
from .role import REPLAY, role_of
from .traced import Place
from .tree import Reference, start_of

MARK = "\0mark"
NAME = "\0name"
TEXT = "\0text"
PRINTED = "\0printed"
COMPUTED = "\0computed"
"""No template can name these filters: a NUL is no part of an identifier."""

_Child = TypeVar("_Child", bound=nodes.Node)

_GIVING_BACK = frozenset(("default", "d"))


class Tracer(NodeTransformer):
    """Changes the tree of the template `name`; its filters know a place by its index in `places`.

    Python evaluates arguments from left to right, so a mark that stands before an expression tells
    what was read in it.
    """

    def __init__(self, name: str, places: list[Place]) -> None:
        self._name = name
        self._places = places

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        for index, child in enumerate(node.nodes):
            if isinstance(child, nodes.TemplateData):
                node.nodes[index] = self._text(child.data, child.lineno, is_text=True)
            elif isinstance(child, nodes.Filter) and child.name == REPLAY:
                node.nodes[index] = self.visit_Filter(child)
            else:
                node.nodes[index] = self._printed(child, start_of(child))
        return node

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> nodes.FilterBlock:
        self._visit_all(node.body)
        if role_of(node) is None:
            node.filter = self._captured(node.filter)
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.AssignBlock:
        self._visit_all(node.body)
        if node.filter is not None:
            node.filter = self._captured(node.filter)
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:
        self.generic_visit(node.call)
        self._visit_all(node.defaults)
        self._visit_all(node.body)
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Filter:
        value = cast("nodes.Expr", node.node)
        if node.name == NAME:
            return node
        if node.name == CONCAT:
            parts = cast("nodes.List", value)
            parts.items = [self._printed(part, start_of(part)) for part in parts.items]
            return node
        if node.name == LOOP:
            return _filter(_mark(), LOOP, self._visited(value))
        if node.name == REPLAY:
            place = self._place(position_of(node.lineno))
            return _filter(_mark(), REPLAY, self._visited(value), place)
        node.node = self._visited(value)
        self._visit_arguments(node)
        return _computed(node)

    def visit_Test(self, node: nodes.Test) -> nodes.Test:
        node.node = self._visited(node.node)
        self._visit_arguments(node)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:
        node.node = self._visited(node.node)
        if not isinstance(node.arg, nodes.Const):
            node.arg = self._visited(node.arg)
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Expr:
        return _computed(self.generic_visit(node))

    def visit_Add(self, node: nodes.Add) -> nodes.Expr:
        return _computed(self.generic_visit(node))

    def visit_Mul(self, node: nodes.Mul) -> nodes.Expr:
        return _computed(self.generic_visit(node))

    def visit_Mod(self, node: nodes.Mod) -> nodes.Expr:
        return _computed(self.generic_visit(node))

    def visit_Name(self, node: nodes.Name) -> nodes.Expr:
        return _filter(node, NAME, nodes.Const(node.name)) if node.ctx == "load" else node

    def visit_Const(self, node: nodes.Const) -> nodes.Expr:
        text: object = node.value
        return self._text(text, node.lineno) if isinstance(text, str) and text else node

    def visit_Include(self, node: Reference) -> Reference:
        return node  # the name of a template is printed nowhere

    visit_Import = visit_FromImport = visit_Extends = visit_Include

    def _text(self, text: str, line: int, *, is_text: bool = False) -> nodes.Filter:
        place = self._place(position_of(line), is_text=is_text)
        return _filter(nodes.Const(text), TEXT, place)

    def _printed(self, node: nodes.Expr, place: Position) -> nodes.Filter:
        names = [nodes.Const(name) for name in dict.fromkeys(_names(node))]
        return _filter(_mark(), PRINTED, self._visited(node), self._place(place), *names)

    def _captured(self, outermost: nodes.Filter) -> nodes.Filter:
        """The filters of a block, given what was captured in it."""
        place, innermost = position_of(outermost.lineno), outermost
        while isinstance(innermost.node, nodes.Filter):
            innermost = innermost.node
        innermost.node = _filter(None, NAME, nodes.Const(""))
        return self._printed(outermost, place)

    def _visited(self, node: nodes.Expr) -> nodes.Expr:
        return cast("nodes.Expr", self.visit(node))

    def _visit_all(self, children: list[_Child]) -> None:
        children[:] = [cast("_Child", self.visit(child)) for child in children]

    def _visit_arguments(self, node: nodes.Filter | nodes.Test) -> None:
        """The arguments; a text among them is printed only by a filter that may give it back."""
        for index, argument in enumerate(node.args):
            if node.name in _GIVING_BACK or not isinstance(argument, nodes.Const):
                node.args[index] = self._visited(argument)

    def _place(self, place: Position, *, is_text: bool = False) -> nodes.Const:
        self._places.append(Place(self._name, int(place), place.column, is_text))
        return nodes.Const(len(self._places) - 1)


def _filter(value: nodes.Expr | None, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, [*arguments], [], None, None)


def _mark() -> nodes.Filter:
    return _filter(nodes.Const(None), MARK)


def _computed(node: nodes.Node) -> nodes.Filter:
    return _filter(_mark(), COMPUTED, cast("nodes.Expr", node))


def _names(node: nodes.Node) -> Iterator[str]:
    """The names in an expression, each with the attributes that are asked of it."""
    if (name := _dotted(node)) is not None:
        yield name
        return
    is_macro = isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name)
    for child in node.iter_child_nodes(exclude=("node",) if is_macro else ()):
        yield from _names(child)


def _dotted(node: nodes.Node) -> str | None:
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr() if (owner := _dotted(node.node)) is not None:
            return f"{owner}.{node.attr}"
        case _:
            return None
