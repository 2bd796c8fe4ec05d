"""Where the text of a template comes from: the folders of a graph, the built-ins, or inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from msgspec import Struct

from ..errors import Problem, closest
from .positions import with_lf

BUILTIN = Path(__file__).parents[2] / "prompts"
INLINE = ".inline"
_BUILTIN_PREFIX = "builtin/"
_SUFFIX = ".jinja"


class Source(Struct, frozen=True):
    """The text of one template, with LF line ends; `file` is None for an inline template."""

    name: str
    text: str
    file: str | None


class Sources:
    """Finds a template by name: the folders in order, then the built-ins.

    `builtin/NAME` is always the built-in. A name that ends in `.inline` is never a file, so an
    inline template can clash with none.
    """

    def __init__(self, folders: Sequence[Path], inline: Mapping[str, str]) -> None:
        self._folders = tuple(folders)
        self._inline = {f"{node}{INLINE}": with_lf(text) for node, text in inline.items()}

    def names(self) -> list[str]:
        """Every `.jinja` file that a graph or a template can name, each once, sorted."""
        return file_names(self._folders)

    def near(self, name: str) -> str | None:
        """The template that `name` was probably meant to be, or None."""
        stems = {known.removesuffix(_SUFFIX): known for known in self.names()}
        near = closest(name.removesuffix(_SUFFIX), stems)
        return stems[near] if near else None

    def find(self, name: str) -> Source | Problem | None:
        """The template, the reason why its file cannot be read, or None if there is none."""
        if name.endswith(INLINE):
            text = self._inline.get(name)
            return None if text is None else Source(name, text, None)
        path = self._path(name)
        if path is None:
            return None
        file = _shown(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            told = f"template {name!r} is not UTF-8 (byte {error.start}): save it as UTF-8"
            return Problem("P016", told, file=file, line=1, column=1)
        except OSError as error:
            told = f"template {name!r} cannot be read: {error.strerror or error}"
            return Problem("P016", told, file=file)
        return Source(name, with_lf(text), file)

    def _path(self, name: str) -> Path | None:
        if "\\" in name or "\0" in name or name.startswith("/"):
            return None
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts:
            return None
        folders: Sequence[Path] = (*self._folders, BUILTIN)
        if name.startswith(_BUILTIN_PREFIX):
            folders, parts = (BUILTIN,), parts[1:]
        paths = (folder.joinpath(*parts) for folder in folders)
        return next((path for path in paths if path.is_file()), None)


def file_names(folders: Sequence[Path]) -> list[str]:
    """Every `.jinja` file in the folders and among the built-ins, each once, sorted."""
    found = {name for folder in (*folders, BUILTIN) for name in _names(folder)}
    return sorted(found | {_BUILTIN_PREFIX + name for name in _names(BUILTIN)})


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob(f"*{_SUFFIX}")]


def _shown(path: Path) -> str:
    """The path as it is told: relative to the working directory where it lies below it."""
    full = path.absolute()
    here = Path.cwd()
    return str(full.relative_to(here) if full.is_relative_to(here) else full)
