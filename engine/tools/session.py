"""The tools that read what the user said before: in this session, and in others.

They see the user and the session of the run and nothing else. What they give back is plain JSON of
what was said: no prompts, no ids, no metrics.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field

from ..called import Called
from ..messages import JSON
from ..past import cut
from ..session import Turn
from .context import ToolContext

RUNS_OF_ANOTHER = 3
"""Turns that `search_sessions` shows of each session."""
FURTHEST_BACK = 100
"""Turns that `read_tool_call_history` goes back at most."""

Count = Annotated[int, Field(ge=1, le=50)]


async def read_chat_history(context: ToolContext, limit: Count = 3) -> list[JSON]:
    """Read the last exchanges of this conversation, oldest first.

    Args:
        context: Whose conversation it is.
        limit: How many exchanges to read.
    """
    return [_said(turn) for turn in await context.past.turns(last=limit)]


async def read_tool_call_history(context: ToolContext, limit: Count = 3) -> list[JSON]:
    """Read the last tool calls of this conversation with their results, newest first.

    Args:
        context: Whose conversation it is.
        limit: How many calls to read.
    """
    told: list[JSON] = []
    for turn in reversed(await context.past.turns(last=FURTHEST_BACK)):
        calls = reversed(await context.past.calls(turn.run_id))
        # Its own results would come back inside its results, turn after turn.
        told += [_call(call) for call in calls if call.tool != read_tool_call_history.__name__]
        if len(told) >= limit:
            break
    return told[:limit]


async def search_sessions(context: ToolContext, query: str = "", limit: Count = 2) -> list[JSON]:
    """Read what the user talked about in earlier conversations, the latest conversation first.

    Args:
        context: Whose conversation it is.
        query: Words that an exchange must contain; leave it out to read the last exchanges.
        limit: How many conversations to look at.
    """
    others = await context.past.elsewhere(sessions=limit, runs=RUNS_OF_ANOTHER, text=query.strip())
    return [
        {"conversation": [{"user": run.input, "assistant": run.answer} for run in other.runs]}
        for other in others
    ]


SESSION_TOOLS: Mapping[str, Callable[..., object]] = {
    function.__name__: function
    for function in (read_chat_history, read_tool_call_history, search_sessions)
}


def _said(turn: Turn) -> JSON:
    return {"user": turn.input, "assistant": turn.answer or ""}


def _call(call: Called) -> JSON:
    try:
        arguments: JSON = json.loads(call.arguments or "{}")
    except ValueError:
        arguments = call.arguments
    return {"tool": call.tool, "arguments": arguments, "result": cut(call.result)}
