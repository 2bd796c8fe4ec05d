"""Walks a template as it would be rendered, and gathers the names that it reads.

Parents are walked with the blocks that replace theirs, includes with the names that are set where
they stand, macros where they are called. Every branch counts.

Which names an expression reads from the context, and where they stand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import TypeAlias

from jinja2 import nodes
from jinja2.visitor import NodeVisitor
from msgspec import Struct
from msgspec.structs import replace

from ..positions import position_of
from .narrow import tests
from .scope import Binding, MacroBinding, ModuleBinding, Place, Scope, names_set
from .tree import Family, Find, Parsed, Reach, block_call, named


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


_SILENT = (nodes.Assign, nodes.AssignBlock, nodes.Macro, nodes.Import, nodes.FromImport, nodes.If)
"""What still counts at the top of a template that extends another."""


class Reader(ExpressionReader):
    """Gathers the reads of one template, or of one condition."""

    def __init__(self, find: Find, known: Collection[str]) -> None:
        super().__init__(known)
        self._find = find
        self._macros: list[MacroBinding] = []
        self._walked: set[tuple[MacroBinding, frozenset[str]]] = set()
        self._reach = Reach(find)
        self._scopes: dict[Hashable, Scope] = {}

    def walk(self, parsed: Parsed, around: Scope) -> None:
        """Walk a template, and then the macros in it that nothing calls."""
        self._walk_template(parsed, Place(parsed, Family(parsed, self._find), around))
        called = {binding.macro for binding, _ in self._walked}
        for binding in self._macros:
            if binding.macro not in called and not binding.place.imported:
                self.walk_macro(binding, frozenset())

    def expression(self, node: nodes.Expr, parsed: Parsed) -> list[Read]:
        """The reads of a condition."""
        self.visit_condition(node, Place(parsed, Family(parsed, self._find), Scope()))
        return list(self.found.values())

    @property
    def early(self) -> list[Read]:
        """What is read in a scope before a scope around it sets it."""
        return [read for read in self.too_early.values() if not read.guarded]

    @property
    def unseen(self) -> list[Read]:
        """What imports without context read in vain."""
        return [read for read in self.detached.values() if not read.guarded]

    def visit_body(self, body: Sequence[nodes.Node], place: Place) -> None:
        """Walk statements, as far as they count where they stand."""
        for node in body:
            if not place.is_child or isinstance(node, _SILENT):
                self.visit(node, place)

    def narrow(self, place: Place, test: nodes.Node, *, truth: bool) -> Place:
        """The place where a test has come out as `truth`."""
        return place.where(tests(test, truth))

    def visit_If(self, node: nodes.If, place: Place) -> None:
        outer = place
        branches: list[Scope] = []
        for each in (node, *node.elif_):
            self.visit_condition(each.test, place)
            branch = self.narrow(place, each.test, truth=True).branch()
            self.visit_body(each.body, branch)
            branches.append(branch.scope)
            place = self.narrow(place, each.test, truth=False)
        last = place.branch()
        self.visit_body(node.else_, last)
        outer.scope.join([*branches, last.scope])
        for scope in branches:
            for name, binding in scope.bound.items():
                if outer.scope.bound.get(name) is not binding:
                    self.walk_unknown_call(binding)

    def visit_For(self, node: nodes.For, place: Place) -> None:
        self.visit(node.iter, place)
        inner = place.inside(node.body)
        self.bind(node.target, inner)
        inner.scope.bound["loop"] = None
        body = inner
        if node.test is not None:
            self.visit_condition(node.test, inner)
            body = self.narrow(inner, node.test, truth=True)
        self.visit_body(node.body, body)
        self.visit_body(node.else_, place.inside(node.else_))

    def visit_Assign(self, node: nodes.Assign, place: Place) -> None:
        binding = place.binding(node.node)
        if binding is None:
            self.visit(node.node, place)
        self.bind(node.target, place, binding)

    def visit_AssignBlock(self, node: nodes.AssignBlock, place: Place) -> None:
        self.visit_body(node.body, place.inside(node.body))
        if node.filter is not None:
            self.visit(node.filter, place)
        self.bind(node.target, place)

    def visit_With(self, node: nodes.With, place: Place) -> None:
        self.visit_all(node.values, place)
        inner = place.inside(node.body)
        for target in node.targets:
            self.bind(target, inner)
        self.visit_body(node.body, inner)

    def visit_FilterBlock(self, node: nodes.FilterBlock, place: Place) -> None:
        self.visit(node.filter, place)
        self.visit_body(node.body, place.inside(node.body))

    def visit_CallBlock(self, node: nodes.CallBlock, place: Place) -> None:
        self.visit(node.call, place)
        inner = place.inside(node.body)
        self.bind_arguments(node, inner)
        self.visit_body(node.body, inner)

    def visit_Macro(self, node: nodes.Macro, place: Place) -> None:
        binding = MacroBinding(node, place)
        self._macros.append(binding)
        place.scope.bound[node.name] = binding

    def visit_Block(self, node: nodes.Block, place: Place) -> None:
        self.walk_block(node.name, 0, place if node.scoped else place.for_block())

    def visit_Extends(self, node: nodes.Extends, place: Place) -> None:
        """Parents are walked with their children, not where they are named."""

    def visit_Include(self, node: nodes.Include, place: Place) -> None:
        self.visit(node.template, place)
        for parsed in self._named(node.template, place):
            self._walk_template(parsed, place)

    def visit_Import(self, node: nodes.Import, place: Place) -> None:
        place.scope.bound[node.target] = self._walk_module(node, place)

    def visit_FromImport(self, node: nodes.FromImport, place: Place) -> None:
        module = self._walk_module(node, place)
        for each in node.names:
            name, alias = each if isinstance(each, tuple) else (each, each)
            place.scope.bound[alias] = module.scope.find(name).binding if module else None

    def walk_macro(self, binding: MacroBinding, guards: frozenset[str]) -> None:
        key = (binding, guards)
        if key in self._walked:
            return
        self._walked.add(key)
        inner = replace(binding.place, guards=guards).inside(binding.macro.body)
        for name in ("caller", "varargs", "kwargs"):
            inner.scope.bound[name] = None
        self.bind_arguments(binding.macro, inner)
        self.visit_body(binding.macro.body, inner)

    def walk_block(self, name: str, level: int, place: Place) -> None:
        versions = place.family.versions.get(name, [])
        if level < len(versions) and (version := versions[level]) not in place.blocks:
            self.visit_body(version.block.body, place.in_version(version, level))

    def _walk_template(self, parsed: Parsed, around: Place) -> Scope:
        """Walk a template here, unless it was walked where all that counts was the same."""
        key = (parsed, around.content(self._reach.of(parsed)))
        if key not in self._scopes:
            self._scopes[key] = self._walked_scope(parsed, around)
        return self._scopes[key]

    def _walked_scope(self, parsed: Parsed, around: Place) -> Scope:
        family = Family(parsed, self._find)
        place = around.in_template(family)
        for member in family.members:
            is_child = member is not family.base
            place.scope.own = names_set(member.tree.body)
            self.visit_body(member.tree.body, replace(place, template=member, is_child=is_child))
        return place.scope

    def _walk_module(
        self, node: nodes.Import | nodes.FromImport, place: Place
    ) -> ModuleBinding | None:
        self.visit(node.template, place)
        scope = place.scope.as_it_is() if node.with_context else Scope(detached=True)
        around = replace(place, scope=scope, imported=True)
        scopes = [self._walk_template(each, around) for each in self._named(node.template, place)]
        return ModuleBinding(scopes[0]) if len(scopes) == 1 else None

    def _named(self, template: nodes.Expr, place: Place) -> list[Parsed]:
        names = [name.value for name in named(template) or ()]
        found = [self._find(name) for name in names if name not in place.within]
        return [each for each in found if isinstance(each, Parsed)]

    def bind(self, target: nodes.Node, place: Place, binding: Binding = None) -> None:
        match target:
            case nodes.Name():
                place.scope.bound[target.name] = binding
            case nodes.NSRef():
                self.note(target, target.name, target.name, place)
            case _:
                for each in target.iter_child_nodes():
                    self.bind(each, place)

    def bind_arguments(self, node: nodes.Macro | nodes.CallBlock, place: Place) -> None:
        for argument in node.args:
            place.scope.bound[argument.name] = None
        self.visit_all(node.defaults, place)
