"""How a node asks its model: render, ask, read the answer, record it, tell it.

How a model says which of some labels it chose: what it is asked for, and how that is read.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from time import time
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from ..errors import AnswerError, BudgetExceeded, InputError, closest
from ..events import EventEmitter, PromptRendered
from ..graph.context import Choice
from ..graph.fields import ModelSpec
from ..graph.graph import Graph
from ..graph.node import can_stream
from ..messages import JSON, NO_USAGE, Message, Usage
from ..models.protocol import Chunk, Model, Reply, Request
from ..prompts.rendered import RENDERED, Rendered
from ..records import Exchange
from ..returns.shape import Shape, shape
from ..tools.caller import ToolCaller, with_unique_ids
from .answer import AnswerStream

SHOWN = 60
"""Characters of a wrong answer that an error shows."""


def choice_schema(
    labels: Sequence[str], *, many: bool, allow_none: bool, tasks: bool
) -> dict[str, JSON]:
    """The JSON Schema of a choice among `labels`, with the task of each chosen one if asked for."""
    label: JSON = {"type": "string", "enum": list(labels)}
    properties: dict[str, JSON] = {"reason": {"type": "string"}}
    if many:
        properties["choices"] = {
            "type": "array",
            "items": label,
            **({} if allow_none else {"minItems": 1}),
        }
    else:
        properties["choice"] = label
    if tasks:
        task: JSON = {
            "type": "object",
            "properties": {"label": label, "task": {"type": "string"}},
            "required": ["label", "task"],
            "additionalProperties": False,
        }
        properties["tasks"] = {"type": "array", "items": task}
    return {
        "type": "object",
        "title": "choice",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_choice(text: str, labels: Sequence[str]) -> Choice | str:
    """The choice in a model's answer, or why there is none. A bare label will do."""
    bare = _meant(_unfenced(text).strip("`\"'."), labels)
    if bare is not None:
        return Choice((bare,))
    try:
        data: object = json.loads(_unfenced(text))
    except ValueError:
        return f"the model answered {_short(text)} instead of a label{_hint(text, labels)}"
    fields = cast("dict[str, object]", data) if isinstance(data, dict) else {"choices": data}
    named = fields.get("choices", fields.get("choice"))
    picked: set[str] = set()
    for name in cast("list[object]", named) if isinstance(named, list) else [named]:
        label = _meant(name, labels)
        if label is None:
            return f"the model chose {_short(str(name))}{_hint(str(name), labels)}"
        picked.add(label)
    in_order = tuple(label for label in labels if label in picked)
    return Choice(in_order, reason=str(fields.get("reason") or ""), tasks=_tasks(fields, in_order))


def _meant(name: object, labels: Sequence[str]) -> str | None:
    """The label that a model's word is, upper and lower case being the same where they may be."""
    if name in labels or not isinstance(name, str):
        return name if isinstance(name, str) else None
    folded = name.strip().casefold()
    return next((label for label in labels if label.casefold() == folded), None)


def _hint(name: str, labels: Sequence[str]) -> str:
    near = closest(name, labels)
    return f" (did it mean {near!r}?)" if near else ""


def _tasks(fields: Mapping[str, object], chosen: Sequence[str]) -> dict[str, str]:
    written = fields.get("tasks")
    tasks: dict[str, list[str]] = {}
    for item in cast("list[object]", written) if isinstance(written, list) else []:
        if isinstance(item, dict):
            pair = cast("dict[str, object]", item)
            label, task = _meant(pair.get("label"), chosen), pair.get("task")
            if label is not None and isinstance(task, str) and task.strip():
                tasks.setdefault(label, []).append(task.strip())
    # A member that is to do two things does both, in one go, and what is said twice, once.
    return {label: "\n".join(dict.fromkeys(each)) for label, each in tasks.items()}


def _unfenced(text: str) -> str:
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```"):
        return bare.strip("`").removeprefix("json").strip()
    return bare


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


