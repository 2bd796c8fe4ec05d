"""`teamgraph schema`: the JSON Schema with which editors complete and check graph files."""

from __future__ import annotations

import typer

from ..graph.kinds import installed
from ..graph.schema import graph_schema
from .command import command
from .options import OutputOption
from .output import pretty_json, write_output

app = typer.Typer(add_completion=False)


@command(app)
def schema(*, output: OutputOption = None) -> None:
    """Print the JSON Schema of graph files, with the node kinds that are installed.

    Editors find it by the first line of a graph file:

    # yaml-language-server: $schema=../.schema/graph.v1.json
    """
    write_output(f"{pretty_json(graph_schema(installed()))}\n", output)
