"""What a forked child may use of its parent: a preloaded store, a graph, modules half imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from asyncio import run
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from tinydb import where

from teamgraph import Change, MemoryStore, SessionKey, TinyDBStore, Turn

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

SERVER = """
import json, os, socket, sys, threading
from pathlib import Path
from teamgraph import Graph, Runner, TinyDBStore

graph = Graph.load("g.yaml")
runner = Runner(graph, store=TinyDBStore("store"))
runner.run("warm up", session_id="s0")
server = socket.create_server(("127.0.0.1", 0), backlog=64)

def serve():
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as stream:
            line = stream.readline()
            if not line:
                continue
            asked = json.loads(line)
            run = runner.run(asked["text"], session_id=asked["session"])
            stream.write(json.dumps({"answer": run.answer, "pid": os.getpid()}) + "\\n")

stop = threading.Event()
def background():
    number = 0
    while not stop.is_set():
        runner.run(f"parent {number}", session_id="s0")
        number += 1

beside = threading.Thread(target=background)
beside.start()
workers = []
for _ in range(4):
    worker = os.fork()
    if not worker:
        serve()
    workers.append(worker)
stop.set()
beside.join()
print(server.getsockname()[1], flush=True)
sys.stdin.read()
for worker in workers:
    os.kill(worker, 9)
    os.waitpid(worker, 0)
runner.run("last", session_id="s0")
print("end", flush=True)
"""
CLIENT = """
import json, socket, sys, threading
port, requests = map(int, sys.argv[1:3])
told = []
def ask(number):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        stream = connection.makefile("rw")
        stream.write(json.dumps({"text": f"m{number}", "session": f"s{number % 7}"}) + "\\n")
        stream.flush()
        told.append(json.loads(stream.readline()))
