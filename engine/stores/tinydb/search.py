"""What it means that a turn is found."""

from __future__ import annotations

from ...records import Turn


def says(turn: Turn, text: str) -> bool:
    """Whether `text` stands in the input or the answer, upper and lower case being the same."""
    sought = text.casefold()
    return sought in turn.input.casefold() or sought in (turn.answer or "").casefold()
