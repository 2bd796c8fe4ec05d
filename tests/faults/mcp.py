"""An MCP server is killed at random moments of calls: none is lost or doubled unless it is marked.

Each call writes a line of its own into a file. What the model is told is compared with the file.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from threading import Timer

from typer.testing import CliRunner

from teamgraph import Graph, Reply, Runner, ScriptedModel, ToolCall
from teamgraph.engine.cli import app

from .judge import Counts, Open

SERVER = Path(__file__).parents[1] / "engine" / "tools" / "mcp_server.py"
BATCH = 10
"""Calls of one reply, which are executed side by side."""
CALLS_FOR_A_KILL = 100
MARK = "may have been executed"


def mcp(open_store: Open, trials: int, seed: int) -> Counts:
    """Make `trials` calls, and kill the server once in every hundred of them."""
    del open_store
    chosen, counts = random.Random(seed), Counts()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ["CALLS"] = str(place / "calls.txt")
        graph = _graph(place)
        told: dict[str, str] = {}
        kills = {
            (index * CALLS_FOR_A_KILL + chosen.randrange(min(trials, CALLS_FOR_A_KILL))) // BATCH
            for index in range(max(1, trials // CALLS_FOR_A_KILL))
        }
        for batch in range(trials // BATCH):
            lines = [f"{batch}-{index}" for index in range(BATCH)]
            killer = _killer(graph, chosen) if batch in kills else None
            found = _told(graph, "shop_write", [{"line": line} for line in lines])
            if killer is not None:
                killer.join()  # perhaps after the last call: then the next ones notice it
            elif batch - 1 not in kills and any(MARK in each for each in found):
                counts.note(f"{found}, and nobody killed it", "wrong")
            told |= dict(zip(lines, found, strict=True))
        _check(told, (place / "calls.txt").read_text(encoding="utf-8"), counts)
    return counts


def _graph(place: Path) -> Graph:
    path = place / "team.yaml"
    server = f"{{command: [{sys.executable}, {SERVER}], env: [CALLS]}}"
    nodes = 'clerk: {tools: ["shop.*"]}'
    path.write_text(
        f"name: team\nmodel: m\nmcp: {{shop: {server}}}\nnodes:\n  {nodes}\n", encoding="utf-8"
    )
    done = CliRunner().invoke(app, ["mcp", "lock", str(path), "--allow-mcp", "shop"])
    assert done.exit_code == 0, done.output
    return Graph.load(path, allow_mcp=["shop"])


def _killer(graph: Graph, chosen: random.Random) -> Timer:
    """Kill the server that answers now, in a moment."""
    (pid,) = _told(graph, "shop_process", [{}])
    killer = Timer(chosen.uniform(0, 0.02), os.kill, (int(pid), signal.SIGKILL))
    killer.start()
    return killer


def _told(graph: Graph, name: str, wanted: list[Mapping[str, str]]) -> list[str]:
    """What a model is told of calls."""
    calls = tuple(
        ToolCall(id=str(index), name=name, arguments=json.dumps(each))
        for index, each in enumerate(wanted)
    )
    model = ScriptedModel([Reply("", tool_calls=calls), "done"])
    Runner(graph, model=model).run("hello")
    return [each.content for each in model.requests[-1].messages if each.role == "tool"]


def _check(told: Mapping[str, str], text: str, counts: Counts) -> None:
    executed = Counter(text.splitlines())
    for line, result in told.items():
        counts.trials += 1
        if executed[line] > 1:
            counts.note(f"{line} was executed {executed[line]} times", "again")
        if result == f"wrote {line}":
            counts.acknowledged += 1
            if not executed[line]:
                counts.note(f"{line} was never executed", "lost")
        elif MARK not in result:
            counts.note(f"{line}: {result}", "wrong")
