"""History: which earlier turns are sent to the model again (completed ones, each once)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from teamgraph import Chunk, Graph, Reply, Request, Runner, ScriptedModel, Store
from teamgraph.errors import ModelError, NodeError
from teamgraph.events import Token
from teamgraph.graphs import Agent, Team
from teamgraph.nodes import HistoryLoader, Member, Route, Router
from tests.memory_team import RepeatingModel, memory_team
from tests.teams import wait_for, words_of

FRENCH = Agent(name="French", role="You answer in French")


class Answering(ScriptedModel):
    """Chooses the first label, summarizes in a few words, and answers `re: ` and the message."""

    def __init__(self, **answers: Any) -> None:  # noqa: ANN401  any answer of a script
        super().__init__(self.script)
        self.answers: Mapping[str, Any] = answers

    def script(self, request: Request) -> Any:  # noqa: ANN401  any answer of a script
        """The next answer to a request."""
        if request.choices:
            return request.choices[0]
        if request.schema is not None:
            return self.answers.get("summary", {"summary": "in short", "topics": []})
        message = request.messages[-1].content
        return self.answers.get(message, f"re: {message}")

    def to_members(self) -> list[list[tuple[str, str]]]:
        """The messages that members were sent, for each request."""
        return [
            [(message.role, message.content) for message in request.messages]
            for request in self.requests
            if request.schema is None and not request.choices
        ]


def said(*messages: str) -> list[tuple[str, str]]:
    """Turns as the model gets them: message and answer; the last one has no answer yet."""
    pairs = [[("user", message), ("assistant", f"re: {message}")] for message in messages]
    return [one for pair in pairs for one in pair][:-1]


class Pausing:
    """Wraps a model; its answer to `pause` stops for ever in the middle."""

    def __init__(self, model: Answering) -> None:
        self.model = model

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        """Stream the answer, or only its beginning."""
        if request.messages[-1].content == "pause" and not request.choices:
            yield Chunk("Once upon ")
            await asyncio.Event().wait()
        async for piece in self.model.ask(request):
            yield piece


@pytest.mark.parametrize("window", [0, 1, 2, 9])
def test_the_window_is_the_last_turns_before_the_message(store: Store, window: int) -> None:
    model = Answering()
    agent = Agent(model=model, store=store, add_history_to_context=True, num_history_runs=window)
    messages = [str(turn) for turn in range(5)]
    for turn, message in enumerate(messages):
        agent.run(message, session_id="s")
        system, *rest = model.to_members()[-1]
        assert system[0] == "system"
        assert rest == said(*messages[max(0, turn - window) : turn + 1])


def test_runs_without_an_answer_are_in_no_history(store: Store) -> None:
    model = Answering(bad=ModelError("down", model="m"))
    team = Team(
        members=[FRENCH],
        model=Pausing(model),
        store=store,
        respond_directly=True,
        add_history_to_context=True,
        enable_session_summaries=True,
    )
    team.run("one", session_id="s")
    with pytest.raises(NodeError, match="down"):
        team.run("bad", session_id="s")

    async def leave_early() -> None:
        async with aclosing(team.astream("pause", session_id="s")) as events:
            async for event in events:
                if isinstance(event, Token):
                    return

    wait_for(leave_early())
    team.run("two", session_id="s")
    assert model.to_members()[-1][1:] == said("one", "two")
    later = "".join(words_of(request) for request in model.requests[-3:])
    assert "bad" not in later
    assert "upon" not in later
    statuses = [turn.status for turn in team.session("s").runs()]
    assert statuses == ["done", "cancelled", "failed", "done"]
    assert [message.content for message in team.get_messages_for_session("s")] == [
        "one",
        "re: one",
        "two",
        "re: two",
    ]


def test_a_turn_that_the_summary_covers_is_not_sent_again(store: Store) -> None:
    def summary_of(request: Request) -> Any:  # noqa: ANN401  any answer of a script
        if request.schema is None:
            return "fine"
        return {"summary": "what was before", "topics": []}

    model = ScriptedModel(summary_of)
    agent = Agent(
        model=model,
        store=store,
        add_history_to_context=True,
        num_history_runs=2,
        enable_session_summaries=True,
    )
    for turn in range(8):
        agent.run(f"turn-{turn}", session_id="s")
        member, summarizer = (words_of(request) for request in model.requests[-2:])
        assert [number for number in range(8) if f"turn-{number}" in member] == [
            number for number in range(turn - 2, turn + 1) if number >= 0
        ]
        assert ("what was before" in member) == (turn > 2)
        assert [number for number in range(8) if f"turn-{number}" in summarizer] == [turn]
        assert ("what was before" in summarizer) == (turn > 0)


@pytest.mark.parametrize("answer", ["no JSON", {"topics": 3}, ModelError("down", model="m")])
def test_a_failed_summary_changes_nothing(store: Store, answer: Any) -> None:  # noqa: ANN401
    model = Answering()
    team = Team(
        members=[FRENCH],
        model=model,
        store=store,
        respond_directly=True,
        enable_session_summaries=True,
    )
    team.run("one", session_id="s")
    old = team.get_session_summary("s")
    assert old is not None
    model.answers = {"summary": answer}
    run = team.run("two", session_id="s")
    assert (run.status, run.answer) == ("done", "re: two")
    assert run.records["summary"].error
    assert team.session("s").run(run.run_id).records["summary"].error
    assert team.get_session_summary("s") == old
    model.answers = {}
    team.run("three", session_id="s")
    summarizer = words_of(model.requests[-1])
    assert "in short" in summarizer
    for message in ("two", "three"):
        assert f"<earlier-message>\n{message}\n</earlier-message>" in summarizer


def test_a_summary_has_its_time_and_the_turns_that_it_covers(store: Store) -> None:
    model = Answering(summary={"summary": "They met.", "topics": ["meeting", "tea"]})
    agent = Agent(model=model, store=store, enable_session_summaries=True)
    run = agent.run("one", session_id="s")
    summary = agent.get_session_summary("s")
    assert summary is not None
    assert (summary.summary, summary.topics, summary.covers) == ("They met.", ("meeting", "tea"), 1)
    assert run.turn.started <= summary.updated <= run.turn.ended


def test_stored_bytes_grow_linearly_with_the_turns(store: Store) -> None:
    team = memory_team(store, Short(), num_history_runs=5)
    sizes: list[int] = []
    for turn in range(32):
        team.run(f"word-{turn:02} " + "x" * 200, session_id="s", user_id="ann")
        if turn % 8 == 7:
            sizes.append(len(json.dumps(team.session("s", user_id="ann").export())))
    second, third, fourth = (after - before for before, after in pairwise(sizes))
    assert fourth <= third * 1.05
    assert third <= second * 1.05


class Short(RepeatingModel):
    """Answers and summarizes in a few words, whatever it was sent."""

    def script(self, request: Request) -> Any:  # noqa: ANN401  any answer of a script
        """The next answer to a request."""
        answer = super().script(request)
        if isinstance(answer, str) and not request.choices:
            return "heard"
        return {"summary": "short", "topics": []} if isinstance(answer, dict) else answer


def test_a_member_with_two_tasks_has_each_of_them_once(store: Store, tmp_path: Path) -> None:
    whats = ("Translate", "Explain", "Explain")
    tasks = [{"label": "french", "task": f"{what} it."} for what in whats]

    def script(request: Request) -> Any:  # noqa: ANN401  any answer of a script
        if request.choices:
            return json.dumps({"choices": ["french", "french"], "tasks": tasks})
        return "done"

    model = ScriptedModel(script)
    own = FRENCH.model_copy(update={"add_history_to_context": True})
    team = Team(members=[own], model=model, store=store)
    run = team.run("one", session_id="s")
    both = "Translate it.\nExplain it."
    assert words_of(model.requests[1]).count(f"<task>\n{both}\n</task>") == 1
    assert len(model.requests) == 3
    assert run.records["french"].task == both
    assert team.session("s").run(run.run_id).records["french"].task == run.records["french"].task
    team.run("two", session_id="s")
    again = [message.content for message in model.requests[4].messages[1:]]
    assert again == [f"one\n\nYour task:\n{both}", "done", "two"]
    (tmp_path / "past_task.jinja").write_text("{{ task }} ({{ message }})")
    own_words = Team(members=[own], model=model, store=store, prompts=[tmp_path])
    own_words.run("three", session_id="s")
    again = [message.content for message in model.requests[7].messages[1:]]
    assert again == [f"{both} (one)", "done", f"{both} (two)", "done", "three"]


def test_the_task_of_a_node_is_all_that_routers_wrote_for_it(store: Store) -> None:
    def script(request: Request) -> Any:  # noqa: ANN401  any answer of a script
        if request.choices:
            tasks = [{"label": label, "task": f"Do {label}."} for label in request.choices]
            return json.dumps({"choices": list(request.choices), "tasks": tasks})
        return "done"

    def routes(*labels: str) -> Router:
        return Router(
            routes={label: Route(to="french") for label in labels}, select="many", tasks=True
        )

    nodes = {"first": routes("a", "b"), "second": routes("c"), "french": Member()}
    graph = Graph(name="g", model="m", nodes=nodes, output="french")
    run = Runner(graph, model=ScriptedModel(script), store=store).run("one")
    assert run.records["french"].task == "Do a.\nDo b.\nDo c."


def test_a_loader_limits_messages_to_whole_turns_in_any_graph(store: Store) -> None:
    model = Answering()
    nodes = {"history": HistoryLoader(messages=3), "member": Member()}
    runner = Runner(Graph(name="g", model="m", nodes=nodes), model=model, store=store)
    for message in ("one", "two", "three"):
        runner.run(message, session_id="s")
    assert model.to_members()[-1][1:] == said("two", "three")
