"""Five programs as people have them for Agno: only import, db and model lines differ here.

Each program is written once. `<<theirs|ours>>` are the places where the two spellings differ; a
line with one is a line that has to be changed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from teamgraph import Request, ScriptedModel

PLACE = re.compile(r"<<(.*?)\|(.*?)>>")
CHANGED = re.compile(r"^(from|import) |^#|\bdb = |\bmodel=")
"""The lines that may differ: imports, the store, and models."""

USERS = """\
import asyncio

<<from agno.agent import Agent|>>
<<from agno.db.sqlite import SqliteDb|from teamgraph import TinyDBStore>>
<<from agno.models.openai import OpenAIChat|>>
<<from agno.team import Team|from teamgraph.graphs import Agent, Team>>

db = <<SqliteDb(db_file="tmp/data.db")|TinyDBStore("tmp/data")>>

team = Team(
    name="Multi Lingual Team",
    model=<<OpenAIChat(id="gpt-5-mini")|"openai/gpt-5-mini">>,
    db=db,
    members=[
        Agent(name="English Agent", role="You answer questions in English"),
        Agent(name="Chinese Agent", role="You answer questions in Chinese"),
        Agent(name="French Agent", role="You answer questions in French"),
    ],
    respond_directly=True,
    add_history_to_context=True,
    num_history_runs=5,
    show_members_responses=True,
    telemetry=False,
)

first = {"user_id": "user_101", "session_id": "session_101"}
second = {"user_id": "user_102", "session_id": "session_102"}


async def talk():
    await team.aprint_response("Comment ça va ?", **first)
    await team.aprint_response("Raconte-moi une blague.", **first)
    await team.aprint_response("Tell me about quantum physics.", **second)
    await team.aprint_response("What is the speed of light?", **second)
    await team.aprint_response("Give me a summary of our conversation.", **second)


asyncio.run(talk())
"""

SUMMARY = """\
<<from agno.db.sqlite import SqliteDb|from teamgraph import TinyDBStore>>
<<from agno.models.openai import OpenAIChat|>>
<<from agno.team import Team|from teamgraph.graphs import Team>>

db = <<SqliteDb(db_file="tmp/data.db")|TinyDBStore("tmp/data")>>
user_id, session_id = "jon@example.com", "1001"

team = Team(
    model=<<OpenAIChat(id="gpt-5", temperature=0)|{"id": "openai/gpt-5", "temperature": 0}>>,
    members=[],
    db=db,
    enable_session_summaries=True,
)

team.print_response(
    "What can you tell me about quantum computing?",
    stream=True,
    user_id=user_id,
    session_id=session_id,
)
team.print_response(
    "I would also like to know about LLMs?",
    stream=True,
    user_id=user_id,
    session_id=session_id,
)

session_summary = team.get_session_summary(session_id=session_id)
print(f"Session summary: {session_summary.summary}")
"""

MANAGER = """\
<<from agno.db.sqlite import SqliteDb|from teamgraph import TinyDBStore>>
<<from agno.models.openai import OpenAIChat|>>
<<from agno.session import SessionSummaryManager|>>
<<from agno.team import Team|from teamgraph.graphs import SessionSummaryManager, Team>>

db = <<SqliteDb(db_file="tmp/data.db")|TinyDBStore("tmp/data")>>

session_summary_manager = SessionSummaryManager(
    model=<<OpenAIChat(id="gpt-5-nano")|"openai/gpt-5-nano">>,
    session_summary_prompt="Summarize the conversation in very few words:",
)

team = Team(
    model=<<OpenAIChat(id="gpt-5-mini")|"openai/gpt-5-mini">>,
    members=[],
    db=db,
    session_summary_manager=session_summary_manager,
    enable_session_summaries=True,
)
team.print_response("What can you tell me about LLMs?", session_id="1001")
print(team.get_session_summary(session_id="1001").summary)
"""

HISTORY = """\
<<from agno.agent import Agent|>>
<<from agno.models.openai import OpenAIChat|from teamgraph.graphs import Agent>>

agent = Agent(
    model=<<OpenAIChat(id="gpt-5-mini")|"openai/gpt-5-mini">>,
    description="You are a helpful assistant that is always polite, upbeat and positive.",
    add_history_to_context=True,
    num_history_runs=3,
    read_chat_history=True,
)
agent.print_response("Share a 2 sentence horror story", stream=True)
agent.print_response("What was my first message?", stream=True)
for message in agent.get_chat_history():
    print(message.role, message.content)
"""

SEARCH = """\
<<from agno.db.sqlite import SqliteDb|from teamgraph import TinyDBStore>>
<<from agno.models.openai import OpenAIChat|>>
<<from agno.team import Team|from teamgraph.graphs import Team>>

