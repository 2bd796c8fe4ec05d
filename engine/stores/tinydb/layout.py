"""Where things lie in a store's directory, and how the directory says what it is.

    store.json                              the format and its version
    users/<2 hex>/<user>/<session>.jsonl    a journal for each session
    prompts/<hash>.json                     the sources of templates, once each

Names are hashes, so no id can be too long, leave the directory, or meet another one; the real ids
stand in the journals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from ...errors import DamagedStore, StoreError, UnknownVersion
from ...records import SessionKey
from ..compact_json import Document, dump, parse_document
from ..journal import files
from ..journal.disk import failure
from ..journal.medium import Medium

FORMAT = "teamgraph-store"
VERSION = 1
_HASH = re.compile("[0-9a-f]{8,64}")


class Layout:
    """The directory of a store. It is made when something is first written, and never by reading.

    Directories are open to their owner only.
    """

    def __init__(self, root: Path, medium: Medium) -> None:
        self.root = root
        self._medium = medium
        self._disk = medium.disk
        self._is_known = False

    def journal(self, key: SessionKey) -> Path:
        """The journal of a session."""
        return self.named(key.user_id, session_name(key.session_id))

    def named(self, user_id: str | None, name: str) -> Path:
        """The journal of a session by the name that `session_name` gives it."""
        return self.user(user_id) / f"{name}.jsonl"

    def user(self, user_id: str | None) -> Path:
        """The directory of a user."""
        name = _name("user", user_id)
        return self.root / "users" / name[:2] / name

    def prompt(self, prompt_hash: str) -> Path:
        """The file of a template's sources."""
        name = prompt_hash if _HASH.fullmatch(prompt_hash) else _name("prompt", prompt_hash)
        return self.root / "prompts" / f"{name}.json"

    def prompt_hashes(self) -> list[str]:
        """The hashes of all templates whose sources are kept."""
        kept = self._inside(self.root / "prompts")
        return [path.stem for path in kept if path.suffix == ".json"]

    def journals(self, user_id: str | None) -> list[Path]:
        """The journals of a user, the one with the latest activity first."""
        return self.journals_in(self.user(user_id))

    def journals_in(self, directory: Path) -> list[Path]:
        """The journals in the directory of a user, the one with the latest activity first."""
        found: list[tuple[int, str]] = []
        try:
            for name in self._disk.names(directory):
                if name.endswith(".jsonl"):
                    with suppress(FileNotFoundError):  # deleted since it was listed
                        status = self._disk.status(f"{directory}/{name}")
                        found.append((status.st_mtime_ns, name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise failure(error, directory) from error
        return [directory / name for _, name in sorted(found, reverse=True)]

    def all_journals(self) -> Iterator[Path]:
        """The journals of all users."""
        for user in self.users():
            yield from (path for path in self._inside(user) if path.suffix == ".jsonl")

    def users(self) -> Iterator[Path]:
        """The directories of all users, always in the same order."""
        for part in sorted(self._inside(self.root / "users")):
            yield from sorted(self._inside(part))

    def check(self) -> bool:
        """Whether the store is there; raises `StoreError` if the path holds something else."""
        if self._is_known:
            return True
        marker = self.root / "store.json"
        try:
            data = files.read_whole(self._disk, marker)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise failure(error, self.root) from error
        about = _read_marker(marker, data)
        if about.get("version") != VERSION:
            raise UnknownVersion(
                f"{marker}: the store has version {about.get('version')} and this teamgraph reads "
                f"version {VERSION}; use the teamgraph that wrote it, or a newer one"
            )
        self._is_known = True
        return True

    def make(self, directory: Path) -> None:
        """Make a directory of the store, and the store itself if it is not there yet."""
        try:
            if not self.check():
                files.make_directories(self._disk, self.root)
                about = {"format": FORMAT, "version": VERSION}
                data = dump(about) + b"\n"
                marker = self.root / "store.json"
                files.write_whole(self._disk, marker, data, sync=self._medium.is_synced)
            files.make_directories(self._disk, directory)
        except OSError as error:
            raise failure(error, Path(error.filename or self.root)) from error

    def _inside(self, directory: Path) -> list[Path]:
        try:
            return [directory / name for name in self._disk.names(directory)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise failure(error, directory) from error


def session_name(session_id: str) -> str:
    """The name of a session's files; nobody can tell the id from it."""
    return _name("session", session_id)


def _name(kind: str, identifier: str | None) -> str:
    """A name that no two ids share; that there is no id is not an id."""
    tag = "none" if identifier is None else "id"
    text = f"{kind}\0{tag}\0{identifier or ''}"
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _read_marker(marker: Path, data: bytes) -> Document:
    try:
        about = parse_document(data)
    except DamagedStore as error:
        raise DamagedStore(f"{marker}: it cannot be read; restore it from a backup") from error
    if about.get("format") != FORMAT:
        raise StoreError(f"{marker}: this is no store of teamgraph; name another path")
    return about
