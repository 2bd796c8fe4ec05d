"""Pictures of drawings: Mermaid's own layout, run on this machine by the optional mermaidx."""

from __future__ import annotations

from typing import Any, Protocol, cast

from ..errors import InputError

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
