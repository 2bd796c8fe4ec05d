"""`teamgraph draw`: a graph as a picture, or as the text of one.

Pictures of drawings: Mermaid's own layout, run on this machine by the optional mermaidx.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Any, Protocol, cast

import typer

from ..errors import InputError
from ..graph.draw import mermaid
from .command import command
from .options import GraphFile, Output, Reading
from .screen import write_out

INSTALL = "pip install 'teamgraph[draw]'"
_SCALE = 2.0  # pixels for each unit, so that the letters are sharp on today's screens


class _Rendered(Protocol):
    """What mermaidx gives back."""

    def svg(self) -> str: ...

    def png(self, *, scale: float, background: str) -> bytes: ...


def svg(drawing: str) -> bytes:
    """The picture of a Mermaid text as SVG. Raises `InputError` without the library."""
    return _rendered(drawing).svg().encode()


def png(drawing: str) -> bytes:
    """The picture of a Mermaid text as PNG, on white. Raises `InputError` without the library."""
    return _rendered(drawing).png(scale=_SCALE, background="#ffffff")


def _rendered(drawing: str) -> _Rendered:
    try:
        import mermaidx  # pyright: ignore[reportMissingTypeStubs]  it has none
    except ImportError as error:
        raise InputError(
            f"pictures need the package mermaidx; install it with {INSTALL}, or take --format "
            "mermaid and paste the text where Mermaid is rendered"
        ) from error
    return cast("_Rendered", cast("Any", mermaidx).render(drawing))


app = typer.Typer(add_completion=False)


class Format(Enum):
    """How a graph is drawn."""

    mermaid = "mermaid"
    svg = "svg"
    png = "png"


_SUFFIXES: Mapping[str, Format] = {
    ".svg": Format.svg,
    ".png": Format.png,
    **dict.fromkeys(("", ".mmd", ".mermaid", ".md", ".txt"), Format.mermaid),
}
_PICTURES: Mapping[Format, Callable[[str], bytes]] = {
    Format.mermaid: str.encode,
    Format.svg: svg,
    Format.png: png,
}


@command(app)
def draw(
    graph: GraphFile,
    reading: Reading,
    *,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="How; if left out, as the name of the output says, else mermaid.",
            show_default=False,
        ),
    ] = None,
    output: Output = None,
) -> None:
    """Draw a graph: its nodes, the routes between them, and what reads what.

    SVG and PNG need the extra `draw` of the package.
    """
    chosen = form or _SUFFIXES.get(output.suffix.lower() if output else "")
    if chosen is None:
        raise InputError(
            f"{output}: no drawing ends so; say which with --format mermaid, svg or png"
        )
    if chosen is Format.png and output is None and sys.stdout.isatty():
        raise InputError("a PNG is no text for a terminal; name a file with -o")
    drawing = mermaid(reading.graph(graph))
    write_out(_PICTURES[chosen](drawing), output)