threads = [threading.Thread(target=ask, args=(number,)) for number in range(requests)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(told), len({one["pid"] for one in told}))
"""


def python(program: str, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """A process of its own: what is forked here has nothing of pytest."""
    return subprocess.Popen(
        [sys.executable, "-c", dedent(program), *arguments],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(program: str, *arguments: str, cwd: Path) -> str:
    process = python(program, *arguments, cwd=cwd)
    text, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return text


def test_a_server_that_preloads_and_forks_workers_loses_and_mixes_nothing(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(
        "name: g\nmodel: echo\nnodes:\n"
        "  history: {kind: history-loader, runs: 2}\n  answer: {role: You answer}\n"
    )
    server = python(SERVER, cwd=tmp_path)
    assert server.stdout is not None
    assert server.stderr is not None
    port = server.stdout.readline().strip() or server.stderr.read()
    told = output(CLIENT, port, "60", cwd=tmp_path).split()
    text, errors = server.communicate("", timeout=60)
    assert (text, server.returncode) == ("end\n", 0), errors
    assert told[0] == "60"
    assert int(told[1]) > 1

    store = TinyDBStore(tmp_path / "store")
    inputs: list[str] = []
    for number in range(7):
        turns = run(store.turns(SessionKey(None, f"s{number}")))
        assert [turn.number for turn in turns] == list(range(1, len(turns) + 1))
        inputs += [turn.input for turn in turns if turn.input.startswith("m")]
    assert sorted(inputs) == sorted(f"m{number}" for number in range(60))
    run(store.close())


@pytest.mark.parametrize("moment", range(6))
def test_a_child_imports_what_a_thread_of_its_parent_was_importing(
    tmp_path: Path, moment: int
) -> None:
    program = """
    import os, signal, sys, threading, time
    import teamgraph
    begun = threading.Event()
    class Watch:
        def find_spec(self, name, path=None, target=None):
            if name.startswith("teamgraph."):
                seen.append(name)
                if len(seen) > 2 + 3 * int(sys.argv[1]):
                    begun.set()
                    time.sleep(0.001)  # gives the thread that forks a chance in every import
            return None
    seen = []
    sys.meta_path.insert(0, Watch())
    thread = threading.Thread(target=lambda: teamgraph.TinyDBStore)
    thread.start()
    begun.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)
        from teamgraph import Graph, Runner, TinyDBStore
        from teamgraph.nodes import Member
        graph = Graph(name="g", model="echo", nodes={"a": Member()})
        Runner(graph, store=TinyDBStore("store")).run("hello", session_id="s")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    thread.join()
    print(os.waitstatus_to_exitcode(status))
    """
    assert output(program, str(moment), cwd=tmp_path) == "0\n"


def test_a_child_forgets_modules_that_only_its_parent_can_finish(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import slow_part\nready = True\n")
    (tmp_path / "slow_part.py").write_text(
        "import os, threading, __main__\n"
        "if os.getpid() == __main__.parent:\n    __main__.begun.set()\n    __main__.go.wait(60)\n"
    )
    program = """
    import os, signal, sys, threading
    sys.path.insert(0, ".")
    parent, begun, go = os.getpid(), threading.Event(), threading.Event()
    from teamgraph.engine import os_fork
    os_fork._PATIENCE = 0.1
    def load():
        with os_fork.FORKS.importing():
            import slow
    thread = threading.Thread(target=load)
    thread.start()
    begun.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)
        import slow
        os._exit(0 if slow.ready else 1)
    _, status = os.waitpid(child, 0)
    go.set()
    thread.join()
    import slow
    print(os.waitstatus_to_exitcode(status), slow.ready)
    """
    assert output(program, cwd=tmp_path) == "0 True\n"


def test_a_worker_pool_of_multiprocessing_uses_a_preloaded_store(tmp_path: Path) -> None:
    program = """
    import multiprocessing
    from teamgraph import Graph, Runner, SessionKey, TinyDBStore
    from teamgraph.nodes import Member
    graph = Graph(name="g", model="echo", nodes={"a": Member()})
    runner = Runner(graph, store=TinyDBStore("store"))
    runner.run("first", session_id="s")
    def work(number):
        return runner.run(f"m{number}", session_id="s").answer
    if __name__ == "__main__":
        with multiprocessing.get_context("fork").Pool(3) as pool:
            answers = pool.map(work, range(12))
        runner.run("last", session_id="s")
        print(len(answers), len(list(runner.session("s").history())))
    """
    assert output(program, cwd=tmp_path) == "12 14\n"


def test_a_child_opens_its_own_tinydb_database(tmp_path: Path) -> None:
    async def begin() -> None:
        lease = await store.begin(key, Turn("r", "x"))
        await store.finish(lease, Turn("r", "x", status="done"), Change())

    store, key = TinyDBStore(tmp_path), SessionKey("ann", "s")
    run(begin())
    with store.database(key) as database:
        runs = database.table("runs")
        inherited = len(open_files())

        def look() -> bool:
            is_closed = not inherited or len(open_files()) < inherited
            return is_closed and len(runs.search(where("run_id") == "r")) == 1

        assert in_child(look)
        assert runs.count(where("run_id") == "r") == 1
    run(store.close())


@pytest.mark.skipif(
    sys.gettrace() is not None,
    reason="a tracer such as coverage's has a lock of its own, which the child may inherit locked",
)
def test_a_child_gets_a_memory_store_between_two_changes() -> None:
    store, key = MemoryStore(), SessionKey(None, "s")
    stop = threading.Event()

    async def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            turn = Turn(f"r{number}", "x", status="done")
            lease = await store.begin(key, turn)
            await store.finish(lease, turn, Change({"n": number}))
            if number == 200:  # a fork takes the longer, the more there is to copy
                await store.delete_session(key)
                number = 0

    def look() -> bool:
        head = run(store.head(key))
        lease = run(store.begin(key, Turn("mine", "x"), policy="reject"))
        run(store.release(lease))
        return head is None or head.state.get("n", 0) == head.turns

    thread = threading.Thread(target=lambda: run(work()))
    thread.start()
    try:
        assert all(in_child(look) for _ in range(20))
    finally:
        stop.set()
        thread.join()


def open_files() -> list[Path]:
    """The descriptors of this process, where the system says which they are."""
    folder = Path("/proc/self/fd")
    return list(folder.iterdir()) if folder.is_dir() else []


def in_child(look: Callable[[], bool]) -> bool:
    """Whether it is so in a forked child."""
    child = os.fork()
    if not child:  # pragma: no cover - in a process of its own
        signal.alarm(20)
        is_so = False
        try:
            is_so = look()
        finally:
            os._exit(0 if is_so else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


INTERRUPTED = """
import os, signal, time
from teamgraph.engine.os_fork import FORKS

class Interrupts:
    def reset_after_fork(self):
        os.kill(os.getpid(), signal.SIGINT)

done = []
owner = Interrupts()
FORKS.own(owner)
FORKS.call_in_child(lambda: done.append("all of it"))
try:
    child = os.fork()
    time.sleep(60 * (not child))
except KeyboardInterrupt:
    print("interrupted after", *done, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_an_interrupt_amid_a_fork_comes_when_the_child_is_whole() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.stdout, done.stderr) == ("interrupted after all of it\n", "")
