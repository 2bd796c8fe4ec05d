"""A member that calls tools while it answers: what is asked, told, recorded and kept."""

# ruff: noqa: ANN401  models, tools and stores say what they like
from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from teamgraph import (
    Chunk,
    Graph,
    MemoryStore,
    Message,
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
from teamgraph.errors import DefinitionError, ModelError, NodeError
from teamgraph.events import (
    Answer,
    AnswerReset,
    NodeRetried,
    PromptRendered,
    RunFailed,
    RunFinished,
    Token,
    ToolAnswered,
    ToolCalled,
)
from teamgraph.kinds import Context, Node, Result, Toolbox
from teamgraph.nodes import Leader, Member, Python, Router, SubGraph
from tests.shop import price, put_in_cart
from tests.teams import STORES, heard, holds_together, of, told, wait_for


def call(name: str, arguments: object = None, *, id: str = "c1") -> ToolCall:  # noqa: A002
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return ToolCall(id=id, name=name, arguments=text)


def calls(*wanted: ToolCall, text: str = "") -> Reply:
    return Reply(text, tool_calls=wanted)


def team(*tools: Callable[..., object] | str, **options: Any) -> Graph:
    return Graph(name="shop", model="m", nodes={"clerk": Member(tools=list(tools), **options)})


def asked(
    answers: Sequence[Any], *tools: Callable[..., object] | str, **options: Any
) -> tuple[Run, ScriptedModel]:
    model = ScriptedModel(answers)
    return Runner(team(*tools, **options), model=model).run("hello"), model


def results(request: Request) -> list[str]:
    return [message.content for message in request.messages if message.role == "tool"]


def result_of(wanted: ToolCall, *tools: Callable[..., object] | str) -> str:
    """What the model is told of one call."""
    _, model = asked([calls(wanted), "done"], *tools)
    (result,) = results(model.requests[1])
    return result


def test_a_call_that_takes_too_long_is_told_to_the_model() -> None:
    @tool(timeout=0.01)
    async def wait() -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    def late() -> str:
        """Fail with the error of another timeout."""
        raise TimeoutError("of its own")

    told_of = "error: the tool 'wait' gave no result within 0.01 seconds; it may still be running"
    assert result_of(call("wait"), wait) == told_of
    own: Any = {"call": late, "timeout": 60}
    assert result_of(call("late"), own) == "error: the tool 'late' failed: TimeoutError: of its own"


def test_a_long_result_is_cut_and_the_model_is_told() -> None:
    def count() -> str:
        """Count."""
        return "0123456789"

    whole: Any = {"call": count, "max_result": 10}
    part: Any = {"call": count, "max_result": 4}
    assert result_of(call("count"), whole) == "0123456789"
    assert result_of(call("count"), part) == ("0123\n[cut: these are the first 4 of 10 characters]")


MARKS = """«{{ call.status }}|{{ call.name }}|{{ call.result }}|{{ call.reason }}|
{{- call.arguments }}|{{ call.meant }}|{{ call.tools | join(",") }}|{{ call.seconds }}|
{{- call.length }}»"""


def test_what_a_model_is_told_of_a_call_is_a_template(tmp_path: Path) -> None:
    """Each text without a plain result is the template's, and has no word beside it."""

    @tool(timeout=0.01)
    async def wait() -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    @tool(max_result=2)
    def count() -> str:
        """Count."""
        return "0123"

    def fail() -> str:
        """Fail."""
        raise ValueError("why")

    @tool(confirm=True)
    def pay(amount: int) -> str:
        """Pay."""
        return f"paid {amount}"

    tools: list[Any] = [wait, count, fail, pay]
    (tmp_path / "tool_result.jinja").write_text(MARKS)
    nodes = {"clerk": Member(tools=tools, max_tool_rounds=1)}
    graph = Graph(name="shop", model="m", nodes=nodes, prompt_dirs=[tmp_path])
    wanted = [
        *(call("wait", id="1"), call("count", id="2"), call("fail", id="3"), call("fai", id="4")),
        *(call("pay", {"amount": 1}, id="5"), call("pay", {"amount": 2}, id="6")),
        call("pay", "{", id="7"),
    ]
    model = ScriptedModel([calls(*wanted), calls(call("count")), "done"])
    runner = Runner(graph, model=model)
    waiting = runner.run("x", session_id="s")
    answers: dict[str, Any] = {
        "clerk/pay[5]": {"approve": False, "reason": "no"},
        "clerk/pay[6]": {"approve": True, "arguments": {"amount": 3}},
    }
    runner.respond(waiting.run_id, answers, session_id="s")
    *told, refused = results(model.requests[-1])
    all_tools = "wait,count,fail,pay"
    assert told[:6] == [
        "«late|wait||||||0.01|0»",
        "«cut|count|01||||||4»",
        "«failed|fail||ValueError: why|||||0»",
        f"«unknown|fai||||fail|{all_tools}||0»",
        "«rejected|pay||no|||||0»",
        '«changed|pay|paid 3||{"amount": 3}||||0»',
    ]
    assert told[6].startswith("«invalid|pay||")
    assert refused == "«refused|count|||||||0»"


class Remote:
    """A function that a server has."""

    async def prepare(self) -> None:
        pass

    async def __call__(self) -> str:
        return "gone"


class AsksAServer(Member):
    """A member whose tool is a server's."""

    def toolbox(self) -> Toolbox:
        box = Toolbox.of(self.tools, rounds=1)
        tools = {
            name: dataclasses.replace(each, is_external=True) for name, each in box.tools.items()
        }
        return replace(box, tools=tools)


def test_a_call_of_a_server_that_was_interrupted_is_marked_when_it_is_made_again() -> None:
    graph = Graph(name="g", model="m", nodes={"it": AsksAServer(tools=[Remote()])})
    model = ScriptedModel([calls(call("remote")), "done"])
    runner = Runner(graph, model=model, store=MemoryStore())

    async def interrupt_and_resume() -> None:
        async with aclosing(runner.astream("hello", run_id="r")) as events:
            async for event in events:
                if isinstance(event, ToolCalled):
                    break
        await asyncio.sleep(0)

    wait_for(interrupt_and_resume())
    runner.resume("r")
    marked = "this call was interrupted before, and may be executed twice; "
    assert results(model.requests[-1]) == [f"{marked}gone"]


def test_the_template_of_what_became_of_a_call_is_checked(tmp_path: Path) -> None:
    (tmp_path / "tool_result.jinja").write_text("{{ call.resul }}")
    with pytest.raises(DefinitionError, match=r"tool_result\.jinja:1:9: call has no 'resul'"):
        Graph(name="g", model="m", nodes={"clerk": Member(tools=[price])}, prompt_dirs=[tmp_path])


def test_a_member_calls_a_tool_and_answers_with_what_it_gave_back() -> None:
    run, model = asked([calls(call("price", {"item": "tea"})), "It costs 3."], price)
    assert run.answer == "It costs 3."
    first, second = model.requests
    assert [tool["function"]["name"] for tool in first.tools] == ["price"]  # type: ignore[index,call-overload]  # of a dict
    assert second.tools == first.tools
    assert second.messages == (
        *first.messages,
        Message(role="assistant", content="", tool_calls=(call("price", {"item": "tea"}),)),
        Message(role="tool", content="3", tool_call_id="c1"),
    )


def test_a_leader_calls_tools_too() -> None:
    graph = Graph(
        name="shop", model="m", nodes={"one": Member(), "boss": Leader(needs="one", tools=[price])}
    )
    script = ["from one", calls(call("price", {"item": "tea"})), "3"]
    assert Runner(graph, model=ScriptedModel(script)).run("hello").answer == "3"


def test_a_member_without_tools_offers_none_and_heeds_no_calls() -> None:
    run, model = asked([calls(call("price"), text="no tools here")])
    assert run.answer == "no tools here"
    assert model.requests[0].tools == ()
    assert run.records["clerk"].exchanges[0].tool_calls == ()


def test_the_calls_of_one_reply_run_side_by_side_and_answer_in_their_order() -> None:
    both = asyncio.Barrier(2)

    async def slow() -> str:
        await both.wait()
        await asyncio.sleep(0)
        return "slow"

    async def fast() -> str:
        await both.wait()
        return "fast"

    async def run() -> ScriptedModel:
        model = ScriptedModel([calls(call("slow", id="a"), call("fast", id="b")), "done"])
        await Runner(team(slow, fast), model=model).arun("hello")
        return model

    model = wait_for(run())
    assert results(model.requests[1]) == ["slow", "fast"]


def test_every_call_and_result_is_recorded(store: Store) -> None:
    script = [
        calls(call("price", {"item": "tea"}, id="a"), call("price", {"item": "bread"}, id="b")),
        Reply("Hm.", tool_calls=(call("nothing", id="c"),), reasoning="thoughts"),
        Reply("7", reasoning="more thoughts"),
    ]
    model = ScriptedModel(script)
    run = Runner(team(price), model=model, store=store).run("hello", session_id="s")
    kept = wait_for(store.run(SessionKey(None, "s"), run.run_id))
    assert kept is not None
    assert kept.records == run.records
    one, two, three = kept.records["clerk"].exchanges
    assert [wanted.id for wanted in one.tool_calls] == ["a", "b"]
    assert [(result.tool_call_id, result.content) for result in one.tool_results] == [
        ("a", "3"),
        ("b", "4"),
    ]
    assert two.reply == "Hm."
    assert "there is no tool 'nothing'" in two.tool_results[0].content
    assert (three.reply, three.tool_calls, three.tool_results) == ("7", (), ())
    assert [each.reasoning for each in (one, two, three)] == ["", "thoughts", ""]
    assert model.requests[2].messages[-2].reasoning == "thoughts"
    assert [exchange.messages for exchange in (one, two, three)] == [
        request.messages for request in model.requests
    ]
    assert run.usage.calls == 3


def test_no_word_of_a_tool_call_is_stored_twice(tmp_path: Path) -> None:
    def letter() -> str:
        return "a letter of many words " * 100

    store = STORES["tinydb"](tmp_path)
    script = [*(calls(call("letter", id=f"c{n}"), text="Wait.") for n in range(4)), "done"]
    runner = Runner(team(letter), model=ScriptedModel(script), store=store)
    run = runner.run("hello", session_id="s")
    with STORES["tinydb"](tmp_path).database(SessionKey(None, "s")) as database:  # type: ignore[attr-defined]
        stored = json.dumps([database.table(name).all() for name in database.tables()])
    assert len(stored) < 6 * len("a letter of many words " * 100)
    wait_for(store.close())
    kept = wait_for(STORES["tinydb"](tmp_path).run(SessionKey(None, "s"), run.run_id))
    assert kept is not None
    assert kept.records == run.records


def test_calls_and_results_are_told_as_events() -> None:
    model = ScriptedModel([calls(call("price", {"item": "tea"}), text="Let me look."), "3"])
    events = heard(Runner(team(price), model=model))
    holds_together(events)
    (called,), (answered,) = of(events, ToolCalled), of(events, ToolAnswered)
    assert (called.node, called.attempt, called.call_id) == ("clerk", 1, "c1")
    assert (called.tool, called.arguments) == ("price", '{"item": "tea"}')
    assert (answered.call_id, answered.tool, answered.result) == ("c1", "price", "3")
    assert [len(event.messages) for event in of(events, PromptRendered)] == [2, 4]


SAYS_TWICE = (
    calls(call("price", {"item": "tea"}), text="Let me look."),
    calls(call("price", {"item": "bread"}), text="  "),
    calls(call("price", {"item": "bread"}), text="Once more."),
    "It is 3.",
)


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({}, "Let me look.\n\nOnce more.\n\nIt is 3."),
        ({"resets": True}, "It is 3."),
        ({"tokens": False}, "It is 3."),
    ],
)
@pytest.mark.parametrize("is_inner", [False, True])
@pytest.mark.parametrize("is_whole", [False, True])
def test_words_before_a_tool_call_stay_where_they_were_shown_for_good(
    options: Any, answer: str, is_inner: bool, is_whole: bool
) -> None:
    class LastWhole(ScriptedModel):
        async def ask(self, request: Request) -> Any:
            async for piece in super().ask(request):
                if isinstance(piece, Reply) or not is_whole or len(self.requests) < 4:
                    yield piece

    graph = team(price)
    if is_inner:
        graph = Graph(name="outer", nodes={"inner": SubGraph(graph=graph)})
    events = heard(Runner(graph, model=LastWhole(SAYS_TWICE)), **options)
    (said,), (done,) = of(events, Answer), of(events, RunFinished)
    assert (said.text, done.run.answer) == (answer, answer)
    shown = [event for event in events if isinstance(event, Token) and event.answer]
    assert len(of(events, AnswerReset)) == (2 if options.get("resets") else 0)
    if options.get("tokens", True):
        holds_together(events)
        assert "".join(token.text for token in shown[:3]) == "Let me look."
        assert events.index(shown[2]) < events.index(of(events, ToolCalled)[0])
    record = done.run.records["inner/clerk" if is_inner else "clerk"]
    replies = [exchange.reply for exchange in record.exchanges]
    assert replies == ["Let me look.", "  ", "Once more.", "It is 3."]