db = <<SqliteDb(db_file="tmp/data.db")|TinyDBStore("tmp/data")>>

team = Team(
    model=<<OpenAIChat(id="gpt-5-mini")|"openai/gpt-5-mini">>,
    members=[],
    user_id="user_1",
    db=db,
    search_session_history=True,
    num_history_sessions=2,
    retries=2,
    tool_call_limit=5,
)

session_1_id = "session_1_id"
session_2_id = "session_2_id"
session_3_id = "session_3_id"
session_4_id = "session_4_id"
session_5_id = "session_5_id"

team.print_response("What is the capital of South Africa?", session_id=session_1_id)
team.print_response("What is the capital of China?", session_id=session_2_id)
team.print_response("What is the capital of France?", session_id=session_3_id)
team.print_response("What is the capital of Japan?", session_id=session_4_id)
team.print_response(
    "What did I discuss in my previous conversations?", session_id=session_5_id
)
"""
PROGRAMS = {
    "users": (USERS, 6),
    "summary": (SUMMARY, 5),
    "manager": (MANAGER, 7),
    "history": (HISTORY, 3),
    "search": (SEARCH, 5),
}
"""Each with the number of its lines that differ."""


def spelled(program: str, ours: bool) -> str:
    return PLACE.sub(lambda found: found[1 + ours], program)


@pytest.mark.parametrize("name", PROGRAMS)
def test_only_import_db_and_model_lines_differ(name: str) -> None:
    program, count = PROGRAMS[name]
    differing = [line for line in program.splitlines() if PLACE.search(line)]
    for line in differing:
        assert CHANGED.search(spelled(line, ours=False)), line
    assert len(differing) == count
    for ours in (True, False):
        ast.parse(spelled(program, ours))


Execute: TypeAlias = "Callable[[str], Answering]"


class Answering(ScriptedModel):
    """Routes by the language, sums up, and otherwise tells which texts it was sent."""

    def __init__(self) -> None:
        super().__init__(self.script)

    def script(self, request: Request) -> Any:  # noqa: ANN401  any answer of a script
        said = [one.content.strip() for one in request.messages[1:]]
        if request.choices:
            french = any(word in said[-1] for word in ("Comment", "Raconte"))
            return "french_agent" if french else "english_agent"
        if request.schema is not None:
            return {"summary": "quanta and LLMs", "topics": []}
        return " / ".join(said)


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Answering]:
    """Runs our spelling of a program in a folder of its own, with a scripted model."""
    monkeypatch.chdir(tmp_path)
    return executed


def executed(name: str) -> Answering:
    model = Answering()
    program = spelled(PROGRAMS[name][0], ours=True)
    program = re.sub(r'model=(\{.*\}|".*?")', "model=MODEL", program)
    exec(compile(program, name, "exec"), {"MODEL": model})  # noqa: S102  as people run it
    return model


def said(request: Request) -> list[str]:
    return [message.content.strip() for message in request.messages[1:]]


def test_users_talk_in_sessions_of_their_own(execute: Execute) -> None:
    *_, last = execute("users").requests
    assert said(last)[::2] == [
        "Tell me about quantum physics.",
        "What is the speed of light?",
        "Give me a summary of our conversation.",
    ]


def test_the_summary_is_that_of_the_user_who_talked(
    execute: Execute, capsys: pytest.CaptureFixture[str]
) -> None:
    execute("summary")
    assert capsys.readouterr().out.endswith("\nSession summary: quanta and LLMs\n")


def test_a_manager_says_how_to_summarize(
    execute: Execute, capsys: pytest.CaptureFixture[str]
) -> None:
    model = execute("manager")
    assert "Summarize the conversation in very few words:" in model.requests[-1].messages[0].content
    assert capsys.readouterr().out.endswith("\nquanta and LLMs\n")


def test_an_agent_without_store_or_session_remembers_what_it_printed(
    execute: Execute, capsys: pytest.CaptureFixture[str]
) -> None:
    model = execute("history")
    first = "Share a 2 sentence horror story"
    assert said(model.requests[-1]) == [first, first, "What was my first message?"]
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert [line.partition(" ")[0] for line in lines] == ["user", "assistant"] * 2
    assert [tool["function"]["name"] for tool in model.requests[0].tools] == ["read_chat_history"]


def test_the_last_two_other_sessions_are_searched(execute: Execute) -> None:
    system = execute("search").requests[-1].messages[0].content
    places = ("South Africa", "China", "France", "Japan")
    assert [place for place in places if place in system] == ["France", "Japan"]
