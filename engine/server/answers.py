"""What a client that only chats is shown of a run: the answer in pieces, or a question to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import time

from ..errors import Cancelled
from ..events import RunCancelled, RunFailed, RunFinished, RunWaiting, Token
from ..records import Question, Run, SessionKey
from ..run.questions import can_wait
from ..run.runner import Runner
from .runs import LiveRun


async def answer_pieces(live: LiveRun) -> AsyncGenerator[str | Run]:
    """The answer in pieces, as it is written, and at last the run; raises what ends the run."""
    has_said = False
    async with aclosing(live.read()) as events:
        async for each in events:
            match each.event:
                case Token(answer=True, text=text):
                    has_said = True
                    yield text
                case RunWaiting(run=run):
                    yield f"\n\n{answer_of(run)}" if has_said else answer_of(run)
                    yield run
                case RunFinished(run=run):
                    yield run
                case RunFailed(error=error):
                    raise error
                case RunCancelled():
                    raise Cancelled("the run was cancelled")
                case _:
                    pass


def answer_of(run: Run) -> str:
    """What the client is shown: the answer, or the question with which the run waits."""
    return question_text(run.questions[0]) if run.questions else run.answer or ""


def question_text(question: Question) -> str:
    """A question to a person, with what may be answered."""
    return f"{question.text} ({question.hint})" if question.hint else question.text


async def waiting_run(runner: Runner, user_id: str | None, session_id: str) -> Run | None:
    """The newest run of the session, if it waits for a person."""
    if not can_wait(runner.graph):
        return None
    key = SessionKey(user_id, session_id)
    turns = await runner.store.runs(key, limit=1)
    if not turns or not turns[0].is_waiting(time()):
        return None
    return await runner.store.run(key, turns[0].run_id)
