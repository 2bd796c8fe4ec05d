"""The Jinja environment of prompts: sandbox, strict undefined, role tags, positions, limits.

Code generation is adapted too: what is printed or compared passes through the limits first.

The tags `system`, `user`, `assistant` and `messages` compile to filters that append a message to
the current render, and `attach` to one that adds parts to the message around it. Roles come from
the syntax tree of the template; rendered text is never parsed, so no text can forge a role.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from datetime import date, time
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any, Literal, TypeAlias, cast

from jinja2 import StrictUndefined, Template, TemplateNotFound, Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.environment import TemplateModule
from jinja2.ext import Extension
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.lexer import Lexer
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from ..messages import Message, Part
from .filters import CONVERSIONS, FILTERS
from .limits import (
    CALL,
    COMPARING,
    CURRENT_RENDER,
    TEMPLATE,
    as_text,
    charge_comparison,
    charge_length,
    charge_loop,
    charge_value,
    charge_work,
    check_format_spec,
    check_method,
    check_operator,
    concatenate,
    limited_filter,
    limited_test,
    percent_format,
    print_value,
    printable,
    slice_value,
)
from .sources import PositionLexer

TagRole: TypeAlias = Literal["system", "user", "assistant"]

ROLES = frozenset(("system", "user", "assistant"))
REPLAYED = frozenset(("user", "assistant", "tool"))
ATTRIBUTES = frozenset(("cache", "name"))
EMIT = "\0emit"
REPLAY = "\0replay"
ATTACH = "\0attach"
"""Internal filters: a template cannot name them, since identifiers contain no NUL."""
_OF_VALUES = {"messages": REPLAY, "attach": ATTACH}
"""Tags without a body, which apply a filter to a value."""


class RoleTags(Extension):
    """Parses the role tags; `static.structure` checks where they may stand."""

    tags = {*ROLES, "messages", "attach"}  # noqa: RUF012  the base class declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse from the tag's name to the end of its body."""
        token = next(parser.stream)
        if (name := _OF_VALUES.get(token.value)) is not None:
            value = parser.parse_expression()
            applied = nodes.Filter(value, name, [], [], None, None, lineno=token.lineno)
            return nodes.Output([applied], lineno=token.lineno)
        attributes = self._attributes(parser, token.value)
        body = parser.parse_statements((f"name:end{token.value}",), drop_needle=True)
        emit_message = nodes.Filter(
            None,
            EMIT,
            [nodes.Const(token.value, lineno=token.lineno)],
            attributes,
            None,
            None,
            lineno=token.lineno,
        )
        return nodes.FilterBlock(body, emit_message, lineno=token.lineno)

    def _attributes(self, parser: Parser, role: str) -> list[nodes.Keyword]:
        found: dict[str, nodes.Keyword] = {}
        while parser.stream.current.type != "block_end":
            token = parser.stream.expect("name")
            if token.value not in ATTRIBUTES:
                message = f"{{% {role} %}} takes cache and name, not {token.value!r}"
                parser.fail(message, token.lineno)
            if token.value in found:
                parser.fail(f"attribute {token.value!r} is given twice", token.lineno)
            parser.stream.expect("assign")
            value = parser.parse_expression()
            found[token.value] = nodes.Keyword(token.value, value, lineno=token.lineno)
        return list(found.values())


def message_role(node: nodes.Node) -> TagRole | None:
    """The role of a message tag, or None for any other node."""
    if not isinstance(node, nodes.FilterBlock) or node.filter.name != EMIT:
        return None
    return cast("TagRole", cast("nodes.Const", node.filter.args[0]).value)


def is_replay(node: nodes.Node) -> bool:
    """Whether the node is a `messages` tag."""
    return _is_tag(node, REPLAY)


def is_attach(node: nodes.Node) -> bool:
    """Whether the node is an `attach` tag."""
    return _is_tag(node, ATTACH)


