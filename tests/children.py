"""Processes that a test starts, to suspend, kill or outlive them."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

PRELUDE = """
import asyncio, os, random, resource, sys
from teamgraph.errors import StoreError
from teamgraph import Change, Record, SessionKey, Turn
from teamgraph import TinyDBStore
KEY = SessionKey("ann", "s")
root, argument = sys.argv[1:3]
def say(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()
"""


def child(root: Path, program: str, argument: str = "") -> subprocess.Popen[str]:
    """Start a process that runs `program`; the caller must end it."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + dedent(program), str(root), argument],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def line(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 30)
    assert ready, "the process printed nothing"
    return process.stdout.readline().strip()


def output(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a process that must succeed."""
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return text


def answer(process: subprocess.Popen[str]) -> None:
    """Send a line to a process that waits for one."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
