"""Tool calls that a person confirms, and what a call is bound to: its arguments and its key."""

# ruff: noqa: ANN401  models, tools and stores say what they like

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from teamgraph import (
    JSON,
    Change,
    Exchange,
    Graph,
    MemoryStore,
    Record,
    Reply,
    Request,
    Run,
    Runner,
    ScriptedModel,
    SessionKey,
    Store,
    ToolCall,
    ToolContext,
    tool,
)
from teamgraph.errors import Changed, DefinitionError, InputError, ModelError, NodeError
from teamgraph.events import NodeStarted, RunWaiting, ToolAnswered, ToolCalled
from teamgraph.kinds import Context, Node, Result, Toolbox
from teamgraph.nodes import Member, SubGraph
from tests import shop as functions
from tests.builders import told, written
from tests.teams import heard, of, wait_for

KEY = SessionKey(None, "s")
PATH = "clerk/refund[1]"


class Till:
    """A tool with side effects: it notes each call, its arguments and its key."""

    def __init__(self) -> None:
        self.paid: list[tuple[int, str]] = []
        self.error: Exception | None = None

    def tools(self, confirm: bool | str = True) -> list[Any]:
        async def refund(amount: int, context: ToolContext, why: str = "none") -> str:
            """Pay money back."""
            self.paid.append((amount, context.idempotency_key))
            if self.error is not None:
                raise self.error
            context.session_state["last"] = amount
            return f"paid {amount}: {why}"

        def price(item: str) -> str:
            """Look up a price."""
            return f"{item} costs 3"

        return [{"call": refund, "confirm": confirm}, price]


def call(name: str, id: str = "c1", **arguments: Any) -> ToolCall:  # noqa: A002
    return ToolCall(id=id, name=name, arguments=json.dumps(arguments))


def calls(*wanted: ToolCall) -> Reply:
    return Reply("", tool_calls=wanted)


def shop(tools: list[Any], **options: Any) -> Graph:
    return Graph(name="shop", model="m", nodes={"clerk": Member(tools=tools, **options)})


def waits(runner: Runner) -> Run:
    run = runner.run("money back", session_id="s", run_id="r")
    assert run.status == "waiting"
    return run


def results(run: Run) -> list[str]:
    return [
        message.content
        for exchange in run.records["clerk"].exchanges
        for message in exchange.tool_results
    ]


def test_a_confirmed_call_waits_while_the_others_of_its_reply_run(store: Store) -> None:
    till = Till()
    model = ScriptedModel(
        [calls(call("refund", amount=500), call("price", "c2", item="tea")), "done"]
    )
    runner = Runner(shop(till.tools()), model=model, store=store)
    events = heard(runner, "money back", session_id="s", run_id="r")
    last = events[-1]
    assert isinstance(last, RunWaiting)
    (question,) = last.questions
    assert (question.path, question.tool, question.arguments) == (
        PATH,
        "refund",
        '{"amount": 500}',
    )
    assert question.text == 'clerk wants to call refund with {"amount": 500}'
    assert [event.tool for event in of(events, ToolCalled)] == ["price"]
    assert (results(last.run), till.paid) == (["tea costs 3"], [])
    events = list(runner.respond_stream("r", {PATH: "approve"}, by="boss"))
    assert [event.tool for event in of(events, ToolCalled)] == ["refund"]
    assert [event.attempt for event in of(events, NodeStarted)] == [1]
    assert [event.result for event in of(events, ToolAnswered)] == ["paid 500: none"]
    run = wait_for(store.run(KEY, "r"))
    assert run is not None
    assert (run.answer, till.paid) == ("done", [(500, f"r/{PATH}")])
    assert results(run) == ["paid 500: none", "tea costs 3"]
    assert run.records["clerk"].session_state == {"last": 500}
    response = run.records["clerk"].questions[0].response
    assert response is not None
    assert (response.value, response.user_id) == ({"approve": True}, "boss")
    assert len(model.requests) == 2, "the model is not asked again for what it has said"