def _is_tag(node: nodes.Node, name: str) -> bool:
    if not isinstance(node, nodes.Output) or len(node.nodes) != 1:
        return False
    return isinstance(only := node.nodes[0], nodes.Filter) and only.name == name


def emit_message(text: str, role: TagRole, **attributes: Any) -> str:  # noqa: ANN401  pydantic checks
    """Append a message; line breaks around its text are removed."""
    CURRENT_RENDER.get().write(Message(role=role, content=text.strip("\n"), **attributes))
    return ""


def replay_messages(values: Iterable[object]) -> str:
    """Append messages of earlier runs: the same objects, or ones made from mappings."""
    messages = [
        value if type(value) is Message and value.role in REPLAYED else _replayed(value)
        for value in values
    ]
    charge_work(len(messages))
    CURRENT_RENDER.get().messages.extend(messages)
    return ""


def attach(values: object) -> str:
    """Add attachments to the message around it: one, or several; never ones made from data."""
    if values:
        parts = cast("list[object]", [*values] if isinstance(values, list | tuple) else [values])
        for part in parts:
            if not isinstance(part, Part):
                raise TypeError(f"{{% attach %}}: a {type(part).__name__} is not an attachment")
        charge_work(len(parts))
        CURRENT_RENDER.get().parts += cast("list[Part]", parts)
    return ""


def _replayed(value: object) -> Message:
    if isinstance(value, Message):
        message = value
    elif isinstance(value, Mapping):
        message = Message.model_validate(value)
    else:
        raise TypeError(f"{{% messages %}}: a {type(value).__name__} is not a message")
    if message.role not in REPLAYED:
        raise ValueError(f"{{% messages %}}: the role {message.role!r} may not come from data")
    return message