class Spent(Struct):
    """What a run has used so far, held against its budget.

    What a graph inside a node uses counts for the run `outer` too.
    """

    graph: Graph
    usage: Usage = NO_USAGE
    known_cost: float = 0.0
    outer: Spent | None = None

    def count(self, usage: Usage) -> None:
        """Count what was used, also in an earlier try of the run."""
        self.usage += usage
        self.known_cost += usage.cost or 0.0

    def at_least(self, usage: Usage) -> None:
        """Go on from what an earlier try said at its end, if that is more than its records tell.

        Of a node that was attempted in several tries only the last record is read.
        """
        if usage.calls > self.usage.calls:
            self.usage = usage
            self.known_cost = max(self.known_cost, usage.cost or 0.0)

    def add(self, usage: Usage) -> None:
        """Count a model call; raises `BudgetExceeded` if it was one too many."""
        self.count(usage)
        if self.outer is not None:
            self.outer.add(usage)
        budget, used = self.graph.budget, self.usage
        if budget is None:
            return
        tokens = used.input_tokens + used.output_tokens
        for name, spent, limit in (
            ("tokens", tokens, budget.tokens),
            ("usd", self.known_cost, budget.usd),
            ("calls", used.calls, budget.calls),
        ):
            if limit is not None and spent > limit:
                raise BudgetExceeded(
                    f"the run used {spent:g} {name}, and its budget is {limit:g}; raise "
                    f"`budget: {{{name}: ...}}` in the graph and resume the run"
                )