def test_a_rejected_call_is_not_executed_and_the_model_learns_why() -> None:
    till = Till()
    model = ScriptedModel([calls(call("refund", amount=5)), "sorry"])
    runner = Runner(shop(till.tools()), model=model)
    waits(runner)
    run = runner.respond("r", {PATH: {"approve": False, "reason": "too much"}})
    assert (run.answer, till.paid) == ("sorry", [])
    assert results(run) == [
        "error: a person rejected this call, so it was not executed; the reason: too much"
    ]
    assert model.requests[1].messages[-1].content == results(run)[0]
    waits(Runner(shop(till.tools()), model=ScriptedModel([calls(call("refund", amount=5))])))
    other = Runner(shop(till.tools()), model=ScriptedModel([calls(call("refund", amount=5)), "x"]))
    waits(other)
    assert results(other.respond("r", {PATH: "reject"})) == [
        "error: a person rejected this call, so it was not executed"
    ]


def test_a_call_is_executed_with_the_arguments_that_a_person_changed() -> None:
    till = Till()
    model = ScriptedModel([calls(call("refund", amount=500)), "done"])
    runner = Runner(shop(till.tools()), model=model)
    waits(runner)
    run = runner.respond("r", {PATH: {"approve": True, "arguments": {"amount": 5, "why": "ü"}}})
    assert till.paid == [(5, f"r/{PATH}")]
    assert results(run) == [
        'a person changed the arguments to {"amount": 5, "why": "ü"}; paid 5: ü'
    ]
    (question,) = run.records["clerk"].questions
    assert question.response is not None
    assert question.response.value == {"approve": True, "arguments": {"amount": 5, "why": "ü"}}
    assert question.arguments == '{"amount": 500}'


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("yes", "the answer must be 'approve', 'reject', or {approve: true|false,"),
        ({"approve": 1}, "the answer must be 'approve', 'reject', or {approve: true|false,"),
        ({"approve": True, "reson": "x"}, "unknown key 'reson'; did you mean 'reason'?"),
        ({"approve": True, "xyz": "x"}, "unknown key 'xyz'; it has approve, reason, arguments"),
        ({"approve": False, "reason": 3}, "the reason must be a text"),
        ({"approve": True, "arguments": []}, "arguments must be a mapping, and go with"),
        ({"approve": False, "arguments": {}}, "arguments must be a mapping, and go with"),
        ({"approve": True, "arguments": {"amount": "x"}}, "the arguments do not fit: amount:"),
    ],
)
def test_a_confirmation_that_is_not_valid_is_refused(answer: JSON, told: str) -> None:
    till = Till()
    runner = Runner(shop(till.tools()), model=ScriptedModel([calls(call("refund", amount=5))]))
    waits(runner)
    with pytest.raises(InputError) as caught:
        runner.respond("r", {PATH: answer})
    assert f"question '{PATH}': " in str(caught.value)
    assert told in str(caught.value)
    assert till.paid == []


@pytest.mark.parametrize(
    ("confirm", "wanted", "asked"),
    [
        (True, call("refund", amount=1), True),
        (False, call("refund", amount=1), False),
        ("arguments.amount > 100", call("refund", amount=100), False),
        ("arguments.amount > 100", call("refund", amount=101), True),
        ("arguments.why == 'none'", call("refund", amount=1), True),
        ("user_id is none and node.id == 'clerk'", call("refund", amount=1), True),
        ("1 / (arguments.amount - 1) > 1", call("refund", amount=1), True),
        (True, call("refund", amount="x"), False),
        (True, call("unknown"), False),
    ],
)
def test_what_is_confirmed(confirm: bool | str, wanted: ToolCall, asked: bool) -> None:
    model = ScriptedModel([calls(wanted), "done"])
    run = Runner(shop(Till().tools(confirm)), model=model).run("x")
    assert run.status == ("waiting" if asked else "done")


