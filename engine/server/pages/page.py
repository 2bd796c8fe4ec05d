"""Pages as responses: the templates, the links between pages, and what every page is sent with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, cast
from urllib.parse import parse_qsl, quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from ...errors import InputError
from ...messages import JSON, Usage
from ...view.style import FOLDER
from ...view.text import shown
from ..access import CSRF_FIELD, caller, csrf_token, login_of
from ..api_sessions import OFFSET
from ..http import SAFE, Body, validated
from ..server import Server, server_of

HERE = Path(__file__).parent
PAGE = 20
"""Entries of a list on one page."""
HEADERS = {
    **SAFE,
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; object-src 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",  # with `no-referrer` browsers send forms with `Origin: null`
}
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
AnyForm = TypeVar("AnyForm", bound=BaseModel)


class UserQuery(Body):
    """Whose data a page shows; the user only counts where no login says it."""

    user_id: str | None = None


class ListQuery(UserQuery):
    """A page of a list of a user's data."""

    offset: int = Field(0, ge=0, le=OFFSET)


def read_query(
    request: Request, form: type[AnyForm], fields: Mapping[str, str] | None = None
) -> AnyForm:
    """The parameters of a link or a form that is sent as one; what is empty counts as left out."""
    if fields is None:
        fields = dict(_fields(request.scope["query_string"]))
    return validated({**fields}, form, "the address")


def split_query(request: Request, prefix: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The parameters whose names begin with `prefix`, by the rest of it, and all others."""
    named, rest = dict[str, list[str]](), dict[str, str]()
    for name, value in _fields(request.scope["query_string"]):
        if name.startswith(prefix):
            named.setdefault(name.removeprefix(prefix), []).append(value)
        else:
            rest[name] = value
    return named, rest


async def read_form(request: Request, form: type[AnyForm]) -> AnyForm:
    """The fields of a form, and the parameters of its address."""
    typed = _fields(await request.body())
    fields = {name: plain_text(value) for name, value in typed if name != CSRF_FIELD}
    query = dict(_fields(request.scope["query_string"]))
    return validated({**query, **fields}, form, "the form")


def _fields(encoded: bytes) -> list[tuple[str, str]]:
    """The fields that are not empty."""
    try:
        return parse_qsl(encoded.decode("ascii"), errors="surrogatepass")
    except UnicodeDecodeError as error:
        raise InputError("this address is no percent-encoded UTF-8; follow a link again") from error


def plain_text(typed: str) -> str:
    """A text as it was typed into a form, which sends CR LF for each line end."""
    return typed.replace("\r\n", "\n")


def link(base: str, path: str, **query: object) -> str:
    """The address of a page; what is None is left out, and a list is a parameter for each."""
    given = {
        name: cast("list[str]", value) if isinstance(value, list) else str(value)
        for name, value in query.items()
        if value is not None
    }
    encoded = urlencode(given, doseq=True, errors="surrogatepass", quote_via=quote)
    return f"{base}{path}?{encoded}" if encoded else f"{base}{path}"


def show(
    request: Request,
    template: str,
    *,
    title: str,
    user_id: str | None = None,
    status: int = 200,
    values: Mapping[str, object] = MappingProxyType({}),
) -> Response:
    """The page that a template makes of these values; `user_id` is whose data it shows."""
    common = _common(request, server_of(request))
    html = _templates.get_template(template).render(
        {**common, "title": title, "user_id": user_id, **values}
    )
    return HTMLResponse(html, status, headers=HEADERS)


def go_to(request: Request, path: str, **query: object) -> Response:
    """A redirection after a write, so that to load the page again does not write again."""
    return RedirectResponse(link(_base(request.scope), path, **query), 303, headers=SAFE)


def wants_page(scope: Scope) -> bool:
    """Whether an error is to be told as a page: at the address of one, or to a browser."""
    headers = Headers(scope=scope)
    path = scope["path"].removeprefix(_base(scope))
    accepted = headers.get("accept", "")
    if path.startswith(_APIS):
        return False
    if path == "/" or path.partition("/")[2].partition("/")[0] in _PAGES:
        return "application/json" not in accepted or "text/html" in accepted
    return "text/html" in accepted


_APIS = ("/api/", "/v1/", "/agui/", "/mcp", "/openapi.json", "/static/")
_PAGES = ("graph", "chat", "run", "sessions", "session", "compare", "prompts", "login", "workers")


def _base(scope: Scope) -> str:
    """The path below which the app is mounted."""
    base: str = scope.get("root_path", "")
    return base


def _common(request: Request, server: Server) -> dict[str, object]:
    """What every template may read."""
    token = request.app.state.token
    login = login_of(request.headers, token) if token else None
    return {
        "link": partial(link, _base(request.scope)),
        "static": partial(_static_link, _base(request.scope)),
        "csrf": csrf_token(login, token) if login else "",
        "can_write": not server.is_read_only,
        "has_login": caller(request).is_fixed,
        "has_workers": server.dispatcher is not None,
        "graph_names": [*server.runners],
    }


class StaticFile:
    """A file that pages are made of, read once, with the hash of its content in its address."""

    def __init__(self, file: Path) -> None:
        self.content = file.read_bytes()
        self.media_type = MEDIA_TYPES[file.suffix]
        self.version = sha256(self.content).hexdigest()[:8]


STATIC_FILES = {
    file.name: StaticFile(file)
    for folder in (HERE / "static", FOLDER)
    for file in sorted(folder.iterdir())
    if file.suffix in MEDIA_TYPES
}


async def show_static(request: Request) -> Response:
    """A style sheet or script; it may be kept for ever, as another one has another address."""
    file = STATIC_FILES.get(request.path_params["name"])
    if file is None:
        return Response("there is no such file", 404, headers=SAFE, media_type="text/plain")
    headers = {**SAFE, "Cache-Control": "public, max-age=31536000, immutable"}
    return Response(file.content, headers=headers, media_type=file.media_type)


def _static_link(base: str, name: str) -> str:
    return f"{base}/static/{name}?v={STATIC_FILES[name].version}"


def _shown(value: object) -> object:
    """What is written of a value: a text without control characters, escaped afterwards."""
    return shown(value) if type(value) is str else value


def _moment(seconds: float) -> Markup:
    """A Unix time as local date and time."""
    moment = datetime.fromtimestamp(seconds, UTC)
    text = moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), text)


def _usage(usage: Usage) -> str:
    """Tokens and cost in a few words."""
    if not usage.calls:
        return "no model call"
    cost = "cost unknown" if usage.cost is None else f"${usage.cost:.4f}"
    tokens = f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
    return f"{usage.calls} call{'s' * (usage.calls != 1)}, {tokens}, {cost}"


def _short(text: str, length: int = 80) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length else f"{line[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def _pretty(value: JSON) -> str:
    """A value as a text: a text as it is, anything else as indented JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def _quoted(text: str) -> str:
    """A text as a part of a path."""
    return quote(text, safe="", errors="surrogatepass")


_FILTERS: dict[str, Callable[..., object]] = {
    "moment": _moment,
    "usage": _usage,
    "short": _short,
    "pretty": _pretty,
    "quoted": _quoted,
}
_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(_FILTERS)


def pages_around(
    found: Sequence[object], offset: int, page: int = PAGE
) -> tuple[int | None, int | None]:
    """The offsets of the pages before and after that of `found`, which has an entry too many.

    `page` is the number of entries on each.
    """
    before = max(0, offset - page) if offset else None
    return before, offset + page if len(found) > page else None
