"""Flow-sensitive state of a walk: scopes, bindings, and the facts that tests establish (narrowing).

A fact is an access path with a mark, such as `a.b?` for "is defined", bound to what the first name
of the path meant at the test.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple, TypeAlias, cast

from jinja2 import nodes
from msgspec import Struct, field
from msgspec.structs import replace

from ..sources import BlockOverride, InheritanceChain, ParsedTemplate
from .types import StaticType, non_empty, union, with_kinds, without_none, without_null


class MacroBinding(Struct, frozen=True, eq=False):
    """A name bound to a macro; `flow` is where that was defined."""

    macro: nodes.Macro
    flow: Flow


class ModuleBinding(Struct, frozen=True, eq=False):
    """A name bound to an imported template; `scope` has what that set."""

    scope: Scope


class ValueBinding(Struct, frozen=True, eq=False):
    """A name bound to a value of a known type; `serial` tells it from all others."""

    value_type: StaticType
    serial: int = field(default_factory=count().__next__)


Binding: TypeAlias = MacroBinding | ModuleBinding | ValueBinding | None
"""What a name is bound to; None is a value of unknown type."""


_IMPLICIT = frozenset(("loop", "caller", "varargs", "kwargs"))


class Lookup(NamedTuple):
    """The result of looking up a name.

    `is_set` is true if the template sets it on every path to this point, `may_be_set` if on some.
    `detached` is true where the context is not visible: in an import without context. `early` is
    true if an enclosing scope sets the name only later: Jinja treats it as a local name of that
    scope then, and does not look in the context.
    """

    binding: Binding
    is_set: bool
    may_be_set: bool
    detached: bool
    early: bool = False


class Scope(Struct, eq=False):
    """The names set in one part of a template, and the enclosing scope.

    A `top` scope is the outermost of a template; its blocks see what is set there. A `branch` is
    one branch of an `if`: no scope for Jinja, but its names may be unset afterwards. `apart` marks
    what looks names up when rendered, like a block or an include. `own` are the names that the
    scope certainly sets somewhere.
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

    def names(self) -> Iterator[str]:
        """The names that are set here or in an enclosing scope, `loop` and the like left out."""
        scope: Scope | None = self
        while scope is not None and scope.parent is not None:
            yield from (name for name in scope.bound if name not in _IMPLICIT)
            scope = scope.parent

    def rebind(self, name: str, binding: Binding) -> None:
        """Change the binding of a name in the scope that set it."""
        scope = self
        while name not in scope.bound and scope.parent is not None:
            scope = scope.parent
        scope.bound[name] = binding

    def seen_by_blocks(self) -> Scope:
        """The scope that a block here is rendered in, unless it is `scoped`."""
        branch: Scope | None = None
        scope = self
        while not scope.top and scope.parent is not None:
            branch = (branch or scope) if scope.branch else None
            scope = scope.parent
        return branch or scope

    def as_it_is(self) -> Scope:
        """A copy of this scope and the enclosing ones, as an import gets them."""
        around = self.parent.as_it_is() if self.parent is not None else None
        return replace(self, parent=around, bound=dict(self.bound), maybe=set(self.maybe))

    def content(self) -> Hashable:
        """A hashable snapshot of all names that an included template could look up."""
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
        """Merge the branches of an `if`: a name is set for certain if all of them set it."""
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
    """The binding of a name that was set in one of several branches."""
    if all(binding is bindings[0] for binding in bindings):
        return bindings[0]
    value_type = [each.value_type for each in bindings if isinstance(each, ValueBinding)]
    return ValueBinding(union(*value_type)) if len(value_type) == len(bindings) else None


