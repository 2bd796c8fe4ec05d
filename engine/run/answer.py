"""Which text is the run's answer: that of the first answering node that was not skipped."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Answer, EventEmitter, Token
from ..messages import JSON, text_of
from ..records import Record


class AnswerStream:
    """Emits tokens as they arrive, and the answer once it is certain which node gives it.

    Tokens of a node that could answer, while an earlier one still may, are buffered; so the answer
    tokens of a run, concatenated, always equal its answer. With `is_revocable` those of an inner
    graph are not passed on as such, so that a failed attempt can still be followed by another.
    """

    __slots__ = (
        "_buffered",
        "_candidates",
        "_commits",
        "_emitted",
        "_emitter",
        "_settled",
        "text",
        "value",
    )

    def __init__(
        self, candidates: Sequence[str], emitter: EventEmitter, *, is_revocable: bool = False
    ) -> None:
        self._candidates = candidates
        self._emitter = emitter
        self._commits = emitter.has_listener and not is_revocable
        self._settled: dict[str, Record] = {}
        # Lists of pieces: concatenating a long answer piece by piece would be quadratic.
        self._buffered: dict[str, tuple[int, list[str]]] = {}
        self._emitted: list[str] = []
        self.text: str | None = None
        self.value: JSON = None

    @property
    def emitted(self) -> str:
        """The text of the answer tokens emitted so far."""
        return "".join(self._emitted)

    def is_committed(self, node_id: str) -> bool:
        """Whether a listener has received answer tokens of this node: they cannot be revoked."""
        return self._commits and bool(self._emitted) and self._answering() == node_id

    def add(self, node_id: str, attempt: int, text: str, *, is_output: bool) -> None:
        """A piece of a model's reply; with `is_output` it is a piece of the node's output too."""
        if not is_output or node_id not in self._candidates:
            self._emitter.emit(Token, node_id, attempt, text, answer=False)
        elif self._answering() == node_id:
            self._emitted.append(text)
            self._emitter.emit(Token, node_id, attempt, text, answer=True)
        else:
            self._buffered.setdefault(node_id, (attempt, []))[1].append(text)

    def discard(self, node_id: str) -> None:
        """Drop what a failed attempt has given, as far as no listener has received it."""
        self._buffered.pop(node_id, None)
        if not self._commits and self._answering() == node_id:
            self._emitted.clear()

    def settle(self, record: Record) -> None:
        """A node is final: emit what is certain now."""
        if record.node not in self._candidates or self.text is not None:
            return
        self._settled[record.node] = record
        answering = self._answering()
        if answering is None:
            return
        done = self._settled.get(answering)
        if done is not None:
            self._finish(done)
        elif buffered := self._buffered.pop(answering, None):
            attempt, text = buffered[0], "".join(buffered[1])
            self._emitted.append(text)
            self._emitter.emit(Token, answering, attempt, text, answer=True)

    def _answering(self) -> str | None:
        """The first candidate that was not skipped, whether it is done or not."""
        for node_id in self._candidates:
            record = self._settled.get(node_id)
            if record is None or record.status != "skipped":
                return node_id
        return None

    def _finish(self, record: Record) -> None:
        self.value = record.output
        self.text = text_of(record.output)
        rest = self.text.removeprefix(self.emitted)
        if rest:
            self._emitted.append(rest)
            self._emitter.emit(Token, record.node, record.attempt, rest, answer=True)
        self._emitter.emit(Answer, record.node, record.attempt, self.text, self.value)
