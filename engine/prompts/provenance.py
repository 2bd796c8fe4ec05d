"""Provenance of a rendered prompt: for each stretch of text its position and the values it shows.

The syntax tree is transformed before it is compiled, and the filters that do the tracing exist in
this environment alone: a template that is rendered for a model has none of it and costs nothing
more. Whatever is printed becomes a `TracedText`, a str subclass with its origins; joining,
capturing, including and calling macros preserve them, since all of these end in the environment's
`concat`. Texts carry the path that they were read by; other values are recognized by identity
while the render lasts. Reads are also recorded in order, so that a computed text has the paths of
all that was read since its expression began.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import BuiltinMethodType, MethodType
from typing import NamedTuple, TypeVar, cast

from jinja2 import Environment, Template, Undefined, nodes, pass_environment
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context, LoopContext
from jinja2.visitor import NodeTransformer
from msgspec import Struct

from .environment import (
    ATTACH,
    CONCAT,
    EMIT,
    LOOP,
    REPLAY,
    PromptEnvironment,
    TagRole,
    emit_message,
    message_role,
    replay_messages,
)
from .filters import fence, to_prompt_text
from .library import CapturedPrompt
from .limits import CURRENT_RENDER, RenderState, as_text, charge_loop, concatenate, join
from .sources import Position, Reference, position_of, start_position


class Span(Struct, frozen=True):
    """The text of a message from `start` up to `end`, in code points, that has one origin.

    `template`, `line` and `column` say what printed it. `values` are the paths of the values that
    it shows, such as `input.message` or `upstream[french].output`; empty for template text.
    `is_text` is true where the template has this very text at that position.
    """

    start: int
    end: int
    template: str
    line: int
    column: int
    values: tuple[str, ...] = ()
    is_text: bool = False


class TemplatePosition(NamedTuple):
    """The position of what printed a text; `is_text` if the template has this very text there."""

    template: str
    line: int
    column: int
    is_text: bool = False

    def after(self, text: str) -> TemplatePosition:
        """The position behind `text`, which begins here."""
        if not self.is_text:
            return self
        lines = text.count("\n")
        column = len(text) - text.rfind("\n") if lines else self.column + len(text)
        return self._replace(line=self.line + lines, column=column)


class OriginPiece(NamedTuple):
    """`length` characters of one origin; None until it is printed.

    `values` are the paths of what they show, as `input.message`; empty for template text.
    """

    length: int
    origin: TemplatePosition | None
    values: tuple[str, ...] = ()


class TracedText(str):
    """A str that knows the pieces that it is made of, which tile it.

    Operations of Python give plain str again, except those overridden here.
    """

    pieces: tuple[OriginPiece, ...]

    def __new__(cls, text: str, pieces: Iterable[OriginPiece]) -> TracedText:
        self = super().__new__(cls, text)
        self.pieces = tuple(pieces)
        return self

    def __str__(self) -> str:
        """The same object: Jinja calls `str` on all that it prints."""
        return self

    @classmethod
    def of(
        cls, text: str, origin: TemplatePosition | None, values: tuple[str, ...] = ()
    ) -> TracedText:
        """A text that has one origin."""
        return cls(text, [OriginPiece(len(text), origin, values)] if text else ())

    @property
    def values(self) -> tuple[str, ...]:
        """The paths of all values that it shows."""
        return tuple(dict.fromkeys(value for piece in self.pieces for value in piece.values))

    def at(self, origin: TemplatePosition) -> TracedText:
        """The same text, with `origin` for the pieces that have none yet."""
        return TracedText(
            self, [piece._replace(origin=piece.origin or origin) for piece in self.pieces]
        )

    def strip(self, chars: str | None = None, /) -> TracedText:
        """As `str.strip`, with the pieces of the rest."""
        stripped = super().strip(chars)
        start = len(self) - len(super().lstrip(chars))
        return TracedText(stripped, self._cut(start, start + len(stripped)))

    def stretches(self) -> tuple[Span, ...]:
        """The pieces as spans; all must have an origin."""
        found: list[Span] = []
        end = 0
        for length, origin, values in self.pieces:
            start, end = end, end + length
            assert origin is not None  # noqa: S101  whatever is printed has one
            template, line, column, is_text = origin
            found.append(Span(start, end, template, line, column, values, is_text))
        return tuple(found)

    def _cut(self, start: int, end: int) -> Iterable[OriginPiece]:
        offset = 0
        for length, origin, values in self.pieces:
            first, last = max(start - offset, 0), min(end - offset, length)
            if first < last:
                moved = origin.after(self[offset : offset + first]) if origin else None
                yield OriginPiece(last - first, moved, values)
            offset += length


def origins_of(text: str) -> tuple[OriginPiece, ...]:
    """The pieces of a text; a plain str is one piece without origin."""
    return text.pieces if isinstance(text, TracedText) else TracedText.of(text, None).pieces


_PLAIN = (str, int, float, Undefined, type(None))
"""Values without a usable identity: Python shares their objects."""

_NAME = re.compile(r"[A-Za-z_]\w*")
_STEP = re.compile(r"[.\[]")
_LISTS = (list, tuple)
_WORK_FACTOR = 100
"""The work budget of a traced render, as a multiple of the usual one."""


class TraceState(RenderState):
    """A render in progress, and what it has read of its `variables`."""

    __slots__ = ("_paths", "_reads", "_variables", "texts")

    def __init__(self, max_length: int, variables: Mapping[str, object]) -> None:
        super().__init__(max_length)
        self.work_left *= _WORK_FACTOR
        self.texts: list[TracedText] = []
        self._variables = variables
        self._reads: list[str] = []
        self._paths: dict[int, tuple[object, str]] = {}

    @property
    def mark(self) -> int:
        """The number of reads so far."""
        return len(self._reads)

    def since(self, mark: int) -> tuple[str, ...]:
        """The paths read since `mark`; of `input` and `input.message` only the second."""
        reads = dict.fromkeys(self._reads[mark:])
        ways = {read[: step.start()] for read in reads for step in _STEP.finditer(read)}
        return tuple(read for read in reads if read not in ways)

    def path(self, value: object) -> str | None:
        """The path that a value was read by, looked up by its identity."""
        found = self._paths.get(id(value))
        return None if found is None else found[1]

    def name(self, value: object, name: str) -> object:
        """Record the read of a name."""
        if isinstance(value, TracedText):
            self._reads += value.values
        elif self._variables.get(name) is value:
            return self._read(value, name)
        elif not isinstance(value, str):
            self._reads += self._within(value)
        return value

    def part(self, owner: object, value: object, key: object) -> object:
        """Record the read of `owner[key]`."""
        path, value_path = self.path(owner), self.path(value)
        if isinstance(value, TracedText):
            self._reads += value.values
        elif value_path is not None and isinstance(owner, list | tuple):
            return self._read(value, value_path)  # the list may be a copy of another
        elif path is not None and not callable(value):
            return self._read(value, path + _step(key, value))
        return value

    def view(self, owner: object, name: str, parts: list[object]) -> list[object]:
        """Record the read of all of `owner`: its keys, values or items."""
        path = self.path(owner)
        if path is None:
            return parts
        self._reads.append(path)
        if name != "items":
            return parts
        items = cast("list[tuple[object, object]]", parts)
        return [
            (self._known(key, path), self._known(value, path + _step(key, value)))
            for key, value in items
        ]

    def computed(self, value: object, mark: int) -> object:
        """Attribute a computed text to what was read since `mark`."""
        if type(value) is str and (reads := self.since(mark)):
            return TracedText.of(value, None, reads)
        return value

    def each(self, values: Iterable[object], mark: int, path: str | None) -> list[object]:
        """The items of a loop over `path`, or over what was computed since `mark`."""
        reads, everything = self.since(mark), values
        if isinstance(values, Sequence) and path is not None:
            return [self._known(one, path + _step(index, one)) for index, one in enumerate(values)]
        return [self._made(value, reads) for value in everything]

    def _within(self, value: object) -> Iterator[str]:
        """The paths of a value, or of the parts that a template built it from."""
        if isinstance(value, TracedText):
            yield from value.values
        elif (path := self.path(value)) is not None:
            yield path
        elif isinstance(value, list | tuple | dict):
            made = cast("list[object] | dict[object, object]", value)
            for part in made.values() if isinstance(made, dict) else made:
                yield from self._within(part)

    def _read(self, value: object, path: str) -> object:
        self._reads.append(path)
        return self._known(value, path)

    def _known(self, value: object, path: str) -> object:
        """Remember the path of a value; a text carries it."""
        if type(value) is str:
            return TracedText.of(value, None, (path,))
        if not isinstance(value, _PLAIN):
            self._paths[id(value)] = value, path
            if issubclass(type(value), _LISTS):
                self._know_parts(cast("Sequence[object]", value), path)
        return value

    def _know_parts(self, values: Sequence[object], path: str) -> None:
        for index, value in enumerate(values):
            if isinstance(value, str):
                self._paths[id(value)] = value, path + _step(index, value)
            elif not isinstance(value, _PLAIN) and id(value) not in self._paths:
                self._known(value, path + _step(index, value))

    def _made(self, value: object, reads: tuple[str, ...]) -> object:
        """An item of a computed list: the identical item of a list that was read, or a new one."""
        path = self.path(value)
        if type(value) is str:
            is_item = path is not None and path.startswith(reads)
            paths = (path,) if path is not None and is_item else reads
            return TracedText.of(value, None, paths) if reads else value
        if type(value) is tuple:
            return tuple(self._made(one, reads) for one in cast("tuple[object, ...]", value))
        if path is None and len(reads) == 1 and not issubclass(type(value), (*_LISTS, dict)):
            return self._known(value, reads[0])
        return value


def trace() -> TraceState:
    """The traced render in progress."""
    return cast("TraceState", CURRENT_RENDER.get())


def _step(key: object, value: object) -> str:
    """The step of a path from a value to a part: by id where the part has one, else by key."""
    if isinstance(key, str):
        return f".{key}" if _NAME.fullmatch(key) else f"[{str(key)!r}]"
    own = None if isinstance(value, _PLAIN) else getattr(value, "id", None)
    return f"[{own}]" if isinstance(own, str) and _NAME.fullmatch(own) else f"[{key!r}]"


MARK = "\0mark"
NAME = "\0name"
TEXT = "\0text"
PRINTED = "\0printed"
COMPUTED = "\0computed"
"""Internal filters: a template cannot name them, since identifiers contain no NUL."""

_Child = TypeVar("_Child", bound=nodes.Node)

_GIVING_BACK = frozenset(("default", "d"))


class TraceTransformer(NodeTransformer):
    """Inserts tracing filters into a syntax tree; they refer to positions by index in `origins`.

    Python evaluates arguments from left to right, so a mark passed before an expression separates
    what was read in it.
    """

    def __init__(self, name: str, origins: list[TemplatePosition]) -> None:
        self._name = name
        self._origins = origins

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        for index, child in enumerate(node.nodes):
            if isinstance(child, nodes.TemplateData):
                node.nodes[index] = self._text(child.data, child.lineno, is_text=True)
            elif isinstance(child, nodes.Filter) and child.name == REPLAY:
                node.nodes[index] = self.visit_Filter(child)
            elif isinstance(child, nodes.Filter) and child.name == ATTACH:
                node.nodes[index] = self._text("", child.lineno)  # it prints nothing
            else:
                node.nodes[index] = self._printed(child, start_position(child))
        return node

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> nodes.FilterBlock:
        self._visit_all(node.body)
        if message_role(node) is None:
            node.filter = self._captured(node.filter)
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.AssignBlock:
        self._visit_all(node.body)
        if node.filter is not None:
            node.filter = self._captured(node.filter)
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:
        self.generic_visit(node.call)
        self._visit_all(node.defaults)
        self._visit_all(node.body)
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Filter:
        value = cast("nodes.Expr", node.node)
        if node.name == NAME:
            return node
        if node.name == CONCAT:
            parts = cast("nodes.List", value)
            parts.items = [self._printed(part, start_position(part)) for part in parts.items]
            return node
        if node.name == LOOP:
            return _filter(_mark(), LOOP, self._visited(value))
        if node.name == REPLAY:
            origin = self._origin(position_of(node.lineno))
            return _filter(_mark(), REPLAY, self._visited(value), origin)
        node.node = self._visited(value)
        self._visit_arguments(node)
        return _computed(node)

    def visit_Test(self, node: nodes.Test) -> nodes.Test:
        node.node = self._visited(node.node)
        self._visit_arguments(node)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:
        node.node = self._visited(node.node)
        if not isinstance(node.arg, nodes.Const):
            node.arg = self._visited(node.arg)
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Expr:
        return _computed(self.generic_visit(node))

    def visit_Add(self, node: nodes.Add) -> nodes.Expr:
        return _computed(self.generic_visit(node))

    def visit_Mul(self, node: nodes.Mul) -> nodes.Expr:
        return _computed(self.generic_visit(node))

    def visit_Mod(self, node: nodes.Mod) -> nodes.Expr:
        return _computed(self.generic_visit(node))

    def visit_Name(self, node: nodes.Name) -> nodes.Expr:
        return _filter(node, NAME, nodes.Const(node.name)) if node.ctx == "load" else node

    def visit_Const(self, node: nodes.Const) -> nodes.Expr:
        text: object = node.value
        return self._text(text, node.lineno) if isinstance(text, str) and text else node

    def visit_Include(self, node: Reference) -> Reference:
        return node  # the name of a template is never printed

    visit_Import = visit_FromImport = visit_Extends = visit_Include

    def _text(self, text: str, line: int, *, is_text: bool = False) -> nodes.Filter:
        origin = self._origin(position_of(line), is_text=is_text)
        return _filter(nodes.Const(text), TEXT, origin)

    def _printed(self, node: nodes.Expr, origin: Position) -> nodes.Filter:
        names = [nodes.Const(name) for name in dict.fromkeys(_names(node))]
        return _filter(_mark(), PRINTED, self._visited(node), self._origin(origin), *names)

    def _captured(self, outermost: nodes.Filter) -> nodes.Filter:
        """The filters of a block, applied to the captured text."""
        origin, innermost = position_of(outermost.lineno), outermost
        while isinstance(innermost.node, nodes.Filter):
            innermost = innermost.node
        innermost.node = _filter(None, NAME, nodes.Const(""))
        return self._printed(outermost, origin)

    def _visited(self, node: nodes.Expr) -> nodes.Expr:
        return cast("nodes.Expr", self.visit(node))

    def _visit_all(self, children: list[_Child]) -> None:
        children[:] = [cast("_Child", self.visit(child)) for child in children]

    def _visit_arguments(self, node: nodes.Filter | nodes.Test) -> None:
        """Arguments; a literal text is traced only in filters that may return it."""
        for index, argument in enumerate(node.args):
            if node.name in _GIVING_BACK or not isinstance(argument, nodes.Const):
                node.args[index] = self._visited(argument)

    def _origin(self, origin: Position, *, is_text: bool = False) -> nodes.Const:
        self._origins.append(TemplatePosition(self._name, int(origin), origin.column, is_text))
        return nodes.Const(len(self._origins) - 1)


def _filter(value: nodes.Expr | None, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, [*arguments], [], None, None)


def _mark() -> nodes.Filter:
    return _filter(nodes.Const(None), MARK)


def _computed(node: nodes.Node) -> nodes.Filter:
    return _filter(_mark(), COMPUTED, cast("nodes.Expr", node))


def _names(node: nodes.Node) -> Iterator[str]:
    """The variables in an expression, each with its attributes."""
    if (name := _dotted(node)) is not None:
        yield name
        return
    is_macro = isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name)
    for child in node.iter_child_nodes(exclude=("node",) if is_macro else ()):
        yield from _names(child)


def _dotted(node: nodes.Node) -> str | None:
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr() if (owner := _dotted(node.node)) is not None:
            return f"{owner}.{node.attr}"
        case _:
            return None


_VIEWS = frozenset(("keys", "values", "items"))
_LONGEST = 1_000_000


def trace_spans(rendered: CapturedPrompt) -> tuple[tuple[Span, ...], ...]:
    """For each message the spans that tile its text.

    If the template does not render to the same text again, there is one span that names it.
    """
    texts = render_traced(rendered)
    if [*map(str, texts)] != [message.content for message in rendered.messages]:
        start = TemplatePosition(rendered.template, 1, 1)
        texts = [TracedText.of(message.content, start) for message in rendered.messages]
    return tuple(text.stretches() for text in texts)


def render_traced(rendered: CapturedPrompt) -> Sequence[TracedText]:
    """The texts of the messages, rendered again by the tracing environment."""
    environment = _environment(frozenset(rendered.sources.items()))
    render = TraceState(_LONGEST, rendered.variables)
    token = CURRENT_RENDER.set(render)
    try:
        template = cast("Template", environment.traced(rendered.template))
        context = template.new_context(dict(rendered.variables))
        text = environment.concat(template.root_render_func(context))
    finally:
        CURRENT_RENDER.reset(token)
    # Without role tags the whole text is the one message.
    is_one = rendered.messages and not render.texts
    return [text.strip("\n")] if is_one else render.texts


@lru_cache(maxsize=32)
def _environment(sources: frozenset[tuple[str, str]]) -> TracingEnvironment:
    """Cached by the set of templates: most prompts of a graph share theirs."""
    return TracingEnvironment(dict(sources))


def _joined(pieces: Iterable[object]) -> TracedText:
    texts = [as_text(piece) for piece in pieces]
    return TracedText(concatenate(texts), [piece for text in texts for piece in origins_of(text)])


class TracingEnvironment(PromptEnvironment):
    """Compiles templates so that what they print carries its origin."""

    concat = staticmethod(_joined)

    def __init__(self, sources: Mapping[str, str]) -> None:
        super().__init__(self.traced)
        self._sources = sources
        self._templates: dict[str, Template] = {}
        self._origins: list[TemplatePosition] = []
        self.filters |= {EMIT: _emit, REPLAY: self._replay, LOOP: _rounds, CONCAT: _joined}
        self.filters |= {
            MARK: _mark_text,
            NAME: _named,
            COMPUTED: _trace_computed,
            "fence": _fence,
            "join": _join,
        }
        self.filters |= {TEXT: self._text, PRINTED: self._printed}

    def traced(self, name: str) -> Template | None:
        """The template of this name, compiled with tracing; None if it does not exist."""
        if name not in self._sources:
            return None
        if name not in self._templates:
            tree = self.read(self._sources[name], name)
            TraceTransformer(name, self._origins).visit(tree)
            tree.set_environment(self)
            self._templates[name] = self.template(tree, name)
        return self._templates[name]

    def getattr(self, obj: object, attribute: str) -> object:
        """A field of a value; see `Trace.part`."""
        return trace().part(obj, super().getattr(obj, attribute), attribute)

    def getitem(self, obj: object, argument: object) -> object:
        """An item of a value; see `Trace.part`."""
        found: object = super().getitem(obj, argument)
        return trace().part(obj, found, argument)

    def call(
        self, context: Context, function: Callable[..., object], /, *args: object, **kwargs: object
    ) -> object:
        """Call a macro, method or function for a template."""
        if isinstance(function, LoopContext):
            args = tuple(_rounds(trace().mark, cast("Iterable[object]", each)) for each in args)
        result = super().call(context, function, *args, **kwargs)
        if isinstance(function, BuiltinMethodType | MethodType):
            name = function.__name__
            if name == "get" and args:
                return trace().part(function.__self__, result, args[0])
            if name in _VIEWS:
                return trace().view(function.__self__, name, cast("list[object]", result))
        return result

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Compute `+`, `*`, `**` or `%`; two added texts keep their pieces."""
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return _joined([left, right])
        return super().call_binop(context, operator, left, right)

    def _text(self, text: str, index: int) -> TracedText:
        return TracedText.of(text, self._origins[index])

    def _printed(self, mark: int, value: object, index: int, *names: str) -> TracedText:
        """What an expression prints; `names` are its variables, for values without a path."""
        text = as_text(value)
        if not isinstance(text, TracedText):
            text = TracedText.of(text, None, trace().since(mark) or names)
        return text.at(self._origins[index])

    def _replay(self, mark: int, values: Iterable[object], index: int) -> str:
        path = trace().path(values)
        messages = trace().each(values, mark, path)
        before = len(trace().messages)
        replay_messages(messages)
        for value, message in zip(messages, trace().messages[before:], strict=True):
            found = trace().path(value)
            paths = trace().since(mark) if found is None else (f"{found}.content",)
            trace().texts.append(TracedText.of(message.content, self._origins[index], paths))
        return ""


