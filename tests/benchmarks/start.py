"""Start-up: imports, a loaded graph, the help of the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from .parts import POLYGLOT
from .row import Row, median

_LIBRARIES = """
import asyncio, networkx, jinja2.sandbox, tinydb, ruamel.yaml
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
_HELP = """
import sys
sys.argv = ["teamgraph", "--help"]
from teamgraph.engine.cli import main
try:
    main()
except SystemExit:
    pass
"""


def rows(*, short: bool) -> Iterator[Row]:
    """Alternating, each in a fresh process with cached bytecode."""
    taken: dict[str, list[float]] = {"libraries": [], "ready": [], "help": []}
    for _ in range(2 if short else 11):
        for name, code in (("libraries", _LIBRARIES), ("ready", _READY), ("help", _HELP)):
            taken[name].append(_seconds(code))
    libraries, ready = median(taken["libraries"]), median(taken["ready"])
    yield Row("the libraries alone", libraries, "CPU s")
    yield Row("import teamgraph and a loaded team, ready to run", ready, "CPU s", 0.30)
    yield Row("  the same, in units of the libraries alone", ready / libraries, "x")
    yield Row("teamgraph --help", median(taken["help"]), "CPU s", 0.25)


def _seconds(code: str) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    timed = f"{code}\nimport sys, time\nprint(time.process_time(), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", timed], capture_output=True, text=True, check=True, env=environment
    )
    return float(done.stderr.split()[-1])
