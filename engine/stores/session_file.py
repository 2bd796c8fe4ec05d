"""One session in its journal: what the store's operations do to the documents.

Every method here is called while the journal is held, `shared` for those that read and
`exclusive` for those that write.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..messages import JSON, Message
from ..session import Change, Head, Record, Run, SessionInfo, SessionKey, Summary, Turn
from . import codec
from .activity import Activity
from .catalogue import Catalogue, Place
from .compact_json import Document, dump, parse_document
from .compaction import compact, forget_torn
from .forgetting import Words
from .journal_file import JournalFile
from .lease import already_done, gone
from .line import Operation
from .medium import Medium
from .recent import RecentTurns
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
            path,
            medium,
            owner=key._asdict(),
            create=create,
            watcher=self._catalogue,
        )
        self._recent = RecentTurns(self.journal)

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
        if place is not None and self._turn(turn.run_id, place).status == "done":
            raise already_done(turn.run_id)
        turn = replace(turn, status="running", number=0)
        self.journal.commit([self._run_operation(turn)])
        self.activity.note()
        return self.head()

    def put(self, run_id: str, records: Sequence[Record]) -> None:
        """Keep records of a run; raises `Conflict` if the run was deleted."""
        run = self._document_of(run_id)
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
            data = codec.encode_record(run, record, self._reference)
            operations.append(Operation("p", "nodes", document, key, data))
        if operations:
            self.journal.commit(operations)

    def finish(self, run_id: str, turn: Turn, change: Change) -> Turn:
        """Close a run; raises `Conflict` if it was deleted. The activity is still to be noted."""
        self._document_of(run_id)
        number = self._last_number() + 1 if turn.status == "done" else 0
        turn = replace(turn, run_id=run_id, number=number)
        operations = [self._run_operation(turn)]
        if number:
            operations += self._change_operations(change)
        self.journal.commit(operations)
        return turn

    def head(self) -> Head:
        """Where the session stands."""
        state: dict[str, JSON] = {}
        node_states: dict[str, Mapping[str, JSON]] = {}
        for (scope, name), place in self._catalogue.state.items():
            if scope == "state":
                state[name] = self._document(place)["value"]
            elif scope == "node":
                node_states[name] = self._document(place)["value"]
        covers = self._catalogue.covers
        last = self._last_number()
        return Head(
            version=last,
            turns=last,
            state=state,
            node_states=node_states,
            summary=self._summary(covers[-1]) if covers else None,
            name=self._about().get("name"),
        )

    def run(self, run_id: str) -> Run | None:
        """A run with the last record of each of its nodes, or None."""
        place = self._catalogue.runs.get(run_id)
        if place is None:
            return None
        last: dict[str, tuple[int, Place]] = {}
        for (node, attempt), record in self._catalogue.records.get(int(place.document), {}).items():
            if node not in last or last[node][0] < attempt:
                last[node] = (attempt, record)
        records = {
            node: codec.decode_record(self.journal.text(record.slot), self._resolve)
            for node, (_, record) in last.items()
        }
        return Run(self.key, self._turn(run_id, place), records)

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
        newest_first = reversed(self._catalogue.runs.items())
        page = islice(newest_first, offset, offset + limit)
        return [self._turn(run_id, place) for run_id, place in page]

    def summary(self, *, until: int) -> Summary | None:
        """The newest summary that covers no turn after number `until`."""
        covers = self._catalogue.covers
        count = bisect_right(covers, until)
        return self._summary(covers[count - 1]) if count else None

    def info(self) -> SessionInfo:
        """The session in a list."""
        first = next(iter(self._catalogue.runs.items()), None)
        opening = None if first is None else self._turn(*first)
        latest = [*self.runs(limit=1, offset=0), *self.turns(last=1)]
        return SessionInfo(
            key=self.key,
            turns=self._last_number(),
            started=0.0 if opening is None else opening.started,
            updated=max((max(turn.started, turn.ended) for turn in latest), default=0.0),
            name=self._about().get("name"),
            first_input="" if opening is None else opening.input,
        )

    def has_run(self, run_id: str) -> bool:
        """Whether a run is there."""
        return run_id in self._catalogue.runs

    def rename(self, name: str | None) -> None:
        """Name the session; that is no activity of it."""
        with self.activity.unnoted():
            self.journal.commit([self._about_operation(name)])

    def delete_run(self, run_id: str) -> bool:
        """Delete a run and its words, from the file as well; False if it is not there.

        That is no activity of the session. The file is written anew also where there is none: an
        earlier attempt may have been killed.
        """
        place = self._catalogue.runs.get(run_id)
        if place is not None:
            with self.activity.unnoted():
                self.journal.commit(self._deletion(run_id, place))
        compact(self.journal)
        forget_torn(self.journal.medium.disk, self.journal.path)
        return place is not None

    def _deletion(self, run_id: str, place: Place) -> list[Operation]:
        words = Words.of(self._turn(run_id, place))
        operations = [
            self._about_operation(self._about().get("name")),
            Operation("d", "runs", place.document),
        ]
        for other, records in self._catalogue.records.items():
            for record in records.values():
                if other == int(place.document):
                    operations.append(Operation("d", "nodes", record.document))
                    continue
                text = self.journal.text(record.slot)
                kept = codec.without_run(text, words, int(place.document))
                if kept is not None:
                    where = (record.document, record.slot.key)
                    operations.append(Operation("p", "nodes", *where, kept))
        if number := self._catalogue.number_of.get(run_id, 0):
            covers = self._catalogue.covers
            operations += [
                Operation("d", "summaries", self._catalogue.summaries[covered].document)
                for covered in covers[bisect_left(covers, number) :]
            ]
        return operations

    def _run_operation(self, turn: Turn) -> Operation:
        place = self._catalogue.runs.get(turn.run_id)
        free = self.journal.index.next_number("runs")
        document = str(free) if place is None else place.document
        key = dump((turn.run_id, turn.number))
        return Operation("p", "runs", document, key, codec.encode_turn(turn))

    def _change_operations(self, change: Change) -> list[Operation]:
        values: list[tuple[str, str, object]] = [
            ("state", name, value) for name, value in change.state.items()
        ]
        values += [("node", name, value) for name, value in change.node_states.items()]
        free = self.journal.index.next_number("state")
        operations: list[Operation] = []
        for scope, name, value in values:
            place = self._catalogue.state.get((scope, name))
            document = str(free) if place is None else place.document
            free += place is None
            data = dump({"scope": scope, "name": name, "value": value})
            key = dump((scope, name))
            operations.append(Operation("p", "state", document, key, data))
        if change.summary is not None:
            operations.append(self._summary_operation(change.summary))
        return operations

    def _summary_operation(self, summary: Summary) -> Operation:
        place = self._catalogue.summaries.get(summary.covers)
        free = self.journal.index.next_number("summaries")
        document = str(free) if place is None else place.document
        key = dump((summary.covers,))
        return Operation("p", "summaries", document, key, codec.encode_summary(summary))

    def _about_operation(self, name: str | None) -> Operation:
        place = self._catalogue.state.get(_ABOUT)
        free = self.journal.index.next_number("state")
        document = str(free) if place is None else place.document
        about = {"scope": "head", "name": name, "turns": self._last_number()}
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

    def _reference(self, message: Message) -> int | None:
        place = self._catalogue.runs.get(message.origin or "")
        if place is None or message.origin is None:
            return None
        turn = self._turn(message.origin, place)
        words = turn.input if message.role == "user" else turn.answer
        return int(place.document) if words == message.content else None

    def _resolve(self, document: int) -> Turn | None:
        run_id = self._catalogue.run_ids.get(str(document))
        return None if run_id is None else self._turn(run_id, self._catalogue.runs[run_id])

    def _numbered(self, number: int) -> Turn:
        run_id = self._catalogue.by_number[number]
        return self._turn(run_id, self._catalogue.runs[run_id])

    def _turn(self, run_id: str, place: Place) -> Turn:
        return self._recent.turn(run_id, place.slot)

    def _summary(self, covers: int) -> Summary:
        return codec.decode_summary(self.journal.text(self._catalogue.summaries[covers].slot))

    def _document(self, place: Place) -> Document:
        return parse_document(self.journal.text(place.slot))