def test_words_before_a_tool_call_are_no_answer_while_another_node_may_answer() -> None:
    spoken = asyncio.Event()

    async def wait() -> bool:
        await spoken.wait()
        return False

    def speak() -> str:
        spoken.set()
        return "spoken"

    answers = [calls(call("speak"), text="Let me look."), "It is 3."]
    condition = Python(call=wait)
    nodes = {
        "asks": condition,
        "first": Member(when="asks.output", needs="asks"),
        "second": Member(tools=[speak]),
    }
    graph = Graph(name="g", model="m", nodes=nodes, output=["first", "second"])
    events = heard(Runner(graph, model=ScriptedModel(answers)))
    holds_together(events)
    tokens = of(events, Token)
    assert "".join(token.text for token in tokens if not token.answer) == "Let me look."
    assert told(events) == "It is 3."


@pytest.mark.parametrize(
    ("pieces", "options", "is_retried"),
    [
        ([" \n"], {}, True),
        (["It", " is"], {}, False),
        (["It", " is"], {"resets": True}, True),
        (["It", " is"], {"tokens": False}, True),
    ],
)
def test_a_stream_that_breaks_is_tried_again_unless_words_were_shown_for_good(
    pieces: list[str], options: Any, is_retried: bool
) -> None:
    class Breaks:
        def __init__(self) -> None:
            self.asked = 0

        async def ask(self, request: Request) -> Any:
            self.asked += 1
            for piece in pieces:
                yield Chunk(piece)
            if self.asked == 1:
                raise ModelError("gone", model="m", retryable=True, interrupted=True)
            yield Chunk(" 3.")
            yield Reply("".join(pieces) + " 3.")

    graph = team(price, retry={"times": 1, "wait": 0.001})
    events = heard(Runner(graph, model=Breaks()), **options)
    assert len(of(events, NodeRetried)) == int(is_retried)
    assert isinstance(events[-1], RunFinished if is_retried else RunFailed)


