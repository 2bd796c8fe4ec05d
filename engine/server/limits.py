"""`Limits` of requests, and the ASGI middleware that refuses what exceeds them."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from msgspec import Struct
from pydantic import Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..run.node_execution import Timeouts, within_limit
from ..validation import Declared
from .access import caller_of
from .errors import Refusal


class Limits(Declared):
    """What a client may send, and how much of it at once.

    A request that exceeds `body` or `headers` is answered with 413 or 431, one whose body does not
    arrive in time with 408. `per_minute` and `at_once` count for each user (for clients without a
    user: for each address) and are answered with 429 and `Retry-After`. 0 is no limit. A connection
    is closed if no request comes for `idle` seconds. Of each run the newest `events` are kept, and
    as many of all runs that have ended, for clients that come back.
    """

    body: int = Field(default=8_000_000, ge=0, description="bytes")
    headers: int = Field(default=8_192, ge=0, description="bytes")
    seconds: float = Field(default=20.0, gt=0, description="seconds")
    idle: float = Field(default=10.0, gt=0, description="seconds")
    per_minute: int = Field(default=600, ge=0, description="requests")
    at_once: int = Field(default=64, ge=0, description="requests")
    events: int = Field(default=10_000, gt=0, description="events")


class Allowance(Struct):
    """Requests that a user has left: a bucket that fills up with time, and those in progress."""

    left: float
    seen: float
    running: int = 0


class Limiter:
    """Refuses requests that are too large, too slow or too many."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._allowances: dict[str, Allowance] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; raises `Refusal`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        allowance = self._take(scope)
        allowance.running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            allowance.running -= 1

    def _take(self, scope: Scope) -> Allowance:
        """Count a request of its user."""
        limits, now = self._limits, monotonic()
        who = caller_of(scope).user_id
        client = scope.get("client")
        name = f"user {who}" if who is not None else f"address {client[0] if client else ''}"
        if (allowance := self._allowances.get(name)) is None:
            self._forget(now)
            allowance = self._allowances[name] = Allowance(float(limits.per_minute), now)
        if limits.at_once and allowance.running >= limits.at_once:
            raise _too_many(f"{limits.at_once} requests of yours are in progress", 1)
        if limits.per_minute:
            gained = (now - allowance.seen) * limits.per_minute / 60
            allowance.left = min(float(limits.per_minute), allowance.left + gained)
            allowance.seen = now
            if allowance.left < 1:
                wait = (1 - allowance.left) * 60 / limits.per_minute
                raise _too_many(f"you have sent {limits.per_minute} requests in a minute", wait)
            allowance.left -= 1
        return allowance

    def _forget(self, now: float) -> None:
        """Forget users who have sent nothing for a minute, so that their bucket is full."""
        if len(self._allowances) % _FORGET_EVERY == _FORGET_EVERY - 1:
            self._allowances = {
                name: each
                for name, each in self._allowances.items()
                if each.running or now - each.seen < 60  # noqa: PLR2004  the minute of `per_minute`
            }


_FORGET_EVERY = 1000


class BodyLimiter:
    """Refuses requests with too large headers, and those whose body is too large or too slow."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its body limited; raises `Refusal`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits = self._limits
        size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if limits.headers and size > limits.headers:
            raise Refusal(
                431,
                "headers_too_large",
                f"the headers have {size} bytes; send up to {limits.headers}",
            )
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if limits.body and declared.isdigit() and int(declared) > limits.body:
            raise _too_large(limits.body)
        await self._app(scope, _LimitedBody(receive, limits), send)


class _LimitedBody:
    """The `receive` of a request: counts the bytes of its body, and waits for it for so long."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        self._size = 0
        self._is_complete = False
        self._began = monotonic()

    async def __call__(self) -> Message:
        """The next message; raises `Refusal`."""
        if self._is_complete:  # what follows is that the client leaves
            return await self._receive()
        left = max(0.001, self._began + self._limits.seconds - monotonic())
        timeouts = Timeouts()  # a body that is there already takes no timer
        try:
            message = await within_limit(self._next(), timeouts, left)
        except TimeoutError as error:
            raise Refusal(
                408,
                "too_slow",
                f"the body did not arrive within {self._limits.seconds:g} seconds; send it at once",
            ) from error
        finally:
            timeouts.close()
        self._size += len(message.get("body", b""))
        if self._limits.body and self._size > self._limits.body:
            raise _too_large(self._limits.body)
        self._is_complete = not message.get("more_body", False)
        return message

    async def _next(self) -> Message:
        return await self._receive()


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "body_too_large", f"the body is too large; send up to {limit} bytes")


def _too_many(reason: str, wait: float) -> Refusal:
    seconds = max(1, round(wait + 0.5))
    headers: Mapping[str, str] = {"Retry-After": str(seconds)}
    return Refusal(429, "too_many_requests", f"{reason}; try again in {seconds} s", headers)
