"""The login of a browser: a form that takes the token, or an address that is good once."""

from __future__ import annotations

import re
import secrets
from time import monotonic
from typing import cast

from pydantic import Field
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ..access import cookie_name, csrf_token, has_token, login_of, new_login
from ..http import SAFE, Body, json_response
from .page import read_form, read_query, show

GOOD_FOR = 600.0
"""Seconds in which the address of `login_address` can be opened."""
_OWN_PATH = re.compile(r"/(?:[^/\\].*)?")
_WRONG = "That is not the token of this server. It changes at each start unless it is set."
_USED = "This address was opened before, or is too old. Log in with the token."


class LoginQuery(Body):
    """Where a browser goes after the login, and the code of an address that is good once."""

    next: str = Field("/")
    code: str | None = None


class LoginForm(LoginQuery):
    """The token that was typed."""

    token: str = ""


def login_path(app: Starlette) -> str:
    """The path that logs in the browser that opens it first, within ten minutes.

    What stays in the history of the browser is of no use to anybody, unlike a token.
    """
    code = secrets.token_urlsafe(24)
    codes = cast("dict[str, float]", app.state.login_codes)
    codes[code] = monotonic() + GOOD_FOR
    return f"/login?code={code}"


async def _show_form(request: Request) -> Response:
    query = read_query(request, LoginQuery)
    if query.code is None:
        return _form(request, query)
    codes = cast("dict[str, float]", request.app.state.login_codes)
    token: str | None = request.app.state.token
    if token is None or codes.pop(query.code, 0.0) < monotonic():
        return _form(request, query, _USED)
    return _logged_in(request, query, token)


async def _log_in(request: Request) -> Response:
    """Set the cookie for a browser that shows the token."""
    form = await read_form(request, LoginForm)
    token: str | None = request.app.state.token
    if token is None or not has_token(form.token, token):
        return _form(request, form, _WRONG)
    return _logged_in(request, form, token)


def _form(request: Request, query: LoginQuery, error: str = "") -> Response:
    status = 401 if error else 200
    values = {"error": error, "next": query.next}
    return show(request, "login.html", title="Log in", status=status, values=values)


def _logged_in(request: Request, query: LoginQuery, token: str) -> Response:
    base: str = request.scope.get("root_path", "")
    answer = RedirectResponse(base + _own_path(query.next), 303, headers=SAFE)
    answer.set_cookie(
        cookie_name(request.headers),
        new_login(token),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


def _own_path(path: str) -> str:
    """A path of this server; anything that a browser might take for another one is the start."""
    return path if _OWN_PATH.fullmatch(path) and path.isprintable() else "/"


async def _show_login(request: Request) -> Response:
    """The CSRF token of a browser that is logged in, None for all other clients."""
    token = request.app.state.token
    login = login_of(Headers(scope=request.scope), token) if token else None
    return json_response({"csrf_token": csrf_token(login, token) if login else None})


routes = [
    Route("/login", _show_form),
    Route("/login", _log_in, methods=["POST"]),
    Route("/api/login", _show_login),
]
