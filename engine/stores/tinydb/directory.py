"""The files of a store: sessions opened, listed, searched and deleted, without any waiting.

The sessions that are open, so that a turn need not read its session again.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TypeVar

from ...errors import DamagedStore
from ...records import SessionInfo, SessionKey, Turn
from ...session.store import Hit
from ..compact_json import dump, parse_document
from ..journal import files
from ..journal.compaction import compact, delete_journal, upgrade
from ..journal.disk import failure
from ..journal.header import Header
from ..journal.line import header_data
from ..journal.medium import Medium
from ..journal.reading import Gone, Outdated
from ..journal.torn import must_be_torn
from .layout import Layout
from .references import Source
from .search import says
from .session_file import SessionFile


class Handles:
    """Keeps up to `capacity` sessions open; those that somebody is at are never closed.

    Whoever takes a session gives it back.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._guard = Lock()
        self._open: OrderedDict[SessionKey, SessionFile] = OrderedDict()

    def take(self, key: SessionKey) -> SessionFile | None:
        """The session if it is open."""
        with self._guard:
            session = self._open.get(key)
            if session is not None and session.journal.is_closed:
                del self._open[key]
                return None
            if session is not None:
                session.users += 1
                self._open.move_to_end(key)
            return session

    def keep(self, session: SessionFile) -> SessionFile:
        """Keep a session that was just opened; the one that another opened meanwhile wins."""
        with self._guard:
            kept = self._open.setdefault(session.key, session)
            kept.users += 1
            if kept is not session:
                session.close()
            return kept

    def give(self, session: SessionFile) -> None:
        """Be done with a session; it may be closed now."""
        with self._guard:
            session.users -= 1
            if self._open.get(session.key) is not session:
                if session.users <= 0:
                    session.close()
                return
            excess = max(0, len(self._open) - self._capacity)
            idle = (other for other in self._open.values() if not other.users)
            for other in list(islice(idle, excess)):
                del self._open[other.key]
                other.close()

    def drop(self, session: SessionFile) -> None:
        """Forget a session whose file is gone; the last one who gives it back closes it."""
        with self._guard:
            if self._open.get(session.key) is session:
                del self._open[session.key]

    def close(self) -> None:
        """Close all sessions."""
        with self._guard:
            for session in self._open.values():
                session.close()
            self._open.clear()


Answer = TypeVar("Answer")
_SHORT = 1 << 18


class SkippedSession(UserWarning):
    """A damaged session was left out of a list or a search."""


