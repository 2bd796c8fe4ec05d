"""`teamgraph prompts`: check, render, snapshot and measure templates, and show recorded ones.

A store records the templates of every prompt that was sent, so that they can be shown later and
compared with the current ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ..errors import InputError, NotFound, listed
from ..files import files_in
from ..graph.graph import Graph
from ..graph.node import graph_in
from ..graph.settings import make_importable
from ..messages import JSON
from ..node_path import NodePath
from ..prompts.branch_coverage import CURRENT_COVERAGE, Coverage
from ..prompts.difference import difference
from ..prompts.library import Prompts
from ..records import Record
from ..session.store import Store
from ..testing.cases import CaseFile, module_folders, update_snapshots
from ..testing.coverage_report import CoverageReport, count_unused_templates
from ..testing.snapshots import SUFFIX, refused_in_ci
from .check import (
    CheckedFile,
    GraphPaths,
    ReportOptions,
    print_report,
)
from .command import EXIT_FAILURE, EXIT_NOT_STARTED, command, command_group, problem_line
from .graph_files import graph_files
from .options import GraphOptions, JsonFlag, StoreOptions
from .output import Style, counted, indent, print_json, print_note, print_paged, print_text
from .render import render

_SHORT_HASH = 12

app = command_group("Check, render, snapshot and measure prompt templates; show recorded ones.")

CasePaths: TypeAlias = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PATH",
        help=f"Case files (*{SUFFIX}) or folders with some. Default: the current folder.",
        show_default=False,
    ),
]

command(app)(render)


@command(app)
def check(graph_options: GraphOptions, report: ReportOptions, *, graphs: GraphPaths = None) -> None:
    """Check only the templates and conditions of graphs.

    `teamgraph explain CODE` explains a code. JSON always includes notes.

    Exit code 0 if all of them are valid, 1 if one has problems, 2 if some could not be checked.
    """
    checked = [CheckedFile.load(file, graph_options) for file in graph_files(graphs)]
    prompt_reports = [one.prompts_only() for one in checked]
    print_report(prompt_reports, report)
    incomplete = [
        every.file
        for every, one in zip(checked, prompt_reports, strict=True)
        if every.count("error") > one.count("error")
    ]
    for file in incomplete:
        print_note(
            f"{file}: other problems prevented some checks; `teamgraph check {file}` lists them",
            Style.ERROR,
        )
    if any(one.count("error") for one in prompt_reports):
        raise typer.Exit(EXIT_FAILURE)
    if incomplete:
        raise typer.Exit(EXIT_NOT_STARTED)


@command(app)
def update(*, paths: CasePaths = None, json: JsonFlag = False) -> None:
    """Write new and changed snapshots of case files, and delete unused ones.

    It is what `pytest --prompts-update` does for case files; snapshots of test modules are not
    changed.
    """
    if (refusal := refused_in_ci("teamgraph prompts update")) is not None:
        raise InputError(refusal)
    files = _case_files(paths)
    for file in files:
        make_importable(Path.cwd(), *module_folders(file))
    done = update_snapshots(files, Path.cwd())
    failures = [*map(problem_line, done.problems), *done.failures]
    if json:
        print_json({**done.snapshots.updates(), "cases": done.cases, "wrong": failures})
    else:
        for line in done.snapshots.report():
            print_text(line)
    for one in failures:
        print_note(one, Style.ERROR)
    if failures:
        raise typer.Exit(EXIT_FAILURE)
    if not done.has_changed:
        print_note(f"{counted(done.cases, 'case')}: all snapshots are up to date", Style.SUCCESS)


@command(app)
def coverage(
    *,
    paths: CasePaths = None,
    fail_under: Annotated[
        float | None,
        typer.Option(metavar="N", help="Exit with code 1 below N percent."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List every branch of a template that no case renders, with file, line and column."""
    files = _case_files(paths)
    for file in files:
        make_importable(Path.cwd(), *module_folders(file))
    covered = _measure(files)
    if json:
        print_json(covered.as_json())
    else:
        print_text(covered.text())
    if fail_under is not None and covered.percent < fail_under:
        raise typer.Exit(EXIT_FAILURE)


