"""`teamgraph doctor`: what is installed, which models can be asked, whether the store is sound."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from time import perf_counter
from typing import Annotated, Literal, NamedTuple

import typer

from ..errors import InputError, NoModelError, NotFound, TeamgraphError
from ..graph.fields import ModelSpec
from ..graph.graph import Graph
from ..graph.settings import settings_of
from ..messages import Message
from ..models.catalog import provider
from ..models.endpoints import check_endpoint, check_key, keys_set
from ..models.local.server import how_to_install, is_installed
from ..models.protocol import Reply, Request
from ..models.registry import OTHERWISE, AnyModel, adapter_name, default_model_id
from ..run.prepared import named_specs
from ..stores.places import is_address
from ..stores.tinydb.repair import Survey
from .command import EXIT_FAILURE, command, make_app
from .graph_files import graph_files
from .options import GraphOptions, JsonFlag, StoreOptions
from .output import Style, counted, print_json, print_note, print_text

app = make_app()

_REQUIREMENT = re.compile(r"""^([\w.-]+)(?:.*\bextra == ["']([\w-]+)["'])?""")
_MARKS = {"ok": "+", "note": "-", "problem": "x"}
_PATIENCE = 60.0
"""Seconds without a byte after which a model counts as not reachable."""


class Check(NamedTuple):
    """One thing that was looked at; a `problem` has to be mended, a `note` need not."""

    topic: str
    status: Literal["ok", "note", "problem"]
    text: str


@command(app)
def doctor(
    graph_options: GraphOptions,
    store: StoreOptions,
    *,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect", help="Ask each model a short question, which costs a few tokens."
        ),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Check the installation: Python, packages and extras, graphs, models and keys, the store.

    Reads the project of the current folder. Without --connect nothing is sent anywhere but to the
    database, if the store is one. Of keys it says which variables are set, never what is in them.

    Exit code 0 if there are no problems, 1 if there are some.
    """
    graphs = list(_load(graph_options))
    models = list(_specs(graph for _, graph in graphs if graph is not None))
    checks = [
        *_installation(),
        *(check for check, _ in graphs),
        *_keys(),
        *(check for each in models for check in _model(each, connect=connect)),
        _store(store),
    ]
    problems = sum(check.status == "problem" for check in checks)
    if json:
        print_json({"problems": problems, "checks": [check._asdict() for check in checks]})
    else:
        for check in checks:
            print_text(f"{_MARKS[check.status]} {check.topic}: {check.text}")
        if problems:
            print_note(f"{counted(problems, 'problem')}, each marked by an x", Style.ERROR)
        else:
            print_note("no problems", Style.SUCCESS)
    if problems:
        raise typer.Exit(EXIT_FAILURE)


def _installation() -> Iterator[Check]:
    """Python, this package, and what it needs, with the extras that are there."""
    yield Check("python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Check("teamgraph", "ok", version("teamgraph"))
    packages: dict[str, list[str]] = {}
    for requirement in requires("teamgraph") or ():
        [(name, extra)] = _REQUIREMENT.findall(requirement)
        packages.setdefault(extra, []).append(name)
    for extra, names in packages.items():
        yield _packages(extra, {name: _version(name) for name in names})


def _packages(extra: str, versions: dict[str, str | None]) -> Check:
    """Whether the packages of an extra are there, or those that are always needed (no extra)."""
    topic = f"extra {extra}" if extra else "packages"
    missing = [name for name, found in versions.items() if found is None]
    text = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    if missing and not extra:
        text = f"{', '.join(missing)}: not installed; pip install {' '.join(missing)}"
        return Check(topic, "problem", text)
    if missing:
        return Check(topic, "note", f"not installed; pip install 'teamgraph[{extra}]'")
    if extra == "local" and not is_installed(os.environ):
        return Check(topic, "note", f"{text}; {how_to_install()}")
    return Check(topic, "ok", text)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _load(options: GraphOptions) -> Iterator[tuple[Check, Graph | None]]:
    """The graphs of the project."""
    try:
        files = graph_files(None)
    except NotFound:
        yield Check("graphs", "note", "there are none in this project"), None
        return
    for file in files:
        try:
            yield Check(f"graph {file}", "ok", "valid"), options.load(file)
        except TeamgraphError:
            text = f"it is not valid; `teamgraph check {file}` says why"
            yield Check(f"graph {file}", "problem", text), None


def _specs(graphs: Iterable[Graph]) -> Iterator[ModelSpec]:
    """The models that the graphs would ask, with their fallbacks, each once."""
    default = _default()
    named = [spec for graph in graphs for spec in named_specs(graph, default)]
    seen: list[ModelSpec] = []
    for spec in named or ([ModelSpec(id=default)] if default else []):
        for each in spec.in_order():
            if each not in seen:
                seen.append(each)
                yield each


def _default() -> str:
    return os.environ.get("TEAMGRAPH_MODEL") or settings_of(Path.cwd()).model or ""


def _keys() -> Iterator[Check]:
    names = keys_set(os.environ)
    text = f"{', '.join(names)} set" if names else "no variable with a provider's key is set"
    yield Check("keys", "ok" if names else "note", text)
    try:
        yield Check("default model", "ok", _default() or default_model_id(os.environ))
    except NoModelError as error:
        yield Check("default model", "note", str(error))


def _model(spec: ModelSpec, *, connect: bool) -> Iterator[Check]:
    """Whether a model can be asked, as far as is known here; with `connect` whether it answers."""
    topic = f"model {spec.id}"
    try:
        found = _configured(spec)
    except TeamgraphError as error:
        yield Check(topic, "problem", str(error).removeprefix(f"{topic}: "))
        return
    if connect:
        yield asyncio.run(_asked(spec))
    else:
        yield Check(topic, "ok", found)


def _configured(spec: ModelSpec) -> str:
    """What is known of a model without asking it; raises `NoModelError` if it cannot be asked."""
    name = adapter_name(spec.id)
    if name == "local" and not is_installed(os.environ):
        raise NoModelError(how_to_install(), model=spec.id)
    if name != OTHERWISE:
        return "installed"
    allowed = settings_of(Path.cwd()).allow_api_base
    check_endpoint(spec.id, spec.parameters, allowed)
    return check_key(spec.id, provider(spec.id), spec.parameters, os.environ)


async def _asked(spec: ModelSpec) -> Check:
    """Ask a model a short question."""
    began = perf_counter()
    request = Request(
        model=spec.id,
        messages=(Message(role="user", content="Answer with one word: ready"),),
        parameters=spec.parameters,
        allow_api_base=settings_of(Path.cwd()).allow_api_base,
        idle=_PATIENCE,
        stream=False,
    )
    topic = f"model {spec.id}"
    model = AnyModel()
    try:
        await model.warm_up(spec.id)
        replies = [each async for each in model.ask(request) if isinstance(each, Reply)]
    except TeamgraphError as error:
        return Check(topic, "problem", str(error).removeprefix(f"{topic}: "))
    took = perf_counter() - began
    return Check(topic, "ok", f"answered in {took:.1f} s, {len(replies[-1].text)} characters")


def _store(options: StoreOptions) -> Check:
    if is_address(options.place):
        return asyncio.run(_database(options))
    folder = options.folder("reads")
    try:
        survey = Survey(folder)
        journals = [survey.read(path) for path in survey.journals]
    except InputError:
        return Check("store", "note", f"there is none in {folder} yet; the first run makes it")
    except TeamgraphError as error:
        return Check("store", "problem", str(error))
    findings = [finding for journal in journals for finding in journal.findings]
    findings += [*survey.leftovers(), *survey.prompts()]
    bad = sum(finding.severity != "note" for finding in findings)
    sessions = f"{counted(len(journals), 'session')} in {folder}"
    if bad:
        text = f"{sessions}, {counted(bad, 'problem')}; `teamgraph store verify` lists them"
        return Check("store", "problem", text)
    return Check("store", "ok", f"{sessions}, {sum(each.size for each in journals)} bytes")


async def _database(options: StoreOptions) -> Check:
    """Whether the database answers, and has what the store needs, which is made if it is not."""
    try:
        async with options.open() as store:
            await store.users(limit=1)
    except TeamgraphError as error:
        return Check("store", "problem", str(error))
    return Check("store", "ok", f"{options.title} answers")
