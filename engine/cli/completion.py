"""What the Tab key completes: graph files, node ids, models, users, sessions, runs and codes.

Each function is an `autocompletion` of typer: it is called with the options that were typed so far,
reads YAML and the store without checking them, and offers nothing where something is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import typer

from ..errors import TeamgraphError
from ..files import files_in
from ..graph.settings import settings_of, store_place
from ..records import SessionKey
from ..stores.places import open_store
from .graph_files import is_graph_file

if TYPE_CHECKING:
    from ..session.store import Store

T = TypeVar("T")

_MOST = 100
"""Candidates that are offered, and sessions that are searched for runs."""
_PATIENCE = 2.0
"""Seconds for which whoever pressed the key is made to wait for a database."""


def complete_graphs(incomplete: str) -> list[str]:
    """Graph files, in the folder that was typed and below."""
    typed = incomplete.rpartition("/")[0]
    folder = Path(f"{typed}/") if "/" in incomplete else Path()
    names = (str(file) for file in files_in(folder, is_graph_file))
    return [*islice((name for name in names if name.startswith(incomplete)), _MOST)]


def complete_nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of the graph that was typed, or else of the nodes of the run."""
    return _matching(incomplete, lambda: _node_ids(_graph(ctx)) or _nodes_of_run(ctx))


def complete_models(ctx: typer.Context, incomplete: str) -> list[str]:
    """The models that the graph and the project name, and those that need no key."""

    def found() -> Iterable[str]:
        project = settings_of(Path.cwd()).model
        return [*_models(_graph(ctx)), *([project] if project else []), "echo", "local"]

    return _matching(incomplete, found)


def complete_users(ctx: typer.Context, incomplete: str) -> list[str]:
    """Users of the store."""

    def found() -> Iterable[str]:
        users = _read(ctx, lambda store: store.users(limit=_MOST))
        return (user for user in users if user is not None)

    return _matching(incomplete, found)


def complete_sessions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Sessions of the user, the latest first."""
    return _matching(incomplete, lambda: _read(ctx, partial(_session_ids, _user(ctx))))


def complete_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Runs of the session, or of the user's sessions, the newest first."""

    async def runs(store: Store) -> list[str]:
        session: str | None = ctx.params.get("session")
        ids = [session] if session else await _session_ids(_user(ctx), store)
        keys = [SessionKey(_user(ctx), each) for each in ids]
        return [turn.run_id for key in keys for turn in await store.runs(key, limit=_MOST)]

    return _matching(incomplete, lambda: _read(ctx, runs))


def _matching(incomplete: str, find: Callable[[], Iterable[str]]) -> list[str]:
    """What begins with the text, each once; nothing where it cannot be read."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return [each for each in dict.fromkeys(find()) if each.startswith(incomplete)]
        except (TeamgraphError, OSError):
            return []


def _graph(ctx: typer.Context) -> Mapping[str, Any]:
    """The graph file that was typed, as it is written; empty if there is none."""
    from ..graph.yaml.reader import read_yaml  # commands that read no YAML do not wait for it

    file = _typed(ctx, "graph")
    return {} if file is None else read_yaml(Path(file)).data


def _typed(ctx: typer.Context, name: str) -> str | None:
    """What was typed for an option or an argument, so far."""
    if (value := ctx.params.get(name)) is not None:
        return str(value)
    # Before the value of an option is complete, arguments have not been told apart.
    arguments = [each.name for each in ctx.command.params if each.param_type_name == "argument"]
    given = dict(zip(arguments, ctx.args, strict=False))
    return given.get(name)


def _node_ids(graph: Mapping[str, Any]) -> list[str]:
    """The ids of a graph's nodes, and the paths of those inside them that are written in place."""
    ids: list[str] = []
    for node_id, node in _mapping(graph.get("nodes")).items():
        fields = _mapping(node)
        inside = _mapping(fields.get("graph")) or {"nodes": fields.get("members")}
        ids += [node_id, *(f"{node_id}/{each}" for each in _node_ids(inside))]
    return ids


def _models(value: object) -> Iterator[str]:
    """The ids of all models that a graph names, with their fallbacks."""
    for key, each in _mapping(value).items():
        if key in ("model", "fallback"):
            for model in each if isinstance(each, list) else [each]:
                named: object = _mapping(cast("object", model)).get("id", model)
                if isinstance(named, str):
                    yield named
        yield from _models(each)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _user(ctx: typer.Context) -> str | None:
    user: str | None = ctx.params.get("user")
    return user


async def _session_ids(user: str | None, store: Store) -> list[str]:
    return [info.key.session_id for info in await store.sessions(user, limit=_MOST)]


def _nodes_of_run(ctx: typer.Context) -> list[str]:
    async def nodes(store: Store) -> list[str]:
        run_id = str(_typed(ctx, "run"))
        key = await store.find(_user(ctx), run_id)
        run = None if key is None else await store.run(key, run_id)
        return [] if run is None else [*run.records]

    return _read(ctx, nodes)


def _read(ctx: typer.Context, read: Callable[[Store], Coroutine[Any, Any, list[T]]]) -> list[T]:
    """What is read from the store that was typed, or the usual one.

    Raises `TimeoutError` if a database does not answer soon.
    """
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it would write into the line

    async def opened() -> list[T]:
        store = open_store(store_place(ctx.params.get("store")))
        try:
            async with asyncio.timeout(_PATIENCE):
                return await read(store)
        finally:
            await store.close()

    return asyncio.run(opened())
