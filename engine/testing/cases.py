"""Case files (`*.prompts.yaml`): loaded, rendered, and checked by pytest and `prompts update`.

A case file names a graph and the cases in which its prompts are rendered, without a line of code.

graph: ../graphs/desk.yaml       # relative to this file
defaults: {user_id: ana}         # for every case
auto: routes                     # also two cases for each combination of the routers' labels
cases:
  a refund:
    input: I want my money back
    assume: {router: payment}
    expect: {payment: {contains: refund}, delivery: skipped}
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field

from ..errors import (
    DefinitionError,
    InputError,
    KeyPath,
    Problem,
    RunError,
    TeamgraphError,
    closest,
    listed,
)
from ..graph.fields import Ids
from ..graph.graph import MESSAGE, Graph
from ..graph.kinds import project_kinds
from ..graph.schema import DIALECT
from ..graph.settings import settings_of
from ..graph.yaml.reader import Document, read_yaml
from ..messages import JSON, HistoryItem
from ..models.samples import placeholder
from ..node_path import NodePath
from ..run.dry_run.assumptions import check_assumptions
from ..run.dry_run.rehearsal import Scene, render, render_all
from ..run.dry_run.rendering import RenderedNode, Rendering
from ..validation import Declared
from .snapshot_text import slug, snapshot
from .snapshots import PromptMismatch, SnapshotTracker, folder_of

BYTES_A_TOKEN = 4
"""A rule of thumb that needs no tokenizer: English has about four bytes a token."""


class ExpectedPrompt(Declared):
    """What must be true of a node's prompts; `max_tokens` counts four bytes as a token."""

    contains: Ids = Field(default=(), description="Texts that must be in it.")
    excludes: Ids = Field(default=(), description="Texts that must not be in it.")
    max_chars: int | None = Field(
        default=None, ge=0, strict=True, description="The most characters that it may have."
    )
    max_tokens: int | None = Field(
        default=None, ge=0, strict=True, description="The same in tokens, four bytes each."
    )

    def failures(self, node: RenderedNode) -> Iterator[str]:
        """What is not true, a line each."""
        text = node.text
        tokens = -(-len(text.encode(errors="replace")) // BYTES_A_TOKEN)
        if node.because is not None:
            yield f"{node.id}: it was skipped ({node.because}), but a prompt is expected"
            return
        yield from (f"{node.id}: {each!r} is missing" for each in self.contains if each not in text)
        yield from (
            f"{node.id}: {each!r} is excluded, but in the prompt"
            for each in self.excludes
            if each in text
        )
        if self.max_chars is not None and len(text) > self.max_chars:
            yield f"{node.id}: {len(text)} characters, more than {self.max_chars}"
        if self.max_tokens is not None and tokens > self.max_tokens:
            yield f"{node.id}: about {tokens} tokens, more than {self.max_tokens}"


Expectation: TypeAlias = Literal["skipped"] | ExpectedPrompt


class DeclaredCase(Declared):
    """The keys of a case in a file."""

    input: str = Field(default=MESSAGE, description="The user's message.")
    system: str | None = Field(
        default=None, description="What the prompts read as `input.system`; none if left out."
    )
    user_id: str | None = Field(default=None, description="The user; none if left out.")
    session: Mapping[str, JSON] = Field(
        default_factory=dict[str, JSON],
        description="`id`, `summary`, `turns` and `node_states` of the session.",
    )
    history: Sequence[Mapping[str, str]] = Field(
        default=(), description="The turns before, oldest first: `{input, answer}`, or messages."
    )
    state: Mapping[str, JSON] = Field(
        default_factory=dict[str, JSON], description="Values of `session.state`."
    )
    assume: Mapping[str, JSON] = Field(
        default_factory=dict[str, JSON],
        description="Outputs by node id: a router's label, any other node's output.",
    )
    attachments: Ids = Field(
        default=(), description="Names of files that come with the message; they are not read."
    )
    expect: Mapping[str, Expectation] = Field(
        default_factory=dict[str, Expectation],
        description="What must be true of the prompts, by node id; or `skipped`.",
    )
    snapshot: bool = Field(
        default=True, strict=True, description="Whether the prompts are compared with a snapshot."
    )


class DeclaredCases(Declared):
    """The keys of a case file.

    `prompts` are folders of templates, `allow` packages that the graph may name, `allow_mcp` MCP
    servers whose tools it may name. All are added to those of the project's `[tool.teamgraph]`.
    """

    graph: str = Field(
        description="The graph file, relative to this one.", examples=["../team.yaml"]
    )
    prompts: Ids = Field(default=(), description="Folders of templates, relative to this file.")
    allow: Ids = Field(default=(), description="Packages that the graph may name.")
    allow_mcp: Ids = Field(default=(), description="MCP servers whose tools the graph may name.")
    defaults: DeclaredCase = Field(
        default_factory=DeclaredCase, description="What every case has that says nothing else."
    )
    auto: Literal["routes"] | None = Field(
        default=None, description="`routes`: also two cases for each combination of routes."
    )
    cases: Mapping[str, DeclaredCase] = Field(
        default_factory=dict[str, DeclaredCase], description="The cases by name."
    )


def case_schema() -> dict[str, JSON]:
    """The JSON Schema (draft 2020-12) of case files, for editors."""
    made: dict[str, JSON] = DeclaredCases.model_json_schema()
    return {"$schema": DIALECT, **made, "title": "teamgraph prompt cases"}


class PromptCase(Struct, frozen=True):
    """One case: what is rendered, what must be true of it, and the file of its snapshot."""

    name: str
    graph: Graph
    scene: Scene
    expect: Mapping[str, Expectation]
    snapshot: Path | None
    line: int = 1

    def render(self) -> Rendering:
        """Every prompt of the case."""
        return render(self.graph, self.scene)

    def failures(self, rendering: Rendering) -> list[str]:
        """What is expected and not true, a line each."""
        found: list[str] = []
        for node_id, expected in self.expect.items():
            node = rendering.get(node_id) or _not_run(node_id)
            if isinstance(expected, ExpectedPrompt):
                found += expected.failures(node)
            elif node.because is None:
                found.append(f"{node_id}: it runs, but is expected to be skipped")
        return found


class CaseFile(Struct, frozen=True):
    """The cases of one file; they share the graph, which is loaded once."""

    file: Path
    cases: tuple[PromptCase, ...]

    @classmethod
    def load(cls, file: Path) -> CaseFile:
        """Load a case file and its graph; raises `DefinitionError` with all problems."""
        document = read_yaml(file)
        try:
            return _Loader(file, document).load()
        except DefinitionError as error:
            found = [one for one in error.problems if not _is_of_defaults(one, document)]
            raise DefinitionError([_located(one, document) for one in found]) from error

    @property
    def folder(self) -> Path:
        """Where its snapshots are."""
        return folder_of(self.file)


def module_folders(file: Path) -> Iterator[Path]:
    """Where modules that the graph of a case file names are found, beside the current folder.

    In the folder of the project, of the case file and of the graph; `run` finds them there too.
    """
    home = file.absolute().parent
    if (project := settings_of(home).folder) is not None:
        yield project
    yield home
    with suppress(DefinitionError):  # reported when the file is loaded
        yield _normalized(home / str(read_yaml(file).data.get("graph", ""))).parent


def load_cases(file: Path, snapshots: SnapshotTracker) -> CaseFile:
    """Load a case file and mark the snapshots of all its cases as used.

    Raises `DefinitionError`; then all snapshots in its folder count as used.
    """
    folder = str(folder_of(file))
    snapshots.used.setdefault(folder, set())
    try:
        loaded = CaseFile.load(file)
    except TeamgraphError:
        snapshots.incomplete.add(folder)
        raise
    for case in loaded.cases:
        if case.snapshot is not None:
            snapshots.mark_used(case.snapshot)
    return loaded


def check_case(case: PromptCase, snapshots: SnapshotTracker) -> None:
    """Render a case, check what it expects, compare the snapshot.

    Raises `PromptMismatch` with everything that differs, `InputError` or `RunError` if the case
    cannot be rendered.
    """
    if found := mismatches(case, snapshots):
        raise PromptMismatch("\n".join(map(str, found)))


def mismatches(case: PromptCase, snapshots: SnapshotTracker) -> list[PromptMismatch]:
    """What differs, one by one; raises `InputError` or `RunError` as `check_case` does."""
    rendering = case.render()
    found = [PromptMismatch(failure) for failure in case.failures(rendering)]
    if case.snapshot is not None:
        try:
            snapshots.compare(case.snapshot, snapshot(rendering, case.name))
        except PromptMismatch as error:
            found.append(error)
    return found


class SnapshotUpdate(Struct, frozen=True):
    """The result of updating snapshots; `failures` are of cases that still fail.

    `problems` are those of case files and graphs that are not valid.
    """

    snapshots: SnapshotTracker
    cases: int
    failures: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def has_changed(self) -> bool:
        """Whether any snapshot was written, changed or deleted."""
        return any(self.snapshots.report())


def update_snapshots(files: Iterable[Path], root: Path) -> SnapshotUpdate:
    """Write new and changed snapshots of case files, delete those that no case has any more.

    `root` is the folder that files are displayed relative to. Snapshots of test modules stay.
    """
    snapshots = SnapshotTracker(root, is_updating=True)
    cases = 0
    failures: list[str] = []
    problems: list[Problem] = []
    for file in files:
        try:
            loaded = load_cases(file.absolute(), snapshots)
        except DefinitionError as error:
            problems += (problem for problem in error.problems if problem.severity == "error")
            continue
        for case in loaded.cases:
            cases += 1
            try:
                check_case(case, snapshots)
            except (PromptMismatch, TeamgraphError) as error:
                place = f"{snapshots.display(loaded.file)}:{case.line}"
                failures.append(f"{place}: {case.name}: {error}")
    snapshots.delete(snapshots.unused())
    return SnapshotUpdate(snapshots, cases, tuple(failures), tuple(problems))


class _Loader(Struct):
    """Makes the cases of one document, with their graph."""

    file: Path
    document: Document

    def load(self) -> CaseFile:
        data: dict[str, Any] = dict(self.document.data)
        defaults, cases = self.document.data.get("defaults"), self.document.data.get("cases")
        if isinstance(defaults, dict) and isinstance(cases, dict):
            data["cases"] = {name: _merged(defaults, case) for name, case in cases.items()}
        declared = DeclaredCases(**data)
        graph = self._graph(declared)
        parts: dict[KeyPath, DeclaredCase] = {("defaults",): declared.defaults}
        parts |= {("cases", name): case for name, case in declared.cases.items()}
        problems = [one for path, part in parts.items() for one in _problems(graph, part, path)]
        if problems:
            raise DefinitionError(problems)
        written = [
            self._case(graph, name, case, ("cases", name)) for name, case in declared.cases.items()
        ]
        made = self._auto(graph, declared.defaults) if declared.auto else ()
        found = [*written, *made]
        if not found:
            text = "there are no cases in it; write some, or `auto: routes`"
            raise DefinitionError([Problem("C002", text)])
        self._check_names(found)
        return CaseFile(self.file, tuple(found))

    def _graph(self, declared: DeclaredCases) -> Graph:
        """The graph, loaded with the options of this file and of the project's settings."""
        home = self.file.parent
        file = _normalized(home / declared.graph)
        if not file.is_file():
            text = f"there is no graph file {declared.graph!r}; paths are relative to this file"
            raise DefinitionError([Problem("C001", text, path=("graph",))])
        for index, named in enumerate(declared.prompts):
            if not (home / named).is_dir():
                text = f"there is no folder {named!r}; paths are relative to this file"
                raise DefinitionError([Problem("C001", text, path=("prompts", index))])
        settings = settings_of(home.absolute())
        return Graph.load(
            file,
            kinds=project_kinds(settings.kinds),
            prompt_dirs=[
                *(_normalized(home / named) for named in declared.prompts),
                *settings.prompt_dirs(),
            ],
            allow=[*declared.allow, *settings.allow],
            allow_mcp=[*declared.allow_mcp, *settings.allow_mcp],
        )

    def _case(self, graph: Graph, name: str, declared: DeclaredCase, path: KeyPath) -> PromptCase:
        scene = Scene(
            message=declared.input,
            assume=declared.assume,
            history=cast("Sequence[HistoryItem]", declared.history),
            state=declared.state,
            session=declared.session,
            user_id=declared.user_id,
            system=declared.system,
            attachments=declared.attachments,
        )
        file = folder_of(self.file) / f"{slug(name)}.md" if declared.snapshot else None
        return PromptCase(name, graph, scene, declared.expect, file, self.document.key(path).line)

    def _auto(self, graph: Graph, defaults: DeclaredCase) -> Iterator[PromptCase]:
        """For each combination of labels, a case with all optional inputs and one without."""
        empty = self._case(graph, "", defaults, ("auto",))
        full = replace(
            empty.scene,
            history=empty.scene.history or [(placeholder("input"), placeholder("answer"))],
            session={"summary": placeholder("summary"), **empty.scene.session},
            user_id=empty.scene.user_id or placeholder("user"),
            system=empty.scene.system or placeholder("system"),
        )
        try:
            renderings = render_all(graph, full)
        except (InputError, RunError) as error:
            raise DefinitionError([Problem("C004", str(error), path=("auto",))]) from error
        for rendering in renderings:
            assume = {**full.assume, **rendering.routes}
            routes = " ".join(
                f"{router}={'+'.join(labels) or 'none'}"
                for router, labels in rendering.routes.items()
            )
            scenes = {"": full, " bare": replace(empty.scene, is_full=False)}
            for suffix, scene in scenes.items():
                name = f"auto{' ' if routes else ''}{routes}{suffix}"
                file = empty.snapshot and empty.snapshot.with_name(f"{slug(name)}.md")
                yield replace(empty, name=name, scene=replace(scene, assume=assume), snapshot=file)

    def _check_names(self, cases: Sequence[PromptCase]) -> None:
        names: dict[str, str] = {}
        for case in cases:
            other = names.setdefault(slug(case.name), case.name)
            if other is not case.name:
                text = f"the cases {other!r} and {case.name!r} would share a snapshot; rename one"
                path = ("cases", case.name)
                raise DefinitionError([Problem("C005", text, path=path, on_key=True)])


def _not_run(node_id: str) -> RenderedNode:
    """A node inside a graph that was skipped, or that does not exist."""
    return RenderedNode(node_id, "", because="the graph that contains it was not run")


def _merged(defaults: JSON, over: JSON) -> JSON:
    """Deep merge: mappings key by key, any other value of `over` replaces that of `defaults`."""
    if isinstance(defaults, dict) and isinstance(over, dict):
        merged = {key: _merged(defaults.get(key), value) for key, value in over.items()}
        return {**defaults, **merged}
    return over


def _normalized(path: Path) -> Path:
    """The path without `..`, as people write it."""
    return Path(os.path.normpath(path))


def _problems(graph: Graph, declared: DeclaredCase, path: KeyPath) -> Iterator[Problem]:
    """Expectations and assumptions about nodes that the graph does not have, or impossible ones.

    `path` leads to the case.
    """
    for node_id in declared.expect:
        if NodePath(node_id).outermost not in graph.nodes:
            text = f"graph {graph.name!r} has no node {node_id!r}"
            near = closest(node_id, graph.nodes)
            text += "" if near else f"; it has {listed(graph.nodes)}"
            where = (*path, "expect", node_id)
            yield Problem("C003", text, path=where, suggestion=near, on_key=True)
    for node_id, value in declared.assume.items():
        try:
            check_assumptions(graph, {node_id: value})
        except InputError as error:
            where = (*path, "assume", node_id)
            yield Problem("C006", str(error), path=where, on_key=True)


def _is_of_defaults(problem: Problem, document: Document) -> bool:
    """Whether a problem of a case comes from `defaults`, where it is reported once."""
    root, path = problem.path[:1], problem.path[2:]
    data = document.data
    return (
        root == ("cases",)
        and not _exists(data, problem.path)
        and _exists(data.get("defaults"), path)
    )


def _exists(data: object, path: KeyPath) -> bool:
    """Whether the path of keys exists in `data`."""
    for key in path:
        if not isinstance(data, dict) or key not in data:
            return False
        data = cast("dict[str | int, object]", data)[key]
    return True


def _located(problem: Problem, document: Document) -> Problem:
    """The problem with the line and column of its path."""
    if problem.file is not None:
        return problem
    place = document.key(problem.path) if problem.on_key else document.value(problem.path)
    return replace(problem, file=document.file, line=place.line, column=place.column)
