"""One session in its journal: the store's operations as operations on documents.

Tables and keys: `runs` `[run_id, number]` (number 0 until the run is done; `[run_id, 0, "waiting"]`
while it waits for a person), `nodes` `[run, node, attempt]` (`run` is the run's document number),
`state` `[scope, name]` (scopes `state`, `node`, `head`, and `set`: what was last done to a key of
the state outside of a turn), `summaries` `[covers]`, `words` the words themselves, `texts` the hash
of a text (`pack_record`). Methods that read are called while the journal is held `shared`, those
that write while it is locked `exclusive`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar, cast

from msgspec import Struct
from msgspec.msgpack import Decoder, encode
from msgspec.structs import replace

from ...errors import DamagedStore
from ...messages import JSON
from ...records import Change, Head, Record, Run, SessionInfo, SessionKey, StateKey, Summary, Turn
from ...session.history import RESULT, run_texts
from ...session.store import FinishedRun, Lease, Policy, WhileWaiting
from .. import codec
from ..attachments import remove_unnamed
from ..codec import (
    SharedLookup,
    SharedWords,
    map_references,
    pack_record,
    pack_summary,
    pack_turn,
    shared_texts,
    unpack_record,
    unpack_summary,
    unpack_turn,
)
from ..journal.compaction import compact, remove_set_aside
from ..journal.disk import OpenFile, store_error
from ..journal.journal_file import JournalFile, JournalSettings
from ..journal.line import (
    RECOVER,
    Document,
    Operation,
    Slot,
    dump_json,
    dump_key,
    parse_document,
    parse_key,
)
from ..leases import (
    Grant,
    check_stored,
    check_waiting,
    lease_lost,
    run_deleted,
    run_in_progress,
)
from ..memory import MemorySession, StoredRecord
from ..quoting import DELETED, text_of_turn
from ..redaction import (
    StateChange,
    StateValue,
    only_of,
    redact_run,
    redact_summary,
    set_outside,
    undo,
    values_set_by,
    wrote_summary,
)
from .activity import ActivityLog, Seen
from .lock import SessionLock

T = TypeVar("T")
OtherRun: TypeAlias = tuple[str, str]
"""A run of another session: the name of its session's file, and its id."""
_ABOUT = ("head", "")
_ABOUT_TYPES = {"name": (str, type(None)), "turns": (int,), "deleted": (int,)}
_WAITING = "waiting"
_CACHED, _CACHED_BYTES = 16, 16_384
_NEWEST = 32  # runs of a saved index that are not packed
_MOST_TEXTS = 256


class StoredDocument(Struct, frozen=True, gc=False, array_like=True):
    """A document of the journal: its number as text, and its position."""

    document: str
    slot: Slot


