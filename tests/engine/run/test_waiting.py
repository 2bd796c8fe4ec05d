"""Runs that wait for a person: how they end, who answers, and what happens meanwhile."""

# ruff: noqa: ANN401  models, tools and stores say what they like
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from teamgraph import (
    JSON,
    Graph,
    Lease,
    MemoryStore,
    Run,
    Runner,
    ScriptedModel,
    SessionKey,
    Store,
    Turn,
)
from teamgraph.errors import (
    Changed,
    Expired,
    InputError,
    ModelError,
    NodeError,
    NotFound,
    SessionBusy,
    StoreError,
)
from teamgraph.events import NodeFinished, PromptRendered, RunFinished, RunStarted, RunWaiting
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import Human, Leader, Member, SubGraph
from tests.teams import heard, of, wait_for

KEY = SessionKey(None, "s")
ASK = "Shall we pay?\n{{ draft.output }}\n"


def refund(**options: Any) -> Graph:
    """A draft, two questions about it, and an answer made of all."""
    approve: dict[str, Any] = {"prompt": ASK, "options": ["yes", "no"], "needs": ["draft"]}
    return Graph(
        name="refund",
        model="m",
        output="say",
        nodes={
            "draft": Member(),
            "approve": Human(**(approve | options)),
            "note": Human(needs=["draft"], assign_to="accounting"),
            "aside": Member(needs=["draft"]),
            "say": Leader(needs=["approve", "note", "aside"]),
        },
    )


def echo() -> ScriptedModel:
    return ScriptedModel(lambda request: request.messages[-1].content)


def waiting(runner: Runner, run_id: str = "r", **options: Any) -> Run:
    run = runner.run("ten euros", session_id="s", run_id=run_id, **options)
    assert run.status == "waiting"
    return run


def test_a_run_ends_waiting_after_everything_else_that_can_run(store: Store) -> None:
    runner = Runner(refund(), model=echo(), store=store)
    events = heard(runner, "ten euros", session_id="s", run_id="r")
    last = events[-1]
    assert isinstance(last, RunWaiting)
    assert [event for event in events if isinstance(event, RunFinished | RunWaiting)] == [last]
    assert {event.node for event in of(events, NodeFinished)} == {"draft", "aside"}
    assert (last.node, last.run.status, last.run.answer) == ("approve", "waiting", None)
    approve, note = last.questions
    assert (approve.path, approve.text, approve.options) == (
        "approve",
        "Shall we pay?\nten euros",
        ("yes", "no"),
    )
    assert (note.path, note.options, note.assign_to) == ("note", (), "accounting")
    assert "draft:\n> ten euros" in note.text
    shown = [event for event in of(events, PromptRendered) if event.model == "person"]
    assert [event.node for event in shown] == ["approve", "note"]
    stored = wait_for(store.run(KEY, "r"))
    assert stored is not None
    assert (stored.status, stored.turn.waiting, stored.turn.number) == (
        "waiting",
        ("approve", "note"),
        0,
    )
    assert stored.records["approve"].status == "waiting"
    assert "say" not in stored.records
    assert stored.questions == last.questions


def test_questions_are_answered_in_any_order_by_any_runner(store: Store) -> None:
    asked = waiting(Runner(refund(), model=echo(), store=store))
    model = echo()
    one, two = (Runner(refund(), model=model, store=store) for _ in range(2))
    run = one.respond("r", {"note": "fine"}, by="ann")
    assert (run.status, run.turn.waiting) == ("waiting", ("approve",))
    assert run.questions == asked.questions[:1], "it is the same question, not another one"
    events = list(two.respond_stream("r", {"approve": "yes"}, session_id="s"))
    assert isinstance(events[0], RunStarted)
    assert events[0].resumed
    last = events[-1]
    assert isinstance(last, RunFinished)
    run = last.run
    assert (run.status, run.turn.number, run.turn.waiting) == ("done", 1, ())
    assert [run.records[node].output for node in ("approve", "note")] == ["yes", "fine"]
    assert {record.attempt for record in run.records.values()} == {1}
    assert [len(model.requests), run.questions] == [1, ()], "only the leader is left"
    stored = wait_for(store.run(KEY, "r"))
    assert stored is not None
    (question,) = stored.records["note"].questions
    assert question.response is not None
    assert (question.response.value, question.response.user_id) == ("fine", "ann")
    assert question.asked < question.response.given


