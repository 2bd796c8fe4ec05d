"""No construct prints an object or None, or fails, with any kind of value that the checks accept."""

from __future__ import annotations

import os

import pytest
from jinja2.sandbox import modifies_known_mutable

from teamgraph.engine.prompts.environment import PromptEnvironment
from tests.soundness.constructs import FILTERS, METHODS, OTHERS, TESTS, applied, constructs
from tests.soundness.trial import accepted, failure
from tests.soundness.world import WORLDS

IS_LONG = "TEAMGRAPH_SOUNDNESS" in os.environ
ENVIRONMENT = PromptEnvironment(lambda _: None)
MODIFIED: dict[type, object] = {list: [], dict: {}}


def test_no_filter_is_missing() -> None:
    assert sorted(FILTERS) == ENVIRONMENT.filter_names


def test_no_test_is_missing() -> None:
    assert sorted(TESTS) == sorted(ENVIRONMENT.tests)


@pytest.mark.parametrize("kind", [str, list, tuple, dict, int, float])
def test_no_method_is_missing(kind: type) -> None:
    public = [name for name in dir(kind) if not name.startswith("_")]
    empty = MODIFIED.get(kind)
    allowed = {n for n in public if empty is None or not modifies_known_mutable(empty, n)}
    assert allowed == set(METHODS[kind])


@pytest.mark.parametrize("construct", sorted(set(constructs())))
def test_what_is_accepted_prints_only_data(construct: str) -> None:
    failures = []
    for expression in applied(construct, OTHERS if IS_LONG else OTHERS[1:3]):
        files = {"t": f"{{{{ {expression} }}}}"}
        if accepted(files):
            found = {
                one for world in WORLDS[: 12 if IS_LONG else 3] if (one := failure(files, world))
            }
            failures += [f"{expression}: {one}" for one in sorted(found)]
    assert failures == []
