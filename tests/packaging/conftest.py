"""The wheel, the sdist and the bare environment: built once, for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.bare import FOLDERS, ROOT, Bare, build, install


@dataclass(frozen=True)
class Built:
    """What was built, and the environment with the wheel."""

    folder: Path

    @property
    def wheel(self) -> Path:
        return self._one("wheel/*.whl")

    @property
    def sdist(self) -> Path:
        return self._one("sdist/*.tar.gz")

    @property
    def wheel_of_sdist(self) -> Path:
        return self._one("again/*.whl")

    @property
    def bare(self) -> Bare:
        return Bare(self.folder / "bare")

    def _one(self, pattern: str) -> Path:
        (found,) = self.folder.glob(pattern)
        return found


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build and install, unless another worker of pytest-xdist did."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder = place / "packaging"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            _build(folder)
            (folder / "ready").touch()
    return Built(folder)


@pytest.fixture(scope="session")
def bare(built: Built) -> Bare:
    """An environment that has teamgraph from its wheel."""
    return built.bare


def _build(folder: Path) -> None:
    wheel = build("wheel", ROOT, folder / "wheel")
    sdist = build("sdist", ROOT, folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    for name in FOLDERS:  # what git makes of the links where there are none, as on Windows
        (unpacked / "teamgraph" / name).write_text(f"../{name}", encoding="utf-8")
    build("wheel", unpacked, folder / "again")
    install(wheel, folder / "bare")
