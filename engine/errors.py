"""The hierarchy of errors: everything that teamgraph raises on purpose.

    TeamgraphError
    ├── DefinitionError      a graph, prompt or YAML file is invalid (`.problems`)
    ├── InputError           a message, id or argument passed to a run is invalid
    ├── PromptError          a template could not be rendered
    ├── ModelError           a model call failed
    │   ├── NoModelError     no model is named, or the named one is not available here
    │   ├── AnswerError      the answer is no label, not the requested JSON, or empty
    │   └── ReplayMiss       no recording fits a request (`.difference`)
    ├── ToolError            the server of a tool cannot be used, or its tool is not the locked one
    ├── UnusedRecordings     a replay did not ask for all that was recorded (`.files`)
    ├── StoreError           a store could not be read or written
    │   ├── DamagedStore     stored data was changed from outside or truncated
    │   ├── UnknownVersion   the store was written by a newer teamgraph
    │   ├── SessionBusy      another run has the lease of the session, or waits for a person
    │   │   └── QueueFull    too many turns wait for workers (`.waiting`)
    │   └── Conflict         the session changed, or was deleted, during the run
    ├── NotFound             there is no such session, run or node
    └── RunError             a run did not finish (`.run` has its records)
        ├── NodeError        a node failed
        ├── NoAnswer         every node that could answer was skipped, or a loop reached its `max`
        ├── BudgetExceeded   a limit of the `budget` is reached
        ├── Cancelled        somebody else cancelled the run, or its server stopped
        ├── Expired          a question to a person was not answered in time
        ├── StateConflict    two nodes that ran at the same time changed one key of the state
        └── Changed          the graph has changed since the run that is resumed began

Details are attributes; the text is one lower-case sentence that names the thing, says what is
wrong and how to go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

    from .records import Run


Severity: TypeAlias = Literal["error", "warning", "note"]
KeyPath: TypeAlias = tuple[str | int, ...]
"""The keys and list indexes that lead from the root of a document to a value in it."""


class NoSessionWarning(UserWarning):
    """Warns that a run without `session_id` has no earlier turns, although its graph reads them."""


class BlockedLoopWarning(UserWarning):
    """Warns that a synchronous method blocks the event loop that it is called in."""


Reader: TypeAlias = Literal["python", "terminal", "http"]
"""Where somebody reads an error."""


class Advice(NamedTuple):
    """How to go on after an error, for who reads it in Python, at a terminal, or over HTTP."""

    python: str
    terminal: str
    http: str


class TeamgraphError(Exception):
    """Base class of all errors that teamgraph raises on purpose.

    The text says how to go on; where that depends on where it is read, it is said for Python.
    `fact` is the text without such `advice`, which is None where there is none.
    """

    def __init__(self, text: str = "", *, advice: Advice | None = None) -> None:
        super().__init__(text if advice is None else f"{text}; {advice.python}")
        self.fact = text
        self.advice = advice

    def text_for(self, reader: Literal["python", "terminal", "http"]) -> str:
        """The text for who reads it in Python, at a terminal, or over HTTP."""
        if self.advice is None:
            return str(self)
        return f"{self.fact}; {getattr(self.advice, reader)}"


class Problem(Struct, frozen=True):
    """One error, warning or note about a definition, with its place.

    `code` is stable (`G...` graph, `Y...` YAML, `P...` prompt). `line` and `column` count from 1,
    columns in code points; they are None if there is no file. `path` are the keys that lead to
    the place in the graph file, such as `("nodes", "router", "routes")`. `suggestion` is the word
    that was probably meant, or None. `on_key` is true if the key itself is wrong, not its value.
    """

    code: str
    message: str
    severity: Severity = "error"
    graph: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    path: KeyPath = ()
    suggestion: str | None = None
    on_key: bool = False

    def __str__(self) -> str:
        named = self.file or ".".join(str(part) for part in self.path) or None
        where = ":".join(str(part) for part in (named, self.line, self.column) if part is not None)
        mark = "" if self.severity == "error" else f"{self.severity}: "
        text = f"{mark}{self.message}"
        if where and not text.startswith(f"{where}: "):
            text = f"{where}: {text}"
        return f"{text}; did you mean {self.suggestion!r}?" if self.suggestion else text


def in_reading_order(problems: Sequence[Problem]) -> list[Problem]:
    """Sort by file, line and column and remove duplicates; without places the order stays."""
    first: dict[str | None, int] = {}
    for problem in problems:
        first.setdefault(problem.file, len(first))
    return sorted(
        dict.fromkeys(problems),
        key=lambda each: (first[each.file], each.line or 0, each.column or 0),
    )


class DefinitionError(TeamgraphError, ValueError):
    """A graph, prompt or YAML file is invalid; `problems` has all problems in reading order.

    The text has them without the notes. It is a `ValueError`, so that pydantic collects what
    nested definitions raise.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        lines = [str(problem) for problem in problems if problem.severity != "note"]
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


