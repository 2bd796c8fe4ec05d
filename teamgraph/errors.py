"""The errors that teamgraph raises on purpose; their tree is drawn in `TeamgraphError`."""

from __future__ import annotations

from .engine.errors import (
    AnswerError,
    BudgetExceeded,
    Changed,
    Conflict,
    DamagedStore,
    DefinitionError,
    InputError,
    ModelError,
    NoAnswer,
    NodeError,
    NoModelError,
    NotFound,
    Problem,
    PromptError,
    RunError,
    SessionBusy,
    StateConflict,
    StoreError,
    TeamgraphError,
    UnknownVersion,
)

__all__ = [
    "AnswerError",
    "BudgetExceeded",
    "Changed",
    "Conflict",
    "DamagedStore",
    "DefinitionError",
    "InputError",
    "ModelError",
    "NoAnswer",
    "NoModelError",
    "NodeError",
    "NotFound",
    "Problem",
    "PromptError",
    "RunError",
    "SessionBusy",
    "StateConflict",
    "StoreError",
    "TeamgraphError",
    "UnknownVersion",
]
