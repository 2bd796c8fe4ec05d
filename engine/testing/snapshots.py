"""Files of prompt snapshots: compared, written, and deleted when no case or test uses them.

One tracker per process; under pytest-xdist the first process merges those of the workers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from msgspec import Struct, field

from ..errors import InputError
from .snapshot_text import difference

FOLDER = "__prompts__"
SUFFIX = ".prompts.yaml"
UPDATE_COMMAND = "pytest --prompts-update"


class PromptMismatch(AssertionError):
    """A prompt differs from its snapshot or from what its case expects; the text says all.

    `texts` are the snapshot and the prompt, where both are there.
    """

    def __init__(self, text: str, *, texts: tuple[str, str] | None = None) -> None:
        super().__init__(text)
        self.texts = texts


def folder_of(file: Path) -> Path:
    """The folder of the snapshots of a case file or a test module."""
    return file.parent / FOLDER / file.name.removesuffix(SUFFIX).removesuffix(".py")


def refused_in_ci(update: str) -> str | None:
    """Why `update` (an option or a command) is refused here, or None: only in CI it is."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        return None
    return (
        f"{update}: not in CI, where nobody would see what changed; update snapshots on your "
        "machine, review the diff and commit it"
    )


class SnapshotTracker(Struct):
    """Which snapshots are in use, and which were written, changed or deleted.

    `root` is the folder that files are displayed relative to. `used` has the names of files that
    cases and tests use, by folder; `incomplete` are folders whose users are not all known, since
    a test was left out or failed, or a case file could not be loaded. `written` are new files,
    `changed` had another text; these and `deleted` hold paths as they are displayed.
    """

    root: Path
    is_updating: bool
    used: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    incomplete: set[str] = field(default_factory=set[str])
    written: set[str] = field(default_factory=set[str])
    changed: set[str] = field(default_factory=set[str])
    deleted: set[str] = field(default_factory=set[str])

    def mark_used(self, file: Path) -> None:
        """Record that a case has this snapshot, whether or not the case is run."""
        self.used.setdefault(str(file.parent), set()).add(file.name)

    def compare(self, file: Path, text: str) -> None:
        """Raise `PromptMismatch` if the snapshot has another text; when updating, write it.

        Raises `InputError` if it cannot be read or written.
        """
        __tracebackhide__ = True
        self.mark_used(file)
        path = self.display(file)
        try:
            stored = _stored(file)
            if stored == text:
                return
            if self.is_updating:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(text.encode("utf-8"))
                (self.written if stored is None else self.changed).add(path)
                return
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(
                f"{path}: the snapshot cannot be read or written: {reason}; check the path"
            ) from error
        if stored is None:
            raise PromptMismatch(
                f"there is no snapshot {path} yet:\n\n{text}\nwrite it with: {UPDATE_COMMAND}"
            )
        raise PromptMismatch(
            f"the prompt differs from its snapshot:\n\n{difference(stored, text, path)}\n\n"
            f"accept it with: {UPDATE_COMMAND}",
            texts=(stored, text),
        )

    def unused(self) -> list[Path]:
        """The snapshots that no case and no test uses, in folders whose users are all known."""
        found: list[Path] = []
        for folder in self._folders():
            used = self.used.get(str(folder), set())
            is_known = str(folder) in self.used or _is_orphan(folder)
            if is_known and str(folder) not in self.incomplete:
                found += [file for file in sorted(folder.glob("*.md")) if file.name not in used]
        return found

    def delete(self, files: Iterable[Path]) -> None:
        """Delete snapshots, and folders that are empty then."""
        for file in files:
            file.unlink(missing_ok=True)
            self.deleted.add(self.display(file))
            if not any(file.parent.iterdir()):
                file.parent.rmdir()

    def display(self, file: Path) -> str:
        """The path of a file relative to `root`, if it is inside."""
        inside = file.is_relative_to(self.root)
        return (file.relative_to(self.root) if inside else file).as_posix()

    def updates(self) -> dict[str, list[str]]:
        """The snapshots that were written, changed and deleted."""
        touched = {"written": self.written, "changed": self.changed, "deleted": self.deleted}
        return {what: sorted(paths) for what, paths in touched.items()}

    def report(self) -> Iterator[str]:
        """A line for each snapshot that was written, changed or deleted."""
        for what, paths in self.updates().items():
            yield from (f"prompt snapshot {what}: {path}" for path in paths)

    def to_json(self) -> dict[str, object]:
        """What one process sends to another."""
        return {
            "used": {folder: sorted(names) for folder, names in self.used.items()},
            "incomplete": sorted(self.incomplete),
            "written": sorted(self.written),
            "changed": sorted(self.changed),
        }

    def merge(self, other: dict[str, object]) -> None:
        """Add what another process sent."""
        for folder, names in cast("dict[str, list[str]]", other["used"]).items():
            self.used.setdefault(folder, set()).update(names)
        self.incomplete.update(cast("list[str]", other["incomplete"]))
        self.written.update(cast("list[str]", other["written"]))
        self.changed.update(cast("list[str]", other["changed"]))

    def _folders(self) -> list[Path]:
        """The snapshot folders of all case files and test modules beside a collected one."""
        homes = {Path(folder).parent for folder in (*self.used, *self.incomplete)}
        present = (home for home in sorted(homes) if home.is_dir())
        return [folder for home in present for folder in sorted(home.iterdir()) if folder.is_dir()]


def _stored(file: Path) -> str | None:
    """The snapshot's text, None if there is no file; "" if it is not UTF-8 (never a snapshot)."""
    try:
        return file.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""


def _is_orphan(folder: Path) -> bool:
    """Whether the case file or test module that the folder belongs to is gone."""
    beside = folder.parent.parent
    return not any((beside / f"{folder.name}{end}").exists() for end in (SUFFIX, ".py", ""))