def test_a_shaped_answer_may_need_tools_as_well() -> None:
    run, model = asked(
        [calls(call("price", {"item": "tea"})), {"cost": 3}], price, returns={"cost": "int"}
    )
    assert run.records["clerk"].output == {"cost": 3}
    assert [request.schema is not None for request in model.requests] == [True, True]


def test_an_unknown_tool_is_told_with_what_there_is() -> None:
    assert result_of(call("pric"), price) == (
        "error: there is no tool 'pric'; did you mean 'price'?"
    )
    assert result_of(call("zzz"), price, put_in_cart) == (
        "error: there is no tool 'zzz'; there are price, put_in_cart"
    )


def test_arguments_that_do_not_fit_are_told_and_the_model_may_recover() -> None:
    wrong = call("price", {"itm": "tea"})
    run, model = asked([calls(wrong), calls(call("price", {"item": "tea"})), "3"], price)
    assert run.answer == "3"
    (told_first,) = results(model.requests[1])
    assert told_first.startswith("error: the arguments of 'price' do not fit: item: Field required")
    assert "itm: Extra inputs" in told_first
    assert results(model.requests[2])[1] == "3"


@pytest.mark.parametrize("text", ['{"item": ', "[1]", "tea", ""])
def test_what_is_no_object_goes_back_as_an_empty_one_and_is_recorded_as_it_was(text: str) -> None:
    run, model = asked([calls(call("price", text or "  ")), "done"], price)
    (sent,) = [message for message in model.requests[1].messages if message.tool_calls]
    assert sent.tool_calls[0].arguments == "{}"
    assert results(model.requests[1])[0].startswith("error: the arguments of 'price' do not fit: ")
    assert run.records["clerk"].exchanges[0].tool_calls[0].arguments == (text or "  ")


