"""A session as people read it: what was said in it, what it cost, what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..messages import JSON
from ..session import Head, SessionKey, Summary, Turn
from ..sessions import Metrics
from .progress import spent
from .screen import counted, facts, indented, pretty, when

_BEFORE = 30
_LONGEST = 100
"""Characters of a text that was found, and how many of them stand before what was sought."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A session and some of its turns, oldest first; `offset` newer ones are left out."""

    key: SessionKey
    head: Head
    metrics: Metrics
    turns: Sequence[Turn]
    offset: int = 0

    def told(self) -> str:
        """All of it as one text."""
        parts = [self._heading(), *map(_turn, self.turns)]
        if self.head.summary is not None:
            parts.append(_summary(self.head.summary))
        states: dict[str, JSON] = {"state": dict(self.head.state)}
        for node_id, state in self.head.node_states.items():
            states[f"state of {node_id}"] = dict(state)
        parts += [f"{name}\n{indented(pretty(state))}" for name, state in states.items() if state]
        return "\n\n".join(parts) + "\n"

    def _heading(self) -> str:
        metrics = self.metrics
        return facts(
            {
                "session": self.key.session_id,
                "user": self.key.user_id,
                "name": self.head.name,
                "turns": metrics.turns,
                "shown": self._shown(),
                "runs": metrics.runs if metrics.runs > metrics.turns else None,
                "took": f"{metrics.seconds:.2f} s{spent(metrics.usage)}",
            }
        )

    def _shown(self) -> str:
        """Which turns these are, if there are others, and how to see those before."""
        passed = self.offset + len(self.turns)
        if len(self.turns) == self.metrics.turns:
            return ""
        if not self.turns:
            return "none; --offset leaves out all of them"
        before = f"; --offset {passed} shows those before" if passed < self.metrics.turns else ""
        return f"{self.turns[0].number} to {self.turns[-1].number}{before}"


def found_in(turn: Turn, text: str) -> tuple[str, str]:
    """Who said `text` in a turn that has it, and the words around it."""
    sought = text.casefold()
    by_user = sought in turn.input.casefold()
    who, said = ("user", turn.input) if by_user else ("answer", turn.answer or "")
    # Folding makes few letters longer, so the place is right but for a letter or two.
    start = max(0, said.casefold().find(sought) - _BEFORE)
    end = start + _LONGEST
    return who, f"{'…' if start else ''}{said[start:end]}{'…' if end < len(said) else ''}"


def _turn(turn: Turn) -> str:
    heading = f"{turn.number}. {when(turn.started)}, run {turn.run_id}"
    return "\n".join([heading, _said("user", turn.input), _said("answer", turn.answer or "")])


def _said(who: str, text: str) -> str:
    """Who said what; further lines stand to the right, so that no text can look like another's."""
    first, *more = text.splitlines() or [""]
    return "\n".join([f"  {who}: {first}", *(f"      {line}" for line in more)])


def _summary(summary: Summary) -> str:
    about = f"summary of {counted(summary.covers, 'turn')}"
    topics = f"topics: {', '.join(summary.topics)}" if summary.topics else ""
    return "\n".join(filter(None, (about, indented(summary.text), indented(topics))))
