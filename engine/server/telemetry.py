"""Request ids, the log, the metrics, and errors as responses: the outermost middleware."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from random import getrandbits
from time import perf_counter, time
from typing import Protocol, runtime_checkable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import QueueFull, TeamgraphError
from .errors import ErrorInfo, Refusal, error_json, info_of
from .http import json_response

LOGGER = logging.getLogger("teamgraph.server")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REQUEST_KEY = "teamgraph.request_id"
_CLIENT_LEFT = 499
_SERVER_ERROR = 500
_COUNTERS = 1024
_METHODS = frozenset(("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"))


class ServerMetrics:
    """The Prometheus metrics of one app, in a registry of their own."""

    def __init__(self, runs_in_progress: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter(
            "teamgraph_requests", "Requests by route.", labels, registry=self.registry
        )
        self.seconds = Histogram(
            "teamgraph_request_seconds", "Seconds to the response.", registry=self.registry
        )
        running = Gauge(
            "teamgraph_runs_in_progress", "Runs of this process.", registry=self.registry
        )
        running.set_function(runs_in_progress)
        # Of each label set one counter, found without prometheus_client's checks of the labels.
        self.counter = lru_cache(maxsize=_COUNTERS)(self.requests.labels)

    def response(self) -> Response:
        """The metrics as Prometheus text."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


@runtime_checkable
class ContinuesTraces(Protocol):
    """A listener of runs that makes spans, such as `teamgraph.tracing.OpenTelemetry`."""

    def continue_trace(self, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """Let runs that begin in this block be inside the span that the headers name."""
        ...


class TraceContext:
    """ASGI middleware: runs of a request are inside the span that its `traceparent` names."""

    def __init__(self, app: ASGIApp, tracer: ContinuesTraces) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, inside the trace of its client."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._tracer.continue_trace(Headers(scope=scope)):
            await self._app(scope, receive, send)


class Telemetry:
    """Gives each request an id, answers with its errors, counts it, and writes a line of the log.

    A client may name the id (`X-Request-Id`); it is in the response, its errors, and the log. The
    log has no texts of users, and so no messages of errors, which may quote them, unless
    `log_texts`.
    `respond` makes the response to an error.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: ServerMetrics,
        *,
        log_texts: bool,
        respond: Callable[[Scope, Exception], Response],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._log_texts = log_texts
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer it if that raises an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, error = perf_counter(), 0, None
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{getrandbits(128):032x}"
        scope[_REQUEST_KEY] = request_id

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            status = status or _CLIENT_LEFT
        except Exception as raised:  # noqa: BLE001  whatever it is, the client gets an answer
            error = raised
            if not status:
                await self._respond(scope, raised)(scope, receive, answer)
        finally:
            self._note(scope, request_id, status, perf_counter() - began, error)

    def _note(
        self, scope: Scope, request_id: str, status: int, seconds: float, error: Exception | None
    ) -> None:
        # The route, not the path: ids of sessions and users are texts of users.
        route = getattr(scope.get("route"), "path", "none")
        # Clients make up methods; each would be a metric of its own for ever.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.counter(method, route, str(status)).inc()
        self._metrics.seconds.observe(seconds)
        is_bug = error is not None and not isinstance(error, TeamgraphError)
        level = logging.ERROR if is_bug or status >= _SERVER_ERROR else logging.INFO
        if not LOGGER.isEnabledFor(level):
            return
        line: dict[str, object] = {
            "time": round(time(), 3),
            "request_id": request_id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(seconds, 6),
        }
        if error is not None:
            line["error"] = info_of(error).code
            if self._log_texts:
                line["message"] = str(error)
        LOGGER.log(level, json.dumps(line), exc_info=error if is_bug else None)


def error_response(scope: Scope, error: Exception) -> Response:
    """The response to a request that raised an error."""
    info = http_info_of(error)
    headers = error.headers if isinstance(error, Refusal | HTTPException) else None
    if isinstance(error, QueueFull):
        headers = {"Retry-After": "1"}
    form = error_json(scope["path"], info, scope[_REQUEST_KEY])
    return json_response(form, info.status, headers)


def http_info_of(error: Exception) -> ErrorInfo:
    """What a client is told of an error, one of Starlette's too."""
    return _http_info(error) if isinstance(error, HTTPException) else info_of(error)


def _http_info(error: HTTPException) -> ErrorInfo:
    """Starlette's own errors: no such path, or no such method there."""
    if error.status_code == 405:  # noqa: PLR2004
        return ErrorInfo(
            405, "method_not_allowed", "this path has no such method; see /openapi.json"
        )
    return ErrorInfo(error.status_code, "not_found", "there is no such path; see /openapi.json")
