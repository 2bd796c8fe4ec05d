"""What went wrong at a provider, in words that help: one `ModelError` for every way to fail.

litellm tells faults apart by class, status and text, in that order of reliability and each with
gaps; this is the one place that knows them. It looks at attributes only and imports nothing.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime

from engine.errors import ModelError, NoModelError

_KEY_LIKE = r"\b(?:sk|pk|rk|key|gsk|xai|AIza)[-_A-Za-z0-9*.]{12,}"
_PREFIX = r"^(?:litellm\.)?\w*(?:Error|Exception|Timeout)\w*(?: Error)?: ?|^\w+Exception - "
_DETAIL = 200
_NOISE = (" Original exception", ". To drop these", ": <")
_HIDDEN = "[key]"

_SAY = {
    400: "the provider refused the request",
    401: "the provider refused the key",
    403: "the provider does not allow this key to use it",
    404: "the provider knows no such model",
    408: "the provider did not answer in time",
    413: "the prompt is too large for the provider",
    422: "the provider refused the request",
    429: "the provider is asked too often, or the quota is used up",
    529: "the provider is overloaded",
}
_DO = {
    400: "change the prompt or the node's model parameters",
    403: "use a key of an account that may, or name another model",
    404: "look up its id at the provider; ids are written as provider/model",
    408: "ask again, or raise the node's timeout",
    413: "shorten it (fewer runs of history, shorter texts) or name another model",
    422: "change the prompt or the node's model parameters",
    429: "ask again later, or lower max_parallel",
}
_RETRYABLE = frozenset((408, 409, 425, 429))
_SERVER_ERROR = 500


def explain(
    error: Exception, *, model: str, secrets: Iterable[str] = (), missing: Iterable[str] = ()
) -> ModelError:
    """The error to raise for one of litellm's; `missing` are key variables that are not set.

    `secrets` are removed from all texts, also from those of `error` and its causes, which end up
    in tracebacks.
    """
    hide = [secret for secret in secrets if secret]
    for one in _causes(error):
        _scrub(one, hide)
    status, text = _status(error), _scrubbed(str(error), hide)
    named = f"model {model}:"
    if "LLM Provider NOT provided" in text:
        return NoModelError(
            f"{named} no provider of this name is known; write the id as provider/model, such as "
            "openai/gpt-5-mini, or use local or echo",
            model=model,
        )
    if missing and _came_from_here(error) and "missing" in text.lower():
        return NoModelError(
            f"{named} there is no key for it; set {' or '.join(missing)}, name the variable that "
            "holds it with api_key_env, or use another model (local, echo)",
            model=model,
        )
    what, retryable, told = _what(error, status, text)
    return ModelError(
        f"{named} {what}",
        model=model,
        retryable=retryable,
        status=status if told else None,
        retry_after=_retry_after(error),
    )


def _what(error: Exception, status: int | None, text: str) -> tuple[str, bool, bool]:
    """What to say, whether to ask again, and whether the status is the provider's own."""
    name = type(error).__name__
    detail = _detail(text)
    if name == "ContextWindowExceededError":
        how = "shorten it (fewer runs of history, shorter texts) or name a model that reads more"
        return f"the prompt is longer than the model reads ({detail}); {how}", False, True
    if name == "MidStreamFallbackError":
        return f"the answer broke off ({detail}); ask again", True, False
    if "Connection error" in text or name == "APIConnectionError":
        how = "look at the network and at api_base, then ask again"
        return f"the provider cannot be reached, or it hung up; {how}", True, False
    if status is None or (status >= _SERVER_ERROR and _came_from_here(error)):
        return f"it could not be asked ({detail}); look at its parameters", False, False
    retryable = status in _RETRYABLE or status >= _SERVER_ERROR
    return _by_status(status, detail), retryable, not _came_from_here(error)


def _by_status(status: int, detail: str) -> str:
    what = _SAY.get(status, "the provider failed")
    how = _DO.get(status, "ask again later")
    if status == 401:  # noqa: PLR2004 - what a provider says about a key may contain it
        return f"{what} (401); set the provider's key variable, or api_key_env, to a valid key"
    return f"{what} ({status}: {detail}); {how}"


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _headers(error: Exception) -> Mapping[str, str]:
    """What the provider sent before its answer; empty if it never answered."""
    headers: Mapping[str, str] | None = getattr(error, "litellm_response_headers", None)
    return headers or {}


def _came_from_here(error: Exception) -> bool:
    """Whether the error was made on this machine: no answer of a provider is behind it."""
    return not _headers(error)


def _retry_after(error: Exception) -> float | None:
    """Seconds to wait, from a number of seconds or from a date."""
    text = _headers(error).get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _until(text)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(date: str) -> float | None:
    """Seconds from now to a date as HTTP writes it; None if it is none."""
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except ValueError:
        return None


def _detail(text: str) -> str:
    """The first line that says something, without the names of exceptions before it."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    for noise in _NOISE:
        line = line.partition(noise)[0]
    while (shorter := re.sub(_PREFIX, "", line)) != line:
        line = shorter
    line = line.rstrip(" .")
    return line if len(line) <= _DETAIL else f"{line[:_DETAIL]}..."


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]


def _scrub(error: BaseException, secrets: list[str]) -> None:
    error.args = tuple(
        _scrubbed(part, secrets) if isinstance(part, str) else part for part in error.args
    )
    if isinstance(message := getattr(error, "message", None), str):
        error.message = _scrubbed(message, secrets)  # type: ignore[attr-defined]  # litellm's own


def _scrubbed(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return re.sub(_KEY_LIKE, _HIDDEN, text)
