"""What a store was asked and what it acknowledged, written down as it happens.

One process writes it and may die at any moment, another reads it afterwards.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from teamgraph import Change, Record, SessionKey, Store, Summary, Turn

KEY = SessionKey("ann", "s")
Tell = Callable[[str], None]
_SIZES = (0, 30, 300, 2_000, 9_000)


@dataclass
class Said:
    """`kept` is what must be there, `tried` what may be there, by run and node."""

    kept: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    tried: dict[tuple[str, str], list[str]] = field(
        default_factory=dict[tuple[str, str], list[str]]
    )
    done: dict[str, int] = field(default_factory=dict[str, int])
    finishing: set[str] = field(default_factory=set[str])
    deleted: set[str] = field(default_factory=set[str])
    deleting: set[str] = field(default_factory=set[str])
    errors: list[str] = field(default_factory=list[str])
    acknowledged: int = 0

    def take(self, lines: Iterable[str]) -> None:
        """Take in what a process said; its last line may be half a line."""
        trying: list[str] | None = None
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                break
            if not isinstance(said, list):
                break
            if said[0] == "error":
                self.errors.append(said[1])
            elif said[0] == "ack" and trying is not None:
                self.acknowledged += 1
                self._keep(*trying, *said[1:])
                trying = None
            else:
                trying = said
                self._try(*said)

    def may_be(self, run_id: str, node: str) -> list[str]:
        """What a record may hold: what was acknowledged last, or what was tried after it."""
        tried = self.tried.get((run_id, node), [])
        kept = self.kept.get((run_id, node))
        return tried if kept is None else tried[tried.index(kept) :]

    def _try(self, verb: str, run_id: str, node: str = "", text: str = "") -> None:
        if verb == "put":
            self.tried.setdefault((run_id, node), []).append(text)
        elif verb == "finish":
            self.finishing.add(run_id)
        elif verb == "delete":
            self.deleting.add(run_id)

    def _keep(self, verb: str, run_id: str, *more: str | int) -> None:
        if verb == "put":
            self.kept[run_id, str(more[0])] = str(more[1])
        elif verb == "finish":
            self.done[run_id] = int(more[-1])
        elif verb == "delete":
            self.deleted.add(run_id)


def word(run_id: str) -> str:
    """What is said in this run and in no other."""
    return f"<{run_id}>"


async def stream(
    store: Store, tell: Tell, chosen: random.Random, name: str, *, turns: int | None = None
) -> None:
    """Turn after turn on one session: records rewritten at varying length, old runs deleted."""

    def say(*what: str | int) -> None:
        tell(json.dumps(what) + "\n")

    for number in count() if turns is None else range(turns):
        run_id = f"{name}.{number}"
        lease = await store.begin(KEY, Turn(run_id, word(run_id)))
        for version in range(chosen.randint(2, 5)):
            node = chosen.choice("ab")
            text = f"{word(run_id)}{version}" + "x" * chosen.choice(_SIZES)
            say("put", run_id, node, text)
            await store.put(lease, [Record(node, "done", output=text)])
            say("ack")
        say("finish", run_id)
        turn = Turn(run_id, word(run_id), status="done", answer=word(run_id) * 2)
        summary = Summary(word(run_id), covers=lease.head.turns + 1)
        change = Change({"last": run_id, run_id: number}, {"a": {"seen": number}}, summary)
        turn = await store.finish(lease, turn, change)
        say("ack", turn.number)
        if number % 6 == 5:
            old = f"{name}.{number - chosen.randint(1, 5)}"
            say("delete", old)
            await store.delete_run(KEY, old)
            say("ack")
