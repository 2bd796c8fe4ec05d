"""The login of a browser: a form that takes the token, and gives a cookie for it."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from .access import COOKIE, csrf_token, has_token, login_of, new_login
from .http import SAFE, json_response

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Log in - teamgraph</title>
<main>
<h1>Log in</h1>
<form method="post" action="login">
<label>Token <input type="password" name="token" autocomplete="off" required autofocus></label>
<button>Log in</button>
</form>
<p>%s</p>
</main>
</html>
"""
_HINT = "The token was printed when the server started, or is set in TEAMGRAPH_TOKEN."
_WRONG = "That is not the token of this server. It changes at each start unless it is set."
_HEADERS = {
    **SAFE,
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


async def _show_form(request: Request) -> Response:
    del request
    return HTMLResponse(_PAGE % _HINT, headers=_HEADERS)


async def _log_in(request: Request) -> Response:
    """Set the cookie for a browser that shows the token."""
    token = request.app.state.token
    fields = parse_qs((await request.body()).decode(errors="replace"))
    if token is None or not has_token(fields.get("token", [""])[0], token):
        return HTMLResponse(_PAGE % _WRONG, 401, headers=_HEADERS)
    answer = RedirectResponse(request.scope.get("root_path", "") + "/", 303, headers=SAFE)
    answer.set_cookie(
        COOKIE,
        new_login(token),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


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
