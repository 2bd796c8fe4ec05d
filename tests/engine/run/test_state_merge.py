"""Nodes that run at the same time and change the session's state: no write is lost in silence."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from teamgraph import Graph, Reply, Request, Runner, ScriptedModel, Store, ToolCall, ToolContext
from teamgraph.engine.values import NO_VALUE, merge_changes
from teamgraph.errors import NodeError, StateConflict
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import Member, Python, SubGraph

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)
Change = Callable[[dict[str, Any]], None]


def team(one: Change, two: Change, *, last: str, **options: Any) -> Graph:
    """Two nodes that read the state together, of which `last` is done after the other."""
    read, done = asyncio.Barrier(2), asyncio.Event()

    def changing(name: str, change: Change) -> Callable[..., Any]:
        attempts = 0

        async def node(session_state: dict[str, Any]) -> Result:
            nonlocal attempts
            attempts += 1
            before = deepcopy(session_state)
            if attempts == 1:
                await read.wait()
                if name == last:
                    await done.wait()
            change(session_state)
            changed = {key: session_state[key] for key in session_state.keys() - before.keys()}
            changed |= {
                key: session_state[key] for key in before if session_state[key] != before[key]
            }
            return Result(f"{name} in attempt {attempts}", session_state=changed)

        return node

    async def after() -> str:
        done.set()
        return "first"

    first = "one" if last == "two" else "two"
    nodes = {
        "one": Python(call=changing("one", one), **options),
        "two": Python(call=changing("two", two), **options),
        "signal": Python(call=after, needs=first),
        "end": Python(call=lambda session_state: session_state, needs=["one", "two"]),
    }
    return Graph(name="g", nodes=nodes, output="end", state={"cart": [], "prices": {}, "n": 1})


def set_key(key: str, value: object) -> Change:
    return lambda state: state.update({key: value})


def append(item: object) -> Change:
    return lambda state: state["cart"].append(item)


def set_price(**prices: object) -> Change:
    return lambda state: state["prices"].update(prices)


MERGED: list[tuple[Change, Change, dict[str, Any]]] = [
    (append("tea"), append("milk"), {"cart": ["tea", "milk"]}),
    (append("tea"), append("tea"), {"cart": ["tea", "tea"]}),
    (set_price(tea=1), set_price(milk=2), {"prices": {"tea": 1, "milk": 2}}),
    (set_price(a={"b": 1}), set_price(a={"c": 2}), {"prices": {"a": {"b": 1, "c": 2}}}),
    (set_key("new", ["x"]), set_key("new", ["y"]), {"new": ["x", "y"]}),
    (set_key("language", "fr"), set_key("language", "fr"), {"language": "fr"}),
    (set_key("seen", True), set_key("seen", True), {"seen": True}),
    (set_key("a", 1), set_key("b", 2), {"a": 1, "b": 2}),
]
CONFLICTS: list[tuple[str, Change, Change]] = [
    ("n", lambda s: s.update(n=s["n"] + 1), lambda s: s.update(n=s["n"] + 1)),
    ("n", set_key("n", 5), set_key("n", 7)),
    ("cart", set_key("cart", ["none"]), set_key("cart", "none")),
    ("prices", set_price(tea=1), set_price(tea=2)),
    ("language", set_key("language", "fr"), set_key("language", "de")),
    ("log", set_key("log", None), set_key("log", "x")),
]


def sorted_lists(values: dict[str, Any]) -> dict[str, Any]:
    """Lists have first what the node added that was done first."""
    return {
        key: sorted(value) if isinstance(value, list) else value for key, value in values.items()
    }


@pytest.mark.parametrize("last", ["one", "two"])
@pytest.mark.parametrize(("one", "two", "expected"), MERGED)
def test_changes_that_can_be_merged_are_all_there(
    store: Store, one: Change, two: Change, expected: dict[str, Any], last: str
) -> None:
    runner = Runner(team(one, two, last=last), store=store)
    run = runner.run("hi", session_id="s")
    state = runner.session("s").state()
    assert sorted_lists({key: state[key] for key in expected}) == sorted_lists(expected)
    output: Any = run.records["end"].output
    assert {key: output[key] for key in state} == dict(state), "what comes after reads the same"


@pytest.mark.parametrize("last", ["one", "two"])
@pytest.mark.parametrize(("key", "one", "two"), CONFLICTS)
def test_changes_that_contradict_each_other_fail_the_later_node_and_a_resume_repeats_only_it(
    store: Store, key: str, one: Change, two: Change, last: str
) -> None:
    runner = Runner(team(one, two, last=last), store=store)
    with pytest.raises(NodeError) as caught:
        runner.run("hi", session_id="s", run_id="r")
    error = caught.value.__cause__
    first = "one" if last == "two" else "two"
    assert isinstance(error, StateConflict)
    assert (caught.value.node_id, error.key, error.nodes) == (last, key, (first, last))
    assert repr(key) in str(error)
    assert runner.session("s").state() == {}, "a run that failed changes nothing"
    run = runner.resume("r")
    assert run.records[first].output == f"{first} in attempt 1"
    assert run.records[last].output == f"{last} in attempt 2"
    expected: dict[str, Any] = {"cart": [], "prices": {}, "n": 1}
    for change in (one, two) if last == "two" else (two, one):
        change(expected)
    assert run.records["end"].output == expected, "the second attempt reads what the first node set"


def test_a_retry_settles_a_conflict_within_the_run() -> None:
    def add(state: dict[str, Any]) -> None:
        state["n"] += 1

    graph = team(add, add, last="one", retry={"times": 1, "wait": 0.001})
    run = Runner(graph).run("hi", session_id="s")
    assert run.records["end"].output["n"] == 3  # type: ignore[index,call-overload]  it is a mapping


def test_tools_of_members_side_by_side_all_count(store: Store) -> None:
    together = asyncio.Barrier(3)

    async def put_in(item: str, context: ToolContext) -> str:
        await together.wait()
        context.session_state["cart"].append(item)  # type: ignore[union-attr]  it is a list
        return "it is in"

    def script(request: Request) -> Reply:
        if any(message.role == "tool" for message in request.messages):
            return Reply("done")
        arguments = f'{{"item": "{request.messages[0].content.split()[2]}"}}'
        return Reply("", tool_calls=(ToolCall(id="c", name="put_in", arguments=arguments),))

    items = ("tea", "milk", "bread")
    nodes: dict[str, Any] = {
        item: Member(prompt=f"You want {item} !\n", tools=[put_in]) for item in items
    }
    graph = Graph(name="shop", model="m", nodes=nodes, output="tea", state={"cart": []})
    runner = Runner(graph, model=ScriptedModel(script), store=store)
    runner.run("hi", session_id="s")
    assert sorted(runner.session("s").state()["cart"]) == sorted(items)  # type: ignore[arg-type]


@pytest.mark.parametrize("last", ["one", "two"])
def test_nodes_in_graphs_inside_nodes_merge_too(store: Store, last: str) -> None:
    inner = team(MERGED[0][0], MERGED[0][1], last=last)
    beside = Python(call=lambda: Result("x", session_state={"cart": ["bread"]}))
    nodes: dict[str, Any] = {"inner": SubGraph(graph=inner), "beside": beside}
    graph = Graph(name="g", nodes=nodes, output="inner")
    runner = Runner(graph, store=store)
    runner.run("hi", session_id="s")
    assert sorted(runner.session("s").state()["cart"]) == ["bread", "milk", "tea"]  # type: ignore[arg-type]


@given(JSONS, JSONS)
def test_who_changed_nothing_contradicts_nobody(base: Any, changed: Any) -> None:
    assert merge_changes(base, base, changed) == changed
    assert merge_changes(base, changed, base) == changed


@given(JSONS, JSONS, JSONS)
@example({"gone": 1}, {"one": 1}, {"gone": 1, "two": 2})
@example([1], [2], [1, 3])
def test_a_merge_has_every_change_or_is_refused_whoever_is_first(
    base: Any, one: Any, two: Any
) -> None:
    try:
        merged = merge_changes(base, one, two)
    except ValueError:
        with pytest.raises(ValueError, match="contradict"):
            merge_changes(base, two, one)
        return
    other = merge_changes(base, two, one)
    assert repr(holds(merged)) == repr(holds(other)), "the same but for the order"
    if isinstance(base, dict) and isinstance(one, dict) and isinstance(two, dict):
        for key in base.keys() | one.keys() | two.keys():
            values = [each.get(key, NO_VALUE) for each in (base, one, two)]
            assert merged.get(key, NO_VALUE) == merge_changes(*values)


def holds(value: Any) -> Any:
    """What is in a value, whatever its order."""
    if isinstance(value, dict):
        return sorted((key, repr(holds(item))) for key, item in value.items())
    return sorted(repr(holds(item)) for item in value) if isinstance(value, list) else value


class Sets(Node):
    """Sets one key of the session's state."""

    prompts: ClassVar[bool] = False

    async def run(self, context: Context) -> Result:
        return Result("done", session_state={"last": context.node_id})


