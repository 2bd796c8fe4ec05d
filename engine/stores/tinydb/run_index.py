"""Which sessions of a user have which runs: a cache beside the journals, for whoever looks for one.

`find` and `waiting` read the journals by activity. What they learn of a journal stays true until
the session is named in the activity file again, since a run begins and ends with that; so it is
saved in `runs.index`, with the place in the activity file up to which it is true. Nothing is lost
without it. It has hashes of run ids, and those of deleted runs stay in it until it is made anew.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from msgspec import Struct
from msgspec.msgpack import Decoder, encode

from ...errors import DamagedStore
from ..journal.disk import Disk, chunks, opened, read_whole, replace_file
from ..journal.line import parse_document, parse_key, unpack
from .activity import RUNS, ActivityLog

_HEAD = b"teamgraph-runs 1 "
_HASH = 8  # bytes
_WORTH_SAVING = 64


class SessionRuns(Struct, frozen=True, array_like=True):
    """The runs of one session: hashes of their ids, and whether one of them may wait."""

    hashes: bytes
    may_wait: bool

    def may_have(self, run_id: str) -> bool:
        """Whether a run may be one of them; false only if it is none."""
        return _hash(run_id) in self.hashes


class RunIndex:
    """The saved index of a user, as far as it is still true, and what is learnt meanwhile.

    Begin with it before any journal is read that it is to learn.
    """

    def __init__(self, log: ActivityLog, disk: Disk) -> None:
        self._log = log
        self._path = log.path.with_name(RUNS)
        self._disk = disk
        self._seen = log.seen()
        self._learnt = 0
        self._sessions: dict[str, SessionRuns] = {}
        saved = self._saved()
        if saved is not None and self._seen is not None and saved.inode == self._seen[0]:
            self._sessions = saved.sessions
            for name in log.names_since(saved.end):
                self._sessions.pop(name, None)

    def runs(self, name: str) -> SessionRuns | None:
        """The runs of the session of this name; None if it has to be read each time, or is gone."""
        known = self._sessions.get(name)
        if known is None:
            known = self._look(self._path.with_name(f"{name}.jsonl"))
            if known is not None:
                self._sessions[name] = known
                self._learnt += 1
        return known

    def save(self) -> None:
        """Save it if it has learnt enough; errors are ignored."""
        if self._learnt <= _WORTH_SAVING or self._seen is None:
            return
        data = encode(_Saved(*self._seen, self._sessions))
        with suppress(OSError):
            seen = self._log.seen()
            if seen is not None and seen[0] == self._seen[0]:
                replace_file(self._disk, self._path, _head(data) + data, sync=False)

    def _saved(self) -> _Saved | None:
        with suppress(OSError):
            data = read_whole(self._disk, self._path)
            body = data[len(_head(b"")) :]
            if data.startswith(_head(body)):
                return _SAVED.decode(body)
        return None

    def _look(self, journal: Path) -> SessionRuns | None:
        """Read a journal under its lock, in which a run is announced and begun."""
        with suppress(OSError, ValueError, DamagedStore), opened(self._disk, journal) as file:
            if self._disk.lock(file):
                inode = self._disk.status(file).st_ino
                data = b"".join(chunks(self._disk, file))
                if self._disk.status(journal).st_ino == inode:
                    return _runs_in(data)
        return None


class _Saved(Struct, frozen=True, array_like=True):
    """An index in its file; it is true of the activity file up to byte `end`."""

    inode: int
    end: int
    sessions: dict[str, SessionRuns]


_SAVED = Decoder(_Saved)


def _runs_in(data: bytes) -> SessionRuns | None:
    """The runs in a journal; None if it has one in progress, or a torn tail."""
    runs: dict[str, bool] = {}
    in_progress: set[str] = set()
    end = 0
    for transaction in unpack(data, 0):
        if transaction is None:
            return None
        end = transaction.end
        for entry in transaction.entries:
            if entry.table == "runs" and entry.verb == "p" and entry.slot.key != b"null":
                key, number, *waiting = parse_key(entry.slot.key)
                run_id = str(key)
                runs[run_id] = bool(waiting)
                document = parse_document(entry.slot.cut(data, 0))
                is_over = number or document.get("status", "running") != "running"
                (in_progress.discard if is_over else in_progress.add)(run_id)
    if end < len(data) or in_progress:
        return None
    return SessionRuns(b"".join(map(_hash, runs)), any(runs.values()))


def _hash(run_id: str) -> bytes:
    return sha256(run_id.encode("utf-8", "surrogatepass")).digest()[:_HASH]


def _head(data: bytes) -> bytes:
    return b"%b%08x" % (_HEAD, crc32(data))