class SessionIndex:
    """Which documents are which runs, records, state keys and summaries; an `IndexListener`.

    It is built from the keys of the lines, so no document is parsed to find one. A document
    without a key, as a user of TinyDB may insert it, is ignored.

    What was loaded has all numbers and the newest runs; the others stay packed until one of them
    is asked for. They are unpacked before one of them is put again or dropped: that needs
    `documents`.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, StoredDocument] = {}
        self.numbers: list[int] = []
        self.state: dict[tuple[str, str], StoredDocument] = {}
        self.covers: list[int] = []
        self.words: dict[SharedWords, int] = {}
        self.words_of: dict[int, SharedWords] = {}
        self.texts: dict[str, StoredDocument] = {}
        self.text_of: dict[int, StoredDocument] = {}
        self._runs: dict[str, StoredDocument] = {}
        self._run_ids: dict[str, str] = {}
        self._number_of: dict[str, int] = {}
        self._by_number: dict[int, str] = {}
        self._records: dict[int, dict[tuple[str, int], StoredDocument]] = {}
        self._packed: dict[int, bytes] = {}
        self._summaries: dict[int, StoredDocument] = {}
        self._older, self._older_ids = b"", ""
        self._oldest: StoredDocument | None = None

    def clear(self) -> None:
        """See `IndexListener.clear`."""
        for mapping in (self._runs, self._run_ids, self._number_of, self._by_number, self.waiting):
            mapping.clear()
        for rest in (self.numbers, self.state, self.covers, self.words, self.words_of):
            rest.clear()
        for texts in (self.texts, self.text_of):
            texts.clear()
        for packed in (self._records, self._packed, self._summaries):
            packed.clear()
        self._older, self._older_ids = b"", ""

    def run(self, run_id: str) -> StoredDocument | None:
        """The document of a run, or None."""
        stored = self._runs.get(run_id)
        if stored is None and run_id in self._older_ids:
            self._unpack()
            stored = self._runs.get(run_id)
        return stored

    def runs(self) -> dict[str, StoredDocument]:
        """The documents of all runs by their ids, the oldest first."""
        self._unpack()
        return self._runs

    @property
    def first(self) -> StoredDocument | None:
        """The document of the oldest run, or None."""
        return self._oldest if self._older else next(iter(self._runs.values()), None)

    def newest_first(self) -> Iterator[StoredDocument]:
        """The documents of all runs, the newest first."""
        newer = len(self._runs)
        yield from reversed(self._runs.values())
        if self._older:
            yield from islice(reversed(self.runs().values()), newer, None)

    def run_id(self, document: str) -> str | None:
        """The id of the run with this document number, or None."""
        if document not in self._run_ids:
            self._unpack()
        return self._run_ids.get(document)

    def number_of(self, run_id: str) -> int:
        """The number of a turn, 0 if the run is not done."""
        return self._number_of.get(run_id, 0) if self.run(run_id) else 0

    def numbered(self, number: int) -> StoredDocument:
        """The run with one of the `numbers`."""
        if number not in self._by_number:
            self._unpack()
        return self._runs[self._by_number[number]]

    def summary(self, covers: int) -> StoredDocument | None:
        """The summary that covers the turns up to a number, or None."""
        if covers not in self._summaries:
            self._unpack()
        return self._summaries.get(covers)

    def put(self, table: str, document: str, slot: Slot) -> None:
        """See `IndexListener.put`."""
        if slot.key == b"null":
            return
        key = parse_key(slot.key)
        stored = StoredDocument(document, slot)
        try:
            match table:
                case "runs":
                    self._put_run(stored, key[0], key[1], is_waiting=key[2:] == [_WAITING])
                case "nodes":
                    self.records(key[0])[key[1], key[2]] = stored
                case "state":
                    self.state[key[0], key[1]] = stored
                case "words":
                    self._put_words(tuple(key), int(document))
                case "texts":
                    self.texts[key[0]] = self.text_of[int(document)] = stored
                case _:
                    self._put_summary(stored, key[0])
        except (IndexError, KeyError, TypeError) as error:
            raise DamagedStore(
                f"the key {key} in {table!r} has the wrong types; {RECOVER}"
            ) from error

    def drop(self, table: str, document: str, slot: Slot) -> None:
        """See `IndexListener.drop`."""
        if slot.key == b"null":
            return
        key = parse_key(slot.key)
        match table:
            case "runs":
                self._remove_number(key[0])
                self._runs.pop(key[0], None)
                self.waiting.pop(key[0], None)
                self._run_ids.pop(document, None)
            case "nodes":
                self.records(key[0]).pop((key[1], key[2]), None)
            case "state":
                self.state.pop((key[0], key[1]), None)
            case "words":
                self.words_of.pop(self.words.pop(tuple(key), 0), None)
            case "texts":
                self.texts.pop(key[0], None)
                self.text_of.pop(int(document), None)
            case _:
                self._summaries.pop(key[0], None)
                self.covers.remove(key[0])

    def records(self, run: int) -> dict[tuple[str, int], StoredDocument]:
        """The records of the run that is document `run`, by node and attempt."""
        if (packed := self._packed.pop(run, None)) is not None:
            self._records[run] = _unpack_records(packed)
        return self._records.setdefault(run, {})

    def all_records(self) -> dict[int, dict[tuple[str, int], StoredDocument]]:
        """The records of all runs."""
        self._unpack()
        for run in list(self._packed):
            self.records(run)
        return self._records

    def documents(self) -> dict[str, dict[str, Slot]]:
        """See `IndexListener.documents`."""
        records = self.all_records().values()
        return {
            "runs": _slots(self._runs.values()),
            "nodes": _slots(stored for each in records for stored in each.values()),
            "summaries": _slots(self._summaries.values()),
        }

    def dump(self) -> bytes:
        """See `IndexListener.dump`."""
        self._unpack()
        packed = dict(self._packed)
        for run, records in self._records.items():
            packed[run] = encode([(*attempt, stored) for attempt, stored in records.items()])
        first = max(0, len(self._runs) - _NEWEST)
        older = dict(islice(self._runs.items(), first))
        newer = dict(islice(self._runs.items(), first, None))
        of_newer = {int(stored.document) for stored in newer.values()}
        last = set(self.covers[-_NEWEST:])

        def some(runs: dict[str, StoredDocument], *, is_newer: bool) -> _SomeRuns:
            return _SomeRuns(
                runs,
                {run_id: each for run_id, each in self._number_of.items() if run_id in runs},
                {run: each for run, each in packed.items() if (run in of_newer) is is_newer},
                {at: each for at, each in self._summaries.items() if (at in last) is is_newer},
            )

        return encode(
            _SavedSession(
                "\n".join(older),
                encode(some(older, is_newer=False)) if older else b"",
                self.first,
                some(newer, is_newer=True),
                self.waiting,
                self.numbers,
                self.covers,
                [(*key, one) for key, one in self.state.items()],
                list(self.words.items()),
                self.texts,
            )
        )

    def load(self, data: bytes) -> None:
        """See `IndexListener.load`."""
        self.clear()
        saved = _SAVED.decode(data)
        self._older, self._older_ids = saved.older, saved.older_ids
        self._oldest = saved.oldest
        self._take(saved.newer)
        self.waiting = saved.waiting
        self.numbers, self.covers = saved.numbers, saved.covers
        self.state = {(scope, name): stored for scope, name, stored in saved.state}
        for words, number in saved.words:
            self._put_words(words, number)
        self.texts = saved.texts
        self.text_of = {int(stored.document): stored for stored in saved.texts.values()}

    def _unpack(self) -> None:
        """Take in the older runs."""
        if self._older:
            older, self._older, self._older_ids = _OLDER.decode(self._older), b"", ""
            self._take(older)

    def _take(self, some: _SomeRuns) -> None:
        """Add runs that are older than those that it has."""
        self._runs = {**some.runs, **self._runs}
        self._run_ids |= {stored.document: run_id for run_id, stored in some.runs.items()}
        self._number_of |= some.number_of
        self._by_number |= {number: run_id for run_id, number in some.number_of.items()}
        self._packed |= some.records
        self._summaries |= some.summaries

    def _put_run(
        self, stored: StoredDocument, run_id: str, number: int, *, is_waiting: bool
    ) -> None:
        self._remove_number(run_id)
        self.waiting.pop(run_id, None)
        if is_waiting:
            self.waiting[run_id] = stored
        self._runs[run_id] = stored
        self._run_ids[stored.document] = run_id
        if number:
            self._number_of[run_id] = number
            self._by_number[number] = run_id
            insort(self.numbers, number)

    def _put_summary(self, stored: StoredDocument, covers: int) -> None:
        if covers not in self._summaries:
            insort(self.covers, covers)
        self._summaries[covers] = stored

    def _put_words(self, words: SharedWords, number: int) -> None:
        self.words[words] = number
        self.words_of[number] = words

    def _remove_number(self, run_id: str) -> None:
        number = self._number_of.pop(run_id, 0)
        if number:
            del self._by_number[number]
            del self.numbers[bisect_left(self.numbers, number)]


class _SomeRuns(Struct, frozen=True, array_like=True):
    """Some runs of a `SessionIndex`; the records of each are encoded by themselves."""

    runs: dict[str, StoredDocument]
    number_of: dict[str, int]
    records: dict[int, bytes]
    summaries: dict[int, StoredDocument]


class _SavedSession(Struct, frozen=True, array_like=True):
    """A `SessionIndex` as it is saved: the newest runs, and the older ones encoded as a whole."""

    older_ids: str
    older: bytes
    oldest: StoredDocument | None
    newer: _SomeRuns
    waiting: dict[str, StoredDocument]
    numbers: list[int]
    covers: list[int]
    state: list[tuple[str, str, StoredDocument]]
    words: list[tuple[SharedWords, int]]
    texts: dict[str, StoredDocument]


_SAVED = Decoder(_SavedSession)
_OLDER = Decoder(_SomeRuns)
_RECORDS = Decoder(list[tuple[str, int, StoredDocument]])


def _slots(documents: Iterable[StoredDocument]) -> dict[str, Slot]:
    return {stored.document: stored.slot for stored in documents}


def unfit(table: str, key: bytes, data: bytes) -> str | None:
    """Why a document cannot be read as one of its table, None if it can."""
    try:
        document = parse_document(data)
        _decode(table, unpacked(table, key, document, SessionIndex(), NothingShared()))
    except DamagedStore as error:
        return str(error).removesuffix(f"; {RECOVER}")
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return f"a stored document of {table!r} does not fit: {error!r}"
    return None


def _decode(table: str, document: Document) -> None:
    """Decode a document as it is read; records without the texts of other runs."""
    match table:
        case "runs":
            codec.decode_turn(document)
        case "summaries":
            codec.decode_summary(document)
        case "nodes":
            codec.decode_record(document, codec.NoReferences())
        case "texts":
            codec.check_types("text", {"text": None, **document}, {"text": (str,)})
        case _:
            if document.get("scope") == _ABOUT[0]:
                codec.check_types("name of a session", document, _ABOUT_TYPES)
            elif table == "state" and "value" not in document:
                raise DamagedStore("a stored state has no value")


def unpacked(
    table: str, key: bytes, document: Document, index: SessionIndex, shared: SharedLookup
) -> Document:
    """A document of a session as it was before it was packed for the file; changed in place."""
    if key != b"null":
        match table:
            case "runs":
                return unpack_turn(document, parse_key(key), shared)
            case "nodes":
                return unpack_record(document, parse_key(key), shared)
            case "summaries":
                return unpack_summary(document, parse_key(key), index.run_id)
            case _:
                pass
    return document


class NewShared:
    """Numbers of what the documents of one transaction share, and the operations that add it.

    A session shares at most 256 texts: those of prompts that are different each time end there.
    """

    def __init__(self, index: SessionIndex, next_number: Callable[[str], int]) -> None:
        self._index = index
        self._next_number = next_number
        self._new: dict[SharedWords, int] = {}
        self._new_texts: dict[str, int] = {}
        self.operations: list[Operation] = []

    def words(self, words: SharedWords) -> int:
        """See `Shared.words`."""
        number = self._index.words.get(words) or self._new.get(words)
        if number is None:
            number = self._new[words] = self._next_number("words") + len(self._new)
            key = dump_key(words)
            self.operations.append(Operation("p", "words", str(number), key, b'{"words":%b}' % key))
        return number

    def text(self, text: str) -> int | None:
        """See `Shared.text`."""
        digest = _digest(text)
        if (stored := self._index.texts.get(digest)) is not None:
            return int(stored.document)
        number = self._new_texts.get(digest)
        if number is None:
            if len(self._index.texts) + len(self._new_texts) >= _MOST_TEXTS:
                return None
            number = self._next_number("texts") + len(self._new_texts)
            self._new_texts[digest] = number
            key, data = dump_key((digest,)), dump_json({"text": text})
            self.operations.append(Operation("p", "texts", str(number), key, data))
        return number


@lru_cache(maxsize=128)
def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class NothingShared:
    """A `SharedLookup` that has lost everything: for documents whose types alone matter."""

    def words_at(self, number: int) -> SharedWords | None:
        """See `SharedLookup.words_at`."""

    def text_at(self, number: int) -> str:
        """See `SharedLookup.text_at`."""
        return DELETED


class StoredShared:
    """A `SharedLookup` of what a session has stored; a text that a salvage has lost is deleted."""

    def __init__(self, index: SessionIndex, journal: JournalFile) -> None:
        self._index = index
        self._texts = DocumentCache(journal, _decode_text)

    def words_at(self, number: int) -> SharedWords | None:
        """See `SharedLookup.words_at`."""
        return self._index.words_of.get(number)

    def text_at(self, number: int) -> str:
        """See `SharedLookup.text_at`."""
        stored = self._index.text_of.get(number)
        return DELETED if stored is None else self._texts.get(stored.slot)

    def clear(self) -> None:
        """Forget the texts."""
        self._texts.clear()


def _decode_text(_: bytes, data: bytes) -> str:
    return str(parse_document(data).get("text"))


def _unpack_records(packed: bytes) -> dict[tuple[str, int], StoredDocument]:
    return {(node, attempt): stored for node, attempt, stored in _RECORDS.decode(packed)}


class DocumentCache(Generic[T]):
    """Cache of the 16 decoded documents last read or written, at most 16 kB each."""

    def __init__(self, journal: JournalFile, decode: Callable[[bytes, bytes], T]) -> None:
        self._journal = journal
        self._decode = decode
        self._cached: OrderedDict[int, tuple[Slot, T]] = OrderedDict()

    def get(self, slot: Slot) -> T:
        """The document at `slot`, read and decoded unless it is cached."""
        cached = self._cached.get(slot.offset)
        if cached is not None and cached[0] is slot:
            return cached[1]
        value = self._decode(slot.key, self._journal.text(slot))
        self.put(slot, value)
        return value

    def clear(self) -> None:
        """Forget the documents."""
        self._cached.clear()

    def put(self, slot: Slot, value: T) -> None:
        """Cache what was just written."""
        if slot.length <= _CACHED_BYTES:
            self._cached[slot.offset] = (slot, value)
            if len(self._cached) > _CACHED:
                self._cached.popitem(last=False)


class OtherRuns:
    """Turns of other sessions that a record quotes, read before the journal is.

    While one journal is held nobody may wait for another: a run that is asked for and was not
    read is noted in `missing`, and the caller reads it and tries again.
    """

    def __init__(self) -> None:
        self.turns: dict[OtherRun, Turn | None] = {}
        self.missing: set[OtherRun] = set()

    def text(self, run: OtherRun, place: str) -> str | None:
        """A text of the turn; None if the run is deleted, or was not read yet."""
        if run not in self.turns:
            self.missing.add(run)
        turn = self.turns.get(run)
        return None if turn is None else text_of_turn(turn, place)


RUN_LOCK = ".run"
CANCEL_MARK = ".cancel"
"""Ends the names of the locks of single runs."""


class SessionFile:
    """An open session. `users` counts its current users: it is closed only when there is none."""

    def __init__(
        self,
        path: Path,
        key: SessionKey,
        settings: JournalSettings,
        *,
        create: bool,
        activity: ActivityLog,
    ) -> None:
        self.key = key
        self._name = path.stem
        self._activity = activity
        self._seen: Seen | None = None
        self.users = 0
        self._disk = settings.disk
        self.lock = SessionLock(path.with_suffix(".lock"), settings.disk)
        self.index = SessionIndex()
        self.journal = JournalFile(
            path,
            settings,
            owner=key._asdict(),
            create=create,
            listener=self.index,
            beside=activity.path,
        )
        self._held_at = 0
        self._references: RunReferences | None = None
        self._shared = StoredShared(self.index, self.journal)
        self._turns = DocumentCache(self.journal, self._decode_turn)
        self._summaries = DocumentCache(self.journal, self._decode_summary)

    def run_lock(self, run_id: str) -> SessionLock:
        """A lock of one run, for leases that do not exclude others."""
        suffix = f".{hashed_name('r', run_id)}{RUN_LOCK}"
        return SessionLock(self.journal.path.with_suffix(suffix), self._disk)

    def mark_cancelled(self, run_id: str) -> None:
        """Ask the process that has the run in progress to cancel it: a file beside the journal."""
        path = self._cancel_mark(run_id)
        try:
            OpenFile(self._disk, path, create=True).close()
        except OSError as error:
            raise store_error(error, path) from error

    def take_cancelled(self, run_id: str) -> bool:
        """Whether another process has asked to cancel the run; the mark is removed."""
        try:
            self._disk.remove(self._cancel_mark(run_id))
        except OSError:  # nearly always: there is none
            return False
        return True

    def _cancel_mark(self, run_id: str) -> Path:
        return self.journal.path.with_suffix(f".{hashed_name('r', run_id)}{CANCEL_MARK}")

    def _can_lock_run(self, run_id: str) -> bool:
        """Whether no lease that does not exclude others has the run."""
        probe = self.run_lock(run_id)
        try:
            if is_free := probe.try_acquire():
                probe.delete()
            return is_free
        finally:
            probe.close()

    def is_locked_elsewhere(self) -> bool:
        """Whether another process has the session's lock, if this one does not."""
        probe = SessionLock(self.journal.path.with_suffix(".lock"), self._disk)
        try:
            return not probe.try_acquire()
        finally:
            probe.close()

    @property
    def exists(self) -> bool:
        """Whether anything was ever committed."""
        return not self.journal.is_empty

    def rest(self) -> None:
        """Close the files until the next use, and keep only the index; nobody may have the lock."""
        self.lock.close()
        self.journal.save_index()
        self.journal.rest()
        for cache in (self._turns, self._summaries, self._shared):
            cache.clear()

    def close(self) -> None:
        """Close the files, and release the lock by that."""
        self.lock.close()
        self.journal.save_index()
        self.journal.close()

    def begin(
        self,
        turn: Turn,
        is_stored: bool | None,
        policy: Policy,
        while_waiting: WhileWaiting,
        *,
        is_locked_elsewhere: bool,
        has_run_lock: bool,
    ) -> Head:
        """Store a run as running; `is_stored` and errors as for `Store.begin`.

        A run that is stored as running may be in progress in the process that has the lock.
        """
        stored = self.index.run(turn.run_id)
        earlier = None if stored is None else self._turns.get(stored.slot)
        check_stored(self.key, turn.run_id, earlier, expected=is_stored)
        if (
            earlier is not None
            and earlier.status == "running"
            and (is_locked_elsewhere or not (has_run_lock or self._can_lock_run(turn.run_id)))
        ):
            raise run_in_progress(turn.run_id)
        check_waiting(self.key, self.waiting(), earlier, policy, while_waiting)
        turn = replace(turn, status="running", number=0)
        self.touch()  # first: a name in the list without a session is skipped
        self._commit(self._put_turn(turn), is_exclusive=policy != "fork")
        self._references = None
        return self.head()

    def touch(self) -> None:
        """Make it the session with the latest activity of its user."""
        try:
            self._seen = self._activity.append(self._name, self._seen)
        except OSError as error:
            raise store_error(error, self._activity.path) from error

    def put(self, grant: Grant[SessionFile], records: Sequence[Record]) -> None:
        """Store records of a run; raises `Conflict` if it was deleted or taken over."""
        run = self._check_writable(grant)
        is_late = self._has_lost_runs(grant)
        references = self._references
        if references is None or not grant.is_exclusive or not self._is_unchanged:
            references = self._references = RunReferences(self, OtherRuns())
        stored = self.index.records(run)
        free = self.journal.index.next_number("nodes")
        shared = NewShared(self.index, self.journal.index.next_number)
        operations: list[Operation] = []
        new: dict[tuple[str, int], str] = {}
        for record in records:
            attempt = (record.node, record.attempt)
            if attempt in stored:
                document = stored[attempt].document
            elif attempt in new:
                document = new[attempt]
            else:
                document = new[attempt] = str(free)
                free += 1
            encoded = codec.encode_record(run, record, references)
            if is_late:
                redact_summary(encoded)
            data = dump_json(pack_record(encoded, shared))
            operations.append(Operation("p", "nodes", document, dump_key((run, *attempt)), data))
        if operations:
            self._commit([*shared.operations, *operations], is_exclusive=grant.is_exclusive)

    def finish(self, grant: Grant[SessionFile], turn: Turn, change: Change) -> Turn:
        """Finish a run; raises `Conflict` if it was deleted or taken over.

        The caller calls `touch` afterwards.
        """
        self._check_writable(grant)
        run_id = grant.lease.run_id
        number = max(self._last_number() + 1, turn.number) if turn.status == "done" else 0
        turn = replace(turn, run_id=run_id, number=number)
        operations = self._put_turn(turn)
        if number:
            values = {key: StateValue(value, run_id) for key, value in change.values().items()}
            operations += self._put_state(StateChange(values))
        summary = change.summary_at(number) if number and not self._has_lost_runs(grant) else None
        if summary is not None:
            operations.append(self._put_summary(summary))
        self._commit(operations, is_exclusive=grant.is_exclusive)
        self._references = None
        if turn.given_state is None:  # that is the caller's, who may change it
            self._turns.put(self._stored(run_id).slot, turn)
        if summary is not None:
            stored = cast("StoredDocument", self.index.summary(summary.covers))
            self._summaries.put(stored.slot, replace(summary, topics=tuple(summary.topics)))
        return turn

    def add(self, run: FinishedRun) -> None:
        """Store a finished run of a session that nobody else has."""
        turn, stored = run.turn, Lease(self.key, run.turn.run_id, Head())
        self.journal.commit(self._put_turn(replace(turn, status="running", number=0)))
        grant = Grant(stored, self, is_exclusive=False)
        self.put(grant, run.records)
        self.finish(grant, turn, run.change)

    def snapshot(self, session_id_of: Callable[[str], str | None]) -> MemorySession:
        """All of it; `session_id_of` gives the id of a session by its file's name, or None."""

        def portable(reference: JSON) -> JSON:
            if isinstance(reference, list):
                name, run_id = map(str, reference)
                session_id = session_id_of(name)
                return None if session_id is None else [session_id, run_id]
            return self.index.run_id(str(reference))

        found = MemorySession(name=self._about().get("name"), last_number=self._last_number())
        found.deleted = self._about().get("deleted", 0)
        for run_id, stored in self.index.runs().items():
            found.turns[run_id] = self._turns.get(stored.slot)
            found.records[run_id] = records = dict[tuple[str, int], StoredRecord]()
            for attempt, record in self.index.records(int(stored.document)).items():
                document = self._document(record)
                map_references(document, portable)
                records[attempt] = dump_json(document)
        for (scope, name), stored in self.index.state.items():
            if (scope, name) != _ABOUT:
                document = parse_document(self.journal.text(stored.slot))
                value = StateValue(document["value"], document.get("run", ""))
                found.apply(StateChange({StateKey(scope, name): value}))
        for covers in self.index.covers:
            found.covers.append(covers)
            found.summaries[covers] = self._summary(covers)
        return found

    def restore(self, session: MemorySession) -> None:
        """Write a whole session to a journal that is empty and that nobody else has."""
        for turn in session.turns.values():
            self.journal.commit(self._put_turn(turn))
        for run_id, records in session.records.items():
            run = int(self._stored(run_id).document)
            shared = NewShared(self.index, self.journal.index.next_number)
            number = self.journal.index.next_number("nodes")
            operations: list[Operation] = []
            for (node, attempt), stored in records.items():
                document = {**parse_document(cast("bytes", stored)), "run": run}
                map_references(document, self._own_reference)
                key, data = dump_key((run, node, attempt)), dump_json(pack_record(document, shared))
                operations.append(Operation("p", "nodes", str(number), key, data))
                number += 1
            if operations:
                self.journal.commit([*shared.operations, *operations])
        values = StateChange(session.values())
        about = self._put_about(session.name, deleted=session.deleted, turns=session.last_number)
        for operation in (about, *map(self._put_summary, session.summaries.values())):
            self.journal.commit([operation])  # one by one, as the next number is that of the index
        self.journal.commit(self._put_state(values))

    def head(self) -> Head:
        """Version, state and summary of the session."""
        state: dict[str, JSON] = {}
        node_states: dict[str, Mapping[str, JSON]] = {}
        writers: dict[StateKey, str] = {}
        for (scope, name), stored in self.index.state.items():
            if scope not in ("state", "node"):
                continue
            document = parse_document(self.journal.text(stored.slot))
            (state if scope == "state" else node_states)[name] = document["value"]
            if "run" in document:
                writers[StateKey(scope, name)] = document["run"]
        covers = self.index.covers
        last = self._last_number()
        return Head(
            version=last,
            turns=last,
            state=state,
            node_states=node_states,
            summary=self._summary(covers[-1]) if covers else None,
            name=self._about().get("name"),
            deleted=self._about().get("deleted", 0),
            writers=writers,
        )

    def run(self, run_id: str, others: OtherRuns) -> Run | None:
        """A run with the last record of each of its nodes, or None."""
        turn = self.turn(run_id)
        if turn is None:
            return None
        records = self.records(run_id, RunReferences(self, others))
        return Run(self.key, turn, {record.node: record for record in records})

    def turn(self, run_id: str) -> Turn | None:
        """The turn of a run, or None."""
        stored = self.index.run(run_id)
        return None if stored is None else self._turns.get(stored.slot)

    def records(
        self,
        run_id: str,
        references: RunReferences,
        decode: codec.DecodeRecord = codec.decode_record,
    ) -> list[Record]:
        """The last record of each node of a stored run, decoded by `decode`."""
        run = int(self._stored(run_id).document)
        last: dict[str, tuple[int, StoredDocument]] = {}
        for (node, attempt), record in self.index.records(run).items():
            if node not in last or last[node][0] < attempt:
                last[node] = (attempt, record)
        return [decode(self._document(record), references) for _, record in last.values()]

    def turns(self, *, last: int | None = None, since: int = 0) -> list[Turn]:
        """The done turns after `since`, the newest `last` of them, oldest first."""
        numbers = self.index.numbers
        start = bisect_right(numbers, since)
        if last is not None:
            start = max(start, len(numbers) - max(0, last))
        return [self._numbered(number) for number in numbers[start:]]

    def newest_first(self) -> Iterator[Turn]:
        """The done turns from the newest on, read one by one."""
        for number in reversed(self.index.numbers):
            yield self._numbered(number)

    def runs(self, *, limit: int, offset: int) -> list[Turn]:
        """All runs, newest first."""
        page = islice(self.index.newest_first(), offset, offset + limit)
        return [self._turns.get(stored.slot) for stored in page]

    def waiting(self) -> list[Turn]:
        """The runs that wait for a person, the newest first."""
        newest_first = reversed(self.index.waiting.values())
        return [self._turns.get(stored.slot) for stored in newest_first]

    def summary(self, *, until: int) -> Summary | None:
        """The newest summary that covers no turn after number `until`."""
        covers = self.index.covers
        count = bisect_right(covers, until)
        return self._summary(covers[count - 1]) if count else None

    def info(self) -> SessionInfo:
        """The session's entry in a list."""
        first = self.index.first
        opening = None if first is None else self._turns.get(first.slot)
        latest = [*self.runs(limit=1, offset=0), *self.turns(last=1)]
        return SessionInfo(
            key=self.key,
            turns=self._last_number(),
            started=0.0 if opening is None else opening.started,
            updated=max((max(turn.started, turn.ended) for turn in latest), default=0.0),
            name=self._about().get("name"),
            first_input="" if opening is None else opening.input,
        )

    def rename(self, name: str | None) -> None:
        """Name the session."""
        deleted = self._about().get("deleted", 0)
        self.journal.commit([self._put_about(name, deleted=deleted)])

    def set_state(self, values: Mapping[str, JSON], remove: Collection[str]) -> None:
        """Set and remove keys of the state outside of a turn; what is removed leaves the file."""
        entries = set_outside(values, remove, after=self._last_number())
        entries |= {
            StateKey("state", name): StateValue(value, "") for name, value in values.items()
        }
        dropped = [StateKey("state", name) for name in remove]
        self.journal.commit(self._put_state(StateChange(entries, dropped)))
        if remove:
            compact(self.journal)

    def delete_run(self, run_id: str) -> bool:
        """Delete a run and its texts, and compact the file; False if there is no such run.

        The file is compacted also where there is no such run: an earlier attempt may have been
        killed.
        """
        stored, disk = self.index.run(run_id), self.journal.settings.disk
        if stored is not None:
            self.journal.commit(self._deletion(run_id, int(stored.document)))
        compact(self.journal)
        remove_set_aside(disk, self.journal.path)
        named = {part.sha256 for turn in self._all_turns() for part in turn.attachments}
        remove_unnamed(disk, self.journal.path, named)
        return stored is not None

    @property
    def _is_unchanged(self) -> bool:
        """Whether nobody has written since the last write of an exclusive lease."""
        return self._held_at == self.journal.index.sequence

    def _all_turns(self) -> Iterator[Turn]:
        return (self._turns.get(stored.slot) for stored in self.index.newest_first())

    def _check_writable(self, grant: Grant[SessionFile]) -> int:
        """The document number of a lease's run; raises `Conflict` if it may not be written.

        Who takes the session over writes to it: while nobody did, the lock is held.
        """
        run_id = grant.lease.run_id
        if grant.is_exclusive and not self._is_unchanged and not self.lock.is_held():
            raise lease_lost(run_id, self.key)
        stored = self.index.run(run_id)
        if stored is None:
            raise run_deleted(run_id, self.key)
        return int(stored.document)

    def _commit(self, operations: Sequence[Operation], *, is_exclusive: bool) -> None:
        """Commit for a lease, or a run that begins; an exclusive one has the session's lock."""
        self.journal.commit(operations)
        if is_exclusive:
            self._held_at = self.journal.index.sequence

    def _has_lost_runs(self, grant: Grant[SessionFile]) -> bool:
        """Whether a run was deleted since the lease was granted: a new summary may be of it."""
        return bool(self._about().get("deleted", 0) != grant.lease.head.deleted)

    def _put_turn(self, turn: Turn) -> list[Operation]:
        shared = NewShared(self.index, self.journal.index.next_number)
        document = self._document_number(self.index.run(turn.run_id), "runs")
        is_waiting = turn.status == "waiting" and turn.waiting
        key = dump_key((turn.run_id, turn.number, *([_WAITING] if is_waiting else [])))
        data = dump_json(pack_turn(codec.encode_turn(turn), shared))
        return [*shared.operations, Operation("p", "runs", document, key, data)]

    def _put_summary(self, summary: Summary) -> Operation:
        document = self._document_number(self.index.summary(summary.covers), "summaries")
        key = dump_key((summary.covers,))
        packed = pack_summary(codec.encode_summary(summary), self.reference)
        return Operation("p", "summaries", document, key, dump_json(packed))

    def _put_state(self, change: StateChange) -> list[Operation]:
        stored = self.index.state
        free = self.journal.index.next_number("state")
        operations = [
            Operation("d", "state", stored[key].document) for key in change.dropped if key in stored
        ]
        for key, entry in change.put.items():
            if key in stored:
                document = stored[key].document
            else:
                document = str(free)
                free += 1
            writer = {"run": entry.run_id} if entry.run_id else {}
            data = dump_json({**key._asdict(), "value": entry.value, **writer})
            operations.append(Operation("p", "state", document, dump_key(key), data))
        return operations

    def _put_about(self, name: str | None, *, deleted: int, turns: int = 0) -> Operation:
        document = self._document_number(self.index.state.get(_ABOUT), "state")
        about = {"scope": "head", "name": name, "turns": max(turns, self._last_number())}
        if deleted:
            about["deleted"] = deleted
        return Operation("p", "state", document, dump_key(_ABOUT), dump_json(about))

    def _document_number(self, stored: StoredDocument | None, table: str) -> str:
        """The number of a stored document, or the next free one of the table."""
        if stored is not None:
            return stored.document
        return str(self.journal.index.next_number(table))

    def _deletion(self, run_id: str, run: int) -> list[Operation]:
        """The operations that delete a run, undo its state, and redact other runs' records.

        Summaries that may be of it are deleted, and texts that no other record has. An unfinished
        run loses the record of its own summary, so that it writes it again when it is resumed.
        """
        used: set[int] = set()
        number, attached = self.index.number_of(run_id), only_of(run_id, self._all_turns())
        deleted = self._about().get("deleted", 0) + 1
        operations = [
            self._put_about(self._about().get("name"), deleted=deleted),
            *self._put_state(self._undone(run_id, number)),
            Operation("d", "runs", str(run)),
        ]
        for other, records in self.index.all_records().items():
            since = self.index.number_of(self.index.run_id(str(other)) or "")
            may_summarize = bool(number) and not 0 < since < number
            for record in records.values():
                if other == run:
                    operations.append(Operation("d", "nodes", record.document))
                    continue
                packed = parse_document(self.journal.text(record.slot))
                texts = shared_texts(packed)
                found = unpacked("nodes", record.slot.key, packed, self.index, self._shared)
                if may_summarize and not since and wrote_summary(found):
                    operations.append(Operation("d", "nodes", record.document))
                    continue
                if redact_run(found, run_id, run, may_summarize=may_summarize, attached=attached):
                    key, data = record.slot.key, dump_json(found)
                    operations.append(Operation("p", "nodes", record.document, key, data))
                else:
                    used |= texts
        if number:
            covers = self.index.covers
            for covered in covers[bisect_left(covers, number) :]:
                document = self._document_number(self.index.summary(covered), "summaries")
                operations.append(Operation("d", "summaries", document))
        unused = self.index.text_of.keys() - used
        return [*operations, *(Operation("d", "texts", str(text)) for text in unused)]

    def _undone(self, run_id: str, number: int) -> StateChange:
        references = RunReferences(self, OtherRuns())

        def values(run_id: str) -> dict[StateKey, StateValue]:
            turn = self._turns.get(self._stored(run_id).slot)
            return values_set_by(run_id, Change.of(turn, self.records(run_id, references)))

        others = (
            (other, values(self._numbered(other).run_id))
            for other in reversed(self.index.numbers)
            if other != number
        )
        stored = self.index.state
        outside = {
            name: parse_document(self.journal.text(each.slot))["value"]
            for (scope, name), each in stored.items()
            if scope == "set"
        }
        undone = undo(values(run_id) if number else {}, number, others, outside)
        return StateChange(
            {key: value for key, value in undone.put.items() if key in stored}, undone.dropped
        )

    def _document(self, record: StoredDocument) -> Document:
        """The document of a record."""
        document = parse_document(self.journal.text(record.slot))
        return unpacked("nodes", record.slot.key, document, self.index, self._shared)

    def _decode_turn(self, key: bytes, data: bytes) -> Turn:
        document = unpacked("runs", key, parse_document(data), self.index, self._shared)
        return codec.decode_turn(document)

    def _decode_summary(self, key: bytes, data: bytes) -> Summary:
        document = unpacked("summaries", key, parse_document(data), self.index, self._shared)
        return codec.decode_summary(document)

    def reference(self, run_id: str) -> JSON:
        """What documents refer to a run by: the number of its document; None if it is not there."""
        stored = self.index.run(run_id)
        return None if stored is None else int(stored.document)

    def _own_reference(self, reference: JSON) -> JSON:
        """The reference of this session's documents for one of a `MemorySession`'s."""
        if isinstance(reference, list):
            session_id, run_id = map(str, reference)
            return [session_name(session_id), run_id]
        return None if reference is None else self.reference(str(reference))

    def _about(self) -> Document:
        stored = self.index.state.get(_ABOUT)
        if stored is None:
            return {}
        about = parse_document(self.journal.text(stored.slot))
        codec.check_types("name of a session", about, _ABOUT_TYPES)
        return about

    def _last_number(self) -> int:
        numbers = self.index.numbers
        return max(int(self._about().get("turns", 0)), numbers[-1] if numbers else 0)

    def _numbered(self, number: int) -> Turn:
        return self._turns.get(self.index.numbered(number).slot)

    def _summary(self, covers: int) -> Summary:
        return self._summaries.get(cast("StoredDocument", self.index.summary(covers)).slot)

    def _stored(self, run_id: str) -> StoredDocument:
        """The document of a run that is there."""
        return cast("StoredDocument", self.index.run(run_id))