def test_both_questions_are_answered_at_once_and_for_a_user() -> None:
    runner = Runner(refund(), model=echo())
    waiting(runner, user_id="ann")
    with pytest.raises(NotFound, match="without a user"):
        runner.respond("r", {"approve": "no"})
    run = runner.respond("r", {"approve": "no", "note": "x"}, user_id="ann")
    assert run.status == "done"
    (question,) = run.records["approve"].questions
    assert question.response is not None
    assert question.response.user_id == "ann"


@pytest.mark.parametrize(
    ("answers", "error", "told"),
    [
        ({}, InputError, "no answer is given; it asks approve, note"),
        ({"aprove": "yes"}, NotFound, "asks no question 'aprove'; did you mean 'approve'?"),
        ({"x": "yes"}, NotFound, "asks no question 'x'; it asks approve, note"),
        ({"approve": "yess"}, InputError, "'yess' is none of its options; did you mean 'yes'?"),
        ({"approve": 3}, InputError, "3 is none of its options; the options are yes, no"),
        ({"note": " "}, InputError, "'note': the answer must be a text that is not empty"),
        ({"note": 3}, InputError, "'note': the answer must be a text that is not empty"),
        ({"note": object()}, InputError, "the answers cannot be stored as JSON"),
        ("yes", InputError, "the answers are a str; give a mapping of the questions' paths"),
    ],
)
def test_an_answer_that_is_not_valid_changes_nothing(
    store: Store, answers: Any, error: type[Exception], told: str
) -> None:
    runner = Runner(refund(), model=echo(), store=store)
    run = waiting(runner)
    with pytest.raises(error) as caught:
        runner.respond("r", answers)
    assert told in str(caught.value)
    stored = wait_for(store.run(KEY, "r"))
    assert stored is not None
    assert (stored.turn, stored.questions) == (run.turn, run.questions)


def test_an_answer_is_given_once(store: Store) -> None:
    runner = Runner(refund(), model=echo(), store=store)
    waiting(runner)
    runner.respond("r", {"note": "fine"}, by="ann")
    with pytest.raises(InputError, match=r"answered already, by user 'ann' at .* UTC: \"fine\""):
        runner.respond("r", {"note": "other"})
    runner.respond("r", {"approve": "yes"})
    with pytest.raises(InputError, match=r"answered already, by no user at"):
        runner.respond("r", {"approve": "yes"})
    with pytest.raises(InputError, match="no answer is given; it asks nothing"):
        runner.respond("r", {})
    with pytest.raises(NotFound, match="asks no question 'draft'; it asks nothing"):
        runner.respond("r", {"draft": "x"})


class Overtaken(MemoryStore):
    """A store in which another process is always a little faster."""

    def __init__(self, answers: Sequence[Mapping[str, JSON]]) -> None:
        super().__init__()
        self.left = list(answers)

    async def begin(
        self, key: SessionKey, turn: Turn, *, is_stored: bool | None = None, **options: Any
    ) -> Lease:
        if is_stored and self.left:
            other = Runner(refund(), model=echo(), store=self)
            await other.arespond(turn.run_id, self.left.pop(0))
        return await super().begin(key, turn, is_stored=is_stored, **options)


def test_of_two_answers_at_the_same_time_the_second_is_refused() -> None:
    store = Overtaken([{"note": "first"}])
    runner = Runner(refund(), model=echo(), store=store)
    waiting(runner)
    with pytest.raises(InputError, match="'note' of run 'r' was answered already"):
        runner.respond("r", {"note": "second"})
    stored = wait_for(store.run(KEY, "r"))
    assert stored is not None
    assert (stored.status, stored.turn.waiting) == ("waiting", ("approve",))
    (question,) = stored.records["note"].questions
    assert question.response is not None
    assert question.response.value == "first"
    assert runner.respond("r", {"approve": "yes"}).status == "done"


