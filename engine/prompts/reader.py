"""Walks a template as it would be rendered, and gathers the names that it reads.

Parents are walked with the blocks that replace theirs, includes with the names that are set where
they stand, macros where they are called. Every branch counts.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

from jinja2 import nodes
from msgspec.structs import replace

from .guard import tests
from .reads import ExpressionReader, Read
from .scope import Binding, MacroBinding, ModuleBinding, Place, Scope, names_set
from .tree import Family, Find, Parsed, Reach, named

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