class Flow(Struct, frozen=True):
    """Flow state: where a walk through a template stands, and what is known there.

    `guards` are the names that tests have established to be defined, `absent` those that are not;
    `facts` is what they established about access paths, with the binding of the first name then.
    `within` are the enclosing templates, `blocks` the enclosing blocks; `override` is the block and
    depth that `super()` continues from. `is_child` is true at the top level of a template that
    extends another, where nothing is printed; `imported` in a template that is only imported.
    `role` is that of the enclosing message.
    """

    template: ParsedTemplate
    chain: InheritanceChain
    scope: Scope
    guards: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    facts: frozenset[tuple[str, Binding]] = frozenset()
    within: tuple[str, ...] = ()
    blocks: tuple[BlockOverride, ...] = ()
    override: tuple[str, int] | None = None
    is_child: bool = False
    imported: bool = False
    role: str | None = None

    def content(self, reached: frozenset[str]) -> Hashable:
        """A hashable snapshot of all that a walk into the templates `reached` depends on."""
        facts = frozenset((path, _content(binding)) for path, binding in self.facts)
        within = frozenset(self.within) & reached
        blocks = frozenset(each for each in self.blocks if each.template.name in reached)
        around = (self.guards, self.absent, facts, within, blocks, self.imported, self.role)
        return (around, self.scope.content())

    def inside(self, body: Sequence[nodes.Node]) -> Flow:
        """The same state in a new scope for `body`."""
        return replace(self, scope=Scope(self.scope, own=names_set(body)), is_child=False)

    def where(self, test: nodes.Node, *, truth: bool) -> Flow:
        """The same state with the names known to be defined, or not, if `test` is `truth`."""
        guards = self.guards | _names_decided(test, truth, are_defined=True)
        absent = self.absent | _names_decided(test, truth, are_defined=False)
        return replace(self, guards=guards, absent=absent)

    def branch(self) -> Flow:
        """The same state in one branch of an `if`."""
        return replace(self, scope=Scope(self.scope, branch=True))

    def binding(self, node: nodes.Node) -> Binding:
        """The binding of an expression that is a name, or a name in a module."""
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
        """The same state as seen by a block that is not `scoped`."""
        return replace(self, scope=self.scope.seen_by_blocks())

    def in_template(self, chain: InheritanceChain) -> Flow:
        """The state at the top of a template that is rendered here."""
        return replace(
            self,
            chain=chain,
            scope=Scope(self.scope, top=True, apart=True),
            within=(*self.within, chain.members[0].name),
            override=None,
        )

    def in_override(self, override: BlockOverride, level: int) -> Flow:
        """The state in an override of a block that is rendered here."""
        return replace(
            self,
            template=override.template,
            scope=Scope(self.scope, apart=True, own=names_set(override.block.body)),
            is_child=False,
            blocks=(*self.blocks, override),
            override=(override.block.name, level),
        )


def _content(binding: Binding) -> Hashable:
    """What distinguishes two bindings: the type of a value, the scope of a module, the macro."""
    match binding:
        case ValueBinding(value_type=value_type):
            return value_type
        case ModuleBinding(scope=scope):
            return scope
        case _:
            return binding


def names_set(body: Sequence[nodes.Node]) -> frozenset[str]:
    """The names that statements set on every path, in their own scope."""
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


def _names_decided(node: nodes.Node, truth: bool, *, are_defined: bool) -> frozenset[str]:
    """The names that are certainly defined, or certainly not, if the test evaluates to `truth`.

    A bare name that is false counts as not defined: what a node gives is never false.
    """
    match node:
        case nodes.Name() if truth == are_defined:
            names = frozenset((node.name,))
        case nodes.Not():
            names = _names_decided(node.node, not truth, are_defined=are_defined)
        case nodes.And() | nodes.Or():
            left = _names_decided(node.left, truth, are_defined=are_defined)
            right = _names_decided(node.right, truth, are_defined=are_defined)
            names = left | right if truth == isinstance(node, nodes.And) else left & right
        case nodes.Test(node=nodes.Name(name=name)) if node.name == _TEST_FOR[truth == are_defined]:
            names = frozenset((name,))
        case _:
            names = frozenset[str]()
    return names


_TEST_FOR = {True: "defined", False: "undefined"}


AccessPath: TypeAlias = tuple[str, str]


def access_path(node: nodes.Node, flow: Flow | None = None) -> AccessPath | None:
    """The first name and the whole path of an expression like `a.b["c"][0]`, else None.

    With a flow state also of `a[b.c]`: its path says what `b` is bound to there.
    """
    match node:
        case nodes.Name():
            return node.name, node.name
        case nodes.Getattr(attr=key) | nodes.Getitem(arg=nodes.Const(value=str(key))):
            step = f".{key}"
        case nodes.Getitem(arg=nodes.Const(value=int(key))):
            step = f"[{key}]"
        case nodes.Getitem(arg=nodes.Expr() as computed) if flow is not None:
            found = access_path(computed, flow)
            binding = flow.scope.find(found[0]).binding if found else None
            if found is None or not isinstance(binding, ValueBinding):
                return None
            step = f"[{found[1]}@{binding.serial}]"
        case _:
            return None
    base = access_path(node.node, flow)
    return (base[0], base[1] + step) if base else None


