"""An answer that does not have the form that was asked for is shown to the model once more."""

# ruff: noqa: ANN401  options are what a test makes them
from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from teamgraph import (
    Chunk,
    Graph,
    MemoryStore,
    Message,
    Reply,
    Request,
    Run,
    Runner,
    ScriptedModel,
    ToolCall,
    tool,
)
from teamgraph.errors import AnswerError, BudgetExceeded, DefinitionError, NodeError
from teamgraph.events import NodeFinished, NodeRetried, NodeStarted, PromptRendered, ToolCalled
from teamgraph.kinds import Node
from teamgraph.nodes import Leader, Member, Router, Summarizer

SHAPE = {"city": "str"}
GOOD = '{"city": "Rome"}'
WRONG = '{"town": "Rome"}'
PROBLEM = "'town' is not asked for; 'city' is missing"


def graph(node: Node, **options: Any) -> Graph:
    return Graph(name="g", **{"model": "m", "nodes": {"it": node}, **options})


def asking(node: Node | None = None, **options: Any) -> Graph:
    return graph(node or Member(returns=SHAPE, **options))


def run(declared: Graph, *answers: Any, **options: Any) -> tuple[Run, ScriptedModel]:
    model = ScriptedModel([Reply(each) if isinstance(each, str) else each for each in answers])
    return Runner(declared, model=model).run("hi", **options), model