class InputError(TeamgraphError, ValueError):
    """An argument of a run is invalid: an empty message, an empty id, a wrong type."""


class PromptError(TeamgraphError):
    """A template could not be rendered; `template` and `line` say where."""

    def __init__(self, message: str, *, template: str, line: int | None = None) -> None:
        super().__init__(f"{template}:{line}: {message}" if line else f"{template}: {message}")
        self.template = template
        self.line = line


class ModelError(TeamgraphError):
    """A model call failed.

    `retryable` says whether the same request may succeed later; `retry_after` is the number of
    seconds that the provider asked to wait; `status` the HTTP status, if there was one;
    `interrupted` is true if part of the answer had already arrived.
    """

    def __init__(
        self,
        message: str,
        *,
        model: str,
        retryable: bool = False,
        status: int | None = None,
        retry_after: float | None = None,
        interrupted: bool = False,
    ) -> None:
        super().__init__(message)
        self.model = model
        self.retryable = retryable
        self.status = status
        self.retry_after = retry_after
        self.interrupted = interrupted


class NoModelError(ModelError):
    """No model is named, or the named one is not available on this machine."""


class AnswerError(ModelError):
    """A model's answer is invalid: no label, not the requested JSON, or empty."""

    def __init__(self, message: str, *, model: str, retryable: bool = True) -> None:
        super().__init__(message, model=model, retryable=retryable)


class ReplayMiss(ModelError):
    """A replayed run asked for what was not recorded.

    `difference`, which is also a note, is a unified diff from the request of `nearest`, the file
    most like it.
    """

    def __init__(self, folder: Path, nearest: Path, difference: str, *, model: str) -> None:
        super().__init__(
            f"{folder} has no recording of this request of model {model}, and {nearest.name} is "
            "the nearest; if the request is right, record the run again (--record, or pytest "
            "--models-record)",
            model=model,
        )
        self.add_note(difference)
        self.nearest = nearest
        self.difference = difference