def test_an_answer_to_a_run_that_was_answered_to_the_end_meanwhile_is_refused() -> None:
    store = Overtaken([{"note": "first", "approve": "no"}])
    runner = Runner(refund(), model=echo(), store=store)
    waiting(runner)
    with pytest.raises(InputError, match="done already"):
        runner.respond("r", {"note": "second"})


class OvertakenAndFailed(MemoryStore):
    """A store in which another process has answered everything, and its run has failed."""

    is_first = True

    async def begin(
        self, key: SessionKey, turn: Turn, *, is_stored: bool | None = None, **options: Any
    ) -> Lease:
        if is_stored and self.is_first:
            self.is_first = False
            model = ScriptedModel([ModelError("gone", model="m")])
            with pytest.raises(NodeError):
                await Runner(refund(), model=model, store=self).arespond(
                    turn.run_id, {"approve": "yes", "note": "x"}
                )
        return await super().begin(key, turn, is_stored=is_stored, **options)


def test_an_answer_that_comes_too_late_leaves_a_failed_run_to_be_resumed() -> None:
    store = OvertakenAndFailed()
    runner = Runner(refund(), model=echo(), store=store)
    waiting(runner)
    with pytest.raises(InputError, match="answered already"):
        runner.respond("r", {"note": "second"})
    assert runner.resume("r").status == "done"


def test_a_waiting_turn_blocks_its_session_and_names_its_question(store: Store) -> None:
    graph = Graph(name="plain", model="m", nodes={"draft": Member()})
    waiting(Runner(refund(), model=echo(), store=store))
    for busy in ("serialize", "reject"):
        runner = Runner(graph, model=echo(), store=store, busy=busy)  # type: ignore[arg-type]
        with pytest.raises(SessionBusy, match=r"run 'r' waits for an answer to 'approve', 'note'"):
            runner.run("next", session_id="s")
        assert runner.run("next", session_id="other").status == "done"
    fork = Runner(graph, model=echo(), store=store, busy="fork")
    allowed = Runner(graph, model=echo(), store=store, while_waiting="allow")
    assert [fork.run("a", session_id="s").turn.number, allowed.run("b", session_id="s").status] == [
        1,
        "done",
    ]
    run = Runner(refund(), model=echo(), store=store).respond("r", {"approve": "yes", "note": "x"})
    assert run.turn.number == 3, "a turn gets its number when it is finished"


def test_what_a_runner_does_while_a_run_waits_is_refuse_or_allow() -> None:
    with pytest.raises(InputError, match="while_waiting: 'wait' is unknown; take 'refuse' or"):
        Runner(refund(), while_waiting="wait")  # type: ignore[arg-type]


def test_a_waiting_run_that_is_resumed_goes_on_waiting(store: Store) -> None:
    runner = Runner(refund(), model=echo(), store=store)
    run = waiting(runner)
    again = runner.resume("r")
    assert (again.status, again.questions) == ("waiting", run.questions)
    assert runner.waiting() == [wait_for(store.run(KEY, "r"))]
    assert runner.waiting("ann") == []


@pytest.mark.parametrize("touch", ["resume", "respond"])
def test_a_question_that_has_expired_gets_its_default(store: Store, touch: str) -> None:
    graph = refund(expires=0.000001, default="no")
    runner = Runner(graph, model=echo(), store=store)
    waiting(runner)
    with pytest.raises(InputError, match=r"'approve' of run 'r' expired at .*resume the run"):
        runner.respond("r", {"approve": "yes"})
    run = runner.resume("r") if touch == "resume" else runner.respond("r", {"note": "x"})
    assert run.turn.waiting == (("note",) if touch == "resume" else ())
    assert run.records["approve"].output == "no"
    (question,) = run.records["approve"].questions
    assert question.response is not None
    assert question.response.is_default
    if touch == "resume":
        runner.respond("r", {"note": "x"})
    with pytest.raises(InputError, match="answered already, by nobody in time at"):
        runner.respond("r", {"approve": "yes"})


