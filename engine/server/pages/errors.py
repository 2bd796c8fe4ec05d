"""Errors as pages, and the way to the login for a browser that is not logged in."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from ..access import route_path
from ..errors import ErrorInfo, Refusal
from ..http import SAFE
from ..telemetry import error_response, http_info_of
from .page import link, show, wants_page

_READS = ("GET", "HEAD")
_UNAUTHORIZED = 401
_TITLES = {400: "That is not valid", 403: "Refused", 404: "Not found", 409: "Not possible now"}


_INTO_PAGE = {"HX-Retarget": "#problem", "HX-Reselect": "#error", "HX-Reswap": "innerHTML"}
"""Where htmx puts an error in the page that it is on."""


def respond(scope: Scope, error: Exception) -> Response:
    """The response to a request that raised an error: a page for a browser, else JSON."""
    if not wants_page(scope):
        return error_response(scope, error)
    info = http_info_of(error)
    request = Request(scope)
    if info.status == _UNAUTHORIZED and request.app.state.token is not None:
        return _to_login(request)
    response = error_page(request, info)
    if isinstance(error, Refusal | HTTPException):
        response.headers.update(error.headers or {})
    if "hx-request" in request.headers:
        response.headers.update(_INTO_PAGE)
    return response


def error_page(request: Request, info: ErrorInfo) -> Response:
    """The page that tells an error."""
    title = _TITLES.get(info.status, "Something went wrong")
    return show(request, "error.html", title=title, status=info.status, values={"info": info})


def _to_login(request: Request) -> Response:
    """The login, from which a browser comes back to where it wanted to go.

    htmx is told to load it as a page of its own, in place of the page that it is on.
    """
    path = link(request.scope.get("root_path", ""), "/login", next=_way_back(request))
    if "hx-request" in request.headers:
        return Response(headers={**SAFE, "HX-Redirect": path})
    return RedirectResponse(path, 303, headers=SAFE)


def _way_back(request: Request) -> str | None:
    """The page that a browser is on, or wants to see; None for a form without htmx."""
    if (current := request.headers.get("hx-current-url")) is not None:
        try:
            path, query = urlsplit(current)[2:4]
        except ValueError:  # such as http://[
            return None
        path = path.removeprefix(request.scope.get("root_path", ""))
    elif request.method in _READS:
        path, query = route_path(request.scope), request.scope["query_string"].decode("latin-1")
    else:
        return None
    return f"{path}?{query}" if query else path
