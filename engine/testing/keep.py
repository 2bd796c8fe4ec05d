"""Writes a recorded run as a case into a case file, so that what it asked is tested from now on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, TeamgraphError
from ..graph.graph import Graph
from ..graph.node import branches_of, graph_in, loads_history
from ..graph.yaml.reader import read_yaml
from ..graph.yaml.writer import write_yaml
from ..messages import JSON, as_plain
from ..models.scripted import EchoModel
from ..node_path import NodePath
from ..records import Run
from ..run.dry_run.assumptions import find_node
from ..run.dry_run.rehearsal import Scene, render
from ..run.dry_run.rendering import Rendering
from ..run.prepared import prepare
from ..run.render_again import Beginning, beginning_of
from ..session.store import Store
from .cases import CaseFile
from .snapshot_text import slug
from .snapshots import SUFFIX

_LONGEST_NAME = 50
"""Characters of a name that is made of the message."""


async def keep_case(
    run: Run, store: Store, graph: Graph, file: Path, *, project: Path, name: str | None = None
) -> str:
    """Add a run to a case file (`*.prompts.yaml`) of a project, and return the name of the case.

    The case has the message, history, summary and state that the run began with, and assumes what
    its nodes gave; it expects the same nodes to be asked and skipped. Comments of the file stay; a
    new file is about the graph. It has no snapshot: without its `snapshot: false`, `teamgraph
    prompts update` writes one. The file stays as it was if the case does not pass.

    Raises `InputError` for a file that is no case file of the project, or is about another graph,
    and if the case cannot be rendered with the graph of today.
    """
    place = _checked(file, project, graph)
    beginning = await beginning_of(run, store, prepare(graph, EchoModel()))
    case = _case(run, graph, beginning)
    return await asyncio.to_thread(_write, place, graph, case, name or _name(run.input))


def _checked(file: Path, project: Path, graph: Graph) -> Path:
    """The file, resolved; raises `InputError` unless a case of the graph may be written there."""
    place = file.resolve()
    if not place.name.endswith(SUFFIX) or not place.is_relative_to(project.resolve()):
        raise InputError(f"{file}: name a case file (*{SUFFIX}) in the folder {project}")
    if graph.file is None:
        raise InputError(
            f"graph {graph.name!r} is of no file, and a case file names one; write it with "
            "`graph.dump(path)`, and load it"
        )
    if place.exists():
        named = place.parent / str(read_yaml(place).data.get("graph", ""))
        if named.resolve() != Path(graph.file).resolve():
            raise InputError(f"{file}: its cases are about {named}; name another file")
    return place


def _case(run: Run, graph: Graph, beginning: Beginning) -> dict[str, JSON]:
    turn, head, past = run.turn, beginning.head, beginning.history
    session: dict[str, JSON] = {}
    if head.turns > len(past.runs):
        session["turns"] = head.turns
    newest = head.summary.text if head.summary is not None else None
    if (summary := past.summary or newest) is not None:
        session["summary"] = summary
    if head.node_states:
        session["node_states"] = as_plain(head.node_states)
    history: list[JSON] = [{"input": each.input, "answer": each.answer} for each in past.runs]
    assumed = dict(_assumed(run, graph, beginning.outputs))
    case: dict[str, JSON] = {
        "input": turn.input,
        "system": turn.system,
        "user_id": run.user_id,
        "attachments": [part.name for part in turn.attachments],
        "session": session,
        "history": history,
        "state": as_plain({**head.state, **(turn.given_state or {})}),
        "assume": assumed,
    }
    return {key: value for key, value in case.items() if value not in (None, [], {})}


def _assumed(run: Run, graph: Graph, outputs: Mapping[str, object]) -> Iterable[tuple[str, JSON]]:
    """What the nodes gave; the graphs inside others give it by their nodes."""
    around = {str(NodePath(path).parent).partition("[")[0] for path in run.records}
    for path, record in run.records.items():
        _, node = find_node(graph, path)
        if record.status != "done" or record.error is not None or loads_history(node):
            continue
        if branches_of(node):
            labels = list[JSON](record.choices or ())
            yield path, labels[0] if len(labels) == 1 else labels
        elif graph_in(node) is None or path not in around:
            yield path, as_plain(outputs.get(path, record.output))


def _expected(rendering: Rendering, message: str) -> dict[str, JSON]:
    """Which nodes are asked and which are skipped, and where the message stands in a prompt."""
    line = max(message.splitlines(), key=len)
    expected: dict[str, JSON] = {}
    for path, node in rendering.items():
        if node.is_skipped:
            expected[path] = "skipped"
        elif node.prompts:
            expected[path] = {"contains": line} if line in node.text else {}
    return expected


def _write(file: Path, graph: Graph, case: dict[str, JSON], name: str) -> str:
    """Write the case, and the file as it was again if the case does not pass."""
    before = file.read_bytes() if file.exists() else None
    data: dict[str, JSON] = {"graph": _relative(graph, file)}
    if before is not None:
        data = dict(read_yaml(file).data)
    written = data.get("cases")
    cases = dict(written) if isinstance(written, dict) else {}
    name = _unused(name, cases)
    try:
        rendering = render(graph, _scene(case))
        kept: JSON = {**case, "expect": _expected(rendering, str(case["input"])), "snapshot": False}
        data["cases"] = {**cases, name: kept}
        write_yaml(data, file)
        found = next(each for each in CaseFile.load(file).cases if each.name == name)
        failures = found.failures(found.render())
    except TeamgraphError as error:
        failures = [str(error)]
    if failures:
        _restore(file, before)
        text = "; ".join(failures)
        raise InputError(f"the run does not pass as a case for the graph of today: {text}")
    return name


def _scene(case: Mapping[str, Any]) -> Scene:
    return Scene(case["input"], **{name: each for name, each in case.items() if name != "input"})


def _restore(file: Path, before: bytes | None) -> None:
    if before is not None:
        file.write_bytes(before)
    else:
        file.unlink(missing_ok=True)


def _relative(graph: Graph, file: Path) -> str:
    """The graph's file as the case file names it."""
    return Path(os.path.relpath(Path(str(graph.file)).resolve(), file.parent)).as_posix()


def _name(message: str) -> str:
    """The beginning of the message on one line."""
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_NAME else f"{line[:_LONGEST_NAME].rstrip()}..."


def _unused(name: str, cases: Mapping[str, object]) -> str:
    """The name, with a number if another case has it, or would share its snapshot."""
    taken, number, found = {slug(each) for each in cases}, 1, name
    while slug(found) in taken:
        number += 1
        found = f"{name} {number}"
    return found
