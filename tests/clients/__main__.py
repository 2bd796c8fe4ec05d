"""Starts a server, and the clients in an environment of their own: `python -m tests.clients`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from teamgraph import Graph, MemoryStore
from teamgraph.nodes import Member, Python
from teamgraph.server import create_app
from tests.engine.server.running import running

PYTHON = Path(__file__).parents[2] / "build" / "clients" / "bin" / "python"
"""The environment of the clients, which is not ours."""
TOKEN = "secret"  # noqa: S105  of this server only


def fail(message: str) -> str:
    """Fail."""
    raise ValueError(f"oh no: {message}")


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server with the graphs that `talk.py` asks."""
    echo = Graph(name="echo", model="echo", nodes={"member": Member(role="Say")})
    bad = Graph(name="bad", nodes={"bad": Python(call=fail)}, output=["bad"])
    with running(create_app([echo, bad], store=MemoryStore(), token=TOKEN)) as address:
        yield address


def main() -> int:
    """Let the clients talk to a server."""
    if not PYTHON.exists():
        sys.exit(f"{PYTHON} is missing: `make clients` makes it")
    with serving() as address:
        talk = Path(__file__).with_name("talk.py")
        return subprocess.run([PYTHON, talk, address, TOKEN], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
