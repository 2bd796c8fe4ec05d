"""The queue of DBOS: what it is called, how it is reached, and that its texts are JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any, cast

import psycopg
import sqlalchemy
from dbos import DBOSClient
from dbos import Serializer as DBOSSerializer
from psycopg.conninfo import conninfo_to_dict

from ..errors import InputError, StoreError

APPLICATION = "teamgraph"
VERSION = "1"
"""The application version of all workers: graphs are told apart by queues, not by versions."""
QUEUE_SCHEMA = "teamgraph_dbos"
"""The schema of DBOS's own tables."""
WORKFLOW = "turn"
_POSTGRES = ("postgresql", "postgres")


class JSONSerializer(DBOSSerializer):
    """JSON for what DBOS stores: numbers of turns, and errors as texts."""

    def serialize(self, data: Any) -> str:  # noqa: ANN401  whatever DBOS stores
        """Encode a value; anything that is not JSON as its text."""
        return json.dumps(data, default=str)

    def deserialize(self, serialized_data: str) -> Any:  # noqa: ANN401  as above
        """Decode what `serialize` encoded."""
        return json.loads(serialized_data)

    def name(self) -> str:
        """What the rows say that they are encoded with."""
        return "teamgraph_json"


def queue_of(bundle: str) -> str:
    """The name of the queue of a bundle of graphs."""
    return f"turns-{bundle}"


def check_dsn(dsn: str) -> str:
    """The address, if turns can be dispatched over it; raises `InputError`.

    DBOS also works on SQLite, but does not keep the order of turns there between processes.
    """
    scheme, found, _ = dsn.partition("://")
    if not found or scheme not in _POSTGRES:
        shown = f"{scheme}://..." if found else repr(dsn)
        raise InputError(
            f"dsn: {shown} is no address of PostgreSQL, and only that keeps the order of turns "
            "between processes; use for instance 'postgresql://user@host:5432/database'"
        )
    try:
        conninfo_to_dict(dsn)
    except psycopg.Error as error:
        raise InputError(f"dsn: it cannot be read: {str(error).strip()}; correct it") from error
    return dsn


def engine_for(dsn: str, *, size: int) -> sqlalchemy.Engine:
    """The pool of at most `size` connections that DBOS and the submitting of turns share."""
    url = sqlalchemy.make_url(dsn).set(drivername="postgresql+psycopg")
    return sqlalchemy.create_engine(
        url, pool_size=size, max_overflow=0, pool_timeout=30, pool_pre_ping=True
    )


def client_for(engine: sqlalchemy.Engine) -> DBOSClient:
    """A client of the queue; it connects when it is first used."""
    quiet()
    return DBOSClient(
        system_database_engine=engine,
        dbos_system_schema=QUEUE_SCHEMA,
        serializer=JSONSerializer(),
        application_name=APPLICATION,
        lazy=True,
        retry_connection_errors=False,
    )


def quiet() -> None:
    """Let DBOS's logger say nothing but errors."""
    logging.getLogger("dbos").setLevel(logging.ERROR)


def check_sessions(dsn: str) -> None:
    """Raise `InputError` if connections are pooled by transaction, as PgBouncer can do.

    Such a pool gives the server's connection of an idle client to the next one, and an advisory
    lock, which belongs to the server's connection, with it.
    """
    try:
        with (
            psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as first,
            psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as second,
        ):
            check_processes([_server_process(first), _server_process(second)])
    except psycopg.Error as error:
        text = " ".join(str(error).split())
        raise StoreError(
            f"PostgreSQL cannot be reached: {text}; check that it is running, and the address"
        ) from error


def check_processes(processes: Sequence[int]) -> None:
    """Raise `InputError` unless each of some open connections has a server process of its own."""
    if len({*processes}) < len(processes):
        raise InputError(
            "dsn: there is a connection pool in between that shares connections between "
            "transactions (PgBouncer: pool_mode = transaction), and workers need advisory locks, "
            "which belong to a connection; use pool_mode = session, or connect to PostgreSQL itself"
        )


def _server_process(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return cast("tuple[int]", row)[0]
