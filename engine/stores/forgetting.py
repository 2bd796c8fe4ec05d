"""The words of a deleted run, wherever later runs were sent them without saying whose they are.

Replayed messages name their run and need none of this. But a history that stands inside a system
message, and what a tool read of the conversation, are only text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..session import Turn

DELETED = "(deleted)"
_HEAD = 40
"""Characters by which a text is known in what a tool gave back, where it may have been cut."""


@dataclass(frozen=True, slots=True)
class Words:
    """What was said in a run that is deleted."""

    run_id: str
    whole: re.Pattern[str]
    beginning: re.Pattern[str]

    @classmethod
    def of(cls, turn: Turn) -> Words:
        """The words of a turn."""
        said = [text for text in (turn.input, turn.answer) if text and text.strip()]
        return cls(turn.run_id, _found(said), _found(said, at_most=_HEAD))

    def cut_of(self, role: str) -> Callable[[str], str]:
        """What takes these words out of the text of a message that does not say whose it is.

        From a system message they are cut where they do not lie in longer words; of what a tool
        gave back nothing is left. What the user and the assistant said themselves stays.
        """
        return {"system": self._cut, "tool": self._blank}.get(role, str)

    def _cut(self, text: str) -> str:
        return self.whole.sub(DELETED, text)

    def _blank(self, text: str) -> str:
        return DELETED if self.beginning.search(text) else text


def _found(texts: Iterable[str], *, at_most: int | None = None) -> re.Pattern[str]:
    """Finds any of the texts: as they are, fenced, or as JSON, also inside other JSON."""
    ends = {form: text[:at_most] == text for text in texts for form in _forms(text[:at_most])}
    longest_first = sorted(ends, key=lambda form: (-len(form), form))
    any_of = "|".join(
        re.escape(form).replace("<", "(?:<|&lt;)") + (r"(?!\w)" if ends[form] else "")
        for form in longest_first
    )
    return re.compile(rf"(?<!\w)(?:{any_of})" if any_of else r"(?!)")


def _forms(text: str) -> set[str]:
    once = json.dumps(text, ensure_ascii=False)[1:-1]
    return {text, once, json.dumps(once, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]}