def test_a_function_says_itself_that_it_is_confirmed_and_the_graph_may_say_otherwise() -> None:
    @tool(confirm="arguments.amount > 10")
    def refund(amount: int) -> str:
        return f"paid {amount}"

    def status(tools: list[Any], amount: int) -> str:
        model = ScriptedModel([calls(call("refund", amount=amount)), "done"])
        return Runner(shop(tools), model=model).run("x").status

    assert [status([refund], amount) for amount in (10, 11)] == ["done", "waiting"]
    assert status([{"call": refund, "confirm": False}], 11) == "done"
    with pytest.raises(DefinitionError, match="arguments has no 'amont'; did you mean 'amount'"):
        shop([tool(confirm="arguments.amont > 1")(refund)])


SHOP = """
    def refund(amount: int, why: str = "none") -> str:
        return f"paid {amount}"
"""


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        (
            '[{call: till:refund, confirm: "arguments.amont > 1"}]',
            "5:53: arguments has no 'amont'; did you mean 'amount'?",
        ),
        (
            '[{call: till:refund, confirm: "arguments.why > 1"}]',
            "5:43: arguments.why is a text and this value is a number, which cannot be compared",
        ),
        (
            '[{call: till:refund, confirm: "arguments.amount >"}]',
            "5:60: the expression is not finished: a value is missing before its end",
        ),
        (
            '[{call: till:refund, confirm: "argument.amount > 1"}]',
            "5:43: unknown name 'argument'; did you mean 'arguments'?",
        ),
        (
            "[{call: till:refun, confirm: true}]",
            "5:13: node 'clerk': 'till:refun': 'till' has no 'refun'; did",
        ),
        ("[{cal: till:refund}]", "5:14: node 'clerk': unknown key 'cal'; did you mean 'call'?"),
        ("[{call: till:refund, confirm: 3}]", "5:42: node 'clerk': confirm: must be true or false"),
        (
            "{call: read_chat_histor, confirm: true}",
            "5:12: node 'clerk': there is no session tool 'read_chat_his",
        ),
    ],
)
def test_a_mistake_is_told_at_its_place(tmp_path: Path, tools: str, problem: str) -> None:
    written(tmp_path, SHOP, name="till.py")
    path = written(tmp_path, f"name: shop\nmodel: m\nnodes:\n  clerk:\n    tools: {tools}\n")
    sys.path.insert(0, str(tmp_path))
    try:
        assert any(each.startswith(problem) for each in told(path, allow=["till"]))
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("till", None)


def test_tools_to_be_confirmed_are_written_as_they_were_read(tmp_path: Path) -> None:
    graph = shop(
        [functions.price, {"call": functions.put_in_cart, "confirm": "arguments.item == 'tea'"}]
    )
    graph.dump(tmp_path / "shop.yaml")
    text = (tmp_path / "shop.yaml").read_text()
    assert "{call: tests.shop:put_in_cart, confirm: arguments.item == 'tea'}" in text
    assert Graph.load(tmp_path / "shop.yaml", allow=["tests"]) == graph
    unresolved = Graph.load(tmp_path / "shop.yaml", allow=["tests"])
    assert unresolved == graph
    by_name = shop([{"call": "tests.shop:price", "confirm": "arguments.nothing"}])
    by_name.dump(tmp_path / "by_name.yaml")
    assert (
        "{call: tests.shop:price, confirm: arguments.nothing}"
        in (tmp_path / "by_name.yaml").read_text()
    )


def test_a_confirmation_holds_only_for_the_call_that_was_shown() -> None:
    till, store = Till(), MemoryStore()
    runner = Runner(
        shop(till.tools()), model=ScriptedModel([calls(call("refund", amount=5))]), store=store
    )
    run = waits(runner)

    async def forge() -> None:
        lease = await store.begin(KEY, run.turn, is_stored=True)
        (exchange,) = run.records["clerk"].exchanges
        other: Exchange = replace(exchange, tool_calls=(call("refund", amount=5000),))
        forged: Record = replace(run.records["clerk"], exchanges=(other,))
        await store.put(lease, [forged])
        await store.finish(lease, run.turn, Change())

    wait_for(forge())
    with pytest.raises(NodeError, match="what was confirmed is not the call that is stored"):
        runner.respond("r", {PATH: "approve"})
    assert till.paid == []


