"""A PostgreSQL server of the tests' own, on a free port, started as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from msgspec import Struct
from psycopg.sql import SQL, Identifier

MISSING = (
    "PostgreSQL is not installed here (on Debian: apt-get install postgresql); "
    "`make distributed` installs it and runs these tests"
)


def programs() -> Path | None:
    """The folder with `initdb` and `postgres`, the newest one; None if they are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    named = shutil.which("initdb")
    return found[-1].parent if found else Path(named).parent if named else None


def _version(initdb: Path) -> int:
    return int(initdb.parent.parent.name)


class Server(Struct):
    """A running server: its data, its port, and the process of its postmaster."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    command: list[str]
    user: str | None

    @property
    def dsn(self) -> str:
        """The address of its database."""
        return f"postgresql://teamgraph@127.0.0.1:{self.port}/postgres"

    def new_database(self, name: str) -> str:
        """The address of one more database: workers have schemas with fixed names."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return self.dsn.removesuffix("postgres") + name

    @property
    def processes(self) -> list[int]:
        """The process ids of its postmaster and of those that this has started."""
        first = self.process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    def kill(self) -> None:
        """Stop it at once, as `pg_ctl stop -m immediate`: nothing is flushed."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(60)

    def start(self) -> None:
        """Start it again after `kill`."""
        self.process = _start(self.command, self.user, self.port)


@contextmanager
def postgres(*, fsync: bool = False) -> Generator[Server]:
    """A server, stopped and removed at the end; skips the test where PostgreSQL is missing.

    Without `fsync` a killed server loses nothing as long as the machine goes on, as in the tests.
    """
    folder = programs()
    if folder is None:
        pytest.skip(MISSING)
    user = _unprivileged() if os.geteuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="teamgraph-postgres-"))
    try:
        if user is not None:
            shutil.chown(place, user)
        data = place / "data"
        subprocess.run(
            [folder / "initdb", "-D", data, "-A", "trust", "-U", "teamgraph", "-E", "UTF8", "-N"],
            check=True, capture_output=True, user=user, cwd=place,
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": place,
            "fsync": "on" if fsync else "off",
            "shared_buffers": "32MB",
            "max_connections": 100,
        }
        command = [str(folder / "postgres"), "-D", str(data)]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        server = Server(place, port, _start(command, user, port), command, user)
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.kill()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _unprivileged() -> str:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("there is no unprivileged user here to run PostgreSQL as")


def _start(command: list[str], user: str | None, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
    )
    address = f"postgresql://teamgraph@127.0.0.1:{port}/postgres"
    while process.poll() is None:
        with suppress(psycopg.OperationalError), psycopg.connect(address, connect_timeout=5):
            return process
    raise RuntimeError(f"PostgreSQL ended with the exit code {process.returncode}")
