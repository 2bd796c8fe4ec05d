"""When an attempt is made again, and after how long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph import Graph, Retry, Runner
from teamgraph.engine.run.node_execution import error_text, retry_policy, retry_wait
from teamgraph.errors import BudgetExceeded, InputError, ModelError, NodeError, PromptError
from teamgraph.kinds import Result
from teamgraph.nodes import Member, Python


@settings(deadline=None)
@given(
    attempt=st.integers(1, 5000),
    wait=st.floats(0.001, 100),
    most=st.floats(0.001, 1000),
)
def test_waits_double_up_to_the_most_and_vary_by_a_quarter(
    attempt: int, wait: float, most: float
) -> None:
    seconds = retry_wait(Retry(times=5000, wait=wait, max_wait=most), attempt, ValueError())
    middle = min(wait * 2.0 ** min(attempt - 1, 60), most)
    assert seconds is not None
    assert 0.75 * middle <= seconds <= 1.25 * middle


def test_a_provider_that_asks_for_time_gets_it() -> None:
    retry = Retry(times=1, wait=0.5, max_wait=10.0)

    def busy(seconds: float) -> ModelError:
        return ModelError("busy", model="m", retryable=True, retry_after=seconds)

    assert retry_wait(retry, 1, busy(7.0)) == 7.0
    assert (retry_wait(retry, 1, busy(0.0)) or 0) >= 0.375
    assert retry_wait(retry, 1, busy(11.0)) is None, "asking earlier would only fail again"


@pytest.mark.parametrize(
    "error",
    [
        ModelError("no key", model="m"),
        PromptError("no", template="t"),
        InputError("no"),
        BudgetExceeded("no"),
        TypeError("no"),
        NameError("no"),
    ],
)
def test_what_would_only_fail_again_is_not_tried_again(error: Exception) -> None:
    assert retry_wait(Retry(times=9), 1, error) is None


def test_after_the_last_attempt_there_is_none() -> None:
    assert retry_wait(Retry(times=2), 2, ValueError()) is not None
    assert retry_wait(Retry(times=2), 3, ValueError()) is None
    assert retry_wait(Retry(times=0), 1, ValueError()) is None


def test_a_node_says_how_often_or_else_the_graph_does() -> None:
    graph = Graph(name="g", model="m", retry=3, nodes={"a": Member()})
    plain = Graph(name="g", model="m", nodes={"a": Member()})
    assert retry_policy(Member(), graph) == Retry(times=3)
    assert retry_policy(Member(retry=0), graph) == Retry(times=0)
    assert retry_policy(Member(retry=Retry(times=1, wait=2.0)), graph) == Retry(times=1, wait=2.0)
    assert retry_policy(Member(), plain) == Retry(times=0)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (ValueError(), "ValueError"),
        (InputError("say more"), "say more"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_is_told_in_one_line(error: Exception, line: str) -> None:
    assert error_text(error) == line


def test_tasks_that_are_no_texts_are_refused() -> None:
    tasks: Any = {"billing": 1}
    graph = Graph(name="g", nodes={"a": Python(call=lambda: Result("x", tasks=tasks))})
    with pytest.raises(NodeError, match="its tasks must be texts by label"):
        Runner(graph).run("hi")
