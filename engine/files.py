"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


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
