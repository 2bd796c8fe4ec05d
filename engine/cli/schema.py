"""`teamgraph schema`: what editors need to complete and check graph files."""

from __future__ import annotations

import json

import typer

from ..graph.kinds import installed
from ..graph.schema import graph_schema
from .command import command
from .options import Output
from .screen import write_out

app = typer.Typer(add_completion=False)


@command(app)
def schema(*, output: Output = None) -> None:
    """Print the JSON Schema of graph files, with the kinds that are installed here.

    An editor takes it from the first line of a graph file:
    # yaml-language-server: $schema=../.schema/graph.v1.json
    """
    text = json.dumps(graph_schema(installed()), ensure_ascii=False, indent=2)
    write_out(f"{text}\n".encode(), output)
