"""Where each word of a rendered prompt came from: the same templates, compiled to keep track.

The tree of a template is changed before it is compiled, and the filters that do the tracking are
known to this environment alone: a template that is rendered for a model has none of it and costs
nothing more. Whatever is printed becomes `Traced`; joining, capturing, including and calling macros
keep the pieces, since all of them end in the environment's `concat`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import BuiltinMethodType, MethodType
from typing import cast

from jinja2 import Environment, Template, pass_environment
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context, LoopContext

from .bounds import join
from .budget import CURRENT, as_text, joined, rounds
from .environment import CONCAT, LOOP, PromptEnvironment
from .filters import fence, written
from .rendered import Rendered, Stretch
from .role import EMIT, REPLAY, Spoken, emit, replay
from .trace import Trace, trace
from .traced import Place, Traced, pieces_of
from .tracer import COMPUTED, MARK, NAME, PRINTED, TEXT, Tracer

_VIEWS = frozenset(("keys", "values", "items"))
_LONGEST = 1_000_000


def came_from(rendered: Rendered) -> tuple[tuple[Stretch, ...], ...]:
    """For each message the stretches that it is made of; they tile its text.

    Where the template does not make the same text again, it is all that can be told.
    """
    texts = again(rendered)
    if [*map(str, texts)] != [message.content for message in rendered.messages]:
        start = Place(rendered.template, 1, 1)
        texts = [Traced.of(message.content, start) for message in rendered.messages]
    return tuple(text.stretches() for text in texts)


def again(rendered: Rendered) -> Sequence[Traced]:
    """The texts of the messages, rendered once more to keep track of their words."""
    environment = _environment(frozenset(rendered.sources.items()))
    under_way = Trace(_LONGEST, rendered.variables)
    token = CURRENT.set(under_way)
    try:
        template = cast("Template", environment.traced(rendered.template))
        context = template.new_context(dict(rendered.variables))
        text = environment.concat(template.root_render_func(context))
    finally:
        CURRENT.reset(token)
    # No text is outside of the role tags, unless there is none: then it is the one message.
    is_one = rendered.messages and not under_way.texts
    return [text.strip("\n")] if is_one else under_way.texts


@lru_cache(maxsize=32)
def _environment(sources: frozenset[tuple[str, str]]) -> TracingEnvironment:
    """One for each set of templates: most prompts of a graph share theirs with others."""
    return TracingEnvironment(dict(sources))


def _joined(pieces: Iterable[object]) -> Traced:
    texts = [as_text(piece) for piece in pieces]
    return Traced(joined(texts), [piece for text in texts for piece in pieces_of(text)])


class TracingEnvironment(PromptEnvironment):
    """Compiles templates so that what they print knows where it came from."""

    concat = staticmethod(_joined)

    def __init__(self, sources: Mapping[str, str]) -> None:
        super().__init__(self.traced)
        self._sources = sources
        self._templates: dict[str, Template] = {}
        self._places: list[Place] = []
        self.filters |= {EMIT: _emit, REPLAY: self._replay, LOOP: _rounds, CONCAT: _joined}
        self.filters |= {
            MARK: _mark,
            NAME: _named,
            COMPUTED: _computed,
            "fence": _fence,
            "join": _join,
        }
        self.filters |= {TEXT: self._text, PRINTED: self._printed}

    def traced(self, name: str) -> Template | None:
        """The template of this name, compiled to keep track; None if there is none."""
        if name not in self._sources:
            return None
        if name not in self._templates:
            tree = self.read(self._sources[name], name)
            Tracer(name, self._places).visit(tree)
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
                return trace().view(function.__self__, result)
        return result

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Compute `+`, `*`, `**` or `%`; two texts keep their pieces."""
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return _joined([left, right])
        return super().call_binop(context, operator, left, right)

    def _text(self, text: str, index: int) -> Traced:
        return Traced.of(text, self._places[index])

    def _printed(self, mark: int, value: object, index: int, *names: str) -> Traced:
        """What an expression prints; `names` are those in it, for values that carry no path."""
        text = as_text(value)
        if not isinstance(text, Traced):
            text = Traced.of(text, None, trace().since(mark) or names)
        return text.at(self._places[index])

    def _replay(self, mark: int, values: Iterable[object], index: int) -> str:
        path = trace().path(values)
        messages = trace().each(values, mark, path)
        before = len(trace().messages)
        replay(messages)
        for value, message in zip(messages, trace().messages[before:], strict=True):
            found = trace().path(value)
            came_from = trace().since(mark) if found is None else (f"{found}.content",)
            trace().texts.append(Traced.of(message.content, self._places[index], came_from))
        return ""


def _mark(nothing: object) -> int:
    return trace().mark


def _named(value: object, name: str) -> object:
    return trace().name(value, name)


def _computed(mark: int, value: object) -> object:
    return trace().computed(value, mark)


def _rounds(mark: int, values: Iterable[object]) -> list[object]:
    path = trace().path(values)
    return trace().each(rounds(values), mark, path)


def _emit(text: str, role: Spoken, **attributes: object) -> str:
    emit(text, role, **attributes)
    trace().texts.append(cast("Traced", text).strip("\n"))
    return ""


@pass_environment
def _join(
    environment: Environment,
    value: Iterable[object],
    d: str = "",
    attribute: str | int | None = None,
) -> str:
    """As Jinja's, with the pieces of the texts if each has a path."""
    values = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    texts = trace().each(list(values), trace().mark, trace().path(value))
    if not all(isinstance(text, Traced) for text in texts):
        return join(environment, texts, d)
    return _joined([part for text in texts for part in (d, text)][1:])


def _fence(value: object, tag: str) -> str:
    """The fence is the template's own, what stands in it is the value."""
    text, inside = fence(value, tag), written(value)
    if not isinstance(inside, Traced):
        return text
    opened, closed = text.index("\n") + 1, text.rindex("\n")
    body = text[opened:closed]
    kept = inside if body == inside else Traced.of(body, None, inside.values)
    return _joined([text[:opened], kept, text[closed:]])
