"""A team with every kind of memory, and a model that repeats everything it was sent."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import json
import re
from typing import Any

from teamgraph import Reply, Request, ScriptedModel, Store, ToolCall, ToolContext
from teamgraph.graphs import Agent, Team
from tests.teams import words_of

WORD = re.compile(r"word-[a-z0-9]+(?:-[a-z0-9]+)*")
TOOLS = ("read_chat_history", "read_tool_call_history", "search_sessions")


def remember(context: ToolContext, word: str) -> str:
    """Store a word.

    Args:
        context: Whose session it is.
        word: What to store.
    """
    context.session_state[word] = True
    return f"kept {word}"


def words_in(value: object) -> set[str]:
    """The marked words (`word-...`) anywhere in a value."""
    return set(WORD.findall(repr(value)))


class RepeatingModel(ScriptedModel):
    """Calls every tool, then repeats all marked words it was sent, so that a leaked one spreads."""

    def __init__(self) -> None:
        super().__init__(self.script)

    def script(self, request: Request) -> Any:
        """The next answer to a request."""
        seen = " ".join(sorted(words_in(words_of(request))))
        if request.choices:
            return "keeper"
        if request.schema is not None:
            return {"summary": f"about {seen}", "topics": seen.split()}
        if request.tools and request.messages[-1].role == "user":
            offered = json.dumps(request.tools)
            named = [name for name in TOOLS if f'"{name}"' in offered]
            calls = [ToolCall(id=name, name=name, arguments="{}") for name in named]
            said = json.dumps({"word": request.messages[-1].content.strip()})
            calls.append(ToolCall(id="remember", name="remember", arguments=said))
            return Reply("", tool_calls=tuple(calls))
        return f"heard {seen}"


def memory_team(store: Store, model: Any, **options: Any) -> Team:
    """A team with history, summary, search, state, tools and a member's own history."""
    keeper = Agent(
        name="Keeper",
        role="You keep words",
        tools=[remember, "search_sessions"],
        add_history_to_context=True,
    )
    usual: dict[str, Any] = {
        "name": "Rememberers",
        "members": [keeper, Agent(name="Other", role="You do not")],
        "respond_directly": True,
        "add_history_to_context": True,
        "enable_session_summaries": True,
        "search_session_history": True,
        "read_chat_history": True,
        "read_tool_call_history": True,
        "add_team_history_to_members": True,
    }
    return Team(store=store, model=model, **(usual | options))
