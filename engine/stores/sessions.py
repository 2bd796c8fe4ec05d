"""The sessions of a store on disk, read and written without keeping the event loop waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from ..errors import StoreError
from ..session import SessionKey
from .compaction import compact, is_bloated
from .directory import Directory
from .lease import check_key
from .medium import Medium
from .reading import Gone
from .session_file import SessionFile
from .syncing import Syncer
from .threads import Threads

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
