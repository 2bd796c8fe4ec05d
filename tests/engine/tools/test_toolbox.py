"""Tools as they are declared: in Python, in a graph file, and there and back again."""

from __future__ import annotations

from pathlib import Path

import pytest

from teamgraph import Graph, Runner, ScriptedModel, tool
from teamgraph.engine.tools.toolbox import ToolObject
from teamgraph.errors import DefinitionError, InputError, NodeError
from teamgraph.kinds import Toolbox
from teamgraph.nodes import Leader, Member
from tests.builders import written
from tests.shop import PRICE_OF, TILL, Till, price, put_in_cart

FILE = """
    name: shop
    model: m
    nodes:
      clerk:
        tools: [tests.shop:price, "tests.shop:put_in_cart", read_chat_history]
        max_tool_rounds: 2
      boss: {kind: leader, needs: clerk, tools: search_sessions}
    """


class Nothing:
    _hidden = price


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


TOOLKITS = """
    name: shop
    model: m
    nodes:
      clerk:
        tools:
        - tests.shop:TILL
        - tests.shop:PRICE_OF
        - {call: tests.shop:price, timeout: 2.5, max_result: 2000}
        - {call: tests.shop:put_in_cart, timeout: 5}
      boss:
        needs: clerk
        tools: tests.shop:TILL.count
    """


def test_objects_in_a_file_and_in_python_say_the_same(tmp_path: Path) -> None:
    loaded = Graph.load(written(tmp_path, TOOLKITS), allow=["tests"])
    priced: dict[str, object] = {"call": price, "timeout": 2.5, "max_result": 2000}
    cart = {"call": put_in_cart, "timeout": 5}
    clerk = Member(tools=[TILL, PRICE_OF, priced, cart])
    nodes = {"clerk": clerk, "boss": Member(needs="clerk", tools=TILL.count)}
    assert loaded == Graph(name="shop", model="m", nodes=nodes)
    loaded.dump(tmp_path / "again.yaml")
    again = (tmp_path / "again.yaml").read_text(encoding="utf-8")
    named = ("shop:TILL\n", "shop:PRICE_OF\n", "timeout: 2.5", "timeout: 5", "shop:TILL.count")
    assert [each for each in named if each not in again] == []
    assert Graph.load(tmp_path / "again.yaml", allow=["tests"]) == loaded
    toolbox = clerk.toolbox()
    assert toolbox is not None
    assert [*toolbox.tools] == ["count", "pay", "price_of", "price", "put_in_cart"]
    with pytest.raises(DefinitionError, match="an object of 'Till' cannot be written to a file"):
        clerk.written()


def test_the_condition_of_a_method_is_checked_like_any_other() -> None:
    class Bank:
        @tool(confirm="arguments.amout > 100")
        def pay(self, amount: int) -> str:
            """Pay."""
            return f"{amount}"

        @tool(confirm="arguments.order > 1")
        def cancel(self, order: int) -> str:
            """Cancel."""
            return f"{order}"

    with pytest.raises(DefinitionError, match="'amout'"):
        Graph(name="bank", model="m", nodes={"clerk": Member(tools=[Bank()])})


def test_the_fingerprint_of_an_object_has_no_address() -> None:
    assert {ToolObject(TILL), ToolObject(TILL, "tests.shop:TILL")} == {ToolObject(TILL)}
    assert ToolObject(Till()) != ToolObject(TILL)
    assert ToolObject(Till()).facts == "tests.shop:Till"
    assert ToolObject(TILL.count, "tests.shop:TILL.count").facts == "tests.shop:Till.count"


def test_a_tool_without_a_docstring_is_a_warning(tmp_path: Path) -> None:
    def bare() -> str:
        return ""

    graph = Graph(name="s", model="m", nodes={"a": Member(tools=[price, bare])})
    (problem,) = graph.warnings
    assert (problem.code, problem.severity) == ("G111", "warning")
    assert problem.path == ("nodes", "a", "tools", 1)
    assert "the tool 'bare' has no docstring" in problem.message


def test_an_object_without_methods_is_no_tool() -> None:
    with pytest.raises(DefinitionError, match="an object of 'Nothing' has no public method that"):
        Member(tools=[Nothing()])


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
        ("[tests.shop:NOT_CALLABLE]", "'tests.shop:NOT_CALLABLE' is not a function, and no object"),
        ("[tests.shop:Till]", "'Till' is a class; make an object of it"),
        ("[tests.shop:ToolContext]", "'ToolContext' is a class"),
        ("[{call: tests.shop:price}]", "it has no option; add `confirm: true` if a person is to"),
        ("[{call: tests.shop:price, timeout: 0}]", "timeout: must be more than 0"),
        ("[{call: tests.shop:price, max_result: 0}]", "max_result: must be more than 0"),
        ("[{call: tests.shop:price, max_results: 9}]", "did you mean 'max_result'?"),
        ("[tests.shop:price, tests.shop:price]", "two tools are called 'price'; rename one"),
        ("3", "tools: must be a tool or a list of tools"),
        ("[3]", "must be a function or an object with methods, their name, or a graph"),
        ("[{call: 3, timeout: 1}]", "call: must be a function or an object with methods, or its"),
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
