"""One session in its journal: what the store's operations do to the documents.

Every method here is called while the journal is held, `shared` for those that read and
`exclusive` for those that write.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from ...messages import JSON
from ...records import Change, Head, Record, Run, SessionInfo, SessionKey, StateKey, Summary, Turn
from ...session.store import Lease
from .. import codec
from ..compact_json import Document, dump, parse_document
from ..journal.activity import Activity
from ..journal.compaction import compact, forget_torn
from ..journal.journal_file import JournalFile
from ..journal.line import Operation
from ..journal.medium import Medium
from ..leases import already_done, gone
from ..quoting import References
from ..redaction import StateChange, StateValue, forget_summary, set_by, undo
from .catalogue import Catalogue, Place
from .documents import Recent
from .operations import deletion, put_state, put_summary, put_turn
from .references import Elsewhere, FileReferences
from .turn_lock import TurnLock

_ABOUT = ("head", "")


class SessionFile:
    """An open session. `users` counts who is at it: it may be closed when there is none."""

    def __init__(self, path: Path, key: SessionKey, medium: Medium, *, create: bool) -> None:
        self.key = key
        self.users = 0
        self.activity = Activity(path, medium.disk)
        self._catalogue = Catalogue()
        self.turn = TurnLock(path.with_suffix(".lock"), medium.disk)
        self.journal = JournalFile(
            path, medium, owner=key._asdict(), create=create, watcher=self._catalogue
        )
        self._turns = Recent(self.journal, codec.decode_turn)
        self._summaries = Recent(self.journal, codec.decode_summary)

    @property
    def exists(self) -> bool:
        """Whether anything was ever committed."""
        return not self.journal.is_empty

    def close(self) -> None:
        """Let go of the files, and of the turn."""
        self.turn.close()
        self.journal.close()

    def begin(self, turn: Turn) -> Head:
        """Note a run as running; raises `InputError` if it is there and done."""
        place = self._catalogue.runs.get(turn.run_id)
        if place is not None and self._turn(place).status == "done":
            raise already_done(turn.run_id)
        turn = replace(turn, status="running", number=0)
        self.journal.commit([put_turn(self._catalogue, self.journal.index, turn)])
        self.activity.note()
        return self.head()

    def put(self, lease: Lease, records: Sequence[Record]) -> None:
        """Keep records of a run; raises `Conflict` if the run was deleted."""
        run = self._document_of(lease.run_id)
        is_late = self._has_lost_runs(lease)
        references = self._references(Elsewhere())
        there = self._catalogue.records.get(run, {})
        free = self.journal.index.next_number("nodes")
        operations: list[Operation] = []
        new: dict[tuple[str, int], str] = {}
        for record in records:
            attempt = (record.node, record.attempt)
            if attempt in there:
                document = there[attempt].document
            elif attempt in new:
                document = new[attempt]
            else:
                document = new[attempt] = str(free)
                free += 1
            key = dump((run, *attempt))
            data = codec.encode_record(run, record, references)
            data = forget_summary(data) if is_late else data
            operations.append(Operation("p", "nodes", document, key, data))
        if operations:
            self.journal.commit(operations)

    def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        """Close a run; raises `Conflict` if it was deleted. The activity is still to be noted."""
        run_id = lease.run_id
        self._document_of(run_id)
        number = self._last_number() + 1 if turn.status == "done" else 0
        turn = replace(turn, run_id=run_id, number=number)
        catalogue, index = self._catalogue, self.journal.index
        operations = [put_turn(catalogue, index, turn)]
        if number:
            operations += put_state(catalogue, index, StateChange(set_by(run_id, change)))
        summary = change.summary_at(number) if number else None
        if summary is not None and not self._has_lost_runs(lease):
            operations.append(put_summary(catalogue, index, summary))
        self.journal.commit(operations)
        if turn.given_state is None:  # that is the caller's, who may change it
            self._turns.keep(catalogue.runs[run_id].slot, turn)
        return turn

    def head(self) -> Head:
        """Where the session stands."""
        state: dict[str, JSON] = {}
        node_states: dict[str, Mapping[str, JSON]] = {}
        writers: dict[StateKey, str] = {}
        for (scope, name), place in self._catalogue.state.items():
            if (scope, name) == _ABOUT:
                continue
            document = self._document(place)
            (state if scope == "state" else node_states)[name] = document["value"]
            if "run" in document:
                writers[StateKey(scope, name)] = document["run"]
        covers = self._catalogue.covers
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

    def run(self, run_id: str, elsewhere: Elsewhere) -> Run | None:
        """A run with the last record of each of its nodes, or None."""
        turn = self.turn_of(run_id)
        if turn is None:
            return None
        records = self._records(run_id, self._references(elsewhere))
        return Run(self.key, turn, {record.node: record for record in records})

    def turn_of(self, run_id: str) -> Turn | None:
        """The turn of a run, or None."""
        place = self._catalogue.runs.get(run_id)
        return None if place is None else self._turn(place)

    def turns(self, *, last: int | None = None, since: int = 0) -> list[Turn]:
        """The done turns after `since`, the newest `last` of them, oldest first."""
        numbers = self._catalogue.numbers
        start = bisect_right(numbers, since)
        if last is not None:
            start = max(start, len(numbers) - max(0, last))
        return [self._numbered(number) for number in numbers[start:]]

    def newest_first(self) -> Iterator[Turn]:
        """The done turns from the newest on, each read when it is asked for."""
        for number in reversed(self._catalogue.numbers):
            yield self._numbered(number)

    def runs(self, *, limit: int, offset: int) -> list[Turn]:
        """All runs, newest first."""
        newest_first = reversed(self._catalogue.runs.values())
        page = islice(newest_first, offset, offset + limit)
        return [self._turn(place) for place in page]

    def summary(self, *, until: int) -> Summary | None:
        """The newest summary that covers no turn after number `until`."""
        covers = self._catalogue.covers
        count = bisect_right(covers, until)
        return self._summary(covers[count - 1]) if count else None

    def info(self) -> SessionInfo:
        """The session in a list."""
        first = next(iter(self._catalogue.runs.values()), None)
        opening = None if first is None else self._turn(first)
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
        """Name the session; that is no activity of it."""
        deleted = self._about().get("deleted", 0)
        with self.activity.unnoted():
            self.journal.commit([self._about_operation(name, deleted=deleted)])

    def delete_run(self, run_id: str) -> bool:
        """Delete a run and its words, from the file as well; False if it is not there.

        That is no activity of the session. The file is written anew also where there is none: an
        earlier attempt may have been killed.
        """
        place = self._catalogue.runs.get(run_id)
        if place is not None:
            with self.activity.unnoted():
                self.journal.commit(self._deletion(run_id, int(place.document)))
        compact(self.journal)
        forget_torn(self.journal.medium.disk, self.journal.path)
        return place is not None

    def _records(
        self, run_id: str, references: References, decode: codec.Decode = codec.decode_record
    ) -> list[Record]:
        """The last record of each node of a run that is there, as far as `decode` reads it."""
        run = int(self._catalogue.runs[run_id].document)
        last: dict[str, tuple[int, Place]] = {}
        for (node, attempt), record in self._catalogue.records.get(run, {}).items():
            if node not in last or last[node][0] < attempt:
                last[node] = (attempt, record)
        return [decode(self.journal.text(record.slot), references) for _, record in last.values()]

    def _references(self, elsewhere: Elsewhere) -> FileReferences:
        return FileReferences(
            self._catalogue,
            lambda run_id: self._turn(self._catalogue.runs[run_id]),
            self._records,
            elsewhere,
        )

    def _has_lost_runs(self, lease: Lease) -> bool:
        """Whether a run was deleted since a lease was given: it may have been summed up since."""
        return bool(self._about().get("deleted", 0) != lease.head.deleted)

    def _deletion(self, run_id: str, run: int) -> list[Operation]:
        number = self._catalogue.number_of.get(run_id, 0)
        deleted = self._about().get("deleted", 0) + 1
        return [
            self._about_operation(self._about().get("name"), deleted=deleted),
            *put_state(self._catalogue, self.journal.index, self._undone(run_id, number)),
            *deletion(self._catalogue, self.journal, run_id, run),
        ]

    def _undone(self, run_id: str, number: int) -> StateChange:
        references = self._references(Elsewhere())

        def values(run_id: str) -> dict[StateKey, StateValue]:
            turn = self._turn(self._catalogue.runs[run_id])
            return set_by(run_id, Change.of(turn, self._records(run_id, references)))

        others = (
            (other, values(self._catalogue.by_number[other]))
            for other in reversed(self._catalogue.numbers)
            if other != number
        )
        undone = undo(values(run_id) if number else {}, number, others)
        there = self._catalogue.state
        return StateChange(
            {key: value for key, value in undone.put.items() if key in there}, undone.dropped
        )

    def _about_operation(self, name: str | None, *, deleted: int) -> Operation:
        place = self._catalogue.state.get(_ABOUT)
        free = self.journal.index.next_number("state")
        document = str(free) if place is None else place.document
        about = {"scope": "head", "name": name, "turns": self._last_number()}
        if deleted:
            about["deleted"] = deleted
        return Operation("p", "state", document, dump(_ABOUT), dump(about))

    def _about(self) -> Document:
        place = self._catalogue.state.get(_ABOUT)
        return {} if place is None else self._document(place)

    def _last_number(self) -> int:
        numbers = self._catalogue.numbers
        return max(int(self._about().get("turns", 0)), numbers[-1] if numbers else 0)

    def _document_of(self, run_id: str) -> int:
        place = self._catalogue.runs.get(run_id)
        if place is None:
            raise gone(run_id, self.key)
        return int(place.document)

    def _numbered(self, number: int) -> Turn:
        run_id = self._catalogue.by_number[number]
        return self._turn(self._catalogue.runs[run_id])

    def _turn(self, place: Place) -> Turn:
        return self._turns.read(place.slot)

    def _summary(self, covers: int) -> Summary:
        return self._summaries.read(self._catalogue.summaries[covers].slot)

    def _document(self, place: Place) -> Document:
        return parse_document(self.journal.text(place.slot))
