"""A project whose prompts are tested: pytest in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.builders import written

ROOT = Path(__file__).parents[3]
GRAPH = """\
name: team
nodes:
  router: {kind: router, routes: {french: French, german: German}}
  french: {role: You speak French}
  german: {role: You speak German}
output: [french, german]
"""
CASES = """\
graph: team.yaml
cases:
  Bonjour: {input: Bonjour, assume: {router: french}}
  Hallo: {input: Hallo, assume: {router: german}}
"""


@dataclass(frozen=True)
class Done:
    """What pytest said, and its exit code."""

    code: int
    text: str


@dataclass(frozen=True)
class Project:
    """A folder with a graph, and pytest in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def write(self, name: str, text: str) -> Path:
        return written(self.folder, text, name=name)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def pytest(self, *words: str) -> Done:
        point = "teamgraph.engine.testing.plugin"
        is_installed = any(one.value == point for one in entry_points(group="pytest11"))
        plugin = [] if is_installed else ["-p", point]
        return self.run("pytest", "-p", "no:cacheprovider", *plugin, *words)

    def run(self, *words: str) -> Done:
        """Run a module of Python in the folder."""
        ours = ("CI", "COLUMNS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT")
        kept = {name: text for name, text in os.environ.items() if name not in ours}
        more = self.environment.get("PYTHONPATH") or kept.get("PYTHONPATH")
        path = os.pathsep.join(filter(None, [str(ROOT), more]))
        done = subprocess.run(
            [sys.executable, "-P", "-m", *words],
            cwd=self.folder,
            env={**kept, **self.environment, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout + done.stderr)

    def snapshots(self) -> set[str]:
        """The snapshots that there are, by suite and case."""
        home = self.folder / "__prompts__"
        return {path.relative_to(home).as_posix() for path in home.rglob("*.md")}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a team and two cases."""
    made = Project(tmp_path)
    made.write("pytest.ini", "[pytest]\n")
    made.write("team.yaml", GRAPH)
    made.write("talk.prompts.yaml", CASES)
    return made
