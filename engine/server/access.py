"""Who may call the server: hosts, origins, the token, logins of one's own, and cookies.

`Access` is an ASGI middleware. It lets a request pass if its `Host` is one that this server is
called by (against DNS rebinding), if a page that sends it is of an allowed origin, and if its
client is known: by the token, by the cookie that a browser got for the token, or by a function of
the application. A write with a cookie needs the CSRF token that belongs to it, in a header, or as a
field of a form.
"""

from __future__ import annotations

import hmac
import inspect
import re
import secrets
from collections.abc import Awaitable, Callable, Collection
from hashlib import sha256
from typing import NamedTuple, TypeAlias, cast
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import Refusal

Auth: TypeAlias = Callable[[Request], "str | Awaitable[str | None] | None"]
"""Finds the user of a request: their id, or None if it may not pass."""
CSRF = "x-csrf-token"
CSRF_FIELD = "csrf_token"
"""The field of a form that has what scripts send as the header `X-CSRF-Token`."""
OPEN = frozenset(("/healthz", "/readyz", "/login"))
"""Paths that need no login, beside those of the files that pages are made of."""
STATIC = "/static/"
FORM = "application/x-www-form-urlencoded"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_READS = frozenset(("GET", "HEAD", "OPTIONS"))
_KEY = "teamgraph.caller"
_PORT = re.compile(r":([0-9]{1,5})$")


class Caller(NamedTuple):
    """Whom a request comes from. With `is_fixed` the application's `auth` said so.

    Who has the token may act for every user: then the request names the user.
    """

    user_id: str | None = None
    is_fixed: bool = False

    def user(self, named: str | None) -> str | None:
        """The user whose data the request is about; what it names counts only with the token."""
        return self.user_id if self.is_fixed else named


def caller_of(scope: Scope) -> Caller:
    """Whom a request that was let pass comes from."""
    return cast("Caller", scope.get(_KEY, _NOBODY))


def caller(request: HTTPConnection) -> Caller:
    """As `caller_of`."""
    return caller_of(request.scope)


_NOBODY = Caller()