def _mark_text(nothing: object) -> int:
    return trace().mark


def _named(value: object, name: str) -> object:
    return trace().name(value, name)


def _trace_computed(mark: int, value: object) -> object:
    return trace().computed(value, mark)


def _rounds(mark: int, values: Iterable[object]) -> list[object]:
    path = trace().path(values)
    return trace().each(charge_loop(values), mark, path)


def _emit(text: str, role: TagRole, **attributes: object) -> str:
    emit_message(text, role, **attributes)
    trace().texts.append(cast("TracedText", text).strip("\n"))
    return ""


@pass_environment
def _join(
    environment: Environment,
    value: Iterable[object],
    d: str = "",
    attribute: str | int | None = None,
) -> str:
    """Jinja's `join`, with the pieces of the texts if each has a path."""
    values = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    texts = trace().each(list(values), trace().mark, trace().path(value))
    if not all(isinstance(text, TracedText) for text in texts):
        return join(environment, texts, d)
    return _joined([part for text in texts for part in (d, text)][1:])


def _fence(value: object, tag: str) -> str:
    """The fence is template text, its content is the value."""
    text, inside = fence(value, tag), to_prompt_text(value)
    if not isinstance(inside, TracedText):
        return text
    opened, closed = text.index("\n") + 1, text.rindex("\n")
    body = text[opened:closed]
    traced = inside if body == inside else TracedText.of(body, None, inside.values)
    return _joined([text[:opened], traced, text[closed:]])
