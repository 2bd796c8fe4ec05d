"""What a piece of work passes through in this thread; imports nothing of ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
_ROOMS = tuple(str(ROOT / room) + "/" for room in ("engine", "nodes", "graphs", "teamgraph"))


@dataclass
class Crossing:
    """The files of our modules, the calls of our functions, and our frames at the deepest point."""

    modules: set[str] = field(default_factory=set[str])
    calls: int = 0
    frames: int = 0


@contextmanager
def crossing() -> Iterator[Crossing]:
    """A block whose calls are counted."""
    crossed = Crossing()
    resolved: dict[str, str] = {}

    def is_own(frame: FrameType) -> bool:
        name = frame.f_code.co_filename
        if name not in resolved:
            resolved[name] = str(Path(name).resolve())
        return resolved[name].startswith(_ROOMS)

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and is_own(frame):
            crossed.calls += 1
            crossed.modules.add(resolved[frame.f_code.co_filename])
            crossed.frames = max(crossed.frames, sum(map(is_own, _stack(frame))))

    sys.setprofile(note)
    try:
        yield crossed
    finally:
        sys.setprofile(None)


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
