"""Errors as HTTP responses: the status and the code of each class of error, and their JSON.

A response names what is wrong and how to go on, as every error does. What is not raised on purpose
is answered with `internal_error` and logged with its traceback; no traceback leaves the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from ..errors import (
    BudgetExceeded,
    Cancelled,
    Changed,
    Conflict,
    DefinitionError,
    InputError,
    ModelError,
    NotFound,
    QueueFull,
    RunError,
    SessionBusy,
    StoreError,
    TeamgraphError,
)
from ..messages import JSON
from ..records import Run

CODES: Mapping[type[Exception], tuple[int, str]] = {
    InputError: (400, "invalid_request"),
    DefinitionError: (400, "invalid_request"),
    NotFound: (404, "not_found"),
    QueueFull: (429, "queue_full"),
    SessionBusy: (409, "session_busy"),
    Conflict: (409, "conflict"),
    Changed: (409, "graph_changed"),
    Cancelled: (409, "run_cancelled"),
    BudgetExceeded: (402, "budget_exceeded"),
    RunError: (500, "run_failed"),
    ModelError: (502, "model_error"),
    StoreError: (503, "store_error"),
    TeamgraphError: (500, "error"),
    Exception: (500, "internal_error"),
}
"""Status and code of each class of errors; a class that is not here has those of its base."""


class Refusal(TeamgraphError):
    """A request that is refused: its status, code and headers, and the parameter that is wrong."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code
        self.headers = headers or {}


class ErrorInfo(Struct, frozen=True):
    """What a client is told of an error."""

    status: int
    code: str
    message: str
    param: str | None = None
    run: Run | None = None


def info_of(error: Exception) -> ErrorInfo:
    """What a client is told of an error; of one that is a bug, nothing but that."""
    if isinstance(error, Refusal):
        return ErrorInfo(error.status, error.code, str(error), error.param)
    status, code = next(CODES[base] for base in type(error).__mro__ if base in CODES)
    if not isinstance(error, TeamgraphError):
        text = "an internal error; please report it with the traceback in the server's log"
        return ErrorInfo(status, code, text)
    text = "; ".join([error.text_for("http"), *getattr(error, "__notes__", ())])
    return ErrorInfo(status, code, text, run=error.run if isinstance(error, RunError) else None)


def as_json(info: ErrorInfo, request_id: str | None = None) -> JSON:
    """The form of all errors of the native API; those in event streams name no request."""
    form: dict[str, JSON] = {"code": info.code, "message": info.message}
    if request_id is not None:
        form["request_id"] = request_id
    if info.run is not None:
        form |= {"run_id": info.run.run_id, "session_id": info.run.session_id}
    return {"error": form}


def openai_json(info: ErrorInfo) -> JSON:
    """The form of errors that OpenAI's clients read."""
    usual = "server_error" if info.status >= _SERVER_ERROR else "invalid_request_error"
    kind = _OPENAI_TYPES.get(info.status, usual)
    return {
        "error": {"message": info.message, "type": kind, "param": info.param, "code": info.code}
    }


_SERVER_ERROR = 500
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
FORMS: Mapping[str, Callable[[ErrorInfo], JSON]] = {"/v1/": openai_json}
"""The forms of errors below other paths, by the beginning of the path."""


def error_json(path: str, info: ErrorInfo, request_id: str) -> JSON:
    """An error in the form of the API that a path belongs to; only the native one has the id."""
    forms = [form for prefix, form in FORMS.items() if path.startswith(prefix)]
    return forms[0](info) if forms else as_json(info, request_id)
