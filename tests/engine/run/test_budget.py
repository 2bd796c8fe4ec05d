"""Budgets of a session and of a user's day, and budgets that a resumption raises."""

# ruff: noqa: ANN401  as in a file

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from teamgraph import (
    AnyModel,
    Budget,
    Chunk,
    Graph,
    MemoryStore,
    Reply,
    Request,
    Runner,
    ScriptedModel,
    SessionKey,
    Usage,
)
from teamgraph.engine.run.prepared import prepare
from teamgraph.errors import BudgetExceeded, DefinitionError, InputError, NodeError
from teamgraph.nodes import Member, SubGraph
from tests.builders import written


class Priced:
    """Each call takes ten tokens, and costs what the list says next."""

    def __init__(self, *costs: float | None) -> None:
        self.costs = list(costs)

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        if not self.costs:
            raise KeyError(request.model)
        cost = self.costs.pop(0)
        yield Reply("yes", usage=Usage(input_tokens=4, output_tokens=6, calls=1, cost=cost))


def team(budget: Any, **nodes: Any) -> Graph:
    members = nodes or {"first": Member(), "second": Member(needs="first")}
    return Graph(name="g", model="echo", nodes=members, output=list(members)[-1:], budget=budget)


@pytest.mark.parametrize(
    ("budget", "whose", "text"),
    [
        ({"calls": 4}, "the session", "the session has used 4 calls, and its budget is 4"),
        ({"tokens": 35}, "the session", "the session has used 40 tokens, and its budget is 35"),
        ({"usd": 0.9}, "the session", "the session has used 1 usd, and its budget is 0.9"),
        ({"calls": 4}, "the user", r"the user has used 4 calls today \(UTC\), and its budget is 4"),
    ],
)
def test_a_budget_is_of_all_runs_of_a_session_or_of_a_day(
    budget: dict[str, Any], whose: str, text: str
) -> None:
    per = "session" if whose == "the session" else "day"
    runner = Runner(team([{"per": per, **budget}, {"calls": 2}]), model=Priced(*[0.25] * 9))
    for turn in range(2):
        runner.run("hi", user_id="ann", session_id="s" if per == "session" else f"s{turn}")
    with pytest.raises(BudgetExceeded, match=text) as caught:
        runner.run("hi", user_id="ann", session_id="s")
    assert (caught.value.per, caught.value.name) == (per, next(iter(budget)))
    others = ("bob", "s"), (("ann", "other") if per == "session" else ("cid", "other"))
    for user, session in others:
        assert runner.run("hi", user_id=user, session_id=session).answer == "yes"


def test_a_resumption_may_raise_a_budget_and_asks_nothing_again() -> None:
    model = Priced(0.5, 0.5, 0.5)
    runner = Runner(team([{"calls": 1}, {"per": "session", "usd": 0.7}]), model=model)
    with pytest.raises(BudgetExceeded, match="the run has used 1 calls") as caught:
        runner.run("hi", session_id="s")
    run_id = caught.value.run.run_id if caught.value.run else ""
    with pytest.raises(BudgetExceeded, match="the run has used 1 calls"):
        runner.resume(run_id, session_id="s")
    done = runner.resume(run_id, session_id="s", budget={"calls": 2})
    assert (done.answer, done.usage.calls, len(model.costs)) == ("yes", 2, 1)
    with pytest.raises(BudgetExceeded, match="the session has used 1 usd") as caught:
        runner.run("again", session_id="s")
    again = caught.value.run.run_id if caught.value.run else ""
    more = [Budget(per="session", usd=9), {"calls": 1}]
    with pytest.raises(BudgetExceeded, match="the run has used 1 calls, and its budget is 1"):
        runner.resume(again, session_id="s", budget=more)
    with pytest.raises(InputError, match=r"budget is 5; give limits such as \{'calls': 40\}"):
        runner.resume(again, session_id="s", budget=5)  # type: ignore[arg-type]  # wrong
    with pytest.raises(DefinitionError, match="did you mean 'calls'"):
        runner.resume(again, session_id="s", budget={"call": 5})


