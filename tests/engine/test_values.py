"""The gate for values: what enters by any door is read again as it was, or refused with a path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from pydantic import BaseModel, Field

from teamgraph import (
    JSON,
    Graph,
    MemoryStore,
    Reply,
    Run,
    Runner,
    ScriptedModel,
    Session,
    Store,
    TinyDBStore,
    ToolCall,
    ToolContext,
)
from teamgraph.engine.values import MAX_DEPTH, MAX_DIGITS, json_problem, to_json
from teamgraph.errors import DefinitionError, InputError, NodeError
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import Member, Python, Router


class Color(Enum):
    RED = "red"


class Order(BaseModel):
    model_config = {"populate_by_name": True}
    total: Decimal
    ship_to: str = Field("Rome", alias="shipTo")
    lines: dict[Any, Any] = Field(default_factory=dict)


class Point(Struct):
    x: float
    tags: Mapping[Any, Any]


@dataclass
class Part:
    size: float


def nested(depth: int) -> object:
    value: object = []
    for _ in range(depth):
        value = [value]
    return value


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=6,
)
ODD = st.sampled_from(
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        10**5000,
        -(10**MAX_DIGITS),
        10 ** (MAX_DIGITS - 1),
        2**80,
        {1: "a", "1": "b"},
        {True: 1, "true": 2},
        {None: 1, "None": 2},
        {1.5: 1, "1.5": 2},
        {2: "a", None: "b", 2.5: "c", True: "d"},
        {float("nan"): 1},
        {date(2026, 1, 2): 1},
        datetime(2026, 5, 4, 12, tzinfo=UTC),
        Decimal("19.90"),
        Color.RED,
        {Color.RED: Color.RED},
        UUID(int=5),
        b"text",
        b"\xff",
        {3},
        (1, (2,)),
        Order(total=Decimal("1.10")),
        Order(total=Decimal("1.10"), lines={1: 2, "1": 3}),
        Order(total=Decimal("1.10"), lines={"a": float("nan")}),
        Point(1.0, {"a": 1}),
        Point(float("inf"), {}),
        Point(1.0, {1: 1, "1": 2}),
        Part(2.0),
        Part(float("nan")),
        nested(MAX_DEPTH - 1),
        nested(MAX_DEPTH + 1),
        nested(5000),
        object(),
        lambda: None,
    ]
)
VALUES = PLAIN | st.one_of(ODD, st.builds(lambda odd: {"x": [1, odd]}, ODD))
Door = Callable[[Store, object], object]
REFUSED = (InputError, NodeError, DefinitionError)


def run(
    store: Store,
    nodes: Mapping[str, Node],
    *,
    model: ScriptedModel | None = None,
    state: Mapping[str, Any] | None = None,
) -> Run:
    graph = Graph(name="g", model="m", nodes=nodes, output=list(nodes)[-1])
    runner = Runner(graph, store=store, model=model or ScriptedModel("x"))
    return runner.run("hi", session_id="s", run_id="r", state=state)


def stored(store: Store) -> Session:
    return Runner(Graph(name="g", nodes={"a": Python(call=lambda: 1)}), store=store).session("s")


def by_state(store: Store, value: object) -> object:
    run(store, {"a": Python(call=lambda: 1)}, state={"x": value})
    return stored(store).state()["x"]


def by_output(store: Store, value: object) -> object:
    run(store, {"a": Python(call=lambda: value)})
    return stored(store).run("r").records["a"].output


def by_own_state(store: Store, value: object) -> object:
    run(store, {"a": Python(call=lambda: Result(1, state={"x": value}))})  # type: ignore[dict-item]
    return stored(store).get_head().node_states["a"]["x"]


def by_session_state(store: Store, value: object) -> object:
    run(store, {"a": Python(call=lambda: Result(1, session_state={"x": value}))})  # type: ignore[dict-item]
    return stored(store).state()["x"]


class Giving(Node):
    prompts: ClassVar[bool] = False
    provides: ClassVar[Mapping[str, object]] = {"output": object, "x": object}
    value: ClassVar[Any] = None

    async def run(self, context: Context) -> Result:
        return Result(1, fields={"x": self.value})


def by_fields(store: Store, value: object) -> object:
    Giving.value = value
    run(store, {"a": Giving()})
    return stored(store).run("r").records["a"].fields["x"]


def by_tool_state(store: Store, value: object) -> object:
    def put(context: ToolContext) -> str:
        context.session_state["x"] = value  # type: ignore[assignment]  # what this is about
        return "in"

    model = ScriptedModel([call("put", "{}"), "done"])
    run(store, {"a": Member(tools=[put])}, model=model)
    return stored(store).state()["x"]


def call(name: str, arguments: str) -> Reply:
    return Reply("", tool_calls=(ToolCall(id="c", name=name, arguments=arguments),))


def by_restore(store: Store, value: object) -> object:
    other = MemoryStore()
    run(other, {"a": Python(call=lambda: 1)}, state={"x": 1})
    data = stored(other).export()
    data["state"] = {"x": value}
    stored(store).restore(data)
    return stored(store).state()["x"]


def by_params(store: Store, value: object) -> object:
    run(store, {"a": Python(call=lambda x: x, params={"x": value})})  # type: ignore[dict-item]
    return stored(store).run("r").records["a"].output


def by_on_error(store: Store, value: object) -> object:
    def fail() -> None:
        raise ValueError("no")

    run(store, {"a": Python(call=fail, on_error={"value": value})})  # type: ignore[arg-type]
    return stored(store).run("r").records["a"].output


DOORS: Mapping[str, Door] = {
    door.__name__: door
    for door in (
        by_state,
        by_output,
        by_own_state,
        by_session_state,
        by_fields,
        by_tool_state,
        by_restore,
        by_params,
        by_on_error,
    )
}


@pytest.mark.parametrize("door", DOORS)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(value=VALUES, on_disk=st.booleans())
def test_what_enters_by_a_door_is_read_again_or_refused(
    tmp_path_factory: pytest.TempPathFactory, door: str, value: object, on_disk: bool
) -> None:
    folder = tmp_path_factory.mktemp("store")
    store: Store = TinyDBStore(folder) if on_disk else MemoryStore()
    try:
        found = DOORS[door](store, value)
    except REFUSED:
        assert json_problem(value) is not None or door in ("by_params", "by_on_error", "by_restore")
        return
    assert json_problem(value) is None
    assert same(found, to_json(value, "it"))
    fresh: Store = TinyDBStore(folder) if on_disk else store
    text = json.dumps(stored(fresh).export(), allow_nan=False)
    copy = MemoryStore()
    stored(copy).restore(json.loads(text))
    assert stored(copy).state() == stored(fresh).state()


def same(one: object, other: object) -> bool:
    """Equal, and of the same types: 1 and True and 1.0 are different values in JSON."""
    return one == other and json.dumps(one) == json.dumps(other)


@dataclass
class Parcel:
    """A dataclass that is no model."""

    marks: dict[object, int]


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ({"a": [1, float("nan")]}, ("a", 1), "nan is not a number in JSON"),
        ({"a": {"b": 10**5000}}, ("a", "b"), "an integer of more than 4300 digits"),
        ({"a": [{1: 1, "1": 2}]}, ("a", 0), "two keys are both '1' in JSON"),
        ([Parcel({1: 1, "1": 2})], (0, "marks"), "two keys are both '1' in JSON"),
        ([b"\xff"], (0,), "'utf-8' codec can't decode byte 0xff in position 0: invalid utf-8"),
        ({"a": object()}, ("a",), "a object is not JSON"),
    ],
)
def test_a_refusal_names_the_path_and_the_reason(
    value: object, path: tuple[str | int, ...], reason: str
) -> None:
    assert json_problem(value) == (path, reason)
    dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    with pytest.raises(InputError) as caught:
        to_json(value, "the state")
    assert str(caught.value) == (
        f"the state cannot be stored as JSON: {reason} at {dotted.removeprefix('.')!r}; use text, "
        "finite numbers, lists, mappings, or a pydantic model"
    )


def test_a_model_has_the_same_names_wherever_it_enters(tmp_path: Path) -> None:
    order = Order(total=Decimal("1.10"))
    expected = {"total": "1.10", "ship_to": "Rome", "lines": {}}
    for name, door in DOORS.items():
        if name not in ("by_params", "by_on_error", "by_restore"):
            assert door(TinyDBStore(tmp_path / name), order) == expected


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"value": NaN}', "NaN is not a number in JSON"),
        ('{"value": 1e999}', "1e999 is too large a number"),
        ('{"value": 1, "value": 2}', "'value' is a duplicate key in one object"),
        ('{"value": ' + "[" * 150 + "]" * 150 + "}", "nested too deeply"),
        ('{"value": ' + "[" * 100_000 + "]" * 100_000 + "}", "recursion limit exceeded"),
        ('{"value": ' + "9" * 5000 + "}", "number out of range"),
    ],
)
def test_arguments_that_are_no_sound_json_are_told_to_the_model(
    tmp_path: Path, arguments: str, reason: str
) -> None:
    def take(value: JSON) -> str:
        return "taken"

    model = ScriptedModel([call("take", arguments), "done"])
    done = run(TinyDBStore(tmp_path), {"a": Member(tools=[take])}, model=model)
    assert done.answer == "done"
    (result,) = stored(TinyDBStore(tmp_path)).run("r").records["a"].exchanges[0].tool_results
    assert result.content.startswith("error: the arguments of 'take' do not fit: ")
    assert reason in result.content


@pytest.mark.parametrize("arguments", ["", "{}", "null", " null "])
def test_a_tool_without_parameters_needs_no_arguments(arguments: str) -> None:
    def now() -> str:
        return "noon"

    model = ScriptedModel([call("now", arguments), "done"])
    done = run(MemoryStore(), {"a": Member(tools=[now])}, model=model)
    assert done.records["a"].exchanges[0].tool_results[0].content == "noon"


def test_a_choice_that_is_nested_deeply_fails_only_its_node() -> None:
    nodes = {"r": Router(routes={"a": "x"}, default="a"), "a": Python(call=lambda: 1)}
    done = run(MemoryStore(), nodes, model=ScriptedModel("[" * 100_000))
    assert done.records["r"].choices == ("a",)


@pytest.mark.parametrize("message", [3, [{"type": "text"}], b"hello"])
def test_a_message_that_is_not_text_is_not_said_to_be_empty(message: str) -> None:
    with pytest.raises(InputError, match="only text can be sent"):
        Runner(Graph(name="g", nodes={"a": Python(call=lambda: 1)})).run(message)
