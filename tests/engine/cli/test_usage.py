"""`teamgraph usage`: what models used, by what they were asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from teamgraph import Graph, Reply, Request, Runner, ScriptedModel, TinyDBStore, Usage
from teamgraph.nodes import Leader, Member, Python

from .conftest import Project

PRICES = {"cheap": 0.01, "dear": 0.5, "own": None}


def answer(request: Request) -> Reply:
    used = Usage(
        input_tokens=10,
        output_tokens=5,
        cached_tokens=4,
        calls=1,
        cost=PRICES[request.model],
        reasoning_tokens=3,
    )
    return Reply("yes", usage=used, model=request.model)


@pytest.fixture
def spent(project: Project) -> Project:
    """A store with two runs of ann, one of nobody whose cost is unknown, and one without models."""
    pair: dict[str, Any] = {"a": Member(model="dear"), "lead": Leader(needs="a")}
    graph = Graph(name="pair", model="cheap", nodes=pair, output="lead")
    alone = Graph(name="alone", model="own", nodes={"a": Member()})
    store = TinyDBStore(project.folder / ".teamgraph", sync="never")
    model = ScriptedModel(answer)
    for _ in range(2):
        Runner(graph, store=store, model=model).run("hi", user_id="ann", session_id="s")
    Runner(alone, store=store, model=model).run("hi", session_id="t")
    Runner(Graph(name="none", nodes={"p": Python(call=lambda message: message)}), store=store).run(
        "hi"
    )
    return project


def used(project: Project, *words: str) -> dict[str, Any]:
    done = project.teamgraph("usage", "--json", *words)
    assert done.exit_code == 0
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("model", {"dear": (2, 2, 1.0), "cheap": (2, 2, 0.02), "own": (1, 1, None)}),
        ("graph", {"pair": (2, 4, 1.02), "alone": (1, 1, None)}),
        ("node", {"pair/a": (2, 2, 1.0), "pair/lead": (2, 2, 0.02), "alone/a": (1, 1, None)}),
        ("session", {"s": (2, 4, 1.02), "t": (1, 1, None)}),
        ("user", {"ann": (2, 4, 1.02), None: (1, 1, None)}),
    ],
)
def test_what_was_used_is_added_up_by(
    by: str, rows: dict[str | None, tuple[int, int, float | None]], spent: Project
) -> None:
    found = used(spent, "--all-users", "--by", by)
    counted = {row[by]: (row["runs"], row["calls"], row["cost"]) for row in found["rows"]}
    assert counted == {name: pytest.approx(row) for name, row in rows.items()}
    total = found["total"]
    assert (total["runs"], total["calls"], total["cost"]) == (3, 5, None)
    counts = [total[f"{kind}_tokens"] for kind in ("input", "cached", "output", "reasoning")]
    assert counts == [50, 20, 25, 15]


def test_a_table_has_a_total_and_says_what_is_unknown(spent: Project) -> None:
    lines = spent.teamgraph("usage", "--all-users", "--by", "user").stdout.splitlines()
    assert [line.split("\t") for line in lines] == [
        ["user", "runs", "calls", "tokens in", "cached", "tokens out", "reasoning", "cost"],
        ["ann", "2", "4", "40", "16", "20", "12", "$1.0200"],
        ["(none)", "1", "1", "10", "4", "5", "3", "unknown"],
        ["total", "3", "5", "50", "20", "25", "15", "unknown"],
    ]


def test_only_runs_of_the_user_and_since_the_time_count(spent: Project) -> None:
    assert used(spent, "--user", "ann")["total"]["calls"] == 4
    assert used(spent)["total"]["calls"] == 1
    assert used(spent, "--since", "1h")["total"]["calls"] == 1
    assert used(spent, "--since", "2999-01-01")["rows"] == []
    nothing = spent.teamgraph("usage", "--since", "2999-01-01")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "no model calls since 2999-01-01 00:00:00 in .teamgraph" in nothing.stderr
