"""The kind `history-loader`: loads the last turns of the session, of all nodes or of one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import dropwhile, groupby
from typing import ClassVar

from msgspec.structs import replace
from pydantic import Field

from teamgraph import JSON, Message, Summary, ToolCall, Turn
from teamgraph.kinds import Context, Exchanged, History, KeyPath, Node, PastToolCall, Result

_TASK = "past_task.jinja"


async def own_runs(
    context: Context, node_id: str, *, last: int
) -> tuple[list[str], Mapping[str, JSON]]:
    """The ids of the last runs in which the node answered, and the state to store for next time.

    Only the turns since the last call are read, so the cost does not grow with the session.
    """
    seen, known = context.state.get("seen"), context.state.get("runs")
    run_ids = [str(run_id) for run_id in known] if isinstance(known, list) else []
    since = seen if isinstance(seen, int) else 0
    new = [turn.run_id for turn in await context.past.turns(since=since)]
    run_ids += [turn.run_id for turn in await own_turns(context, node_id, new)]
    newest: list[JSON] = [*run_ids[max(0, len(run_ids) - last) :]]
    return [str(run_id) for run_id in newest], {"seen": context.turns, "runs": newest}


async def own_turns(context: Context, node_id: str, run_ids: Iterable[object]) -> list[Turn]:
    """The turns of these runs with the node's task and answer; deleted ones are left out."""
    found = [await _turn(context, str(run_id), node_id) for run_id in run_ids]
    return [turn for turn in found if turn is not None]


async def _turn(context: Context, run_id: str, node_id: str) -> Turn | None:
    run = await context.past.run(run_id)
    record = run.records.get(node_id) if run is not None else None
    if run is None or record is None or record.status != "done":
        return None
    output = record.output
    text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    asked = run.input
    if record.task is not None:
        asked = context.render(_TASK, message=asked, task=record.task)
    return replace(run.turn, input=asked, answer=text, speaker=None)


