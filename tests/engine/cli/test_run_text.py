"""A run as people read it, with the tools that its members called."""

from __future__ import annotations

from teamgraph import Graph, Reply, Runner, ScriptedModel, ToolCall
from teamgraph.engine.cli.runs import run_text
from teamgraph.nodes import Member, Router
from tests.shop import price


def test_tool_calls_and_their_results_stand_with_the_reply_that_made_them() -> None:
    call = ToolCall(id="c", name="price", arguments='{"item": "tea"}')
    script = [Reply("Let me look.", tool_calls=(call,)), Reply("", tool_calls=(call,)), "It is 3."]
    graph = Graph(name="shop", model="m", nodes={"clerk": Member(tools=[price])})
    run = Runner(graph, model=ScriptedModel(script)).run("hello")
    _, first, second, last = run_text(run, ["clerk"], prompts=True).split("  prompt ")[:4]
    assert first.endswith(
        '    reply:\n      Let me look.\n      calls price({"item": "tea"})\n    tool:\n      3\n\n'
    )
    assert second.endswith('    reply:\n      calls price({"item": "tea"})\n    tool:\n      3\n\n')
    assert last.endswith("    reply:\n      It is 3.\n")
    assert "calls price" not in run_text(run, ["clerk"], prompts=False)


def test_the_task_of_a_member_is_told_with_what_came_of_it() -> None:
    router = Router(routes={"clerk": "Prices"}, tasks=True)
    script = ['{"choice": "clerk", "tasks": [{"label": "clerk", "task": "Price the tea."}]}', "3"]
    nodes = {"router": router, "clerk": Member()}
    graph = Graph(name="shop", model="m", nodes=nodes, output="clerk")
    run = Runner(graph, model=ScriptedModel(script)).run("hello")
    told = run_text(run, ["router", "clerk"], prompts=False)
    assert told.count("  task    Price the tea.\n") == 1
    assert told.index("clerk (member)") < told.index("  task ")
