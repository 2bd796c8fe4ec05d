"""The connections of this process to a database: a pool for each event loop, and a heartbeat."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, TypeAlias
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ...errors import InputError, StoreError
from .schema import migrate

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = "AsyncConnection[Row]"
Migrate: TypeAlias = Callable[[Connection, str], Awaitable[None]]
_FRESH = 1.0
"""Seconds for which a connection that was used is taken to be alive without being asked."""
_SOON = 2
"""Seconds for which a connection is tried once more, to learn why there is none."""


class Connections:
    """Pools of at most `size` connections to one database, one pool for each event loop.

    The first of them creates the schema, or migrates it, with `migrate`. `close` closes those of
    the running loop; a pool whose loop was closed goes with it.
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
        self._pools: WeakKeyDictionary[
            asyncio.AbstractEventLoop, asyncio.Future[AsyncConnectionPool[Connection]]
        ] = WeakKeyDictionary()
        self._is_migrated = False
        self._closers: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None]]
        self._closers = WeakKeyDictionary()

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
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await (await pool).close()

    async def _closer(self) -> AsyncGenerator[None]:
        """Closes the connections when the loop shuts down its generators, as `asyncio.run` does."""
        try:
            yield
        finally:
            await self.close()

    async def _pool(self) -> AsyncConnectionPool[Connection]:
        loop = asyncio.get_running_loop()
        opened = self._pools.get(loop)
        if opened is None:
            opened = self._pools[loop] = loop.create_future()
            self._closers[loop] = self._closer()
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


async def rows_of(
    connection: Connection, query: bytes, parameters: Sequence[object] = ()
) -> list[Row]:
    """All rows of one statement on a connection that the caller has."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall() if cursor.description else []


class Owner:
    """This process as an owner of leases, and the thread that says that it lives while it has any.

    It has a connection of its own, so that a loop that is blocked by a synchronous node loses no
    lease. `patience` is the time, in seconds, after which others take a silent owner for dead.
    """

    def __init__(self, dsn: str, schema: str, *, patience: float) -> None:
        self._dsn = dsn
        name = Identifier(schema)
        self._update = SQL("UPDATE {}.owners SET seen = now() WHERE id = %s").format(name)
        self._sweep = SQL("DELETE FROM {}.leases WHERE request = ANY(%s)").format(name)
        self._patience = patience
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """See `ProcessOwned`: the child is another owner."""
        self.id: UUID = uuid4()
        self._guard = Lock()
        self._tokens: set[int] = set()
        self._abandoned: list[UUID] = []
        self._is_running = False
        self._wake = Event()

    def add(self, token: int | None) -> None:
        """Keep a lease, or a place in the queue for one, until it is removed."""
        if token is not None:
            with self._guard:
                self._tokens.add(token)
                self._start()

    def remove(self, token: int | None) -> None:
        """The lease has ended."""
        with self._guard:
            self._tokens -= {token}

    def abandon(self, request: UUID, token: int | None) -> None:
        """Delete whatever lease a request was granted, as soon as the database can be reached.

        For a call that was cancelled or lost its connection: what became of it is not known.
        """
        with self._guard:
            if token is not None:
                self._tokens.discard(token)
            self._abandoned.append(request)
            self._wake.set()
            self._start()

    def _start(self) -> None:
        if not self._is_running:
            self._is_running = True
            Thread(target=self._run, name="teamgraph-postgres", daemon=True).start()

    def _run(self) -> None:
        connection: psycopg.Connection[Row] | None = None
        last = monotonic()
        while self._has_leases(last):
            self._wake.wait(self._patience / 8)
            self._wake.clear()
            try:
                if connection is None or connection.closed:
                    connection = psycopg.connect(self._dsn, autocommit=True)
                connection.execute(self._update, [self.id])
                if requests := [*self._abandoned]:
                    connection.execute(self._sweep, [requests])
                    del self._abandoned[: len(requests)]
            except psycopg.Error:
                connection = None  # the database is away; the next beat tries again
            last = monotonic() if self._tokens else last
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _has_leases(self, last: float) -> bool:
        with self._guard:
            if not self._tokens and not self._abandoned and monotonic() - last > self._patience:
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
