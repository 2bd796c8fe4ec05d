"""The cases of a file, held against their snapshots: by pytest, and by `prompts update`.

A case file: a graph and the cases in which its prompts are rendered, without a line of code.

graph: ../graphs/desk.yaml       # relative to this file
defaults: {user_id: ana}         # under every case
auto: routes                     # also a case for each way that the routers may take
cases:
  a refund:
    input: I want my money back
    assume: {router: payment}
    expect: {payment: {contains: refund}, delivery: skipped}
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from msgspec import Struct
from msgspec.structs import replace

from ..errors import DefinitionError, InputError, KeyPath, Problem, RunError, TeamgraphError
from ..graph.graph import Graph
from ..graph.settings import make_importable, settings_of
from ..graph.yaml.reader import Document, read_yaml
from ..messages import JSON
from ..models.samples import placeholder
from ..run.dry_run.history import Said
from ..run.dry_run.rehearsal import Scene, render, render_all
from ..run.dry_run.rendering import RenderedNode, Rendering
from .case_file import CaseFile, Declaring, Expected, Wanted, misplaced
from .ledger import FOLDER, Ledger, Mismatch
from .snapshot import slug, snapshot

SUFFIX = ".prompts.yaml"


class Case(Struct, frozen=True):
    """One case: what is rendered, what must be true of it, and the file of its snapshot."""

    name: str
    graph: Graph
    scene: Scene
    expect: Mapping[str, Expected]
    snapshot: Path | None
    line: int = 1

    def render(self) -> Rendering:
        """The prompts of the case."""
        return render(self.graph, self.scene)

    def misses(self, rendering: Rendering) -> list[str]:
        """What is expected and not true, in words."""
        found: list[str] = []
        for node_id, wanted in self.expect.items():
            node = rendering.get(node_id) or _not_there(node_id)
            if isinstance(wanted, Wanted):
                found += wanted.misses(node)
            elif node.because is None:
                found.append(f"{node_id}: it runs, but is expected to be skipped")
        return found


class Suite(Struct, frozen=True):
    """The cases of one file; they share the graph, which is loaded once."""

    file: Path
    cases: tuple[Case, ...]

    @classmethod
    def read(cls, file: Path) -> Suite:
        """Read a case file and its graph; raises `DefinitionError` with all that does not hold."""
        document = read_yaml(file)
        try:
            return _Reading(file, document).suite()
        except DefinitionError as error:
            found = [one for one in error.problems if not _is_told_of_defaults(one, document)]
            raise DefinitionError([_placed(one, document) for one in found]) from error

    @property
    def folder(self) -> Path:
        """Where its snapshots lie."""
        return folder_of(self.file)


def folder_of(file: Path) -> Path:
    """Where the snapshots of a case file or of a test module lie."""
    return file.parent / FOLDER / file.name.removesuffix(SUFFIX).removesuffix(".py")


class _Reading(Struct):
    file: Path
    document: Document

    def suite(self) -> Suite:
        data: dict[str, Any] = dict(self.document.data)
        defaults, cases = self.document.data.get("defaults"), self.document.data.get("cases")
        if isinstance(defaults, dict) and isinstance(cases, dict):
            data["cases"] = {name: _merged(defaults, case) for name, case in cases.items()}
        declared = CaseFile(**data)
        graph = self._graph(declared)
        parts: dict[KeyPath, Declaring] = {("defaults",): declared.defaults}
        parts |= {("cases", name): case for name, case in declared.cases.items()}
        problems = [one for path, part in parts.items() for one in misplaced(graph, part, path)]
        if problems:
            raise DefinitionError(problems)
        written = [
            self._case(graph, name, case, ("cases", name)) for name, case in declared.cases.items()
        ]
        made = self._auto(graph, declared.defaults)
        found = [*written, *(made if declared.auto else ())]
        if not found:
            text = "there are no cases in it; write some, or `auto: routes`"
            raise DefinitionError([Problem("C002", text)])
        self._check_names(found)
        return Suite(self.file, tuple(found))

    def _graph(self, declared: CaseFile) -> Graph:
        """The graph, read with what the file says and the project says of all its graphs."""
        home = self.file.parent
        file = _plain(home / declared.graph)
        if not file.is_file():
            text = f"there is no graph file {declared.graph!r}; paths are relative to this file"
            raise DefinitionError([Problem("C001", text, path=("graph",))])
        for index, named in enumerate(declared.prompts):
            if not (home / named).is_dir():
                text = f"there is no folder {named!r}; paths are relative to this file"
                raise DefinitionError([Problem("C001", text, path=("prompts", index))])
        settings = settings_of(home.absolute())
        if settings.allow:
            make_importable(settings.folder)
        return Graph.load(
            file,
            prompt_dirs=[
                *(_plain(home / named) for named in declared.prompts),
                *settings.prompt_dirs(),
            ],
            allow=[*declared.allow, *settings.allow],
        )

    def _case(self, graph: Graph, name: str, declared: Declaring, path: KeyPath) -> Case:
        scene = Scene(
            message=declared.input,
            assume=declared.assume,
            history=cast("Sequence[Said]", declared.history),
            state=declared.state,
            session=declared.session,
            user_id=declared.user_id,
        )
        file = folder_of(self.file) / f"{slug(name)}.md" if declared.snapshot else None
        return Case(name, graph, scene, declared.expect, file, self.document.key(path).line)

    def _auto(self, graph: Graph, defaults: Declaring) -> Iterator[Case]:
        """For each way of the routers a case with all there can be, and one with nothing."""
        empty = self._case(graph, "", defaults, ("auto",))
        full = replace(
            empty.scene,
            history=empty.scene.history or [(placeholder("input"), placeholder("answer"))],
            session={"summary": placeholder("summary"), **empty.scene.session},
            user_id=empty.scene.user_id or placeholder("user"),
        )
        try:
            ways = render_all(graph, full)
        except (InputError, RunError) as error:
            raise DefinitionError([Problem("C004", str(error), path=("auto",))]) from error
        for way in ways:
            assume = {**full.assume, **way.routes}
            taken = " ".join(
                f"{router}={'+'.join(labels) or 'none'}" for router, labels in way.routes.items()
            )
            scenes = {"": full, " bare": replace(empty.scene, is_full=False)}
            for more, scene in scenes.items():
                name = f"auto{' ' if taken else ''}{taken}{more}"
                file = empty.snapshot and empty.snapshot.with_name(f"{slug(name)}.md")
                yield replace(empty, name=name, scene=replace(scene, assume=assume), snapshot=file)

    def _check_names(self, cases: Sequence[Case]) -> None:
        taken: dict[str, str] = {}
        for case in cases:
            other = taken.setdefault(slug(case.name), case.name)
            if other is not case.name:
                text = f"the cases {other!r} and {case.name!r} would share a snapshot; rename one"
                path = ("cases", case.name)
                raise DefinitionError([Problem("C005", text, path=path, on_key=True)])


def _not_there(node_id: str) -> RenderedNode:
    """A node inside one that was skipped, or of which there is none."""
    return RenderedNode(node_id, "", because="the graph that it should be in did not run it")


def _merged(under: JSON, over: JSON) -> JSON:
    """`over` laid over `under`: mappings key by key, anything else as a whole."""
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{key: _merged(under.get(key), value) for key, value in over.items()}}
    return over


def _plain(path: Path) -> Path:
    """The path without `..`, as people know it."""
    return Path(os.path.normpath(path))


def _is_told_of_defaults(problem: Problem, document: Document) -> bool:
    """Whether it is wrong in every case, since it is wrong in `defaults`."""
    of, path = problem.path[:1], problem.path[2:]
    data = document.data
    return (
        of == ("cases",) and not _leads(data, problem.path) and _leads(data.get("defaults"), path)
    )


def _leads(data: object, path: KeyPath) -> bool:
    """Whether a path of keys leads somewhere."""
    for key in path:
        if not isinstance(data, dict) or key not in data:
            return False
        data = cast("dict[str | int, object]", data)[key]
    return True


def _placed(problem: Problem, document: Document) -> Problem:
    if problem.file is not None:
        return problem
    place = document.key(problem.path) if problem.on_key else document.value(problem.path)
    return replace(problem, file=document.file, line=place.line, column=place.column)


def noted_suite(file: Path, ledger: Ledger) -> Suite:
    """Read a case file, and note the snapshots that its cases have, whether or not they are held.

    Raises `DefinitionError`; then its snapshots count as in use.
    """
    folder = str(folder_of(file))
    ledger.named.setdefault(folder, set())
    try:
        suite = Suite.read(file)
    except TeamgraphError:
        ledger.unsure.add(folder)
        raise
    for case in suite.cases:
        if case.snapshot is not None:
            ledger.name(case.snapshot)
    return suite


def hold(case: Case, ledger: Ledger) -> None:
    """Render a case, expect, compare; raises `Mismatch` with all that is wrong.

    Raises `InputError` or `RunError` if the case cannot be rendered.
    """
    rendering = case.render()
    wrong = case.misses(rendering)
    if case.snapshot is not None:
        try:
            ledger.compare(case.snapshot, snapshot(rendering, case.name))
        except Mismatch as error:
            wrong.append(str(error))
    if wrong:
        raise Mismatch("\n".join(wrong))


class Update(Struct, frozen=True):
    """What became of the snapshots of case files; `wrong` is what did not hold, case by case."""

    ledger: Ledger
    cases: int
    wrong: tuple[str, ...]

    @property
    def has_changed(self) -> bool:
        """Whether any snapshot is not as it was."""
        return any(self.ledger.told())


def update(files: Iterable[Path], root: Path) -> Update:
    """Write the snapshots that are new or changed, delete those that no case names any more.

    `root` is the folder that files are shown relative to. Snapshots of test modules stay.
    """
    ledger = Ledger(root, is_updating=True)
    cases = 0
    wrong: list[str] = []
    for file in files:
        try:
            suite = noted_suite(file.absolute(), ledger)
        except TeamgraphError as error:
            wrong.append(str(error))
            continue
        for case in suite.cases:
            cases += 1
            try:
                hold(case, ledger)
            except (Mismatch, TeamgraphError) as error:
                wrong.append(f"{ledger.shown(suite.file)}:{case.line}: {case.name}: {error}")
    ledger.delete(ledger.unused())
    return Update(ledger, cases, tuple(wrong))
