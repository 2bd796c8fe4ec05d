"""The drawings of the pages: each is made of a graph that stands on the same page.

`![...](pictures/NAME.svg "FILE")` is the graph of the block `# FILE`; with `"FILE after: MESSAGE"`
it shows which nodes ran and which were skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from teamgraph import Graph, Runner
from teamgraph.engine.view.drawing import svg_file

from .site import ROOT

_PICTURE = re.compile(r'\]\(([\w./-]*pictures/[\w-]+\.svg) "([\w.]+)(?: after: ([^"]+))?"\)')
_TEMPLATE = '{% extends "builtin/member.jinja" %}\n'
_STATES = {"done": "finished", "skipped": "skipped"}


def pictures() -> Iterator[tuple[Path, str]]:
    """The file of each drawing, and what it has to show now."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for place, name, message in _PICTURE.findall(text):
            block = re.search(rf"(?ms)^```yaml\n# {re.escape(name)}\n(.*?)^```$", text)
            assert block is not None, f"{page}: there is no graph {name}"
            yield (page.parent / place).resolve(), _drawn(block[1], message)


def _drawn(text: str, message: str) -> str:
    with TemporaryDirectory() as folder:
        file = Path(folder, "graph.yaml")
        file.write_text(text, encoding="utf-8")
        for name in re.findall(r"prompt: (\w+\.jinja)", text):  # of another page
            file.with_name("prompts").mkdir(exist_ok=True)
            file.with_name("prompts").joinpath(name).write_text(_TEMPLATE, encoding="utf-8")
        graph = Graph.load(file)
        records = (
            Runner(graph, model="echo").run(message, session_id="s").records if message else {}
        )
    states = {path: _STATES[record.status] for path, record in records.items()}
    return svg_file(graph, states).text
