"""Which words are the answer: the first answering node that was not skipped speaks."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Answer, EventEmitter, Token
from ..messages import JSON, text_of
from ..records import Record


class AnswerStream:
    """Tells text as it arrives, and the answer once it is certain.

    A node that could answer, while an earlier one still may, is not told but held back; so the
    answer tokens of a run, put together, are always its answer.
    """

    __slots__ = ("_candidates", "_held", "_settled", "_tell", "_told", "text", "value")

    def __init__(self, candidates: Sequence[str], tell: EventEmitter) -> None:
        self._candidates = candidates
        self._tell = tell
        self._settled: dict[str, Record] = {}
        # Pieces, for a long answer that grew piece by piece would be copied for each of them.
        self._held: dict[str, tuple[int, list[str]]] = {}
        self._told: list[str] = []
        self.text: str | None = None
        self.value: JSON = None

    @property
    def told(self) -> str:
        """What the user has been told so far."""
        return "".join(self._told)

    def has_told(self, node_id: str) -> bool:
        """Whether part of the answer has been told in this node's name, and somebody heard it."""
        return self._tell.is_heard and bool(self._told) and self._speaker() == node_id

    def say(self, node_id: str, attempt: int, text: str, *, streams: bool) -> None:
        """A piece of a model's answer; `streams` if it is a piece of the node's output too."""
        if not streams or node_id not in self._candidates:
            self._tell(Token, node_id, attempt, text, answer=False)
        elif self._speaker() == node_id:
            self._told.append(text)
            self._tell(Token, node_id, attempt, text, answer=True)
        else:
            self._held.setdefault(node_id, (attempt, []))[1].append(text)

    def take_back(self, node_id: str) -> None:
        """Forget what an attempt that failed had said and nobody heard."""
        self._held.pop(node_id, None)
        if not self._tell.is_heard and self._speaker() == node_id:
            self._told.clear()

    def settle(self, record: Record) -> None:
        """A node is final: tell what is certain now."""
        if record.node not in self._candidates or self.text is not None:
            return
        self._settled[record.node] = record
        speaker = self._speaker()
        if speaker is None:
            return
        done = self._settled.get(speaker)
        if done is not None:
            self._answer(done)
        elif held := self._held.pop(speaker, None):
            attempt, text = held[0], "".join(held[1])
            self._told.append(text)
            self._tell(Token, speaker, attempt, text, answer=True)

    def _speaker(self) -> str | None:
        """The first candidate that was not skipped, whether it is done or not."""
        for node_id in self._candidates:
            record = self._settled.get(node_id)
            if record is None or record.status != "skipped":
                return node_id
        return None

    def _answer(self, record: Record) -> None:
        self.value = record.output
        self.text = text_of(record.output)
        rest = self.text.removeprefix(self.told)
        if rest:
            self._told.append(rest)
            self._tell(Token, record.node, record.attempt, rest, answer=True)
        self._tell(Answer, record.node, record.attempt, self.text, self.value)
