"""Spans of runs: what is inside of what, how each ends, and what they say."""

# ruff: noqa: ANN401  options of a node
from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextvars import Context as ContextVars
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from teamgraph import (
    Chunk,
    Event,
    Graph,
    Reply,
    Request,
    Retry,
    Runner,
    ScriptedModel,
    ToolCall,
    Usage,
)
from teamgraph.errors import DefinitionError, InputError, ModelError, NodeError
from teamgraph.events import RunCancelled, RunFinished
from teamgraph.graphs import Agent
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import Human, Leader, Loop, Map, Member, Python, Router, SubGraph, Swarm
from teamgraph.server import create_app
from teamgraph.tracing import OpenTelemetry
from tests.teams import alone, cancelled_at, desk, desk_model, heard

WORD = "xyzzy"


class Traced:
    """A listener, and the spans that it has made."""

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("a caller")
        self.listener = OpenTelemetry(self.provider, **options)

    def runner(self, graph: Graph, answer: Any = None, **options: Any) -> Runner:
        model = ScriptedModel(answer) if answer is not None else None
        return Runner(graph, **{"model": model, "listeners": [self.listener], **options})

    @property
    def spans(self) -> list[ReadableSpan]:
        """All that have ended, in the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def tree(self) -> list[str]:
        """The names of the spans, each below its parent and indented."""
        lines: list[str] = []

        def add(parent: int | None, indent: str) -> None:
            for span in self.spans:
                if (span.parent.span_id if span.parent else None) == parent:
                    lines.append(indent + span.name)
                    add(span.context.span_id, indent + "  ")

        add(None, "")
        assert len(lines) == len(self.spans), "some span has a parent that has not ended"
        return lines

    def one(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def errors(self) -> dict[str, Any]:
        """The types of the errors, by the names of the spans that have one."""
        found = {
            span.name: (span.attributes or {})["error.type"]
            for span in self.spans
            if "error.type" in (span.attributes or {})
        }
        not_ok = {span.name for span in self.spans if not span.status.is_ok}
        assert not_ok == set(found)
        return found


@pytest.fixture
def traced() -> Traced:
    return Traced()


def call(name: str, call_id: str = "1", **arguments: str) -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=json.dumps(arguments))


def after_tools(*calls: ToolCall) -> Callable[[Request], Any]:
    """What a model answers that first makes these calls."""

    def answer(request: Request) -> Any:
        is_first = bool(request.tools) and request.messages[-1].role != "tool"
        return Reply("", tool_calls=calls) if is_first else "done"

    return answer


def test_a_routed_team_side_by_side_members_and_their_calls_are_in_the_run(traced: Traced) -> None:
    nodes = {
        "router": Router(routes={"one": "One", "two": "Two", "three": "Three"}, select="many"),
        "one": Member(),
        "two": Member(),
        "three": Member(),
        "lead": Leader(needs=["one", "two", "three"]),
    }
    graph = Graph(name="g", model="azure/gpt", nodes=nodes)
    run = traced.runner(graph, lambda request: ["one", "two"] if request.choices else "said").run(
        "hi", session_id="s"
    )
    assert traced.tree() == [
        "invoke_workflow g",
        *("  invoke_agent router", "    chat gpt"),
        *("  invoke_agent one", "    chat gpt"),
        *("  invoke_agent two", "    chat gpt"),
        *("  invoke_agent lead", "    chat gpt"),
    ]
    for span in traced.spans:
        facts = span.attributes or {}
        assert (facts["gen_ai.conversation.id"], facts["teamgraph.run.id"]) == ("s", run.run_id)
    chat = traced.spans[2]
    assert chat.kind is trace.SpanKind.CLIENT
    facts = chat.attributes or {}
    assert facts["gen_ai.provider.name"] == "azure.ai.openai"
    assert facts["gen_ai.response.finish_reasons"] == ("stop",)
    usage = run.records["router"].usage
    assert facts["gen_ai.usage.input_tokens"] == usage.input_tokens > 0
    assert facts["gen_ai.usage.output_tokens"] == usage.output_tokens > 0
    assert (traced.spans[0].attributes or {})["teamgraph.run.status"] == "done"


def swarm() -> Node:
    members = {"desk": Member(hands_to="sales"), "sales": Member()}
    return Swarm(members=members, start="desk")


@pytest.mark.parametrize(
    ("nodes", "answer", "tree"),
    [
        (
            {"team": SubGraph(graph=alone())},
            "said",
            ["  invoke_workflow team", "    invoke_agent member", "      chat m"],
        ),
        (
            {"again": Loop(graph=Member(), until="round.number == 2", max=3)},
            "said",
            ["  invoke_workflow again", *["    invoke_agent again", "      chat m"] * 2],
        ),
        (
            {"each": Map(over="['a', 'b']", graph=Member())},
            "said",
            ["  invoke_workflow each", *["    invoke_agent each", "      chat m"] * 2],
        ),
        (
            {"swarm": swarm()},
            lambda request: (
                Reply("", tool_calls=(call("transfer_to_sales", reason="so"),))
                if request.tools
                else "sold"
            ),
            [
                "  invoke_workflow swarm",
                *("    invoke_agent desk", "      chat m", "      execute_tool transfer_to_sales"),
                *("    invoke_agent sales", "      chat m"),
            ],
        ),
        (
            {
                "lead": Member(
                    tools=[alone(description="helps").model_copy(update={"name": "help"})]
                )
            },
            after_tools(call("help", "1", message="a"), call("help", "2", message="b")),
            [
                *("  invoke_agent lead", "    chat m"),
                *["    execute_tool help", "      invoke_agent member", "        chat m"] * 2,
                "    chat m",
            ],
        ),
        (
            {"tidy": Python(call=lambda message: message), "end": Member(needs="tidy")},
            "said",
            ["  python tidy", "  invoke_agent end", "    chat m"],
        ),
    ],
)
def test_what_runs_inside_a_node_is_inside_its_span(
    traced: Traced, nodes: Any, answer: Any, tree: list[str]
) -> None:
    traced.runner(Graph(name="g", model="m", nodes=nodes), answer).run("hi")
    assert traced.tree() == ["invoke_workflow g", *tree]
    paths = [(span.attributes or {}).get("teamgraph.node.path") for span in traced.spans]
    numbered = [path for path in paths if path is not None]
    assert len(numbered) == len(set(numbered))


def test_the_callers_span_is_around_the_run_and_is_current_again_after_it(traced: Traced) -> None:
    runner = traced.runner(alone(), "said")

    async def in_a_task() -> None:
        with traced.tracer.start_as_current_span("task") as span:
            await runner.arun("hi")
            assert trace.get_current_span() is span
            async for _ in runner.astream("hi"):
                assert trace.get_current_span() is span

    with traced.tracer.start_as_current_span("thread") as span:
        runner.run("hi")
        heard(runner)
        assert trace.get_current_span() is span
    asyncio.run(in_a_task())
    run = ["  invoke_workflow alone", "    invoke_agent member", "      chat m"]
    assert traced.tree() == ["thread", *run, *run, "task", *run, *run]


def test_spans_of_a_users_own_are_inside_what_they_belong_to(traced: Traced) -> None:
    inner = traced.runner(alone(), "inner")

    def look(where: str) -> str:
        """Look up."""
        with traced.tracer.start_as_current_span(f"look {where}"):
            return where

    class Asks(Node):
        prompt: str = "member.jinja"

        async def run(self, context: Context) -> Result:
            with traced.tracer.start_as_current_span("my own"):
                return Result(await context.ask("member.jinja"))

    nodes: dict[str, Node] = {
        "clerk": Member(tools=[look]),
        "sub": Python(call=lambda message: inner.run(message).answer, needs="clerk"),
        "own": Asks(needs="sub"),
    }
    answer = after_tools(call("look", "1", where="up"), call("look", "2", where="down"))
    traced.runner(Graph(name="g", model="m", nodes=nodes), answer).run("hi")
    assert traced.tree() == [
        "invoke_workflow g",
        *("  invoke_agent clerk", "    chat m"),
        *("    execute_tool look", "      look up"),
        *("    execute_tool look", "      look down"),
        "    chat m",
        *(
            "  python sub",
            "    invoke_workflow alone",
            "      invoke_agent member",
            "        chat m",
        ),
        *("  invoke_agent own", "    my own", "      chat m"),
    ]


def fails(city: str) -> str:
    """Fails."""
    raise ValueError(f"no {city} {WORD}")


def with_secrets(traced: Traced) -> Runner:
    """Runs with the secret word in each text: a tool that fails, one that is not there, errors."""
    asked = 0

    def answer(request: Request) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            calls = (call("fails", city=WORD), call("\ud800", "2"))
            return Reply(WORD, tool_calls=calls)
        return ModelError(WORD, model="m", retryable=asked == 2)

    node = Member(tools=[fails], retry=Retry(times=1, wait=0.001))
    return traced.runner(Graph(name="g", model="m", nodes={"one": node}), answer)


def parts(span: ReadableSpan, name: str) -> list[Any]:
    """The parts of all messages in an attribute."""
    messages = json.loads(str((span.attributes or {})[name]))
    return [part for message in messages for part in message["parts"]]


def test_content_is_recorded_only_on_request(traced: Traced) -> None:
    with pytest.raises(NodeError):
        with_secrets(traced).run(WORD, user_id="ann")
    text = "".join(span.to_json() for span in traced.spans)
    assert WORD not in text
    assert "ann" not in text

    told = Traced(content=True)
    with pytest.raises(NodeError):
        with_secrets(told).run(WORD, user_id="ann")
    first, second, _ = [span for span in told.spans if span.name == "chat m"]
    asked = {
        "type": "tool_call",
        "id": "1",
        "name": "fails",
        "arguments": f'{{"city": "{WORD}"}}',
    }
    said = {"type": "text", "content": WORD}
    assert parts(first, "gen_ai.output.messages")[:2] == [said, asked]
    result = parts(second, "gen_ai.input.messages")[-2]
    assert (result["type"], result["id"]) == ("tool_call_response", "1")
    facts = told.one("execute_tool fails").attributes or {}
    assert facts["gen_ai.tool.call.arguments"] == asked["arguments"]
    assert facts["gen_ai.tool.call.result"] == result["response"]
    run = told.spans[0]
    assert (run.attributes or {})["user.id"] == "ann"
    assert parts(run, "gen_ai.input.messages") == [said]
    assert WORD in (run.status.description or "")


def test_errors_are_recorded_where_they_happened(traced: Traced) -> None:
    with pytest.raises(NodeError):
        with_secrets(traced).run("hi")
    assert traced.errors() == {
        "execute_tool fails": "failed",
        "execute_tool ?": "unknown",
        "chat m": "ModelError",
        "invoke_agent one": "ModelError",
        "invoke_workflow g": "ModelError",
    }
    assert traced.tree() == [
        *("invoke_workflow g", "  invoke_agent one", "    chat m"),
        *("    execute_tool fails", "    execute_tool ?", "    chat m", "    chat m"),
    ]
    (retried,) = traced.one("invoke_agent one").events
    facts = retried.attributes or {}
    assert (retried.name, facts["error.type"]) == ("teamgraph.node.retried", "ModelError")


def test_an_error_that_ends_nothing_is_that_of_the_call(traced: Traced) -> None:
    class Tries(Node):
        prompt: str = "member.jinja"

        async def run(self, context: Context) -> Result:
            try:
                return Result(await context.ask("member.jinja"))
            except ModelError:
                return Result(await context.ask("member.jinja"))

    nodes: dict[str, Node] = {
        "tries": Tries(),
        "given": Member(needs="tries", on_error={"value": "instead"}),
        "end": Leader(needs="given"),
    }
    broken = ModelError("no", model="m")
    model = ScriptedModel([broken, "again", broken, "end"])
    traced.runner(Graph(name="g", model="m", nodes=nodes), model=model).run("hi")
    assert traced.tree() == [
        "invoke_workflow g",
        *("  invoke_agent tries", "    chat m", "    chat m"),
        *("  invoke_agent given", "    chat m", "  invoke_agent end", "    chat m"),
    ]
    assert traced.errors() == {"chat m": "_OTHER"}


def test_a_call_in_a_context_of_its_own_is_in_its_node(traced: Traced) -> None:
    asked = asyncio.Event()

    class Apart(Node):
        prompt: str = "member.jinja"

        async def run(self, context: Context) -> Result:
            ask = context.ask("member.jinja")
            answer = await asyncio.create_task(ask, context=ContextVars())
            asked.set()
            return Result(answer)

    async def beside(message: str) -> str:
        await asked.wait()
        return message

    nodes: dict[str, Node] = {"beside": Python(call=beside), "apart": Apart()}
    inner = Graph(name="inner", model="m", nodes=nodes, output="apart")
    graph = Graph(name="g", nodes={"team": SubGraph(graph=inner)})
    traced.runner(graph, "said").run("hi")
    assert traced.tree() == [
        "invoke_workflow g",
        *("  invoke_workflow team", "    python beside", "    invoke_agent apart", "      chat m"),
    ]


def test_an_answer_that_comes_after_its_attempt_has_failed_changes_nothing(traced: Traced) -> None:
    go = asyncio.Event()

    class Two(Node):
        prompt: str = "member.jinja"

        async def run(self, context: Context) -> Result:
            async def twice() -> None:
                await context.ask("member.jinja")
                await context.ask("member.jinja")

            try:
                await asyncio.gather(twice(), context.ask("member.jinja"))
            finally:
                go.set()
            return Result("two")

    class Slow:
        asked = 0

        async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
            self.asked += 1
            if self.asked == 1:
                await go.wait()
                await asyncio.sleep(0)
            elif self.asked == 2:
                raise ModelError("no", model="m", retryable=True)
            yield Reply("late")

    graph = Graph(name="g", model="m", nodes={"two": Two(retry=Retry(times=1, wait=0.001))})
    traced.runner(graph, model=Slow()).run("hi")
    assert traced.tree() == ["invoke_workflow g", "  invoke_agent two", *["    chat m"] * 6]
    assert [span.status.is_ok for span in traced.spans] == [True] * 2 + [False] * 2 + [True] * 4


def test_all_spans_of_a_cancelled_run_end(traced: Traced) -> None:
    reached = asyncio.Event()

    async def waits(message: str) -> str:
        reached.set()
        await asyncio.Event().wait()
        return message

    async def main() -> None:
        await cancelled_at(
            reached, traced.runner(Graph(name="g", nodes={"slow": Python(call=waits)}))
        )

    asyncio.run(main())
    assert traced.tree() == ["invoke_workflow g", "  python slow"]
    assert traced.errors() == {"invoke_workflow g": "cancelled", "python slow": "cancelled"}


def test_a_run_whose_event_loop_is_dropped_tells_its_end(traced: Traced) -> None:
    async def waits(message: str) -> None:
        await asyncio.Event().wait()

    events: list[Event] = []
    graph = Graph(name="g", nodes={"slow": Python(call=waits)})
    runner = traced.runner(graph, listeners=[events.append, traced.listener])
    loop = asyncio.new_event_loop()
    task = loop.create_task(runner.arun("hi"))
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert traced.spans == []
    task.get_coro().close()
    loop.close()
    assert traced.errors() == {"invoke_workflow g": "cancelled", "python slow": "cancelled"}
    assert isinstance(events[-1], RunCancelled)


def test_a_node_that_waits_for_a_person_does_not_enclose_what_follows(traced: Traced) -> None:
    nodes: dict[str, Node] = {
        "ask": Human(prompt="May I?\n", options=["yes", "no"]),
        "other": Member(),
        "end": Leader(needs=["ask", "other"]),
    }
    graph = Graph(name="g", model="m", nodes=nodes, max_parallel=1)
    runner = traced.runner(graph, "said")
    run = runner.run("hi")
    waiting = ["invoke_workflow g", "  human ask", "  invoke_agent other", "    chat m"]
    assert traced.tree() == waiting
    assert (traced.spans[0].attributes or {})["teamgraph.run.status"] == "waiting"
    runner.respond(run.run_id, {"ask": "yes"})
    answered = ["invoke_workflow g", "  human ask", "  invoke_agent end", "    chat m"]
    assert traced.tree() == [*waiting, *answered]
    assert traced.errors() == {}


def test_times_are_those_of_the_events(traced: Traced) -> None:
    events: list[Event] = []
    runner = traced.runner(alone(), "said", listeners=[traced.listener, events.append])
    runner.run("hi")
    run, node, chat = traced.spans
    times = [round(event.time * 1e9) for event in events]
    assert (run.start_time, run.end_time) == pytest.approx((times[0], times[-1]), abs=1000)
    spans = [run.start_time, node.start_time, chat.start_time]
    ends = [chat.end_time, node.end_time, run.end_time]
    assert [*spans, *ends] == sorted(each or 0 for each in [*spans, *ends])


def test_tokens_and_costs_of_a_call_are_on_its_span(traced: Traced) -> None:
    usage = Usage(10, 5, cached_tokens=4, calls=1, cost=0.25, reasoning_tokens=3)
    reply = Reply("said", model="gpt-x", usage=usage, finish_reason="length")
    traced.runner(alone(), [reply]).run("hi")
    facts = dict(traced.one("chat m").attributes or {})
    found = {name: facts[name] for name in facts if "usage" in name or "response" in name}
    assert found == {
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 3,
        "gen_ai.response.finish_reasons": ("length",),
        "gen_ai.response.model": "gpt-x",
        "teamgraph.usage.cost": 0.25,
    }


@pytest.mark.parametrize("stream", [False, True])
def test_a_listener_that_fails_is_a_warning_and_ends_nothing(stream: bool) -> None:
    heard_of: list[str] = []

    def listener(event: Event) -> None:
        heard_of.append(type(event).__name__)
        if isinstance(event, RunFinished):
            raise ValueError("no disk")

    runner = Runner(desk(), model=desk_model(), listeners=[listener])
    with pytest.warns(RuntimeWarning, match="listener failed at RunFinished.*ValueError: no disk"):
        run = heard(runner)[-1].run if stream else runner.run("hi")
    assert run.answer == "Bonjour mon ami"
    assert ("Token" in heard_of) is stream


def test_what_is_no_listener_is_refused() -> None:
    for wrong, said in (
        (OpenTelemetry(), r"write listeners=\[\.\.\.\]"),
        ([OpenTelemetry], "a listener is .* give a function"),
        (["log"], "a listener is 'log'"),
    ):
        with pytest.raises(InputError, match=said):
            Runner(alone(), listeners=wrong)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(InputError, match="tracer_provider is a str"):
        OpenTelemetry("jaeger")  # type: ignore[arg-type]  # as above


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] == "opentelemetry" or name.endswith(".tracing"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"the extra `otel`: pip install 'teamgraph\[otel\]'"):
        import teamgraph.tracing  # noqa: F401, PLC0415


def test_an_agent_has_listeners_too(traced: Traced) -> None:
    agent = Agent(name="Clerk", model=ScriptedModel("said"), listeners=[traced.listener])
    agent.run("hi")
    assert traced.tree() == [
        "invoke_workflow Clerk",
        "  invoke_agent clerk",
        "    chat ScriptedModel",
    ]
    with pytest.raises(DefinitionError, match="listeners"):
        Agent(name="Clerk", listeners=["log"])  # type: ignore[list-item]  # that is the point


@pytest.mark.parametrize(
    ("header", "is_instrumented", "parent"),
    [
        (f"00-{'ab' * 16}-{'cd' * 8}-01", False, (int("ab" * 16, 16), int("cd" * 8, 16))),
        (f"00-{'ab' * 16}-{'cd' * 8}-01", True, "the app around"),
        ("nonsense", False, None),
        ("", False, None),
    ],
)
def test_a_server_continues_the_trace_of_a_request_unless_the_app_around_it_does(
    traced: Traced, header: str, is_instrumented: bool, parent: Any
) -> None:
    app = create_app([traced.runner(alone(), "yes")], hosts=["testserver"])

    async def around(*called: Any) -> None:
        with traced.tracer.start_as_current_span("the app around"):
            await app(*called)

    headers = {"traceparent": header} if header else {}
    with TestClient(app):  # its lifespan
        client = TestClient(around if is_instrumented else app, headers=headers)
        for _ in range(2):
            assert client.post("/api/runs", json={"message": "hi"}).json()["answer"] == "yes"
    runs = [span for span in traced.spans if span.name == "invoke_workflow alone"]
    assert len(runs) == 2
    for run in runs:
        if parent == "the app around":
            parents = [span.context.span_id for span in traced.spans if span.name == parent]
            assert run.parent is not None
            assert run.parent.span_id in parents
        else:
            assert (run.parent and (run.parent.trace_id, run.parent.span_id)) == parent