class HistoryLoader(Node):
    """Loads the last completed turns, oldest first, and the summary of the turns before them.

    If a summarizer does not run in every turn, the window reaches back to the last summary, so
    that summary and turns together have every completed turn exactly once.
    """

    answers: ClassVar[bool] = False
    prompts: ClassVar[bool] = False
    loads_history: ClassVar[bool] = True
    templates: ClassVar[tuple[str, ...]] = (_TASK,)
    variables: ClassVar[Mapping[str, object]] = {"message": str, "task": str}
    provides: ClassVar[Mapping[str, object]] = {
        "output": str,
        "messages": list[Message],
        "runs": list[Exchanged],
        "summary": str | None,
    }

    runs: int = Field(
        default=3,
        ge=0,
        strict=True,
        description="How many turns to load; 0 loads none.",
        examples=[3],
    )
    messages: int | None = Field(
        default=None,
        ge=0,
        strict=True,
        description="The most messages to load, whatever `runs` says; the first of them is always "
        "the user's.",
        examples=[10],
    )

    tool_calls: int = Field(
        default=0,
        ge=0,
        strict=True,
        description="How many of the newest tool calls to load, each with its result.",
        examples=[3],
    )

    of: str | None = Field(
        default=None,
        description="Load only the turns in which this node ran, with its output as the answer.",
        examples=["english"],
    )

    def mentions(self) -> Mapping[KeyPath, str]:
        """The node whose turns it loads."""
        return {} if self.of is None else {("of",): self.of}

    def written(self) -> dict[str, JSON]:
        """`runs` even if it is the default, if `messages` is set: without it there is no limit."""
        both = self.messages is not None and "runs" in self.model_fields_set
        return super().written() | ({"runs": self.runs} if both else {})

    async def run(self, context: Context) -> Result:
        """Load the window; the record has the numbers of the turns, not their text."""
        if self.of is not None:
            run_ids, state = await own_runs(context, self.of, last=self._window())
            turns: Sequence[Turn] = await own_turns(context, self.of, run_ids)
            history = await self._history(context, turns, None)
            return Result(history, stored={"runs": [*run_ids]}, state=state)
        turns = ()
        if window := self._window():
            turns = await context.past.turns(last=window)
        first = turns[0].number if turns else context.turns + 1
        summary = None
        if context.summarizes and first > 1:
            summary = await context.past.summary(until=first - 1)
            covers = summary.covers if summary else 0
            if covers < first - 1:
                turns = await context.past.turns(since=covers)
        stored: dict[str, JSON] = {
            "from": turns[0].number if turns else 0,
            "to": turns[-1].number if turns else 0,
            "summary": summary.covers if summary else 0,
        }
        return Result(await self._history(context, turns, summary), stored=stored)

    async def recall(self, context: Context, stored: JSON) -> History:
        """Load the same window again by the numbers in the record."""
        record = stored if isinstance(stored, dict) else {}
        if self.of is not None:
            run_ids = record.get("runs")
            own = await own_turns(context, self.of, run_ids if isinstance(run_ids, list) else ())
            return await self._history(context, own, None)
        first, last, covers = (_number(record.get(name)) for name in ("from", "to", "summary"))
        turns = await context.past.turns(since=first - 1) if first else ()
        summary = await context.past.summary(until=covers) if covers else None
        turns = [turn for turn in turns if turn.number <= last]
        return await self._history(context, turns, summary)

    def _window(self) -> int:
        """How many turns to load: `runs`, or as many as `messages` may need if only that is set."""
        if self.messages is None:
            return self.runs
        enough = (self.messages + 1) // 2
        return min(self.runs, enough) if "runs" in self.model_fields_set else enough

    async def _history(
        self, context: Context, turns: Sequence[Turn], summary: Summary | None
    ) -> History:
        calls = await self._calls(context, turns)
        messages = [
            message for turn in turns for message in _messages(turn, calls.get(turn.run_id, ()))
        ]
        if self.messages is not None:
            messages = _newest(messages, self.messages)
        return History(
            messages=tuple(messages),
            runs=tuple(
                Exchanged(turn.input, turn.answer or "", turn.speaker, turn.attachments)
                for turn in turns
            ),
            summary=summary.text if summary else None,
            output="\n".join(
                f"{message.name or message.role}: {message.content}"
                for message in messages
                if message.role != "tool" and not message.tool_calls
            ),
        )

    async def _calls(
        self, context: Context, turns: Sequence[Turn]
    ) -> Mapping[str, Sequence[PastToolCall]]:
        """The newest `tool_calls` calls of the turns, by run."""
        called: dict[str, Sequence[PastToolCall]] = {}
        left = self.tool_calls
        for turn in reversed(turns):
            if left:
                calls = (await context.past.calls(turn.run_id))[-left:]
                called[turn.run_id] = calls
                left -= len(calls)
        return called


def _number(value: JSON) -> int:
    return value if isinstance(value, int) else 0


def _messages(turn: Turn, calls: Sequence[PastToolCall]) -> list[Message]:
    """A turn as messages: the user's, the tool calls with their results, the answer."""
    messages = [Message(role="user", content=turn.said, origin=turn.run_id)]
    numbered = enumerate(calls)
    for _, group in groupby(numbered, key=lambda pair: pair[1].round):
        of_reply = [(f"past_{turn.number}_{index}", call) for index, call in group]
        messages += _tool_messages(of_reply, origin=turn.run_id)
    said = Message(role="assistant", content=turn.answer or "", origin=turn.run_id)
    if turn.speaker is not None:
        said = said.model_copy(update={"name": turn.speaker})
    return [*messages, said]


def _tool_messages(calls: Sequence[tuple[str, PastToolCall]], *, origin: str) -> list[Message]:
    """A reply with tool calls, and their results, with ids that no other run has."""
    wanted = tuple(
        ToolCall(id=call_id, name=call.tool, arguments=call.arguments) for call_id, call in calls
    )
    results = (
        Message(role="tool", content=call.result, tool_call_id=call_id, origin=origin)
        for call_id, call in calls
    )
    return [Message(role="assistant", content="", tool_calls=wanted, origin=origin), *results]


def _newest(messages: list[Message], count: int) -> list[Message]:
    """At most the last `count` messages; the first is the user's, as strict providers require."""
    newest = messages[max(0, len(messages) - count) :]
    return list(dropwhile(lambda message: message.role != "user", newest))
