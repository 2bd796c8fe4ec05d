"""One call of a node's model: render, ask, stream the answer, read the reply, record the exchange.

The answer of a run is that of the first answering node that was not skipped (`AnswerStream`).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from time import time
from types import SimpleNamespace
from typing import TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from ..errors import Advice, AnswerError, BudgetExceeded, Expired, InputError, ModelError
from ..events import (
    Answer,
    AnswerReset,
    EventEmitter,
    ModelAnswered,
    NodeRetried,
    NodeStarted,
    PromptRendered,
    Token,
)
from ..graph.context import Choice, HandsOver, NodeWaits
from ..graph.fields import ModelSpec
from ..graph.graph import Budget, Graph
from ..graph.node import ANSWER_TOOL, REPAIR, TOOL, further_templates
from ..messages import JSON, NO_USAGE, Message, Part, ToolCall, Usage, text_of
from ..models.protocol import Chunk, Model, Reply, Request, close_answer, takes
from ..node_path import ROOT, NodePath
from ..prompts.library import CAPTURED_PROMPTS, CapturedPrompt
from ..records import Exchange, Question, Record, Response
from ..returns.form import Form
from ..returns.reading import answer_in, json_values, label_hint, labels_in, matching_label
from ..returns.shape import Shape
from ..tools.caller import ToolCaller, with_unique_ids
from ..tools.context import CallOutcome
from .node_execution import NodeExecution, storable_mapping
from .template_scope import JSONView, TemplateScope, json_views, plain_value

T = TypeVar("T")

PERSON = "person"
"""The model in the events of a prompt that is shown to a person."""
_MAX_QUOTED = 60
"""Characters of a wrong answer that an error quotes."""
_PARAGRAPH = "\n\n"
"""What stands between words that a listener was shown before tool calls, and those after them."""


class Limit(Struct, frozen=True):
    """A budget, and what other runs of the session, or of the user's day, have spent of it."""

    budget: Budget
    usage: Usage = NO_USAGE
    known_cost: float = 0.0


class UsageMeter(Struct):
    """What a run has used so far, and whether its budget allows another model call.

    `under_way` counts the calls that have begun and not ended, so that calls made at the same time
    cannot exceed the budget together. What a graph inside a node uses counts for the run around it
    (`outer`) too.
    """

    limits: tuple[Limit, ...] = ()
    usage: Usage = NO_USAGE
    known_cost: float = 0.0
    outer: UsageMeter | None = None
    under_way: int = 0

    def count(self, usage: Usage) -> None:
        """Add to what the run has used, without a check of the budget."""
        self.usage += usage
        self.known_cost += usage.cost or 0.0

    def raise_to(self, usage: Usage) -> None:
        """Count at least the total that an earlier try of the run ended with.

        The records may say less: of a node that was attempted in several tries only the last
        record is there.
        """
        if usage.calls > self.usage.calls:
            self.usage = usage
            self.known_cost = max(self.known_cost, usage.cost or 0.0)

    def begin_call(self) -> None:
        """Reserve a model call; raises `BudgetExceeded` if the budget allows no further one.

        A limit of `calls` is never exceeded. What a call will use in tokens and dollars is not
        known before, so these limits refuse the call after the one that reaches them.
        """
        self._check()
        if self.outer is not None:
            self.outer.begin_call()
        self.under_way += 1

    def end_call(self, usage: Usage) -> None:
        """Count what a call used that had begun: nothing if it brought no reply."""
        self.under_way -= 1
        self.count(usage)
        if self.outer is not None:
            self.outer.end_call(usage)

    def _check(self) -> None:
        for limit in self.limits:
            budget, used = limit.budget, limit.usage + self.usage
            for name, spent, most in (
                ("tokens", used.input_tokens + used.output_tokens, budget.tokens),
                ("usd", limit.known_cost + self.known_cost, budget.usd),
                ("calls", used.calls + self.under_way, budget.calls),
            ):
                if most is not None and spent >= most:
                    raise _exceeded(budget.per, name, spent, most)