def test_a_question_that_has_expired_without_a_default_fails_the_node(store: Store) -> None:
    runner = Runner(refund(expires=0.000001), model=echo(), store=store)
    waiting(runner)
    with pytest.raises(NodeError, match="nobody answered within 0 seconds") as caught:
        runner.resume("r")
    assert isinstance(caught.value.__cause__, Expired)
    again = runner.resume("r")  # a failed run that is resumed asks again
    assert again.status == "waiting"
    assert [question.path for question in again.questions] == ["approve", "note"]


def test_an_expired_question_can_skip_its_node(store: Store) -> None:
    runner = Runner(refund(expires=0.000001, on_error="skip"), model=echo(), store=store)
    waiting(runner)
    run = runner.respond("r", {"note": "x"})
    assert (run.status, run.records["approve"].status) == ("done", "skipped")


def test_a_changed_graph_is_refused_with_the_difference() -> None:
    store = MemoryStore()
    waiting(Runner(refund(), model=echo(), store=store))
    changed = Runner(refund(prompt="Pay? {{ draft.output }}\n"), model=echo(), store=store)
    for attempt in (
        lambda: changed.respond("r", {"approve": "yes"}),
        lambda: changed.resume("r"),
    ):
        with pytest.raises(Changed) as caught:
            attempt()
        (difference,) = caught.value.differences
        assert "approve" in difference
        assert "+Pay? {{ draft.output }}" in difference
    stored = wait_for(store.run(KEY, "r"))
    assert stored is not None
    assert stored.status == "waiting"
    run = changed.resume("r", reuse_unchanged=True)
    assert run.questions[0].text == "Pay? ten euros"
    assert run.records["approve"].attempt == 2
    assert changed.respond("r", {"approve": "no", "note": "x"}).status == "done"


def test_an_answer_is_void_if_what_was_asked_about_is_made_again() -> None:
    store = MemoryStore()
    runner = Runner(refund(), model=echo(), store=store)
    waiting(runner)
    runner.respond("r", {"note": "fine"})
    nodes = {**refund().nodes, "draft": Member(role="drafts")}
    changed = Graph(name="refund", model="m", output="say", nodes=nodes)
    run = Runner(changed, model=echo(), store=store).resume("r", reuse_unchanged=True)
    assert run.turn.waiting == ("approve", "note"), "both are asked again"


def test_a_failure_elsewhere_keeps_the_question(store: Store) -> None:
    gone = ModelError("gone", model="m")
    model = ScriptedModel(["draft", gone, "aside", "said"])
    runner = Runner(refund(), model=model, store=store)
    with pytest.raises(NodeError):
        runner.run("ten euros", session_id="s", run_id="r")
    stored = wait_for(store.run(KEY, "r"))
    assert stored is not None
    assert (stored.status, stored.turn.waiting) == ("failed", ())
    asked = stored.questions
    assert [question.path for question in asked] == ["approve", "note"]
    run = runner.respond("r", {"note": "x"})
    assert (run.status, run.questions) == ("waiting", asked[:1])
    assert runner.respond("r", {"approve": "yes"}).answer == "said"


class Lost(MemoryStore):
    """A store that loses its disk when a run wants to wait."""

    async def finish(self, lease: Lease, turn: Turn, change: Any) -> Turn:
        if turn.status == "waiting":
            raise StoreError("the disk is full")
        return await super().finish(lease, turn, change)


def test_a_run_that_cannot_be_stored_as_waiting_fails() -> None:
    with pytest.raises(Exception, match="the disk is full"):
        Runner(refund(), model=echo(), store=Lost()).run("x", session_id="s")


def test_a_person_is_asked_inside_a_graph_by_the_path(store: Store) -> None:
    inner = Graph(
        name="inner", output="ok", nodes={"ok": Human(prompt="Inside?\n{{ input.message }}\n")}
    )
    graph = Graph(
        name="outer",
        model="m",
        output="say",
        nodes={"team": SubGraph(graph=inner), "say": Leader(needs=["team"])},
    )
    runner = Runner(graph, model=echo(), store=store)
    run = waiting(runner)
    (question,) = run.questions
    assert (question.path, question.text) == ("team/ok", "Inside?\nten euros")
    assert {path: record.status for path, record in run.records.items()} == {
        "team": "waiting",
        "team/ok": "waiting",
    }
    done = runner.respond("r", {"team/ok": "go"})
    assert {path: record.output for path, record in done.records.items()} == {
        "team": "go",
        "team/ok": "go",
        "say": "ten euros",
    }


