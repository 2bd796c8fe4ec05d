"""The PostgreSQL store: sessions of many processes and machines in one database.

`schema` is its tables and the functions that write them, each in one round trip; `connections` the
pools and the heartbeat of this process; `rows` turns rows into sessions and back; `store` is the
`Store`. It knows psycopg, which no other room does.
"""

from __future__ import annotations

try:
    from .store import PostgresStore
except ModuleNotFoundError as error:
    _needed = "a store in PostgreSQL needs the extra `postgres`: pip install 'teamgraph[postgres]'"
    raise ImportError(_needed, name=error.name) from error

__all__ = ["PostgresStore"]
