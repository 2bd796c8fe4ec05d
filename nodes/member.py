"""A member: one role, one prompt, one answer."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from engine import Context, Node, Result


class Member(Node):
    """Answers the message in its role."""

    streams: ClassVar[bool] = True

    role: str = Field(
        default="",
        description="Who the member is and what it does, as it is told.",
        examples=["You answer questions in English"],
    )
    prompt: str | None = Field(
        default="member.jinja", description="Its template.", examples=["member.jinja"]
    )

    async def run(self, context: Context) -> Result:
        """Ask the model once; with `returns` the answer is a value of that shape."""
        return Result(await context.reply())
