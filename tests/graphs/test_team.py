"""Teams and agents: the graphs that they build, and what their members are sent."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Never

import pytest

from teamgraph import (
    Graph,
    MemoryStore,
    ModelSpec,
    Reply,
    Request,
    Retry,
    ScriptedModel,
    SessionKey,
    Store,
    ToolCall,
    Turn,
)
from teamgraph.engine.graph.node import graph_in
from teamgraph.errors import (
    DefinitionError,
    InputError,
    ModelError,
    NodeError,
    NoSessionWarning,
    NotFound,
    SessionBusy,
    TeamgraphError,
)
from teamgraph.events import RunFinished, Token
from teamgraph.graphs import Agent, SessionSummaryManager, Team
from teamgraph.graphs.assistant import Assistant
from teamgraph.graphs.options import ALTERNATIVE_METHODS, ALTERNATIVES
from teamgraph.nodes import Member
from tests.teams import holds_together, of, wait_for, words_of

ENGLISH = Agent(name="English Agent", role="You answer in English")
FRENCH = Agent(name="French Agent", role="You answer in French")


def read_chat_history() -> str:
    """Read it in another way."""
    return "nothing"


class Scripted(ScriptedModel):
    """Routes to `choices` with tasks, sums up, and answers as whoever is asked."""

    def __init__(self, *choices: str) -> None:
        super().__init__(self.script)
        self.fails = False
        self.choices = list(choices)

    def script(self, request: Request) -> Any:  # noqa: ANN401  any answer of a script
        if request.choices:
            tasks = [{"label": label, "task": f"task of {label}"} for label in self.choices]
            return json.dumps({"reason": "", "choices": self.choices, "tasks": tasks})
        if request.schema is not None:
            return {"summary": f"summary {len(self.requests)}", "topics": ["words"]}
        if self.fails:
            return ModelError("down", model="m")
        return f"{who(request)} on {request.messages[-1].content.strip()}"

    def last(self, role: str) -> Request:
        """The last request to whoever answers so."""
        asked = reversed(self.requests)
        return next(one for one in asked if system_of(one).startswith(f"You answer {role}"))


def who(request: Request) -> str:
    return system_of(request).split(".")[0].removeprefix("You answer in ").strip()


def system_of(request: Request) -> str:
    return request.messages[0].content


def said(request: Request) -> list[str]:
    """Everything but the system message."""
    return [f"{one.role}: {one.content.strip()}" for one in request.messages[1:]]


def team(**options: Any) -> Team:  # noqa: ANN401  options of a team
    return Team(**({"name": "Languages", "members": [ENGLISH, FRENCH]} | options))


def route(**options: Any) -> Team:  # noqa: ANN401  options of a team
    return team(respond_directly=True, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"respond_directly": True, "add_history_to_context": True, "num_history_runs": 5},
        {"respond_directly": True, "read_chat_history": True, "search_session_history": True},
        {"respond_directly": True, "markdown": True, "add_history_to_context": True},
        {"delegate_to_all_members": True, "markdown": True, "read_tool_call_history": True},
        {"share_member_interactions": True, "add_team_history_to_members": True},
        {"enable_session_summaries": True, "session_summary_prompt": "Name all decisions."},
        {"add_history_to_context": True, "num_history_messages": 4},
        {"members": [team(name="Inner"), ENGLISH], "session_state": {"mood": "calm"}},
        {"model": {"id": "m", "temperature": 0}, "determine_input_for_members": False},
    ],
)
def test_a_team_is_a_graph_that_a_file_can_hold(options: dict[str, Any], tmp_path: Path) -> None:
    built = team(**options)
    built.graph.dump(tmp_path / "team.yaml")
    assert Graph.load(tmp_path / "team.yaml") == built.graph
    assert built.graph.warnings == ()


SCHEMA = {"lang": "english|french", "steps": [{"why": "str"}]}


@pytest.mark.parametrize(
    ("built", "typed"),
    [
        (Agent(name="A", output_schema=SCHEMA), {"a": SCHEMA}),
        (team(output_schema=SCHEMA), {"leader": SCHEMA}),
        (route(output_schema=SCHEMA), {"english_agent": SCHEMA, "french_agent": SCHEMA}),
        (
            route(members=[ENGLISH, Agent(name="B", output_schema="int")], output_schema=SCHEMA),
            {"english_agent": SCHEMA, "b": "int"},
        ),
        (
            route(members=[ENGLISH, team(name="Inner")], output_schema=SCHEMA),
            {"english_agent": SCHEMA, "inner/leader": SCHEMA},
        ),
        (
            team(members=[ENGLISH, route(name="Inner", output_schema="int")]),
            {"inner/english_agent": "int", "inner/french_agent": "int"},
        ),
    ],
)
def test_an_output_schema_is_the_type_of_the_answer(
    built: Assistant, typed: dict[str, object]
) -> None:
    found = {node_id: node.returns for node_id, node in built.graph.nodes.items()}
    for node_id, node in built.graph.nodes.items():
        if isinstance(inner := graph_in(node), Graph):
            found |= {f"{node_id}/{name}": each.returns for name, each in inner.nodes.items()}
    assert {node_id: returns for node_id, returns in found.items() if returns} == typed


def test_an_invalid_output_schema_is_refused_where_it_is_given() -> None:
    with pytest.raises(DefinitionError) as caught:
        Agent(name="A", output_schema={"lang": "strng"})
    (problem,) = caught.value.problems
    assert (problem.path, problem.suggestion) == (("output_schema", "lang"), "str")


def test_the_chosen_member_answers_the_user(store: Store) -> None:
    model = Scripted("french_agent")
    run = route(model=model, store=store).run("Ça va ?", session_id="s")
    assert run.answer == "French on Ça va ?"
    assert run.records["english_agent"].because == "router chose french_agent"
    assert len(model.requests) == 2
    assert "english_agent: You answer in English" in system_of(model.requests[0])


def test_chosen_members_get_tasks_and_the_leader_composes() -> None:
    model = Scripted("english_agent", "french_agent")
    built = team(model=model, description="You lead.", instructions=["Be brief."])
    run = built.run("hello")
    assert "<task>\ntask of english_agent\n</task>" in system_of(model.last("in English"))
    leader = system_of(model.requests[-1])
    assert leader.startswith("You lead.\n")
    assert "- Be brief." in leader
    assert "<finding>\nEnglish on hello\n</finding>" in leader
    assert "- Be brief." in system_of(model.requests[0])
    assert run.answer == "You lead on hello"


def test_a_leader_answers_itself_where_no_member_is_needed() -> None:
    model = Scripted()
    run = team(model=model).run("hello")
    assert run.records["french_agent"].status == "skipped"
    assert "No member was needed" in system_of(model.requests[-1])


def test_members_that_are_given_the_message_get_no_task() -> None:
    model = Scripted("english_agent")  # which writes tasks all the same
    run = team(model=model, determine_input_for_members=False).run("hello")
    assert "tasks" not in json.dumps(model.requests[0].schema)
    assert "task" not in words_of(model.last("in English"))
    assert run.records["english_agent"].task is None


def test_all_members_answer_at_once_and_in_declared_order() -> None:
    met: list[str] = []
    both = asyncio.Event()

    class Meeting:
        async def ask(self, request: Request) -> Any:  # noqa: ANN401  any answer of a script
            if (name := who(request)) in ("English", "French"):
                met.append(name)
                if len(met) == 2:
                    both.set()
                await both.wait()
                if name == "English":
                    await asyncio.sleep(0)
            else:
                met.append(system_of(request))
            yield Reply(f"by {name}")

    wait_for(team(model=Meeting(), delegate_to_all_members=True).arun("hello"))
    leader = met[-1]
    assert leader.index("<finding>\nby English\n</finding>") < leader.index("by French")


def test_members_can_read_what_those_before_them_said() -> None:
    model = Scripted("english_agent", "french_agent")
    team(model=model, share_member_interactions=True).run("hello")
    found = "english_agent said:\n<finding>\nEnglish on hello\n</finding>"
    assert found in system_of(model.last("in French"))
    assert "said:" not in system_of(model.last("in English"))


def test_team_history_with_a_window_of_one_shows_the_turn_before(store: Store) -> None:
    model = Scripted("french_agent")
    built = team(
        model=model, store=store, add_team_history_to_members=True, num_team_history_runs=1
    )
    for message in ("one", "two", "three"):
        built.run(message, session_id="s")
    french = model.last("in French")
    assert "<conversation>\nuser: two\nassistant: " in system_of(french)
    assert "user: one" not in system_of(french)
    assert said(french) == ["user: three"]


def test_a_members_own_history_has_only_its_own_exchanges(store: Store) -> None:
    model = Scripted("english_agent")
    own = Agent(
        name="French Agent",
        role="You answer in French",
        add_history_to_context=True,
        num_history_runs=2,
    )
    built = team(model=model, store=store, members=[ENGLISH, own])
    turns = (*[("french_agent", str(number)) for number in (1, 2)], ("english_agent", "3"))
    for choice, message in (*turns, ("french_agent", "4"), ("french_agent", "5")):
        model.choices = [choice]
        built.run(message, session_id="s")
    task = "Your task:\ntask of french_agent"
    assert said(model.last("in French")) == [
        f"user: 2\n\n{task}",
        "assistant: French on 2",
        f"user: 4\n\n{task}",
        "assistant: French on 4",
        "user: 5",
    ]
    assert said(model.last("in English")) == ["user: 3"]


def test_a_deleted_turn_is_no_longer_in_a_members_own_history(store: Store) -> None:
    own = FRENCH.model_copy(update={"add_history_to_context": True})
    model = Scripted("french_agent")
    built = route(model=model, store=store, members=[own])
    first = built.run("secret", session_id="s")
    built.run("two", session_id="s")
    built.session("s").delete_run(first.run_id)
    built.run("three", session_id="s")
    assert said(model.requests[-1])[:2] == ["user: two", "assistant: French on two"]


def test_a_members_own_history_is_the_same_when_a_run_is_resumed(store: Store) -> None:
    own = FRENCH.model_copy(update={"add_history_to_context": True})
    model = Scripted("french_agent")
    built = route(model=model, store=store, members=[own])
    built.run("one", session_id="s")
    model.fails = True
    with pytest.raises(NodeError, match="down"):
        built.runner.run("two", session_id="s", run_id="r")
    model.fails = False
    built.runner.resume("r")
    assert said(model.requests[-1]) == ["user: one", "assistant: French on one", "user: two"]


def test_the_history_of_a_route_has_the_answer_as_the_assistants_words(store: Store) -> None:
    model = Scripted("french_agent")
    options: dict[str, Any] = {"add_history_to_context": True, "enable_session_summaries": True}
    built = route(model=model, store=store, search_session_history=True, **options)
    built.run("one", session_id="s", user_id="ann")
    assert "<earlier-answer>\nFrench on one\n</earlier-answer>" in words_of(model.requests[-1])
    built.run("two", session_id="s", user_id="ann")
    assert said(model.last("in French")) == [
        "user: one",
        "assistant: French on one",
        "user: two",
    ]
    built.run("three", session_id="t", user_id="ann")
    shown = system_of(model.last("in French"))
    assert "<earlier-answer>\nFrench on two\n</earlier-answer>" in shown
    assert all("None" not in words_of(request) for request in model.requests)


def test_members_see_no_history_that_the_team_keeps_for_its_leader(store: Store) -> None:
    model = Scripted("french_agent")
    built = team(model=model, store=store, add_history_to_context=True, num_history_runs=1)
    for message in ("one", "two", "three"):
        built.run(message, session_id="s")
    assert said(model.last("in French")) == ["user: three"]
    assert said(model.requests[-1]) == [
        "user: two",
        'assistant: You lead the team "Languages" on two',
        "user: three",
    ]


def test_the_number_of_messages_can_be_limited(store: Store) -> None:
    model = Scripted("french_agent")
    built = route(model=model, store=store, add_history_to_context=True, num_history_messages=2)
    for message in ("one", "two", "three"):
        built.run(message, session_id="s")
    assert said(model.requests[-1]) == ["user: two", "assistant: French on two", "user: three"]


def test_a_summary_is_kept_and_shown_without_the_history(store: Store) -> None:
    model = Scripted("french_agent")
    built = route(model=model, store=store, enable_session_summaries=True)
    built.run("one", session_id="s")
    summary = built.get_session_summary("s")
    assert summary is not None
    assert (summary.summary, summary.topics) == ("summary 3", ("words",))
    built.run("two", session_id="s")
    french = model.last("in French")
    assert "<summary>\nsummary 3\n</summary>" in system_of(french)
    assert said(french) == ["user: two"]


def test_a_template_can_say_how_to_summarize() -> None:
    built = route(enable_session_summaries=True, session_summary_prompt="builtin/summarizer.jinja")
    assert built.graph.nodes["summary"].prompt == "builtin/summarizer.jinja"


def test_the_last_other_sessions_are_shown_and_no_more(store: Store) -> None:
    model = Scripted()
    built = team(model=model, store=store, search_session_history=True, num_history_sessions=2)
    for number, place in enumerate(("South Africa", "China", "France", "Japan"), start=1):
        built.run(f"capital of {place}?", session_id=f"s{number}", user_id="ann")
    built.run("what of bob?", session_id="s9", user_id="bob")
    built.run("What did I discuss?", session_id="s5", user_id="ann")
    shown = system_of(model.requests[-1])
    assert shown.index("capital of Japan?") < shown.index("capital of France?")
    assert "China" not in shown
    assert "bob" not in shown
    built.run("And now?", session_id="s5", user_id="ann")
    assert "What did I discuss?" not in system_of(model.requests[-1])


def test_a_member_may_search_for_itself(store: Store) -> None:
    model = Scripted("english_agent", "french_agent")
    options: dict[str, Any] = {"search_session_history": True, "num_history_sessions": 1}
    searching = FRENCH.model_copy(update=options)
    built = team(members=[ENGLISH, searching], model=model, store=store)
    for number in range(3):
        built.run(f"question {number}", session_id=f"s{number}")
    seen = system_of(model.last("in French"))
    assert "question 1" in seen
    assert "question 0" not in seen
    assert "question" not in system_of(model.last("in English"))


def test_who_has_no_other_session_is_shown_none(store: Store) -> None:
    model = Scripted()
    team(model=model, store=store, search_session_history=True).run("hello")
    assert "(there is none)" in system_of(model.requests[-1])


def test_a_tool_that_is_asked_for_twice_is_offered_once() -> None:
    agent = Agent(model=(model := Scripted()), tools="read_chat_history", read_chat_history=True)
    agent.run("hello")
    assert len(model.requests[0].tools) == 1


def test_an_agent_reads_the_history_with_a_tool(store: Store) -> None:
    call = ToolCall(id="c", name="read_chat_history", arguments='{"limit": 1}')
    answers: list[Any] = ["Hello.", Reply("", tool_calls=(call,)), "It was 'first'."]
    model = ScriptedModel(answers)
    agent = Agent(model=model, store=store, read_chat_history=True, session_id="s")
    agent.run("first")
    assert agent.run("What was my first message?").answer == "It was 'first'."
    result = json.loads(model.requests[-1].messages[-1].content)
    assert result == [{"user": "first", "assistant": "Hello."}]


def test_a_team_in_a_team_answers_as_a_member(store: Store) -> None:
    model = Scripted("french_agent")

    def script(request: Request) -> Any:  # noqa: ANN401  any answer of a script
        if request.choices == ("inner",):
            return {"choices": ["inner"], "tasks": [{"label": "inner", "task": "find"}]}
        return model.script(request)

    inner = route(name="Inner", role="You know languages")
    outer = team(name="Outer", members=[inner], model=ScriptedModel(script), store=store)
    run = outer.run("hello", session_id="s")
    assert run.records["inner"].output == "French on find"
    assert run.records["inner/french_agent"].status == "done"
    assert run.answer == 'You lead the team "Outer" on hello'


def test_a_team_in_a_team_is_told_what_the_others_found_and_loads_its_own_history(
    store: Store,
) -> None:
    model = Scripted("english_agent", "inner")

    def script(request: Request) -> Any:  # noqa: ANN401  any answer of a script
        return "french_agent" if request.choices == ("french_agent",) else model.script(request)

    scripted = ScriptedModel(script)
    inner = route(name="Inner", members=[FRENCH], add_history_to_context=True)
    shared: dict[str, Any] = {
        "share_member_interactions": True,
        "add_team_history_to_members": True,
    }
    outer = team(members=[ENGLISH, inner], model=scripted, store=store, **shared)
    for message in ("one", "two"):
        outer.run(message, session_id="s")
    french = next(one for one in reversed(scripted.requests) if who(one) == "French")
    found = "task of inner\n\nenglish_agent said:\n<finding>\nEnglish on {}\n</finding>"
    told, answered, asked = said(french)
    assert (told, asked) == ("user: one", f"user: {found.format('two')}")
    assert answered.startswith('assistant: You lead the team "Languages" on one')


def test_an_agent_has_its_rules_in_its_prompt() -> None:
    agent = Agent(
        name="Poet",
        role="You write",
        description="You are polite.",
        instructions="Be brief.",
        markdown=True,
        model=(model := Scripted()),
    )
    agent.run("hello")
    rules = "- You are polite.\n- Be brief.\n- Format your answer in Markdown."
    assert rules in system_of(model.requests[0])
    assert list(agent.graph.nodes) == ["poet"]
    assert "You are polite." in system_of(asked_of(Agent(description="You are polite.")))


@pytest.mark.parametrize("role", ["", "You write poems"])
def test_an_agent_alone_is_told_the_same_as_a_graph_of_one_member(role: str) -> None:
    graph = Graph(name="Poet", nodes={"poet": Member(role=role)})
    asked = system_of(asked_of(Agent(name="Poet", role=role)))
    assert asked == graph.render()["poet"].messages[0].content
    first = f"{role}." if role else "You are a helpful assistant."
    assert asked == f"{first}\nAnswer the user directly."


def asked_of(agent: Agent) -> Request:
    model = Scripted()
    Agent(**{**dict(agent), "model": model}).run("hello")
    return model.requests[0]


def test_markdown_is_asked_of_whoever_answers() -> None:
    model = Scripted("french_agent")
    route(model=model, markdown=True).run("hello")
    assert "Markdown" in system_of(model.requests[1])


def test_without_a_store_nothing_is_carried_on() -> None:
    model = Scripted("french_agent")
    built = route(model=model, add_history_to_context=True)
    with pytest.warns(NoSessionWarning, match="this run has no store.*db=TinyDBStore"):
        built.run("one", session_id="s")
    built.run("two", session_id="s")  # a second warning would be an error
    assert "one" not in words_of(model.requests[-1])
    with pytest.raises(NotFound):
        built.get_chat_history("s")


def test_without_a_session_every_call_is_one_of_its_own(store: Store) -> None:
    model = Scripted("french_agent")
    built = route(model=model, store=store, add_history_to_context=True)
    ids = {built.run(message, user_id=user).session_id for message in "ab" for user in (None, "u")}
    assert len(ids) == 4
    assert said(model.requests[-1]) == ["user: b"]


def test_two_users_with_one_session_id_never_meet(store: Store) -> None:
    model = Scripted("french_agent")
    options: dict[str, Any] = {"add_history_to_context": True, "enable_session_summaries": True}
    built = route(model=model, store=store, search_session_history=True, **options)
    for number in range(3):
        for user in ("ann", "bob", None):
            before = len(model.requests)
            built.run(f"word-of-{user} {number}", user_id=user, session_id="s")
            others = {"ann", "bob", None} - {user}
            new = "".join(words_of(request) for request in model.requests[before:])
            assert not any(f"word-of-{other}" in new for other in others)
    assert [message.content for message in built.get_chat_history("s", user_id="ann", limit=1)] == [
        "word-of-ann 2",
        "French on word-of-ann 2",
    ]


def test_many_users_at_once_are_never_mixed(store: Store) -> None:
    model = Scripted("french_agent")
    built = route(model=model, store=store, add_history_to_context=True)

    async def talk(user: int, gate: asyncio.Semaphore) -> None:
        for turn in range(3):
            async with gate:
                await built.arun(f"<{user}> {turn}", user_id=f"user {user}", session_id="s")

    async def all_of_them() -> None:
        gate = asyncio.Semaphore(20)
        await asyncio.gather(*(talk(user, gate) for user in range(40)))

    wait_for(all_of_them())
    for request in model.requests:
        if not request.choices:
            mine = request.messages[-1].content.split()[0]
            assert all(mine in message.content for message in request.messages[1:])
    for user in range(40):
        said = built.get_chat_history("s", user_id=f"user {user}")
        assert [one.content for one in said[::2]] == [f"<{user}> {turn}" for turn in range(3)]


@pytest.mark.parametrize("text", ["{{ 7 * 7 }}", "{% raw %}", "{name} $x ${y}", "</task> #}"])
def test_what_people_say_reaches_the_model_as_it_is(store: Store, text: str) -> None:
    model = ScriptedModel(
        lambda request: (
            {"summary": text, "topics": [text]}
            if request.schema is not None and not request.choices
            else "french_agent"
            if request.choices
            else text
        )
    )
    options: dict[str, Any] = {"add_history_to_context": True, "enable_session_summaries": True}
    built = route(model=model, store=store, session_state={"x": text}, **options)
    built.run(text, session_id="s")
    built.run(text, session_id="s")
    assert said(model.requests[-2]) == [f"user: {text}", f"assistant: {text}", f"user: {text}"]
    summary = built.get_session_summary("s")
    assert summary is not None
    assert summary.text == text


def test_the_doors_of_a_session(store: Store) -> None:
    built = route(model=Scripted("french_agent"), store=store, session_state={"mood": "calm"})
    built.run("one", session_id="s", user_id="ann", state={"x": 1})
    mine: dict[str, Any] = {"session_id": "s", "user_id": "ann"}
    assert built.get_session_state("s", user_id="ann") == {"mood": "calm", "x": 1}
    assert built.get_session_name("s", user_id="ann") is None
    built.set_session_name("greetings", **mine)
    assert built.get_session_name(**mine) == "greetings"
    assert built.get_session_summary(**mine) is None
    roles = [message.role for message in built.get_messages_for_session(**mine)]
    assert roles == ["user", "assistant"]
    with pytest.raises(NotFound):
        built.delete_session("s", user_id="bob")
    built.delete_session(**mine)
    with pytest.raises(NotFound):
        built.get_chat_history(**mine)
    with pytest.raises(InputError, match="no session is named"):
        built.get_chat_history()


def test_the_usual_user_and_session_are_those_of_the_constructor(store: Store) -> None:
    agent = Agent(model=Scripted(), db=store, user_id="ann", session_id="s")
    run = agent.run("one")
    assert (run.user_id, run.session_id) == ("ann", "s")
    assert len(agent.get_chat_history()) == 2
    assert agent.run("one", user_id="bob", session_id="t").user_id == "bob"
    for empty in ("session_id", "user_id"):
        ids: dict[str, Any] = {empty: ""}
        for door in (lambda **given: agent.run("one", **given), agent.get_chat_history):
            with pytest.raises(InputError, match=f"{empty} is empty"):
                door(**ids)


@pytest.mark.parametrize("stored", [True, False])
def test_print_response_goes_on_in_one_session_for_each_object_and_user(stored: bool) -> None:
    model = Scripted("french_agent")
    options: dict[str, Any] = {"model": model, "add_history_to_context": True}
    built = route(**options, **({"db": MemoryStore()} if stored else {}))
    other = route(**options)
    with pytest.raises(InputError, match="no session is named"):
        built.get_chat_history()
    built.print_response("one")
    built.print_response("hers", user_id="ann")
    wait_for(other.aprint_response("elsewhere"))
    wait_for(built.aprint_response("two", stream=True))
    assert said(model.requests[-1]) == ["user: one", "assistant: French on one", "user: two"]
    assert [one.content for one in built.get_chat_history()][::2] == ["one", "two"]
    assert [one.content for one in built.get_chat_history(user_id="ann")][::2] == ["hers"]
    built.print_response("three", session_id="s", state={"x": 1})
    assert said(model.requests[-1]) == ["user: three"]
    assert built.get_session_state() == built.get_session_state("s") == {"x": 1}
    built.run("four")
    assert said(model.requests[-1]) == ["user: four"]


def test_the_accessors_mean_the_user_whom_print_response_answered() -> None:
    built = route(model=Scripted("french_agent"), db=MemoryStore(), enable_session_summaries=True)
    built.print_response("one", user_id="ann", session_id="s")
    built.run("hers", user_id="bob", session_id="t")
    assert built.get_session_summary("s") == built.get_session_summary("s", user_id="ann")
    with pytest.raises(NotFound):
        built.get_session_summary("t")
    built.print_response("two", session_id="s")
    assert len(built.get_chat_history("s")) == 2


def test_an_object_that_prints_for_many_remembers_the_newest() -> None:
    agent = Agent(model=Scripted(), db=MemoryStore(), add_history_to_context=True)
    first = agent.print_response("hello", user_id="0").session_id
    last = [agent.print_response("hello", user_id=str(user)) for user in range(1, 101)][-1]
    assert agent.print_response("hello", user_id="100").session_id == last.session_id
    assert agent.print_response("hello", user_id="0").session_id != first


def test_members_are_shown_if_that_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    team(model=Scripted("french_agent"), show_members_responses=True).print_response("hi")
    assert capsys.readouterr().out.startswith("french_agent: French on hi\n")
    route(model=Scripted("french_agent"), show_members_responses=True).print_response("hi")
    assert capsys.readouterr().out == "French on hi\n"


def test_a_folder_is_a_store(tmp_path: Path) -> None:
    agent = Agent(model=Scripted(), db=str(tmp_path / "store"), session_id="s")
    agent.run("hello")
    assert Agent(store=tmp_path / "store", session_id="s").get_chat_history()


def test_an_answer_can_be_streamed_and_printed(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    built = route(model=Scripted("french_agent"), store=store)
    events = list(built.stream("hello", session_id="s"))
    holds_together(events)
    assert isinstance(events[-1], RunFinished)

    async def streamed() -> str:
        found = [event async for event in built.astream("hello", session_id="s")]
        return "".join(event.text for event in of(found, Token) if event.answer)

    assert wait_for(streamed()) == "French on hello"
    built.print_response("hello", stream=True)
    assert capsys.readouterr().out == "French on hello\n"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"respond_directly": True, "delegate_to_all_members": True}, "keep one"),
        ({"delegate_to_all_members": True, "determine_input_for_members": True}, "leave"),
        ({"respond_directly": True, "share_member_interactions": True}, "nothing to share"),
        ({"respond_directly": True, "tools": [print]}, "pass the tools to them"),
        (
            {"members": [team()], "add_team_history_to_members": True},
            "add_team_history_to_members: a team that is a member loads its own history",
        ),
        (
            {"members": [team()], "respond_directly": True, "search_session_history": True},
            "search_session_history: with respond_directly the members search",
        ),
        (
            {"members": [Agent(tools=[read_chat_history])], "read_chat_history": True}
            | {"respond_directly": True},
            "members.0.tools.1: two tools are called 'read_chat_history'",
        ),
        ({"num_team_history_runs": 1}, "no effect without add_team_history_to_members=True"),
        ({"num_history_runs": 1}, "no effect without add_history_to_context=True"),
        ({"num_history_sessions": 1}, "no effect without search_session_history=True"),
        ({"session_summary_prompt": "x"}, "no effect without enable_session_summaries=True"),
        ({"store": MemoryStore(), "db": MemoryStore()}, "'db' is an alias of 'store'"),
        ({"members": "all"}, "must be a list of Agents and Teams"),
        ({"members": [3]}, "must be a list of Agents and Teams"),
        ({"members": [], "respond_directly": True}, "respond_directly has no effect without memb"),
        ({"members": [], "mode": "supervise"}, "mode has no effect without members"),
        ({"respond_directly": True, "system_message": "x"}, "pass system_message to them"),
        (
            {"prompt": "{{ now }}", "system_message": "x"},
            "leave system_message out: write it there",
        ),
        ({"use_json_mode": True}, "a model that is named by its id"),
        ({"use_json_mode": True, "model": ScriptedModel("x")}, "a model that is named by its id"),
        ({"allow_api_base": ["http://x"], "model": ScriptedModel("x")}, "pass it to the object"),
        ({"allow_api_base": "http://x"}, "allow_api_base: must be a list"),
        ({"retries": -1}, "must be a whole number from 0, or {times, wait, max_wait}, not -1"),
        ({"tool_call_limit": 0}, "must be 1 or more"),
        ({"dependencies": {"now": print}}, "dependencies"),
        (
            {"session_summary_manager": SessionSummaryManager(), "session_summary_model": "m"},
            "session_summary_manager has it; leave session_summary_model out",
        ),
        (
            {"members": [Agent(name="a", id="x"), Agent(name="x")]},
            "two members have the node id 'x'",
        ),
        ({"members": [ENGLISH, ENGLISH]}, "two members have the node id 'english_agent'"),
        ({"members": [Agent(name=name) for name in ("a", "a history")]}, "has the id 'a_history'"),
        ({"num_history_runs": -1, "add_history_to_context": True}, "must be 0 or more"),
        ({"model": 3}, "must be a model id"),
        ({"enable_session_summaries": True, "session_summary_model": 3}, "must be a model id"),
        ({"store": 3}, "must be a store"),
        ({"respond_direct": True}, "did you mean 'respond_directly'?"),
        ({"user_id": ""}, "user_id: must not be empty"),
    ],
)
def test_options_that_do_not_hold_together_are_refused(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DefinitionError, match=problem):
        team(**options)


def test_every_conflict_is_told_at_once() -> None:
    with pytest.raises(DefinitionError) as refused:
        team(num_history_runs=1, num_team_history_runs=1, members=[ENGLISH, ENGLISH])
    assert len(refused.value.problems) == 3


def test_ids_are_made_of_names() -> None:
    names = ["Web Searcher", "Übersetzer", "", "3D artist", "中文"]
    built = route(members=[Agent(name=name) for name in names])
    ids = ["web_searcher", "ubersetzer", "member_3", "member_3d_artist", "member_5"]
    assert list(built.graph.answering) == ids


@pytest.mark.parametrize("name", ["Search", "Summary", "History", "Router", "Input", "System"])
def test_a_name_that_means_something_else_is_still_a_name(name: str) -> None:
    options: dict[str, Any] = {"add_history_to_context": True, "enable_session_summaries": True}
    agent = Agent(name=name, search_session_history=True, **options)
    assert list(agent.graph.answering) == [f"member_{name.lower()}"]
    assert agent.graph.warnings == ()
    assert f"member_{name.lower()}" in team(members=[Agent(name=name)], **options).graph.nodes


def test_the_state_of_members_is_a_default_of_the_team() -> None:
    members = [Agent(session_state={"a": 1, "b": 1}), Agent(session_state={"c": 1})]
    built = Team(members=members, session_state={"b": 2})
    assert built.graph.state == {"a": 1, "b": 2, "c": 1}


def test_a_model_may_be_named_with_its_parameters() -> None:
    model: Any = {"id": "m", "temperature": 0}
    assert Agent(model=model).graph.model == ModelSpec(id="m", temperature=0)


def test_what_is_neither_agent_nor_team_builds_nothing() -> None:
    with pytest.raises(DefinitionError, match="base class of Agent and Team"):
        Assistant()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"add_datetime_to_context": True}, "The current time is 2000-01-01 00:00:00+00:00."),
        (
            {"dependencies": {"shop": "Tea"}, "add_dependencies_to_context": True},
            'What you can rely on:\n<values>\n{"shop": "Tea"}\n</values>',
        ),
        (
            {"session_state": {"cart": ["tea"]}, "add_session_state_to_context": True},
            'The state of the conversation:\n<state>\n{"cart": ["tea"]}\n</state>',
        ),
        ({"prompt": "{{ node.params.shop }}", "dependencies": {"shop": "Tea"}}, "Tea"),
        ({"system_message": "Be kind #} to 'all'."}, "Be kind #} to 'all'."),
    ],
)
@pytest.mark.parametrize("kind", [Agent, team, partial(team, members=[])])
def test_options_of_the_prompt_are_in_the_graph(
    kind: Callable[..., Assistant], options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    graph = kind(name="Desk", instructions="Be quick.", **options).graph
    asked = graph.render()[graph.answering[0]].messages[0].content
    assert said in asked
    assert ("Be quick." in asked) == (not {"prompt", "system_message"} & set(options))
    assert graph.warnings == ()
    graph.dump(tmp_path / "desk.yaml")
    assert Graph.load(tmp_path / "desk.yaml") == graph


def test_options_of_running_are_in_the_graph() -> None:
    agent = Agent(name="Poet", id="the poet", model="m", use_json_mode=True, tool_call_limit=2)
    assert agent.graph.model == ModelSpec(id="m", structured="json")
    assert agent.graph.written()["nodes"] == {"the_poet": {"max_tool_rounds": 2}}
    spec: Any = {"id": "m", "temperature": 0}
    built = team(
        members=[agent, Agent(name="B", retries=1)],
        model=spec,
        use_json_mode=True,
        retries=Retry(times=2, wait=1),
        telemetry=True,
    )
    assert built.graph.model == ModelSpec(id="m", temperature=0, structured="json")
    assert built.graph.retry == Retry(times=2, wait=1)
    assert built.graph.nodes["b"].retry == 1
    assert built.graph.nodes["the_poet"].model == ModelSpec(id="m", structured="json")


def test_a_prompt_is_found_in_the_folders_of_whoever_has_it(tmp_path: Path) -> None:
    for who in ("lead", "poet"):
        (tmp_path / who).mkdir()
        (tmp_path / who / f"{who}.jinja").write_text(f"you are the {who}\n")
    poet = Agent(name="Poet", prompt="poet.jinja", prompts=tmp_path / "poet")
    built = team(members=[poet], prompt="lead.jinja", prompts=[tmp_path / "lead"])
    rendered = built.graph.render()
    assert rendered["poet"].messages[0].content == "you are the poet"
    assert rendered["leader"].messages[0].content == "you are the lead"
    with pytest.raises(DefinitionError, match=r"'poet.jinja'"):
        Agent(prompt="poet.jinja")


def test_addresses_are_allowed_for_the_models_that_are_named(tmp_path: Path) -> None:
    base = "http://192.0.2.1:9/v1"
    spec: Any = {"id": "openai/m", "api_base": base}
    refused = Agent(model=spec)
    with pytest.raises(TeamgraphError, match="allow_api_base"):
        refused.run("hi")
    for built in (
        Agent(model=spec, allow_api_base=[base], store=MemoryStore()),
        team(model=spec, members=[Agent(model=ScriptedModel("x"))], allow_api_base=[base]),
    ):
        built.runner._prepare()  # which checks addresses; nothing is asked


def test_a_manager_enables_summaries(store: Store) -> None:
    model = Scripted()
    manager = SessionSummaryManager(model=model, session_summary_prompt="Name all decisions.")
    agent = Agent(model=Scripted(), store=store, session_summary_manager=manager, session_id="s")
    agent.run("hello")
    assert "Name all decisions." in system_of(model.requests[-1])
    summary = agent.get_session_summary()
    assert summary is not None
    assert summary.text == "summary 1"
    with pytest.raises(DefinitionError, match="last_n_runs: no such option here; leave it out"):
        SessionSummaryManager(last_n_runs=3)  # type: ignore[call-arg]  # as Agno's


def test_a_team_without_members_answers_as_an_agent(store: Store) -> None:
    options: dict[str, Any] = {"name": "Desk", "add_history_to_context": True, "tools": [print_it]}
    alone = Team(members=[], **options)
    assert alone.graph == Agent(**options).graph
    outer = team(members=[ENGLISH, alone], model=Scripted("desk"), store=store)
    assert outer.run("hello").records["desk/desk"].status == "done"


def print_it() -> str:
    """Print it."""
    return "printed"


def test_another_graph_has_the_same_accessors(store: Store) -> None:
    for built in (Agent(model="echo", store=store), Agent(model="echo")):
        built.print_response("one")
        changed = built.with_graph(
            Graph(
                name="loud", model="echo", nodes={"a": Member(prompt="{{ input.message|upper }}")}
            )
        )
        assert changed.print_response("two").answer == "echo: TWO"
        assert [one.content for one in changed.get_chat_history()][::2] == ["one", "two"]
        assert built.print_response("three").answer == "echo: three"
    with pytest.raises(InputError, match="graph is a str; give a Graph"):
        built.with_graph("other")  # type: ignore[arg-type]  # wrong


def test_session_state_is_merged_at_every_level_and_state_sets_whole_keys(store: Store) -> None:
    defaults: Any = {"user": {"name": "ann", "likes": {"tea": 1}}, "n": 1}
    agent = Agent(model=Scripted(), store=store, session_id="s", session_state=defaults)
    update: Any = {"user": {"likes": {"jam": 2}}, "list": [1]}
    agent.run("one", session_state=update)
    both = {"name": "ann", "likes": {"tea": 1, "jam": 2}}
    assert agent.get_session_state() == {"user": both, "n": 1, "list": [1]}
    agent.print_response("two", session_state={"n": 2, "x": 1}, state={"x": 2})
    events = list(agent.stream("three", session_state={"list": []}))
    assert isinstance(events[-1], RunFinished)
    wait_for(agent.aprint_response("four", session_state={"user": {"name": None}}))
    state = agent.get_session_state()
    assert state == {"user": {**both, "name": None}, "n": 2, "x": 2, "list": []}
    assert agent.run("other", session_id="t", session_state={"y": 1}).turn.given_state == {"y": 1}
    assert agent.run("new", session_id="u", session_state=update).turn.given_state == {
        "user": {"name": "ann", "likes": {"tea": 1, "jam": 2}},
        "list": [1],
    }
    alone = Agent(model=Scripted(), session_state={"n": 1})
    assert alone.run("hi", session_state={"n": 2}).turn.given_state == {"n": 2}
    with pytest.raises(InputError, match="session_state is a int; give a mapping"):
        agent.run("five", session_state=5)  # type: ignore[arg-type]  # wrong


def test_session_state_is_updated_outside_of_a_run(store: Store) -> None:
    agent = Agent(model=Scripted(), store=store, session_state={"n": 1, "tone": "dry"})
    agent.run("one", session_id="s", user_id="ann", state={"n": 2, "name": "Ann"})
    new = agent.update_session_state({"n": 3}, "s", user_id="ann", remove=["name"])
    assert new == agent.get_session_state("s", user_id="ann") == {"n": 3, "tone": "dry"}
    with pytest.raises(NotFound):
        agent.update_session_state({"n": 4}, "s")


@pytest.mark.parametrize("name", sorted(ALTERNATIVES))
def test_an_option_of_other_spelling_is_told_where_it_is(name: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        team(**{name: True, "respond_direct": True})
    told, slip = refused.value.problems
    assert told.message == f"no such option here; {ALTERNATIVES[name]}"
    assert slip.suggestion == "respond_directly"
    assert name not in Team.model_fields
    for named in re.findall(r"use `?(\w+)`?|\(`(\w+)`\)", told.message):
        assert set(named) & {*Team.model_fields, "a"}


@pytest.mark.parametrize("name", sorted(ALTERNATIVE_METHODS))
def test_a_method_of_agno_names_its_alternative(name: str) -> None:
    built = team()
    with pytest.raises(AttributeError, match=re.escape(ALTERNATIVE_METHODS[name])) as refused:
        getattr(built, name)
    assert str(refused.value).startswith(f"Team has no '{name}'; ")
    assert not hasattr(built, name)
    for named in re.findall(r"use ([a-z_]+)", ALTERNATIVE_METHODS[name]):
        assert hasattr(built, named)
    assert not hasattr(built, "elsewhere")


@pytest.mark.parametrize("name", ["content", "member_responses", "messages", "metrics", "tools"])
def test_an_attribute_of_agnos_run_names_its_alternative(name: str) -> None:
    run = team().run("hello")
    with pytest.raises(AttributeError, match=f"Run has no '{name}'; use ") as refused:
        getattr(run, name)
    first = str(refused.value).partition("; use ")[2].partition(",")[0].partition("[")[0]
    assert hasattr(run, first)
    assert not hasattr(run, "contents")


@pytest.mark.parametrize(("kind", "given"), [(Agent, "Clerk"), (Team, [ENGLISH])])
def test_options_are_passed_by_name(kind: type[Assistant], given: Never) -> None:
    with pytest.raises(DefinitionError, match=f"{kind.__name__} takes its fields by name only"):
        kind(given)


def test_a_busy_session_refuses_a_call_if_that_is_wanted() -> None:
    store = MemoryStore()
    key = SessionKey(None, "s")
    agent = Agent(name="Clerk", model=Scripted(), store=store, session_id="s", busy="reject")

    async def beside() -> None:
        other = Turn(run_id="other", input="hi", graph="g", started=1.0)
        lease = await store.begin(key, other)
        with pytest.raises(SessionBusy):
            await agent.arun("hello")
        await store.release(lease)
        assert (await agent.arun("hello")).status == "done"

    asyncio.run(beside())
    with pytest.raises(DefinitionError, match="busy"):
        Agent(name="Clerk", busy="never")  # type: ignore[arg-type]  # so a user may write
