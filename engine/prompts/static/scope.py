"""Which names a template has set itself at a place, and what it knows of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeAlias

from jinja2 import nodes
from msgspec import Struct, field
from msgspec.structs import replace

from .tree import BlockOverride, InheritanceChain, ParsedTemplate
from .types import StaticType, union


class MacroBinding(Struct, frozen=True, eq=False):
    """A name that stands for a macro; `flow` is where it was defined."""

    macro: nodes.Macro
    flow: Flow


class ModuleBinding(Struct, frozen=True, eq=False):
    """A name that stands for an imported template; `scope` has what that set."""

    scope: Scope


class ValueBinding(Struct, frozen=True, eq=False):
    """A name that stands for a value of which something is known."""

    value_type: StaticType


Binding: TypeAlias = MacroBinding | ModuleBinding | ValueBinding | None
"""What is known of a name that is set: None is any value."""


class Lookup(NamedTuple):
    """What became of a search for a name.

    `is_set` is true if the template has set it on every way to this place, `may_be_set` if on some.
    `detached` is true where the context cannot be seen at all: in an import without context.
    `early` is true if a scope around this one sets the name only later: to Jinja it is that scope's
    own name then, and nothing in the context is looked for.
    """

    binding: Binding
    is_set: bool
    may_be_set: bool
    detached: bool
    early: bool = False


class Scope(Struct, eq=False):
    """The names set in one part of a template, and the scope around it.

    A `top` scope is the outermost of a template: what is set there is seen by its blocks. A
    `branch` is one way through an `if`: no scope to Jinja, but what it sets may not be set.
    `apart` is what looks its names up when it is rendered, like a block or an include.
    `own` are the names that the scope certainly sets somewhere.
    """

    parent: Scope | None = None
    top: bool = False
    branch: bool = False
    detached: bool = False
    apart: bool = False
    own: frozenset[str] = frozenset()
    bound: dict[str, Binding] = field(default_factory=dict[str, Binding])
    maybe: set[str] = field(default_factory=set[str])

    def find(self, name: str) -> Lookup:
        """Look a name up from here outwards."""
        scope: Scope | None = self
        may_be_set = detached = is_inner = is_apart = False
        while scope is not None:
            if name in scope.bound:
                return Lookup(scope.bound[name], True, True, False)
            may_be_set |= name in scope.maybe
            if is_inner and not is_apart and name in scope.own:
                return Lookup(None, False, may_be_set, False, early=True)
            is_inner |= not scope.branch
            is_apart |= scope.apart
            detached = scope.detached
            scope = scope.parent
        return Lookup(None, False, may_be_set, detached)

    def rebind(self, name: str, binding: Binding) -> None:
        """Change what a name stands for, where it was set."""
        scope = self
        while name not in scope.bound and scope.parent is not None:
            scope = scope.parent
        scope.bound[name] = binding

    def seen_by_blocks(self) -> Scope:
        """The scope that a block standing here is rendered in, unless it is `scoped`."""
        branch: Scope | None = None
        scope = self
        while not scope.top and scope.parent is not None:
            branch = (branch or scope) if scope.branch else None
            scope = scope.parent
        return branch or scope

    def as_it_is(self) -> Scope:
        """The scope and those around it as they stand now: what an import is given."""
        around = self.parent.as_it_is() if self.parent is not None else None
        return replace(self, parent=around, bound=dict(self.bound), maybe=set(self.maybe))

    def content(self) -> Hashable:
        """All that a search can find which comes from an included template, as it stands now."""
        bound: dict[str, Binding] = {}
        maybe: set[str] = set()
        scope: Scope | None = self
        detached = False
        while scope is not None:
            bound = scope.bound | bound
            maybe |= scope.maybe
            detached = scope.detached
            scope = scope.parent
        value_type = frozenset((name, _content(binding)) for name, binding in bound.items())
        return (value_type, frozenset(maybe - bound.keys()), detached)

    def join(self, branches: Sequence[Scope]) -> None:
        """Take over what the branches of an `if` have set: for certain what all of them did."""
        find_all = set[str]().union(*(branch.bound for branch in branches))
        for name in find_all:
            before = self.find(name)
            bindings = [branch.bound[name] for branch in branches if name in branch.bound]
            if len(bindings) < len(branches):
                if not before.is_set:
                    self.maybe.add(name)
                    continue
                bindings.append(before.binding)
            self.bound[name] = _either(bindings)
        self.maybe.update(*(branch.maybe for branch in branches))


def _either(bindings: Sequence[Binding]) -> Binding:
    """What a name stands for that was set in one of several ways."""
    if all(binding is bindings[0] for binding in bindings):
        return bindings[0]
    value_type = [each.value_type for each in bindings if isinstance(each, ValueBinding)]
    return ValueBinding(union(*value_type)) if len(value_type) == len(bindings) else None


class Flow(Struct, frozen=True):
    """Where a walk through a template stands.

    `guards` are the names that a test has found to be there, `facts` the paths that it has found
    not to be None, each with what its first name stood for then. `within` are the templates around
    this one, `blocks` the blocks; `version` is the block that `super()` goes on from, and how deep.
    `is_child` is true at the top of a template that extends another, where nothing is printed;
    `imported` in a template that is only imported. `role` is that of the message here.
    """

    template: ParsedTemplate
    family: InheritanceChain
    scope: Scope
    guards: frozenset[str] = frozenset()
    facts: frozenset[tuple[str, Binding]] = frozenset()
    within: tuple[str, ...] = ()
    blocks: tuple[BlockOverride, ...] = ()
    version: tuple[str, int] | None = None
    is_child: bool = False
    imported: bool = False
    role: str | None = None

    def content(self, reached: frozenset[str]) -> Hashable:
        """All that a walk through a template here depends on, which leads to those `reached`."""
        facts = frozenset((path, _content(binding)) for path, binding in self.facts)
        within = frozenset(self.within) & reached
        blocks = frozenset(each for each in self.blocks if each.template.name in reached)
        around = (self.guards, facts, within, blocks, self.imported, self.role)
        return (around, self.scope.content())

    def inside(self, body: Sequence[nodes.Node]) -> Flow:
        """The same place in a scope of its own, that of `body`."""
        return replace(self, scope=Scope(self.scope, own=names_set(body)), is_child=False)

    def where(self, names: frozenset[str]) -> Flow:
        """The same place where `names` are known to be there."""
        return replace(self, guards=self.guards | names) if names else self

    def branch(self) -> Flow:
        """One way through an `if`."""
        return replace(self, scope=Scope(self.scope, branch=True))

    def binding(self, node: nodes.Node) -> Binding:
        """What is known of the name, or the name in a module, that an expression is."""
        match node:
            case nodes.Name():
                return self.scope.find(node.name).binding
            case nodes.Getattr(node=nodes.Name(name=name)):
                module = self.scope.find(name).binding
                if isinstance(module, ModuleBinding):
                    return module.scope.find(node.attr).binding
                return None
            case _:
                return None

    def for_block(self) -> Flow:
        """The same place as a block sees it that is not `scoped`."""
        return replace(self, scope=self.scope.seen_by_blocks())

    def in_template(self, family: InheritanceChain) -> Flow:
        """At the top of a template that is rendered here."""
        return replace(
            self,
            family=family,
            scope=Scope(self.scope, top=True, apart=True),
            within=(*self.within, family.members[0].name),
            version=None,
        )

    def in_version(self, version: BlockOverride, level: int) -> Flow:
        """In a version of a block that is rendered here."""
        return replace(
            self,
            template=version.template,
            scope=Scope(self.scope, apart=True, own=names_set(version.block.body)),
            is_child=False,
            blocks=(*self.blocks, version),
            version=(version.block.name, level),
        )


def _content(binding: Binding) -> Hashable:
    """What tells two bindings apart: what is known of a value, what a module set, which macro."""
    match binding:
        case ValueBinding(value_type=value_type):
            return value_type
        case ModuleBinding(scope=scope):
            return scope
        case _:
            return binding


def names_set(body: Sequence[nodes.Node]) -> frozenset[str]:
    """The names that statements set whatever happens, in the scope that they stand in."""
    return frozenset[str]().union(*map(_names_set, body))


def _names_set(node: nodes.Node) -> frozenset[str]:
    names: frozenset[str] = frozenset()
    match node:
        case nodes.Macro(name=name) | nodes.Import(target=name):
            names = frozenset((name,))
        case nodes.Assign() | nodes.AssignBlock():
            targets = (node.target, *node.target.find_all(nodes.Name))
            names = frozenset(each.name for each in targets if isinstance(each, nodes.Name))
        case nodes.FromImport():
            names = frozenset(each[1] if isinstance(each, tuple) else each for each in node.names)
        case nodes.If():
            ways = [node.body, *(other.body for other in node.elif_), node.else_]
            names = names_set(ways[0]).intersection(*map(names_set, ways[1:]))
        case _:
            pass
    return names
