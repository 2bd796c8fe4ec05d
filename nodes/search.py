"""The kind `search`: loads turns of the user's other sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, TypedDict

from pydantic import Field

from teamgraph import JSON
from teamgraph.kinds import Context, Node, OtherSession, Result


class FoundRun(TypedDict):
    """A turn in the output of a search."""

    input: str
    answer: str


class FoundSession(TypedDict):
    """A session in the output of a search; oldest turn first."""

    session_id: str
    runs: list[FoundRun]


class Search(Node):
    """Loads the last turns of the user's other sessions, the most recent session first.

    The session of the run is excluded; long texts are truncated and end with `…`. A template
    reads the result by the node's id:

        {% for session in earlier.output %}
        {% for run in session.runs %}
        {{ run.input | fence("user") }}
        {{ run.answer | fence("assistant") }}
        {% endfor %}
        {% endfor %}
    """

    answers: ClassVar[bool] = False
    prompts: ClassVar[bool] = False
    text_field: ClassVar[str | None] = "query"
    provides: ClassVar[Mapping[str, object]] = {"output": list[FoundSession]}

    sessions: int = Field(
        default=2, ge=0, strict=True, description="How many sessions to search.", examples=[2]
    )
    runs: int = Field(
        default=3, ge=0, strict=True, description="How many turns of each to load.", examples=[3]
    )
    query: str | None = Field(
        default=None,
        description="A template; if its text is not empty, only turns that contain it are loaded.",
        examples=["{{ session.state.topic }}"],
    )

    def asks(self) -> bool:
        """A search never asks a model."""
        return False

    async def run(self, context: Context) -> Result:
        """Search; the record has the numbers of the turns, not their text."""
        text = context.render().strip() if self.query is not None else ""
        found: Sequence[OtherSession] = ()
        if self.sessions and self.runs:
            found = await context.past.other_sessions(
                sessions=self.sessions, runs=self.runs, text=text
            )
        stored: list[JSON] = [
            {"session_id": session.session_id, "turns": [run.number for run in session.runs]}
            for session in found
        ]
        return Result(_as_output(found), stored=stored)

    async def recall(self, context: Context, stored: JSON) -> object:
        """Read the same turns again by the numbers in the record."""
        numbers: dict[str, list[int]] = {}
        for session in stored if isinstance(stored, list) else []:
            if isinstance(session, dict) and isinstance(turns := session.get("turns"), list):
                integers = [number for number in turns if isinstance(number, int)]
                numbers[str(session.get("session_id"))] = integers
        return _as_output(await context.past.quoted_turns(numbers))


def _as_output(found: Sequence[OtherSession]) -> list[FoundSession]:
    return [
        {
            "session_id": session.session_id,
            "runs": [{"input": run.input, "answer": run.answer} for run in session.runs],
        }
        for session in found
    ]
