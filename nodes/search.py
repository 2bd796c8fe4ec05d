"""A search: brings what the user said in other sessions into this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, TypedDict

from pydantic import Field

from teamgraph import JSON
from teamgraph.kinds import Context, Node, OtherSession, Result


class FoundRun(TypedDict):
    """A turn that was found, as templates read it."""

    input: str
    answer: str


class FoundSession(TypedDict):
    """A session that was found, as templates read it; oldest turn first."""

    session_id: str
    runs: list[FoundRun]


class Search(Node):
    """Finds the last turns of the user's other sessions, the latest session first.

    The session of the run is never among them, long texts are cut and end with `…[cut]`. A
    template reads what was found by the node's id:

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
        default=2, ge=0, strict=True, description="How many sessions to look at.", examples=[2]
    )
    runs: int = Field(
        default=3, ge=0, strict=True, description="How many turns of each to bring.", examples=[3]
    )
    query: str | None = Field(
        default=None,
        description="A template; only turns that contain its text are brought, if it is not empty.",
        examples=["{{ session.state.topic }}"],
    )

    def asks(self) -> bool:
        """A search asks no model."""
        return False

    async def run(self, context: Context) -> Result:
        """Search; the record keeps the numbers of the turns, not their words again."""
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
        return Result(_told(found), stored=stored)

    async def recall(self, context: Context, stored: JSON) -> object:
        """The same turns, read again by the numbers that the record keeps."""
        numbers: dict[str, list[int]] = {}
        for session in stored if isinstance(stored, list) else []:
            if isinstance(session, dict) and isinstance(turns := session.get("turns"), list):
                kept = [number for number in turns if isinstance(number, int)]
                numbers[str(session.get("session_id"))] = kept
        return _told(await context.past.quoted_turns(numbers))


def _told(found: Sequence[OtherSession]) -> list[FoundSession]:
    return [
        {
            "session_id": session.session_id,
            "runs": [{"input": run.input, "answer": run.answer} for run in session.runs],
        }
        for session in found
    ]