CASES: dict[str, tuple[Node, str, str, object]] = {
    "member": (Member(returns=SHAPE), WRONG, GOOD, {"city": "Rome"}),
    "leader": (Leader(returns=SHAPE), "It is Rome.", GOOD, {"city": "Rome"}),
    "router": (Router(routes={"last": ""}), "the first", "last", "last"),
    "summarizer": (
        Summarizer(needs="last"),
        '{"summary": 3}',
        '{"summary": "s", "topics": []}',
        "s",
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_wrong_answer_is_repaired_in_an_attempt_of_its_own(kind: str) -> None:
    node, wrong, good, output = CASES[kind]
    nodes = {"it": node, "last": Member(join="always")}
    answers = iter([wrong, good])

    def script(request: Request) -> Reply:
        return Reply(next(answers) if request.schema else "x")

    model = ScriptedModel(script)
    declared = Graph(name="g", model="m", nodes=nodes, output="last")
    events = [*Runner(declared, model=model).stream("hi")]
    record = next(e.record for e in events if isinstance(e, NodeFinished) and e.node == "it")
    assert (record.status, record.output, record.attempt) == ("done", output, 2)
    asked, repaired = record.exchanges
    assert (asked.reply, repaired.reply, repaired.prompt) == (wrong, good, "answer_repair.jinja")
    assert repaired.messages[:-1] == (*asked.messages, Message(role="assistant", content=wrong))
    told = repaired.messages[-1]
    assert told.role == "user"
    assert told.content.startswith("Your answer cannot be used: ")
    assert "Answer with JSON only, in this form:\n{" in told.content
    assert record.usage.calls == 2
    of_it = [e for e in events if e.node == "it"]
    (retried,) = [e for e in of_it if isinstance(e, NodeRetried)]
    assert (retried.attempt, retried.wait) == (1, 0.0)
    assert retried.error.startswith("the answer does not fit: ")
    assert [e.attempt for e in of_it if isinstance(e, NodeStarted)] == [1, 2]
    prompts = [e.prompt for e in of_it if isinstance(e, PromptRendered)]
    assert prompts == [f"{kind}.jinja", "answer_repair.jinja"]
    requests = [each for each in model.requests if each.schema]
    assert requests[0].schema == requests[1].schema
    assert requests[0].choices == requests[1].choices


def test_the_model_reads_what_is_wrong_with_its_answer() -> None:
    told = run(asking(), WRONG, GOOD)[1].requests[1].messages[-1].content
    assert PROBLEM in told


@pytest.mark.parametrize(("repair", "calls"), [(0, 1), (1, 2), (3, 4)])
def test_repairs_are_counted_and_then_the_attempt_fails(repair: int, calls: int) -> None:
    with pytest.raises(NodeError, match=PROBLEM) as caught:
        run(asking(repair=repair), *[WRONG] * 9)
    assert isinstance(caught.value.__cause__, AnswerError)
    assert caught.value.run is not None
    record = caught.value.run.records["it"]
    assert (record.attempt, len(record.exchanges), record.usage.calls) == (calls,) * 3


def test_after_the_repairs_the_rules_of_the_node_apply() -> None:
    again, model = run(asking(retry={"times": 1, "wait": 0.001}), WRONG, WRONG, WRONG, GOOD)
    assert again.records["it"].attempt == 4
    assert len(model.requests[2].messages) == len(model.requests[0].messages), "it begins anew"
    spec = {"id": "m", "fallback": "n"}
    fallen, model = run(asking(model=spec), WRONG, WRONG, GOOD)
    assert [each.model for each in model.requests] == ["m", "m", "n"]
    assert fallen.records["it"].attempt == 3
    instead, _ = run(asking(on_error={"value": {"city": "none"}}), WRONG, WRONG)
    assert instead.records["it"].output == {"city": "none"}
    router = Router(routes={"end": ""}, default="end")
    nodes = {"it": router, "end": Member()}
    by_default, _ = run(graph(router, nodes=nodes, output="end"), "x y", "x y", "hello")
    assert by_default.records["it"].choices == ("end",)


def test_an_answer_that_was_cut_off_is_not_repaired() -> None:
    with pytest.raises(NodeError, match="max_tokens was used up"):
        run(asking(), Reply('{"city": "Ro', finish_reason="length"), GOOD)


def test_a_repair_counts_for_the_budget_and_for_the_time() -> None:
    with pytest.raises(BudgetExceeded):
        run(graph(Member(returns=SHAPE), budget={"calls": 1}), WRONG, GOOD)

    class Slow:
        """Answers at once, and never a second time."""

        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            if request.messages[-1].content != "hi":
                await asyncio.Event().wait()
            yield Reply(WRONG)

    with pytest.raises(NodeError, match=r"no answer within 0\.05 seconds"):
        Runner(asking(timeout=0.05), model=Slow()).run("hi")


def calls(name: str) -> Reply:
    return Reply("", tool_calls=(ToolCall(id="c", name=name, arguments="{}"),))


def look() -> str:
    """Look where it is."""
    return "in Italy"


def test_a_repair_may_call_tools_and_keeps_the_results_of_those_before() -> None:
    declared = asking(Member(returns=SHAPE, tools=[look]))
    answers = [calls("look"), Reply(WRONG), calls("look"), Reply(GOOD)]
    events = [*Runner(declared, model=ScriptedModel(answers)).stream("hi")]
    assert [e.attempt for e in events if isinstance(e, ToolCalled)] == [1, 2]
    record = next(e.record for e in events if isinstance(e, NodeFinished))
    assert (record.output, record.attempt, record.calls) == ({"city": "Rome"}, 2, 2)
    roles = [message.role for message in record.exchanges[-1].messages]
    assert roles == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
        "tool",
    ]


def test_a_call_that_a_person_confirms_in_a_repair_is_executed_once() -> None:
    done: list[str] = []

    @tool(confirm=True)
    def send() -> str:
        """Send it."""
        done.append("sent")
        return "sent"

    declared = asking(Member(returns=SHAPE, tools=[send]))
    store = MemoryStore()
    first = ScriptedModel([Reply(WRONG), calls("send")])
    waiting = Runner(declared, model=first, store=store).run("hi", session_id="s")
    assert (waiting.status, done) == ("waiting", [])
    model = ScriptedModel([Reply(WRONG)])
    runner = Runner(declared, model=model, store=store)
    with pytest.raises(NodeError, match="does not fit"):
        runner.respond(waiting.run_id, {"it/send[1]": "approve"}, session_id="s")
    assert done == ["sent"]
    assert [each.role for each in model.requests[0].messages][-3:] == ["user", "assistant", "tool"]
    last = Runner(declared, model=ScriptedModel([Reply(GOOD)]), store=store)
    assert last.resume(waiting.run_id, session_id="s").records["it"].output == {"city": "Rome"}
    assert done == ["sent"]


def test_the_words_of_a_repair_are_a_template_and_checked_like_any(
    tmp_path: Path,
) -> None:
    own = tmp_path / "answer_repair.jinja"
    own.write_text("Nein, {{ node.id }}: {{ problem }}")
    declared = asking_with(tmp_path)
    told = run(declared, WRONG, GOOD)[1].requests[1].messages[-1]
    assert told == Message(role="user", content=f"Nein, it: {PROBLEM}")
    own.write_text("{{ problm }}")
    with pytest.raises(DefinitionError, match="unknown name 'problm'; did you mean 'problem'"):
        asking_with(tmp_path)


def asking_with(folder: Path) -> Graph:
    return graph(Member(returns=SHAPE), prompt_dirs=[folder])
