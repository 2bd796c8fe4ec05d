"""`teamgraph draw`: a graph as Mermaid text, as SVG, or as PNG rendered from that by mermaidx."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..errors import InputError
from ..graph.draw import mermaid
from .command import command, make_app
from .options import GraphFile, GraphOptions, OutputOption
from .output import write_file, write_output

if TYPE_CHECKING:
    from ..view.drawing import SVGFile

INSTALL = "pip install 'teamgraph[draw]'"
_SCALE = 2.0  # pixels per unit, so that letters are sharp on high-density screens
_MOST_PIXELS = 40_000_000

app = make_app()


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

    PNG needs the extra `draw`: pip install 'teamgraph[draw]'.
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
    loaded = graph_options.load(graph)
    if chosen is DrawFormat.mermaid:
        write_output(mermaid(loaded), output)
        return
    from ..view.drawing import svg_file

    drawing = svg_file(loaded)
    if chosen is DrawFormat.svg:
        write_output(drawing.text, output)
    else:
        _write_png(_rendered(drawing), output)


def _write_png(data: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(data)
    else:
        write_file(data, output)


def _rendered(drawing: SVGFile) -> bytes:
    try:
        import mermaidx  # pyright: ignore[reportMissingTypeStubs]  it has none
    except ImportError as error:
        raise InputError(
            f"PNG needs the package mermaidx; install it with {INSTALL}, or use --format svg"
        ) from error
    scale = min(_SCALE, sqrt(_MOST_PIXELS / (drawing.width * drawing.height)))
    return cast(
        "bytes", cast("Any", mermaidx).svg_to_png(drawing.text, width=drawing.width * scale)
    )