class Access:
    """Lets requests pass that may; any other raises `Refusal`.

    `token` None is no token. `hosts` are names with or without a port, `origins` are those of
    pages elsewhere that may use the API (CORS).
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        auth: Auth | None,
        hosts: Collection[str],
        origins: Collection[str],
        read_only: bool,
    ) -> None:
        self._app = app
        self._token = token
        self._auth = auth
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origins)
        self._read_only = read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; raises `Refusal`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        self._check_host(headers)
        origin = self._checked_origin(scope, headers)
        if origin is not None:
            if scope["method"] == "OPTIONS":
                await _answer_preflight(send, origin)
                return
            send = _with_cors(send, origin)
        path = route_path(scope)
        if path not in OPEN and not path.startswith(STATIC):
            scope[_KEY], login = await self._caller(scope, receive, headers)
            if login is not None and scope["method"] not in _READS:
                receive = await self._with_csrf_token(login, headers, receive)
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if "*" not in self._hosts and not {host, name} & self._hosts:
            raise Refusal(
                421,
                "unknown_host",
                "this server is not called by that name; allow it with --allow-host, or "
                "hosts=[...]",
            )

    def _checked_origin(self, scope: Scope, headers: Headers) -> str | None:
        """The origin of a page elsewhere that may use the API, None for all other clients."""
        origin = headers.get("origin")
        if origin in self._origins:
            return origin
        host = headers.get("host", "").lower()
        is_own = origin is None or origin.lower() in (f"http://{host}", f"https://{host}")
        is_foreign_site = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if scope["method"] not in _READS and (not is_own or (is_foreign_site and origin is None)):
            raise Refusal(
                403,
                "foreign_origin",
                "a page of another origin may not write here; allow it with --cors, or "
                "origins=[...]",
            )
        return None

    async def _caller(
        self, scope: Scope, receive: Receive, headers: Headers
    ) -> tuple[Caller, str | None]:
        """Whom a request comes from, and the cookie if that is what says so."""
        is_write = scope["method"] not in _READS
        if self._read_only and is_write and route_path(scope) not in _READS_BY_POST:
            raise Refusal(
                403, "read_only", "this server is read-only; start it without --read-only"
            )
        if self._auth is not None:
            return await self._authenticated(self._auth, Request(scope, receive)), None
        if self._token is None or self._has_token(headers):
            return _NOBODY, None
        if (login := login_of(headers, self._token)) is None:
            raise Refusal(
                401,
                "unauthorized",
                "this server needs its token, as `Authorization: Bearer TOKEN`; it was printed "
                "when the server started, or is set in TEAMGRAPH_TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        return _NOBODY, login

    async def _with_csrf_token(self, login: str, headers: Headers, receive: Receive) -> Receive:
        """The `receive` of a write that has the CSRF token of its cookie; raises `Refusal`."""
        given = headers.get(CSRF, "")
        if not given and headers.get("content-type", "").startswith(FORM):
            body, receive = await _read_ahead(receive)
            given = parse_qs(body.decode(errors="replace")).get(CSRF_FIELD, [""])[0]
        if not _is_equal(given, csrf_token(login, self._token or "")):
            raise Refusal(
                403,
                "no_csrf_token",
                "a write with the cookie needs the header X-CSRF-Token (GET /api/login has it), or "
                f"in a form the field {CSRF_FIELD}; load the page again",
            )
        return receive

    async def _authenticated(self, auth: Auth, request: Request) -> Caller:
        found = auth(request)
        user_id = await found if inspect.isawaitable(found) else found
        if user_id is None:
            raise Refusal(401, "unauthorized", "you are not logged in; log in and try again")
        if not isinstance(user_id, str) or not user_id:  # pyright: ignore[reportUnnecessaryIsInstance]  the function may not be type-checked
            raise TypeError(
                f"auth: {getattr(auth, '__qualname__', auth)!r} gave a {type(user_id).__name__}; "
                "it must give the user's id, a text that is not empty, or None"
            )
        return Caller(user_id, is_fixed=True)

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and has_token(token, self._token or "")


_READS_BY_POST = frozenset(("/api/prompts/render",))
"""Paths below which a POST changes nothing."""


def route_path(scope: Scope) -> str:
    """The path of a request within the app, which may be mounted into another one."""
    return cast("str", scope["path"]).removeprefix(scope.get("root_path", ""))


async def _read_ahead(receive: Receive) -> tuple[bytes, Receive]:
    """The body of a request, and a `receive` that gives it once more."""
    parts, has_more = list[bytes](), True
    while has_more:
        message = await receive()
        parts.append(message.get("body", b""))
        has_more = message.get("more_body", False)
    body = b"".join(parts)
    left: list[Message] = [{"type": "http.request", "body": body}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return body, again


def new_login(token: str) -> str:
    """The cookie of a browser that has shown the token: a random id, signed with the token."""
    login = secrets.token_urlsafe(16)
    return f"{login}.{_signed(login, token)}"


def cookie_name(headers: Headers) -> str:
    """The name of the cookie, with the port: a browser has one jar for all ports of a host."""
    port = _PORT.search(headers.get("host", ""))
    return f"teamgraph_login_{port[1]}" if port else "teamgraph_login"


def login_of(headers: Headers, token: str) -> str | None:
    """The cookie of a request, None if it has no valid one."""
    cookie = cookie_parser(headers.get("cookie", "")).get(cookie_name(headers), "")
    login, _, signature = cookie.rpartition(".")
    return cookie if _is_equal(signature, _signed(login, token)) else None


def csrf_token(login: str, token: str) -> str:
    """The token that writes with this cookie need; no page of another origin can read it."""
    return _signed(f"csrf {login}", token)


def _signed(text: str, token: str) -> str:
    return hmac.new(token.encode(), text.encode(), sha256).hexdigest()


def has_token(given: str, token: str) -> bool:
    """Whether a client has shown the token."""
    return _is_equal(given.strip(), token)


def _is_equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


async def _answer_preflight(send: Send, origin: str) -> None:
    headers = {
        **_cors(origin),
        "access-control-allow-methods": "GET, POST, PATCH, DELETE",
        "access-control-allow-headers": "authorization, content-type, last-event-id, x-request-id, "
        "x-session-id",
        "access-control-max-age": "600",
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 204, "headers": raw})
    await send({"type": "http.response.body", "body": b""})


def _cors(origin: str) -> dict[str, str]:
    return {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "retry-after, x-request-id, x-run-id, x-session-id, "
        "x-teamgraph-ignored",
        "vary": "Origin",
    }


def _with_cors(send: Send, origin: str) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = [(name.encode(), value.encode()) for name, value in _cors(origin).items()]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return add
