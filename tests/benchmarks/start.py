"""Start-up: imports, a loaded graph, the help of the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from .parts import POLYGLOT
from .row import Row, median

_LIBRARIES = """
import asyncio, jinja2.sandbox, tinydb, ruamel.yaml
from pydantic import BaseModel, TypeAdapter
class One(BaseModel):
    x: int
"""
_READY = f"""
import teamgraph, teamgraph.nodes, teamgraph.graphs
runner = teamgraph.Runner(teamgraph.Graph.load({str(POLYGLOT)!r}))
import sys
assert "litellm" not in sys.modules
"""
_COMMAND_LIBRARIES = "import asyncio, typer, tinydb, pydantic"
_COMMAND = """
import sys
sys.argv = ["teamgraph", *{words!r}]
from teamgraph.engine.cli import main
try:
    main()
except SystemExit:
    pass
"""
_HELP = _COMMAND.format(words=["--help"])
_SESSIONS = _COMMAND.format(words=["sessions", "list"])


def rows(*, short: bool) -> Iterator[Row]:
    """Alternating, each in a fresh process with cached bytecode."""
    codes = {
        "libraries": _LIBRARIES,
        "ready": _READY,
        "command": _COMMAND_LIBRARIES,
        "help": _HELP,
        "sessions": _SESSIONS,
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in codes}
    for _ in range(2 if short else 11):
        for name, code in codes.items():
            taken[name].append(_used(code))
    seconds = {name: median([used for used, _ in each]) for name, each in taken.items()}
    ready = "import teamgraph and a loaded team, ready to run"
    yield Row("the libraries alone", seconds["libraries"], "CPU s")
    yield Row(ready, seconds["ready"], "CPU s", 0.25)
    yield Row(
        "  the same, in units of the libraries alone", seconds["ready"] / seconds["libraries"], "x"
    )
    yield Row("  its memory", median([size for _, size in taken["ready"]]), "MB", 50)
    yield Row("the command line's libraries alone", seconds["command"], "CPU s")
    yield Row("teamgraph --help", seconds["help"], "CPU s", 0.12)
    yield Row("teamgraph sessions list", seconds["sessions"], "CPU s", 0.2)


def _used(code: str) -> tuple[float, float]:
    """CPU seconds of a process, and its memory in MB."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # Not `ru_maxrss`, which is never less than that of the process which was forked.
    timed = f"""{code}
import re, sys, time
used = time.process_time()
(kilobytes,) = re.findall("VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
print(used, int(kilobytes) / 1024, file=sys.stderr)"""
    done = subprocess.run(
        [sys.executable, "-c", timed], capture_output=True, text=True, check=True, env=environment
    )
    used, size = done.stderr.split()[-2:]
    return float(used), float(size)
