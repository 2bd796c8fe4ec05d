"""The turns that a store holds: taken from other processes, and kept alive while a run lasts.

The sessions of a store on disk, read and written without keeping the event loop waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import TypeVar

from ...errors import StoreError
from ...records import SessionKey
from ...session.store import Policy
from ..journal.compaction import compact, is_bloated
from ..journal.medium import Medium
from ..journal.reading import Gone
from ..journal.syncing import Syncer, Threads
from ..leases import busy, check_key
from .directory import Directory
from .session_file import SessionFile
from .turn_lock import TurnLock

Answer = TypeVar("Answer")


class Sessions:
    """Opens sessions and acts on them; what may take long is done in a thread."""

    def __init__(self, files: Directory, medium: Medium) -> None:
        self._files = files
        self._medium = medium
        self._threads = Threads()
        self._syncer = Syncer(medium.disk)

    async def run(self, act: Callable[[], Answer]) -> Answer:
        """Do in a thread what concerns no session, or many."""
        return await self._threads.run(act)

    async def open(self, key: SessionKey, *, create: bool) -> SessionFile | None:
        """Open a session, to be given back; None if it is not there nor to be made."""
        session = self._files.handles.take(key)
        if session is not None:
            return session
        if self._files.is_quick_to_open(key):
            return self._files.open(key, create=create)
        return await self._threads.run(
            lambda: self._files.open(key, create=create), undo=self._give_back
        )

    async def read(self, key: SessionKey, look: Callable[[SessionFile], Answer]) -> Answer | None:
        """Look into a session; None if it is not there."""
        check_key(key)

        def act(session: SessionFile) -> Answer | None:
            return look(session) if session.exists else None

        return await self._use(
            key, lambda session: self._threads.shared(session.journal, lambda: act(session))
        )

    async def write(
        self, key: SessionKey, change: Callable[[SessionFile], Answer]
    ) -> Answer | None:
        """Change a session; None if it is not there."""
        check_key(key)

        def act(session: SessionFile) -> Answer | None:
            return change(session) if session.exists else None

        return await self._use(key, lambda session: self.commit(session, lambda: act(session)))

    async def commit(
        self, session: SessionFile, act: Callable[[], Answer], *, is_end: bool = False
    ) -> Answer:
        """Write an open session; it has reached the disk if a turn ends, or always."""
        answer = await self._threads.exclusive(session.journal, act)
        sync = self._medium.sync
        if sync == "always" or (sync == "turn" and is_end):
            try:
                await self._syncer.sync(session.journal)
            except StoreError:
                self._files.distrust(session)
                raise
        if is_end:
            session.activity.note()
        return answer

    async def seize(self, session: SessionFile) -> bool:
        """Take the turn of a session from who has abandoned it; False if he goes on after all."""
        return await self._threads.exclusive(session.journal, session.turn.seize)

    async def tidy(self, session: SessionFile) -> None:
        """Compact a session if it is worth it."""
        if is_bloated(session.journal):
            # The turn is kept; where there is no room, or no thread to be had, later will do.
            with suppress(StoreError, RuntimeError):
                await self._threads.run(lambda: compact(session.journal))

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.close()
        self._syncer.close()

    def _give_back(self, session: SessionFile | None) -> None:
        if session is not None:
            self._files.handles.give(session)

    async def _use(
        self, key: SessionKey, use: Callable[[SessionFile], Awaitable[Answer | None]]
    ) -> Answer | None:
        while (session := await self.open(key, create=False)) is not None:
            try:
                return await use(session)
            except Gone:
                self._files.handles.drop(session)
            finally:
                self._files.handles.give(session)
        return None


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
