"""Project settings for the command line and for case files: [tool.teamgraph].

[tool.teamgraph]
allow = ["myapp"]           # packages whose functions graphs may name
allow_mcp = ["files"]       # MCP servers of graphs that may be started, or sent to
kinds = ["myapp.kinds:Translator"] # classes of nodes that graphs may use
prompts = ["prompts"]       # folders of templates, relative to the pyproject.toml
allow_api_base = ["https://llm.example/v1"]  # servers that may get prompts and keys
store = ".teamgraph"        # likewise, or the address of a database: "postgresql://host/shop"
attachment_days = 30        # how long `teamgraph store attachments --drop` leaves attachments
model = "openai/gpt-5-mini" # for graphs that name none
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from msgspec import Struct

from ..errors import InputError, closest

_KEYS = (
    "allow",
    "allow_api_base",
    "allow_mcp",
    "kinds",
    "prompts",
    "store",
    "model",
    "attachment_days",
)


class Settings(Struct, frozen=True):
    """Settings of a project; `folder` has its pyproject.toml, None if there is none."""

    folder: Path | None = None
    allow: tuple[str, ...] = ()
    allow_api_base: tuple[str, ...] = ()
    allow_mcp: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    prompts: tuple[Path, ...] = ()
    store: str | None = None
    model: str | None = None
    attachment_days: int | None = None

    def prompt_dirs(self) -> Sequence[Path]:
        """The folders of templates; raises `InputError` if one does not exist."""
        for folder in self.prompts:
            if not folder.is_dir():
                raise InputError(
                    f"{folder}: there is no such folder; create it, or remove it from `prompts` in "
                    f"[tool.teamgraph] of pyproject.toml"
                )
        return self.prompts


def make_importable(*folders: Path | None) -> None:
    """Append the folders to `sys.path`, so that a project's own packages can be imported."""
    sys.path += [str(folder) for folder in folders if folder and str(folder) not in sys.path]


def store_place(named: str | None) -> str:
    """The folder of the command line's store, whether it exists or not, or a database's address.

    The one that is named, that of the variable TEAMGRAPH_STORE, the project's, or `.teamgraph`.
    """
    return (
        named or os.environ.get("TEAMGRAPH_STORE") or settings_of(Path.cwd()).store or ".teamgraph"
    )


def settings_of(folder: Path) -> Settings:
    """Read the settings from the nearest pyproject.toml in `folder` or above.

    Raises `InputError` if that cannot be read or is invalid.
    """
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if file.is_file():
            return _read(file)
    return Settings()


def _read(file: Path) -> Settings:
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: it cannot be read: {error}; repair or remove it") from error
    tools: object = project.get("tool", {})
    table = cast("dict[str, object]", tools).get("teamgraph", {}) if isinstance(tools, dict) else 0
    if not isinstance(table, dict):
        raise InputError(f"{file}: [tool.teamgraph] must be a table of settings")
    named = cast("dict[str, object]", table)
    for key in named:
        if key not in _KEYS:
            near = closest(key, _KEYS)
            meant = f"did you mean {near!r}?" if near else f"it knows {', '.join(_KEYS)}"
            raise InputError(f"{file}: [tool.teamgraph] has an unknown key {key!r}; {meant}")
    store, model = _text(file, named, "store"), _text(file, named, "model")
    return Settings(
        folder=file.parent,
        allow=tuple(_texts(file, named, "allow")),
        allow_api_base=tuple(_texts(file, named, "allow_api_base")),
        allow_mcp=tuple(_texts(file, named, "allow_mcp")),
        kinds=tuple(_texts(file, named, "kinds")),
        prompts=tuple(file.parent / folder for folder in _texts(file, named, "prompts")),
        store=store if store is None or "://" in store else str(file.parent / store),
        model=model,
        attachment_days=_days(file, named, "attachment_days"),
    )


def _days(file: Path, table: Mapping[str, object], key: str) -> int | None:
    value = table.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise InputError(f"{file}: [tool.teamgraph] {key} must be a number of days, not {value!r}")


def _text(file: Path, table: Mapping[str, object], key: str) -> str | None:
    value = table.get(key)
    if value is None or (isinstance(value, str) and value):
        return value
    raise InputError(f"{file}: [tool.teamgraph] {key} must be a text, not {value!r}")


def _texts(file: Path, table: Mapping[str, object], key: str) -> Iterable[str]:
    value = table.get(key, [])
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, list) and all(
        isinstance(one, str) for one in cast("list[object]", listed)
    ):
        return cast("list[str]", listed)
    raise InputError(f"{file}: [tool.teamgraph] {key} must be a list of texts, not {value!r}")