def _exceeded(per: str, name: str, spent: float, limit: float) -> BudgetExceeded:
    who = {"run": "the run", "session": "the session", "day": "the user"}[per]
    when = " today (UTC)" if per == "day" else ""
    written = f"{name}: ..." if per == "run" else f"per: {per}, {name}: ..."
    raised = f"raise `budget: {{{written}}}` in the graph and resume the run"
    once = f"{raised}, or resume it with a higher budget for this once"
    return BudgetExceeded(
        f"{who} has used {spent:.12g} {name}{when}, and its budget is {limit:.12g}, so no model "
        "is asked any more",
        advice=Advice(python=once, terminal=f"{once} (--budget)", http=raised),
        per=per,
        name=name,
        spent=spent,
        limit=limit,
    )


class ModelCall(Struct):
    """What a node asks its model with in one attempt: implements `Asker`, behind `Context.ask`.

    `idle` are the seconds that a provider may be silent. `caller` calls the tools that the model
    asks for, None if the node has none. Exchanges are added to those of the node, and `asks` counts
    the requests that are not the continuation of another. `path` is that of the graph that the node
    is in, and `person` answers questions to people at once (in a dry run); without it the node
    waits. An answer that does not have the form that was asked for is repaired up to `repairs`
    times. `attachment` gives the bytes of an attachment.
    """

    graph: Graph
    model: Model
    scope: TemplateScope
    node: NodeExecution
    spec: ModelSpec
    idle: float | None
    usage: UsageMeter
    emitter: EventEmitter
    answer: AnswerStream
    attachment: Callable[[Part], Awaitable[bytes]]
    path: NodePath = ROOT
    caller: ToolCaller | None = None
    person: Callable[[Question], JSON] | None = None
    asks: int = 0
    has_asked: bool = False
    repairs: int = 0

    async def ask(self, prompt: str | None = None, /, **variables: object) -> str:
        """See `Context.ask`."""
        is_text = self.node.node_id not in self.graph.shapes
        return (await self._send(prompt, variables, is_output=is_text)).text

    async def reply(self, prompt: str | None = None, /, **variables: object) -> JSON:
        """See `Context.reply`."""
        wanted = self.graph.shapes.get(self.node.node_id)
        if wanted is None:
            return await self.ask(prompt, **variables)
        return await self._shaped(wanted, prompt, variables)

    async def ask_for(
        self, returns: object, prompt: str | None = None, /, **variables: object
    ) -> JSON:
        """See `Context.ask_for`."""
        wanted = self.scope.graph.shape_of(self.node.node_id, returns)
        return await self._shaped(wanted, prompt, variables)

    async def choose(
        self,
        labels: Sequence[str],
        *,
        many: bool = False,
        allow_none: bool = False,
        tasks: bool = False,
    ) -> Choice:
        """See `Context.choose`."""
        form = _choice_form(tuple(labels), many=many, allow_none=allow_none, tasks=tasks)
        choice = await self._in_form(form, partial(_read_choice, form=form), None, {})
        return choice if tasks else replace(choice, tasks={})

    async def ask_person(
        self,
        *,
        options: Sequence[str] = (),
        assign_to: str | None = None,
        expires: float | None = None,
        default: JSON = None,
    ) -> JSON:
        """See `Context.ask_person`."""
        node, path = self.node, str(self.path.child(self.node.node_id))
        if self.has_asked:
            raise InputError(f"node {node.node_id!r} asks a person twice; make two nodes of it")
        self.has_asked = True
        place = next((at for at, each in enumerate(node.questions) if each.path == path), None)
        if place is None:
            question = self._question(options, assign_to, expires)
            if self.person is not None:
                return self.person(question)
            node.questions.append(question)
            raise NodeWaits
        question = node.questions[place]
        if question.has_expired(now := time()):
            if default is None:
                seconds = round(question.expires - question.asked, 3)
                raise Expired(f"nobody answered within {seconds:g} seconds")
            response = Response(default, None, now, is_default=True)
            question = node.questions[place] = replace(question, response=response)
        if question.response is None:
            raise NodeWaits
        return question.response.value

    def test(self, expression: str, /, **variables: object) -> bool:
        """See `Context.test`."""
        return self.graph.expression(expression).test(self._names(variables))

    def test_call(self, expression: str, arguments: Mapping[str, JSON]) -> bool:
        """Evaluate the condition under which a tool call is to be confirmed."""
        names = {**self.scope.names(self.node), "arguments": JSONView(arguments)}
        return self.graph.expression(expression).test(names)

    def tell(self, outcome: CallOutcome) -> str:
        """What the model is told of a tool call that has no plain result."""
        return self._worded(TOOL, {**self.scope.names(self.node), "call": outcome})

    def value(self, expression: str, /, **variables: object) -> object:
        """See `Context.value`."""
        return plain_value(self.graph.expression(expression).value(self._names(variables)))

    def render(self, prompt: str | None = None, /, **variables: object) -> str:
        """See `Context.render`."""
        messages = self.graph.prompts.render(self._template(prompt), self._names(variables))
        return "\n".join(message.content for message in messages)

    def _names(self, variables: Mapping[str, object]) -> dict[str, object]:
        names = self.scope.names(self.node)
        return names | json_views(variables)

    def _question(
        self, options: Sequence[str], assign_to: str | None, expires: float | None
    ) -> Question:
        node, template, now = self.node, self._template(None), time()
        messages = self._rendered(template, self.scope.names(node))
        self.emitter.emit(PromptRendered, node.node_id, node.attempt, template, PERSON, messages)
        wanted = self.graph.shapes.get(node.node_id)
        return Question(
            path=self.path.child(self.node.node_id),
            text="\n".join(message.content for message in messages),
            options=tuple(options),
            schema=wanted.schema if wanted else None,
            assign_to=assign_to,
            asked=now,
            expires=now + expires if expires else 0.0,
        )

    async def _shaped(
        self, wanted: Shape, prompt: str | None, variables: Mapping[str, object]
    ) -> JSON:
        return await self._in_form(wanted.form, wanted.parse, prompt, variables)

    async def _in_form(
        self,
        form: Form,
        read: Callable[[str], T],
        prompt: str | None,
        variables: Mapping[str, object],
    ) -> T:
        """The answer as `read` takes it; the model repairs one for which that raises `ValueError`.

        A repair is an attempt of the node that continues the one before.
        """
        repairs = self.repairs
        rounds = self.node.rounds(self.asks + 1, REPAIR)
        if rounds:
            self.asks, repairs = self.asks + 1, repairs - 1
            reply = await self._converse(REPAIR, (), rounds, form)
        else:
            reply = await self._send(prompt, variables, form=form)
        while True:
            try:
                return read(reply.text)
            except ValueError as error:
                problem, cut = str(error), _cut_short(reply)
                if repairs < 1 or cut:  # another answer would be cut again
                    text = f"the answer does not fit: {problem}{cut}"
                    raise AnswerError(text, model=self.spec.id) from error
            repairs -= 1
            self._begin_repair(f"the answer does not fit: {problem}")
            names = {**self._request_names(form), "problem": problem}
            sent = self.node.exchanges[-1].onward
            messages = (*sent, *self._rendered(REPAIR, names))
            reply = await self._converse(REPAIR, messages, [], form)

    def _begin_repair(self, failure: str) -> None:
        """Count another attempt; its events are those of a retry without a wait."""
        node = self.node
        error_type = AnswerError.__name__
        self.emitter.emit(NodeRetried, node.node_id, node.attempt, failure, 0.0, error_type)
        node.fail(failure, error_type, self.spec.id)
        node.attempt += 1
        if self.caller is not None:
            self.caller.attempt = node.attempt
        kind = self.graph.nodes[node.node_id].kind
        self.emitter.emit(NodeStarted, node.node_id, node.attempt, kind)

    async def _send(
        self,
        prompt: str | None,
        variables: Mapping[str, object],
        *,
        form: Form | None = None,
        is_output: bool = False,
    ) -> Reply:
        template, node = self._template(prompt), self.node
        is_output = is_output and node.node_id in self.scope.graph.streaming
        self.asks += 1
        rounds = node.rounds(self.asks, template)
        messages: tuple[Message, ...] = ()
        if not rounds:
            messages = self._rendered(template, {**self._request_names(form), **variables})
        return await self._converse(template, messages, rounds, form, is_output=is_output)

    def _worded(self, template: str, names: Mapping[str, object]) -> str:
        return "\n".join(each.content for each in self.graph.prompts.render(template, names))

    def _answer_tool(self, form: Form) -> str:
        """The description of the tool for an answer; a template that reads nothing is constant."""
        constant = self.scope.graph.constant_text(ANSWER_TOOL)
        return (
            self._worded(ANSWER_TOOL, self._request_names(form)) if constant is None else constant
        )

    def _request_names(self, form: Form | None) -> dict[str, object]:
        """The names that the template of a request may read."""
        names = self.scope.names(self.node)
        if form is not None:
            cast("SimpleNamespace", names["node"]).form = form
        return names

    async def _converse(
        self,
        template: str,
        messages: tuple[Message, ...],
        rounds: list[int],
        form: Form | None,
        *,
        is_output: bool = False,
    ) -> Reply:
        """Ask, and ask again with the results of the tools that are called, until none is.

        `rounds` are the exchanges of an earlier attempt to continue instead.
        """
        node, caller, ask = self.node, self.caller, self.asks
        request = Request(
            model=self.spec.id,
            messages=messages,
            schema=form.sent if form else None,
            answer_tool=self._answer_tool(form) if form else "",
            choices=form.labels if form else (),
            many=form is not None and form.many,
            tools=caller.toolbox.offered() if caller else (),
            parameters=self.spec.parameters,
            idle=self.idle,
            stream=self.idle is not None
            or (is_output and self.answer.is_awaited(node.node_id) and not self._is_held()),
        )
        is_answered, shown = not rounds, ""
        while True:
            if is_answered:
                reply = await self._exchange(
                    template, request, ask, is_output=is_output, shown=shown
                )
                if caller is None or not reply.tool_calls:
                    return replace(reply, text=shown + reply.text) if shown else reply
                rounds.append(len(node.exchanges) - 1)
                if is_output and (kept := self.answer.set_aside(node.node_id, node.attempt)):
                    shown = kept + _PARAGRAPH
            exchange = await self._call_tools(cast("ToolCaller", caller), rounds)
            request, is_answered = replace(request, messages=exchange.onward), True

    async def _call_tools(self, caller: ToolCaller, rounds: Sequence[int]) -> Exchange:
        """The last exchange of these with the results of its tool calls.

        Raises `NodeWaits` if some of them wait to be confirmed; the others have been executed. If
        one of them hands over, raises `HandsOver` when all have results.
        """
        node, position = self.node, rounds[-1]
        exchange = node.exchanges[position]
        if not exchange.has_all_results:
            results = await caller.answer(
                exchange, number=len(rounds), is_committed=position < node.committed
            )
            changed = caller.state.changed()
            node.tool_changes = storable_mapping(node.node_id, "session_state", changed)
            exchange = node.exchanges[position] = replace(exchange, tool_results=results)
            if not exchange.has_all_results:
                raise NodeWaits
        handover = caller.handover(exchange, number=len(rounds))
        if handover is not None:
            raise HandsOver(handover.to, handover.reason)
        return exchange

    def _rendered(self, template: str, variables: Mapping[str, object]) -> tuple[Message, ...]:
        prompts, collected = self.graph.prompts, CAPTURED_PROMPTS.get()
        messages = prompts.render(template, variables)
        if collected is not None:
            collected.append(
                CapturedPrompt(template, prompts.sources(template), variables, messages)
            )
        return messages

    async def _exchange(
        self, template: str, request: Request, ask: int, *, is_output: bool, shown: str
    ) -> Reply:
        """Ask once, and add the exchange to those of the node; an empty reply is an error.

        `shown` is the beginning of the answer that earlier replies have left. What an earlier try
        has paid for is not asked again.
        """
        node = self.node
        if node.paid and (paid := node.take_paid(ask, template, request.messages)):
            return Reply(paid.reply, finish_reason=paid.finish_reason)
        if any(message.parts for message in request.messages):
            request = await self._with_attachments(request, template)
        prompts, started, usage = self.graph.prompts, time(), NO_USAGE
        self.usage.begin_call()
        try:
            self.emitter.emit(
                PromptRendered,
                self.node.node_id,
                self.node.attempt,
                template,
                self.spec.id,
                request.messages,
            )
            reply = await self._receive(request, is_output=is_output, shown=shown)
            usage = _counted(reply.usage)
        finally:
            self.usage.end_call(usage)
        tool_calls = reply.tool_calls if self.caller else ()
        if is_cut := reply.finish_reason == "length" and _is_cut(tool_calls):
            tool_calls = ()
        exchange = Exchange(
            prompt=template,
            prompt_hash=prompts.prompt_hash(template),
            model=reply.model or self.spec.id,
            messages=request.messages,
            reply=reply.text,
            usage=usage,
            finish_reason=reply.finish_reason,
            started=started,
            ended=time(),
            tool_calls=tool_calls,
            ask=ask,
            first_call=self.node.calls + 1 if tool_calls else 0,
            reasoning=reply.reasoning if tool_calls else "",
            attempt=self.node.attempt,
        )
        self.node.exchanges.append(exchange)
        self.node.calls += len(tool_calls)
        if self.emitter.has_listener:
            self.emitter.emit(
                ModelAnswered,
                self.node.node_id,
                self.node.attempt,
                template,
                exchange.model,
                reply.text,
                tool_calls,
                reply.finish_reason,
                usage,
                exchange.ended - started,
            )
        if is_cut or not (tool_calls or reply.text.strip()):
            raise _no_answer(reply, self.spec.id)
        return reply

    async def _with_attachments(self, request: Request, template: str) -> Request:
        """The request with the bytes of what is attached; `ModelError` if the model takes it not.

        A fallback model that takes it is asked instead.
        """
        parts = {
            part.sha256 or part.url or part.name: part
            for message in request.messages
            for part in message.parts
        }
        for part in parts.values():
            if not await takes(self.model, request, part):
                raise ModelError(
                    f"model {request.model} takes no {_kind_of(part)}, and {template} attaches "
                    f"{part}; name a model that does, or leave {{% attach %}} out of the "
                    "template (docs/attachments.md)",
                    model=request.model,
                )
        data = {hash_: await self.attachment(part) for hash_, part in parts.items() if part.sha256}
        return replace(request, attachments=data)

    def _template(self, prompt: str | None) -> str:
        node = self.graph.nodes[self.node.node_id]
        if prompt is not None and prompt in further_templates(node):
            return prompt
        own = self.graph.templates.get(self.node.node_id)
        if own is None:
            raise InputError(
                f"node {self.node.node_id!r} asks a model but has no prompt; name one in `prompt`"
            )
        if prompt is None or prompt == node.prompt:
            return own
        return prompt

    async def _receive(self, request: Request, *, is_output: bool, shown: str) -> Reply:
        """The reply, whose text is emitted as it arrives, from the first word on."""
        node, text = self.node, _PARAGRAPH if shown else ""
        is_whole, has_words, is_held = True, False, is_output and self._is_held()
        pieces = self.model.ask(request)
        try:
            async for piece in pieces:
                if not isinstance(piece, Chunk):
                    calls = piece.tool_calls
                    if is_whole and piece.text:
                        self._emit_whole(piece.text, is_output=is_output and not calls, shown=shown)
                    return replace(piece, tool_calls=with_unique_ids(calls)) if calls else piece
                if is_held:
                    continue
                is_whole = False
                text = piece.text if has_words else text + piece.text
                if has_words or text.strip():
                    has_words = True
                    self.answer.add(node.node_id, node.attempt, text, is_output=is_output)
        finally:
            await close_answer(pieces)
        raise AnswerError("the model ended its answer without a reply", model=request.model)

    def _is_held(self) -> bool:
        """Whether the answer is shown only when it is certain that it hands over to nobody.

        What was shown of it could not be taken back, and is not how the next one begins.
        """
        can_hand_over = self.caller is not None and self.caller.toolbox.can_hand_over
        return can_hand_over and self.answer.is_final

    def _emit_whole(self, text: str, *, is_output: bool, shown: str) -> None:
        """Emit a reply that has come without pieces; it goes on with what was shown."""
        node = self.node
        if shown and is_output:
            self.answer.add(node.node_id, node.attempt, _PARAGRAPH + text, is_output=True)
        else:
            self.answer.add_whole(node.node_id, node.attempt, text, is_output=is_output)