def assume(flow: Flow, test: nodes.Node, *, truth: bool) -> Flow:
    """The flow state after a test that evaluated to `truth`."""
    found = _facts(test, flow, truth=truth)
    facts = {(path, flow.scope.find(name).binding) for name, path in found}
    return replace(flow, facts=flow.facts | facts) if facts else flow


def narrow(node: nodes.Node, value_type: StaticType, flow: Flow) -> StaticType:
    """The type of an expression after applying the facts about it."""
    found = access_path(node, flow)
    if found is None or not flow.facts:
        return value_type
    binding = flow.scope.find(found[0]).binding
    for mark, facts in _NARROWINGS.items():
        if (f"{found[1]}{mark}", binding) in flow.facts:
            value_type = facts(value_type)
    start = f"{found[1]}.kind="
    kinds = [
        fact[len(start) :] for fact, of in flow.facts if of is binding and fact.startswith(start)
    ]
    return with_kinds(value_type, kinds) if kinds else value_type


def is_defined(node: nodes.Node, flow: Flow) -> bool:
    """Whether a test has established that the expression is defined."""
    return _has_fact(node, _DEFINED, flow)


def is_non_empty(node: nodes.Node, flow: Flow) -> bool:
    """Whether a test has established that the text, list or mapping is not empty."""
    return _has_fact(node, _NON_EMPTY, flow)


def is_key(node: nodes.Node, flow: Flow) -> bool:
    """Whether a loop or an `in` has established that a mapping has the key of this lookup."""
    return _has_fact(node, _KEY, flow)


def is_loop_index(index: nodes.Node, over: nodes.Node, flow: Flow) -> bool:
    """Whether an index like `loop.index0 - 1` is one of the list that the loop iterates over.

    -1 is one too: it is the last item.
    """
    shift = 0
    match index:
        case nodes.Sub(left=nodes.Getattr() as counter, right=nodes.Const(value=int(shift))):
            shift = -shift
        case nodes.Add(left=nodes.Getattr() as counter, right=nodes.Const(value=int(shift))):
            pass
        case nodes.Getattr() as counter:
            pass
        case _:
            return False
    if not isinstance(counter.node, nodes.Name) or counter.node.name != "loop":
        return False
    loop, path = flow.scope.find("loop").binding, access_path(over, flow)
    if counter.attr not in _COUNTED_FROM or path is None or not isinstance(loop, ValueBinding):
        return False
    if (f"{path[1]}#{loop.serial}", flow.scope.find(path[0]).binding) not in flow.facts:
        return False
    offset = shift + _COUNTED_FROM[counter.attr]
    has_next = (f"loop.nextitem{_DEFINED}", loop) in flow.facts
    return -1 <= offset <= (1 if has_next and not counter.attr.startswith("rev") else 0)


_COUNTED_FROM = {"index0": 0, "index": 1, "revindex0": 0, "revindex": 1}


def inside_loop(flow: Flow, over: nodes.Node, target: nodes.Node) -> Flow:
    """The flow state inside a loop over an expression, which is therefore not empty."""
    match over:
        case nodes.Call(node=nodes.Getattr(attr=("keys" | "items"), node=whole)):
            over = whole
        case nodes.Filter(node=nodes.Expr() as whole) if over.name in _PRESERVES_ITEMS:
            over = whole
        case _:
            pass
    if isinstance(target, nodes.Tuple):
        target = target.items[0]
    if (found := access_path(over, flow)) is None:
        return flow
    binding = flow.scope.find(found[0]).binding
    loop = cast("ValueBinding", flow.scope.bound["loop"])
    facts = {(f"{found[1]}{_NON_EMPTY}", binding), (f"{found[1]}#{loop.serial}", binding)}
    if isinstance(target, nodes.Name):
        key = access_path(nodes.Getitem(cast("nodes.Expr", over), target, "load"), flow)
        facts |= {(f"{key[1]}{_KEY}", binding)} if key else set()
    return replace(flow, facts=flow.facts | facts)


def _has_fact(node: nodes.Node, mark: str, flow: Flow) -> bool:
    found = access_path(node, flow)
    if found is None:
        return False
    return (f"{found[1]}{mark}", flow.scope.find(found[0]).binding) in flow.facts


