"""Files that are written whole or not at all, and those that are found below a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

_SKIPPED_FOLDERS = frozenset(("build", "dist", "node_modules"))


def write_atomically(target: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a temporary file beside the target and rename it; it is removed if that fails.

    Raises `OSError`.
    """
    # A random name: in a container the process id is often that of a killed process before.
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with open(temporary, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            file.write(data)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def files_in(folder: Path, is_wanted: Callable[[Path], bool]) -> Iterator[Path]:
    """The wanted files below a folder, sorted.

    Hidden folders, virtual environments and build output are skipped, as in pytest.
    """
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if _is_searched(here / name))
        yield from (file for name in sorted(names) if is_wanted(file := here / name))


def _is_searched(folder: Path) -> bool:
    is_skipped = folder.name.startswith(".") or folder.name in _SKIPPED_FOLDERS
    return not is_skipped and not (folder / "pyvenv.cfg").is_file()