@lru_cache(maxsize=256)
def _choice_form(labels: tuple[str, ...], *, many: bool, allow_none: bool, tasks: bool) -> Form:
    """The form of a choice among `labels`, with the task of each chosen one if asked for."""
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
    schema: dict[str, JSON] = {
        "type": "object",
        "title": "choice",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return Form(schema, labels=labels, many=many, allow_none=allow_none)


def _read_choice(text: str, form: Form) -> Choice:
    """The choice in a model's answer; `ValueError` says what is wrong with it."""
    choice = _found_choice(text, form.labels)
    if isinstance(choice, str):
        raise ValueError(f"{choice}; the labels are {', '.join(form.labels)}")
    if not choice.labels and not form.allow_none:
        raise ValueError("it names no label")
    if len(choice.labels) > 1 and not form.many:
        raise ValueError("it names several labels, not one")
    return choice


def _found_choice(text: str, labels: Sequence[str]) -> Choice | str:
    """The choice in a model's answer, JSON or labels in words, or why there is none."""
    wrong: str | None = None
    if whole := matching_label(answer_in(text), labels):
        return Choice((whole,))
    with suppress(ValueError):
        for value in json_values(text):
            choice = _choice_in(value, labels)
            if isinstance(choice, Choice):
                return choice
            wrong = wrong or choice
    named = labels_in(text, labels)
    if named is not None:
        return Choice(tuple(label for label in labels if label in named))
    return wrong or f"{_quoted(text)} is not a label{label_hint(text, labels)}"


def _choice_in(value: JSON, labels: Sequence[str]) -> Choice | str:
    fields = value if isinstance(value, dict) else {"choices": value}
    named = fields.get("choices", fields.get("choice"))
    picked: set[str] = set()
    for name in named if isinstance(named, list) else [named]:
        found = labels_in(name, labels) if isinstance(name, str) else None
        if found is None:
            return f"{_quoted(str(name))} is not a label{label_hint(str(name), labels)}"
        picked.update(found)
    in_order = tuple(label for label in labels if label in picked)
    return Choice(in_order, reason=str(fields.get("reason") or ""), tasks=_tasks(fields, in_order))


def _tasks(fields: Mapping[str, object], chosen: Sequence[str]) -> dict[str, str]:
    written = fields.get("tasks")
    tasks: dict[str, list[str]] = {}
    for item in cast("list[object]", written) if isinstance(written, list) else []:
        if isinstance(item, dict):
            pair = cast("dict[str, object]", item)
            label, task = matching_label(pair.get("label"), chosen), pair.get("task")
            if label is not None and isinstance(task, str) and task.strip():
                tasks.setdefault(label, []).append(task.strip())
    # A member with two tasks does both in one go; a repeated task counts once.
    return {label: "\n".join(dict.fromkeys(each)) for label, each in tasks.items()}


def _counted(usage: Usage) -> Usage:
    """What a model says that it used, as it is counted: never less than nothing.

    A model that counts nothing was asked nevertheless.
    """
    cost = usage.cost
    tokens = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens)
    if usage.calls > 0 and min(tokens) >= 0 and (cost or 0.0) >= 0.0:
        return usage
    return Usage(
        input_tokens=max(usage.input_tokens, 0),
        output_tokens=max(usage.output_tokens, 0),
        cached_tokens=max(usage.cached_tokens, 0),
        calls=max(usage.calls, 1),
        cost=None if cost is None else max(cost, 0.0),
        reasoning_tokens=max(usage.reasoning_tokens, 0),
    )


