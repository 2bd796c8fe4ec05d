"""The turn of a session among processes: a lock on a file beside the journal."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...errors import StoreError
from ..journal import files
from ..journal.disk import Disk, failure
from ..journal.open_file import OpenFile
from ..journal.reading import Gone


class TurnLock:
    """Held for as long as a run lasts; the operating system frees it when the process dies.

    A process that is suspended dies not. So the holder shows from time to time that it goes on,
    and who waits for the turn watches. If nothing is shown for too long, a waiter puts another file
    in place of the one that is locked: then the turn is his, and `is_held` is false for the other.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._file: OpenFile | None = None
        self._seen = (0, 0)
        self._looked = self._watched = 0.0

    def take(self) -> bool:
        """Have the turn; False if another process has it.

        Raises `Gone` if the session's directory was deleted.
        """
        try:
            while True:
                if self._file is None:
                    self._file = OpenFile(self._disk, self._path, create=True)
                is_free = self._disk.lock(self._file.descriptor)
                if self._file.is_there():
                    if is_free:
                        self._show()
                    return is_free
                self.close()
        except FileNotFoundError as error:
            raise Gone(f"{self._path.parent}: the directory was deleted") from error
        except OSError as error:
            self.close()
            raise failure(error, self._path) from error

    def is_held(self) -> bool:
        """Whether the turn that was taken is still ours.

        It stays so while the journal is held `exclusive`, for nobody seizes a turn without.
        """
        file = self._file  # another thread, the one that shows, may ask
        try:
            return file is not None and file.is_there()
        except OSError as error:
            raise failure(error, self._path) from error

    def is_abandoned(self, timeout: float) -> bool:
        """Whether the holder has shown nothing for `timeout` seconds in which we watched.

        Between two looks that are far apart we may have been suspended as well: they count for no
        more than a third of that time, in which the holder shows itself at least once.
        """
        seen, now = self._mark(), self._disk.now()
        if seen == self._seen:
            self._watched += min(now - self._looked, timeout / 3)
        else:
            self._seen, self._watched = seen, 0.0
        self._looked = now
        return self._watched >= timeout

    def seize(self) -> bool:
        """Take the turn from who has abandoned it; False if he goes on after all.

        The journal must be held `exclusive`.
        """
        if self._mark() != self._seen:
            return False
        temporary = self._path.with_suffix(".seized")
        try:
            file = OpenFile(self._disk, temporary, create=True)
            try:
                files.lock(self._disk, file.descriptor, temporary)
                file.rename(self._path)
            except BaseException:
                file.close()
                raise
        except OSError as error:
            raise failure(error, self._path) from error
        self.close()
        self._file = file
        return True

    def show(self) -> None:
        """Show that the holder goes on."""
        with suppress(StoreError):  # the next write tells
            if self.is_held():
                self._show()

    def give(self) -> None:
        """Let another process have the turn."""
        if self._file is not None:
            try:
                self._disk.unlock(self._file.descriptor)
            except OSError:
                self.close()  # that lets go of the lock, too

    def close(self) -> None:
        """Let go of the file, and of the turn."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _show(self) -> None:
        with suppress(OSError):  # deleted, or the disk is in trouble: the next write tells
            self._disk.touch(self._path)

    def _mark(self) -> tuple[int, int]:
        try:
            status = self._disk.status(self._path)
        except FileNotFoundError:
            return 0, 0
        except OSError as error:
            raise failure(error, self._path) from error
        return status.st_ino, status.st_mtime_ns
