"""Renders what the checks accept, and counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from teamgraph.engine.prompts.library import Prompts
from teamgraph.errors import PromptError

from .world import KNOWN, MAY_BE_SKIPPED, WORLDS, World
from .writer import Writer

ROUNDS = 40
"""In how many runs each template is rendered."""
_NO_TEXT = re.compile(r"None|<(generator|built-in|bound|function)| object at 0x")


@dataclass
class Trial:
    """What came of it; `harmless` are the rejected templates that no run here made fail."""

    accepted: int = 0
    rejected: int = 0
    harmless: int = 0
    renderings: int = 0
    failures: list[str] = field(default_factory=list)

    def told(self) -> str:
        """The numbers in one line."""
        return (
            f"{self.renderings} renderings of {self.accepted} accepted templates: "
            f"{len(self.failures)} failed; {self.rejected} were rejected, "
            f"{self.harmless} of them never failed"
        )


def trial(renderings: int, *, start: int, count_harmless: bool = False) -> Trial:
    """Write templates until those that are accepted were rendered often enough."""
    found = Trial()
    seed = start
    while found.renderings < renderings:
        chance = Random(seed)
        files = Writer(chance).files()
        prompts = Prompts(inline=files)
        worlds = chance.sample(WORLDS, ROUNDS)
        if not _is_accepted(prompts):
            found.rejected += 1
            if count_harmless:
                found.harmless += not any(_failure(prompts, world) for world in WORLDS)
        else:
            found.accepted += 1
            found.renderings += ROUNDS
            told = {one for world in worlds if (one := _failure(prompts, world))}
            found.failures += [f"seed {seed}: {one}\n{files['t']}" for one in sorted(told)]
        seed += 1
    return found


def accepted(files: Mapping[str, str]) -> bool:
    """Whether the checks have nothing against the template `t`."""
    return _is_accepted(Prompts(inline=files))


def failure(files: Mapping[str, str], world: World) -> str | None:
    """What goes wrong in one run, None if nothing does."""
    return _failure(Prompts(inline=files), world)


def _is_accepted(prompts: Prompts) -> bool:
    """What a graph asks of its templates, without the graph: that takes ten times as long."""
    if prompts.problems("t.inline"):
        return False
    for read in prompts.reads("t.inline"):
        if read.name not in KNOWN or (read.name in MAY_BE_SKIPPED and not read.guarded):
            return False
    return all(each.severity == "note" for each in prompts.type_problems("t.inline", KNOWN))


def _failure(prompts: Prompts, world: World) -> str | None:
    try:
        messages = prompts.render("t.inline", world.variables)
    except PromptError as error:
        # That a macro calls itself for ever is no matter of what it is given: the budget ends it.
        return None if "without end" in str(error) else str(error)
    found = _NO_TEXT.search("\n".join(message.content for message in messages))
    return f"prints {found.group()!r}" if found else None
