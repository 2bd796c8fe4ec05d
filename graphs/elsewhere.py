"""What people who come from Agno may look for, and where it is here."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from engine import Problem

_LEAVE = "leave it out: "
_IN_GRAPH = "set it where the graph says it, in `team.graph` or in the file that it dumps: "
ELSEWHERE: Mapping[str, str] = {
    "add_datetime_to_context": "read `now` in a prompt of your own",
    "add_history_to_messages": "it is called add_history_to_context",
    "add_session_state_to_context": "read `session.state` in a prompt of your own",
    "add_session_summary_to_context": f"{_LEAVE}a summary is shown where the history is",
    "additional_context": "say it in `instructions`",
    "additional_input": "write it into a prompt of your own",
    "cache_session": f"{_LEAVE}nothing is cached, a turn costs the same in a long session",
    "checkpoint": f"{_LEAVE}what each node did is kept as soon as it is done",
    "debug_mode": "`teamgraph runs show RUN_ID --prompt` tells what was sent",
    "dependencies": "give it as `session_state`, or as `state` of a run",
    "enable_agentic_state": "give a tool with a parameter of the type ToolContext",
    "expected_output": "say it in `instructions`",
    "id": f"{_LEAVE}the id is made of the name",
    "max_tool_calls_from_history": f"{_IN_GRAPH}`tool_calls` of a history-loader",
    "metadata": "give it as `session_state`, or as `state` of a run",
    "mode": "respond_directly=True is route, delegate_to_all_members=True is broadcast, "
    "and neither is coordinate",
    "num_history_responses": "it is called num_history_runs",
    "output_schema": f"{_IN_GRAPH}`returns` of a node",
    "overwrite_db_session_state": "give `state` to the run: it counts more than what is stored",
    "response_model": f"{_IN_GRAPH}`returns` of a node",
    "retries": f"{_IN_GRAPH}`retry`",
    "search_past_sessions": "it is called search_session_history",
    "session_summary_manager": "give session_summary_model and session_summary_prompt",
    "show_members_responses": "read `run.records[member].output`, or the events of `stream`",
    "show_tool_calls": "read the events of `stream`, or the exchanges in `run.records`",
    "storage": "it is called db",
    "store_events": f"{_LEAVE}the record of each node is kept",
    "store_history_messages": f"{_LEAVE}replayed messages are kept as references",
    "store_tool_messages": f"{_LEAVE}tool calls and results are kept, and not replayed unasked",
    "stream": "call `stream`, or `print_response(..., stream=True)`",
    "success_criteria": "say it in `instructions`",
    "tool_call_limit": f"{_IN_GRAPH}`max_tool_rounds` of a member",
}
"""Options of other spelling, with the way to what they do."""


def translated(problem: Problem) -> Problem:
    """The problem of an unknown option; if it is one of these, with the way to it."""
    name = str(problem.path[0]) if len(problem.path) == 1 else ""
    if problem.code != "G001" or name not in ELSEWHERE:
        return problem
    text = f"there is no {name!r} here; {ELSEWHERE[name]}"
    return replace(problem, message=text, suggestion=None)
