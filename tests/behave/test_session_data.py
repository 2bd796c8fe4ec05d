"""What a session stores besides its turns: summary, state and usage."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from teamgraph import (
    Change,
    Graph,
    Reply,
    Request,
    Runner,
    ScriptedModel,
    SessionKey,
    Store,
    ToolCall,
    ToolContext,
    Turn,
    Usage,
)
from teamgraph.graphs import Agent, Team
from teamgraph.nodes import Python
from tests.teams import wait_for, words_of


def look(session_state: Any) -> Any:  # noqa: ANN401  any state
    """The session's state as a node sees it."""
    return session_state


def test_the_state_of_a_run_precedes_stored_state_which_precedes_defaults(
    store: Store,
) -> None:
    def runner(**more: Any) -> Runner:  # noqa: ANN401  any value of a state
        default = {"a": "default", "b": "default", "c": ["default"], **more}
        graph = Graph(name="g", state=default, nodes={"look": Python(call=look)})
        return Runner(graph, store=store)

    def seen(asked: Runner, **state: Any) -> Any:  # noqa: ANN401  as above
        return asked.run("hi", session_id="s", state=state).records["look"].output

    first = runner()
    assert seen(first, b="stored", c="stored") == {"a": "default", "b": "stored", "c": "stored"}
    assert seen(first, c="given") == {"a": "default", "b": "stored", "c": "given"}
    assert seen(first) == {"a": "default", "b": "stored", "c": "given"}
    assert first.graph.state == {"a": "default", "b": "default", "c": ["default"]}
    with_another_default = seen(runner(d="new"))
    assert with_another_default == {"a": "default", "b": "stored", "c": "given", "d": "new"}
    assert first.session("s").state() == {"b": "stored", "c": "given"}


def test_a_tool_that_changes_a_default_does_not_change_the_declaration(store: Store) -> None:
    def add(context: ToolContext) -> None:
        """Put something into the cart."""
        context.session_state["cart"].append("tea")  # type: ignore[union-attr]  # it is a list

    def script(request: Request) -> Any:  # noqa: ANN401  any answer of a script
        is_asked = request.messages[-1].role == "user"
        call = ToolCall(id="c", name="add", arguments="{}")
        return Reply("", tool_calls=(call,)) if is_asked else "done"

    agent = Agent(tools=[add], session_state={"cart": []}, model=ScriptedModel(script), store=store)
    for _ in range(2):
        agent.run("hello", session_id="one")
    agent.run("hello", session_id="two")
    assert agent.get_session_state("one") == {"cart": ["tea", "tea"]}
    assert agent.get_session_state("two") == {"cart": ["tea"]}
    assert agent.graph.state == {"cart": []}


class Counting(ScriptedModel):
    """Summarizes as `summary 1`, `summary 2`, ..., and reports the cost of each call."""

    def __init__(self, cost: float | None = 0.5) -> None:
        super().__init__(self.script)
        self.numbers, self.cost = count(1), cost

    def script(self, request: Request) -> Any:  # noqa: ANN401  any answer of a script
        """The next answer to a request."""
        usage = Usage(input_tokens=10, output_tokens=2, calls=1, cost=self.cost)
        if request.schema is not None and not request.choices:
            text = f'{{"summary": "summary {next(self.numbers)}", "topics": ["tea"]}}'
            return Reply(text, usage=usage)
        text = f'{{"choices": ["{request.choices[0]}"]}}' if request.choices else "fine"
        return Reply(text, usage=usage)


@pytest.mark.parametrize("prompt", ["Name every decision.", None])
def test_a_summary_has_its_own_model_and_instructions_and_always_the_turns(
    store: Store, prompt: str | None
) -> None:
    own = Counting()
    agent = Agent(
        model=ScriptedModel("fine"),
        store=store,
        enable_session_summaries=True,
        session_summary_model=own,
        session_summary_prompt=prompt,
    )
    for message in ("one", "two"):
        agent.run(message, session_id="s")
    first, second = own.requests
    assert ("Name every decision." in first.messages[0].content) == bool(prompt)
    earlier = "<earlier-message>\n{}\n</earlier-message>\n<earlier-answer>\nfine\n</earlier-answer>"
    assert earlier.format("one") in words_of(first)
    assert "<summary>\nsummary 1\n</summary>" in words_of(second)
    assert earlier.format("two") in words_of(second)
    assert "<earlier-message>\none\n</earlier-message>" not in words_of(second)


def test_a_summarizer_does_not_read_more_in_a_longer_session(store: Store) -> None:
    own = Counting()
    agent = Agent(
        model=ScriptedModel("fine"),
        store=store,
        enable_session_summaries=True,
        session_summary_model=own,
    )
    for turn in range(30):
        agent.run(f"turn {turn:02}", session_id="s")
    sizes = [len(words_of(request)) for request in own.requests]
    assert max(sizes[10:]) == min(sizes[10:])
    summary = agent.get_session_summary("s")
    assert summary is not None
    assert (summary.text, summary.covers) == ("summary 30", 30)


@pytest.mark.parametrize("cost", [0.5, None])
def test_the_usage_of_a_run_is_the_sum_of_its_model_calls(store: Store, cost: float | None) -> None:
    inner = Team(name="Inner", members=[Agent(name="Deep")])
    members = [inner, Agent(name="Other")]
    model = Counting(cost)
    options: dict[str, Any] = {"enable_session_summaries": True, "delegate_to_all_members": True}
    team = Team(members=members, model=model, store=store, **options)
    run = team.run("hello", session_id="s")
    assert set(run.records) == {
        *("history", "inner", "inner/router", "inner/deep", "inner/leader"),
        *("other", "leader", "summary"),
    }
    calls = 6
    assert len(model.requests) == calls
    per_run = None if cost is None else cost * calls
    assert run.usage == Usage(10 * calls, 2 * calls, 0, calls, per_run)
    team.run("again", session_id="s")
    metrics = team.session("s").metrics()
    twice = None if per_run is None else 2 * per_run
    assert metrics.usage == Usage(20 * calls, 4 * calls, 0, 2 * calls, twice)
    assert (metrics.runs, metrics.turns) == (2, 2)


def test_a_waiting_run_is_in_no_history(store: Store) -> None:
    async def wait() -> None:
        lease = await store.begin(SessionKey(None, "s"), Turn("waiting-run", "wait for me"))
        turn = Turn("waiting-run", "wait for me", status="waiting", answer="half")
        await store.finish(lease, turn, Change())
        await store.release(lease)

    model = Counting()
    options: dict[str, Any] = {"add_history_to_context": True, "enable_session_summaries": True}
    agent = Agent(model=model, store=store, read_chat_history=True, **options)
    agent.run("one", session_id="s")
    wait_for(wait())
    agent.run("two", session_id="s")
    later = "".join(words_of(request) for request in model.requests[-2:])
    assert "one" in later
    assert "wait for me" not in later
    assert "half" not in later
    assert [turn.status for turn in agent.session("s").runs()] == ["done", "waiting", "done"]
