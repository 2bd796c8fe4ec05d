"""`teamgraph schema`: the JSON Schema with which editors complete and check graph files."""

from __future__ import annotations

from pathlib import Path

import typer

from ..graph.kinds import installed
from ..graph.schema import graph_schema
from ..graph.settings import make_importable, settings_of
from .command import command
from .options import KindOption, OutputOption, all_kinds
from .output import pretty_json, write_output

app = typer.Typer(add_completion=False)


@command(app)
def schema(*, kind: KindOption = None, output: OutputOption = None) -> None:
    """Print the JSON Schema of graph files, with the kinds of nodes that are installed or named.

    Editors find it by the first line of a graph file:

    # yaml-language-server: $schema=../.schema/graph.v1.json
    """
    settings = settings_of(Path.cwd())
    make_importable(Path.cwd(), settings.folder)
    kinds = {**installed(), **all_kinds(kind, settings)}
    write_output(f"{pretty_json(graph_schema(kinds))}\n", output)
