"""A store's directory: its layout, the cache of open sessions, and what concerns many sessions.

    store.json                              the format and its version
    users/<2 hex>/<user>/<session>.jsonl    a journal for each session
    users/<2 hex>/<user>/<session>.index    the index of a long journal
    users/<2 hex>/<user>/<session>.<sha256>.attached   an attachment of the session
    users/<2 hex>/<user>/activity.log       the order in which they are listed
    users/<2 hex>/<user>/runs.index         which of many sessions have which runs
    prompts/<hash>.json                     the sources of a template

Names are hashes, so no id can be too long, leave the directory, or meet another one; the real ids
are in the journals. Everything here blocks; `TinyDBStore` calls it in threads.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from threading import Lock, get_ident
from typing import TypeVar

from ...blocking import warn
from ...errors import DamagedStore, StoreError, UnknownVersion
from ...records import SessionInfo, SessionKey, Turn
from ...session.store import Hit, mentions
from ..attachments import attachment_file, put_file, read_attachment, remove_orphans
from ..journal.compaction import compact, delete_journal, upgrade
from ..journal.disk import (
    check_locks,
    close_when_exhausted,
    contains,
    first_line,
    make_directories,
    open_files_limit,
    read_whole,
    remove_file,
    replace_file,
    store_error,
)
from ..journal.journal_file import (
    JournalDeleted,
    JournalFile,
    JournalSettings,
    OldVersion,
    must_be_torn,
)
from ..journal.line import Document, Header, dump_json, dump_key, header_data, parse_document
from ..leases import session_exists
from ..memory import MemorySession
from .activity import ACTIVITY, RUNS, ActivityLog
from .run_index import RunIndex, SessionRuns
from .session_file import OtherRun, SessionFile, hashed_name, session_name

T = TypeVar("T")
FORMAT = "teamgraph-store"
VERSION = 1
_SHORT = 1 << 18  # bytes
_FILES_OF_A_SESSION = 2
_KEPT_BYTES = 1 << 28
_FEW = 64  # sessions of which no index is made
_ABOUT_ALL = frozenset((ACTIVITY, "activity.tmp", RUNS, "latest"))
"""Files of no use without journals beside them; `latest` is of older stores."""
_HASH = re.compile("[0-9a-f]{8,64}")


class SkippedSession(UserWarning):
    """A session that is damaged, or of a newer version, was left out of a list or a search."""


class SessionCache:
    """LRU cache of sessions: some with their files open, more of which only the index is kept.

    A session whose file is closed is opened again in microseconds, as long as its index is kept;
    else its journal is read from the beginning. The number of open ones follows the limit of open
    files, half of which they may use; where there are no more to be had, every file that no thread
    is using is closed. The kept indexes are limited by their size.

    Whoever acquires a session releases it.
    """

    def __init__(self, capacity: int, kept_bytes: int = _KEPT_BYTES) -> None:
        self._capacity = min(capacity, open_files_limit() // _FILES_OF_A_SESSION // 2)
        self._kept_bytes = kept_bytes
        self._guard = Lock()
        self._open: OrderedDict[SessionKey, SessionFile] = OrderedDict()
        self._resting: OrderedDict[SessionKey, tuple[SessionFile, int]] = OrderedDict()
        self._bytes = 0
        close_when_exhausted(self)

    def acquire(self, key: SessionKey) -> SessionFile | None:
        """The session if it is cached."""
        with self._guard:
            session = self._open.get(key)
            if session is None and key in self._resting:
                session = self._open[key] = self._take_resting(key)
            if session is not None and session.journal.is_closed:
                del self._open[key]
                return None
            if session is not None:
                session.users += 1
                self._open.move_to_end(key)
            return session

    def add(self, session: SessionFile) -> SessionFile:
        """Add and acquire a session; if another thread was first, its session is returned."""
        with self._guard:
            if session.key in self._resting:
                self._open[session.key] = self._take_resting(session.key)
            cached = self._open.setdefault(session.key, session)
            cached.users += 1
            if cached is not session:
                session.close()
            return cached

    def release(self, session: SessionFile) -> None:
        """End one use of a session; the files of what exceeds the capacity are closed."""
        with self._guard:
            session.users -= 1
            if self._open.get(session.key) is not session:
                if session.users <= 0:
                    session.close()
                return
            excess = max(0, len(self._open) - self._capacity)
            idle = (other for other in self._open.values() if not other.users)
            for other in list(islice(idle, excess)):
                self._rest(other)

    def close_idle(self) -> None:
        """Close the files that no thread is using, also those of runs in progress."""
        with self._guard:
            for session in list(self._open.values()):
                if session.users:
                    session.journal.rest()
                else:
                    self._rest(session)

    def discard(self, session: SessionFile) -> None:
        """Remove a session whose file is gone; its last user's release closes it."""
        with self._guard:
            if self._open.get(session.key) is session:
                del self._open[session.key]

    def close(self) -> None:
        """Close all sessions, and keep no index."""
        with self._guard:
            for session in (*self._open.values(), *(each for each, _ in self._resting.values())):
                session.close()
            self._open.clear()
            self._resting.clear()
            self._bytes = 0

    def _rest(self, session: SessionFile) -> None:
        """Close the files of a session that nobody uses; of too many the oldest are forgotten."""
        del self._open[session.key]
        session.rest()
        size = session.journal.index.size
        self._resting[session.key] = session, size
        self._bytes += size
        while self._bytes > self._kept_bytes:
            oldest = next(iter(self._resting))
            self._take_resting(oldest).close()

    def _take_resting(self, key: SessionKey) -> SessionFile:
        session, size = self._resting.pop(key)
        self._bytes -= size
        return session