def _facts(node: nodes.Node, flow: Flow, *, truth: bool) -> frozenset[AccessPath]:
    """The facts that a test establishes if it evaluates to `truth`."""
    found: frozenset[AccessPath] = frozenset()
    match node:
        case nodes.Not():
            found = _facts(node.node, flow, truth=not truth)
        case nodes.And() | nodes.Or():
            left, right = (
                _facts(node.left, flow, truth=truth),
                _facts(node.right, flow, truth=truth),
            )
            found = left | right if truth == isinstance(node, nodes.And) else left & right
        case nodes.Test():
            found = _tested(node, flow, truth=truth)
        case nodes.Compare(ops=[operand]):
            found = _compared(node.expr, operand, flow, truth=truth)
        case nodes.Filter(node=nodes.Expr() as counted, name=("length" | "count")) if truth:
            found = _marked(_paths(counted, flow), _NON_EMPTY)
        case nodes.Getattr(node=nodes.Name(name="loop"), attr=("first" | "last") as edge) if (
            not truth
        ):
            found = frozenset((("loop", f"loop.{_NEIGHBOURS[edge]}{_DEFINED}"),))
        case _ if truth:
            found = _paths(node, flow) | _marked(_paths(node, flow), _NON_EMPTY)
        case _:
            pass
    return found


def _compared(
    left: nodes.Expr, operand: nodes.Operand, flow: Flow, *, truth: bool
) -> frozenset[AccessPath]:
    """The facts of a comparison that evaluates to `truth`."""
    right, operator = operand.expr, operand.op
    if operator in ("in", "notin"):
        is_in = truth == (operator == "in")
        return _marked(_paths(_item_of(right, left), flow), _KEY) if is_in else frozenset()
    if isinstance(left, nodes.Const):
        left, right, operator = right, left, _MIRRORED.get(operator, operator)
    if not isinstance(right, nodes.Const):
        return frozenset()
    value: object = right.value
    if isinstance(left, nodes.Filter):
        is_some = truth and isinstance(value, int) and (operator, min(value, 1)) in _MEANS_NON_EMPTY
        return _facts(left, flow, truth=True) if is_some else frozenset()
    found: frozenset[AccessPath] = frozenset()
    if operator == ("ne" if (value is None) == truth else "eq"):
        found = _paths(left, flow)
    if operator == ("eq" if truth else "ne"):
        found |= frozenset((name, f"{path}={value}") for name, path in _paths(left, flow))
    return found


def _tested(test: nodes.Test, flow: Flow, *, truth: bool) -> frozenset[AccessPath]:
    paths = _paths(test.node, flow)
    if test.name in ("defined", "undefined"):
        value_type = _marked(paths, _DEFINED)
        return value_type if truth == (test.name == "defined") else frozenset()
    if test.name == "in" and test.args:
        item = _item_of(test.args[0], test.node)
        return _marked(_paths(item, flow), _KEY) if truth else frozenset()
    if test.name == "none":
        return frozenset() if truth else _marked(paths, _NOT_NONE)
    return paths if truth and test.name in _REJECTS_NONE else frozenset()


def _item_of(mapping: nodes.Expr, key: nodes.Expr) -> nodes.Expr:
    """The item that is there if a mapping, or the list of its keys, contains a key."""
    if isinstance(mapping, nodes.Call) and isinstance(keys := mapping.node, nodes.Getattr):
        mapping = keys.node if keys.attr == "keys" else mapping
    return nodes.Getitem(mapping, key, "load")


def _marked(paths: frozenset[AccessPath], mark: str) -> frozenset[AccessPath]:
    return frozenset((name, f"{path}{mark}") for name, path in paths)


_REJECTS_NONE = frozenset(
    (
        *("string", "mapping", "sequence", "iterable", "number", "integer", "float", "boolean"),
        "true",
    )
)
"""The tests that only a value passes which is defined and not None."""
_MEANS_NON_EMPTY = frozenset((("gt", 0), ("gt", 1), ("gteq", 1), ("eq", 1), ("ne", 0)))
_MIRRORED = {"lt": "gt", "gt": "lt", "lteq": "gteq", "gteq": "lteq"}
_PRESERVES_ITEMS = frozenset(("list", "sort", "reverse", "unique", "items", "dictsort"))
_NEIGHBOURS = {"first": "previtem", "last": "nextitem"}

_DEFINED, _NON_EMPTY, _NOT_NONE, _KEY = "?", "+", "~", "!"
_NARROWINGS: Mapping[str, Callable[[StaticType], StaticType]] = {
    "": without_null,
    _NOT_NONE: without_none,
    _NON_EMPTY: non_empty,
}
"""How each mark narrows a type; no path contains a mark, so all facts share one set."""


def _paths(node: nodes.Node, flow: Flow) -> frozenset[AccessPath]:
    path = access_path(node, flow)
    return frozenset((path,)) if path else frozenset()
