"""The turns that a store holds: taken from other processes, and kept alive while a run lasts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Event, Lock, Thread

from .lease import busy
from .protocol import Policy
from .session_file import SessionFile
from .sessions import Sessions
from .turn_lock import TurnLock

_FIRST_LOOK, _LONGEST_LOOK = 0.002, 0.05


class Turns:
    """Takes turns and gives them back; a thread shows meanwhile that this process goes on.

    Who has shown nothing for `timeout` seconds loses the turn to whoever waits for it.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._guard = Lock()
        self._held: set[TurnLock] = set()
        self._is_shown = False
        self._hurry = Event()

    async def take(self, session: SessionFile, policy: Policy, sessions: Sessions) -> None:
        """Have the turn of a session; raises `SessionBusy` where `policy` is not to wait."""
        pause = _FIRST_LOOK
        while not session.turn.take():
            if session.turn.is_abandoned(self._timeout) and await sessions.seize(session):
                break
            if policy == "reject":
                raise busy(session.key)
            await asyncio.sleep(pause)  # the operating system tells nobody when it is free
            pause = min(2 * pause, _LONGEST_LOOK)
        with self._guard:
            self._held.add(session.turn)
            if not self._is_shown:
                thread = Thread(
                    target=self._show, args=(self._hurry,), name="teamgraph-turns", daemon=True
                )
                with suppress(RuntimeError):  # the system has no more of them; the next turn tries
                    thread.start()
                    self._is_shown = True

    def give(self, turn: TurnLock) -> None:
        """Let another process have the turn."""
        with self._guard:
            self._held.discard(turn)
        turn.give()

    def close(self) -> None:
        """Show nothing more. What is taken afterwards is shown by a new thread."""
        with self._guard:
            self._hurry.set()
            self._hurry, self._is_shown = Event(), False

    def _show(self, hurry: Event) -> None:
        while not hurry.wait(self._timeout / 3):
            with self._guard:
                turns = list(self._held)
                if not turns and self._hurry is hurry:
                    self._is_shown = False
                    return
            for turn in turns:
                turn.show()