class PromptCodeGenerator(CodeGenerator):
    """Prints each expression by one call of `environment.print_value`; folds no constants.

    Jinja's own `str(environment.finalize(context, ...))` takes three calls. Operands of comparisons
    pass through `environment.charge_comparison`.
    """

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        self.write("(")
        self._compared(node.expr, frame)
        for operand in node.ops:
            self.visit(operand, frame)
        self.write(")")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:
        self.write(f" {operators[node.op]} ")
        self._compared(node.expr, frame)

    def _compared(self, node: nodes.Expr, frame: Frame) -> None:
        if isinstance(node, nodes.Const):
            self.visit(node, frame)
            return
        self.write("environment.charge_comparison(")
        self.visit(node, frame)
        self.write(")")

    def _make_finalize(self) -> CodeGenerator._FinalizeInfo:
        return self._FinalizeInfo(None, "environment.print_value(")

    def _output_child_pre(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write(finalize.src or "")

    def _output_child_post(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write(")")


_PYTHON_INTERNALS = (
    *(type, FunctionType, MethodType, BuiltinMethodType, ModuleType, CodeType, FrameType),
    *(TracebackType, GeneratorType, CoroutineType, AsyncGeneratorType, Undefined),
)

LOOP = "\0loop"
CONCAT = "\0concat"
SLICE = "\0slice"
KEY = "\0key"
CONDITION = "\0answer"
HIT = "\0hit"
BRANCH = "\0judge"
"""Internal filters: a template cannot name them, since identifiers contain no NUL."""

_LIMITED_FILTERS: Mapping[str, Callable[..., object]] = {
    name: limited_filter(name, function)
    for name, function in {**JINJA_FILTERS, **CONVERSIONS}.items()
    if name != "random"
}
_LIMITED_TESTS: Mapping[str, Callable[..., object]] = {
    name: limited_test(cast("Callable[..., object]", JINJA_TESTS[name])) for name in COMPARING
}
_GLOBALS = ("dict", "namespace", "cycler", "joiner")


class Missing(StrictUndefined):
    """An undefined value: any use of it is an error, except some truth tests.

    A bare name, a key of a mapping and an item of a list may be tested: `{% if french %}` asks
    whether a node ran, `{% if session.state.vip %}` whether a key is set. Which names and fields
    can exist is checked at load.
    """

    __slots__ = ()

    def __bool__(self) -> bool:  # type: ignore[override]  # the base class never returns
        owner: object = self._undefined_obj
        is_part = isinstance(owner, Mapping) or isinstance(self._undefined_name, int)
        if owner is not missing and not is_part:
            self._fail_with_undefined_error()
        return False


class PromptTemplate(Template):
    """A template that executes its imports on each render.

    Jinja caches the module of an import, so what one render leaves in a `namespace` there would be
    visible to the next, perhaps of another user.
    """

    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:
        return self.make_module()


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """The environment of one `Prompts`; `load` finds the templates that others reference."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))
    template_class = PromptTemplate
    code_generator_class = PromptCodeGenerator
    concat = staticmethod(concatenate)
    print_value = staticmethod(print_value)
    charge_comparison = staticmethod(charge_comparison)

    def __init__(self, load: Callable[[str], Template | None]) -> None:
        super().__init__(
            undefined=Missing,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
            # No constant folding: there is no work budget at load, and the checks need the tree.
            optimized=False,
            extensions=[RoleTags],
        )
        self._load = load
        self._lexer = PositionLexer(self)
        self.globals = {name: self.globals[name] for name in _GLOBALS} | {"range": _range}
        self.filters = {**_LIMITED_FILTERS, **FILTERS}
        self.tests |= _LIMITED_TESTS
        self.filter_names = sorted(self.filters)
        self.filters |= {EMIT: emit_message, REPLAY: replay_messages, ATTACH: attach}
        self.filters |= {
            LOOP: charge_loop,
            CONCAT: _concat,
            SLICE: slice_value,
            KEY: charge_comparison,
            CONDITION: _record_value,
        }

    @property
    def lexer(self) -> Lexer:
        """The lexer that records columns."""
        return self._lexer

    def read(self, source: str, name: str | None) -> nodes.Template:
        """Parse a template; raises `TemplateSyntaxError` with a `Position` for its line."""
        return self.with_limits(self.parse(source, name))

    def with_limits(self, tree: nodes.Template) -> nodes.Template:
        """The same tree, with loops, concatenations and slices charged when rendered."""
        _LimitTransformer().visit(tree)
        return cast("nodes.Template", tree.set_environment(self))

    def template(self, tree: nodes.Template, name: str) -> Template:
        """Compile a tree; raises `TemplateSyntaxError`."""
        return self.loaded(self.compile(tree, name, name))

    def loaded(self, code: CodeType) -> Template:
        """The template of compiled code."""
        return self.template_class.from_code(self, code, self.globals)

    def get_template(
        self,
        name: str | Template,
        parent: str | None = None,
        globals: MutableMapping[str, object] | None = None,  # noqa: A002  so it is called there
    ) -> Template:
        """The template that an include, import or extends names."""
        return self.select_template((name,))

    def select_template(
        self,
        names: Iterable[str | Template],
        parent: str | None = None,
        globals: MutableMapping[str, object] | None = None,  # noqa: A002  so it is called there
    ) -> Template:
        """The first of the templates that an include names."""
        charge_work(TEMPLATE)
        for name in names:
            if (found := self._load(str(name))) is not None:
                return found
        raise TemplateNotFound(", ".join(map(str, names)))

    def getattr(self, obj: object, attribute: str) -> object:
        """An attribute of a value; the keys of a mapping come before its methods.

        So `triage.output.items` is the field that a model returned, not the method of `dict`.
        """
        access = _ATTRIBUTE_ACCESS[type(obj)]
        if access is _SIMPLE:
            value: object = getattr(obj, attribute, missing)
            if value is not missing and attribute[0] != "_" and not callable(value):
                return value
        elif access is _MAPPING:
            fields = cast("dict[str, object]", obj)
            if attribute in fields:
                return fields[attribute]
        found: object = super().getattr(obj, attribute)
        return found

    def getitem(self, obj: object, argument: object) -> object:
        """An item of a value; a tuple as a key is charged, since Python hashes all of it."""
        found: object = super().getitem(obj, charge_comparison(argument))
        return found

    def call(
        self, context: Context, function: Callable[..., object], /, *args: object, **kwargs: object
    ) -> object:
        """Call a macro, method or function for a template."""
        charge_work(CALL)
        if isinstance(function, LoopContext):
            args = tuple(charge_loop(cast("Iterable[object]", each)) for each in args)
        elif isinstance(function, BuiltinMethodType | MethodType):
            args = check_method(function, args, kwargs)
        result: object = super().call(context, function, *args, **kwargs)
        if isinstance(result, KeysView | ValuesView | ItemsView):
            result = list(cast("Iterable[object]", result))
        if isinstance(function, BuiltinMethodType | MethodType):
            charge_value(result)
        return result

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Compute `+`, `*`, `**` or `%`, unless the result would be huge."""
        check_operator(operator, left, right)
        if operator == "%" and isinstance(left, str):
            return percent_format(left, right)
        if operator == "+" and {type(left), type(right)} == {list, tuple}:
            left, right = list(cast("list[object]", left)), list(cast("list[object]", right))
        result: object = super().call_binop(context, operator, left, right)
        return result

    def wrap_str_format(self, value: object) -> Callable[..., str] | None:
        """`str.format` in its sandboxed form, its widths checked."""
        if super().wrap_str_format(value) is None:
            return None
        method = cast("BuiltinMethodType", value)
        text = str(method.__self__)
        takes_mapping = method.__name__ == "format_map"

        def format_within_bounds(*args: object, **kwargs: object) -> str:
            values = cast("dict[str, object]", args[0]) if takes_mapping else kwargs
            return _Formatter(self).vformat(text, () if takes_mapping else args, values)

        return format_within_bounds


class _Formatter(SandboxedFormatter):
    def convert_field(self, value: object, conversion: str | None) -> object:
        if conversion and isinstance(value := printable(value), date | time):
            value = str(value)
        result: object = super().convert_field(value, conversion)
        return result

    def format_field(self, value: object, format_spec: str) -> str:
        check_format_spec(format_spec)
        value = printable(value)
        text = str(super().format_field(value, format_spec))
        charge_length(len(text))
        return text


class _LimitTransformer(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, LOOP, [], [], None, None, lineno=node.iter.lineno)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Pair:
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = nodes.Filter(node.key, KEY, [], [], None, None, lineno=node.key.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, CONCAT, [], [], None, None, lineno=node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        self.generic_visit(node)
        if not isinstance(part := node.arg, nodes.Slice):
            return node
        bounds = [
            nodes.Const(None, lineno=node.lineno) if each is None else each
            for each in (part.start, part.stop, part.step)
        ]
        return nodes.Filter(node.node, SLICE, bounds, [], None, None, lineno=node.lineno)


_SIMPLE, _MAPPING, _OTHER = "plain", "mapping", "other"


class _AttributeAccess(dict[type, str]):
    """Caches by type how attributes are looked up.

    Attributes of a simple value do not lead to Python internals, so only methods and names that
    begin with `_` need the sandbox: ten times faster, and as safe.
    """

    def __missing__(self, kind: type) -> str:
        found = _OTHER if issubclass(kind, _PYTHON_INTERNALS) else _SIMPLE
        self[kind] = _MAPPING if issubclass(kind, dict) else found
        return self[kind]


_ATTRIBUTE_ACCESS = _AttributeAccess()


def _range(*bounds: int) -> list[int]:
    values = range(*bounds)
    charge_length(len(values))
    return [*values]


def _concat(values: list[object]) -> str:
    return concatenate([as_text(value) for value in values])


def _record_value(value: object) -> str:
    """Record the value of an expression; bool() raises if it is undefined."""
    render = CURRENT_RENDER.get()
    render.condition, render.value = bool(value), value
    return ""