def test_a_changed_tool_is_refused_with_the_difference() -> None:
    store = MemoryStore()
    model = ScriptedModel([calls(call("refund", amount=5)), calls(call("refund", amount=5)), "x"])
    till = Till()
    waits(Runner(shop(till.tools()), model=model, store=store))
    changed = Runner(shop(till.tools(confirm="arguments.amount > 2")), model=model, store=store)
    with pytest.raises(Changed, match="clerk"):
        changed.respond("r", {PATH: "approve"})
    run = changed.resume("r", reuse_unchanged=True)
    (question,) = run.questions
    assert question.path == "clerk/refund[2]", "another call has another path, and another key"
    assert changed.respond("r", {question.path: "approve"}).status == "done"
    assert till.paid == [(5, "r/clerk/refund[2]")]


def test_several_questions_of_one_node_are_answered_one_by_one(store: Store) -> None:
    till = Till()
    two = calls(call("refund", amount=1), call("refund", "c2", amount=2))
    runner = Runner(shop(till.tools()), model=ScriptedModel([two, "done"]), store=store)
    waits(runner)
    run = runner.respond("r", {"clerk/refund[2]": "approve"})
    assert (run.status, run.turn.waiting) == ("waiting", (PATH,))
    assert till.paid == [(2, "r/clerk/refund[2]")]
    run = runner.respond("r", {PATH: "approve"})
    assert (run.status, till.paid[1:]) == ("done", [(1, f"r/{PATH}")])
    assert results(run) == ["paid 1: none", "paid 2: none"]


def test_a_tool_of_a_graph_inside_is_confirmed_by_its_path() -> None:
    till = Till()
    graph = Graph(name="outer", model="m", nodes={"team": SubGraph(graph=shop(till.tools()))})
    runner = Runner(graph, model=ScriptedModel([calls(call("refund", amount=5)), "done"]))
    run = waits(runner)
    assert run.turn.waiting == ("team/clerk/refund[1]",)
    assert runner.respond("r", {"team/clerk/refund[1]": "approve"}).answer == "done"
    assert till.paid == [(5, "r/team/clerk/refund[1]")]


@pytest.mark.parametrize("again", ["retry", "resume", "fallback"])
def test_a_call_has_one_key_and_other_calls_have_others(store: Store, again: str) -> None:
    till = Till()
    gone = ModelError("gone", model="m", retryable=True)
    script = [calls(call("refund", amount=1)), gone, calls(call("refund", amount=2)), "done"]
    options: dict[str, Any] = {}
    if again == "retry":
        options = {"retry": {"times": 1, "wait": 0.001}}
    elif again == "fallback":
        options = {"model": {"id": "m", "fallback": ["other"]}}
    runner = Runner(shop(till.tools(False), **options), model=ScriptedModel(script), store=store)
    if again == "resume":
        with pytest.raises(NodeError):
            runner.run("x", session_id="s", run_id="r")
        run = runner.resume("r")
    else:
        run = runner.run("x", session_id="s", run_id="r")
    assert (run.answer, till.paid) == ("done", [(1, f"r/{PATH}"), (2, "r/clerk/refund[2]")])
    assert run.records["clerk"].calls == 2


def test_calls_are_stored_before_they_run_and_repeated_with_their_keys(store: Store) -> None:
    till = Till()
    stored: list[Record] = []

    def look() -> None:
        run = wait_for(store.run(KEY, "r"))
        assert run is not None
        stored.append(run.records["clerk"])

    def refund(amount: int, context: ToolContext) -> str:
        till.paid.append((amount, context.idempotency_key))
        look()
        return "paid"

    model = ScriptedModel([calls(call("refund", amount=7)), "done"])
    run = Runner(shop([refund]), model=model, store=store).run("x", session_id="s", run_id="r")
    (running,) = stored
    assert (running.status, running.calls, running.exchanges[0].tool_results) == ("running", 1, ())
    assert running.exchanges[0].tool_calls == run.records["clerk"].exchanges[0].tool_calls


