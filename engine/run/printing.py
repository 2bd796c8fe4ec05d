"""What people read of a run, made from its events: who answers, and which way was taken to it.

The command line and `print_response` print it. A pipe gets the answer alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TextIO

from ..events import (
    Answer,
    AnswerReset,
    Event,
    NodeFinished,
    RunFinished,
    RunWaiting,
    Token,
)
from ..messages import text_of
from ..records import Record, Run
from ..terminal import write_text


class AnswerText:
    """The text that each event adds to a printed answer, which comes in tokens if `is_streamed`.

    With `names_node` the id of the node that answers stands before it.
    """

    def __init__(self, *, is_streamed: bool, names_node: bool) -> None:
        self.is_open = False
        """Whether a line of the answer has begun and not ended."""
        self._is_streamed = is_streamed
        self._names_node = names_node

    def of(self, event: Event) -> str:
        """What an answer token adds, the end of an answer, or one that broke off; else nothing."""
        if isinstance(event, Token) and event.answer:
            text = event.text if self.is_open else f"{self._speaker(event)}{event.text}"
            self.is_open = True
            return text
        if isinstance(event, Answer):
            self.is_open = False
            return "\n" if self._is_streamed else f"{self._speaker(event)}{event.text}\n"
        return self.end() if isinstance(event, AnswerReset) else ""

    def end(self) -> str:
        """The end of the line, if one is open."""
        end, self.is_open = "\n" if self.is_open else "", False
        return end

    def _speaker(self, event: Token | Answer) -> str:
        return f"{event.node}: " if self._names_node else ""


class ResponsePrinter:
    """Prints the answer of a run to `stream`, and the outputs of the nodes in `show` before it.

    On a terminal it names the node that answers, and prints what each router chose. Lines that come
    while the answer is written follow it.
    """

    def __init__(self, stream: TextIO, show: Collection[str], *, is_streamed: bool) -> None:
        self.is_terminal = stream.isatty()
        self.run: Run | None = None
        """The run, once it has ended or waits."""
        self._stream = stream
        self._show = show
        self._answer = AnswerText(is_streamed=is_streamed, names_node=self.is_terminal)
        self._held_back = ""

    def handle(self, event: Event) -> None:
        """Print what an event adds."""
        self._write(self._answer.of(event))
        if isinstance(event, NodeFinished):
            self._held_back += self._finished(event)
        elif isinstance(event, RunWaiting):
            self._held_back += "".join(f"{each.path}: {each.text}\n" for each in event.questions)
        if isinstance(event, RunFinished | RunWaiting):
            self.run = event.run
        if not self._answer.is_open:
            self._print_held_back()

    def close(self) -> None:
        """End the line of an answer that broke off, and print what was held back."""
        self._write(self._answer.end())
        self._print_held_back()

    def _finished(self, event: NodeFinished) -> str:
        text = ""
        if self.is_terminal and (chosen := choice_text(event.record)):
            text = f"{event.node}: {chosen}\n"
        if event.node in self._show:
            text += f"{event.node}: {text_of(event.record.output)}\n"
        return text

    def _print_held_back(self) -> None:
        text, self._held_back = self._held_back, ""
        self._write(text)

    def _write(self, text: str) -> None:
        if text:
            write_text(text, self._stream)


def choice_text(record: Record) -> str:
    """What a node chose, such as "chose billing"; empty if it is not one that chooses."""
    if record.choices is None:
        return ""
    return f"chose {', '.join(record.choices) or 'nothing'}"
