"""The case files that a command works on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ..errors import InputError, NotFound
from ..testing.suite import SUFFIX

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