def calls_of_a_chain(length: int) -> int:
    """How many functions a run calls in which every node sets the same key."""
    nodes = {f"n{index}": Sets(needs=[f"n{index - 1}"] * bool(index)) for index in range(length)}
    runner, calls = Runner(Graph(name="chain", nodes=nodes, output=f"n{length - 1}")), 0

    def note(*_: object) -> None:
        nonlocal calls
        calls += 1

    async def count() -> None:
        await runner.arun("hello")
        sys.setprofile(note)
        try:
            run = await runner.arun("hello")
        finally:
            sys.setprofile(None)
        assert await runner.session(run.key.session_id).astate() == {"last": f"n{length - 1}"}

    asyncio.run(count())
    return calls


def test_a_node_that_sets_the_state_costs_the_same_however_many_have_set_it() -> None:
    few, more, most = (calls_of_a_chain(length) for length in (40, 80, 120))
    assert most - more <= 1.1 * (more - few)


def test_a_node_reads_what_those_before_it_set_and_not_what_others_did() -> None:
    seen: dict[str, Any] = {}

    async def scenario() -> None:
        done = asyncio.Event()

        async def left() -> Result:
            await done.wait()
            return Result("left", session_state={"left": 1})

        async def right() -> Result:
            return Result("right", session_state={"right": 1})

        async def after_right(session_state: dict[str, Any]) -> str:
            seen["after_right"] = dict(session_state)
            done.set()
            return "right is stored"

        async def after_left(session_state: dict[str, Any]) -> str:
            seen["after_left"] = dict(session_state)
            return "left is stored"

        async def last(session_state: dict[str, Any]) -> str:
            seen["last"] = dict(session_state)
            return "all"

        nodes = {
            "left": Python(call=left),
            "right": Python(call=right),
            "after_right": Python(call=after_right, needs=["right"]),
            "after_left": Python(call=after_left, needs=["left"]),
            "last": Python(call=last, needs=["after_left", "after_right"]),
        }
        await Runner(Graph(name="two", nodes=nodes, output="last")).arun("hello")

    asyncio.run(scenario())
    assert seen == {
        "after_right": {"right": 1},
        "after_left": {"left": 1},
        "last": {"left": 1, "right": 1},
    }


def test_a_node_between_that_sets_another_key_is_no_part_of_a_merge() -> None:
    async def scenario() -> Any:
        read = asyncio.Barrier(4)

        def sets(**state: Any) -> Python:
            async def node(session_state: dict[str, Any]) -> Result:
                assert session_state == {"cart": [], "n": 1, "m": 1}
                await read.wait()
                return Result("done", session_state=state)

            return Python(call=node)

        nodes = {
            "one": sets(cart=["tea"]),
            "two": sets(n=2),
            "three": sets(cart=["milk"]),
            "four": sets(m=2),
        }
        graph = Graph(name="g", nodes=nodes, output="one", state={"cart": [], "n": 1, "m": 1})
        runner = Runner(graph)
        await runner.arun("hi", session_id="s")
        return await runner.session("s").astate()

    state = asyncio.run(scenario())
    assert {**state, "cart": sorted(state["cart"])} == {"cart": ["milk", "tea"], "n": 2, "m": 2}
