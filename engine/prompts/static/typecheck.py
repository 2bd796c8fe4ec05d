"""The type checker: walks a template with the types of its variables, and reports type errors.

The walk is that for its reads, but each expression is inferred: a field that does not exist, a None
that would be printed, a comparison that is never true are found at load. What is unknown is never
reported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jinja2 import nodes
from msgspec.structs import replace

from ...errors import Problem, closest
from ..environment import is_replay, message_role
from ..sources import position_of
from .diagnostics import Diagnostics, describe
from .flow import Binding, Flow, MacroBinding, Scope, ValueBinding, assume, inside_loop
from .infer import Inference, iterated, loop_type
from .tree import InheritanceChain, ParsedTemplate, TemplateLookup, start_position
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
from .walk import TemplateWalker

_DEEPEST = 3
"""How deep a recursive macro is followed."""


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
            if is_replay(node):
                self._inference.infer(child, flow)
            elif not isinstance(child, nodes.TemplateData):
                self._inference.print_value(child, flow)

    def visit_For(self, node: nodes.For, flow: Flow) -> None:
        value_type = self._diagnostics.require_value(
            node.iter, self._inference.infer(node.iter, flow), flow
        )
        if rejected_category(value_type, LOOPED) is not None:
            message = f"{describe(iterated(node))} is not a list, so it cannot be looped over"
            self._diagnostics.report(start_position(node.iter), flow, "P007", message)
        inner = flow.inside(node.body)
        items = f"the items of {describe(iterated(node))}"
        self._check_unpacked(node.target, item_type(value_type), items, flow)
        self.bind(node.target, inner, ValueBinding(item_type(value_type)))
        inner.scope.bound["loop"] = ValueBinding(loop_type(item_type(value_type)))
        inner = inside_loop(inner, iterated(node), node.target)
        body = inner
        if node.test is not None:
            self.visit_condition(node.test, inner)
            body = self.assume(inner, node.test, truth=True)
        self.visit_body(node.body, body)
        self.visit_body(node.else_, flow.inside(node.else_))

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
        parts = value_type.parts if isinstance(value_type, TupleType) else ()
        for index, each in enumerate(target.items):
            self.bind(each, flow, ValueBinding(parts[index] if index < len(parts) else ANY))

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
