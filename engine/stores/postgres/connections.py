"""The connections of this process to a database: a pool for each event loop, and a heartbeat."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, TypeAlias
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary, WeakMethod, finalize

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ...errors import InputError, StoreError
from .schema import migrate

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = "AsyncConnection[Row]"
_Pools: TypeAlias = """WeakKeyDictionary[
    asyncio.AbstractEventLoop, asyncio.Future[AsyncConnectionPool[Connection]]
]"""
Migrate: TypeAlias = Callable[[Connection, str], Awaitable[None]]
_FRESH = 1.0
"""Seconds for which a connection that was used is taken to be alive without being asked."""
_TICK = 0.25
"""Seconds between two looks at what this process asks of its heartbeat."""
CANCEL = "cancel"
"""What the owner of a lease is called with when another process has cancelled its run."""
_SOON = 2
"""Seconds for which a connection is tried once more, to learn why there is none."""

_PATIENCE = 5
"""Seconds for which the end of a pool is waited for."""
_CLOSING: set[asyncio.Task[None]] = set()
"""Tasks that close pools: a loop references its tasks weakly."""


class Connections:
    """Pools of at most `size` connections to one database, one pool for each event loop.

    The first of them creates the schema, or migrates it, with `migrate`. `close` closes those of
    the running loop. A loop that ends closes its own, and those of an object that is dropped are
    closed, too.
    """

    def __init__(
        self,
        dsn: str,
        schema: str,
        *,
        size: int,
        timeout: float,
        migrate: Migrate = migrate,
    ) -> None:
        self._dsn = dsn
        self._schema = schema
        self._migrate = migrate
        self._size = size
        self.place, own = _parse(dsn)
        self._timeout = min(timeout, own or timeout)
        self._inherited: list[object] = []
        self._reset()

    def reset_after_fork(self) -> None:
        """See `ProcessOwned`: sockets and tasks are the parent's, and are never touched again."""
        self._inherited.append((dict(self._pools), dict(self._closers)))
        self._reset()

    def _reset(self) -> None:
        self._pools: _Pools = WeakKeyDictionary()
        self._is_migrated = False
        self._closers: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None]]
        self._closers = WeakKeyDictionary()
        finalize(self, _close_dropped, self._pools).atexit = False

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """A connection in autocommit; raises `StoreError` for whatever the database refuses."""
        try:
            pool = await self._pool()
            async with pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise StoreError(
                f"PostgreSQL at {self.place}: no connection within {self._timeout:g} s: "
                f"{await self._reason()}; check that it is running, that the address and the "
                "password are right, and that it allows enough connections"
            ) from error
        except psycopg.Error as error:
            raise _refused(self.place, error) from error

    async def query(self, query: bytes, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows of one statement."""
        async with self.connection() as connection:
            return await rows_of(connection, query, parameters)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await _close_own(self._pools)

    async def _pool(self) -> AsyncConnectionPool[Connection]:
        loop = asyncio.get_running_loop()
        opened = self._pools.get(loop)
        if opened is None:
            opened = self._pools[loop] = loop.create_future()
            self._closers[loop] = _closer(self._pools)
            await anext(self._closers[loop])
            try:
                opened.set_result(await self._open())
            except BaseException as error:
                del self._pools[loop]
                opened.set_exception(error)
                opened.exception()  # it is raised here, and to whoever waits for it too
                raise
        return opened.result() if opened.done() else await asyncio.shield(opened)

    async def _reason(self) -> str:
        """Why there is no connection, which the pool does not tell."""
        try:
            connection = await AsyncConnection.connect(self._dsn, connect_timeout=_SOON)
        except psycopg.Error as error:
            return _text(error)
        await connection.close()
        return f"all {self._size} of this process were in use (`connections`)"

    async def _open(self) -> AsyncConnectionPool[Connection]:
        pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._dsn,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=self._size,
            timeout=self._timeout,
            check=_check,
            open=False,
            name=f"teamgraph-{self._schema}",
        )
        try:
            await pool.open()
            await pool.wait(self._timeout)
            if not self._is_migrated:
                async with pool.connection() as connection:
                    await self._migrate(connection, self._schema)
                self._is_migrated = True
        except BaseException:
            await pool.close()
            raise
        return pool


async def _closer(pools: _Pools) -> AsyncGenerator[None]:
    """Closes a pool when its loop shuts down its generators, as `asyncio.run` does."""
    try:
        yield
    finally:
        await _close_own(pools)


async def _close_own(pools: _Pools) -> None:
    pool = pools.pop(asyncio.get_running_loop(), None)
    if pool is not None:
        # A timeout would make it complain about tasks that were cancelled with all of the loop's.
        closing = (await pool).close(timeout=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  it is told as a float only
        done, _ = await asyncio.wait([_spawn(closing)], timeout=_PATIENCE)
        for task in done:
            task.result()


def _close_dropped(pools: _Pools) -> None:
    """Close the pools of an object that was dropped, each in its loop if that still runs.

    They are referenced until then: the tasks of a pool that nobody references would be destroyed.
    """
    for loop in [*pools]:
        with suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(lambda: _spawn(_close_own(pools)))


def _spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that is referenced until it has ended, which its loop does not see to."""
    task = asyncio.get_running_loop().create_task(work)
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)
    return task


