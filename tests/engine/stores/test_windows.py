"""The store on what Windows has of `os`, which is less: this test has never been on Windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

PROGRAM = """
import asyncio, errno, fcntl, os, sys, types, zoneinfo
import jinja2, networkx, pydantic, ruamel.yaml, tinydb
from pathlib import Path

windows = types.ModuleType("msvcrt")
windows.LK_UNLCK, windows.LK_NBLCK = 0, 2
broken = []
def locking(file, mode, count):
    assert os.lseek(file, 0, os.SEEK_CUR) == 0x7FFF_0000 and count == 1
    if broken:
        raise OSError(errno.EBADF, "broken")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if mode else fcntl.LOCK_UN)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "held")
windows.locking = locking
sys.modules["msvcrt"], sys.modules["fcntl"] = windows, None
for name in ("pread", "pwrite", "fdatasync", "O_CLOEXEC"):
    delattr(os, name)
os.O_BINARY = 0
sys.platform = "win32"

from teamgraph import Graph, Runner, TinyDBStore
from teamgraph.errors import SessionBusy
from teamgraph import Change, Record, SessionKey, Turn

async def main():
    key = SessionKey("ann", "s")
    store, other = TinyDBStore(sys.argv[1], sync="always"), TinyDBStore(sys.argv[1])
    for number in (1, 2):
        lease = await store.begin(key, Turn(f"r{number}", "hello"))
        try:
            await other.begin(key, Turn("busy", "hello"), policy="reject")
        except SessionBusy:
            print("busy")
        await store.put(lease, [Record("n", "done", output="x" * number)])
        await store.finish(lease, Turn(lease.run_id, "hello", status="done"), Change())
        await other.delete_run(key, lease.run_id)
    await other.close()
    print([turn.run_id for turn in await store.runs(key)], (await store.head(key)).turns)
    broken.append(True)
    try:
        await store.begin(key, Turn("r3", "hello"))
    except Exception as error:
        print(type(error).__name__)

asyncio.run(main())
"""


def test_a_session_is_stored_with_what_windows_has(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", dedent(PROGRAM), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        timeout=60,
    )
    assert done.stdout.splitlines() == ["busy", "busy", "[] 2", "StoreError"], done.stderr
