"""Questions of a run that waits: read the answers at a terminal or from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from ..errors import InputError
from ..messages import JSON
from ..records import CONFIRM_WORDS, Question
from .output import Style, local_time, one_line, print_note


def can_ask() -> bool:
    """Whether there is a person at the terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_questions(questions: Sequence[Question]) -> dict[str, JSON]:
    """The answers by path, read at the terminal; an empty line leaves a question open.

    Raises `EOFError` at the end of the input.
    """
    answers: dict[str, JSON] = {}
    for question in questions:
        print_note(f"{question.path} asks{_assigned(question)}:\n{question.text}")
        written = input(f"{question.hint}> ").strip()
        if not written:
            continue
        answers[question.path] = question.parse(written)
        if question.tool is not None and written == CONFIRM_WORDS[1]:
            reason = input("reason> ").strip()
            answers[question.path] = {"approve": False, "reason": reason}
    return answers


def parse_answers(settings: Sequence[str], questions: Sequence[Question]) -> dict[str, JSON]:
    """The answers of `PATH=ANSWER` words; raises `InputError` for another form."""
    asked = {question.path: question for question in questions}
    answers: dict[str, JSON] = {}
    for setting in settings:
        path, sign, written = setting.partition("=")
        if not path or not sign:
            raise InputError(f"{setting!r}: write an answer as PATH=ANSWER, such as approve=yes")
        question = asked.get(path)
        answers[path] = written if question is None else question.parse(written)
    return answers


def question_lines(questions: Sequence[Question]) -> Mapping[str, str]:
    """The questions and their responses as lines of a record."""
    lines: dict[str, str] = {}
    for question in questions:
        lines[f"asks {question.path}"] = asked_text(question) + _assigned(question)
        if (response := question.response) is not None:
            value = response.value
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            by = f" by {response.user_id}" if response.user_id else ""
            by = " by default" if response.is_default else by
            lines[f"answer {question.path}"] = f"{text} ({local_time(response.given)}{by})"
    return lines


def note_waiting(questions: Sequence[Question], command: str) -> None:
    """Print what the run waits for, and the command that answers it."""
    asked = "\n".join(f"  {each.path}: {asked_text(each)}" for each in questions)
    print_note(f"the run waits for an answer:\n{asked}\nanswer it: {command}", Style.WARNING)


def asked_text(question: Question) -> str:
    """The question in one line, with the possible answers if there are only some."""
    options = f" [{', '.join(question.options)}]" if question.options else ""
    return f"{one_line(question.text)}{options}"


def _assigned(question: Question) -> str:
    return f" ({question.assign_to})" if question.assign_to else ""
