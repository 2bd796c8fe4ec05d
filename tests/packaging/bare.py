"""An environment that has teamgraph from its wheel, and nothing from the checkout.

There is no network: the other distributions are those of the running environment, linked one by
one. Left out are its `.pth` files, its own installation of teamgraph, and every variable that could
lead back to the checkout or start a measurement of coverage; and the plug-ins of pytest that only
our own tests need.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

LEFT_OUT = r"teamgraph|\.pth$|^__pycache__$|hypothesis|syrupy"
FOLDERS = ("engine", "graphs", "nodes", "prompts")
ROOT = Path(__file__).parents[2]
SCRIPT = """\
#!{python}
import sys
from {point.module} import {point.attr}
sys.exit({point.attr}())
"""
BUILD = "import sys; from hatchling.build import *; print(globals()[sys.argv[1]](sys.argv[2]))"


@dataclass(frozen=True)
class Done:
    """What a process printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Bare:
    """The environment's folder, and how to run something in it."""

    folder: Path

    @property
    def site_packages(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def run(self, program: str, *words: str, cwd: Path, **variables: str) -> Done:
        """Run a program of the environment in `cwd`."""
        home = {"HOME": str(self.folder), "LANG": "C.UTF-8"}
        path = os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", os.defpath)])
        done = subprocess.run(
            [self.folder / "bin" / program, *words],
            cwd=cwd,
            env={"PATH": path, **home, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def build(what: str, source: Path, target: Path) -> Path:
    """Build a `wheel` or an `sdist` of the tree in `source`, as pip would, without isolation."""
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{what}", str(target)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.split()[-1]


def install(wheel: Path, folder: Path) -> Bare:
    """Make the environment in `folder`."""
    venv.EnvBuilder(symlinks=True).create(folder)
    bare = Bare(folder)
    for entry in _others():
        link = bare.site_packages / entry.name
        if not link.exists():
            link.symlink_to(entry)
    script = folder / "bin" / "pytest"  # a linked distribution has no scripts
    (point,) = entry_points(group="console_scripts", name="pytest")
    text = SCRIPT.format(python=folder / "bin" / "python", point=point)
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    options = ["--no-index", "--no-deps", "--no-input", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [*pip, "install", *options, str(wheel)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return bare


def _others() -> Iterator[Path]:
    """What else is installed where these tests run."""
    for folder in map(Path, sys.path):
        if folder.name == "site-packages":
            for entry in folder.iterdir():
                if not re.search(LEFT_OUT, entry.name):
                    yield entry