class Directory:
    """The sessions and prompts below one path; safe to use from many threads."""

    def __init__(self, root: Path, medium: Medium, *, handles: int) -> None:
        self.layout = Layout(root, medium)
        self.handles = Handles(handles)
        self._medium = medium
        self._disk = medium.disk
        self._prompts: set[str] = set()
        self._distrusted: set[Path] = set()

    def open(self, key: SessionKey, *, create: bool) -> SessionFile | None:
        """Open a session, to be given back to `handles`; None if it is not there nor to be made."""
        path = self.layout.journal(key)
        if create:
            self.layout.make(path.parent)
        elif not self.layout.check():
            return None
        try:
            session = self._session(path, key, create=create)
            if path in self._distrusted:
                self._write_anew(session)
        except Gone:
            return None
        return self.handles.keep(session)

    def distrust(self, session: SessionFile) -> None:
        """Use a session no more whose file did not reach the disk, before it was written anew.

        What the system has of it in memory may look as if it had: no later sync would notice.
        """
        self._distrusted.add(session.journal.path)
        self.handles.drop(session)

    def is_quick_to_open(self, key: SessionKey) -> bool:
        """Whether opening a session keeps nobody waiting: it is short, and the store is there."""
        try:
            return (
                self.layout.check() and self._disk.status(self.layout.journal(key)).st_size < _SHORT
            )
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def infos(self, user_id: str | None, *, limit: int, offset: int) -> list[SessionInfo]:
        """The sessions of one user, the one with the latest activity first."""
        paths = self._journals(user_id)[offset : offset + limit]
        found = (self._visit(path, SessionFile.info) for path in paths)
        return [info for info in found if info is not None]

    def users(self, *, limit: int, offset: int) -> list[str | None]:
        """The users who have a session that can be read."""
        directories = self.layout.users() if self.layout.check() else iter(())
        owners = (self._user(self.layout.journals_in(directory)) for directory in directories)
        there = (owner.user_id for owner in owners if owner is not None)
        return list(islice(there, max(0, offset), max(0, offset) + max(0, limit)))

    def search(
        self, user_id: str | None, text: str, *, last: int, exclude: str | None, limit: int
    ) -> list[Hit]:
        """The done turns that have `text` in their input or answer, the newest first."""
        left_out = None if exclude is None else self.layout.journal(SessionKey(user_id, exclude))
        others = (path for path in self._journals(user_id) if path != left_out)
        hits: list[Hit] = []
        for path in islice(others, max(0, last)):
            found = self._visit(path, lambda session: _hits(session, text, limit))
            hits += found or []
        return hits[: max(0, limit)]

    def find(self, user_id: str | None, run_id: str) -> SessionKey | None:
        """The session of a user that a run belongs to, the one with the latest activity first."""
        needle = b'"k":[%b,' % dump(run_id)
        for path in self._journals(user_id):
            if self._contains(path, needle):
                key = self._visit(
                    path, lambda session: session.key if session.turn_of(run_id) else None
                )
                if key is not None:
                    return key
        return None

    def turn(self, user_id: str | None, source: Source) -> Turn | None:
        """The turn of a run in a session that is known by its file's name."""
        name, run_id = source
        return self._visit(
            self.layout.named(user_id, name), lambda session: session.turn_of(run_id)
        )

    def delete_session(self, key: SessionKey) -> bool:
        """Delete the files of a session, damaged or not; False if there was none."""
        return self.layout.check() and self._delete(self.layout.journal(key))

    def delete_user(self, user_id: str | None) -> int:
        """Delete the files of all sessions of a user, and tell how many there were."""
        return sum(self._delete(path) for path in self._journals(user_id))

    def keep_prompt(self, prompt_hash: str, sources: Mapping[str, str]) -> None:
        """Keep the sources of a template, once for each hash."""
        path = self.layout.prompt(prompt_hash)
        self.layout.make(path.parent)
        try:
            if path.name not in self._disk.names(path.parent):
                data = dump({"hash": prompt_hash, "sources": dict(sources)})
                files.write_whole(self._disk, path, data + b"\n", sync=self._medium.is_synced)
        except OSError as error:
            raise failure(error, path) from error
        self._prompts.add(prompt_hash)

    def has_prompt(self, prompt_hash: str) -> bool:
        """Whether the sources are known to be there."""
        return prompt_hash in self._prompts

    def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        """The sources kept under a hash, or None."""
        path = self.layout.prompt(prompt_hash)
        if not self.layout.check():
            return None
        try:
            document = parse_document(files.read_whole(self._disk, path))
            return {name: str(text) for name, text in document["sources"].items()}
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failure(error, path) from error
        except (DamagedStore, AttributeError, KeyError, TypeError) as error:
            raise DamagedStore(
                f"{path}: the sources of a prompt cannot be read; delete the file"
            ) from error

    def prompt_hashes(self, prefix: str) -> list[str]:
        """The hashes that sources are kept under and that begin with `prefix`, sorted."""
        if not self.layout.check():
            return []
        return sorted(each for each in self.layout.prompt_hashes() if each.startswith(prefix))

    def _journals(self, user_id: str | None) -> list[Path]:
        return self.layout.journals(user_id) if self.layout.check() else []

    def _user(self, journals: Iterable[Path]) -> SessionKey | None:
        """Whose journals these are: what the first says that can be read."""
        owners = (self._visit(path, lambda session: session.key) for path in journals)
        return next((owner for owner in owners if owner is not None), None)

    def _visit(self, path: Path, look: Callable[[SessionFile], Answer]) -> Answer | None:
        """Look into a session and close it again; a damaged one is left out with a warning."""
        try:
            while (key := self._owner(path)) is not None:
                session = self.handles.take(key) or self._aside(path, key)
                try:
                    with session.journal.shared():
                        return look(session) if session.exists else None
                except Gone:
                    self.handles.drop(session)
                finally:
                    self.handles.give(session)
        except DamagedStore as error:
            warnings.warn(f"a session was left out: {error}", SkippedSession, stacklevel=2)
        except Gone:  # it was deleted between two looks at it
            pass
        return None

    def _aside(self, path: Path, key: SessionKey) -> SessionFile:
        """A session that is opened for one look only."""
        session = self._session(path, key, create=False)
        session.users = 1
        return session

    def _session(self, path: Path, key: SessionKey, *, create: bool) -> SessionFile:
        try:
            return SessionFile(path, key, self._medium, create=create)
        except Outdated as error:
            upgrade(path, self._medium, error.version)
            return SessionFile(path, key, self._medium, create=create)

    def _write_anew(self, session: SessionFile) -> None:
        try:
            compact(session.journal)
            session.journal.flush()
        except BaseException:
            session.close()
            raise
        self._distrusted.discard(session.journal.path)

    def _delete(self, path: Path) -> bool:
        was_there = delete_journal(self._disk, path, sync=self._medium.is_synced)
        with suppress(OSError):
            self._disk.remove_directory(path.parent)
        return was_there

    def _owner(self, path: Path) -> SessionKey | None:
        """The session that a journal says it is of, None if nothing was committed to it yet."""
        try:
            line = files.first_line(self._disk, path)
            data = header_data(line)
            rest = b"" if data else files.read_whole(self._disk, path)
        except FileNotFoundError:  # it was deleted since it was listed
            return None
        except OSError as error:
            raise failure(error, path) from error
        if data is not None:
            owner = Header.read(data, path, self._medium.form).owner
            return SessionKey(owner.get("user_id"), owner.get("session_id") or "")
        must_be_torn(path, rest, end=0, expected=1)
        return None

    def _contains(self, path: Path, needle: bytes) -> bool:
        try:
            return files.contains(self._disk, path, needle)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise failure(error, path) from error


def _hits(session: SessionFile, text: str, limit: int) -> list[Hit]:
    found = (turn for turn in session.newest_first() if says(turn, text))
    return [Hit(session.key, turn) for turn in islice(found, max(0, limit))]
