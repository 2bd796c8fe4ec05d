"""What the checks of prompts accept is rendered without an error, whatever a run brings.

Random templates over all that a template can read, each that is accepted rendered in random runs.
TEAMGRAPH_SOUNDNESS=100000 makes so many renderings more, of further templates.
"""

from __future__ import annotations

import os
import random
from math import ceil

import pytest

from teamgraph.errors import DefinitionError
from tests.soundness.trial import Trial, accepted, failure, trial
from tests.soundness.world import GRAPH, WORLDS, graph
from tests.soundness.writer import Writer

RENDERINGS = 1500
PARTS = 4 + ceil(int(os.environ.get("TEAMGRAPH_SOUNDNESS", "0")) / RENDERINGS)


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_accepted_is_rendered(part: int) -> None:
    found = trial(RENDERINGS, start=part * 1_000_000)
    print(found.told())  # noqa: T201  the numbers are wanted: pytest -rP shows them
    assert found.failures == []
    assert found.accepted > found.rejected


@pytest.mark.parametrize("seed", range(4))
def test_a_whole_graph_judges_a_template_as_the_trial_does(seed: int) -> None:
    files = {"t": Writer(random.Random(f"whole {seed}")).body_alone()}
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
    found = trial(40, start=7)
    assert isinstance(found, Trial)
    assert found.renderings >= 40
    assert 0 <= found.harmless <= found.rejected
