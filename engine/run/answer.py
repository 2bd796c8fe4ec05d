"""Which text is the run's answer: that of the first answering node that was not skipped."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Answer, AnswerReset, EventEmitter, Token
from ..messages import JSON, text_of
from ..records import Record


class AnswerStream:
    """Emits tokens as they arrive, and the answer once it is certain which node gives it.

    Tokens of a node that could answer, while an earlier one still may, are buffered; so the answer
    tokens of a run, concatenated, always equal its answer. What a failed attempt has emitted is
    taken back by an `AnswerReset`, or commits the run to it if the listener cannot do that.

    `around` are the stream of the graph around this one and the node that this one is inside of:
    answer tokens of an inner graph are tokens of that node.
    """

    __slots__ = (
        "_around",
        "_buffered",
        "_candidates",
        "_emitted",
        "_emitter",
        "_settled",
        "_void",
        "text",
        "value",
    )

    def __init__(
        self,
        candidates: Sequence[str],
        emitter: EventEmitter,
        around: tuple[AnswerStream, str] | None = None,
    ) -> None:
        self._candidates = candidates
        self._emitter = emitter
        self._around = around
        self._settled: dict[str, Record] = {}
        # Lists of pieces: concatenating a long answer piece by piece would be quadratic.
        self._buffered: dict[str, tuple[int, list[str]]] = {}
        self._emitted: list[str] = []
        self._void: tuple[str, int] | None = None
        self.text: str | None = None
        self.value: JSON = None

    @property
    def emitted(self) -> str:
        """The text of the answer tokens emitted so far, without those of a failed attempt."""
        return "" if self._void else "".join(self._emitted)

    def is_awaited(self, node_id: str) -> bool:
        """Whether a listener shows what this node answers while it arrives."""
        if self.text is not None or node_id not in self._candidates:
            return False
        if self._around is not None:
            outer, outer_id = self._around
            return outer.is_awaited(outer_id)
        return self._emitter.tokens != "none"

    def is_committed(self, node_id: str) -> bool:
        """Whether a listener has answer tokens of this node that it cannot take back."""
        if not self._emitted or self._void or self._answering() != node_id:
            return False
        if self._around is not None:
            outer, outer_id = self._around
            return outer.is_committed(outer_id)
        return self._emitter.tokens == "final"

    def add(self, node_id: str, attempt: int, text: str, *, is_output: bool) -> None:
        """A piece of a model's reply; with `is_output` it is a piece of the node's output too."""
        if not is_output or node_id not in self._candidates:
            self._emit(node_id, attempt, text, answer=False)
        elif self._answering() == node_id:
            self._add_to_answer(node_id, attempt, text)
        else:
            self._buffered.setdefault(node_id, (attempt, []))[1].append(text)

    def add_whole(self, node_id: str, attempt: int, text: str, *, is_output: bool) -> None:
        """A reply without pieces; what is the node's output comes with its record."""
        if not is_output or node_id not in self._candidates:
            self._emit(node_id, attempt, text, answer=False)

    def discard(self, node_id: str, attempt: int) -> None:
        """Void what a failed attempt has given, unless the run is committed to it.

        It is taken back when something else comes in its place; a run that fails shows it still.
        """
        self._buffered.pop(node_id, None)
        if self._emitted and self._answering() == node_id and not self.is_committed(node_id):
            self._void = (node_id, attempt)

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
            self._add_to_answer(answering, buffered[0], "".join(buffered[1]))

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
        if self._emitted and not self.text.startswith("".join(self._emitted)):
            self._void = (record.node, record.attempt)
        if self._void is not None:
            self._take_back(self._void)
        rest = self.text.removeprefix(self.emitted)
        if rest:
            self._add_to_answer(record.node, record.attempt, rest)
        self._emitter.emit(Answer, record.node, record.attempt, self.text, self.value)

    def _add_to_answer(self, node_id: str, attempt: int, text: str) -> None:
        if self._void is not None:
            self._take_back(self._void)
        self._emitted.append(text)
        if self._around is None:
            self._emit(node_id, attempt, text, answer=True)
        else:
            outer, outer_id = self._around
            outer.add(outer_id, attempt, text, is_output=True)

    def _take_back(self, void: tuple[str, int]) -> None:
        node_id, attempt = void
        self._void = None
        self._emitted.clear()
        if self._around is not None:
            outer, outer_id = self._around
            outer.discard(outer_id, attempt)
        elif self._emitter.tokens == "revocable":
            self._emitter.emit(AnswerReset, node_id, attempt)

    def _emit(self, node_id: str, attempt: int, text: str, *, answer: bool) -> None:
        if self._emitter.tokens != "none":
            self._emitter.emit(Token, node_id, attempt, text, answer=answer)