@command(app)
def show(
    prompt_hash: Annotated[
        str,
        typer.Argument(
            metavar="HASH", help="The hash of a prompt, or a unique prefix.", show_default=False
        ),
    ],
    store: StoreOptions,
    *,
    json: JsonFlag = False,
) -> None:
    """Show the templates that a recorded prompt was rendered from.

    `teamgraph runs show RUN_ID --prompt` prints the hash of each prompt.
    """
    found = asyncio.run(_find_prompt(prompt_hash, store))
    if json:
        print_json({"hash": found.hash, "sources": found.sources})
    else:
        print_paged(sources_text([found]))


def _case_files(paths: Sequence[Path] | None) -> Sequence[Path]:
    """The case files that are named, and those in the folders that are; default: this folder.

    Raises `NotFound` if there are none, `InputError` for any other file.
    """
    files: dict[Path, None] = {}
    for path in paths or [Path()]:
        if not path.is_dir() and not _is_case_file(path):
            raise InputError(f"{path}: not a case file (*{SUFFIX}) and not a folder")
        files.update(dict.fromkeys(files_in(path, _is_case_file) if path.is_dir() else [path]))
    if not files:
        raise NotFound(f"there is no case file (*{SUFFIX}) here; name one, or a folder with some")
    return list(files)


def _is_case_file(file: Path) -> bool:
    return file.name.endswith(SUFFIX)


def _measure(files: Sequence[Path]) -> CoverageReport:
    measured = Coverage()
    token = CURRENT_COVERAGE.set(measured)
    try:
        for file in files:
            for case in CaseFile.load(file).cases:
                case.render()
        count_unused_templates(measured, Path.cwd())
    finally:
        CURRENT_COVERAGE.reset(token)
    return CoverageReport.of(measured, Path.cwd())


@dataclass(frozen=True, slots=True)
class RecordedPrompt:
    """The sources of a prompt that was sent: its template and every one that this one used.

    `sources` maps names to texts, the prompt's own first, and is None if the store does not have
    them. `node` is the path of a node that sent the prompt, empty if it is unknown.
    """

    hash: str
    sources: Mapping[str, str] | None
    prompt: str
    node: str = ""

    @property
    def title(self) -> str:
        """The name of the prompt and its short hash."""
        return f"prompt {self.prompt} ({self.hash[:_SHORT_HASH]})"


async def recorded_prompts(records: Iterable[Record], store: Store) -> list[RecordedPrompt]:
    """Each prompt that these nodes sent, once, with its sources from the store."""
    found: dict[str, RecordedPrompt] = {}
    for record in records:
        for exchange in record.exchanges:
            prompt_hash = exchange.prompt_hash
            if prompt_hash not in found:
                sources = await store.prompt(prompt_hash)
                found[prompt_hash] = RecordedPrompt(
                    prompt_hash, sources, exchange.prompt, record.node
                )
    return list(found.values())


async def _find_prompt(prefix: str, options: StoreOptions) -> RecordedPrompt:
    """The prompt whose hash has this prefix.

    Raises `NotFound`, or `InputError` if there are several.
    """
    wanted = prefix.strip().lower()
    async with options.open() as store:
        hashes = await store.prompt_hashes(wanted) if wanted else []
        if len(hashes) > 1 and wanted not in hashes:
            near = listed((each[: len(wanted) + _SHORT_HASH] for each in hashes), at_most=5)
            raise InputError(
                f"{len(hashes)} prompts begin with {prefix!r}: {near}; give more of the hash"
            )
        found = wanted if wanted in hashes else next(iter(hashes), wanted)
        sources = await store.prompt(found) if hashes else None
    if sources is None:
        raise NotFound(
            f"there is no prompt with the hash {prefix!r} in {options.title}; `teamgraph runs "
            "show RUN_ID --prompt` prints the hash of each prompt of a run"
        )
    return RecordedPrompt(found, sources, next(iter(sources)))


