"""The page for those who come from Agno tells of every option and every door there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from teamgraph import MemoryStore
from teamgraph.errors import DefinitionError
from teamgraph.graphs import ELSEWHERE, Agent, SessionSummaryManager, Team
from teamgraph.graphs.options import ALTERNATIVE_METHODS, ALTERNATIVES

MANAGER = SessionSummaryManager(model="m")


def print_it() -> str:
    """Print it."""
    return "printed"


def team(**options: Any) -> Team:  # noqa: ANN401  options of a team
    return Team(**({"members": [Agent(name="A"), Agent(name="B")]} | options))


PAGE = Path(__file__).parents[2] / "docs" / "from-agno.md"
OURS = ("store", "graph", "runner", "session", "stream", "astream", "as_member")
DOORS = [
    name
    for name in {**vars(Team.__mro__[1]), **vars(Agent)}
    if not name.startswith(("_", "model_"))
]
NAMED = re.findall(r"`[^`\n]+`", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Workflow", "teamgraph.Graph"),
        ("Step", "a node of a teamgraph.Graph"),
        ("SqliteDb", "teamgraph.TinyDBStore"),
    ],
)
def test_a_class_of_agno_names_what_is_meant(name: str, meant: str) -> None:
    with pytest.raises(ImportError, match=f"^'{name}' of Agno is {meant} here; docs/from-agno.md"):
        exec(f"from teamgraph.graphs import {name}")  # noqa: S102  a statement, as users write it


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_what_stands_for_a_class_of_agno_exists(name: str) -> None:
    for module, found in re.findall(r"(teamgraph(?:\.nodes)?)\.(\w+)", ELSEWHERE[name]):
        assert hasattr(import_module(module), found)
    assert name in {word for code in NAMED for word in re.findall(r"\w+", code)}


CORRECTED: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"response_model": "int"}, "use output_schema", {"output_schema": "int"}),
    ({"storage": None}, "use db", {"db": MemoryStore()}),
    (
        {"add_history_to_messages": True, "num_history_responses": 3},
        "use num_history_runs",
        {"add_history_to_context": True, "num_history_runs": 3},
    ),
    ({"expected_output": "A list."}, "use `instructions`", {"instructions": "A list."}),
    ({"metadata": {"a": 1}}, "pass it as `session_state`", {"session_state": {"a": 1}}),
    ({"num_history_runs": 3}, "add that", {"num_history_runs": 3, "add_history_to_context": True}),
    (
        {"session_summary_prompt": "x"},
        "enable_session_summaries=True; add that",
        {"session_summary_prompt": "x", "enable_session_summaries": True},
    ),
    ({"use_json_mode": True}, "name one", {"use_json_mode": True, "model": "m"}),
    (
        {"prompt": "{{ now }}", "add_datetime_to_context": True},
        "leave add_datetime_to_context out: it reads `now`",
        {"prompt": "{{ now }}"},
    ),
    (
        {"session_summary_manager": MANAGER, "session_summary_model": "m"},
        "leave session_summary_model out",
        {"session_summary_manager": MANAGER},
    ),
    ({"fallback_models": ["b"]}, "fallback: [...]", {"model": {"id": "a", "fallback": ["b"]}}),
    ({"enable_user_memories": True}, "`session_state`", {"session_state": {"name": "Ann"}}),
    (
        {"search_past_sessions": True},
        "use search_session_history",
        {"search_session_history": True},
    ),
]
"""Wrong options, what is said of them, and the options of who follows that."""
IN_TEAMS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"members": [], "respond_directly": True}, "add some", {"respond_directly": True}),
    (
        {"respond_directly": True, "tools": [print_it]},
        "pass the tools to them",
        {"respond_directly": True, "members": [Agent(tools=[print_it])]},
    ),
    (
        {"respond_directly": True, "system_message": "x"},
        "pass system_message to them",
        {"respond_directly": True, "members": [Agent(system_message="x")]},
    ),
    ({"mode": "broadcast"}, "for broadcast delegate_to", {"delegate_to_all_members": True}),
    (
        {"mode": "supervise", "respond_directly": True},
        "leave respond_directly out",
        {"mode": "supervise"},
    ),
]


@pytest.mark.parametrize(
    ("kind", "wrong", "told", "right"),
    [(Agent, *each) for each in CORRECTED] + [(team, *each) for each in [*CORRECTED, *IN_TEAMS]],
)
def test_whoever_follows_the_advice_gets_an_agent(
    kind: Callable[..., Any], wrong: dict[str, Any], told: str, right: dict[str, Any]
) -> None:
    with pytest.raises(DefinitionError) as refused:
        kind(**wrong)
    assert told in str(refused.value)
    assert kind(**right).graph.nodes


@pytest.mark.parametrize(
    "name", sorted({*ALTERNATIVES, *ALTERNATIVE_METHODS, *Team.model_fields, *DOORS} - {*OURS})
)
def test_every_name_is_told(name: str) -> None:
    words = {word for code in NAMED for word in re.findall(r"\w+", code)}
    assert name in words
