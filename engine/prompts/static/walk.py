"""Walks a template as it would be rendered: for its reads (`TemplateWalker`), or its types.

Parents are walked with the blocks that override theirs, includes with the names that are set at
that point, macros where they are called. All branches are walked.

The `TypeChecker` infers each expression on the way: a field that does not exist, a None that would
be printed, a comparison that is never true are found at load. What is unknown is never reported.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeAlias

from jinja2 import nodes
from jinja2.visitor import NodeVisitor
from msgspec import Struct
from msgspec.structs import replace

from ...errors import Problem, closest
from ..environment import is_attach, is_replay, message_role
from ..sources import (
    InheritanceChain,
    ParsedTemplate,
    ReachableTemplates,
    TemplateLookup,
    block_call,
    literal_names,
    position_of,
    start_position,
)
from .diagnostics import Diagnostics, describe
from .flow import (
    Binding,
    Flow,
    MacroBinding,
    ModuleBinding,
    Scope,
    ValueBinding,
    assume,
    inside_loop,
    names_set,
)
from .infer import Inference, iterated, loop_type
from .types import (
    ABSENT,
    ANY,
    LOOPED,
    TEXT,
    ListType,
    RecordType,
    StaticType,
    TupleType,
    item_type,
    members,
    rejected_category,
    union,
)

_DEEPEST = 3
"""How deep a recursive macro is followed."""


class VariableRead(Struct, frozen=True):
    """A variable that a template reads from its context.

    `path` has the attributes too: `router.output.lang`, without methods that are called. `line` and
    `column` are the position of the name. `guarded` is true if the name is only tested there, or a
    test has established that it is defined. `assigned` is true if the template sets the name before
    on some paths, but not on all. `file` is the name of an inline template, empty for a condition.
    `local_name` is a similar name that the template has set there, if any. `absent` are the names
    that tests have established not to be defined there.
    """

    name: str
    path: str
    file: str
    line: int
    column: int
    guarded: bool
    assigned: bool = False
    local_name: str | None = None
    absent: frozenset[str] = frozenset()


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
        return flow.where(test, truth=truth)

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
        self.visit_rounds(node, flow, inner)

    def visit_rounds(self, node: nodes.For, flow: Flow, inner: Flow) -> None:
        """Visit the test, the body and the `else` of a loop whose names are bound in `inner`."""
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
        around = replace(binding.flow, guards=guards, absent=frozenset[str]())
        inner = around.inside(binding.macro.body)
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
        self.visit(node.right, flow.where(node.left, truth=True))

    def visit_Or(self, node: nodes.Or, flow: Flow) -> None:
        self.visit_condition(node.left, flow)
        self.visit(node.right, flow.where(node.left, truth=False))

    def visit_Not(self, node: nodes.Not, flow: Flow) -> None:
        self.visit_condition(node.node, flow)

    def visit_CondExpr(self, node: nodes.CondExpr, flow: Flow) -> None:
        self.visit_condition(node.test, flow)
        self.visit(node.expr1, flow.where(node.test, truth=True))
        if node.expr2 is not None:
            self.visit(node.expr2, flow.where(node.test, truth=False))

    def visit_condition(self, node: nodes.Node, flow: Flow) -> None:
        """Walk an expression used for its truth: a bare name there may be undefined."""
        match node:
            case nodes.Name():
                self._test_name(node, flow)
            case nodes.And() | nodes.Or():
                self.visit_condition(node.left, flow)
                inner = flow.where(node.left, truth=isinstance(node, nodes.And))
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
        into[key] = VariableRead(
            name,
            path,
            file,
            int(at),
            at.column,
            is_guarded,
            found.may_be_set,
            closest(name, flow.scope.names()),
            flow.absent if before is None else flow.absent & before.absent,
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


class TypeChecker(TemplateWalker):
    """Checks one template or condition."""

    def __init__(self, find: TemplateLookup, value_type: Collection[str]) -> None:
        super().__init__(find, value_type)
        self._diagnostics = Diagnostics()
        self._inference = Inference(self, self._diagnostics)
        self._active: list[nodes.Macro] = []
        self._calls: set[tuple[object, ...]] = set()
        self._callers: dict[nodes.Call, MacroBinding] = {}
        self._namespaces: dict[nodes.Call, dict[str, StaticType]] = {}

    def check(self, parsed: ParsedTemplate, given: Mapping[str, StaticType]) -> list[Problem]:
        """Type errors and notes for variables of these types."""
        try:
            self.walk(parsed, _scope_with(given))
            if self._namespaces:  # a loop reads what its last iteration set: check again
                self._diagnostics.problems.clear()
                self._calls.clear()
                self._scopes.clear()
                self.walk(parsed, _scope_with(given))
        except RecursionError:
            return []  # nested too deep to be checked
        return list(self._diagnostics.problems)

    def check_condition(
        self, node: nodes.Expr, parsed: ParsedTemplate, given: Mapping[str, StaticType]
    ) -> list[Problem]:
        """The same for a condition."""
        scope = _scope_with(given)
        self.visit_condition(node, Flow(parsed, InheritanceChain(parsed, self._find), scope))
        return list(self._diagnostics.problems)

    def expression_type(
        self, node: nodes.Expr, parsed: ParsedTemplate, given: Mapping[str, StaticType]
    ) -> StaticType:
        """The type of the value of an expression."""
        flow = Flow(parsed, InheritanceChain(parsed, self._find), _scope_with(given))
        return self._inference.infer(node, flow)

    def visit(self, node: nodes.Node, *args: Flow) -> object:
        """Walk a statement, or infer an expression."""
        if isinstance(node, nodes.Expr):
            return self._inference.infer(node, *args)
        walked: object = super().visit(node, *args)
        return walked

    def visit_condition(self, node: nodes.Node, flow: Flow) -> None:
        self._inference.infer(node, flow)

    def assume(self, flow: Flow, test: nodes.Node, *, truth: bool) -> Flow:
        return assume(flow, test, truth=truth)

    def visit_Output(self, node: nodes.Output, flow: Flow) -> None:
        for child in node.nodes:
            if is_replay(node) or is_attach(node):
                self._inference.infer(child, flow)
            elif not isinstance(child, nodes.TemplateData):
                self._inference.print_value(child, flow)

    def visit_For(self, node: nodes.For, flow: Flow) -> None:
        value_type = self._diagnostics.require_value(
            node.iter, self._inference.infer(node.iter, flow), flow
        )
        if (category := rejected_category(value_type, LOOPED)) is not None:
            looped = describe(iterated(node))
            way_on = f"range({looped}) counts to it" if category == "number" else "name a list"
            message = f"{looped} is not a list, so it cannot be looped over; {way_on}"
            self._diagnostics.report(start_position(node.iter), flow, "P007", message)
        inner = flow.inside(node.body)
        items = f"the items of {describe(iterated(node))}"
        self._check_unpacked(node.target, item_type(value_type), items, flow)
        self.bind(node.target, inner, ValueBinding(item_type(value_type)))
        inner.scope.bound["loop"] = ValueBinding(loop_type(item_type(value_type)))
        self.visit_rounds(node, flow, inside_loop(inner, iterated(node), node.target))

    def _check_unpacked(
        self, target: nodes.Node, value_type: StaticType, described: str, flow: Flow
    ) -> None:
        """Report a value that cannot be unpacked into some names."""
        if not isinstance(target, nodes.Tuple):
            return
        names = len(target.items)
        for each in members(value_type):
            if each != ANY and _number_of_parts(each) != names:
                message = f"{described} cannot be unpacked into {names} names"
                self._diagnostics.report(start_position(target), flow, "P018", message)

    def visit_FilterBlock(self, node: nodes.FilterBlock, flow: Flow) -> None:
        super().visit_FilterBlock(node, replace(flow, role=message_role(node) or flow.role))

    def visit_Assign(self, node: nodes.Assign, flow: Flow) -> None:
        value_type = self._inference.infer(node.node, flow)
        self._check_unpacked(node.target, value_type, describe(node.node), flow)
        self.bind(node.target, flow, flow.binding(node.node) or ValueBinding(value_type))

    def visit_AssignBlock(self, node: nodes.AssignBlock, flow: Flow) -> None:
        super().visit_AssignBlock(node, flow)
        value_type = TEXT if node.filter is None else self._inference.infer(node.filter, flow)
        self.bind(node.target, flow, ValueBinding(value_type))

    def visit_With(self, node: nodes.With, flow: Flow) -> None:
        found = [ValueBinding(self._inference.infer(value, flow)) for value in node.values]
        for target, value, binding in zip(node.targets, node.values, found, strict=True):
            self._check_unpacked(target, binding.value_type, describe(value), flow)
        inner = flow.inside(node.body)
        for target, binding in zip(node.targets, found, strict=True):
            self.bind(target, inner, binding)
        self.visit_body(node.body, inner)

    def visit_CallBlock(self, node: nodes.CallBlock, flow: Flow) -> None:
        called = flow.binding(node.call.node)
        if not isinstance(called, MacroBinding):
            super().visit_CallBlock(node, flow)
            return
        names = {each.name for each in called.macro.find_all(nodes.Name)}
        if "caller" not in names:
            self._report_call(node.call, flow, f"macro {called.macro.name!r} calls no caller()")
        body = nodes.Macro("caller", node.args, node.defaults, node.body, lineno=node.lineno)
        self._callers[node.call] = MacroBinding(body, flow)
        self._inference.infer(node.call, flow)

    def namespace(self, call: nodes.Call, given: Mapping[int | str, StaticType]) -> StaticType:
        """The type of a new namespace: its fields are the unions of all that is set in it."""
        fields = self._namespaces.setdefault(call, {})
        for name, value_type in given.items():
            if isinstance(name, str):
                fields[name] = union(value_type, fields[name]) if name in fields else value_type
        is_open = bool(call.args) or call.dyn_args is not None or call.dyn_kwargs is not None
        return RecordType("namespace", call, lambda: fields, is_open)

    def _set_in_namespace(self, target: nodes.NSRef, flow: Flow, binding: Binding) -> None:
        space = flow.scope.find(target.name).binding
        if not isinstance(space, ValueBinding) or space.value_type == ANY:
            return
        call = space.value_type.source if isinstance(space.value_type, RecordType) else None
        if not isinstance(call, nodes.Call):
            message = f"{target.name} is not a namespace, so its fields cannot be set"
            self._diagnostics.report(position_of(target.lineno), flow, "P018", message)
            return
        fields = self._namespaces[call]
        value_type = binding.value_type if isinstance(binding, ValueBinding) else ANY
        fields[target.attr] = union(value_type, fields.get(target.attr, ABSENT))
        # Facts about the old value are not valid for the new one.
        flow.scope.rebind(target.name, ValueBinding(space.value_type))

    def bind(self, target: nodes.Node, flow: Flow, binding: Binding = None) -> None:
        if isinstance(target, nodes.NSRef):
            self._set_in_namespace(target, flow, binding)
        if not isinstance(target, nodes.Tuple):
            super().bind(target, flow, binding)
            return
        value_type = binding.value_type if isinstance(binding, ValueBinding) else ANY
        for index, each in enumerate(target.items):
            parts = (_part(one, index) for one in members(value_type))
            self.bind(each, flow, ValueBinding(union(*parts)))

    def walk_macro(self, binding: MacroBinding, guards: frozenset[str]) -> None:
        self._enter(binding, None, binding.flow)

    def call_macro(
        self,
        binding: MacroBinding,
        call: nodes.Call,
        given: Mapping[int | str, StaticType],
        at: Flow,
    ) -> None:
        """Check the arguments of a macro call, and walk the macro with their types."""
        names = [argument.name for argument in binding.macro.args]
        if call.dyn_args is None and call.dyn_kwargs is None:
            self._check_call(binding.macro, call, given, at)
        arguments = {names[key]: each for key, each in given.items()
                 if isinstance(key, int) and key < len(names)}  # fmt: skip
        arguments |= {key: each for key, each in given.items() if isinstance(key, str)}
        if call.dyn_args is None and call.dyn_kwargs is None:
            arguments = self._defaults(binding) | arguments
        self._enter(binding, arguments, at, self._callers.get(call))

    def _defaults(self, binding: MacroBinding) -> dict[str, StaticType]:
        """The types of the arguments that have defaults."""
        macro = binding.macro
        names = [argument.name for argument in macro.args][len(macro.args) - len(macro.defaults) :]
        found = [self._inference.infer(each, binding.flow) for each in macro.defaults]
        return dict(zip(names, found, strict=True))

    def print_block(self, block: str, flow: Flow) -> None:
        """Walk the block that `self.NAME()` or `super()` prints."""
        self._print_block(block, flow)

    def _check_call(
        self,
        macro: nodes.Macro,
        call: nodes.Call,
        given: Mapping[int | str, StaticType],
        at: Flow,
    ) -> None:
        names = [argument.name for argument in macro.args]
        used = {each.name for each in macro.find_all(nodes.Name)}
        needed = names[: len(names) - len(macro.defaults)]
        for index, name in enumerate(needed):
            if index not in given and name not in given:
                self._report_call(call, at, f"macro {macro.name!r} needs {name!r}")
        for key in given:
            if isinstance(key, int) and key >= len(names) and "varargs" not in used:
                self._report_call(
                    call, at, f"macro {macro.name!r} takes {len(names)} arguments only"
                )
            if isinstance(key, str) and key not in (*names, "caller") and "kwargs" not in used:
                message = f"macro {macro.name!r} has no argument {key!r}"
                self._report_call(call, at, message, closest(key, names))

    def _report_call(
        self, call: nodes.Call, at: Flow, message: str, suggestion: str | None = None
    ) -> None:
        self._diagnostics.report(start_position(call.node), at, "P009", message, suggestion)

    def _enter(
        self,
        binding: MacroBinding,
        arguments: Mapping[str, StaticType] | None,
        at: Flow,
        caller: MacroBinding | None = None,
    ) -> None:
        macro = binding.macro
        value_type = [(arguments or {}).get(argument.name) for argument in macro.args]
        key = (binding, *value_type, arguments is None, caller, at.facts, at.role)
        if key in self._calls or self._active.count(macro) >= _DEEPEST:
            return
        self._calls.add(key)
        self._walked.add((binding, frozenset()))
        inner = replace(binding.flow, facts=at.facts, role=at.role).inside(macro.body)
        inner.scope.bound |= dict.fromkeys(("varargs", "kwargs"))
        inner.scope.bound["caller"] = (
            caller or (arguments is not None and ValueBinding(ABSENT)) or None
        )
        self.bind_arguments(macro, inner)
        for argument, each in zip(macro.args, value_type, strict=True):
            if each is not None:
                inner.scope.bound[argument.name] = ValueBinding(each)
        self._active.append(macro)
        self.visit_body(macro.body, inner)
        self._active.pop()


def _number_of_parts(value_type: StaticType) -> int | None:
    """How many items a value certainly has; None where that is not known."""
    match value_type:
        case TupleType(parts=parts):
            return len(parts)
        case ListType(min_items=min_items) if min_items > 1:
            return min_items  # a list of constants: no other is known to have so many
        case _:
            return None


def _scope_with(given: Mapping[str, StaticType]) -> Scope:
    return Scope(bound={name: ValueBinding(value_type) for name, value_type in given.items()})


def _part(value_type: StaticType, index: int) -> StaticType:
    """The type of the value at this position, where it is unpacked into names."""
    if not isinstance(value_type, TupleType):
        return item_type(value_type)
    return value_type.parts[index] if index < len(value_type.parts) else ANY
