"""`teamgraph prompts`: templates checked, rendered, compared, measured, and as they once were.

The case files that a command works on.

The templates that a prompt was rendered from, as a store keeps them, and how today's differ.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from io import StringIO
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ..errors import InputError, NotFound, listed
from ..graph.graph import Graph
from ..graph.settings import make_importable, settings_of
from ..messages import JSON
from ..prompts.branch_coverage import CURRENT_COVERAGE, Coverage
from ..prompts.library import Prompts
from ..records import Record
from ..session.store import Store
from ..testing.cases import CaseFile, update_snapshots
from ..testing.coverage_report import CoverageReport, count_unused_templates
from ..testing.snapshots import SUFFIX, refused_in_ci
from .check import Checked, GraphFiles, Telling
from .check import show as show_problems
from .command import command
from .failure import NOT_HELD, NOT_TRIED
from .options import AsJson, Reading, Storing
from .render import render
from .screen import Tone, counted, indented, note, print_json, print_pages, say

CasePaths: TypeAlias = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PATH",
        help=f"Case files (*{SUFFIX}), or folders that they lie in; if left out, this one.",
        show_default=False,
    ),
]
_LEFT_OUT = frozenset(("build", "dist", "node_modules"))


def case_files(paths: Sequence[Path] | None) -> Sequence[Path]:
    """The case files that are named, and those in the folders that are; here, if nothing is.

    Hidden folders, environments and what was built are left out, as pytest does it. Raises
    `NotFound` if there are none, `InputError` if something else is named.
    """
    files: dict[Path, None] = {}
    for path in paths or [Path()]:
        if not path.is_dir() and not path.name.endswith(SUFFIX):
            raise InputError(f"{path}: a case file ends in {SUFFIX}; name one, or a folder")
        files.update(dict.fromkeys(_inside(path) if path.is_dir() else [path]))
    if not files:
        raise NotFound(f"there is no case file (*{SUFFIX}) here; name one, or a folder with some")
    return list(files)


def _inside(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if _is_looked_into(here / name))
        yield from (here / name for name in sorted(names) if name.endswith(SUFFIX))


def _is_looked_into(folder: Path) -> bool:
    is_hidden = folder.name.startswith(".") or folder.name in _LEFT_OUT
    return not is_hidden and not (folder / "pyvenv.cfg").is_file()


_NO_END = "\\ No newline at end of file"
SHORT = 12
"""Letters of a hash that are enough for people."""


@dataclass(frozen=True, slots=True)
class RecordedPrompt:
    """The sources of one prompt: the text of each template by its name, the prompt's own first.

    `sources` is None where the store does not have them. `node` is the path of a node that was
    asked with it, empty where nobody knows.
    """

    hash: str
    sources: Mapping[str, str] | None
    prompt: str
    node: str = ""

    @property
    def title(self) -> str:
        """The prompt by its name and the beginning of its hash."""
        return f"prompt {self.prompt} ({self.hash[:SHORT]})"


@dataclass(frozen=True, slots=True)
class Today:
    """Templates as they are now: those of a graph, or without one the built-in ones."""

    graph: Graph | None = None

    def differences(self, kept: RecordedPrompt) -> dict[str, str | None]:
        """For each template of a prompt a unified diff from then to now, empty if they agree.

        None stands for a template that is not among these.
        """
        then, now = kept.sources or {}, self._sources(kept)
        found: dict[str, str | None] = {}
        for name in {**then, **now}:
            found[name] = _diff(name, then.get(name), now[name]) if name in now else None
        return found

    def told(self, name: str, difference: str | None) -> str:
        """What there is to say of a template."""
        if difference is None:
            way = "" if self.graph else "; name its graph with --graph"
            return f"{name}: not among {self.named}{way}"
        return difference or f"{name}: unchanged"

    @property
    def named(self) -> str:
        """Whose templates these are."""
        return f"those of graph {self.graph.name!r}" if self.graph else "the built-in ones"

    def _sources(self, kept: RecordedPrompt) -> Mapping[str, str]:
        prompts = _prompts(self.graph, kept.node) if self.graph else Prompts()
        alone = {name: prompts.sources(name).get(name) for name in kept.sources or ()}
        there = {name: text for name, text in alone.items() if text is not None}
        return there | prompts.sources(kept.prompt)


async def kept_under(prefix: str, storing: Storing) -> RecordedPrompt:
    """The prompt whose hash begins so; raises `NotFound` or, if there are several, `InputError`."""
    wanted = prefix.strip().lower()
    async with storing.open() as store:
        hashes = await store.prompt_hashes(wanted) if wanted else []
        if len(hashes) > 1 and wanted not in hashes:
            near = listed((each[: len(wanted) + SHORT] for each in hashes), at_most=5)
            raise InputError(
                f"{len(hashes)} prompts begin with {prefix!r}: {near}; give more of it"
            )
        found = wanted if wanted in hashes else next(iter(hashes), wanted)
        sources = await store.prompt(found) if hashes else None
    if sources is None:
        raise NotFound(
            f"no prompt with the hash {prefix!r} is kept in {storing.folder}; `teamgraph runs show "
            "RUN --prompt` tells the hash of each prompt of a run"
        )
    return RecordedPrompt(found, sources, next(iter(sources)))


async def kept_of(records: Iterable[Record], store: Store) -> list[RecordedPrompt]:
    """What a store keeps of each prompt that these nodes were asked with, each once."""
    found: dict[str, RecordedPrompt] = {}
    for record in records:
        for asked in record.exchanges:
            if asked.prompt_hash not in found:
                sources = await store.prompt(asked.prompt_hash)
                found[asked.prompt_hash] = RecordedPrompt(
                    asked.prompt_hash, sources, asked.prompt, record.node
                )
    return list(found.values())


def sources_told(prompts: Sequence[RecordedPrompt]) -> str:
    """The templates of each prompt as people read them; one that was shown is only named again."""
    shown: set[tuple[str, str]] = set()
    parts: list[str] = []
    for kept in prompts:
        lines = [f"{kept.title} is made of"]
        for name, text in (kept.sources or {}).items():
            is_known = (name, text) in shown
            lines.append(
                f"  {name}: as above" if is_known else f"  {name}:\n{indented(text, '    ')}"
            )
            shown.add((name, text))
        parts.append("\n".join(lines) if kept.sources else _missing(kept))
    return "\n\n".join(parts) + "\n"


def differences_told(prompts: Sequence[RecordedPrompt], today: Today) -> str:
    """For each prompt what has changed in its templates since, as people read it."""
    parts: list[str] = []
    for kept in prompts:
        lines = [f"{kept.title}: its templates then and {today.named} now"]
        lines += [indented(today.told(*each)) for each in today.differences(kept).items()]
        parts.append("\n".join(lines) if kept.sources else _missing(kept))
    return "\n\n".join(parts) + "\n"


def kept_as_json(prompts: Iterable[RecordedPrompt], today: Today | None) -> dict[str, JSON]:
    """The sources of prompts by their hash; with `today` also what differs now."""
    return {kept.hash: dict(_facts(kept, today)) for kept in prompts}


def _facts(kept: RecordedPrompt, today: Today | None) -> Iterator[tuple[str, JSON]]:
    yield "prompt", kept.prompt
    yield "sources", None if kept.sources is None else dict(kept.sources)
    if today is not None:
        yield "diff", None if kept.sources is None else dict(today.differences(kept))


def _missing(kept: RecordedPrompt) -> str:
    return f"{kept.title}: its sources are not kept here, since the run was imported"


def _prompts(graph: Graph, path: str) -> Prompts:
    """The templates that the node at a path may use: those of the innermost graph around it."""
    for part in path.split("/")[:-1]:
        node = graph.nodes.get(part)
        within = node.within() if node else None
        graph = within if isinstance(within, Graph) else graph
    return graph.prompts


def _diff(name: str, then: str | None, now: str) -> str:
    old, new = StringIO(then or "").readlines(), StringIO(now).readlines()
    lines = unified_diff(old, new, f"{name} (then)", f"{name} (now)")
    ended = (line if line.endswith("\n") else f"{line}\n{_NO_END}\n" for line in lines)
    return "".join(ended).removesuffix("\n")


app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def prompts_of_graphs() -> None:
    """Check, render, compare and measure templates, and show those that a run was sent with."""


command(app)(render)


@command(app)
def check(graphs: GraphFiles, reading: Reading, telling: Telling) -> None:
    """Say whether the templates and conditions of graphs hold: that part of `teamgraph check`.

    What each code means stands in docs/prompt-checks.md. JSON has the notes in any case.
    """
    checked = [Checked.of(file, reading) for file in graphs]
    prompts_only = [one.prompts() for one in checked]
    show_problems(prompts_only, telling)
    pairs = zip(checked, prompts_only, strict=True)
    unsure = [one.file for one, of_prompts in pairs if one.errors > of_prompts.errors]
    for file in unsure:
        told = f"{file}: something else does not hold, so not every prompt could be checked"
        note(f"{told}; `teamgraph check {file}` says what", Tone.BAD)
    if any(one.errors for one in prompts_only):
        raise typer.Exit(NOT_HELD)
    if unsure:
        raise typer.Exit(NOT_TRIED)


@command(app)
def update(*, paths: CasePaths = None, json: AsJson = False) -> None:
    """Write the snapshots of cases that are new or changed, and delete those that no case names.

    What `pytest --prompts-update` does for case files; snapshots of test modules stay as they are.
    """
    if (refusal := refused_in_ci("teamgraph prompts update")) is not None:
        raise InputError(refusal)
    files = case_files(paths)
    _make_importable(files)
    done = update_snapshots(files, Path.cwd())
    if json:
        print_json({**done.snapshots.updates(), "cases": done.cases, "wrong": done.failures})
    for line in () if json else done.snapshots.report():
        say(line)
    for one in done.failures:
        note(one, Tone.BAD)
    if done.failures:
        raise typer.Exit(NOT_HELD)
    if not done.has_changed:
        note(f"{counted(done.cases, 'case')}: every snapshot is as it was", Tone.GOOD)


@command(app)
def coverage(
    *,
    paths: CasePaths = None,
    fail_under: Annotated[
        float | None,
        typer.Option(metavar="N", help="Fail if less than N percent were rendered."),
    ] = None,
    json: AsJson = False,
) -> None:
    """List every branch of a template that no case renders, with file, line and column."""
    files = case_files(paths)
    _make_importable(files)
    covered = _covered(files)
    if json:
        print_json(covered.as_json())
    else:
        say(covered.text())
    if fail_under is not None and covered.percent < fail_under:
        raise typer.Exit(NOT_HELD)


@command(app)
def show(
    prompt_hash: Annotated[
        str,
        typer.Argument(
            metavar="HASH",
            help="The hash of a prompt, or as much of it as no other has.",
            show_default=False,
        ),
    ],
    storing: Storing,
    *,
    json: AsJson = False,
) -> None:
    """Show the templates that a prompt was rendered from, as they were then.

    `teamgraph runs show RUN_ID --prompt` tells the hash of each prompt.
    """
    found = asyncio.run(kept_under(prompt_hash, storing))
    if json:
        print_json({"hash": found.hash, "sources": found.sources})
    else:
        print_pages(sources_told([found]))


def _make_importable(files: Iterable[Path]) -> None:
    """Let the graphs of case files name functions of the projects that the files are in."""
    for folder in dict.fromkeys(file.absolute().parent for file in files):
        settings = settings_of(folder)
        if settings.allow:
            make_importable(settings.folder)


def _covered(files: Sequence[Path]) -> CoverageReport:
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