class ModelCall(Struct):
    """One attempt of one node at its model: implements `engine.node.Asker`.

    `names` gives what templates may read, made only when something is rendered; `exchanges`
    gathers the model calls for the record. `caller` calls the tools that the model may ask for.
    """

    graph: Graph
    node_id: str
    attempt: int
    model: Model
    spec: ModelSpec
    idle: float | None
    names: Callable[[], dict[str, object]]
    exchanges: list[Exchange]
    spent: Spent
    tell: EventEmitter
    voice: AnswerStream
    caller: ToolCaller | None = None

    async def ask(self, prompt: str | None = None, /, **variables: object) -> str:
        """See `Context.ask`."""
        plain = self.node_id not in self.graph.shapes
        reply = await self._send(prompt, variables, streams=plain)
        if not reply.text.strip():
            raise AnswerError("the model's answer is empty", model=self.spec.id)
        return reply.text

    async def reply(self, prompt: str | None = None, /, **variables: object) -> JSON:
        """See `Context.reply`."""
        wanted = self.graph.shapes.get(self.node_id)
        if wanted is None:
            return await self.ask(prompt, **variables)
        return await self._shaped(wanted, prompt, variables)

    async def ask_for(
        self, returns: object, prompt: str | None = None, /, **variables: object
    ) -> JSON:
        """See `Context.ask_for`."""
        return await self._shaped(shape(returns, name=self.node_id), prompt, variables)

    async def choose(
        self,
        labels: Sequence[str],
        *,
        many: bool = False,
        allow_none: bool = False,
        tasks: bool = False,
    ) -> Choice:
        """See `Context.choose`."""
        schema = choice_schema(labels, many=many, allow_none=allow_none, tasks=tasks)
        reply = await self._send(None, {}, schema=schema, choices=tuple(labels), many=many)
        choice = read_choice(reply.text, labels)
        if isinstance(choice, str):
            raise AnswerError(f"{choice}; the labels are {', '.join(labels)}", model=self.spec.id)
        if not choice.labels and not allow_none:
            raise AnswerError("the model chose no label at all", model=self.spec.id)
        if len(choice.labels) > 1 and not many:
            raise AnswerError("the model chose several labels, not one", model=self.spec.id)
        return choice if tasks else replace(choice, tasks={})

    def test(self, expression: str) -> bool:
        """See `Context.test`."""
        return self.graph.expression(expression).test(self.names())

    def render(self) -> str:
        """See `Context.render`."""
        messages = self.graph.prompts.render(self._template(None), self.names())
        return "\n".join(message.content for message in messages)

    async def _shaped(
        self, wanted: Shape, prompt: str | None, variables: Mapping[str, object]
    ) -> JSON:
        reply = await self._send(prompt, variables, schema=wanted.schema)
        try:
            return wanted.parse(reply.text)
        except ValueError as error:
            raise AnswerError(f"the answer does not fit: {error}", model=self.spec.id) from error

    async def _send(
        self,
        prompt: str | None,
        variables: Mapping[str, object],
        *,
        schema: Mapping[str, JSON] | None = None,
        choices: tuple[str, ...] = (),
        many: bool = False,
        streams: bool = False,
    ) -> Reply:
        template, caller = self._template(prompt), self.caller
        request = Request(
            model=self.spec.id,
            messages=self._rendered(template, {**self.names(), **variables}),
            schema=schema,
            choices=choices,
            many=many,
            tools=caller.toolbox.offered() if caller else (),
            parameters=self.spec.parameters(),
            idle=self.idle,
        )
        while True:
            reply = await self._exchange(template, request, streams=streams)
            if caller is None or not reply.tool_calls:
                return reply
            results = await caller.answer(reply.tool_calls, model=self.spec.id)
            self.exchanges[-1] = replace(self.exchanges[-1], tool_results=results)
            request = replace(request, messages=self.exchanges[-1].onward)

    def _rendered(self, template: str, variables: Mapping[str, object]) -> tuple[Message, ...]:
        prompts, kept = self.graph.prompts, RENDERED.get()
        messages = prompts.render(template, variables)
        if kept is not None:
            kept.append(Rendered(template, prompts.sources(template), variables, messages))
        return messages

    async def _exchange(self, template: str, request: Request, *, streams: bool) -> Reply:
        """Ask once, and keep what was said."""
        prompts, started = self.graph.prompts, time()
        self.tell(
            PromptRendered, self.node_id, self.attempt, template, self.spec.id, request.messages
        )
        reply = await self._receive(request, streams=streams)
        # A model that counts nothing was asked nevertheless.
        usage = reply.usage if reply.usage.calls else replace(reply.usage, calls=1)
        self.exchanges.append(
            Exchange(
                prompt=template,
                prompt_hash=prompts.prompt_hash(template),
                model=reply.model or self.spec.id,
                messages=request.messages,
                reply=reply.text,
                usage=usage,
                finish_reason=reply.finish_reason,
                started=started,
                ended=time(),
                tool_calls=reply.tool_calls if self.caller else (),
            )
        )
        self.spent.add(usage)
        return reply

    def _template(self, prompt: str | None) -> str:
        own = self.graph.templates.get(self.node_id)
        if own is None:
            raise InputError(
                f"node {self.node_id!r} asks a model but has no prompt; name one in `prompt`"
            )
        if prompt is None or prompt == self.graph.nodes[self.node_id].prompt:
            return own
        return prompt

    async def _receive(self, request: Request, *, streams: bool) -> Reply:
        streams = streams and can_stream(self.graph.nodes[self.node_id])
        pieces = self.model.ask(request)
        held: list[str] = []
        try:
            async for piece in pieces:
                if not isinstance(piece, Chunk):
                    self._say(*held, streams=streams and not piece.tool_calls)
                    calls = with_unique_ids(piece.tool_calls)
                    return replace(piece, tool_calls=calls) if calls else piece
                if request.tools:
                    # Only the whole reply says whether this is the answer or leads to a tool.
                    held.append(piece.text)
                else:
                    self._say(piece.text, streams=streams)
        finally:
            await _close(pieces)
        raise AnswerError("the model ended its answer without a reply", model=request.model)

    def _say(self, *texts: str, streams: bool) -> None:
        for text in texts:
            self.voice.say(self.node_id, self.attempt, text, streams=streams)


async def _close(pieces: AsyncIterator[Chunk | Reply]) -> None:
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()