def test_an_error_of_the_tool_is_told_in_a_line_without_a_traceback() -> None:
    def broken() -> str:
        raise ValueError("no such\n  shop")

    def bare() -> str:
        raise KeyError

    def leaves() -> str:
        sys.exit(3)

    assert result_of(call("broken"), broken) == (
        "error: the tool 'broken' failed: ValueError: no such shop"
    )
    assert result_of(call("bare"), bare) == "error: the tool 'bare' failed: KeyError"

    async def breaks_off() -> str:
        raise asyncio.CancelledError

    assert result_of(call("leaves"), leaves) == "error: the tool 'leaves' failed: SystemExit: 3"
    assert result_of(call("breaks_off"), breaks_off) == (
        "error: the tool 'breaks_off' failed: CancelledError"
    )
    assert "failed: TypeError: it returned a object" in result_of(call("odd"), _odd())


def _odd() -> Callable[..., object]:
    def odd() -> object:
        return object()

    return odd


def test_half_a_surrogate_pair_in_a_result_is_replaced() -> None:
    def half() -> list[str]:
        return ["half \ud800 a pair"]

    def broken() -> str:
        raise ValueError("half \ud800 a pair")

    assert result_of(call("half"), half) == '["half ? a pair"]'
    assert result_of(call("broken"), broken).endswith("ValueError: half ? a pair")


