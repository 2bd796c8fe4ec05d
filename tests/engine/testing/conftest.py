"""A project whose prompts are tested, and pytest in it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.builders import FEWER_PLUGINS, written

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

OURS = ("CI", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT")
CHANGE_THE_PROCESS = "faulthandler hypothesispytest syrupy threadexception unraisableexception"
IN_PROCESS = [word for name in CHANGE_THE_PROCESS.split() for word in ("-p", f"no:{name}")]
"""Without plug-ins whose effects would reach this process."""


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

    def pytest(self, *words: str, cache: bool = False) -> Done:
        """pytest in this process, or in its own if it starts others."""
        if "-n" in words:
            return self.pytest_apart(*words)
        without = IN_PROCESS if cache else ["-p", "no:cacheprovider", *IN_PROCESS]
        more = self.environment.get("PYTHONPATH")
        path, modules, said = list(sys.path), set(sys.modules), StringIO()
        kept = {name: text for name, text in os.environ.items() if name not in OURS}
        with (
            patch.dict(os.environ, {**kept, "COLUMNS": "80", **self.environment}, clear=True),
            chdir(self.folder),
            redirect_stdout(said),
            redirect_stderr(said),
        ):
            sys.path[:0] = [more] if more else []
            try:
                code = pytest.main([*_plugin(), *without, *words])
            finally:
                sys.path[:] = path
                for name in set(sys.modules) - modules:
                    file = getattr(sys.modules[name], "__file__", None) or ""
                    if file.startswith(str(self.folder)):
                        del sys.modules[name]
        return Done(int(code), said.getvalue())

    def pytest_apart(self, *words: str) -> Done:
        """pytest in a process of its own."""
        return self.run("pytest", "-p", "no:cacheprovider", *_plugin(), *words)

    def run(self, *words: str) -> Done:
        """Run a module of Python in the folder."""
        kept = {name: text for name, text in os.environ.items() if name not in (*OURS, "COLUMNS")}
        more = self.environment.get("PYTHONPATH") or kept.get("PYTHONPATH")
        path = os.pathsep.join(filter(None, [str(ROOT), more]))
        done = subprocess.run(
            [sys.executable, "-P", "-m", *words],
            cwd=self.folder,
            env={**kept, **FEWER_PLUGINS, **self.environment, "PYTHONPATH": path},
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


def _plugin() -> list[str]:
    """The words that load our plug-in if the environment was installed before it existed."""
    point = "teamgraph.engine.testing.plugin"
    is_installed = any(one.value == point for one in entry_points(group="pytest11"))
    return [] if is_installed else ["-p", point]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a team and two cases."""
    made = Project(tmp_path)
    made.write("pytest.ini", "[pytest]\n")
    made.write("team.yaml", GRAPH)
    made.write("talk.prompts.yaml", CASES)
    return made
