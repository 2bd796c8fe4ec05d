"""Which snapshots there are, which were asked for, which were written; one ledger a process.

Under pytest-xdist each worker keeps one, and the first process puts them together at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from msgspec import Struct, field

from ..errors import InputError
from .snapshot import difference

FOLDER = "__prompts__"
HOW = "pytest --prompts-update"


class Mismatch(AssertionError):
    """A prompt is not what its snapshot or its case says; the text is all there is to read."""


class Ledger(Struct):
    """What becomes of the snapshots of a test run.

    `root` is the folder that files are shown relative to. `named` are the files that cases name,
    by the folder of their suite; `unsure` are the folders of which not every case is known, since
    some were left out or failed. `written` are new, `changed` were another text before; both, and
    those `deleted`, as they are shown.
    """

    root: Path
    is_updating: bool
    named: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    unsure: set[str] = field(default_factory=set[str])
    written: set[str] = field(default_factory=set[str])
    changed: set[str] = field(default_factory=set[str])
    deleted: set[str] = field(default_factory=set[str])

    def name(self, file: Path) -> None:
        """Note that a case has this snapshot, whether or not it is run."""
        self.named.setdefault(str(file.parent), set()).add(file.name)

    def compare(self, file: Path, text: str) -> None:
        """Raise `Mismatch` unless the snapshot says this; when updating, write it instead.

        Raises `InputError` if it cannot be read or written.
        """
        __tracebackhide__ = True
        self.name(file)
        shown = self.shown(file)
        try:
            stored = _stored(file)
            if stored == text:
                return
            if self.is_updating:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(text.encode("utf-8"))
                (self.written if stored is None else self.changed).add(shown)
                return
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            told = f"{shown}: the snapshot cannot be read or written: {reason}; see what lies there"
            raise InputError(told) from error
        if stored is None:
            raise Mismatch(f"there is no snapshot {shown} yet:\n\n{text}\nwrite it with: {HOW}")
        raise Mismatch(f"{difference(stored, text, shown)}\n\naccept it with: {HOW}")

    def unused(self) -> list[Path]:
        """The snapshots that no case names, as far as that is sure."""
        found: list[Path] = []
        for folder in self._folders():
            named = self.named.get(str(folder), set())
            is_known = str(folder) in self.named or _is_orphan(folder)
            if is_known and str(folder) not in self.unsure:
                found += [file for file in sorted(folder.glob("*.md")) if file.name not in named]
        return found

    def _folders(self) -> list[Path]:
        """The folders of all suites that lie beside one that was collected."""
        homes = {Path(folder).parent for folder in (*self.named, *self.unsure)}
        there = (home for home in sorted(homes) if home.is_dir())
        return [folder for home in there for folder in sorted(home.iterdir()) if folder.is_dir()]

    def delete(self, files: Iterable[Path]) -> None:
        """Delete snapshots, and folders that are empty then."""
        for file in files:
            file.unlink(missing_ok=True)
            self.deleted.add(self.shown(file))
            if not any(file.parent.iterdir()):
                file.parent.rmdir()

    def shown(self, file: Path) -> str:
        """A file as it is told."""
        inside = file.is_relative_to(self.root)
        return (file.relative_to(self.root) if inside else file).as_posix()

    def done(self) -> dict[str, list[str]]:
        """The snapshots that an update touched, by what became of them."""
        touched = {"written": self.written, "changed": self.changed, "deleted": self.deleted}
        return {what: sorted(shown) for what, shown in touched.items()}

    def told(self) -> Iterator[str]:
        """What an update did, a line for each snapshot."""
        for what, shown in self.done().items():
            yield from (f"prompt snapshot {what}: {one}" for one in shown)

    def plain(self) -> dict[str, object]:
        """The ledger as one process hands it to another."""
        return {
            "named": {folder: sorted(names) for folder, names in self.named.items()},
            "unsure": sorted(self.unsure),
            "written": sorted(self.written),
            "changed": sorted(self.changed),
        }

    def take(self, plain: dict[str, object]) -> None:
        """Take in the ledger of another process."""
        for folder, names in cast("dict[str, list[str]]", plain["named"]).items():
            self.named.setdefault(folder, set()).update(names)
        self.unsure.update(cast("list[str]", plain["unsure"]))
        self.written.update(cast("list[str]", plain["written"]))
        self.changed.update(cast("list[str]", plain["changed"]))


def _stored(file: Path) -> str | None:
    """The snapshot, None if there is none; bytes that are no text are no snapshot of ours."""
    try:
        return file.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""


def _is_orphan(folder: Path) -> bool:
    """Whether neither a case file nor a test module of this name is there any more."""
    beside = folder.parent.parent
    suffixes = (".prompts.yaml", ".py")
    return not any((beside / f"{folder.name}{suffix}").exists() for suffix in suffixes)