def test_a_value_that_cannot_be_kept_in_the_session_fails_the_node() -> None:
    def odd(context: ToolContext) -> str:
        context.session_state["odd"] = object()  # type: ignore[assignment]  # that is the point
        return "ok"

    with pytest.raises(NodeError, match="its session_state, a dict, cannot be stored as JSON"):
        asked([calls(call("odd")), "done"], odd)


def test_calls_without_an_id_or_with_the_same_one_are_told_apart() -> None:
    wanted = [call("price", {"item": item}, id=id_) for item, id_ in (("tea", ""), ("bread", ""))]
    wanted += [call("price", {"item": "tea", "count": n}, id="x") for n in (2, 3)]
    _, model = asked([calls(*wanted), "done"], price)
    *_, said, one, two, three, four = model.requests[1].messages
    ids = [each.id for each in said.tool_calls]
    assert len(set(ids)) == 4
    assert [message.tool_call_id for message in (one, two, three, four)] == ids
    assert [message.content for message in (one, two, three, four)] == ["3", "4", "6", "9"]


def test_after_the_last_round_the_model_is_told_to_answer_and_does() -> None:
    wanted = calls(call("price", {"item": "tea"}))
    run, model = asked([wanted, wanted, wanted, "enough"], price, max_tool_rounds=2)
    assert run.answer == "enough"
    assert results(model.requests[3]) == [
        "3",
        "3",
        "error: no more tools can be called now; answer with what you have",
    ]


@pytest.mark.parametrize("retry", [0, 2])
def test_a_model_that_never_stops_calling_fails_the_node_at_once(retry: int) -> None:
    ran: list[int] = []

    def count() -> int:
        ran.append(1)
        return len(ran)

    model = ScriptedModel(lambda _: calls(call("count")))
    with pytest.raises(NodeError, match=r"still calls tools after 2 rounds.*max_tool_rounds"):
        Runner(team(count, max_tool_rounds=2, retry=retry), model=model).run("hello")
    assert len(ran) == 2, "another attempt would call the tools again, and end no better"
    assert len(model.requests) == 4


