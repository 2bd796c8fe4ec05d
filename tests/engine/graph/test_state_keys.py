"""The warning that two nodes, running at the same time, set one key of the session's state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest

from teamgraph import JSON, Graph, ToolContext
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import Member, Python, Router

State = dict[str, Any]


def sets_total(session_state: State) -> None:
    session_state["total"] = len(session_state)


def sets_total_by_name(session_state: State, amount: int = 2) -> None:
    session_state["total"] = session_state["other"] = amount


def counts(session_state: State) -> None:
    session_state["total"] += 1


async def gives_result(session_state: State) -> Result:
    name = next(iter(session_state))
    return Result("x", session_state={"total": 1, name: 2, **session_state})


def of_context(context: ToolContext) -> None:
    """Set the total.

    Args:
        context: The context.
    """

    def inside() -> None:
        context.session_state["total"] = 5

    inside()


def sets_other(session_state: State) -> None:
    session_state["other"] = 1


def appends(session_state: State) -> None:
    session_state["total"] += [1]
    session_state["total"] = [*session_state["total"], 2]
    session_state["total"] = {"a": 1}


def adds(session_state: State, given: JSON = None) -> None:
    session_state["total"] += given


def reads(session_state: State) -> JSON:
    value: JSON = session_state["total"]
    return value


def sets_elsewhere(session_state: State) -> None:
    other, key = dict(session_state), "total"
    other["total"] = session_state[key] = session_state["a"]["total"] = 1
    session_state[0] = 1  # type: ignore[index]  # no key that a state has


def says_done(session_state: State) -> None:
    session_state["total"] = "done"


def says_more(session_state: State) -> None:
    session_state["total"] = "more"


def decorated(function: Callable[..., object]) -> Callable[..., object]:
    @wraps(function)
    def around(*arguments: object, **named: object) -> object:
        return function(*arguments, **named)

    return around


def without_source(session_state: State) -> None:
    session_state["total"] = 1


without_source.__code__ = without_source.__code__.replace(co_filename="gone.py")


def passes_on(session_state: State) -> Result:
    return Result("x", session_state=session_state)


class Counter:
    """An object that is called."""

    def __call__(self, session_state: State) -> None:
        session_state["total"] = 1


class Setting(Node):
    async def run(self, context: Context) -> Result:
        return Result("x", session_state={"total": len(context.user_id or "")})


def node(source: Callable[..., object] | Node) -> Node:
    return source if isinstance(source, Node) else Python(call=source)


def warnings(nodes: dict[str, Node]) -> list[str]:
    graph = Graph(name="x", nodes=nodes, output=list(nodes))
    return [each.message for each in graph.warnings if each.code == "G110"]


SETTERS = [
    sets_total,
    sets_total_by_name,
    counts,
    gives_result,
    partial(sets_total_by_name, amount=3),
    decorated(sets_total),
    says_done,
    Setting(),
    Member(tools=[of_context]),
]
OTHERS: list[Callable[..., object] | Node] = [
    sets_other,
    appends,
    adds,
    reads,
    sets_elsewhere,
    passes_on,
    lambda session_state: session_state.update(total=1),
    without_source,
    Counter(),
    Member(),
]


@pytest.mark.parametrize("source", SETTERS)
def test_one_key_set_by_two_nodes_is_warned_of(source: Callable[..., object] | Node) -> None:
    (message,) = warnings({"a": node(sets_total), "b": node(source)})
    assert message == (
        "'a' and 'b' can run at the same time, and both set 'total' of the session's state; if the "
        "values differ, the second of them fails: let 'b' need or read 'a', or let each set a key "
        "of its own"
    )


@pytest.mark.parametrize("source", OTHERS)
def test_what_is_merged_or_unknown_is_not_warned_of(source: Callable[..., object] | Node) -> None:
    assert warnings({"a": node(sets_total), "b": node(source)}) == []


def test_one_text_set_by_both_is_not_warned_of() -> None:
    assert warnings({"a": node(says_done), "b": node(says_done)}) == []
    assert len(warnings({"a": node(says_done), "b": node(says_more)})) == 1


def test_nodes_in_order_are_not_warned_of() -> None:
    first, second = node(sets_total), Python(call=counts)
    for more in ({"needs": ("a",)}, {"reads": ("a",)}):
        assert warnings({"a": first, "b": second.model_copy(update=more)}) == []


def test_nodes_of_which_a_router_chooses_one_are_not_warned_of() -> None:
    def routed(select: str) -> list[str]:
        router = Router.model_validate({"routes": {"a": "x", "b": "y"}, "select": select})
        nodes = {"router": router, "a": node(sets_total), "b": node(counts)}
        return [
            each.code
            for each in Graph(name="x", nodes=nodes, output=["a", "b"]).warnings
            if each.code == "G110"
        ]

    assert routed("one") == []
    assert routed("many") == ["G110"]


def test_a_node_has_one_warning_however_many_set_the_key() -> None:
    assert len(warnings({name: node(sets_total) for name in "abc"})) == 2
