"""The commands by name, and what each is for; their modules are imported when they are called."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

_ABOUT = {
    "init": "Begin a project: a graph, its prompts and their tests.",
    "run": "Put one message through a graph and print the answer.",
    "chat": "Talk to a graph, turn after turn, in one session.",
    "check": "Say whether graphs hold, and everything that does not.",
    "render": "Render every prompt of a run, without a model.",
    "prompts": "Check, render, compare and measure templates; show those that were once used.",
    "draw": "Draw a graph: Mermaid, SVG or PNG.",
    "schema": "Print the JSON Schema of graph files, for completion in editors.",
    "sessions": "List, show, search, rename, export, import and delete sessions.",
    "runs": "List runs, show what each node did, take up one that was cut short, delete one.",
}


class Commands(TyperGroup):
    """A group that knows its commands by name, and imports one only to call it."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  typer's signature
        super().__init__(**attributes)
        for name, about in _ABOUT.items():
            self.add_command(TyperCommand(name, help=about))

    def resolve_command(
        self,
        ctx: Any,  # noqa: ANN401  typer keeps the types of click to itself
        args: list[str],
    ) -> tuple[str | None, Any, list[str]]:
        """The command itself in place of its name."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in _ABOUT:
            command = get_command(import_module(f".{name}", __package__).app)
        return name, command, rest


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 it did not hold; 2 it could not be tried; 130 interrupted.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"teamgraph {version('teamgraph')}")
        raise typer.Exit


@app.callback()
def teamgraph(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Declare a team of LLM agents as a graph, run it, and see why it said what it said."""
