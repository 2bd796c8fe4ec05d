"""The tool calls of earlier runs, read from the records of those runs."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from .session import Record

READERS = frozenset(("read_chat_history", "read_tool_call_history", "search_sessions"))
"""The tools whose results are what was said before, and nothing else."""


class Called(Struct, frozen=True):
    """A tool call of an earlier run: what the model wanted, and what it was given back.

    Calls of one reply of a model have the same `round`.
    """

    tool: str
    arguments: str
    result: str
    round: int = 0


def called(records: Iterable[Record]) -> list[Called]:
    """The tool calls in the records of a run that were answered, in the order of the records."""
    exchanges = [exchange for record in records for exchange in record.exchanges]
    calls: list[Called] = []
    for number, exchange in enumerate(exchanges):
        results = {result.tool_call_id: result.content for result in exchange.tool_results}
        calls += (
            Called(call.name, call.arguments, results[call.id], round=number)
            for call in exchange.tool_calls
            if call.id in results
        )
    return calls
