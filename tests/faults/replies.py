"""Replies as no provider should write them: each turn ends as documented, with no traceback."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from teamgraph import Event, Graph, ModelSpec, Runner, SessionKey, Store
from teamgraph.engine.stores.journal.disk import DISK
from teamgraph.errors import ModelError, NodeError
from teamgraph.events import Answer, RunFailed, RunFinished, Token
from teamgraph.nodes import Member, Router
from tests.stub import StubAnswer, StubProvider

from .judge import Counts, Open, at_peace

ODD = (None, True, -1, 1e308, "", "x", "\x00\x1b[2J", "\ud800", [], [1], {}, {"a": {"b": [None]}})
"""Values of every type, control characters and half a surrogate pair among them."""
TEXTS = (
    *("", " \n", "tea", "french", '{"cost": 3}', '{"cost": "3"', "{'cost': 3,}", "[" * 9_000),
    *('{"cost": 1e999}', '{"choice": "french"}', "none", "\ud83d", "a\x00b\x1b[31m", "💚" * 9_000),
)
NAMES = ("price", "prices", "", "answer", "price\ud800", "a b", "x" * 300)
ARGUMENTS = (
    *('{"item": "tea"}', '{"item": ', "", "[]", "null", "{" * 9_000, '{"item": "\\ud800"}'),
    *({"item": "tea"}, None, 5, '{"item": "tea", "item": "bread"}', '{"item": {"a": 1}}'),
)


def price(item: str) -> int:
    """Look up what something costs."""
    return {"tea": 3}[item]


def replies(open_store: Open, trials: int, seed: int) -> Counts:
    """Turns whose model answers at random, streamed or whole; every one is then looked at."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder, StubProvider() as stub:
        at_peace(lambda: _all(open_store(Path(folder), DISK), stub, trials, seed, counts))
    return counts


async def _all(store: Store, stub: StubProvider, trials: int, seed: int, counts: Counts) -> None:
    loop_errors: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: loop_errors.append(str(context["message"])))
    for trial in range(trials):
        chance = random.Random(f"{seed} {trial}")
        what = chance.choice(list(GRAPHS))
        prefix = chance.choice(("openai", "hosted_vllm"))
        runner = Runner(GRAPHS[what](stub.base_url, prefix), store=store)
        stub.reset()
        stub._handler = lambda request, by=chance: _answer(by, is_stream=request.body.get("stream"))
        await _turn(runner, chance, f"{trial} {what}", counts)
        counts.trials += 1
    for error in loop_errors:
        counts.note(error, "wrong")
    await _look(store, trials, counts)
    await store.close()


async def _turn(runner: Runner, chance: random.Random, name: str, counts: Counts) -> None:
    """One turn, to a listener that shows tokens or not, and can take them back or not."""
    events: list[Event] = []
    shows, can_reset = chance.random() < 0.8, chance.random() < 0.3
    session = f"s{name.partition(' ')[0]}"
    end: type[Event] = RunFinished
    try:
        async with asyncio.timeout(60):
            async for event in runner.astream(
                "hello", session_id=session, tokens=shows, resets=can_reset
            ):
                events.append(event)  # noqa: PERF401  what came before the end counts
    except Exception as error:  # noqa: BLE001  a traceback is what is looked for
        end = RunFailed
        if not isinstance(error, NodeError) or not isinstance(error.__cause__, ModelError):
            counts.note(f"{name}: {type(error).__name__}: {error}", "wrong")
        if "Traceback" in str(error) or "\n" in str(error):
            counts.note(f"{name}: {error}", "wrong")
    if not events or not isinstance(events[-1], end):
        counts.note(f"{name}: it ends with {events[-1:]}", "wrong")
    counts.acknowledged += end is RunFinished
    answers = [event.text for event in events if isinstance(event, Answer)]
    said = "".join(event.text for event in events if isinstance(event, Token) and event.answer)
    if answers and shows and not can_reset and said != answers[0]:
        counts.note(f"{name}: told {said[:80]!r}, and the answer is {answers[0][:80]!r}", "wrong")


