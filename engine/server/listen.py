"""Run an app with uvicorn: bound before it starts, stopped gracefully by a signal."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from ..errors import InputError
from .limits import Limits


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection on which no whole request head arrives in time.

    uvicorn itself waits for ever for the rest of one, and for the first byte.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _close_if_idle(self) -> None:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # uvicorn begins with None
        if cycle is None or cycle.response_complete:
            self.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one. Raises `InputError` if it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot listen on {host} port {port}: {reason}; take another one with --host and "
            "--port (0: any free port)"
        ) from error
    # Connections inherit it. asyncio does not set it, as it only knows sockets that name their
    # protocol; without it a body waits 40 ms until the client has acknowledged the head.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def address_of(bound: socket.socket) -> str:
    """The URL of a server on this socket."""
    host, port = cast("tuple[str, int]", bound.getsockname()[:2])
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_for(app: Starlette, *, limits: Limits, grace: float) -> uvicorn.Server:
    """The uvicorn server of an app: `await server.serve(sockets=[bound])` serves until a signal.

    Then requests in progress have `grace` seconds to end.
    """
    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=cast("int", limits.idle),
        timeout_graceful_shutdown=max(1, round(grace)),
        h11_max_incomplete_event_size=max(2 * limits.headers, 16_384),
    )
    return uvicorn.Server(config)
