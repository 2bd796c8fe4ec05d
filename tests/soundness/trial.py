"""Renders what the checks accept, and counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from teamgraph.engine.prompts.library import Prompts

from .checks import accepted, failure_of
from .world import WORLDS
from .writer import Writer


@dataclass
class Trial:
    """What came of it; `harmless` are the rejected templates that no run here made fail."""

    accepted: int = 0
    rejected: int = 0
    harmless: int = 0
    renderings: int = 0
    constructs: set[str] = field(default_factory=set[str])
    failures: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        return (
            f"{self.renderings} renderings of {self.accepted} accepted templates with "
            f"{len(self.constructs)} constructs: {len(self.failures)} failed; {self.rejected} were "
            f"rejected, {self.harmless} of them never failed"
        )


def trial(renderings: int, *, start: int, worlds: int = 40, count_harmless: bool = False) -> Trial:
    """Write templates until those that are accepted were rendered often enough.

    Each is rendered in so many `worlds`. The first uses the construct number `start` of the table,
    the next one the next.
    """
    found = Trial()
    seed = start
    while found.renderings < renderings:
        chance = Random(seed)
        writer = Writer(chance, construct=seed)
        files = writer.files()
        prompts = Prompts(inline=files)
        if not accepted(files):
            found.rejected += 1
            if count_harmless:
                found.harmless += not any(failure_of(prompts, world) for world in WORLDS)
        else:
            found.accepted += 1
            found.renderings += worlds
            found.constructs |= writer.constructs
            chosen = chance.sample(WORLDS, worlds)
            causes = {one for world in chosen if (one := failure_of(prompts, world))}
            found.failures += [f"seed {seed}: {one}\n{files['t']}" for one in sorted(causes)]
        seed += 1
    return found