def _cut_short(reply: Reply) -> str:
    """Why an answer that cannot be read is not whole, to be appended to the error."""
    match reply.finish_reason:
        case "length":
            return " (max_tokens was used up before its end; raise it)"
        case "content_filter":
            return " (the provider's content filter cut it off)"
        case _:
            return ""


def _is_cut(calls: Sequence[ToolCall]) -> bool:
    """Whether the last of the calls ends in the midst of its arguments."""
    try:
        json.loads(calls[-1].arguments) if calls else None
    except (ValueError, RecursionError):
        return True
    return False


def _no_answer(reply: Reply, model: str) -> AnswerError:
    """The error for a reply without an answer, by what the provider says about its end."""
    match reply.finish_reason:
        case "length":
            where = (
                "in the middle of a tool call" if reply.tool_calls else "before the answer began"
            )
            reason = f"max_tokens was used up {where}; raise it"
        case "content_filter":
            reason = "the provider's content filter blocked the answer; change the prompt"
        case _:
            reason = "the model's answer is empty; ask again, or change the prompt"
    retryable = reply.finish_reason not in ("length", "content_filter")
    return AnswerError(reason, model=model, retryable=retryable)


def _kind_of(part: Part) -> str:
    kinds = {"image": "images", "audio": "audio", "video": "video"}
    return kinds.get(part.media_type.partition("/")[0], f"files of the type {part.media_type}")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}...")


