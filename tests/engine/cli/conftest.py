"""What the tests of the command line share: a project folder, and `teamgraph` in it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from teamgraph.engine.cli.command import app
from tests.stub import StubProvider

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")
PACKAGE = Path(__file__).parents[3] / "teamgraph"
"""The package that is tested, wherever others are installed."""
DESK = """\
name: desk
nodes:
  history: {kind: history-loader}
  router:
    kind: router
    routes: {billing: Money, technical: Machines}
    default: technical
  billing: {role: You know the prices}
  technical: {role: You know the machines}
output: [billing, technical]
"""


@dataclass(frozen=True)
class Project:
    """A folder that is the working directory, with the graph `desk.yaml`."""

    folder: Path
    library: Path
    more: dict[str, str] = field(default_factory=dict[str, str])
    terminals: list[Terminal] = field(default_factory=list["Terminal"])

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def teamgraph(self, *words: str, said: str | bytes | None = None) -> Result:
        """The command in this process; standard output and error are apart."""
        return CliRunner().invoke(app, words, input=said, env=self.more)

    def environment(self) -> dict[str, str]:
        left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "FORCE_COLOR", "NO_COLOR")
        kept = {name: text for name, text in os.environ.items() if name not in left_out}
        return kept | {"PYTHONPATH": str(self.library)} | self.more

    def apart(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command in a process of its own, to its end."""
        running = self.start(*words)
        out, told = running.communicate(timeout=60)
        return subprocess.CompletedProcess(words, running.returncode, out, told)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The command in a process of its own; the caller ends it."""
        return subprocess.Popen(
            [sys.executable, "-m", "teamgraph", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """A script of bash that finds the command as `$teamgraph`."""
        return subprocess.run(
            ["bash", "-c", script],  # noqa: S607  wherever it is
            capture_output=True,
            text=True,
            check=False,
            env={**self.environment(), "teamgraph": f"{sys.executable} -m teamgraph"},
        )

    def terminal(self, *words: str) -> Terminal:
        """The command at a terminal of its own."""
        return self.python_at_terminal("-m", "teamgraph", *words)

    def python_at_terminal(self, *words: str) -> Terminal:
        """Python at a terminal of its own."""
        made = Terminal(words, {**self.environment(), "TERM": "xterm-256color"})
        self.terminals.append(made)
        return made


class Terminal:
    """A command at a pseudo-terminal: what it showed so far, and keys to press."""

    def __init__(self, words: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self.shown = ""
        self._seen = 0
        ours, theirs = pty.openpty()
        self._ours = ours
        self._process = subprocess.Popen(
            [sys.executable, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)

    def wait_for(self, text: str) -> None:
        """Read until the text is shown after what was waited for before, or fail."""
        while text not in self.shown[self._seen :]:
            assert self._read(), f"{text!r} is not in {self.shown[self._seen :]!r}"
        self._seen = self.shown.index(text, self._seen) + len(text)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def interrupt(self) -> None:
        """What the terminal does at Ctrl-C, once the command waits for something.

        A signal that comes after readline has shown its prompt, and before it listens, is seen at
        the next key only: CPython's `input` looks at signals when one ends its wait.
        """
        self._until_it_waits()
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self._process.wait(timeout=30)

    def close(self) -> None:
        """Leave nothing behind, also of a test that failed."""
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def _until_it_waits(self) -> None:
        status, end = Path(f"/proc/{self._process.pid}/stat"), time.monotonic() + 30
        while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < end, f"it never waits after {self.shown!r}"
            time.sleep(0.001)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 30)
        assert ready, f"nothing came for half a minute after {self.shown!r}"
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # the other side is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from that has nothing but the package, as after an installation."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "teamgraph").symlink_to(PACKAGE)
    return folder


@pytest.fixture
def project(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """An empty project but for a graph; nothing of the environment counts, CI neither."""
    monkeypatch.chdir(tmp_path)
    for name in (*KEYS, "TEAMGRAPH_MODEL", "TEAMGRAPH_STORE", "CI"):
        monkeypatch.delenv(name, raising=False)
    made = Project(tmp_path, library)
    made.write("desk.yaml", DESK)
    yield made
    for terminal in made.terminals:
        terminal.close()
    # An import of litellm that spans two tests meets the warning filters of both, and breaks.
    for thread in threading.enumerate():
        if thread.name == "teamgraph-litellm":
            thread.join()


@pytest.fixture
def stub() -> Iterator[StubProvider]:
    """A provider on loopback."""
    with StubProvider() as running:
        yield running
