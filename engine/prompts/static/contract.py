"""Checks a template against what is known of the values that it is given.

It is walked as for its reads, but every expression is followed to what it can be: a field that is
not there, a None that would be printed, a comparison that never holds are found at load. What
cannot be told is never held against a template.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jinja2 import nodes
from msgspec.structs import replace

from ...errors import Problem, closest
from ..positions import position_of
from ..roles import is_replay, role_of
from .infer import Values, is_single, loop_over, over
from .narrow import where, within
from .report import Judge, said
from .scope import Binding, MacroBinding, Place, Scope, ValueBinding
from .tree import Family, Find, Parsed, start_of
from .types import (
    ABSENT,
    ANYTHING,
    TEXT,
    Fields,
    Known,
    Plain,
    Row,
    Words,
    either,
    item_of,
    members_of,
)
from .walk import Reader

_DEEPEST = 3
"""How often a macro is followed into itself."""


class Contract(Reader):
    """Walks one template with what is known of its variables."""

    def __init__(self, find: Find, known: Collection[str]) -> None:
        super().__init__(find, known)
        self._judge = Judge()
        self._values = Values(self, self._judge)
        self._active: list[nodes.Macro] = []
        self._calls: set[tuple[object, ...]] = set()
        self._callers: dict[nodes.Call, MacroBinding] = {}
        self._spaces: dict[nodes.Call, dict[str, Known]] = {}

    def check(self, parsed: Parsed, given: Mapping[str, Known]) -> list[Problem]:
        """What cannot hold for variables of which this much is known."""
        try:
            self.walk(parsed, _scope_of(given))
            if self._spaces:  # a loop reads what its last round set, so all is read once more
                self._judge.problems.clear()
                self._calls.clear()
                self._scopes.clear()
                self.walk(parsed, _scope_of(given))
        except RecursionError:
            return []  # what nests too deep to be followed is not held against anyone
        return list(self._judge.problems)

    def check_condition(
        self, node: nodes.Expr, parsed: Parsed, given: Mapping[str, Known]
    ) -> list[Problem]:
        """The same for a condition."""
        scope = _scope_of(given)
        self.visit_condition(node, Place(parsed, Family(parsed, self._find), scope))
        return list(self._judge.problems)

    def visit(self, node: nodes.Node, *args: Place) -> object:
        """Walk a statement, or follow an expression."""
        if isinstance(node, nodes.Expr):
            return self._values.of(node, *args)
        walked: object = super().visit(node, *args)
        return walked

    def visit_condition(self, node: nodes.Node, place: Place) -> None:
        self._values.of(node, place)

    def narrow(self, place: Place, test: nodes.Node, *, truth: bool) -> Place:
        return where(place, test, truth=truth)

    def visit_Output(self, node: nodes.Output, place: Place) -> None:
        for child in node.nodes:
            if is_replay(node):
                self._values.of(child, place)
            elif not isinstance(child, nodes.TemplateData):
                self._values.printed(child, place)

    def visit_For(self, node: nodes.For, place: Place) -> None:
        known = self._judge.without_none(node.iter, self._values.of(node.iter, place), place)
        if is_single(known):
            told = f"{said(node.iter)} is no list, so there is nothing to loop over"
            self._judge.tell(start_of(node.iter), place, "P007", told)
        inner = place.inside(node.body)
        self._check_unpacked(node, item_of(known), place)
        self.bind(node.target, inner, ValueBinding(item_of(known)))
        inner.scope.bound["loop"] = ValueBinding(loop_over(item_of(known)))
        inner = within(inner, over(node), node.target)
        body = inner
        if node.test is not None:
            self.visit_condition(node.test, inner)
            body = self.narrow(inner, node.test, truth=True)
        self.visit_body(node.body, body)
        self.visit_body(node.else_, place.inside(node.else_))

    def _check_unpacked(self, node: nodes.For, item: Known, place: Place) -> None:
        """Refuse to take items apart that have no parts, or not as many."""
        if not isinstance(node.target, nodes.Tuple):
            return
        names = len(node.target.items)
        for each in members_of(item):
            parts = len(each.parts) if isinstance(each, Row) else None
            if parts != names and isinstance(each, Row | Plain | Words | Fields):
                told = f"the items of {said(over(node))} cannot be taken apart into {names} names"
                self._judge.tell(start_of(node.target), place, "P018", told)

    def visit_FilterBlock(self, node: nodes.FilterBlock, place: Place) -> None:
        super().visit_FilterBlock(node, replace(place, role=role_of(node) or place.role))

    def visit_Assign(self, node: nodes.Assign, place: Place) -> None:
        known = ValueBinding(self._values.of(node.node, place))
        self.bind(node.target, place, place.binding(node.node) or known)

    def visit_AssignBlock(self, node: nodes.AssignBlock, place: Place) -> None:
        super().visit_AssignBlock(node, place)
        known = TEXT if node.filter is None else self._values.of(node.filter, place)
        self.bind(node.target, place, ValueBinding(known))

    def visit_With(self, node: nodes.With, place: Place) -> None:
        found = [ValueBinding(self._values.of(value, place)) for value in node.values]
        inner = place.inside(node.body)
        for target, binding in zip(node.targets, found, strict=True):
            self.bind(target, inner, binding)
        self.visit_body(node.body, inner)

    def visit_CallBlock(self, node: nodes.CallBlock, place: Place) -> None:
        called = place.binding(node.call.node)
        if not isinstance(called, MacroBinding):
            super().visit_CallBlock(node, place)
            return
        names = {each.name for each in called.macro.find_all(nodes.Name)}
        if "caller" not in names:
            self._tell_call(node.call, place, f"macro {called.macro.name!r} calls no caller()")
        body = nodes.Macro("caller", node.args, node.defaults, node.body, lineno=node.lineno)
        self._callers[node.call] = MacroBinding(body, place)
        self._values.of(node.call, place)

    def namespace(self, call: nodes.Call, given: Mapping[int | str, Known]) -> Known:
        """What is known of the fields of a new namespace: all that is ever set in it."""
        fields = self._spaces.setdefault(call, {})
        for name, known in given.items():
            if isinstance(name, str):
                fields[name] = either(known, fields[name]) if name in fields else known
        is_open = bool(call.args) or call.dyn_args is not None or call.dyn_kwargs is not None
        return Fields("namespace", call, lambda: fields, is_open)

    def _set_in_namespace(self, target: nodes.NSRef, place: Place, binding: Binding) -> None:
        space = place.scope.find(target.name).binding
        if not isinstance(space, ValueBinding) or space.known == ANYTHING:
            return
        call = space.known.source if isinstance(space.known, Fields) else None
        if not isinstance(call, nodes.Call):
            told = f"{target.name} is no namespace, so nothing in it can be set"
            self._judge.tell(position_of(target.lineno), place, "P018", told)
            return
        fields = self._spaces[call]
        known = binding.known if isinstance(binding, ValueBinding) else ANYTHING
        fields[target.attr] = either(known, fields.get(target.attr, ABSENT))
        # What a test found out about the old value does not hold for the new one.
        place.scope.rebind(target.name, ValueBinding(space.known))

    def bind(self, target: nodes.Node, place: Place, binding: Binding = None) -> None:
        if isinstance(target, nodes.NSRef):
            self._set_in_namespace(target, place, binding)
        if not isinstance(target, nodes.Tuple):
            super().bind(target, place, binding)
            return
        known = binding.known if isinstance(binding, ValueBinding) else ANYTHING
        parts = known.parts if isinstance(known, Row) else ()
        for index, each in enumerate(target.items):
            self.bind(each, place, ValueBinding(parts[index] if index < len(parts) else ANYTHING))

    def walk_macro(self, binding: MacroBinding, guards: frozenset[str]) -> None:
        self._enter(binding, None, binding.place)

    def call_macro(
        self, binding: MacroBinding, call: nodes.Call, given: Mapping[int | str, Known], at: Place
    ) -> None:
        """Walk a macro with what it is given, and check that it is given what it needs."""
        names = [argument.name for argument in binding.macro.args]
        if call.dyn_args is None and call.dyn_kwargs is None:
            self._check_call(binding.macro, call, given, at)
        named = {names[key]: each for key, each in given.items()
                 if isinstance(key, int) and key < len(names)}  # fmt: skip
        named |= {key: each for key, each in given.items() if isinstance(key, str)}
        if call.dyn_args is None and call.dyn_kwargs is None:
            named = self._defaults(binding) | named
        self._enter(binding, named, at, self._callers.get(call))

    def _defaults(self, binding: MacroBinding) -> dict[str, Known]:
        """What the arguments of a macro are that it is not given."""
        macro = binding.macro
        names = [argument.name for argument in macro.args][len(macro.args) - len(macro.defaults) :]
        found = [self._values.of(each, binding.place) for each in macro.defaults]
        return dict(zip(names, found, strict=True))

    def print_block(self, block: str, place: Place) -> None:
        """Walk the block that `self.NAME()` or `super()` prints."""
        self._print_block(block, place)

    def _check_call(
        self,
        macro: nodes.Macro,
        call: nodes.Call,
        given: Mapping[int | str, Known],
        at: Place,
    ) -> None:
        names = [argument.name for argument in macro.args]
        used = {each.name for each in macro.find_all(nodes.Name)}
        needed = names[: len(names) - len(macro.defaults)]
        for index, name in enumerate(needed):
            if index not in given and name not in given:
                self._tell_call(call, at, f"macro {macro.name!r} needs {name!r}")
        for key in given:
            if isinstance(key, int) and key >= len(names) and "varargs" not in used:
                self._tell_call(call, at, f"macro {macro.name!r} takes {len(names)} arguments only")
            if isinstance(key, str) and key not in (*names, "caller") and "kwargs" not in used:
                told = f"macro {macro.name!r} has no argument {key!r}"
                self._tell_call(call, at, told, closest(key, names))

    def _tell_call(self, call: nodes.Call, at: Place, told: str, near: str | None = None) -> None:
        self._judge.tell(start_of(call.node), at, "P009", told, near)

    def _enter(
        self,
        binding: MacroBinding,
        named: Mapping[str, Known] | None,
        at: Place,
        caller: MacroBinding | None = None,
    ) -> None:
        macro = binding.macro
        known = [(named or {}).get(argument.name) for argument in macro.args]
        key = (binding, *known, named is None, caller, at.filled, at.role)
        if key in self._calls or self._active.count(macro) >= _DEEPEST:
            return
        self._calls.add(key)
        self._walked.add((binding, frozenset()))
        inner = replace(binding.place, filled=at.filled, role=at.role).inside(macro.body)
        inner.scope.bound |= dict.fromkeys(("varargs", "kwargs"))
        inner.scope.bound["caller"] = caller or (named is not None and ValueBinding(ABSENT)) or None
        self.bind_arguments(macro, inner)
        for argument, each in zip(macro.args, known, strict=True):
            if each is not None:
                inner.scope.bound[argument.name] = ValueBinding(each)
        self._active.append(macro)
        self.visit_body(macro.body, inner)
        self._active.pop()


def _scope_of(given: Mapping[str, Known]) -> Scope:
    return Scope(bound={name: ValueBinding(known) for name, known in given.items()})