def test_each_ask_counts_against_the_budget() -> None:
    graph = Graph(
        name="shop", model="m", budget={"calls": 1}, nodes={"clerk": Member(tools=[price])}
    )
    model = ScriptedModel([calls(call("price", {"item": "tea"})), "3"])
    (failed,) = of(heard(Runner(graph, model=model)), RunFailed)
    assert "its budget is 1" in str(failed.error)
    assert len(model.requests) == 1
    (exchange,) = failed.run.records["clerk"].exchanges
    assert exchange.tool_results[0].content == "3"


def test_keys_that_tools_set_are_in_the_record_and_in_the_next_turn(store: Store) -> None:
    script = [
        calls(call("put_in_cart", {"item": "tea"}, id="a")),
        calls(call("put_in_cart", {"item": "bread"}, id="b")),
        "done",
        calls(call("put_in_cart", {"item": "salt"})),
        "done",
    ]
    runner = Runner(team(put_in_cart), model=ScriptedModel(script), store=store)
    first = runner.run("hello", session_id="s", state={"seen": True})
    assert first.records["clerk"].session_state == {"cart": ["tea", "bread"]}
    second = runner.run("more", session_id="s")
    assert second.records["clerk"].session_state == {"cart": ["tea", "bread", "salt"]}
    head = wait_for(store.head(SessionKey(None, "s")))
    assert head is not None
    assert head.state == {"cart": ["tea", "bread", "salt"], "seen": True}


def test_nodes_that_follow_see_the_keys_in_the_same_run() -> None:
    graph = Graph(
        name="shop",
        model="m",
        state={"cart": []},
        nodes={
            "clerk": Member(tools=[put_in_cart]),
            "last": Member(needs="clerk", prompt="{{ session.state.cart | join }}\n"),
        },
    )
    model = ScriptedModel([calls(call("put_in_cart", {"item": "tea"})), "done", "bye"])
    Runner(graph, model=model).run("hello")
    assert model.requests[2].messages[0].content == "tea"


def test_an_attempt_that_is_made_again_continues_its_tool_calls_and_their_keys() -> None:
    def once(context: ToolContext) -> str:
        context.session_state["first"] = 1
        return "ok"

    script = [calls(call("once")), ModelError("gone", model="m", retryable=True), "done"]
    run, model = asked(script, once, retry={"times": 1, "wait": 0.001})
    assert run.records["clerk"].session_state == {"first": 1}
    assert run.records["clerk"].attempt == 2
    assert model.requests[2].messages == model.requests[1].messages


class Clerk(Node):
    """A kind of ones own that offers tools and sets state itself."""

    prompt: str | None = "member.jinja"

    def toolbox(self) -> Toolbox:
        return Toolbox.of([put_in_cart], rounds=1)

    async def run(self, context: Context) -> Result:
        return Result(await context.ask(), session_state={"by": "clerk"})


def test_a_kind_of_ones_own_calls_tools_and_sets_keys_beside_theirs() -> None:
    graph = Graph(name="shop", model="m", nodes={"clerk": Clerk()})
    model = ScriptedModel([calls(call("put_in_cart", {"item": "tea"})), "done"])
    run = Runner(graph, model=model).run("hello")
    assert run.records["clerk"].session_state == {"cart": ["tea"], "by": "clerk"}


def test_a_tool_knows_who_asks_and_has_a_key_of_its_own_for_each_call() -> None:
    seen: list[ToolContext] = []

    async def look(context: ToolContext) -> str:
        seen.append(context)
        return "ok"

    two = calls(call("look", id="a"), call("look", id="b"))
    gone = ModelError("gone", model="m", retryable=True)
    model = ScriptedModel([two, calls(call("look")), gone, two, "done"])
    graph = team(look, retry={"times": 1, "wait": 0.001})
    run = Runner(graph, model=model).run("hello", user_id="ann", session_id="s", run_id="r")
    assert run.answer == "done"
    assert {(each.user_id, each.session_id, each.run_id, each.node_id) for each in seen} == {
        ("ann", "s", "r", "clerk")
    }
    keys = [each.idempotency_key for each in seen]
    assert keys == [f"r/clerk/look[{number}]" for number in range(1, 6)]


