"""Agno: a workflow of functions; a team whose leader delegates to a member, with SqliteDb."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.models.base import Model
from agno.models.response import ModelResponse
from agno.session.summary import SessionSummaryManager
from agno.team import Team
from agno.workflow import Parallel, Step, StepInput, StepOutput, Workflow

from .work import LATENCY, MEMBERS, MODEL, WINDOW, main, member_for

_SUMMARY = json.dumps({"summary": "They talk about ferries.", "topics": ["ferries"]})


class Scripted(Model):
    """The model: a leader calls the tool that delegates, a summary is its JSON."""

    def __init__(self, role: str) -> None:
        super().__init__(id=role, name="scripted", provider="scripted")
        self.role = role

    async def ainvoke(self, messages: list[Any], *, assistant_message: Any, **_: Any) -> Any:
        assistant_message.metrics.start_timer()
        text = await MODEL.ask(messages)
        assistant_message.metrics.stop_timer()
        if self.role == "leader":
            asked = next(each.content for each in reversed(messages) if each.role == "user")
            arguments = json.dumps({"member_id": member_for(asked), "task": asked})
            function = {"name": "delegate_task_to_member", "arguments": arguments}
            call = {"id": f"call{MODEL.calls}", "type": "function", "function": function}
            return ModelResponse(role="assistant", content="", tool_calls=[call])
        return ModelResponse(role="assistant", content=_SUMMARY if self.role == "summary" else text)

    def invoke(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("the benchmark calls only `ainvoke`")

    def invoke_stream(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("the benchmark calls only `ainvoke`")

    def ainvoke_stream(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("the benchmark calls only `ainvoke`")

    def _parse_provider_response(self, response: Any, **_: Any) -> Any:
        return response

    def _parse_provider_response_delta(self, response: Any) -> Any:
        return response


async def add(before: StepInput) -> StepOutput:
    return StepOutput(content=(before.previous_step_content or 0) + 1)


async def begin(before: StepInput) -> StepOutput:
    return StepOutput(content="0")


async def nap(before: StepInput) -> StepOutput:
    await asyncio.sleep(LATENCY)
    return StepOutput(content="1")


async def count(before: StepInput) -> StepOutput:
    return StepOutput(content=len(before.get_step_output("many").steps))


class Agno:
    """Workflows without a database; the team's session is loaded and saved in each run."""

    def chain(self, length: int) -> Workflow:
        steps = [Step(name=f"n{index}", executor=add) for index in range(length)]
        return Workflow(name="chain", telemetry=False, steps=steps)

    async def run_chain(self, graph: Workflow) -> int:
        return int((await graph.arun(input="go")).content)

    def fan(self, width: int) -> Workflow:
        many = [Step(name=f"n{index}", executor=nap) for index in range(width)]
        first, last = Step(name="first", executor=begin), Step(name="last", executor=count)
        steps = [first, Parallel(*many, name="many"), last]
        return Workflow(name="fan", telemetry=False, steps=steps)

    async def run_fan(self, graph: Workflow) -> int:
        return int((await graph.arun(input="go")).content)

    async def open_team(self, folder: Path) -> Team:
        members = [
            Agent(id=name, name=name, role=name, model=Scripted("member"), telemetry=False)
            for name in MEMBERS
        ]
        return Team(
            id="team",
            name="team",
            model=Scripted("leader"),
            members=members,
            db=SqliteDb(db_file=str(folder / "agno.sqlite")),
            respond_directly=True,
            add_history_to_context=True,
            num_history_runs=WINDOW,
            enable_session_summaries=True,
            session_summary_manager=SessionSummaryManager(model=Scripted("summary")),
            telemetry=False,
        )

    async def turn(self, team: Team, user: str, session: str, text: str) -> str:
        return str((await team.arun(text, user_id=user, session_id=session)).content)

    async def turns(self, team: Team, user: str, session: str) -> int:
        stored = team.get_session(session_id=session)
        runs = stored.runs or [] if stored else []
        return sum(1 for run in runs if run.parent_run_id is None)

    async def close_team(self, team: Team) -> None:
        return None


if __name__ == "__main__":
    main(Agno(), sys.argv[1:])
