"""What the checks of prompts accept is rendered without an error, whatever a run brings.

Random templates over all that a template can read, each that is accepted rendered in random runs.
TEAMGRAPH_SOUNDNESS=100000 makes so many renderings more, of further templates, and tries the table
of constructs on every value.
"""

from __future__ import annotations

import os
import random
from math import ceil

import pytest

from teamgraph.errors import DefinitionError
from tests.soundness.checks import accepted, failure
from tests.soundness.trial import trial
from tests.soundness.world import GRAPH, WORLDS, graph
from tests.soundness.writer import Writer

RENDERINGS = 5000
MORE = range(ceil(int(os.environ.get("TEAMGRAPH_SOUNDNESS", "0")) / RENDERINGS))
TRIALS = [(150, 0, 6), *((RENDERINGS, 1_000_003 * (part + 1), 40) for part in MORE)]
"""How many renderings, from which seed on, and of each template how many."""


@pytest.mark.parametrize(("renderings", "start", "worlds"), TRIALS)
def test_what_is_accepted_is_rendered(renderings: int, start: int, worlds: int) -> None:
    found = trial(renderings, start=start, worlds=worlds)
    print(found)  # noqa: T201  the numbers are wanted: pytest -rP shows them
    assert found.failures == []
    assert found.accepted > found.rejected


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_graph_judges_a_template_as_the_trial_does(seed: int) -> None:
    files = {"t": Writer(random.Random(f"whole {seed}"), construct=seed).body_alone()}
    assert accepted(files) == is_declared(files["t"])


def is_declared(template: str) -> bool:
    try:
        graph(f"{template}\n")
    except DefinitionError:
        return False
    return True


def test_the_random_runs_differ() -> None:
    assert len({str(sorted(world.variables)) for world in WORLDS}) > len(WORLDS) // 8
    assert {name for world in WORLDS for name in world.variables} >= {"french", "sad", "maybe"}
    assert GRAPH.nodes["reader"].join == "always"


@pytest.mark.parametrize(
    "template",
    ["{{ sad.output.why }}", "{{ ticket.output.best.title }}", "{{ history.runs[0].input }}"],
)
def test_the_trial_sees_what_fails(template: str) -> None:
    assert not accepted({"t": template})
    assert any(failure({"t": template}, world) for world in WORLDS)


def test_a_trial_adds_up() -> None:
    found = trial(40, start=7, worlds=10, count_harmless=True)
    assert found.renderings >= 40
    assert 0 <= found.harmless <= found.rejected