async def rows_of(
    connection: Connection, query: bytes, parameters: Sequence[object] = ()
) -> list[Row]:
    """All rows of one statement on a connection that the caller has."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall() if cursor.description else []


class Bell:
    """Wakes a run that waits for its session, from the thread of the heartbeat."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def clear(self) -> None:
        """Forget that it rang."""
        self._event.clear()

    def ring(self) -> None:
        """Wake the run, from any thread."""
        with suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, at_most: float) -> None:
        """Wait until it has rung, or for so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                await self._event.wait()

    @property
    def has_rung(self) -> bool:
        """Whether it has rung since it was cleared."""
        return self._event.is_set()


class Owner:
    """This process as an owner of leases, and the thread that says that it lives while it has any.

    It has a connection of its own, so that a loop that is blocked by a synchronous node loses no
    lease. `patience` is the time, in seconds, after which others take a silent owner for dead. On
    that connection the database also calls queued leases whose turn it is, and the owner of a lease
    that another process cancels: `cancel` is then called with the lease's token.
    """

    def __init__(
        self, dsn: str, schema: str, *, patience: float, cancel: Callable[[int], None]
    ) -> None:
        self._dsn = dsn
        self._beat = SQL(
            "WITH beat AS (UPDATE {0}.owners SET seen = now() WHERE id = %(id)s) "
            "SELECT token FROM {0}.leases WHERE owner = %(id)s AND is_cancelled"
        ).format(Identifier(schema))
        self._sweep = SQL("DELETE FROM {}.leases WHERE request = ANY(%s)").format(
            Identifier(schema)
        )
        self._pause = patience / 8
        self._patience = patience
        self._cancel = WeakMethod(cancel)
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """See `ProcessOwned`: the child is another owner."""
        self.id: UUID = uuid4()
        self._guard = Lock()
        self._tokens: set[int] = set()
        self._bells: dict[str, Bell] = {}
        self._abandoned: list[UUID] = []
        self._is_running = self._is_resting = False
        self._wake = Event()

    def add(self, token: int) -> None:
        """Keep a lease until it is removed."""
        with self._guard:
            self._tokens.add(token)
            self._is_resting = False
            self._start()

    def rest(self) -> None:
        """Close the connection as soon as there is no lease, and not only after some time."""
        with self._guard:
            self._is_resting = True
            self._wake.set()

    def enqueue(self, token: int | None) -> Bell:
        """Keep a place in the queue for a lease; returns what rings when it is first in it."""
        bell = Bell()
        if token is not None:
            self._bells[str(token)] = bell
            self.add(token)
            self._wake.set()
        return bell

    def remove(self, token: int | None) -> None:
        """The lease, or the place in the queue, has ended."""
        with self._guard:
            self._tokens -= {token}
        self._bells.pop(str(token), None)

    def abandon(self, request: UUID, token: int | None) -> None:
        """Delete whatever lease a request was granted, as soon as the database can be reached.

        For a call that was cancelled or lost its connection: what became of it is not known.
        """
        self.remove(token)
        with self._guard:
            self._abandoned.append(request)
            self._wake.set()
            self._start()

    def _start(self) -> None:
        if not self._is_running:
            self._is_running = True
            Thread(target=self._run, name="teamgraph-postgres", daemon=True).start()

    def _run(self) -> None:
        connection: psycopg.Connection[Row] | None = None
        last, due = monotonic(), 0.0
        while self._has_leases(last):
            try:
                if connection is None:  # a process that ends soon needs none
                    self._wake.wait(self._pause)
                    connection = psycopg.connect(self._dsn, autocommit=True)
                    connection.execute(SQL("LISTEN {}").format(Identifier(f"teamgraph-{self.id}")))
                    due = 0.0
                else:
                    due = 0.0 if self._hear(connection) else due
                if self._wake.is_set() or monotonic() >= due:
                    self._wake.clear()
                    self._look(connection)
                    due = monotonic() + self._pause
            except psycopg.Error:  # the database is away; the next beat tries again
                connection = None
                self._wake.clear()
            last = monotonic() if self._tokens else last
        if connection is not None:
            connection.close()

    def _hear(self, connection: psycopg.Connection[Row]) -> bool:
        """Wait a little for the database to call; whether it may have cancelled a lease."""
        calls = [*connection.notifies(timeout=min(_TICK, self._pause), stop_after=1)]
        for call in calls:
            if (bell := self._bells.get(call.payload)) is not None:  # pragma: no branch - or CANCEL
                bell.ring()
        return any(call.payload == CANCEL for call in calls)

    def _look(self, connection: psycopg.Connection[Row]) -> None:
        """Say that this process lives, and do what others have asked for meanwhile."""
        for (token,) in connection.execute(self._beat, {"id": self.id}).fetchall():
            if (cancel := self._cancel()) is not None:  # pragma: no branch - of a dropped store
                cancel(token)
        if requests := [*self._abandoned]:
            connection.execute(self._sweep, [requests])
            del self._abandoned[: len(requests)]

    def _has_leases(self, last: float) -> bool:
        with self._guard:
            is_over = self._is_resting or monotonic() - last > self._patience
            if is_over and not self._tokens and not self._abandoned:
                self._is_running = False
            return self._is_running


async def _check(connection: Connection) -> None:
    """Ask a connection that was idle whether it is alive; raises if it is not."""
    used: float = getattr(connection, "teamgraph_used", 0.0)
    now = monotonic()
    if now - used > _FRESH:
        await AsyncConnectionPool.check_connection(connection)
    connection.teamgraph_used = now  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  the pool makes the object


def _parse(dsn: str) -> tuple[str, int]:
    """Host, port and database without a password, and `connect_timeout` (0 if it is not named)."""
    try:
        parts = conninfo_to_dict(dsn)
        host, port = str(parts.get("host") or "localhost"), str(parts.get("port") or 5432)
        if "@" in host or not re.fullmatch("[0-9]+(,[0-9]+)*", port):  # of a password, most likely
            raise ValueError
        timeout = int(parts.get("connect_timeout") or 0)
    except (psycopg.Error, ValueError):  # neither is quoted: the password may be in its text
        raise InputError(
            "dsn: it is no address of a database; use for instance "
            "'postgresql://user@host:5432/database', and in a user or a password %40 for @, %3A "
            "for :, %2F for / and %25 for %"
        ) from None
    return f"{host}:{port}/{parts.get('dbname') or ''}", timeout


def _refused(place: str, error: psycopg.Error) -> StoreError:
    return StoreError(
        f"PostgreSQL at {place}: {_text(error)}; check that it is running and that this user may "
        "create tables there, then try again"
    )


def _text(error: psycopg.Error) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
