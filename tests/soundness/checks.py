"""What the checks of prompts say of a template alone, and what a run makes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from teamgraph.engine.prompts.library import Prompts
from teamgraph.errors import PromptError

from .world import KNOWN, MAY_BE_SKIPPED, World

_NO_TEXT = re.compile(r"None|<(generator|built-in|bound|function)| object at 0x")


def accepted(files: Mapping[str, str]) -> bool:
    """Whether the checks have nothing against the template `t`.

    What a graph asks of its templates, without the graph: that takes ten times as long.
    """
    prompts = Prompts(inline=files)
    if prompts.problems("t.inline"):
        return False
    for read in prompts.reads("t.inline"):
        if read.name not in KNOWN or (read.name in MAY_BE_SKIPPED and not read.guarded):
            return False
    return all(each.severity == "note" for each in prompts.type_problems("t.inline", KNOWN))


def failure(files: Mapping[str, str], world: World) -> str | None:
    """What goes wrong in one run, None if nothing does."""
    return failure_of(Prompts(inline=files), world)


def failure_of(prompts: Prompts, world: World) -> str | None:
    """The same for templates that are compiled already."""
    try:
        messages = prompts.render("t.inline", world.variables)
    except PromptError as error:
        # That a macro calls itself for ever is no matter of what it is given: the budget ends it.
        return None if "without end" in str(error) else str(error)
    found = _NO_TEXT.search("\n".join(message.content for message in messages))
    return f"prints {found.group()!r}" if found else None
