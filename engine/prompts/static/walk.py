"""Walks a template as it would be rendered, and collects the variables that it reads.

Parents are walked with the blocks that override theirs, includes with the names that are set at
that point, macros where they are called. All branches are walked.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import TypeAlias

from jinja2 import nodes
from jinja2.visitor import NodeVisitor
from msgspec import Struct
from msgspec.structs import replace

from ...errors import closest
from ..sources import position_of
from .flow import Binding, Flow, MacroBinding, ModuleBinding, Scope, names_defined_by, names_set
from .tree import (
    InheritanceChain,
    ParsedTemplate,
    ReachableTemplates,
    TemplateLookup,
    block_call,
    literal_names,
)


class VariableRead(Struct, frozen=True):
    """A variable that a template reads from its context.

    `path` has the attributes too: `router.output.lang`, without methods that are called. `line` and
    `column` are the position of the name. `guarded` is true if the name is only tested there, or a
    test has established that it is defined. `assigned` is true if the template sets the name before
    on some paths, but not on all. `file` is the name of an inline template, empty for a condition.
    `local_name` is a similar name that the template has set there, if any.
    """

    name: str
    path: str
    file: str
    line: int
    column: int
    guarded: bool
    assigned: bool = False
    local_name: str | None = None


Reads: TypeAlias = dict[tuple[str, int, int, str], VariableRead]
"""Reads by file, line, column and path."""


_SILENT = (nodes.Assign, nodes.AssignBlock, nodes.Macro, nodes.Import, nodes.FromImport, nodes.If)
"""What has an effect at the top level of a template that extends another."""


class TemplateWalker(NodeVisitor):
    """Collects the reads of one template or condition; `builtin_names` are Jinja's own."""

    def __init__(self, find: TemplateLookup, builtin_names: Collection[str]) -> None:
        self._builtin_names = frozenset((*builtin_names, "self", "super"))
        self.found: Reads = {}
        self.detached: Reads = {}
        self.too_early: Reads = {}
        self._find = find
        self._macros: list[MacroBinding] = []
        self._walked: set[tuple[MacroBinding, frozenset[str]]] = set()
        self._reach = ReachableTemplates(find)
        self._scopes: dict[Hashable, Scope] = {}

    def walk(self, parsed: ParsedTemplate, around: Scope) -> None:
        """Walk a template, then the macros in it that are never called."""
        self._walk_template(parsed, Flow(parsed, InheritanceChain(parsed, self._find), around))
        called = {binding.macro for binding, _ in self._walked}
        for binding in self._macros:
            if binding.macro not in called and not binding.flow.imported:
                self.walk_macro(binding, frozenset())

    def expression(self, node: nodes.Expr, parsed: ParsedTemplate) -> list[VariableRead]:
        """The reads of a condition."""
        self.visit_condition(node, Flow(parsed, InheritanceChain(parsed, self._find), Scope()))
        return list(self.found.values())

    @property
    def early_reads(self) -> list[VariableRead]:
        """Reads in a scope before an enclosing scope sets the name."""
        return [read for read in self.too_early.values() if not read.guarded]

    @property
    def detached_reads(self) -> list[VariableRead]:
        """Reads in imports without context, where the context is not visible."""
        return [read for read in self.detached.values() if not read.guarded]

    def walk_unknown_call(self, binding: Binding) -> None:
        """Walk the macros that a name may be bound to, if it is unknown when they are called."""
        match binding:
            case MacroBinding():
                self.walk_macro(binding, frozenset())
            case ModuleBinding():
                for each in binding.scope.bound.values():
                    self.walk_unknown_call(each)
            case _:
                pass

    def visit_all(self, found: Iterable[nodes.Node], flow: Flow) -> None:
        """Visit several nodes."""
        for node in found:
            self.visit(node, flow)

    def visit_body(self, body: Sequence[nodes.Node], flow: Flow) -> None:
        """Walk statements; at the top level of a child only those that have an effect."""
        for node in body:
            if not flow.is_child or isinstance(node, _SILENT):
                self.visit(node, flow)

    def assume(self, flow: Flow, test: nodes.Node, *, truth: bool) -> Flow:
        """The flow state after a test that evaluated to `truth`."""
        return flow.where(names_defined_by(test, truth))

    def visit_If(self, node: nodes.If, flow: Flow) -> None:
        outer = flow
        branches: list[Scope] = []
        for each in (node, *node.elif_):
            self.visit_condition(each.test, flow)
            branch = self.assume(flow, each.test, truth=True).branch()
            self.visit_body(each.body, branch)
            branches.append(branch.scope)
            flow = self.assume(flow, each.test, truth=False)
        last = flow.branch()
        self.visit_body(node.else_, last)
        outer.scope.join([*branches, last.scope])
        for scope in branches:
            for name, binding in scope.bound.items():
                if outer.scope.bound.get(name) is not binding:
                    self.walk_unknown_call(binding)

    def visit_For(self, node: nodes.For, flow: Flow) -> None:
        self.visit(node.iter, flow)
        inner = flow.inside(node.body)
        self.bind(node.target, inner)
        inner.scope.bound["loop"] = None
        body = inner
        if node.test is not None:
            self.visit_condition(node.test, inner)
            body = self.assume(inner, node.test, truth=True)
        self.visit_body(node.body, body)
        self.visit_body(node.else_, flow.inside(node.else_))

    def visit_Assign(self, node: nodes.Assign, flow: Flow) -> None:
        binding = flow.binding(node.node)
        if binding is None:
            self.visit(node.node, flow)
        self.bind(node.target, flow, binding)

    def visit_AssignBlock(self, node: nodes.AssignBlock, flow: Flow) -> None:
        self.visit_body(node.body, flow.inside(node.body))
        if node.filter is not None:
            self.visit(node.filter, flow)
        self.bind(node.target, flow)

    def visit_With(self, node: nodes.With, flow: Flow) -> None:
        self.visit_all(node.values, flow)
        inner = flow.inside(node.body)
        for target in node.targets:
            self.bind(target, inner)
        self.visit_body(node.body, inner)

    def visit_FilterBlock(self, node: nodes.FilterBlock, flow: Flow) -> None:
        self.visit(node.filter, flow)
        self.visit_body(node.body, flow.inside(node.body))

    def visit_CallBlock(self, node: nodes.CallBlock, flow: Flow) -> None:
        self.visit(node.call, flow)
        inner = flow.inside(node.body)
        self.bind_arguments(node, inner)
        self.visit_body(node.body, inner)

    def visit_Macro(self, node: nodes.Macro, flow: Flow) -> None:
        binding = MacroBinding(node, flow)
        self._macros.append(binding)
        flow.scope.bound[node.name] = binding

    def visit_Block(self, node: nodes.Block, flow: Flow) -> None:
        self.walk_block(node.name, 0, flow if node.scoped else flow.for_block())

    def visit_Extends(self, node: nodes.Extends, flow: Flow) -> None:
        """Do nothing: parents are walked with their children."""

    def visit_Include(self, node: nodes.Include, flow: Flow) -> None:
        self.visit(node.template, flow)
        for parsed in self._named(node.template, flow):
            self._walk_template(parsed, flow)

    def visit_Import(self, node: nodes.Import, flow: Flow) -> None:
        flow.scope.bound[node.target] = self._walk_module(node, flow)

    def visit_FromImport(self, node: nodes.FromImport, flow: Flow) -> None:
        module = self._walk_module(node, flow)
        for each in node.names:
            name, alias = each if isinstance(each, tuple) else (each, each)
            flow.scope.bound[alias] = module.scope.find(name).binding if module else None

    def walk_macro(self, binding: MacroBinding, guards: frozenset[str]) -> None:
        key = (binding, guards)
        if key in self._walked:
            return
        self._walked.add(key)
        inner = replace(binding.flow, guards=guards).inside(binding.macro.body)
        for name in ("caller", "varargs", "kwargs"):
            inner.scope.bound[name] = None
        self.bind_arguments(binding.macro, inner)
        self.visit_body(binding.macro.body, inner)

    def walk_block(self, name: str, level: int, flow: Flow) -> None:
        overrides = flow.chain.overrides.get(name, [])
        if level < len(overrides) and (override := overrides[level]) not in flow.blocks:
            self.visit_body(override.block.body, flow.in_override(override, level))

    def _walk_template(self, parsed: ParsedTemplate, around: Flow) -> Scope:
        """Walk a template here, unless it was walked from an equivalent state before."""
        key = (parsed, around.content(self._reach.names_from(parsed)))
        if key not in self._scopes:
            self._scopes[key] = self._walked_scope(parsed, around)
        return self._scopes[key]

    def _walked_scope(self, parsed: ParsedTemplate, around: Flow) -> Scope:
        chain = InheritanceChain(parsed, self._find)
        flow = around.in_template(chain)
        for member in chain.members:
            is_child = member is not chain.base
            flow.scope.own = names_set(member.tree.body)
            self.visit_body(member.tree.body, replace(flow, template=member, is_child=is_child))
        return flow.scope

    def _walk_module(
        self, node: nodes.Import | nodes.FromImport, flow: Flow
    ) -> ModuleBinding | None:
        self.visit(node.template, flow)
        scope = flow.scope.as_it_is() if node.with_context else Scope(detached=True)
        around = replace(flow, scope=scope, imported=True)
        scopes = [self._walk_template(each, around) for each in self._named(node.template, flow)]
        return ModuleBinding(scopes[0]) if len(scopes) == 1 else None

    def _named(self, template: nodes.Expr, flow: Flow) -> list[ParsedTemplate]:
        names = [name.value for name in literal_names(template) or ()]
        found = [self._find(name) for name in names if name not in flow.within]
        return [each for each in found if isinstance(each, ParsedTemplate)]

    def bind(self, target: nodes.Node, flow: Flow, binding: Binding = None) -> None:
        match target:
            case nodes.Name():
                flow.scope.bound[target.name] = binding
            case nodes.NSRef():
                self.record_read(target, target.name, target.name, flow)
            case _:
                for each in target.iter_child_nodes():
                    self.bind(each, flow)

    def bind_arguments(self, node: nodes.Macro | nodes.CallBlock, flow: Flow) -> None:
        for argument in node.args:
            flow.scope.bound[argument.name] = None
        self.visit_all(node.defaults, flow)

    def visit_Name(self, node: nodes.Name, flow: Flow) -> None:
        self.walk_unknown_call(flow.binding(node))
        self.record_read(node, node.name, node.name, flow)

    def visit_Getattr(self, node: nodes.Getattr, flow: Flow) -> None:
        self._read_path(node, flow)

    def visit_Getitem(self, node: nodes.Getitem, flow: Flow) -> None:
        self._read_path(node, flow)

    def visit_Filter(self, node: nodes.Filter, flow: Flow) -> None:
        if isinstance(node.node, nodes.Name) and node.name in ("default", "d"):
            self._test_name(node.node, flow)
        elif node.node is not None:
            self.visit(node.node, flow)
        self.visit_all(node.iter_child_nodes(exclude=("node",)), flow)

    def visit_Test(self, node: nodes.Test, flow: Flow) -> None:
        if isinstance(node.node, nodes.Name) and node.name in ("defined", "undefined"):
            self._test_name(node.node, flow)
        else:
            self.generic_visit(node, flow)

    def visit_Call(self, node: nodes.Call, flow: Flow) -> None:
        binding = flow.binding(node.node)
        if (block := block_call(node)) is not None:
            self._print_block(block, flow)
        elif isinstance(binding, MacroBinding):
            self.walk_macro(binding, flow.guards)
        else:
            called = node.node
            self.visit(called.node if isinstance(called, nodes.Getattr) else called, flow)
        self.visit_all(node.iter_child_nodes(exclude=("node",)), flow)

    def visit_And(self, node: nodes.And, flow: Flow) -> None:
        self.visit(node.left, flow)
        self.visit(node.right, flow.where(names_defined_by(node.left, True)))

    def visit_Or(self, node: nodes.Or, flow: Flow) -> None:
        self.visit_condition(node.left, flow)
        self.visit(node.right, flow.where(names_defined_by(node.left, False)))

    def visit_Not(self, node: nodes.Not, flow: Flow) -> None:
        self.visit_condition(node.node, flow)

    def visit_CondExpr(self, node: nodes.CondExpr, flow: Flow) -> None:
        self.visit_condition(node.test, flow)
        self.visit(node.expr1, flow.where(names_defined_by(node.test, True)))
        if node.expr2 is not None:
            self.visit(node.expr2, flow.where(names_defined_by(node.test, False)))

    def visit_condition(self, node: nodes.Node, flow: Flow) -> None:
        """Walk an expression used for its truth: a bare name there may be undefined."""
        match node:
            case nodes.Name():
                self._test_name(node, flow)
            case nodes.And() | nodes.Or():
                self.visit_condition(node.left, flow)
                inner = flow.where(names_defined_by(node.left, isinstance(node, nodes.And)))
                self.visit_condition(node.right, inner)
            case _:
                self.visit(node, flow)

    def record_read(
        self, node: nodes.Node, name: str, path: str, flow: Flow, *, guarded: bool = False
    ) -> None:
        """Record that `name` is read at `node`, unless the template has set it itself."""
        found = flow.scope.find(name)
        if found.is_set or (name in self._builtin_names and not found.may_be_set):
            return
        at = position_of(node.lineno)
        source = flow.template.source
        file = source.file or source.name
        into = self.detached if found.detached else self.found
        into = self.too_early if found.early else into
        key = (file, int(at), at.column, path)
        before = into.get(key)
        # An outer test was about the name of the context, not about this one.
        guarded = guarded or (name in flow.guards and not found.early)
        is_guarded = guarded and (before is None or before.guarded)
        local_name = closest(name, flow.scope.names())
        into[key] = VariableRead(
            name, path, file, int(at), at.column, is_guarded, found.may_be_set, local_name
        )

    def _test_name(self, node: nodes.Name, flow: Flow) -> None:
        self.record_read(node, node.name, node.name, flow, guarded=True)

    def _read_path(self, node: nodes.Node, flow: Flow) -> None:
        self.walk_unknown_call(flow.binding(node))
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
            self.record_read(node, node.name, ".".join((node.name, *reversed(parts))), flow)
        else:
            self.visit(node, flow)
        self.visit_all(reversed(keys), flow)

    def _print_block(self, block: str, flow: Flow) -> None:
        inside = flow.for_block()
        if block != "super":
            self.walk_block(block, 0, inside)
        elif flow.override is not None:
            name, level = flow.override
            self.walk_block(name, level + 1, inside)
