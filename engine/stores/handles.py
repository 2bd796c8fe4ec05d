"""The sessions that are open, so that a turn need not read its session again."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from threading import Lock

from ..session import SessionKey
from .session_file import SessionFile


class Handles:
    """Keeps up to `capacity` sessions open; those that somebody is at are never closed.

    Whoever takes a session gives it back.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._guard = Lock()
        self._open: OrderedDict[SessionKey, SessionFile] = OrderedDict()

    def take(self, key: SessionKey) -> SessionFile | None:
        """The session if it is open."""
        with self._guard:
            session = self._open.get(key)
            if session is not None and session.journal.is_closed:
                del self._open[key]
                return None
            if session is not None:
                session.users += 1
                self._open.move_to_end(key)
            return session

    def keep(self, session: SessionFile) -> SessionFile:
        """Keep a session that was just opened; the one that another opened meanwhile wins."""
        with self._guard:
            kept = self._open.setdefault(session.key, session)
            kept.users += 1
            if kept is not session:
                session.close()
            return kept

    def give(self, session: SessionFile) -> None:
        """Be done with a session; it may be closed now."""
        with self._guard:
            session.users -= 1
            if self._open.get(session.key) is not session:
                if session.users <= 0:
                    session.close()
                return
            excess = max(0, len(self._open) - self._capacity)
            idle = (other for other in self._open.values() if not other.users)
            for other in list(islice(idle, excess)):
                del self._open[other.key]
                other.close()

    def drop(self, session: SessionFile) -> None:
        """Forget a session whose file is gone; the last one who gives it back closes it."""
        with self._guard:
            if self._open.get(session.key) is session:
                del self._open[session.key]

    def close(self) -> None:
        """Close all sessions."""
        with self._guard:
            for session in self._open.values():
                session.close()
            self._open.clear()
