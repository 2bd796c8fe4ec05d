"""`create_app`: the server as a Starlette app, to be run by uvicorn or mounted into another app."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from ..errors import InputError, Problem
from ..graph.graph import Graph
from ..models.protocol import Model
from ..run.runner import Runner, store_of
from ..session.store import Store
from . import agui, api_graphs, api_runs, api_sessions, openai_chat, openai_responses
from .access import LOOPBACK, Access, Auth
from .http import json_response
from .limits import BodyLimiter, Limiter, Limits
from .openapi import openapi
from .pages import routes as pages
from .pages.errors import respond as page_or_json
from .runs import Runs
from .server import Server
from .telemetry import ContinuesTraces, ServerMetrics, Telemetry, TraceContext, error_response

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from ..dispatch.dbos import DBOSDispatcher

OPERATIONS = (*api_runs.operations, *api_graphs.operations, *api_sessions.operations)
"""The native API."""


def create_app(  # noqa: PLR0913  independent options, by keyword
    graphs: Iterable[Graph | Runner | str | os.PathLike[str]],
    *,
    store: Store | str | os.PathLike[str] | None = None,
    model: Model | str | None = None,
    token: str | None = None,
    auth: Auth | None = None,
    read_only: bool = False,
    ui: bool = True,
    hosts: Collection[str] = LOOPBACK,
    origins: Collection[str] = (),
    limits: Limits | None = None,
    grace: float = 30.0,
    log_texts: bool = False,
    mcp: bool = False,
    broken: Mapping[str, Sequence[Problem]] = MappingProxyType({}),
    project: str | os.PathLike[str] | None = None,
) -> Starlette:
    """Make the app that serves graphs over HTTP.

    `graphs` are graphs or graph files, which get `store` and `model` as a `Runner` does, or runners
    that all have one store. Clients show `token`, or are known to `auth`, a function from a request
    to the user's id (or None), sync or async; without either everybody may do everything, so bind
    such a server to loopback only. With `auth` a request is only ever about its own user.

    `hosts` are the names that the server is called by (`*`: any), `origins` those of web pages
    elsewhere that may use it. `read_only` refuses all writes, without `ui` there
    are no pages. A run that nobody reads is cancelled
    after `grace` seconds, and a server that stops waits for runs as long. `log_texts` says that the
    log may have messages of errors, which may quote users. With `mcp` the graphs are also tools of
    an MCP server at `/mcp`, which needs the extra `mcp`. The pages show `broken`, the problems of
    graph files that cannot be loaded, by name. They keep runs as cases in `*.prompts.yaml` files of
    the folder `project`, and nowhere without it. Where the runners are `DispatchedRunner`s, all of
    one dispatcher, workers run the turns, which go on whoever reads them. Raises `InputError` if
    two graphs have the same name, or runners several stores.
    """
    if token == "":
        raise InputError("token is empty; give a long random text, or None for no token")
    runners, shared = _runners(graphs, store, model, broken)
    limits = limits or Limits()
    respond = page_or_json if ui else error_response
    tools: Starlette = _mcp().mcp_app(runners) if mcp else Starlette()
    dispatcher: DBOSDispatcher | None
    dispatcher = getattr(next(iter(runners.values()), None), "dispatcher", None)
    runs = Runs(shared, grace=grace, limit=limits.events, is_shared=dispatcher is not None)
    metrics = ServerMetrics(lambda: len(runs.in_progress))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        del app
        async with tools.router.lifespan_context(tools):
            yield
            await runs.close(grace)

    app = Starlette(
        routes=[
            *(each.route for each in OPERATIONS),
            *(pages.routes if ui else ()),
            *agui.routes,
            *tools.routes,
            *openai_chat.routes,
            *openai_responses.routes,
            Route("/openapi.json", _show_openapi),
            Route("/healthz", _is_alive),
            Route("/readyz", _is_ready),
            Route("/metrics", partial(_show_metrics, metrics)),
        ],
        middleware=[
            Middleware(Telemetry, metrics, log_texts=log_texts, respond=respond),
            Middleware(BodyLimiter, limits),
            Middleware(
                Access,
                token=token,
                auth=auth,
                hosts=hosts,
                origins=origins,
                read_only=read_only,
            ),
            Middleware(Limiter, limits),
            *_tracing(runners.values()),
        ],
        exception_handlers={HTTPException: partial(_answer_http_error, respond)},
        lifespan=lifespan,
    )
    app.state.server = Server(
        runners,
        shared,
        runs,
        limits,
        read_only,
        broken,
        None if project is None else Path(project),
        dispatcher,
    )
    app.state.token = None if auth is not None else token  # it is not asked for
    app.state.login_codes = dict[str, float]()
    return app


def mcp_server(
    graphs: Iterable[Graph | Runner | str | os.PathLike[str]],
    *,
    store: Store | str | os.PathLike[str] | None = None,
    model: Model | str | None = None,
) -> MCPServer:
    """Make the MCP server (of the official SDK) that has a tool for each graph.

    `await server.run_stdio_async()` serves over standard input and output; `create_app(mcp=True)`
    serves the same at `/mcp`. The arguments are those of `create_app`. Raises `InputError` if two
    graphs would be tools of one name.
    """
    return cast("MCPServer", _mcp().mcp_server(_runners(graphs, store, model)[0]))


def _mcp() -> ModuleType:
    """Our module of MCP, loaded late: it takes almost a second, and few servers need it."""
    try:
        return import_module(".mcp_server", __package__)
    except ModuleNotFoundError as error:
        raise InputError(
            f"an MCP server needs the package {error.name!r}; install the extra: "
            'pip install "teamgraph[mcp]"'
        ) from error


def _runners(
    graphs: Iterable[Graph | Runner | str | os.PathLike[str]],
    store: Store | str | os.PathLike[str] | None,
    model: Model | str | None,
    broken: Collection[str] = (),
) -> tuple[dict[str, Runner], Store]:
    """The runners by the names of their graphs, and their store."""
    runners: dict[str, Runner] = {}
    for each in graphs:
        if isinstance(each, Runner):
            runner = each
        else:
            runner = Runner(each, store=store, model=model)
            store = runner.store
        name = runner.graph.name
        if name in runners:
            raise InputError(f"two graphs are called {name!r}; give one of them another name")
        if runners and runner.store is not next(iter(runners.values())).store:
            raise InputError(f"graph {name!r} has another store than the others; give all the same")
        runners[name] = runner
    if not runners and not broken:
        raise InputError("there is no graph to serve; give at least one")
    shared = next((each.store for each in runners.values()), store)
    return runners, store_of(shared)


def _tracing(runners: Iterable[Runner]) -> list[Middleware]:
    """What continues the traces of clients, if a runner makes spans."""
    listeners: list[object] = [each for runner in runners for each in runner.listeners]
    tracer = next((each for each in listeners if isinstance(each, ContinuesTraces)), None)
    return [Middleware(TraceContext, tracer)] if tracer is not None else []


async def _show_openapi(request: Request) -> Response:
    del request
    return json_response(openapi(OPERATIONS))


async def _is_alive(request: Request) -> Response:
    del request
    return json_response({"status": "ok"})


async def _is_ready(request: Request) -> Response:
    """Whether the store can be read."""
    await request.app.state.server.store.users(limit=1)
    return json_response({"status": "ok"})


async def _show_metrics(metrics: ServerMetrics, request: Request) -> Response:
    del request
    return metrics.response()


async def _answer_http_error(
    respond: Callable[[Scope, Exception], Response], request: Request, error: Exception
) -> Response:
    return respond(request.scope, error)
