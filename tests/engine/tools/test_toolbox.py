"""Tools as they are declared: in Python, in a graph file, and there and back again."""

from __future__ import annotations

from pathlib import Path

import pytest

from teamgraph import Graph, Runner, ScriptedModel
from teamgraph.errors import DefinitionError, InputError, NodeError
from teamgraph.kinds import Toolbox
from teamgraph.nodes import Leader, Member
from tests.builders import written
from tests.shop import price, put_in_cart

FILE = """
    name: shop
    model: m
    nodes:
      clerk:
        tools: [tests.shop:price, "tests.shop:put_in_cart", read_chat_history]
        max_tool_rounds: 2
      boss: {kind: leader, needs: clerk, tools: search_sessions}
    """


def shop() -> Graph:
    return Graph(
        name="shop",
        model="m",
        nodes={
            "clerk": Member(tools=[price, put_in_cart, "read_chat_history"], max_tool_rounds=2),
            "boss": Leader(needs="clerk", tools="search_sessions"),
        },
    )


def test_a_file_and_python_say_the_same(tmp_path: Path) -> None:
    loaded = Graph.load(written(tmp_path, FILE), allow=["tests"])
    assert loaded == shop()
    loaded.dump(tmp_path / "again.yaml")
    assert Graph.load(tmp_path / "again.yaml", allow=["tests"]) == loaded
    text = (tmp_path / "again.yaml").read_text(encoding="utf-8")
    assert "tests.shop:price" in text
    assert "read_chat_history" in text


def test_a_member_without_tools_is_written_as_before() -> None:
    assert Member(role="r").written() == {"role": "r"}
    assert Member(tools=price).written() == {"tools": ["tests.shop:price"]}


def test_templates_read_names_and_descriptions() -> None:
    graph = Graph(
        name="shop",
        model="m",
        nodes={
            "clerk": Member(
                tools=[price, put_in_cart],
                prompt="{% for tool in node.tools %}\n"
                "{{ tool.name }}: {{ tool.description }}\n{% endfor %}\n",
            )
        },
    )
    model = ScriptedModel("ok")
    Runner(graph, model=model).run("hello")
    (message,) = model.requests[0].messages
    assert message.content == (
        "price: Look up what something costs.\nput_in_cart: Put something into the cart."
    )


@pytest.mark.parametrize(
    ("tools", "told"),
    [
        ("[read_chat_histori]", "did you mean 'read_chat_history'?"),
        ("[zzz]", "there is no session tool 'zzz'; there are read_chat_history, "),
        ("[tests.shop:pric]", "'tests.shop' has no 'pric'; did you mean 'price'?"),
        ("[os:getcwd]", "'os' is not allowed here"),
        ("[tests.shop:NOT_CALLABLE]", "'tests.shop:NOT_CALLABLE' is not a function"),
        ("[tests.shop:price, tests.shop:price]", "two tools are called 'price'; rename one"),
        ("3", "tools: must be a tool or a list of tools"),
        ("[3]", "tools[0]: must be"),
        ("[tests.shop:half_a_tool]", "has no name that a model could call it by"),
    ],
)
def test_tools_that_do_not_hold_are_named_at_their_place(
    tmp_path: Path, tools: str, told: str
) -> None:
    path = written(tmp_path, f"name: shop\nmodel: m\nnodes:\n  clerk: {{tools: {tools}}}\n")
    with pytest.raises(DefinitionError) as caught:
        Graph.load(path, allow=["tests"])
    (problem,) = caught.value.problems
    assert told in str(problem)
    assert problem.line == 4


def test_every_tool_that_does_not_hold_is_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "name: s\nmodel: m\nnodes:\n  a: {tools: [os:x, sys:y]}\n")
    with pytest.raises(DefinitionError) as caught:
        Graph.load(path)
    assert [problem.path for problem in caught.value.problems] == [
        ("nodes", "a", "tools", 0),
        ("nodes", "a", "tools", 1),
    ]
    with pytest.raises(DefinitionError) as caught:
        Member(tools=["one", "two"])
    assert [problem.path for problem in caught.value.problems] == [("tools", 0), ("tools", 1)]


def test_a_function_without_a_name_in_a_module_cannot_be_written() -> None:
    def inner() -> str: ...

    with pytest.raises(DefinitionError, match=r"tools: .*inner', defined inside a function"):
        Member(tools=[inner]).written()


def test_a_function_that_was_only_named_in_python_is_missed_when_the_model_is_asked() -> None:
    graph = Graph(name="s", model="m", nodes={"a": Member(tools=["tests.shop:price"])})
    with pytest.raises(
        NodeError, match=r"the tool .tests\.shop:price. was not resolved at load"
    ) as got:
        Runner(graph, model=ScriptedModel("hello")).run("hello")
    assert isinstance(got.value.__cause__, InputError)


def test_rounds_are_at_least_one() -> None:
    with pytest.raises(DefinitionError, match="max_tool_rounds: must be 1 or more"):
        Member(max_tool_rounds=0)


def test_a_kind_of_ones_own_may_offer_tools() -> None:
    assert [tool["name"] for tool in Toolbox.of([price], rounds=1).shown()] == ["price"]
    assert Member().toolbox() is None
