"""The kind `leader`: composes one answer from the outputs of other nodes."""

from __future__ import annotations

from pydantic import Field

from .member import Member


class Leader(Member):
    """Answers the message from the outputs of the nodes that it needs."""

    prompt: str | None = Field(
        default="leader.jinja", description="Its template.", examples=["leader.jinja"]
    )
