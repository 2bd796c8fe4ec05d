"""kill -9 at random moments of runs that ask people: a node that waits, and confirmed tool calls.

The tools are those of members of a swarm, which hand over to each other.

Each process takes one step of the run: it begins it, resumes it, or answers one of its questions.
The tools write what they were called with, and their idempotency keys, into a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from uuid import uuid4

from teamgraph import (
    JSON,
    Graph,
    Reply,
    Request,
    Run,
    Runner,
    ScriptedModel,
    SessionKey,
    Store,
    ToolCall,
    ToolContext,
)
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import InputError, RunError, StoreError
from teamgraph.nodes import Human, Leader, Member, Swarm

from .judge import Counts, Open, at_peace
from .process import Child
from .said import Tell

KEY = SessionKey("ann", "s")
IDS = {"user_id": "ann", "session_id": "s"}
CALLS = "calls.jsonl"
"""What the tools were called with, one line for each execution."""
ANSWERS: Mapping[str, JSON] = {
    "desk[2]/clerk/pay[1]": {"approve": True},
    "desk[2]/clerk/pay[3]": {"approve": True, "arguments": {"amount": 7}},
    "desk[2]/clerk/pay[4]": {"approve": False, "reason": "too much"},
    "desk[2]/clerk/pay[5]": {"approve": True},
    "approve": "yes",
}
"""What is answered; arguments that are not named stay as they are."""
EXECUTED = {
    "r/desk[1]/greeter/note[1]": 0,
    "r/desk[2]/clerk/pay[1]": 100,
    "r/desk[2]/clerk/note[2]": 0,
    "r/desk[2]/clerk/pay[3]": 7,
    "r/desk[2]/clerk/pay[5]": 500,
    "r/desk[2]/clerk/note[6]": 0,
}
"""The amounts of the calls that are executed, by their keys; `pay[4]` is rejected."""


@cache
def refund() -> Graph:
    """A desk with a clerk who pays in two rounds, a person who approves, a leader who answers."""
    members = {
        "greeter": Member(tools=[note], hands_to="clerk"),
        "clerk": Member(tools=[{"call": pay, "confirm": True}, note], hands_to="closer"),
        "closer": Member(),
    }
    return Graph(
        name="refund",
        model="m",
        nodes={
            "desk": Swarm(start="greeter", members=members),
            "approve": Human(prompt="Shall we?\n{{ input.message }}\n", options=["yes", "no"]),
            "say": Leader(needs=["desk", "approve"]),
        },
        output="say",
    )


async def pay(order: int, amount: int, context: ToolContext) -> str:
    """Pay money."""
    return await _write(order, amount, context)


async def note(order: int, context: ToolContext) -> str:
    """Write a note."""
    return await _write(order, 0, context)


async def _write(order: int, amount: int, context: ToolContext) -> str:
    folder = Path(os.environ["FAULTS_CALLS"])
    line = json.dumps([order, amount, context.idempotency_key]) + "\n"
    with (folder / CALLS).open("a", encoding="utf-8") as file:
        file.write(line)
    await asyncio.sleep(0.001)  # a part of the kills come while a tool runs
    return f"done {order}"


def _reply(request: Request) -> Reply | str:
    """Two rounds of tool calls, then a handover; no two replies have the same calls."""
    offered = json.dumps([*request.tools])
    if not request.tools:
        return "All is settled."
    rounds = sum(bool(message.tool_calls) for message in request.messages)
    if '"pay"' not in offered:
        calls = [_call("note"), _hand_over("clerk")]
    elif rounds == 2:
        calls = [_hand_over("closer")]
    elif rounds == 0:
        calls = [_call("pay", amount=100), _call("note"), _call("pay", amount=900)]
    else:
        calls = [_call("pay", amount=400), _call("pay", amount=500), _call("note")]
    return Reply("", tool_calls=tuple(calls))


def _call(name: str, **arguments: int) -> ToolCall:
    order = uuid4().int
    return ToolCall(id=f"c{order}", name=name, arguments=json.dumps({"order": order, **arguments}))


def _hand_over(member: str) -> ToolCall:
    return ToolCall(id="h", name=f"transfer_to_{member}", arguments='{"reason": "your turn"}')


@dataclass
class Seen:
    """What was seen of one run: its questions, and what was answered before which executions."""

    asked: dict[str, float] = field(default_factory=dict[str, float])
    answered: set[str] = field(default_factory=set[str])


def people(open_store: Open, trials: int, seed: int) -> Counts:
    """Kill one process after the other, each of which takes a step of a run; `trials` kills."""
    chosen, counts = random.Random(seed), Counts()
    refund()  # once, and not in every child
    while counts.trials < trials and counts.is_clean:
        with tempfile.TemporaryDirectory() as folder:
            place, seen, run = Path(folder), Seen(), None
            while counts.is_clean and (run is None or run.status != "done"):
                is_killed = counts.trials < trials
                _take(open_store, place, chosen, seen, counts, is_killed=is_killed)
                run = _look(open_store, place, counts)
                if run is not None:
                    _check_questions(run, seen, counts)
            if run is not None:
                counts.acknowledged += len(seen.asked)
                _check_end(run, seen, counts)
                _check_calls(place, run, counts)
    return counts


def _take(
    open_store: Open,
    place: Path,
    chosen: random.Random,
    seen: Seen,
    counts: Counts,
    *,
    is_killed: bool,
) -> None:
    """A process that takes a step, and may be killed at some moment of it."""
    step, moment = chosen.random(), chosen.uniform(0, 0.03)
    child = Child(lambda tell: _take_step(open_store, place, step, tell))
    child.wait_for(1)
    told = child.kill(after=moment) if is_killed else child.end()
    counts.trials += is_killed
    for verb, what in (json.loads(line) for line in told):
        if verb == "answers":
            seen.answered.add(what)
        elif verb == "error":
            counts.note(what, "unreadable")


def _take_step(open_store: Open, place: Path, step: float, tell: Tell) -> None:
    os.environ["FAULTS_CALLS"] = str(place)

    async def take() -> None:
        store = open_store(place / "store", DISK)
        runner = Runner(refund(), store=store, model=ScriptedModel(_reply))
        run = await store.run(KEY, "r")
        tell(json.dumps(["begins", ""]) + "\n")
        try:
            await _step(runner, run, step, tell)
        except (RunError, StoreError, InputError) as error:
            tell(json.dumps(["error", repr(error)]) + "\n")
        await store.close()

    asyncio.run(take())


async def _step(runner: Runner, run: Run | None, step: float, tell: Tell) -> None:
    if run is None:
        await runner.arun("money back", run_id="r", **IDS)
    elif run.status == "waiting":
        question = run.questions[int(step * len(run.questions))]
        tell(json.dumps(["answers", question.path]) + "\n")
        answer = ANSWERS[question.path]
        if isinstance(answer, dict) and "arguments" in answer:
            changed = {**json.loads(question.arguments), **_as_dict(answer["arguments"])}
            answer = {**answer, "arguments": changed}
        await runner.arespond("r", {question.path: answer}, by="boss", **IDS)
    elif run.status != "done":
        await runner.aresume("r", **IDS)


def _look(open_store: Open, place: Path, counts: Counts) -> Run | None:
    found: list[Run | None] = []

    async def look() -> None:
        store: Store = open_store(place / "store", DISK)
        try:
            found.append(await store.run(KEY, "r"))
            run = found[0]
            listed = [hit.turn.run_id for hit in await store.waiting("ann")]
            if run is not None and (run.status == "waiting") != (listed == ["r"]):
                counts.note(f"{run.status}, and {listed} wait", "lost")
        except StoreError as error:
            counts.note(repr(error), "unreadable")
        finally:
            await store.close()

    at_peace(look)
    return found[0] if found else None


def _check_questions(run: Run, seen: Seen, counts: Counts) -> None:
    """Every question that was ever seen is still there, and is the same one."""
    asked = {each.path: each for record in run.records.values() for each in record.questions}
    for path, moment in seen.asked.items():
        if path not in asked:
            counts.note(f"the question {path}", "lost")
        elif asked[path].asked != moment:
            counts.note(f"the question {path}", "again")
    for path, question in asked.items():
        seen.asked.setdefault(path, question.asked)
        response = question.response
        if response is not None and (path not in seen.answered or response.user_id != "boss"):
            counts.note(f"{path} was answered by {response.user_id}", "wrong")
    if run.status == "waiting" and {each.path for each in run.questions} != {*run.turn.waiting}:
        counts.note(f"the turn waits for {run.turn.waiting}", "wrong")


def _check_end(run: Run, seen: Seen, counts: Counts) -> None:
    if {*seen.asked} != {*ANSWERS}:
        counts.note(f"{sorted(seen.asked)} were asked", "lost")
    if run.answer != "All is settled.":
        counts.note(f"the answer is {run.answer}", "wrong")


def _check_calls(place: Path, run: Run, counts: Counts) -> None:
    """Each call has one key and no other has it; none was executed that is not stored."""
    text = (place / CALLS).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    pairs = {(order, key) for order, _, key in lines}
    for what in ({order for order, _ in pairs}, {key for _, key in pairs}):
        if len(what) < len(pairs):
            counts.note(f"calls and keys: {sorted(pairs)}", "wrong")
    exchanges = [each for record in run.records.values() for each in record.exchanges]
    stored = [json.loads(call.arguments) for each in exchanges for call in each.tool_calls]
    orders = {arguments["order"] for arguments in stored if "order" in arguments}
    if lost := {order for order, _ in pairs} - orders:
        counts.note(f"{len(lost)} calls were executed and are not stored", "lost")
    if (paid := {(key, amount) for _, amount, key in lines}) != {*EXECUTED.items()}:
        counts.note(f"executed: {sorted(paid)}", "wrong")


def _as_dict(value: JSON) -> dict[str, JSON]:
    assert isinstance(value, dict)
    return value


ASK = Graph(name="ask", nodes={"ask": Human(options=["yes", "no"])})
USERS = [f"user {number}" for number in range(10)]


def waiting(open_store: Open, trials: int, seed: int) -> Counts:
    """One process makes `trials` runs that wait and ends; another lists and answers them all."""
    del seed
    counts = Counts(trials=trials)
    with tempfile.TemporaryDirectory() as folder:
        told = [
            json.loads(line)
            for work in (_make_waiting, _answer_all)
            for line in Child(
                lambda tell, w=work: asyncio.run(w(open_store, Path(folder), trials, tell)),
                patience=3600,
            ).end()
        ]
    for _, problem in (each for each in told if each[0] == "error"):
        counts.note(problem, "unreadable")
    finished = sorted(run_id for run_id, status in told if status == "done")
    counts.acknowledged = len(finished)
    if finished != sorted(f"r{number}" for number in range(trials)):
        counts.note(f"{len(finished)} of {trials} runs were answered", "lost")
    return counts


async def _make_waiting(open_store: Open, place: Path, trials: int, tell: Tell) -> None:
    del tell
    store = open_store(place, DISK)
    runner = Runner(ASK, store=store)
    for number in range(trials):
        await runner.arun("?", user_id=USERS[number % len(USERS)], run_id=f"r{number}")
    await store.close()


async def _answer_all(open_store: Open, place: Path, trials: int, tell: Tell) -> None:
    store = open_store(place, DISK)
    runner = Runner(ASK, store=store)
    for user in USERS:
        for run in await runner.awaiting(user, limit=trials):
            ids = {"user_id": user, "session_id": run.session_id}
            done = await runner.arespond(run.run_id, {"ask": "yes"}, **ids)
            tell(json.dumps([done.run_id, done.status]) + "\n")
        if left := await runner.awaiting(user):
            tell(json.dumps(["error", f"{len(left)} runs of {user} still wait"]) + "\n")
    await store.close()
