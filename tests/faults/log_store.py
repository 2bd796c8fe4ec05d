"""A store of another sort: a log of JSON lines, with the guards that may be left out of it.

Of a store it does only what the faults of `damage` look at.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from msgspec.structs import replace

from teamgraph import Change, Lease, MemoryStore, Policy, Record, Turn
from teamgraph import SessionKey as Key
from teamgraph.errors import DamagedStore

Answer = TypeVar("Answer")


class LogStore(MemoryStore):
    """Writes down what it is asked, and does it all again when it is opened."""

    def __init__(self, place: Path, *, checks: bool, cuts: bool) -> None:
        super().__init__()
        self._path = place / "log.jsonl"
        self._checks = checks
        self._leases_out: dict[str, Lease] = {}
        data = self._path.read_bytes() if self._path.exists() else b""
        whole = 0
        for line in data.splitlines(keepends=True):
            if not self._do_again(line):
                break
            whole += len(line)
        if b"\n" in data[whole:].rstrip(b"\n"):
            raise DamagedStore("log.jsonl: damaged in the middle; restore it from a backup")
        if cuts and data[whole:]:
            self._path.write_bytes(data[:whole])

    async def begin(
        self,
        key: Key,
        turn: Turn,
        *,
        policy: Policy = "serialize",
        is_stored: bool | None = None,
    ) -> Lease:
        lease = await super().begin(key, turn, policy=policy, is_stored=is_stored)
        self._leases_out[turn.run_id] = lease
        self._write("begin", [*key], turn.run_id, turn.input)
        return lease

    async def put(self, lease: Lease, records: Sequence[Record]) -> None:
        await super().put(lease, records)
        for record in records:
            self._write("put", lease.run_id, record.node, record.output)

    async def finish(self, lease: Lease, turn: Turn, change: Change) -> Turn:
        kept = await super().finish(lease, turn, change)
        self._write("finish", turn.run_id, turn.input, turn.answer, dict(change.state))
        self._write("mark")
        return kept

    def _write(self, *what: object) -> None:
        text = json.dumps(what)
        with self._path.open("a") as file:
            file.write(f"{crc32(text.encode()):08x} {text}\n")

    def _do_again(self, line: bytes) -> bool:
        """Whether the line is whole; what it says is done."""
        check, _, text = line.rstrip(b"\n").partition(b" ")
        try:
            if not line.endswith(b"\n") or (self._checks and int(check, 16) != crc32(text)):
                return False
            verb, *what = json.loads(text)
            if verb == "begin":
                key, run_id, said = what
                begun = super().begin(Key(*key), Turn(run_id, said), policy="fork")
                self._leases_out[run_id] = _at_once(begun)
            elif verb == "put":
                run_id, node, output = what
                _at_once(
                    super().put(self._leases_out[run_id], [Record(node, "done", output=output)])
                )
            elif verb == "finish":
                run_id, said, answer, state = what
                turn = replace(Turn(run_id, said, answer=answer), status="done")
                _at_once(super().finish(self._leases_out[run_id], turn, Change(state)))
        except (ValueError, KeyError, TypeError):
            return False
        return True


def _at_once(operation: Coroutine[object, None, Answer]) -> Answer:
    """The answer of a coroutine that waits for nothing."""
    try:
        operation.send(None)
    except StopIteration as end:
        answer: Answer = end.value
        return answer
    raise AssertionError("it waits")
