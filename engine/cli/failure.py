"""An error at the command line: one readable block on standard error, and an exit code.

0 done; 1 it did not hold (a run failed, nothing was found); 2 it could not be tried (usage, a
broken definition, no model, a store that cannot be read or written).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import (
    Changed,
    Conflict,
    DefinitionError,
    InputError,
    ModelError,
    NoModelError,
    Problem,
    RunError,
    SessionBusy,
    StoreError,
    TeamgraphError,
)
from .screen import Tone, note

NOT_HELD = 1
NOT_TRIED = 2


def exit_code(error: TeamgraphError) -> int:
    """What the shell is told of an error."""
    if isinstance(error, Changed):
        return NOT_TRIED
    if isinstance(error, RunError):
        return NOT_TRIED if any(_is_out_of_reach(cause) for cause in _causes(error)) else NOT_HELD
    tried = not isinstance(error, DefinitionError | InputError) and not _is_out_of_reach(error)
    return NOT_HELD if tried else NOT_TRIED


def report(error: TeamgraphError) -> None:
    """Say on standard error what is wrong."""
    if not isinstance(error, DefinitionError):
        note("\n  ".join([f"error: {error}", *getattr(error, "__notes__", ())]), Tone.BAD)
        return
    for problem in error.problems:
        if problem.severity == "note":
            continue
        note(told(problem), Tone.BAD if problem.severity == "error" else Tone.WARNING)


def report_fault(error: Exception) -> None:
    """Say that something went wrong which nobody foresaw."""
    note(
        f"error: a fault of teamgraph or of a package that it uses: {type(error).__name__}: "
        f"{error}; --debug shows where it arose",
        Tone.BAD,
    )


def told(problem: Problem) -> str:
    """A problem as one line: place, severity, what is wrong, what was meant, and its code."""
    place = ":".join(
        str(part) for part in (problem.file, problem.line, problem.column) if part is not None
    )
    place = place or ".".join(str(part) for part in problem.path)
    meant = f"; did you mean {problem.suggestion!r}?" if problem.suggestion else ""
    text = f"{problem.severity}: {problem.message}{meant} [{problem.code}]"
    return f"{place}: {text}" if place else text


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_out_of_reach(error: BaseException) -> bool:
    """Whether a model or a store could not be had at all, so that nothing was tried."""
    if isinstance(error, ModelError):
        unheard = error.retryable and error.status is None and not error.interrupted
        return isinstance(error, NoModelError) or (unheard and type(error) is ModelError)
    return isinstance(error, StoreError) and not isinstance(error, SessionBusy | Conflict)
