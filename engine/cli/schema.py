"""`teamgraph schema`: the JSON Schema of graph files, case files, events and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import InputError
from ..event_schema import event_schema, run_schema
from ..graph.kinds import installed
from ..graph.schema import graph_schema
from ..graph.settings import make_importable, settings_of
from ..testing.cases import case_schema
from .command import command, make_app
from .options import KindOption, OutputOption, all_kinds
from .output import pretty_json, write_output

app = make_app()


@command(app)
def schema(
    of: Annotated[
        Literal["graph", "prompts", "events", "run"],
        typer.Argument(metavar="[graph|prompts|events|run]", help="What it is the schema of."),
    ] = "graph",
    *,
    kind: KindOption = None,
    output: OutputOption = None,
) -> None:
    """Print the JSON Schema of graph files, of case files, of the events of a run, or of a run.

    That of graph files has the kinds of nodes that are installed or named. Editors find it by the
    first line of a graph file:

    # yaml-language-server: $schema=../.schema/graph.v1.json

    That of case files (*.prompts.yaml) is of `prompts`; `teamgraph init` writes both.

    That of events is of one line of `run --events jsonl`, that of a run is of `run --json`.
    """
    if of != "graph":
        if kind:
            raise InputError(f"--kind is about graph files; leave it out for the schema of {of}")
        made = {"prompts": case_schema, "events": event_schema, "run": run_schema}[of]()
        write_output(f"{pretty_json(made)}\n", output)
        return
    settings = settings_of(Path.cwd())
    make_importable(Path.cwd(), settings.folder)
    kinds = {**installed(), **all_kinds(kind, settings)}
    write_output(f"{pretty_json(graph_schema(kinds))}\n", output)