async def _look(store: Store, trials: int, counts: Counts) -> None:
    """All turns can be read again, and a failed one has moved nothing on."""
    for trial in range(trials):
        key = SessionKey(None, f"s{trial}")
        (turn,) = await store.runs(key)
        run = await store.run(key, turn.run_id)
        head = await store.head(key)
        is_done = turn.status == "done"
        if run is None or (head is not None and head.turns) != is_done or not turn.usage.calls >= 0:
            counts.note(f"{trial}: {turn}", "wrong")


def _one(base: str, prefix: str, **options: Any) -> Graph:  # noqa: ANN401  options of a node
    spec = ModelSpec(id=f"{prefix}/stub", api_base=base)
    return Graph(name="one", model=spec, nodes={"member": Member(**options)})


def _routed(base: str, prefix: str) -> Graph:
    nodes = {
        "router": Router(routes={"french": "French", "german": "German"}),
        "french": Member(),
        "german": Member(),
    }
    spec = ModelSpec(id=f"{prefix}/stub", api_base=base)
    return Graph(name="routed", model=spec, nodes=nodes, output=["french", "german"])


GRAPHS: dict[str, Callable[[str, str], Graph]] = {
    "text": _one,
    "tools": lambda base, prefix: _one(base, prefix, tools=[price]),
    "returns": lambda base, prefix: _one(base, prefix, returns={"cost": "int"}),
    "both": lambda base, prefix: _one(base, prefix, tools=[price], returns={"cost": "int"}),
    "router": _routed,
}


def _answer(chance: random.Random, *, is_stream: bool) -> StubAnswer:
    if chance.random() < 0.05:
        return StubAnswer(
            "some words", fault=chance.choice(("cut", "malformed", "sse_error", "400"))
        )
    message = _message(chance)
    reason = chance.choice(("stop", "stop", "tool_calls", "length", "content_filter", None, "odd"))
    if not is_stream:
        return _whole(_spoilt({"choices": [{"message": message, "finish_reason": reason}]}, chance))
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    events = [{"choices": [{"index": 0, "delta": each}]} for each in _cut(message, chance)]
    usage = {"choices": [], "usage": chance.choice((*ODD, {"prompt_tokens": -5}))}
    made = [json.dumps(_spoilt(each, chance)) for each in (*events, last, usage)]
    if chance.random() < 0.2:
        chance.shuffle(made)
    if chance.random() < 0.1:
        made.insert(chance.randrange(len(made) + 1), chance.choice(("{", "null", '"x"', "[1]", "")))
    return StubAnswer(events=tuple([*made, "[DONE]"] if chance.random() < 0.9 else made))


def _message(chance: random.Random) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": chance.choice(TEXTS)}
    if chance.random() < 0.2:
        message["content"] = chance.choice(([{"type": "text", "text": "tea"}], *ODD))
    if chance.random() < 0.2:
        message["reasoning_content"] = chance.choice(("Hm.", *ODD))
    if chance.random() < 0.1:
        message["thinking_blocks"] = chance.choice(([{"type": "thinking", "thinking": "x"}], *ODD))
    if chance.random() < 0.4:
        message["tool_calls"] = [
            {
                "index": chance.choice((0, 0, number, None, "a")),
                "id": chance.choice(("c", f"c{number}", "", None, 7)),
                "type": "function",
                "function": {"name": chance.choice(NAMES), "arguments": chance.choice(ARGUMENTS)},
            }
            for number in range(chance.randint(1, 4))
        ]
    return message


def _cut(message: dict[str, Any], chance: random.Random) -> list[dict[str, Any]]:
    """The message in pieces: its text in halves, and each call by itself."""
    text = message.pop("content")
    calls = message.pop("tool_calls", [])
    half = len(text) // 2 if isinstance(text, str) else 0
    texts = [text[:half], text[half:]] if half and chance.random() < 0.7 else [text]
    return [message, *({"content": each} for each in texts), *({"tool_calls": [c]} for c in calls)]


def _spoilt(value: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The same, with a value of another type somewhere, now and then."""
    if chance.random() < 0.75:
        return value
    spoilt = json.loads(json.dumps(value))
    place = spoilt
    while True:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not (isinstance(place[key], dict | list) and place[key]) or chance.random() < 0.2:
            place[key] = chance.choice(ODD)
            return spoilt
        place = place[key]


def _whole(content: object) -> StubAnswer:
    data = json.dumps(content).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    return StubAnswer(raw=f"{head}\r\n\r\n".encode() + data)
