"""Where each word of a prompt comes from: the messages of a model call as pieces with an origin.

A recorded prompt is rendered again, with provenance, from the records and the sources of its
templates that the store has. A message that does not come out byte for byte as it was sent has the
origin `unknown`: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Literal, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace

from ..graph.context import Exchanged, History
from ..graph.graph import Graph
from ..messages import Message, Part, Role, ToolCall
from ..models.scripted import EchoModel
from ..node_path import NodePath
from ..prompts.library import CapturedPrompt, Prompts
from ..prompts.provenance import Span, TracedText
from ..records import Exchange, Record, Run
from ..run.dry_run.rendering import RenderedPrompt
from ..run.prepared import PreparedGraph, prepare
from ..run.render_again import (
    MessageSource,
    PromptAgain,
    Surroundings,
    TracedPrompt,
    render_again,
)
from ..session.store import Store

OriginKind: TypeAlias = Literal[
    "template",
    "message",
    "history",
    "summary",
    "node",
    "state",
    "params",
    "tool",
    "attachment",
    "several",
    "unknown",
]
"""`params` is what the graph declares, `state` also clock and ids, `several` a computed text."""


class Origin(Struct, frozen=True):
    """Where a piece of a prompt comes from.

    `label` says which one it is: `turn 3`, the path of a node, the key of a state. `template`,
    `line` and `column` are the place that printed it, empty and 0 where no template did. `paths`
    are the values that it shows, as `history.runs[2].answer`.
    """

    kind: OriginKind
    label: str = ""
    template: str = ""
    line: int = 0
    column: int = 0
    paths: tuple[str, ...] = ()


UNKNOWN = Origin("unknown")


class Piece(Struct, frozen=True):
    """A part of a message that has one origin."""

    text: str
    origin: Origin


class MessageOrigins(Struct, frozen=True):
    """A message in pieces; put together, they are its text."""

    role: Role
    pieces: tuple[Piece, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    attachments: tuple[Part, ...] = ()

    @property
    def text(self) -> str:
        """The text of the message."""
        return "".join(piece.text for piece in self.pieces)


class CallOrigins(Struct, frozen=True):
    """One model call: its template, and the messages that were sent."""

    prompt: str
    messages: tuple[MessageOrigins, ...]


async def run_origins(
    run: Run,
    store: Store,
    graph: Graph | PreparedGraph | None = None,
    *,
    nodes: Collection[str] | None = None,
) -> Mapping[str, Sequence[CallOrigins]]:
    """The origins of the model calls of a stored run, by the paths of its nodes.

    `graph` is the graph as it is today: without it, what templates show of functions and classes is
    unknown. Without `nodes` these are the calls of all nodes; each takes about 1 ms. Nothing is
    written, and no model, tool or function of a user is called.
    """
    now = prepare(graph, EchoModel()) if isinstance(graph, Graph) else graph
    again = await render_again(run, store, now, nodes)
    found: dict[str, Sequence[CallOrigins]] = {
        path: list(_calls(prompts, path)) for path, prompts in again.items()
    }
    source = await _source(run, store) if any(map(_has_unknown, found.values())) else None
    if source is not None:
        copied = [path for path, calls in found.items() if _is_copied(path, run, source, calls)]
        if copied:
            found |= await run_origins(source, store, graph, nodes=copied)
    return found


def prompt_origins(prompt: RenderedPrompt, node: str) -> CallOrigins:
    """The origins of a prompt that a dry run has rendered for the node of this path."""
    captured = prompt.captured
    if captured is None:
        return CallOrigins(prompt.template, tuple(map(_unknown, prompt.messages)))
    around = _around_assumed(NodePath(node), captured.variables)
    rendered = TracedPrompt.of(captured, around)
    return CallOrigins(prompt.template, _rendered(prompt.messages, rendered))


def _around_assumed(path: NodePath, values: Mapping[str, object]) -> Surroundings:
    """What the names of a prompt of a dry run stand for, as far as their values say it."""
    given = {name: path for name, value in values.items() if _are_turns(value)}
    around = MessageSource(Surroundings(path.parent), None) if path.parent else None
    return Surroundings(path, around, given_by={"round": path.parent, **given})


def _are_turns(value: object) -> bool:
    values = cast("list[object]", value) if isinstance(value, list) else []
    return isinstance(next(iter(values), None), Exchanged)


def rendered_now(again: PromptAgain, prompts: Prompts) -> CallOrigins:
    """What templates of today make of the values that a recorded prompt was rendered with.

    Raises `PromptError` if they cannot be rendered with these.
    """
    name, then = again.exchange.prompt, cast("TracedPrompt", again.prompt)
    messages = prompts.render(name, then.values)
    captured = CapturedPrompt(name, prompts.sources(name), then.values, messages)
    return CallOrigins(name, _rendered(messages, TracedPrompt.of(captured, then.around)))


async def _source(run: Run, store: Store) -> Run | None:
    """The run that this one was forked from."""
    if run.turn.forked_from is None:
        return None
    key = await store.find(run.user_id, run.turn.forked_from)
    return await store.run(key, run.turn.forked_from) if key is not None else None


def _is_copied(path: str, run: Run, source: Run, calls: Iterable[CallOrigins]) -> bool:
    record = source.records.get(path)
    return (
        record is not None
        and _has_unknown(calls)
        and _sent(record) == _sent(run.records[path])
        and record.started == run.records[path].started
    )


def _sent(record: Record) -> list[tuple[Message, ...]]:
    return [exchange.messages for exchange in record.exchanges]


def _has_unknown(calls: Iterable[CallOrigins]) -> bool:
    return any(
        piece.origin == UNKNOWN
        for call in calls
        for message in call.messages
        for piece in message.pieces
    )


def _calls(prompts: Iterable[PromptAgain], path: str) -> Iterator[CallOrigins]:
    last: CallOrigins | None = None
    for prompt in prompts:
        messages, before = prompt.exchange.messages, list[MessageOrigins]()
        if prompt.before is not None and last is not None:
            before = [*last.messages, *_onward(prompt.before, path)]
        rest = messages[len(before) :]
        if prompt.prompt is not None:
            after: Iterable[MessageOrigins] = _rendered(rest, prompt.prompt)
        else:
            after = map(_unknown, rest)
        last = CallOrigins(prompt.exchange.prompt, (*before, *after))
        yield last


def _onward(exchange: Exchange, path: str) -> Iterator[MessageOrigins]:
    """The reply of an exchange and the results of its tools, as the next request has them."""
    names = {call.id: call.name for call in exchange.tool_calls}
    for message in exchange.onward[len(exchange.messages) :]:
        name = names.get(message.tool_call_id or "", ", ".join(names.values()))
        origin = Origin("tool", name) if names else Origin("node", path)
        yield _one_piece(message, origin)


def _rendered(messages: Sequence[Message], prompt: TracedPrompt) -> tuple[MessageOrigins, ...]:
    """Messages that were sent, each with its origins if it comes out the same again."""
    texts = prompt.texts
    sent = [message.content for message in messages]
    matcher = SequenceMatcher(None, [*map(str, texts)], sent, autojunk=False)
    same = {
        block.b + offset: texts[block.a + offset]
        for block in matcher.get_matching_blocks()
        for offset in range(block.size)
    }
    reader = _Reader(prompt)
    return tuple(
        reader.message(message, same.get(position)) for position, message in enumerate(messages)
    )


def _unknown(message: Message) -> MessageOrigins:
    is_past = message.origin is not None  # replayed from an earlier run
    return _one_piece(message, Origin("history", _turn(None)) if is_past else UNKNOWN)


def _one_piece(message: Message, origin: Origin) -> MessageOrigins:
    pieces = (Piece(message.content, origin),) if message.content else ()
    return MessageOrigins(message.role, pieces, message.tool_calls, message.parts)


class _Reader:
    """Reads the origins of the texts of one prompt from the paths of their values."""

    def __init__(self, prompt: TracedPrompt) -> None:
        self._around = prompt.around
        self._names = _Names(prompt.around, prompt.values)

    def message(self, message: Message, traced: TracedText | None) -> MessageOrigins:
        """The message in pieces; `traced` is its text with provenance, None if it differs."""
        pieces = self.pieces(traced) if traced is not None else []
        if message.origin is not None:  # of an earlier run, and it says which
            origin = pieces[0].origin if pieces else UNKNOWN
            label = _turn(self._around.turn_of.get(message.origin))
            return _one_piece(message, replace(origin, kind="history", label=label))
        if traced is None:
            return _unknown(message)
        return MessageOrigins(message.role, tuple(pieces), message.tool_calls, message.parts)

    def pieces(self, traced: TracedText) -> list[Piece]:
        """The pieces of a text."""
        return [piece for span in traced.stretches() for piece in self._pieces(span, str(traced))]

    def _pieces(self, span: Span, whole: str) -> Iterable[Piece]:
        text = whole[span.start : span.end]
        if span.values == ("input.message",):
            pieces = _message_pieces(self._around.message)
            if pieces and text == "".join(piece.text for piece in pieces):
                return pieces
        return [Piece(text, self._origin(span))]

    def _origin(self, span: Span) -> Origin:
        found = [each for path in span.values for each in self._names.read(path)]
        kinds: list[OriginKind] = list(dict.fromkeys(kind for kind, _ in found))
        labels = dict.fromkeys(label for _, label in found)
        kind: OriginKind = "several" if kinds else "template"
        return Origin(
            kinds[0] if len(kinds) == 1 else kind,
            ", ".join(labels) if found else span.template,
            span.template,
            span.line,
            span.column,
            span.values,
        )


def _message_pieces(source: MessageSource | None) -> list[Piece]:
    """The pieces of the message of an inner graph; none if no template made it."""
    if source is None or source.rendered is None:
        return []
    reader, pieces = _Reader(source.rendered), list[Piece]()
    for text in source.rendered.texts:
        between = [Piece("\n", UNKNOWN)] if pieces else []
        pieces += [*between, *reader.pieces(text)]
    return pieces


_Found: TypeAlias = tuple[OriginKind, str]
"""The kind and the label of a value."""
_STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")
_MESSAGE: _Found = ("message", "message")


class _Names:
    """What the values of a prompt are, by their paths.

    `values` are those of the names, None for the expressions of a node.
    """

    def __init__(self, around: Surroundings, values: Mapping[str, object] | None) -> None:
        self._around = around
        self._values = values
        self._known: Mapping[str, Callable[[str, list[str]], Iterable[_Found]]] = {
            "input": self._input,
            "node": self._node,
            "session": self._session,
            "user_id": self._of_run,
            "run": self._of_run,
            "now": self._of_run,
            "graph": self._declared,
            "upstream": self._listed,
        }

    def read(self, path: str) -> Iterable[_Found]:
        """What the value at a path is; several if it was made of several."""
        name, *steps = _STEP.findall(path)
        if name in self._around.given_by:
            return [self._given(name, steps)]
        value = (self._values or {}).get(name)
        if name in self._around.turns or isinstance(value, History):
            return [self._history(name, value, steps)]
        if self._values is not None and name not in self._values:  # set by the template
            return [("template" if name == "loop" else "unknown", name)]
        return self._known.get(name, self._other)(path, steps)

    def _input(self, path: str, steps: list[str]) -> Iterable[_Found]:
        del path
        source, item = self._around.message, self._around.item
        match steps:
            case ["attachments", *_]:
                return [("attachment", "attachments")]
            case ["item" | "number", *_] if item is not None:
                outer = _Names(item.around, None)
                return [each for path in item.reads for each in outer.read(path)]
            case ["message", *_] if source is not None:
                return self._inner_message(source)
            case ["system", *_]:
                return [("message", "system")]
            case _:
                return [_MESSAGE]

    def _inner_message(self, source: MessageSource) -> Iterable[_Found]:
        """What the message of an inner graph was made of; else the node that wrote it."""
        pieces, item = (piece.origin for piece in _message_pieces(source)), self._around.item
        made: list[_Found] = [(each.kind, each.label) for each in pieces if each.kind != "template"]
        if not made and item is not None and item.around.path == source.around.path:
            return self._input("input.item", ["item"])
        return made or [("node", str(source.around.path))]

    def _node(self, path: str, steps: list[str]) -> Iterable[_Found]:
        match steps:
            case ["state", *keys]:
                return [("state", ".".join(["own", *keys[:1]]))]
            case ["task", *_]:
                return [("node", ", ".join(map(self._path, self._around.tasks)))]
            case ["handover", *_]:
                return [("node", self._handed_over())]
            case ["reads", *listed]:
                return self._listed(path, listed)
            case _:
                return self._declared(path, steps)

    def _handed_over(self) -> str:
        """The path of the node that handed over: in the visit before this one."""
        view: object = getattr((self._values or {}).get("node"), "handover", None)
        visit = self._around.path.parent
        before, number = visit.parent.child(visit.node_id), visit.number or 0
        before = before.at(number - 1) if number > 1 else before
        return str(before.child(str(getattr(view, "by", ""))))

    def _session(self, path: str, steps: list[str]) -> Iterable[_Found]:
        match steps:
            case ["summary"]:
                return [("summary", "summary")]
            case ["state", key, *_]:
                return [("state", key)]
            case _:
                return self._of_run(path, steps)

    def _of_run(self, path: str, steps: list[str]) -> Iterable[_Found]:
        del steps
        return [("state", path)]

    def _declared(self, path: str, steps: list[str]) -> Iterable[_Found]:
        del steps
        return [("params", path)]

    def _listed(self, path: str, steps: list[str]) -> Iterable[_Found]:
        """Another node in a list: its output, or what the graph says of it."""
        match steps:
            case [node_id, "output", *_]:
                return [("node", self._path(node_id.strip("[]")))]
            case _:
                return self._declared(path, steps)

    def _other(self, path: str, steps: list[str]) -> Iterable[_Found]:
        """Another node by its id."""
        del steps
        return [("node", self._path(_STEP.findall(path)[0]))]

    def _path(self, node_id: str) -> str:
        """The path of a node of the same graph."""
        return str(self._around.path.parent.child(node_id))

    def _history(self, name: str, value: object, steps: list[str]) -> _Found:
        """A turn, the summary, or all of a history."""
        match steps:
            case ["summary"]:
                return "summary", "summary"
            case ["runs", which, *_] if which.startswith("["):
                numbers = self._around.turns.get(name)
                return "history", _turn(numbers[_index(which)] if numbers else None)
            case ["messages", which, *_] if which.startswith("[") and isinstance(value, History):
                origin = value.messages[_index(which)].origin or ""
                return "history", _turn(self._around.turn_of.get(origin))
            case _:
                return "history", "history"

    def _given(self, name: str, steps: list[str]) -> _Found:
        """A name that a kind gives: rounds of a loop, turns to be summarized, or its own."""
        value, owner = (self._values or {}).get(name), self._around.given_by[name]
        if not steps or not steps[0].startswith("[") or not isinstance(value, Sequence):
            return _of_round(name, steps, _round_number(value), owner)
        turns = [*_numbered(cast("Sequence[object]", value), self._around.past)]
        number = turns[_index(steps[0])]
        if number is not None:
            return "history", _turn(number)
        return _of_this_turn(steps[1:], owner)


def _of_round(name: str, steps: list[str], number: int, owner: NodePath) -> _Found:
    """What a loop gives to round `number` of it, or any other kind to the graph inside."""
    node = NodePath(owner.parent.child(owner.node_id))
    before = node.at(number - 1) if number > 1 else node
    match steps:
        case ["previous", *_]:
            return "node", str(before)
        case ["outputs", which, *_] if which.startswith("["):
            return "node", str(node.at(_index(which) % number + 1))
        case ["nodes", node_id, *_]:
            return "node", str(before.child(node_id))
        case ["number"]:
            return "state", f"{name}.number"
        case _:
            return "node", str(node)


def _turn(number: int | None) -> str:
    return f"turn {number}" if number else "an earlier turn"


def _of_this_turn(steps: list[str], owner: NodePath) -> _Found:
    """The message or the answer of the turn itself, in a list of turns."""
    match steps:
        case ["input"]:
            return _MESSAGE
        case ["answer"]:
            return "node", "answer"
        case _:
            return "node", str(owner)


def _index(step: str) -> int:
    """The index in a step such as `[2]`; 0 for a key."""
    text = step.strip("[]")
    return int(text) if text.removeprefix("-").isdigit() else 0


def _round_number(value: object) -> int:
    """The number of the round in what a loop gives as `round`, else 1."""
    number: object = None
    if isinstance(value, Mapping):
        number = cast("Mapping[str, object]", value).get("number")
    return number if isinstance(number, int) else 1


def _numbered(
    values: Sequence[object], past: Mapping[int, tuple[str, str]]
) -> Iterator[int | None]:
    """The number of each of these turns, in rising order; None for one that is not of the past."""
    last = 0
    for value in values:
        found: int | None = None
        if isinstance(value, Exchanged):
            said = value.input, value.answer
            later = (each for each in sorted(past) if each > last and past[each] == said)
            found = next(later, None)
        last = found or last
        yield found