def test_tools_of_graphs_inside_nodes_are_told_apart_by_the_path() -> None:
    seen: list[tuple[str, str]] = []

    def look(context: ToolContext) -> str:
        seen.append((context.node_id, context.idempotency_key))
        return "ok"

    nodes = {name: SubGraph(graph=team(look)) for name in ("one", "two")}
    graph = Graph(name="outer", model="m", output="two", nodes=nodes)
    answers = {True: "done", False: calls(call("look"))}
    model = ScriptedModel(lambda request: answers[request.messages[-1].role == "tool"])
    events = heard(Runner(graph, model=model), run_id="r")
    assert sorted(seen) == [
        ("one/clerk", "r/one/clerk/look[1]"),
        ("two/clerk", "r/two/clerk/look[1]"),
    ]
    assert {event.node for event in of(events, ToolCalled)} == {"one/clerk", "two/clerk"}
    assert {event.node for event in of(events, ToolAnswered)} == {"one/clerk", "two/clerk"}


def test_a_run_that_was_cut_short_continues_after_its_tool_calls(store: Store) -> None:
    ran: list[str] = []

    def look(context: ToolContext) -> str:
        ran.append(context.idempotency_key)
        return "ok"

    gone = ModelError("gone", model="m")
    model = ScriptedModel([calls(call("look")), gone, calls(call("look")), "done"])
    runner = Runner(team(look), model=model, store=store)
    with pytest.raises(NodeError) as caught:
        runner.run("hello", session_id="s", run_id="r")
    failed: Mapping[str, Record] = caught.value.run.records  # type: ignore[union-attr]  # it is there
    assert failed["clerk"].exchanges[0].tool_results[0].content == "ok"
    assert runner.resume("r", session_id="s").answer == "done"
    assert ran == ["r/clerk/look[1]", "r/clerk/look[2]"]
    (clerk,) = wait_for(store.run(SessionKey(None, "s"), "r")).records.values()  # type: ignore[union-attr]
    assert [each.first_call for each in clerk.exchanges] == [1, 2, 0]


def test_the_time_limit_of_a_node_holds_for_its_tools_too() -> None:
    async def forever() -> str:
        await asyncio.Event().wait()
        return ""  # pragma: no cover

    with pytest.raises(NodeError, match=r"no answer within 0\.01 seconds") as caught:
        asked([calls(call("forever"))], forever, timeout=0.01)
    run = caught.value.run
    assert run is not None
    (exchange,) = run.records["clerk"].exchanges
    assert [wanted.name for wanted in exchange.tool_calls] == ["forever"]
    assert exchange.tool_results == ()


def test_a_router_offers_no_tools() -> None:
    graph = Graph(
        name="shop",
        model="m",
        output="clerk",
        nodes={"router": Router(routes={"clerk": "all"}), "clerk": Member(tools=[price])},
    )
    model = ScriptedModel(lambda request: "clerk" if request.choices else "hello")
    Runner(graph, model=model, store=MemoryStore()).run("hello")
    assert [len(request.tools) for request in model.requests] == [0, 1]


def test_a_reader_that_hangs_up_ends_the_tool_and_cancels_the_run() -> None:
    async def go() -> list[str]:
        ended: list[str] = []

        async def forever() -> str:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("the tool")
            return ""  # pragma: no cover

        store = MemoryStore()
        runner = Runner(team(forever), model=ScriptedModel([calls(call("forever"))]), store=store)
        async with aclosing(runner.astream("hello", session_id="s")) as events:
            async for event in events:
                if isinstance(event, ToolCalled):
                    break
            await asyncio.sleep(0)  # the tool begins
        (turn,) = await store.runs(SessionKey(None, "s"))
        return [*ended, turn.status]

    assert wait_for(go()) == ["the tool", "cancelled"]
