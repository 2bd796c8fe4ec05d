"""`teamgraph draw`: a graph as Mermaid text, or as SVG or PNG rendered from it by mermaidx."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import typer

from ..errors import InputError
from ..graph.draw import mermaid
from .command import command
from .options import GraphFile, GraphOptions, OutputOption
from .output import write_file, write_output

INSTALL = "pip install 'teamgraph[draw]'"
_SCALE = 2.0  # pixels per unit, so that letters are sharp on high-density screens

app = typer.Typer(add_completion=False)


class DrawFormat(Enum):
    """How a graph is drawn."""

    mermaid = "mermaid"
    svg = "svg"
    png = "png"


_SUFFIXES: Mapping[str, DrawFormat] = {
    ".svg": DrawFormat.svg,
    ".png": DrawFormat.png,
    **dict.fromkeys(("", ".mmd", ".mermaid", ".md", ".txt"), DrawFormat.mermaid),
}


@command(app)
def draw(
    graph: GraphFile,
    graph_options: GraphOptions,
    *,
    form: Annotated[
        DrawFormat | None,
        typer.Option(
            "--format",
            help="The output format. Default: the suffix of --output, else mermaid.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Draw a graph: nodes, routes and data edges.

    SVG and PNG need the extra `draw`: pip install 'teamgraph[draw]'.
    """
    suffix = output.suffix.lower() if output else ""
    chosen = form or _SUFFIXES.get(suffix)
    if chosen is None:
        raise InputError(
            f"{output}: unknown format {suffix!r}; use .mmd, .svg or .png, or name the format with "
            "--format"
        )
    if chosen is DrawFormat.png and output is None and sys.stdout.isatty():
        raise InputError("a PNG cannot be printed to a terminal; write it to a file with -o")
    drawing = mermaid(graph_options.load(graph))
    match chosen:
        case DrawFormat.mermaid:
            write_output(drawing, output)
        case DrawFormat.svg:
            write_output(_rendered(drawing).svg(), output)
        case _:
            _write_png(_rendered(drawing).png(scale=_SCALE, background="#ffffff"), output)


def _write_png(data: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(data)
    else:
        write_file(data, output)


class _MermaidPicture(Protocol):
    """What mermaidx returns."""

    def svg(self) -> str: ...

    def png(self, *, scale: float, background: str) -> bytes: ...


def _rendered(drawing: str) -> _MermaidPicture:
    try:
        import mermaidx  # pyright: ignore[reportMissingTypeStubs]  it has none
    except ImportError as error:
        raise InputError(
            f"SVG and PNG need the package mermaidx; install it with {INSTALL}, or use --format "
            "mermaid and paste the text where Mermaid is rendered"
        ) from error
    return cast("_MermaidPicture", cast("Any", mermaidx).render(drawing))