class AnswerStream:
    """Emits tokens as they arrive, and the answer once it is certain which node gives it.

    Tokens of a node that could answer, while an earlier one still may, are buffered; so the answer
    tokens of a run, concatenated, always equal its answer. What a failed attempt has emitted, or a
    reply that called tools, is taken back by an `AnswerReset`, or commits the run to it if the
    listener cannot do that.

    `around` are the stream of the graph around this one and the node that this one is inside of:
    answer tokens of an inner graph are tokens of that node.
    """

    __slots__ = (
        "_around",
        "_buffered",
        "_candidates",
        "_emitted",
        "_emitter",
        "_settled",
        "_void",
        "text",
        "value",
    )

    def __init__(
        self,
        candidates: Sequence[str],
        emitter: EventEmitter,
        around: tuple[AnswerStream, str] | None = None,
    ) -> None:
        self._candidates = candidates
        self._emitter = emitter
        self._around = around
        self._settled: dict[str, Record] = {}
        # Lists of pieces: concatenating a long answer piece by piece would be quadratic.
        self._buffered: dict[str, tuple[int, list[str]]] = {}
        self._emitted: list[str] = []
        self._void: tuple[str, int] | None = None
        self.text: str | None = None
        self.value: JSON = None

    @property
    def emitted(self) -> str:
        """The text of the answer tokens emitted so far, without those of a failed attempt."""
        return "" if self._void else "".join(self._emitted)

    def is_awaited(self, node_id: str) -> bool:
        """Whether a listener shows what this node answers while it arrives."""
        if self.text is not None or node_id not in self._candidates:
            return False
        if self._around is not None:
            outer, outer_id = self._around
            return outer.is_awaited(outer_id)
        return self._emitter.tokens != "none"

    @property
    def is_final(self) -> bool:
        """Whether the listener cannot take back answer tokens once they are emitted."""
        if self._around is not None:
            return self._around[0].is_final
        return self._emitter.tokens == "final"

    def is_committed(self, node_id: str) -> bool:
        """Whether a listener has answer tokens of this node that it cannot take back."""
        if not self._emitted or self._void or self._answering() != node_id:
            return False
        if self._around is not None:
            outer, outer_id = self._around
            return outer.is_committed(outer_id)
        return self._emitter.tokens == "final"

    def add(self, node_id: str, attempt: int, text: str, *, is_output: bool) -> None:
        """A piece of a model's reply; with `is_output` it is a piece of the node's output too."""
        if not is_output or node_id not in self._candidates:
            self._emit(node_id, attempt, text, answer=False)
        elif self._answering() == node_id:
            self._add_to_answer(node_id, attempt, text)
        else:
            self._buffered.setdefault(node_id, (attempt, []))[1].append(text)

    def add_whole(self, node_id: str, attempt: int, text: str, *, is_output: bool) -> None:
        """A reply without pieces; what is the node's output comes with its record."""
        if not is_output or node_id not in self._candidates:
            self._emit(node_id, attempt, text, answer=False)

    def discard(self, node_id: str, attempt: int) -> None:
        """Void what a failed attempt has given, unless the run is committed to it.

        It is taken back when something else comes in its place; a run that fails shows it still.
        """
        self._buffered.pop(node_id, None)
        if self._emitted and self._answering() == node_id and not self.is_committed(node_id):
            self._void = (node_id, attempt)

    def set_aside(self, node_id: str, attempt: int) -> str:
        """The reply so far led to tool calls: take it back, or return the text that has to stay.

        A listener that cannot take it back has it already, so the answer begins with it.
        """
        if self.is_committed(node_id):
            return self.emitted
        if (buffered := self._buffered.get(node_id)) is not None:
            self._emit(node_id, attempt, "".join(buffered[1]), answer=False)
        self.discard(node_id, attempt)
        return ""

    def settle(self, record: Record) -> None:
        """A node is final: emit what is certain now."""
        if record.node not in self._candidates or self.text is not None:
            return
        self._settled[record.node] = record
        answering = self._answering()
        if answering is None:
            return
        done = self._settled.get(answering)
        if done is not None:
            self._finish(done)
        elif buffered := self._buffered.pop(answering, None):
            self._add_to_answer(answering, buffered[0], "".join(buffered[1]))

    def _answering(self) -> str | None:
        """The first candidate that was not skipped, whether it is done or not."""
        for node_id in self._candidates:
            record = self._settled.get(node_id)
            if record is None or record.status != "skipped":
                return node_id
        return None

    def _finish(self, record: Record) -> None:
        self.value = record.output
        self.text = text_of(record.output)
        if self._emitted and not self.text.startswith("".join(self._emitted)):
            self._void = (record.node, record.attempt)
        if self._void is not None:
            self._take_back(self._void)
        rest = self.text.removeprefix(self.emitted)
        if rest:
            self._add_to_answer(record.node, record.attempt, rest)
        self._emitter.emit(Answer, record.node, record.attempt, self.text, self.value)

    def _add_to_answer(self, node_id: str, attempt: int, text: str) -> None:
        if self._void is not None:
            self._take_back(self._void)
        self._emitted.append(text)
        if self._around is None:
            self._emit(node_id, attempt, text, answer=True)
        else:
            outer, outer_id = self._around
            outer.add(outer_id, attempt, text, is_output=True)

    def _take_back(self, void: tuple[str, int]) -> None:
        node_id, attempt = void
        self._void = None
        self._emitted.clear()
        if self._around is not None:
            outer, outer_id = self._around
            outer.discard(outer_id, attempt)
        elif self._emitter.tokens == "revocable":
            self._emitter.emit(AnswerReset, node_id, attempt)

    def _emit(self, node_id: str, attempt: int, text: str, *, answer: bool) -> None:
        if self._emitter.tokens != "none":
            self._emitter.emit(Token, node_id, attempt, text, answer=answer)
