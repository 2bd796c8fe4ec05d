"""Which names an expression reads from the context, and where they stand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import TypeAlias

from jinja2 import nodes
from jinja2.visitor import NodeVisitor
from msgspec import Struct

from .guard import tests
from .position import position_of
from .scope import Binding, MacroBinding, ModuleBinding, Place
from .tree import block_call


class Read(Struct, frozen=True):
    """A name that a template reads from its context.

    `path` goes as far as it is written down: `router.output.lang`; methods that are called are no
    part of it. `line` and `column` are the place of the name. `guarded` is true if the name is only
    tested there, or stands where a test has found it to be there. `assigned` is true if the
    template itself may have set the name before, on one way but not on every way.
    `file` is the name of the template where it has no file, and empty for an expression.
    """

    name: str
    path: str
    file: str
    line: int
    column: int
    guarded: bool
    assigned: bool = False


Reads: TypeAlias = dict[tuple[str, int, int, str], Read]
"""What was read so far, by file, line, column and path: a place counts once."""


class ExpressionReader(NodeVisitor, ABC):
    """Walks expressions and gathers the names that they read; `known` names are Jinja's own."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset((*known, "self", "super"))
        self.found: Reads = {}
        self.detached: Reads = {}
        self.too_early: Reads = {}

    @abstractmethod
    def walk_macro(self, binding: MacroBinding, guards: frozenset[str]) -> None:
        """Walk a macro that is called where `guards` are known to be there."""

    @abstractmethod
    def walk_block(self, name: str, level: int, place: Place) -> None:
        """Walk a version of a block that is printed by `self.NAME()` or `super()`."""

    def walk_unknown_call(self, binding: Binding) -> None:
        """Walk the macros that a name may stand for, where nobody can tell when they are called."""
        match binding:
            case MacroBinding():
                self.walk_macro(binding, frozenset())
            case ModuleBinding():
                for each in binding.scope.bound.values():
                    self.walk_unknown_call(each)
            case _:
                pass

    def visit_all(self, found: Iterable[nodes.Node], place: Place) -> None:
        """Walk one after the other."""
        for node in found:
            self.visit(node, place)

    def visit_Name(self, node: nodes.Name, place: Place) -> None:
        self.walk_unknown_call(place.binding(node))
        self.note(node, node.name, node.name, place)

    def visit_Getattr(self, node: nodes.Getattr, place: Place) -> None:
        self._read_path(node, place)

    def visit_Getitem(self, node: nodes.Getitem, place: Place) -> None:
        self._read_path(node, place)

    def visit_Filter(self, node: nodes.Filter, place: Place) -> None:
        if isinstance(node.node, nodes.Name) and node.name in ("default", "d"):
            self._test_name(node.node, place)
        elif node.node is not None:
            self.visit(node.node, place)
        self.visit_all(node.iter_child_nodes(exclude=("node",)), place)

    def visit_Test(self, node: nodes.Test, place: Place) -> None:
        if isinstance(node.node, nodes.Name) and node.name in ("defined", "undefined"):
            self._test_name(node.node, place)
        else:
            self.generic_visit(node, place)

    def visit_Call(self, node: nodes.Call, place: Place) -> None:
        binding = place.binding(node.node)
        if (block := block_call(node)) is not None:
            self._print_block(block, place)
        elif isinstance(binding, MacroBinding):
            self.walk_macro(binding, place.guards)
        else:
            called = node.node
            self.visit(called.node if isinstance(called, nodes.Getattr) else called, place)
        self.visit_all(node.iter_child_nodes(exclude=("node",)), place)

    def visit_And(self, node: nodes.And, place: Place) -> None:
        self.visit(node.left, place)
        self.visit(node.right, place.where(tests(node.left, True)))

    def visit_Or(self, node: nodes.Or, place: Place) -> None:
        self.visit_condition(node.left, place)
        self.visit(node.right, place.where(tests(node.left, False)))

    def visit_Not(self, node: nodes.Not, place: Place) -> None:
        self.visit_condition(node.node, place)

    def visit_CondExpr(self, node: nodes.CondExpr, place: Place) -> None:
        self.visit_condition(node.test, place)
        self.visit(node.expr1, place.where(tests(node.test, True)))
        if node.expr2 is not None:
            self.visit(node.expr2, place.where(tests(node.test, False)))

    def visit_condition(self, node: nodes.Node, place: Place) -> None:
        """Walk an expression of which only the truth counts: a bare name there may be missing."""
        match node:
            case nodes.Name():
                self._test_name(node, place)
            case nodes.And() | nodes.Or():
                self.visit_condition(node.left, place)
                inner = place.where(tests(node.left, isinstance(node, nodes.And)))
                self.visit_condition(node.right, inner)
            case _:
                self.visit(node, place)

    def note(
        self, node: nodes.Node, name: str, path: str, place: Place, *, guarded: bool = False
    ) -> None:
        """Take down that `name` is read at `node`, unless the template has set it itself."""
        found = place.scope.find(name)
        if found.is_set or (name in self._known and not found.may_be_set):
            return
        at = position_of(node.lineno)
        source = place.template.source
        file = source.file or source.name
        into = self.detached if found.detached else self.found
        into = self.too_early if found.early else into
        key = (file, int(at), at.column, path)
        before = into.get(key)
        # A test further out was about the name of the context, not about this one.
        guarded = guarded or (name in place.guards and not found.early)
        is_guarded = guarded and (before is None or before.guarded)
        into[key] = Read(name, path, file, int(at), at.column, is_guarded, found.may_be_set)

    def _test_name(self, node: nodes.Name, place: Place) -> None:
        self.note(node, node.name, node.name, place, guarded=True)

    def _read_path(self, node: nodes.Node, place: Place) -> None:
        self.walk_unknown_call(place.binding(node))
        parts: list[str] = []
        keys: list[nodes.Node] = []
        while isinstance(node, nodes.Getattr | nodes.Getitem):
            if isinstance(node, nodes.Getattr):
                parts.append(node.attr)
            elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
                parts.append(node.arg.value)
            else:
                parts.clear()
                keys.append(node.arg)
            node = node.node
        if isinstance(node, nodes.Name):
            self.note(node, node.name, ".".join((node.name, *reversed(parts))), place)
        else:
            self.visit(node, place)
        self.visit_all(reversed(keys), place)

    def _print_block(self, block: str, place: Place) -> None:
        inside = place.for_block()
        if block != "super":
            self.walk_block(block, 0, inside)
        elif place.version is not None:
            name, level = place.version
            self.walk_block(name, level + 1, inside)