class RunReferences:
    """References from one session's documents to earlier runs: a `quoting.References`.

    A run of the same session is referred to by its document's number, a run of another session of
    the user by the name of that session's file and its id.
    """

    def __init__(self, session: SessionFile, others: OtherRuns) -> None:
        self._session = session
        self._others = others
        self._texts: dict[tuple[str, bool], Mapping[str, str]] = {}
        self._replayed: dict[str, tuple[JSON, Turn] | None] = {}

    def reference(self, run_id: str, session_id: str | None = None) -> JSON:
        """See `References.reference`."""
        if session_id is not None:
            return [session_name(session_id), run_id]
        return self._session.reference(run_id)

    def replayed(self, run_id: str) -> tuple[JSON, Turn] | None:
        """See `References.replayed`."""
        if run_id not in self._replayed:
            stored = self._session.index.run(run_id)
            turn = self._session.turn(run_id)
            found = None if stored is None or turn is None else (int(stored.document), turn)
            self._replayed[run_id] = found
        return self._replayed[run_id]

    def turn(self, reference: JSON) -> Turn | None:
        """See `References.turn`."""
        run_id = self._session.index.run_id(str(reference))
        return None if run_id is None else self._session.turn(run_id)

    def text(self, reference: JSON, place: str) -> str | None:
        """See `References.text`."""
        if isinstance(reference, list):
            return self._others.text(cast("OtherRun", tuple(reference)), place)
        turn = self.turn(reference)
        if turn is None:
            return None
        text = text_of_turn(turn, place)
        if text is not None:
            return text
        return self._record_texts(turn, results=place.endswith(RESULT)).get(place)

    def _record_texts(self, turn: Turn, *, results: bool) -> Mapping[str, str]:
        key = (turn.run_id, results)
        if key not in self._texts:
            decode = partial(codec.decode_own_words, results=results)
            self._texts[key] = run_texts(turn, self._session.records(turn.run_id, self, decode))
        return self._texts[key]


def session_name(session_id: str) -> str:
    """The name of a session's files: a hash, which does not reveal the id."""
    return hashed_name("session", session_id)


def hashed_name(kind: str, identifier: str | None) -> str:
    """A file name for an id: no two ids share one, and None is distinct from every id."""
    tag = "none" if identifier is None else "id"
    text = f"{kind}\0{tag}\0{identifier or ''}"
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
