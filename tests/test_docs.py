"""README and docs are true: their code blocks run unchanged, their links and paths exist.

A block whose first line is a comment with a file name is that file; the blocks of a page, and those
of the tutorial, share a folder, as they do for a reader who follows along. In `console` blocks a
line with `$ ` is run by a shell, and the lines after it are its expected output, where `...`
matches any lines.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from teamgraph import Graph
from teamgraph.engine.testing.cases import CaseFile
from teamgraph.engine.testing.snapshots import SUFFIX
from teamgraph.engine.view.drawing import svg_file
from tests.builders import FEWER_PLUGINS
from tests.stub import StubProvider

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = {"console", "python", "yaml"}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?:#|\{#) ([\w/]+(?:\.\w+)+)(?: #\})?\n")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_OWN_PATH = re.compile(r"`((?:engine|nodes|graphs|teamgraph|tests|examples)/(?:[\w/.-]*\w/?)?)`")
_END = "-- end of command --"
_RUN_EACH = "import runpy, sys\nfor f in sys.argv[1:]: runpy.run_path(f, run_name='__main__')"


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file(self) -> str | None:
        named = _FILE.match(self.text)
        return named.group(1) if named else None


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


TUTORIAL = sorted((ROOT / "docs" / "tutorial").glob("*.md"))
ALONE = [page for page in PAGES if page not in TUTORIAL]
READ_TOGETHER = [
    TUTORIAL,
    *([page] for page in ALONE if any(one.language in RUN for one in blocks(page))),
]


@pytest.fixture
def provider() -> Iterator[StubProvider]:
    with StubProvider() as stub:
        yield stub


def environment(provider: StubProvider) -> dict[str, str]:
    """A reader's environment, with a stub provider on this machine."""
    private = re.compile(r".*_API_KEY|TEAMGRAPH_.*|PYTHON.*|FORCE_COLOR|COLUMNS|CI")
    kept = {name: text for name, text in os.environ.items() if not private.fullmatch(name)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return kept | {"PATH": path, "OPENAI_API_BASE": provider.base_url, **FEWER_PLUGINS}


@pytest.mark.parametrize("pages", READ_TOGETHER, ids=lambda pages: name_of(pages[0]))
def test_the_code_blocks_of_a_page_run_as_shown(
    pages: list[Path], provider: StubProvider, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "graphs", tmp_path / "graphs")
    reader = Reader(tmp_path, environment(provider))
    for page in pages:
        for block in reversed(blocks(page)):  # of a file that changes, the first
            reader.write(block)
        for language, one_after_another in groupby(blocks(page), lambda block: block.language):
            reader.take(language, [*one_after_another])


@dataclass
class Reader:
    """Runs the blocks of a page, one after the other."""

    folder: Path
    environment: dict[str, str]
    run_id: str = "RUN_ID"

    def write(self, block: Block) -> None:
        if block.file is not None:
            file = self.folder / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")

    def take(self, language: str, taken: list[Block]) -> None:
        """Take blocks of one language that follow each other; those of Python share a process."""
        for block in taken:
            self.write(block)
        if language in ("yaml", "python"):
            assert all(block.file for block in taken), f"name the file of this block:\n{taken}"
        if language == "yaml":
            for block in taken:
                self.read(self.folder / str(block.file))
        elif language == "python":
            done = self.done([sys.executable, "-c", _RUN_EACH, *(str(one.file) for one in taken)])
            assert (done.returncode, done.stderr) == (0, "")
        elif language == "console":
            for block in taken:
                self.converse(block.text)

    def read(self, file: Path) -> None:
        """Load a case file or a graph file; commands do it where functions are in the folder."""
        graphs = "".join(each.read_text("utf-8") for each in file.parent.glob("*.yaml"))
        named = re.findall(r'"(\w+):\w+"', graphs)
        if any((file.parent / f"{module}.py").exists() for module in named):
            return
        if file.name.endswith(SUFFIX):
            assert CaseFile.load(file).cases
        else:
            assert Graph.load(file, allow=named).nodes

    def converse(self, text: str) -> None:
        """Run the commands in one shell and compare what each prints, on standard output if any."""
        parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
        assert not parts[0], f"the first line is a command: {text}"
        commands, shown = parts[1::2], parts[2::2]
        ends = f"echo '{_END}'; echo '{_END}' >&2"
        script = "\n".join(f"{self.known(command)}\n{ends}" for command in commands)
        done = self.done(["bash", "-c", script])
        results = zip(
            commands, shown, done.stdout.split(_END), done.stderr.split(_END), strict=False
        )
        for command, wanted, out, notes in results:
            got = out if out.strip() else notes
            assert matches(wanted, got), f"$ {command}\nshown:\n{wanted}\ncame:\n{out}\n{notes}"
            listed = re.search(r"^([0-9a-f]{32})\s", out, re.MULTILINE)
            self.run_id = listed.group(1) if listed else self.run_id

    def known(self, command: str) -> str:
        """The command with the run id that the reader saw in place of RUN_ID."""
        return command.replace("RUN_ID", self.run_id)

    def done(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def matches(wanted: str, got: str) -> bool:
    """Whether the lines are equal except for the width of gaps; `...` is any number of lines."""
    lines = [" ".join(line.split()) for line in wanted.strip().splitlines()]
    pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in lines)
    plain = "".join(" ".join(line.split()) + "\n" for line in got.strip().splitlines())
    return re.fullmatch(pattern, plain) is not None


def test_dots_match_any_lines_and_nothing_else() -> None:
    assert matches("a\n...\nd", "a\nb\nc\nd")
    assert matches("a   b", "a\tb")
    assert not matches("a\n...\nd", "a\nb\nc")
    assert not matches("a", "a\nb")


def test_every_make_target_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [
            line for one in blocks(page) if one.language == "sh" for line in one.text.split("\n")
        ]
        named = re.findall(
            r"^make ([a-z]+)|`make ([a-z]+)", "\n".join([text, *lines]), re.MULTILINE
        )
        assert {one or other for one, other in named} <= targets, page


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_picture_in_the_readme_is_the_drawing_of_the_desk() -> None:
    picture = (ROOT / "docs" / "desk.svg").read_text(encoding="utf-8")
    assert picture == svg_file(Graph.load(ROOT / "graphs" / "desk.yaml")).text


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_every_link_leads_to_a_file_that_defines_the_name(page: Path) -> None:
    for text, target in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file = page.parent / target.partition("#")[0]
        assert file.exists(), f"{text} -> {target}"
        if text.startswith("`") and file.suffix == ".py":
            name = text.strip("`")
            assert name in defined_in(file) or file.samefile(ROOT / name), f"{name} in {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_of_the_repository_that_a_page_names_exists(page: Path) -> None:
    if page.name == "0014-the-house.md":  # lists where modules were
        return
    named = set(_OWN_PATH.findall(page.read_text(encoding="utf-8")))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_walk_through_the_code_never_returns_to_a_file_that_it_left() -> None:
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    files = [target for _, target in _LINK.findall(page) if target.endswith(".py")]
    visited = [file for file, _ in groupby(files)]
    assert [file for file in visited if visited.count(file) > 1] == []


def defined_in(file: Path) -> set[str]:
    """The functions and classes of a module, and the methods as `Class.method`."""
    return set(_names(ast.parse(file.read_text(encoding="utf-8")).body))


def _names(body: list[ast.stmt], within: str = "") -> Iterator[str]:
    for one in body:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield within + one.name
        if isinstance(one, ast.ClassDef):
            yield from _names(one.body, f"{within}{one.name}.")
