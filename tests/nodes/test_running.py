"""The kinds of nodes at work: what they ask, what they give, what they keep."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest
from msgspec.structs import replace

from teamgraph import (
    Graph,
    Head,
    Record,
    Reply,
    Request,
    Retry,
    Run,
    Runner,
    ScriptedModel,
    SessionKey,
    Store,
    ToolCall,
    Usage,
)
from teamgraph.engine.graph.node import summary_again
from teamgraph.errors import (
    AnswerError,
    DefinitionError,
    InputError,
    ModelError,
    NoAnswer,
    NodeError,
)
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import HistoryLoader, Member, Python, Router, Summarizer
from tests.teams import desk, desk_model, wait_for, words_of


def routed(answer: Any, *, targets: tuple[str, ...] = ("billing", "sales"), **options: Any) -> Run:
    """A run through a router that gets `answer` from its model, or several one by one."""
    routes = {label: f"About {label}" for label in targets}
    graph = Graph(
        name="desk",
        model="m",
        nodes={
            "router": Router(**({"routes": routes} | options)),
            **{label: Member(role=label) for label in targets},
        },
        output=list(targets),
    )
    answers = iter(answer if isinstance(answer, list) else repeat(answer))

    def script(request: Request) -> Any:
        return next(answers) if request.choices else f"from {request.messages[0].content[:4]}"

    return Runner(graph, model=ScriptedModel(script)).run("hello")


@pytest.mark.parametrize(
    "answer",
    [
        '{"reason": "money", "choice": "billing"}',
        "billing",
        "  Billing. ",
        '"BILLING"',
        "```\nbilling\n```",
        '```json\n{"choice": "Billing"}\n```',
        '{"choices": ["billing"]}',
        '["billing"]',
        "1. billing",
        "This is about billing, I think.",
    ],
)
def test_a_label_is_read_however_it_is_written(answer: str) -> None:
    run = routed(Reply(answer))
    assert run.records["router"].choices == ("billing",)
    assert run.records["router"].output == "billing"
    assert run.records["sales"].because == "router chose billing"
    assert run.answer == "from bill"


def test_labels_that_differ_in_case_only_are_told_apart() -> None:
    graph = Graph(
        name="g",
        model="m",
        nodes={
            "router": Router(routes={"A": {"to": "big"}, "a": {"to": "small"}}),
            "big": Member(),
            "small": Member(),
        },
        output=["big", "small"],
    )
    for label, target in (("A", "big"), ("a", "small")):
        model = ScriptedModel([Reply(label), "text"])
        assert Runner(graph, model=model).run("hi").records[target].status == "done"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("bilingual", "'bilingual' is not a label"),
        (
            '{"choice": "biling"}',
            "'biling' is not a label (did you mean 'billing'?); the labels are billing, sales",
        ),
        ('{"choice": null}', "'None' is not a label"),
        ('{"choices": []}', "it names no label"),
        ('{"choices": ["billing", "sales"]}', "it names several labels, not one"),
        ("It is billing or sales.", "'It is billing or sales.' is not a label"),
        ("billing, sales", "it names several labels, not one"),
        ("x" * 90, "..."),
    ],
)
def test_an_answer_that_is_no_label_fails_the_node_and_says_why(answer: str, error: str) -> None:
    with pytest.raises(NodeError) as caught:
        routed(Reply(answer))
    assert caught.value.node_id == "router"
    assert error in caught.value.reason
    assert isinstance(caught.value.__cause__, AnswerError)
    assert caught.value.run is not None
    assert caught.value.run.records["router"].status == "failed"


def test_default_is_taken_after_the_last_attempt_and_the_record_says_so() -> None:
    run = routed(
        [Reply("maybe"), Reply("perhaps")],
        default="sales",
        retry=Retry(times=1, wait=0.001),
        repair=0,
    )
    router = run.records["router"]
    assert (router.choices, router.output, router.attempt) == (("sales",), "sales", 2)
    assert router.error == "the answer does not fit: 'perhaps' is not a label; " + (
        "the labels are billing, sales"
    )
    assert "the default, because" in str(router.fields["reason"])
    assert [exchange.reply for exchange in router.exchanges] == ["maybe", "perhaps"]
    assert run.answer == "from sale"


def test_default_does_not_hide_a_model_that_cannot_be_reached() -> None:
    with pytest.raises(NodeError, match="no such key"):
        routed(ModelError("no such key", model="m"), default="sales")


def test_several_labels_run_in_declared_order() -> None:
    run = routed(Reply('{"choices": ["sales", "Billing", "sales"]}'), select="many")
    assert run.records["router"].output == ["billing", "sales"]
    assert run.records["router"].choices == ("billing", "sales")
    assert {run.records[label].status for label in ("billing", "sales")} == {"done"}
    assert run.answer == "from bill"


@pytest.mark.parametrize(
    "answer",
    [
        "sales, billing",
        "billing\nsales",
        "1. Billing\n2) sales",
        "- sales\n* billing",
        "sales and billing",
    ],
)
def test_several_labels_are_read_however_they_are_written(answer: str) -> None:
    assert routed(Reply(answer), select="many").records["router"].choices == ("billing", "sales")


def test_none_is_a_choice_only_where_that_is_allowed() -> None:
    with pytest.raises(NodeError, match="it names no label"):
        routed(Reply('{"choices": []}'), select="many")
    with pytest.raises(NoAnswer):
        routed(Reply('{"choices": []}'), select="many", allow_none=True)


def test_tasks_reach_the_prompt_of_the_node_they_are_for() -> None:
    tasks = [
        {"label": "Sales", "task": "Offer {{ a }} discount"},
        {"label": "nobody", "task": "x"},
        {"label": "billing", "task": " "},
        "nonsense",
    ]
    run = routed({"choices": ["billing", "sales"], "tasks": tasks}, select="many", tasks=True)
    assert run.records["router"].tasks == {"sales": "Offer {{ a }} discount"}
    prompts = {label: run.records[label].exchanges[0].messages[0].content for label in run.records}
    assert "Offer {{ a }} discount" in prompts["sales"]
    assert "Your task now" not in prompts["billing"]


def by_rule(message: str, model: Any, **options: Any) -> Run:
    routes = options.pop("routes")
    graph = Graph(
        name="g",
        model="m",
        nodes={
            "router": Router(routes=routes, **options),
            "a": Member(),
            "b": Member(),
            "c": Member(),
        },
        output=["a", "b", "c"],
    )
    return Runner(graph, model=model).run(message)


def test_rules_come_first_and_ask_no_model() -> None:
    routes = {
        "a": {"to": "a", "when": "input.message == 'A'"},
        "b": {"to": ["b"], "when": "'!' in input.message"},
        "c": {"to": "c"},
    }
    model = ScriptedModel(lambda request: "c" if request.choices else "text")
    assert by_rule("A", model, routes=routes).records["router"].choices == ("a",)
    assert by_rule("hey!", model, routes=routes).records["router"].fields["reason"] == (
        "'!' in input.message"
    )
    assert not any(request.choices for request in model.requests)
    assert by_rule("other", model, routes=routes).records["router"].choices == ("c",)
    (asked,) = [request for request in model.requests if request.choices]
    assert asked.choices == ("c",), "labels with a rule are none of the model's business"


def test_where_no_rule_holds_the_default_is_taken() -> None:
    routes = {label: {"to": label, "when": f"input.message == '{label}'"} for label in "abc"}
    run = by_rule("z", ScriptedModel("text"), routes=routes, default="b")
    assert run.records["router"].choices == ("b",)
    assert run.records["router"].fields["reason"] == "no route's `when` is true"
    assert run.records["router"].exchanges == ()
    many = by_rule("a", ScriptedModel("text"), routes=routes, select="many", allow_none=True)
    assert many.records["router"].choices == ("a",)
    with pytest.raises(NoAnswer):
        by_rule("z", ScriptedModel("text"), routes=routes, select="many", allow_none=True)


@pytest.mark.parametrize(("join", "ran"), [("any", True), ("all", False), ("always", True)])
def test_a_join_after_branches_of_unequal_depth(join: str, ran: bool) -> None:
    order: list[str] = []
    model = ScriptedModel([["long"]])

    def note(name: str) -> Callable[[], str]:
        def call() -> str:
            order.append(name)
            return name

        return call

    graph = Graph(
        name="g",
        model="m",
        nodes={
            "router": Router(routes={"long": {"to": "l1"}, "short": {"to": "s1"}}, select="many"),
            "l1": Python(call=note("l1")),
            "l2": Python(call=note("l2"), needs=["l1"]),
            "l3": Python(call=note("l3"), needs=["l2"]),
            "s1": Python(call=note("s1")),
            "join": Python(call=note("join"), needs=["s1", "l3"], join=join),
            "last": Python(call=note("last")),
        },
        output=["join", "last"],
    )
    run = Runner(graph, model=model).run("hi")
    assert [name for name in order if name != "last"] == ["l1", "l2", "l3", *["join"] * ran]
    assert run.records["s1"].status == "skipped"
    if not ran:
        assert run.records["join"].because == "s1 was skipped"


def test_upstream_has_only_the_sources_that_lead_here() -> None:
    seen: list[list[str]] = []

    def look(upstream: Any) -> str:
        seen.append([one.id for one in upstream])
        return "ok"

    graph = Graph(
        name="g",
        model="m",
        nodes={
            "router": Router(routes={"yes": {"to": ["end"]}, "no": {"to": ["other"]}}),
            "other": Member(),
            "end": Python(call=look, needs=["other", "router"]),
        },
        output="end",
    )
    for label in ("yes", "no"):
        model = ScriptedModel(lambda request, label=label: label if request.choices else "text")
        Runner(graph, model=model).run("hi")
    assert seen == [["router"], ["other"]]


# History and summary


def talk(runner: Runner, count: int, first: int = 1) -> None:
    for number in range(first, first + count):
        runner.run(f"question {number}", session_id="s")


def numbered() -> ScriptedModel:
    """Answers question N with `answer N` and sums up as `sum up to N`."""

    def answer(request: Request) -> Any:
        asked = request.messages[-1].content.rpartition("question ")[2].split()[0]
        if request.schema is None:
            return f"answer {asked}"
        return {"summary": f"(sum up to {asked})", "topics": [asked]}

    return ScriptedModel(answer)


def chat(every: int | None = None, **loader: Any) -> Graph:
    nodes: dict[str, Any] = {"history": HistoryLoader(**loader), "member": Member()}
    if every is not None:
        nodes["summary"] = Summarizer(needs="member", every=every)
    return Graph(name="chat", model="m", nodes=nodes, output="member")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"runs": 2}, ["question 3", "answer 3", "question 4", "answer 4"]),
        ({"runs": 0}, []),
        ({"messages": 3}, ["question 4", "answer 4"]),
        ({"messages": 1}, []),
        ({"messages": 0}, []),
        ({"runs": 1, "messages": 9}, ["question 4", "answer 4"]),
        ({"runs": 9}, [f"{who} {n}" for n in range(1, 5) for who in ("question", "answer")]),
    ],
)
def test_the_window_is_the_last_turns_oldest_first(
    store: Store, options: dict[str, int], expected: list[str]
) -> None:
    model = numbered()
    runner = Runner(chat(**options), store=store, model=model)
    talk(runner, 4)
    runner.run("question 5", session_id="s")
    sent = model.requests[-1].messages
    assert [message.content for message in sent[1:-1]] == expected
    assert all(
        message.role == {"q": "user", "a": "assistant"}[message.content[0]]
        for message in sent[1:-1]
    )
    assert sent[-1].content.strip() == "question 5"


@pytest.mark.parametrize("every", [1, 2, 3, 4])
@pytest.mark.parametrize("window", [0, 1, 3])
def test_summary_and_window_together_show_every_turn_exactly_once(
    store: Store, every: int, window: int
) -> None:
    model = numbered()
    runner = Runner(chat(every=every, runs=window), store=store, model=model)
    for number in range(1, 10):
        runner.run(f"question {number}", session_id="s")
        prompt = words_of([request for request in model.requests if request.schema is None][-1])
        covered = 0
        if "(sum up to " in prompt:
            covered = int(prompt.rpartition("(sum up to ")[2].partition(")")[0])
        shown = [n for n in range(1, number) if f"answer {n}" in prompt]
        assert shown == list(range(covered + 1, number))
        assert len(shown) >= min(window, number - 1)
        assert all(prompt.count(f"answer {n}") == 1 for n in shown)


def test_a_graph_without_summarizer_knows_of_no_summary(store: Store) -> None:
    model = numbered()
    talk(Runner(chat(every=1), store=store, model=model), 3)
    runner = Runner(chat(runs=1), store=store, model=model)
    runner.run("question 4", session_id="s")
    prompt = words_of(model.requests[-1])
    assert "(sum up to" not in prompt
    assert "answer 2" not in prompt
    assert "answer 3" in prompt


def test_replayed_messages_are_kept_as_references(store: Store) -> None:
    runner = Runner(chat(runs=3), store=store, model=numbered())
    talk(runner, 3)
    run = runner.run("question 4", session_id="s", run_id="r4")
    (exchange,) = run.records["member"].exchanges
    replayed = [message for message in exchange.messages if message.origin]
    assert [message.content for message in replayed] == [
        f"{who} {n}" for n in (1, 2, 3) for who in ("question", "answer")
    ]
    assert run.records["history"].output == {"from": 1, "to": 3, "summary": 0}
    kept = wait_for(store.run(SessionKey(None, "s"), "r4"))
    assert kept is not None
    assert kept.records["member"].exchanges[0].messages == exchange.messages


def test_failed_runs_are_not_replayed(store: Store) -> None:
    model = ScriptedModel(
        lambda request: (
            ModelError("down", model="m") if "bad" in request.messages[-1].content else "fine"
        )
    )
    runner = Runner(chat(runs=9), store=store, model=model)
    runner.run("good 1", session_id="s")
    with pytest.raises(NodeError):
        runner.run("bad 2", session_id="s")
    runner.run("good 3", session_id="s")
    prompt = words_of(model.requests[-1])
    assert "good 1" in prompt
    assert "bad 2" not in prompt


def head_of(store: Store) -> Head:
    head = wait_for(store.head(SessionKey(None, "s")))
    assert head is not None
    return head


def test_a_summary_rolls_from_the_old_one_and_the_turns_since(store: Store) -> None:
    model = numbered()
    talk(Runner(chat(every=2, runs=1), store=store, model=model), 4)
    first, second = [words_of(request) for request in model.requests if request.schema]
    assert "The summary so far" not in first
    assert all(f"answer {n}" in first for n in (1, 2))
    assert "(sum up to 2)" in second
    assert "answer 2" not in second
    assert all(f"answer {n}" in second for n in (3, 4))
    summary = head_of(store).summary
    assert summary is not None
    assert (summary.text, summary.topics, summary.covers) == ("(sum up to 4)", ("4",), 4)


@pytest.mark.parametrize("bad", ["no JSON", '{"summary": 1}', ModelError("down", model="m")])
def test_a_summary_that_fails_leaves_the_old_one_and_the_run_complete(
    store: Store, bad: Any
) -> None:
    runner = Runner(chat(every=1), store=store, model=numbered())
    talk(runner, 1)
    script = ScriptedModel(
        lambda request: (
            Reply(bad)
            if isinstance(bad, str) and request.schema
            else bad
            if request.schema
            else "answer"
        )
    )
    run = Runner(chat(every=1), store=store, model=script).run("question 2", session_id="s")
    assert run.status == "done"
    assert run.records["summary"].status == "skipped"
    assert run.records["summary"].error
    summary = head_of(store).summary
    assert summary is not None
    assert summary.text == "(sum up to 1)"
    talk(runner, 1, first=3)
    summary = head_of(store).summary
    assert summary is not None
    assert summary.covers == 3


def test_the_summary_of_a_quiet_turn_is_the_old_one() -> None:
    runner = Runner(chat(every=2), model=numbered())
    first = runner.run("question 1", session_id="s").records["summary"]
    talk(runner, 1, first=2)
    third = runner.run("question 3", session_id="s").records["summary"]
    assert (first.output, dict(first.fields)) == ("", {"topics": []})
    assert (third.output, dict(third.fields)) == ("(sum up to 2)", {"topics": ["2"]})


def test_a_summarizer_waits_for_the_answer_though_it_needs_nobody() -> None:
    graph = Graph(
        name="g",
        model="m",
        nodes={"summary": Summarizer(), "member": Member()},
        output="member",
    )
    run = Runner(graph, model=numbered()).run("question 1")
    assert run.records["summary"].output == "(sum up to 1)"


# Members


def test_a_member_with_returns_gives_a_value_that_others_read_by_field() -> None:
    graph = Graph(
        name="g",
        model="m",
        nodes={
            "triage": Member(returns={"lang": "english|french", "items": "list[str]"}),
            "end": Member(
                needs="triage",
                prompt="{{ triage.output.lang }}/{{ triage.output.items | join('+') }}\n"
                "{% for one in upstream %}{{ one.output.lang }}{% endfor %}",
            ),
        },
        output="end",
    )
    model = ScriptedModel([{"lang": "french", "items": ["a", "b"]}, "fin"])
    run = Runner(graph, model=model).run("hi")
    assert run.records["triage"].output == {"lang": "french", "items": ["a", "b"]}
    assert words_of(model.requests[-1]) == "french/a+b\nfrench"


def test_an_answer_of_another_shape_is_asked_for_again_and_then_fails() -> None:
    graph = Graph(
        name="g",
        model="m",
        retry=Retry(times=1, wait=0.001),
        nodes={"member": Member(returns={"lang": "english|french"}, repair=0)},
    )
    good = ScriptedModel([{"lang": "klingon"}, {"lang": "french"}])
    assert Runner(graph, model=good).run("hi").records["member"].output == {"lang": "french"}
    with pytest.raises(NodeError, match="the answer does not fit"):
        Runner(graph, model=ScriptedModel([{"lang": "klingon"}, "nonsense"])).run("hi")


CUT = ToolCall(id="1", name="read_chat_history", arguments='{"limit": ')


@pytest.mark.parametrize(
    ("reply", "words", "asked"),
    [
        (Reply(""), "the model's answer is empty", 2),
        (Reply("  \n", finish_reason="stop"), "the model's answer is empty", 2),
        (Reply("", finish_reason="length"), "max_tokens was used up before the answer began", 1),
        (Reply("", finish_reason="content_filter"), "content filter blocked the answer", 1),
        (
            Reply("x", tool_calls=(CUT,), finish_reason="length"),
            "max_tokens was used up in the middle of a tool call; raise it",
            1,
        ),
    ],
)
def test_an_empty_answer_is_no_answer_and_is_counted(reply: Reply, words: str, asked: int) -> None:
    member, model = Member(tools=["read_chat_history"]), ScriptedModel(lambda _: reply)
    graph = Graph(name="g", model="m", retry=Retry(times=1, wait=0.001), nodes={"member": member})
    with pytest.raises(NodeError, match=words) as failed:
        Runner(graph, model=model).run("hi")
    assert isinstance(failed.value.__cause__, AnswerError)
    assert failed.value.run is not None
    assert failed.value.run.usage.calls == len(model.requests) == asked


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("length", "(max_tokens was used up before its end; raise it)"),
        ("content_filter", "(the provider's content filter cut it off)"),
    ],
)
def test_what_cut_an_answer_is_said_where_it_cannot_be_read(reason: str, words: str) -> None:
    router = {"r": Router(routes={"a": "x", "b": "y"}), "a": Member(), "b": Member()}
    nodes: dict[str, Node]
    for nodes, text in (
        ({"m": Member(returns={"x": "int"})}, '{"x": '),
        ({**router, "m": Member(needs=["a", "b"])}, "the tea or the bee"),
    ):
        model = ScriptedModel([Reply(text, finish_reason=reason)])
        with pytest.raises(NodeError, match=re.escape(words)):
            Runner(Graph(name="g", model="m", nodes=nodes, output="m"), model=model).run("hi")


# Python


def past_tool_calls(function: Any, **options: Any) -> Run:
    graph = Graph(name="g", nodes={"work": Python(call=function, **options)})
    return Runner(graph).run("hello", user_id="ann", session_id="s", state={"a": [1]})


async def is_async(message: str) -> str:
    return message.upper()


class Callable_:  # noqa: N801  an object that is called
    async def __call__(self, message: str) -> str:
        return message[::-1]


@pytest.mark.parametrize(
    ("function", "output"),
    [
        (lambda message: message * 2, "hellohello"),
        (is_async, "HELLO"),
        (functools.partial(is_async), "HELLO"),
        (Callable_(), "olleh"),
        (lambda: None, None),
        (lambda user_id, session_id: [user_id, session_id], ["ann", "s"]),
        (lambda state, session_state: [state, session_state], [{}, {"a": [1]}]),
        (lambda context: context.node_id, "work"),
        (lambda missing=3: missing, 3),
        (lambda *rest, **more: [list(rest), more], [[], {}]),
        (lambda size: size + 1, 8),
    ],
)
def test_a_function_gets_what_it_names(function: Any, output: Any) -> None:
    run = past_tool_calls(function, params={"size": 7})
    assert run.records["work"].output == output


def test_a_function_gets_outputs_by_id_and_runs_after_them() -> None:
    graph = Graph(
        name="g",
        nodes={
            "end": Python(call=lambda one, two=None: [one, two]),
            "one": Python(call=lambda: {"n": 1}),
            "two": Python(call=lambda: 2, when="false"),
        },
        output="end",
    )
    assert Runner(graph).run("hi").records["end"].output == [{"n": 1}, None]


def test_what_a_function_changes_beside_its_states_nobody_else_sees() -> None:
    def spoil(one: Any, names: Any, upstream: Any) -> str:
        one["n"].append(2)
        names.append("x")
        upstream[0].output["n"].append(3)
        return "ok"

    graph = Graph(
        name="g",
        nodes={
            "one": Python(call=lambda: {"n": [1]}),
            "spoil": Python(call=spoil, needs="one", params={"names": []}),
            "end": Python(call=lambda one: one, needs="spoil"),
        },
    )
    for _ in range(2):
        run = Runner(graph).run("hi")
        assert run.records["end"].output == {"n": [1]}
        assert run.records["one"].output == {"n": [1]}
    assert graph.nodes["spoil"].params == {"names": []}


def failing(error: BaseException) -> Callable[[], str]:
    def call() -> str:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("too\n few"), "ValueError: too few"),
        (KeyError(), "KeyError"),
        (StopIteration(), "RuntimeError: it raised StopIteration"),
        (TimeoutError(), "TimeoutError"),
        (InputError("say more"), "say more"),
    ],
)
def test_an_exception_in_a_function_fails_its_node(error: Exception, text: str) -> None:
    with pytest.raises(NodeError) as caught:
        past_tool_calls(failing(error))
    reason, _, line = caught.value.reason.partition(" (")
    assert reason == text
    assert str(caught.value) == f"node 'work' failed: {caught.value.reason}"
    if isinstance(error, ValueError | KeyError) and not isinstance(error, InputError):
        assert re.fullmatch(r"tests/nodes/test_running\.py:\d+\)", line)


def prices(message: str) -> Any:
    return json.loads(message)  # the library raises, and this line is the user's


async def stored_prices(message: str) -> Any:
    return prices(message)


def line_of(function: Callable[..., object], text: str) -> str:
    lines, first = inspect.getsourcelines(function)
    (at,) = (number for number, line in enumerate(lines, first) if text in line)
    return f"tests/nodes/test_running.py:{at}"


@pytest.mark.parametrize("function", [prices, stored_prices, functools.partial(prices)])
def test_an_exception_names_the_last_line_of_the_users_code(function: Any) -> None:
    with pytest.raises(NodeError, match="JSONDecodeError: Expecting value") as caught:
        past_tool_calls(function)
    assert caught.value.reason.endswith(f"({line_of(prices, 'json.loads')})")


def test_an_exception_in_a_library_alone_names_its_first_line() -> None:
    with pytest.raises(NodeError, match=r"JSONDecodeError: .* \(.*json.decoder\.py:\d+\)$"):
        past_tool_calls(json.JSONDecoder().decode, params={"s": "{"})


def count(session_state: Any, state: Any, note: str) -> int:
    session_state["count"] = session_state.get("count", 0) + 1
    session_state.setdefault("seen", []).append(note)
    state["last"] = note
    return len(session_state["seen"])


async def count_later(session_state: Any, state: Any, note: str) -> int:
    return count(session_state, state, note)


@pytest.mark.parametrize("function", [count, count_later])
def test_what_a_function_does_to_states_is_stored(function: Any, store: Store) -> None:
    graph = Graph(
        name="g", state={"count": 5}, nodes={"work": Python(call=function, params={"note": "x"})}
    )
    runner = Runner(graph, store=store)
    assert [runner.run("hi", session_id="s").answer for _ in range(2)] == ["1", "2"]
    session = runner.session("s")
    assert session.state() == {"count": 7, "seen": ["x", "x"]}
    run = runner.run("hi", session_id="s")
    assert (run.records["work"].state, run.records["work"].session_state) == (
        None,
        {"count": 8, "seen": ["x", "x", "x"]},
    )


def test_states_in_a_result_take_precedence_and_a_failed_function_changes_nothing() -> None:
    def both(session_state: Any, state: Any) -> Result:
        session_state.update(a=1, b=2)
        state["own"] = 1
        return Result("x", session_state={"b": 3}, state={"own": 2})

    record = past_tool_calls(both).records["work"]
    assert (record.session_state, record.state) == ({"a": 1, "b": 3}, {"own": 2})

    def spoil(session_state: Any) -> None:
        session_state["a"] = 9
        raise ValueError("no")

    with pytest.raises(NodeError) as caught:
        past_tool_calls(spoil)
    assert caught.value.run is not None
    assert caught.value.run.records["work"].session_state is None

    def drop(session_state: Any) -> None:
        del session_state["a"]

    with pytest.raises(NodeError, match="the key 'a' of a session's state cannot be deleted"):
        past_tool_calls(drop)


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "result",
    [
        object(),
        CIRCLE,
        {"a": b"\xff"},
        Result("x", state={"a": object()}),
        Result("x", session_state={"a": object()}),
        Result("x", fields={"a": object()}),  # type: ignore[dict-item]  what is tested
        Result("x", state=["no mapping"]),  # type: ignore[arg-type]  what is tested
    ],
)
def test_what_cannot_be_kept_fails_the_node_and_names_it(result: Any) -> None:
    with pytest.raises(NodeError) as caught:
        past_tool_calls(lambda: result)
    assert "node 'work': its " in caught.value.reason


def test_a_function_is_found_when_the_graph_is_loaded_or_not_at_all() -> None:
    node = Python(call="tests.teams:alone")
    assert node.inputs() == {}
    context = Context(**dict.fromkeys(Context.__struct_fields__) | {"node_id": "n"})  # type: ignore[arg-type]  nothing else is looked at
    with pytest.raises(InputError, match="was not resolved at load"):
        wait_for(node.run(context))

    def positional(message: str, /) -> str:
        return message

    with pytest.raises(DefinitionError, match="positional only"):
        Python(call=positional)


def test_state_of_a_node_is_its_own_and_comes_back_at_the_next_turn(store: Store) -> None:
    def count(state: dict[str, Any]) -> Result:
        return Result(state.get("count", 0), state={"count": state.get("count", 0) + 1})

    graph = Graph(
        name="g",
        nodes={
            "one": Python(call=count),
            "two": Python(call=lambda state: [*state], needs="one"),
            "end": Python(call=lambda one, two: [one, two]),
        },
        output="end",
    )
    runner = Runner(graph, store=store)
    outputs = [runner.run("hi", session_id="s").records["end"].output for _ in range(3)]
    assert outputs == [[0, []], [1, []], [2, []]]
    assert Runner(graph, store=store).run("hi", session_id="t").answer == "[0, []]"


def test_usage_of_a_run_is_the_sum_of_its_nodes_and_unknown_cost_stays_unknown() -> None:
    def priced(request: Request) -> Reply:
        known = bool(request.choices) or request.schema is not None
        text = '{"choice": "french"}' if request.choices else "text"
        if request.schema is not None and not request.choices:
            text = '{"summary": "s", "topics": []}'
        return Reply(text, usage=Usage(10, 2, calls=1, cost=0.5 if known else None))

    run = Runner(desk(), model=ScriptedModel(priced)).run("hi")
    assert run.usage == Usage(30, 6, calls=3, cost=None)
    assert run.records["router"].usage.cost == 0.5
    known = Runner(desk(), model=desk_model()).run("hi")
    assert known.usage.cost == 0.0
    total = Usage()
    for record in known.records.values():
        total += record.usage
    assert total == known.usage


def test_a_model_that_counts_nothing_was_asked_nevertheless() -> None:
    run = Runner(
        desk(),
        model=ScriptedModel(
            lambda request: Reply("french" if request.choices else '{"summary": "s", "topics": []}')
        ),
    ).run("hi")
    assert run.usage == Usage(calls=3)


def test_a_record_of_an_older_window_without_numbers_is_an_empty_history() -> None:
    graph = chat(runs=1)
    loader = graph.nodes["history"]
    blank = Context(**dict.fromkeys(Context.__struct_fields__))  # type: ignore[arg-type]  the past is not asked
    history = wait_for(loader.recall(blank, "instead"))
    assert history == wait_for(loader.recall(blank, {}))
    assert Summarizer().summarized("text", {"topics": []}) is None
    assert summary_again(Member(), "text", {}) is None
    assert replace(Record("n", "done")).is_final