def test_a_run_that_was_killed_in_its_tool_executes_the_call_again_with_its_key() -> None:
    store, paid = MemoryStore(), list[tuple[int, str]]()
    model = ScriptedModel([calls(call("refund", amount=7), call("note", "c2")), "done"])

    async def refund(amount: int, context: ToolContext) -> str:
        paid.append((amount, context.idempotency_key))
        return "paid"

    async def note(context: ToolContext) -> str:
        context.session_state["noted"] = True
        return "noted"

    graph = shop([refund, note])
    whole = Runner(graph, model=model, store=store).run("x", session_id="s", run_id="r")
    clerk = whole.records["clerk"]
    killed = replace(
        clerk,
        status="running",
        output=None,
        exchanges=(replace(clerk.exchanges[0], tool_results=clerk.exchanges[0].tool_results[1:]),),
    )

    async def rewind() -> None:
        turn = replace(whole.turn, run_id="r2", status="running", number=0)
        lease = await store.begin(KEY, turn)
        await store.put(lease, [killed])
        await store.release(lease)

    wait_for(rewind())
    runner = Runner(graph, model=ScriptedModel(["again done"]), store=store)
    run = runner.resume("r2")
    assert run.answer == "again done"
    assert paid == [(7, "r/clerk/refund[1]"), (7, "r2/clerk/refund[1]")]
    assert run.records["clerk"].session_state == {"noted": True}
    assert run.records["clerk"].attempt == 1
    assert [message.content for message in run.records["clerk"].exchanges[0].tool_results] == [
        "paid",
        "noted",
    ]


def test_a_kind_that_asks_twice_continues_each_of_its_conversations() -> None:
    paid: list[str] = []

    async def pay(context: ToolContext) -> str:
        paid.append(context.idempotency_key)
        return "paid"

    class Two(Node):
        prompt: str | None = "member.jinja"
        asked: ClassVar[list[str]] = []

        def toolbox(self) -> Toolbox:
            return Toolbox.of([pay], rounds=2)

        async def run(self, context: Context) -> Result:
            return Result([await context.ask(), await context.ask()])

    def reply(request: Request) -> Any:
        return next(script)

    gone = ModelError("gone", model="m", retryable=True)
    replies: list[Any] = ["first", calls(call("pay")), gone, "first again", "second"]
    script = iter(replies)
    graph = Graph(name="x", model="m", nodes={"two": Two(retry={"times": 1, "wait": 0.001})})
    run = Runner(graph, model=ScriptedModel(reply)).run("x", run_id="r")
    assert (run.records["two"].output, paid) == (["first again", "second"], ["r/two/pay[1]"])


def test_contradicting_state_gives_up_the_conversation_that_read_it() -> None:
    function: Callable[..., Any]
    paid: list[str] = []

    async def count(context: ToolContext) -> str:
        paid.append(context.idempotency_key)
        context.session_state["n"] = int(str(context.session_state["n"])) + 1
        return "counted"

    function = count
    nodes = {
        name: Member(tools=[function], retry={"times": 1, "wait": 0.001}) for name in ("a", "b")
    }
    graph = Graph(name="x", model="m", state={"n": 0}, output=["a", "b"], nodes=nodes)
    model = ScriptedModel(
        lambda request: "done" if request.messages[-1].role == "tool" else calls(call("count"))
    )
    run = Runner(graph, model=model).run("x", session_id="s", run_id="r")
    assert run.records["b"].session_state == {"n": 2}
    assert sorted(paid) == ["r/a/count[1]", "r/b/count[1]", "r/b/count[2]"]