class StoreLayout:
    """The paths of a store. Directories are created at the first write, never by reading.

    They are created with access for their owner only.
    """

    def __init__(self, root: Path, settings: JournalSettings) -> None:
        self.root = root
        self._disk = settings.disk
        self._is_synced = settings.is_synced
        self._is_checked = False
        self._has_locks = False
        self._user: tuple[str | None, Path] | None = None
        self._activity: ActivityLog | None = None

    def journal(self, key: SessionKey) -> Path:
        """The journal of a session."""
        return self.user(key.user_id) / f"{session_name(key.session_id)}.jsonl"

    def user(self, user_id: str | None) -> Path:
        """The directory of a user; that of the last one is kept."""
        last = self._user
        if last is None or last[0] != user_id:
            name = hashed_name("user", user_id)
            last = self._user = user_id, self.root / "users" / name[:2] / name
        return last[1]

    def activity(self, directory: Path) -> ActivityLog:
        """The order of the sessions in the directory of a user; that of the last one is kept."""

        def scan(others: Set[str]) -> list[str]:
            return [path.stem for path in self.journals(directory, without=others)]

        last = self._activity
        if last is None or last.directory != directory:
            last = ActivityLog(directory, self._disk, scan, is_synced=self._is_synced)
            self._activity = last
        return last

    def prompt(self, prompt_hash: str) -> Path:
        """The file of a template's sources."""
        is_hash = _HASH.fullmatch(prompt_hash)
        name = prompt_hash if is_hash else hashed_name("prompt", prompt_hash)
        return self.root / "prompts" / f"{name}.json"

    def prompt_hashes(self) -> list[str]:
        """The hashes of all stored templates."""
        paths = self._entries(self.root / "prompts")
        return [path.stem for path in paths if path.suffix == ".json"]

    def journals(self, directory: Path, *, without: Set[str] = frozenset()) -> list[Path]:
        """The journals in the directory of a user, the one that was written last first.

        Those whose names (without the suffix) are in `without` are left out, and cost no `stat`.
        """
        found: list[tuple[int, str]] = []
        try:
            for name in self._disk.names(directory):
                if name.endswith(".jsonl") and name.removesuffix(".jsonl") not in without:
                    with suppress(FileNotFoundError):  # deleted since it was listed
                        status = self._disk.status(f"{directory}/{name}")
                        found.append((status.st_mtime_ns, name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise store_error(error, directory) from error
        return [directory / name for _, name in sorted(found, reverse=True)]

    def all_journals(self) -> Iterator[Path]:
        """The journals of all users."""
        for user in self.users():
            yield from (path for path in self._entries(user) if path.suffix == ".jsonl")

    def users(self) -> Iterator[Path]:
        """The directories of all users, in a stable order."""
        for part in sorted(self._entries(self.root / "users")):
            yield from sorted(self._entries(part))

    def exists(self) -> bool:
        """Whether the store was created; raises `StoreError` if the path is something else."""
        if self._is_checked:
            return True
        marker = self.root / "store.json"
        try:
            data = read_whole(self._disk, marker)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise store_error(error, self.root) from error
        version = _parse_marker(marker, data).get("version")
        if version != VERSION:
            raise UnknownVersion(
                f"{marker}: the store has version {version} and this teamgraph reads "
                f"version {VERSION}; use the teamgraph that wrote it, or a newer one"
            )
        self._is_checked = True
        return True

    def create(self, directory: Path) -> None:
        """Create a directory of the store, and the store itself, unless they exist."""
        try:
            if not self.exists():
                make_directories(self._disk, self.root, sync=self._is_synced)
                data = dump_json({"format": FORMAT, "version": VERSION}) + b"\n"
                replace_file(self._disk, self.root / "store.json", data, sync=self._is_synced)
            make_directories(self._disk, directory)
            if not self._has_locks:
                check_locks(self._disk, self.root / "store.json")
                self._has_locks = True
        except OSError as error:
            raise store_error(error, Path(error.filename or self.root)) from error

    def _entries(self, directory: Path) -> list[Path]:
        try:
            return [directory / name for name in self._disk.names(directory)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise store_error(error, directory) from error


class SessionDirectory:
    """The sessions and prompts of a store; safe to use from many threads."""

    def __init__(self, root: Path, settings: JournalSettings, *, handles: int) -> None:
        self.layout = StoreLayout(root, settings)
        self.cache = SessionCache(handles)
        self._settings = settings
        self._disk = settings.disk
        self._prompts: dict[str, str] = {}
        self._distrusted: set[Path] = set()

    def open(self, key: SessionKey, *, create: bool) -> SessionFile | None:
        """Open a session, to be released to `cache`; None if there is none, unless `create`."""
        path = self.layout.journal(key)
        if create:
            self.layout.create(path.parent)
        elif not self.layout.exists():
            return None
        try:
            session = self._open_file(path, key, create=create)
            if path in self._distrusted:
                self._rewrite(session)
        except JournalDeleted:
            return None
        return self.cache.add(session)

    def create(self, key: SessionKey, write: Callable[[SessionFile], object]) -> None:
        """Write a session to a temporary journal and rename that; `InputError` if it exists."""
        path = self.layout.journal(key)
        self.layout.create(path.parent)
        temporary = path.with_name(f"{path.stem}.{os.getpid()}-{get_ident()}.import")
        try:
            session = self._session_file(temporary, key, create=True)
            try:
                with session.journal.exclusive():
                    write(session)
                if self._settings.is_synced:
                    session.journal.flush()
            finally:
                session.journal.close()
            self._publish(temporary, path, key)
        except OSError as error:
            raise store_error(error, path) from error
        finally:
            with suppress(OSError):
                remove_file(self._disk, temporary)
                self._disk.remove_directory(path.parent)

    def distrust(self, session: SessionFile) -> None:
        """Rewrite a session whose sync failed before it is used again.

        The system's cache may show pages as written that are not: no later sync would notice.
        """
        self._distrusted.add(session.journal.path)
        self.cache.discard(session)

    def is_quick_to_open(self, key: SessionKey) -> bool:
        """Whether opening a session blocks only briefly: its file has less than 256 kB."""
        try:
            path = self.layout.journal(key)
            return self.layout.exists() and self._disk.status(path).st_size < _SHORT
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def infos(self, user_id: str | None, *, limit: int, offset: int) -> list[SessionInfo]:
        """The sessions of one user, the one with the latest activity first."""
        offset, limit = max(0, offset), max(0, limit)
        existing = (path for path in self._journals(user_id) if self._size(path) is not None)
        page = islice(existing, offset, offset + limit)
        found = (self._read(path, SessionFile.info) for path in page)
        return [info for info in found if info is not None]

    def users(self, *, limit: int, offset: int) -> list[str | None]:
        """The users who have a readable session."""
        directories = self.layout.users() if self.layout.exists() else iter(())
        owners = (self._owner_of_first(self.layout.journals(each)) for each in directories)
        found = (owner.user_id for owner in owners if owner is not None)
        return list(islice(found, max(0, offset), max(0, offset) + max(0, limit)))

    def search(
        self, user_id: str | None, text: str, *, last: int, exclude: str | None, limit: int
    ) -> list[Hit]:
        """The done turns that have `text` in their input or answer, the newest first."""
        excluded = None if exclude is None else session_name(exclude)
        directory = os.fspath(self.layout.user(user_id))
        names = (name for name in self._names(user_id) if name != excluded)
        paths = (f"{directory}/{name}.jsonl" for name in names)  # a `Path` costs as much as a read
        read = ((path, self._may_mention(path, text)) for path in paths)
        existing = ((path, may_mention) for path, may_mention in read if may_mention is not None)
        hits: list[Hit] = []
        for path, may_mention in islice(existing, max(0, last)):
            if may_mention:
                hits += self._read(Path(path), lambda session: _hits(session, text, limit)) or []
            if len(hits) >= limit:
                break
        return hits[: max(0, limit)]

    def waiting(self, user_id: str | None, *, limit: int, offset: int) -> list[Hit]:
        """The runs of a user that wait for a person, the newest first."""
        last, hits = max(0, offset) + max(0, limit), list[Hit]()
        for path in self._with_runs(user_id, b',0,"waiting"]', lambda runs: runs.may_wait):
            if len(hits) >= last:
                break
            hits += self._read(path, _waiting) or []
        return hits[max(0, offset) : last]

    def find(self, user_id: str | None, run_id: str) -> SessionKey | None:
        """The session of a user that a run belongs to; of several the latest active one."""
        needle = b'"k":%b,' % dump_key((run_id,))[:-1]
        for path in self._with_runs(user_id, needle, lambda runs: runs.may_have(run_id)):
            key = self._read(path, lambda session: session.key if session.turn(run_id) else None)
            if key is not None:
                return key
        return None

    def _with_runs(
        self,
        user_id: str | None,
        needle: bytes,
        may_have: Callable[[SessionRuns], bool],
    ) -> Iterator[Path]:
        """The journals that may have certain runs, by activity.

        A journal that has them contains the bytes `needle`. The first ones are read; of the others
        the saved index says what they have.
        """
        index: RunIndex | None = None
        directory = self.layout.user(user_id)
        try:
            for count, name in enumerate(self._names(user_id)):
                if count == _FEW:
                    index = RunIndex(self.layout.activity(directory), self._disk)
                runs = None if index is None else index.runs(name)
                if runs is None or may_have(runs):
                    path = directory / f"{name}.jsonl"
                    if runs is not None or self._contains(path, needle):
                        yield path
        finally:
            if index is not None:
                index.save()

    def snapshot(self, key: SessionKey, session: SessionFile) -> MemorySession:
        """All of a session, with the ids of the sessions that it quotes, as far as they exist."""

        def session_id_of(name: str) -> str | None:
            owner = self._owner(self.layout.user(key.user_id) / f"{name}.jsonl")
            return None if owner is None else owner.session_id

        return session.snapshot(session_id_of)

    def turn(self, user_id: str | None, run: OtherRun) -> Turn | None:
        """The turn of a run in a session that is given by its file's name."""
        name, run_id = run
        path = self.layout.user(user_id) / f"{name}.jsonl"
        return self._read(path, lambda session: session.turn(run_id))

    def delete_session(self, key: SessionKey) -> bool:
        """Delete the files of a session, damaged or not; False if there was none."""
        return self.layout.exists() and self._delete(self.layout.journal(key))

    def put_attachment(self, key: SessionKey, digest: str, data: bytes) -> None:
        """Store an attachment of a session, which may not exist yet."""
        path = attachment_file(self.layout.journal(key), digest)
        self.layout.create(path.parent)
        put_file(self._disk, path, data, sync=self._settings.is_synced)

    def attachment(self, key: SessionKey, digest: str) -> bytes | None:
        """An attachment of a session, or None."""
        if not self.layout.exists():
            return None
        return read_attachment(self._disk, attachment_file(self.layout.journal(key), digest))

    def delete_user(self, user_id: str | None) -> int:
        """Delete the files of all sessions of a user; returns how many there were."""
        if not self.layout.exists():
            return 0
        directory = self.layout.user(user_id)
        remove_orphans(self._disk, directory)
        return sum(self._delete(path) for path in self.layout.journals(directory))

    def put_prompt(self, prompt_hash: str, sources: Mapping[str, str]) -> None:
        """Store the sources of a template, once for each hash."""
        path = self.layout.prompt(prompt_hash)
        self.layout.create(path.parent)
        try:
            if path.name not in self._disk.names(path.parent):
                data = dump_json({"hash": prompt_hash, "sources": dict(sources)})
                replace_file(self._disk, path, data + b"\n", sync=self._settings.is_synced)
        except OSError as error:
            raise store_error(error, path) from error
        self._prompts[prompt_hash] = os.fspath(path)

    def has_prompt(self, prompt_hash: str) -> bool:
        """Whether this process has stored the sources and they are still there (one `stat`)."""
        path = self._prompts.get(prompt_hash)
        if path is None:
            return False
        try:
            self._disk.status(path)
        except OSError:
            return False
        return True

    def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
        """The sources stored under a hash, or None."""
        path = self.layout.prompt(prompt_hash)
        if not self.layout.exists():
            return None
        try:
            document = parse_document(read_whole(self._disk, path))
            return {name: str(text) for name, text in document["sources"].items()}
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_error(error, path) from error
        except (DamagedStore, AttributeError, KeyError, TypeError) as error:
            raise DamagedStore(
                f"{path}: the sources of a prompt cannot be read; delete the file"
            ) from error

    def prompt_hashes(self, prefix: str) -> list[str]:
        """The hashes under which sources are stored that begin with `prefix`, sorted."""
        if not self.layout.exists():
            return []
        return sorted(each for each in self.layout.prompt_hashes() if each.startswith(prefix))

    def _publish(self, temporary: Path, path: Path, key: SessionKey) -> None:
        """Rename a journal to a session's path, locked against all others."""
        while True:
            with (
                suppress(JournalDeleted),
                closing(JournalFile(path, self._settings, owner=key._asdict(), create=True)) as old,
                old.exclusive(),
            ):
                if not old.is_empty:
                    raise session_exists(key)
                self._disk.rename(temporary, path)
                if self._settings.is_synced:
                    self._disk.sync_directory(path.parent)
                self.layout.activity(path.parent).append(path.stem)
                return
            self.layout.create(path.parent)

    def _journals(self, user_id: str | None) -> Iterator[Path]:
        """The journals of a user, that with the latest activity first; some may be deleted."""
        directory = self.layout.user(user_id)
        return (directory / f"{name}.jsonl" for name in self._names(user_id))

    def _names(self, user_id: str | None) -> Iterator[str]:
        """The names of the sessions of a user, as those of their journals, in the same order."""
        if not self.layout.exists():
            return
        directory = self.layout.user(user_id)
        try:
            yield from self.layout.activity(directory).names()
        except OSError as error:
            raise store_error(error, directory) from error

    def _size(self, path: Path) -> int | None:
        """The size of a journal, None if it was deleted."""
        try:
            return self._disk.status(path).st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_error(error, path) from error

    def _may_mention(self, path: str, text: str) -> bool | None:
        """Whether a journal may have a turn that mentions a text; None if it was deleted."""
        try:
            return may_mention(read_whole(self._disk, path), text)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_error(error, Path(path)) from error

    def _owner_of_first(self, journals: Iterable[Path]) -> SessionKey | None:
        """The owner of the first journal that can be read."""
        owners = (self._read(path, lambda session: session.key) for path in journals)
        return next((owner for owner in owners if owner is not None), None)

    def _read(self, path: Path, read: Callable[[SessionFile], T]) -> T | None:
        """Read a session; one that cannot be read gives a warning and None."""
        try:
            while (key := self._owner(path)) is not None:
                session = self.cache.acquire(key) or self._open_uncached(path, key)
                try:
                    with session.journal.shared():
                        return read(session) if session.exists else None
                except JournalDeleted:
                    self.cache.discard(session)
                finally:
                    self.cache.release(session)
        except (DamagedStore, UnknownVersion) as error:
            warn(f"a session was left out: {error}", SkippedSession)
        except JournalDeleted:  # it was deleted since its owner was read
            pass
        return None

    def _open_uncached(self, path: Path, key: SessionKey) -> SessionFile:
        session = self._open_file(path, key, create=False)
        session.users = 1
        return session

    def _open_file(self, path: Path, key: SessionKey, *, create: bool) -> SessionFile:
        try:
            return self._session_file(path, key, create=create)
        except OldVersion as error:
            upgrade(path, self._settings, error.version)
            return self._session_file(path, key, create=create)

    def _session_file(self, path: Path, key: SessionKey, *, create: bool) -> SessionFile:
        activity = self.layout.activity(path.parent)
        return SessionFile(path, key, self._settings, create=create, activity=activity)

    def _rewrite(self, session: SessionFile) -> None:
        try:
            compact(session.journal)
            session.journal.flush()
        except BaseException:
            session.close()
            raise
        self._distrusted.discard(session.journal.path)

    def _delete(self, path: Path) -> bool:
        had_content = delete_journal(self._disk, path, sync=self._settings.is_synced)
        with suppress(OSError):
            left = self._disk.names(path.parent)
            if _ABOUT_ALL.issuperset(left):
                for name in left:
                    remove_file(self._disk, path.parent / name)
            self._disk.remove_directory(path.parent)
        return had_content

    def _owner(self, path: Path) -> SessionKey | None:
        """The key in a journal's header, None if nothing was committed to it yet."""
        try:
            line = first_line(self._disk, path)
            data = header_data(line)
            rest = b"" if data else read_whole(self._disk, path)
        except FileNotFoundError:  # it was deleted since it was listed
            return None
        except OSError as error:
            raise store_error(error, path) from error
        if data is not None:
            owner = Header.read(data, path, self._settings.format).owner
            return SessionKey(owner.get("user_id"), owner.get("session_id") or "")
        must_be_torn(path, rest, end=0, expected=1)
        return None

    def _contains(self, path: Path, needle: bytes) -> bool:
        try:
            return contains(self._disk, path, needle)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise store_error(error, path) from error


def _waiting(session: SessionFile) -> list[Hit]:
    return [Hit(session.key, turn) for turn in session.waiting()]


def _hits(session: SessionFile, text: str, limit: int) -> list[Hit]:
    found = (turn for turn in session.newest_first() if mentions(turn, text))
    return [Hit(session.key, turn) for turn in islice(found, max(0, limit))]


def may_mention(data: bytes, text: str) -> bool:
    """Whether a journal may have a turn that `mentions` a text; false only if none has it."""
    if b"\\u" in data:
        return True  # a letter may be escaped
    sought = dump_json(text)[1:-1].decode().casefold()
    if data.isascii():
        return sought.encode() in data.lower()
    return sought in data.decode(errors="replace").casefold()


def _parse_marker(marker: Path, data: bytes) -> Document:
    try:
        about = parse_document(data)
    except DamagedStore as error:
        raise DamagedStore(f"{marker}: it cannot be read; restore it from a backup") from error
    if about.get("format") != FORMAT:
        raise StoreError(f"{marker}: it is not a store of teamgraph; name another path")
    return about