@dataclass(frozen=True, slots=True)
class CurrentTemplates:
    """The templates to compare with: those of a graph, or without one the built-in ones."""

    graph: Graph | None = None

    def differences(self, recorded: RecordedPrompt) -> dict[str, str | None]:
        """A unified diff from recorded to current for each template, empty if they are equal.

        None stands for a template that does not exist here.
        """
        then, now = recorded.sources or {}, self._sources(recorded)
        return {
            name: difference(name, then.get(name), now[name]) if name in now else None
            for name in {**then, **now}
        }

    def difference_text(self, name: str, difference: str | None) -> str:
        """The diff of a template as people read it."""
        if difference is None:
            advice = "" if self.graph else "; name its graph with --graph"
            return f"{name}: not among {self.title}{advice}"
        return difference or f"{name}: unchanged"

    @property
    def title(self) -> str:
        """Whose templates these are."""
        return f"those of graph {self.graph.name!r}" if self.graph else "the built-in ones"

    def _sources(self, recorded: RecordedPrompt) -> Mapping[str, str]:
        prompts = _prompts_of(self.graph, recorded.node) if self.graph else Prompts()
        found: dict[str, str] = {}
        for name in recorded.sources or ():
            text = prompts.sources(name).get(name)
            if text is not None:
                found[name] = text
        return {**found, **prompts.sources(recorded.prompt)}


def sources_text(prompts: Sequence[RecordedPrompt]) -> str:
    """The templates of each prompt as text; one that was already printed is only named."""
    printed: set[tuple[str, str]] = set()
    parts: list[str] = []
    for recorded in prompts:
        lines = [f"{recorded.title} was rendered from"]
        for name, text in (recorded.sources or {}).items():
            is_repeated = (name, text) in printed
            lines.append(
                f"  {name}: as above" if is_repeated else f"  {name}:\n{indent(text, '    ')}"
            )
            printed.add((name, text))
        parts.append("\n".join(lines) if recorded.sources else _missing(recorded))
    return "\n\n".join(parts) + "\n"


def differences_text(prompts: Sequence[RecordedPrompt], current: CurrentTemplates) -> str:
    """What has changed in the templates of each prompt, as text."""
    parts: list[str] = []
    for recorded in prompts:
        lines = [f"{recorded.title}: its templates then, and {current.title} now"]
        differences = current.differences(recorded).items()
        lines += [indent(current.difference_text(*difference)) for difference in differences]
        parts.append("\n".join(lines) if recorded.sources else _missing(recorded))
    return "\n\n".join(parts) + "\n"


def recorded_prompts_as_json(
    prompts: Iterable[RecordedPrompt], current: CurrentTemplates | None
) -> dict[str, JSON]:
    """The sources of prompts by their hash; with `current` also the differences."""
    return {recorded.hash: _prompt_as_json(recorded, current) for recorded in prompts}


def _prompt_as_json(recorded: RecordedPrompt, current: CurrentTemplates | None) -> dict[str, JSON]:
    sources: JSON = None if recorded.sources is None else dict(recorded.sources)
    fields: dict[str, JSON] = {"prompt": recorded.prompt, "sources": sources}
    if current is not None:
        fields["diff"] = None if sources is None else dict(current.differences(recorded))
    return fields


def _missing(recorded: RecordedPrompt) -> str:
    return f"{recorded.title}: its templates are not in this store, since the run was imported"


def _prompts_of(graph: Graph, path: str) -> Prompts:
    """The templates of the node at a path: those of the innermost graph around it."""
    for step in NodePath(path).declared.parent.steps:
        node = graph.nodes.get(step)
        within = graph_in(node) if node else None
        graph = within if isinstance(within, Graph) else graph
    return graph.prompts