def test_a_form_is_filled_in_and_validated() -> None:
    form = Human(prompt="Fill in\n", returns={"amount": "int", "why": "str?"})
    graph = Graph(
        name="form",
        model="m",
        output="say",
        nodes={"form": form, "say": Member(prompt="{{ form.output.amount + 1 }}\n")},
    )
    runner = Runner(graph, model=echo())
    (question,) = waiting(runner).questions
    assert question.schema is not None
    assert "amount" in question.schema["properties"]  # type: ignore[operator]
    with pytest.raises(InputError, match=r"'form': the answer does not fit: .*amount"):
        runner.respond("r", {"form": {"amount": "many"}})
    assert runner.respond("r", {"form": {"amount": 3}}).answer == "4"


class Twice(Node):
    """A kind of ones own that asks a person."""

    asks_person: ClassVar[bool] = True
    prompt: str | None = "member.jinja"

    async def run(self, context: Context) -> Result:
        try:
            answer = await context.ask_person(options=["a", "b"])
        except Exception:  # noqa: BLE001  # pragma: no cover - waiting is no error
            answer = "an error"
        return Result(f"{answer}!")


def test_a_kind_of_ones_own_asks_a_person() -> None:
    runner = Runner(Graph(name="x", nodes={"ask": Twice()}), store=MemoryStore())
    assert waiting(runner).questions[0].options == ("a", "b")
    assert runner.respond("r", {"ask": "b"}).answer == "b!"


class Asks(Node):
    asks_person: ClassVar[bool] = True
    prompt: str | None = "member.jinja"

    async def run(self, context: Context) -> Result:
        return Result([await context.ask_person(), await context.ask_person()])


def test_a_node_asks_a_person_once() -> None:
    runner = Runner(Graph(name="x", nodes={"ask": Asks()}))
    waiting(runner)
    with pytest.raises(NodeError, match="node 'ask' asks a person twice; make two nodes of it"):
        runner.respond("r", {"ask": "b"})


class OfYesterday(MemoryStore):
    version = 1


def test_a_store_of_an_older_version_is_told_what_it_lacks() -> None:
    plain = Graph(name="plain", model="m", nodes={"draft": Member()})
    assert Runner(plain, model=echo(), store=OfYesterday()).run("x").status == "done"
    inside = Graph(name="out", model="m", nodes={"team": SubGraph(graph=refund())})
    for refused in (
        lambda: Runner(refund(), store=OfYesterday()),
        lambda: Runner(inside, store=OfYesterday()),
        lambda: Runner(plain, store=OfYesterday(), while_waiting="allow"),
        lambda: Runner(plain, store=OfYesterday()).waiting(),
    ):
        with pytest.raises(InputError) as caught:
            refused()
        text = str(caught.value)
        assert "OfYesterday implements version 1 of the store protocol" in text
        assert "`waiting(user_id, *, limit, offset)`" in text
        assert "`begin(..., while_waiting=...)`" in text


def test_print_response_prints_the_question(capsys: pytest.CaptureFixture[str]) -> None:
    run = Runner(refund(), model=echo()).print_response("ten euros", session_id="s")
    assert run.status == "waiting"
    assert capsys.readouterr().out.startswith("approve: Shall we pay?\nten euros\nnote: ")


def test_a_model_in_place_of_the_graphs_own_is_no_change_of_the_graph() -> None:
    nodes = {"draft": Member(), "ask": Human(needs=["draft"])}
    graph = Graph(name="x", model={"id": "echo", "temperature": 0}, output="ask", nodes=nodes)
    store = MemoryStore()
    waiting(Runner(graph, model=echo(), store=store))
    assert Runner(graph, store=store).respond("r", {"ask": "fine"}).answer == "fine"