def test_what_failed_was_cut_off_or_is_of_unknown_cost_counts_with_what_is_known() -> None:
    store = MemoryStore()
    graph = team([{"per": "session", "usd": 10, "calls": 8}])
    with pytest.raises(NodeError):
        Runner(graph, store=store, model=Priced(4.0)).run("fails", session_id="s")
    Runner(graph, store=store, model=Priced(4.0, None)).run("half known", session_id="s")
    key = SessionKey(None, "s")
    turns = Runner(graph, store=store).session("s").runs()
    assert [turn.usage.cost for turn in turns] == [None, 4.0]
    killed = replace(turns[1], status="running", usage=Usage())  # as a killed process leaves it
    store._sessions[key].turns[killed.run_id] = killed
    with pytest.raises(BudgetExceeded, match="the session has used 12 usd"):
        Runner(graph, store=store, model=Priced(4.0, 1.0)).run("more", session_id="s")


def test_an_inner_graph_has_limits_of_its_run_alone() -> None:
    inner = team([{"per": "session", "calls": 1}, {"calls": 2}], a=Member())
    runner = Runner(team(None, inside=SubGraph(graph=inner)), model=ScriptedModel("x"))
    for _ in range(3):
        runner.run("hi", session_id="s")


def test_yesterday_is_another_day() -> None:
    store = MemoryStore()
    graph = team([{"per": "day", "calls": 2}])
    runner = Runner(graph, store=store, model=Priced(*[0.1] * 9))
    runner.run("hi", user_id="ann", session_id="s")
    runner.run("hi", user_id="bob", session_id="t")
    for session in store._sessions.values():
        for run_id, turn in session.turns.items():
            day_before = replace(turn, started=turn.started - 90_000, ended=turn.ended - 90_000)
            session.turns[run_id] = day_before
    assert runner.run("hi", user_id="ann", session_id="s").answer == "yes"
    assert runner.run("hi", user_id="bob", session_id="new").answer == "yes"
    with pytest.raises(BudgetExceeded, match="today"):
        runner.run("hi", user_id="ann", session_id="s")


def test_a_given_history_does_not_hide_what_the_user_has_spent() -> None:
    runner = Runner(team([{"per": "day", "calls": 2}]), model=Priced(*[0.1] * 9))
    runner.run("hi", user_id="ann", session_id="s")
    with pytest.raises(BudgetExceeded, match="the user has used 2 calls today"):
        runner.run("hi", user_id="ann", history=[])
    of_session = Runner(team([{"per": "session", "calls": 2}]), model=Priced(0.1, 0.1))
    assert of_session.run("hi", history=[{"input": "a", "answer": "b"}]).answer == "yes"


def test_a_file_has_one_budget_or_a_list_and_it_is_no_part_of_a_fingerprint(
    tmp_path: Path,
) -> None:
    text = "name: g\nmodel: echo\nbudget: %s\nnodes:\n  a: {role: x}\n"

    def load(budget: str) -> Graph:
        return Graph.load(written(tmp_path, text % budget))

    one, many = load("{calls: 3}"), load("[{per: day, usd: 1.5}, {calls: 3}]")
    assert one.budget == Budget(calls=3)
    assert many.budget == (Budget(per="day", usd=1.5), Budget(calls=3))
    assert prepare(one, AnyModel()).facts == prepare(many, AnyModel()).facts
    for graph in (one, many):
        graph.dump(tmp_path / "again.yaml")
        assert Graph.load(tmp_path / "again.yaml") == graph
    for wrong, problem in (
        ("[{per: week, calls: 3}]", "3:16: per: must be 'run', 'session' or 'day', not 'week'"),
        ("[{calls: 3}, {dollars: 3}]", "3:23: unknown key 'dollars'"),
        ("5", "3:9: budget: must be {per, tokens, usd, calls}, or a list, not 5"),
    ):
        with pytest.raises(DefinitionError, match=re.escape(problem)):
            load(wrong)
