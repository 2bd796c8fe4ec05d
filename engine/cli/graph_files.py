"""The graph files of a project: those that are named, or all below a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import NotFound, listed
from ..files import files_in
from ..graph.settings import settings_of

_NODES_KEY = re.compile(rb"""^["']?nodes["']?[ \t]*:""", re.MULTILINE)
_OTHER_KEY = re.compile(rb"^apiVersion[ \t]*:", re.MULTILINE)  # Kubernetes has `nodes` too


def graph_files(paths: Sequence[Path] | None) -> Sequence[Path]:
    """The graph files that are named, and those in the folders that are; default: the project.

    Raises `NotFound` if there are none.
    """
    named = paths or [project_folder()]
    files: dict[Path, None] = {}
    for path in named:
        inside = files_in(path, is_graph_file) if path.is_dir() else [path]
        files.update(dict.fromkeys(inside))
    if not files:
        raise NotFound(
            f"{listed(map(str, named))}: no graph files here (YAML files with `nodes:`); name one"
        )
    return list(files)


def project_folder() -> Path:
    """The folder of the nearest pyproject.toml, else the current one, as people would type it."""
    folder = settings_of(Path.cwd()).folder
    return Path(os.path.relpath(folder)) if folder else Path()


def is_graph_file(file: Path) -> bool:
    """Whether a file is YAML with `nodes:` at its top."""
    if file.suffix not in (".yaml", ".yml") or not file.is_file():
        return False
    try:
        data = file.read_bytes()
    except OSError:
        return False
    return bool(_NODES_KEY.search(data)) and not _OTHER_KEY.search(data)
