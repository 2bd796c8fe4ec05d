"""The events of a run, as `Runner.stream` gives them; `teamgraph.Event` is any of them."""

from __future__ import annotations

from .engine.events import (
    Answer,
    AnswerReset,
    ModelAnswered,
    NodeFailed,
    NodeFinished,
    NodeRetried,
    NodeSkipped,
    NodeStarted,
    PromptRendered,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    RunWaiting,
    Token,
    ToolAnswered,
    ToolCalled,
)

__all__ = [
    "Answer",
    "AnswerReset",
    "ModelAnswered",
    "NodeFailed",
    "NodeFinished",
    "NodeRetried",
    "NodeSkipped",
    "NodeStarted",
    "PromptRendered",
    "RunCancelled",
    "RunFailed",
    "RunFinished",
    "RunStarted",
    "RunWaiting",
    "Token",
    "ToolAnswered",
    "ToolCalled",
]
