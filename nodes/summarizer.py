"""The kind `summarizer`: writes a rolling summary of the session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from teamgraph import JSON, OnError, Summary
from teamgraph.kinds import Context, Exchanged, Node, Result, Texts

RETURNS = {"summary": "str", "topics": "list[str]"}


class Summarizer(Node):
    """Summarizes the previous summary and the turns since, after the answer is known.

    If it fails, that is recorded, the old summary stays and the run is complete. Its template
    reads the old summary as `session.summary`, and the turns since, with this one, as `turns`.
    """

    answers: ClassVar[bool] = False
    comes_last: ClassVar[bool] = True
    provides: ClassVar[Mapping[str, object]] = {"output": str, "topics": list[str]}
    variables: ClassVar[Mapping[str, object]] = {"turns": list[Exchanged]}

    every: int = Field(
        default=1, ge=1, strict=True, description="Summarize in every N-th turn only.", examples=[5]
    )
    on_error: OnError | None = Field(
        default="skip",
        description="What happens when all attempts failed; the old summary stays in any case.",
        examples=["skip"],
    )
    instructions: Texts = Field(
        default=(),
        description="How to summarize, instead of the usual rules; the turns always follow.",
        examples=[["Name every decision, in a list."]],
    )
    prompt: str | None = Field(
        default="summarizer.jinja", description="Its template.", examples=["summarizer.jinja"]
    )

    async def run(self, context: Context) -> Result:
        """Summarize the turns that the newest summary does not cover yet."""
        old = context.summary
        if (context.turns + 1) % self.every or context.answer is None:
            return Result(
                old.text if old else "", fields={"topics": list(old.topics if old else ())}
            )
        turns = await context.past.turns(since=old.covers if old else 0)
        now = Exchanged(context.input.message, context.answer)
        exchanges = [
            *(Exchanged(turn.input, turn.answer or "", turn.speaker) for turn in turns),
            now,
        ]
        written = await context.ask_for(RETURNS, turns=exchanges)
        fields = written if isinstance(written, dict) else {}
        text, topics = str(fields.get("summary", "")), fields.get("topics")
        topics_text = tuple(str(topic) for topic in topics) if isinstance(topics, list) else ()
        summary = Summary(text, topics=topics_text, covers=context.turns + 1)
        return Result(
            text, fields={"topics": list(topics_text), "covers": summary.covers}, summary=summary
        )

    def summarized(self, output: JSON, fields: Mapping[str, JSON]) -> Summary | None:
        """The summary from the record; None if the node wrote no new one."""
        covers, topics = fields.get("covers"), fields.get("topics")
        if not isinstance(covers, int) or not isinstance(topics, list):
            return None
        return Summary(str(output), topics=tuple(map(str, topics)), covers=covers)
