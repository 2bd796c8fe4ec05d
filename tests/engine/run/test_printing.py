"""A run on standard output."""

from __future__ import annotations

import pytest

from teamgraph import Runner, ScriptedModel
from teamgraph.engine.run.printing import print_events
from teamgraph.errors import NodeError, RunError
from tests.teams import alone, desk, desk_model


@pytest.mark.parametrize("stream", [True, False])
def test_the_answer_is_printed_once_and_nothing_else(
    capsys: pytest.CaptureFixture[str], stream: bool
) -> None:
    runner = Runner(desk(), model=desk_model())
    run = runner.print_response("hi", stream=stream, user_id="ann", session_id="s")
    assert capsys.readouterr().out == "Bonjour mon ami\n"
    assert (run.answer, run.session_id, run.user_id) == ("Bonjour mon ami", "s", "ann")


def test_what_ends_a_run_is_raised(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NodeError):
        Runner(alone(), model=ScriptedModel([])).print_response("hi", stream=True)
    assert capsys.readouterr().out == ""


def test_events_without_an_end_are_no_run() -> None:
    with pytest.raises(RunError, match="ended without an answer"):
        print_events([], stream=False)