class UnusedRecordings(TeamgraphError):
    """A replay came to its end, and some replies of the recordings `files` were never given."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        names = listed(file.name for file in files)
        text = f"{folder} has recordings that nothing asked for: {names}; delete them, or record "
        super().__init__(f"{text}the run again in an empty folder")
        self.files = tuple(files)


class ToolError(TeamgraphError):
    """The MCP server of a tool cannot be started, or its tool is not the one in the lock file."""


class StoreError(TeamgraphError):
    """A store could not be read or written."""


class DamagedStore(StoreError):
    """Stored data was changed from outside or truncated; it is never repaired silently."""


class UnknownVersion(StoreError):
    """The store was written by a newer version of teamgraph."""


class SessionBusy(StoreError):
    """Another run has the session, and the policy is not to wait for it, or it waits itself."""


class QueueFull(SessionBusy):
    """More turns wait for workers than may; `waiting` is how many may. Submit it again later."""

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"{waiting} turns wait in the queue, and no more are taken; submit this one again "
            "later, or start more workers"
        )
        self.waiting = waiting


class Conflict(StoreError):
    """The session changed, or was deleted, while the run was in progress."""


class NotFound(TeamgraphError, LookupError):
    """There is no such session, run, node or prompt."""


class RunError(TeamgraphError):
    """A run did not finish; `run` has its records, and `run.run_id` resumes it."""

    def __init__(
        self, message: str, *, run: Run | None = None, advice: Advice | None = None
    ) -> None:
        super().__init__(message, advice=advice)
        self.run = run


class NodeError(RunError):
    """A node failed after its last attempt; `__cause__` is the error that it raised."""

    def __init__(self, node_id: str, reason: str, *, run: Run | None = None) -> None:
        super().__init__(f"node {node_id!r} failed: {reason}", run=run)
        self.node_id = node_id
        self.reason = reason


class NoAnswer(RunError):
    """Every node that could answer was skipped, or a loop came to its `max` (`on_max: fail`)."""


class BudgetExceeded(RunError):
    """A limit of the `budget` is reached: `name` (`calls`, `tokens` or `usd`), of `per`.

    `spent` and `limit` are in its unit; `per` is `run`, `session` or `day`.
    """

    def __init__(
        self,
        message: str,
        *,
        per: str = "run",
        name: str = "calls",
        spent: float = 0,
        limit: float = 0,
        advice: Advice | None = None,
    ) -> None:
        super().__init__(message, advice=advice)
        self.per = per
        self.name = name
        self.spent = spent
        self.limit = limit


class Cancelled(RunError):
    """The run was cancelled by somebody else (`Runner.cancel`), or the server that ran it stops."""


class Expired(RunError):
    """A question to a person was not answered in time, and it has no default."""


class StateConflict(RunError):
    """Two nodes that run at the same time changed one key of the session's state differently."""

    def __init__(self, key: str, nodes: tuple[str, str]) -> None:
        first, second = nodes
        super().__init__(
            f"session.state: nodes {first!r} and {second!r} run at the same time and both change "
            f"the key {key!r}, and the changes cannot be merged; {first!r} came first. Resume the "
            f"run, which repeats only {second!r}, or add `needs: {first}` to it"
        )
        self.key = key
        self.nodes = nodes


class Changed(RunError):
    """The graph has changed since the run that is resumed began; `differences` says how."""

    def __init__(self, differences: Sequence[str], *, run: Run | None = None) -> None:
        changes = "\n".join(differences).replace("\n", "\n  ")
        super().__init__(
            "the graph has changed since this run began; undo the change, or pass "
            f"`reuse_unchanged` to run the changed nodes and all after them again:\n  {changes}",
            run=run,
        )
        self.differences = tuple(differences)


def closest(word: str, known: Iterable[str]) -> str | None:
    """The word of `known` that is most similar to `word`, None if none is similar enough."""
    names = known if isinstance(known, Set | Mapping) else set(known)
    if len(names) > _COMPARED or len(word) > _COMPARED:
        names = {edit for edit in _one_edit_away(word) if edit in names}
    near = get_close_matches(word, [name for name in names if name != word], n=1, cutoff=0.6)
    return near[0] if near else None


_COMPARED = 200
"""More words than these are too slow to compare by similarity: only those one edit away count."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_"


def _one_edit_away(word: str) -> set[str]:
    """The words that one letter more, less or other, or two swapped, make of a short one."""
    parts = [(word[:at], word[at:]) for at in range(len(word) + 1)] if len(word) < _COMPARED else []
    swapped = {left + right[1::-1] + right[2:] for left, right in parts}
    shorter = {left + right[1:] for left, right in parts}
    other = {left + letter + right[1:] for left, right in parts for letter in _LETTERS}
    return swapped | shorter | other | {left + x + right for left, right in parts for x in _LETTERS}


def listed(words: Iterable[str], at_most: int = 12) -> str:
    """The words as a comma-separated list; the first `at_most` and how many more."""
    named = list(words)
    more = [f"and {len(named) - at_most} more"] if len(named) > at_most else []
    return ", ".join([*named[:at_most], *more])
