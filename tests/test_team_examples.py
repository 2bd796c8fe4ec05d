"""The examples of teams that act do what they promise, with a scripted model."""

from __future__ import annotations

import re
from pathlib import Path

from teamgraph import Graph, Reply, Request, Runner, ScriptedModel, ToolCall
from tests.teams import words_of

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> Graph:
    return Graph.load(EXAMPLES / f"{name}.yaml", allow=["retrieval", "approve_refund"])


def test_a_text_is_written_until_the_critic_approves() -> None:
    def answer(request: Request) -> object:
        text = words_of(request)
        if request.schema is None:
            return "second draft" if "Improve it: shorter" in text else "first draft"
        return {"approved": "second draft" in text, "comments": "shorter"}

    model = ScriptedModel(answer)  # type: ignore[arg-type]  # each of these is an answer
    run = Runner(example("write_and_review"), model=model).run("A haiku")
    assert run.answer == "second draft"
    assert run.records["draft"].fields["rounds"] == 2
    assert "first draft" in words_of(model.requests[2])


def test_a_plan_is_executed_at_the_same_time_and_reported() -> None:
    def answer(request: Request) -> object:
        text = words_of(request)
        if request.schema is not None:
            asked = [{"query": f"{word}?", "reason": "x"} for word in ("who", "what", "when")]
            return {"goal": "sell more", "questions": asked}
        found = re.search(r"Question (\d): (\w+)", text)
        return f"{found[2]} is known" if found else text

    model = ScriptedModel(answer)  # type: ignore[arg-type]  # as above
    run = Runner(example("plan_and_execute"), model=model).run("Umbrellas?")
    assert run.records["findings"].output == ["who is known", "what is known", "when is known"]
    assert "what is known" in (run.answer or "")


def test_a_group_talks_until_a_word_ends_it() -> None:
    speakers = iter(["manager", "engineer", "designer", "engineer"])

    def answer(request: Request) -> str:
        if request.choices:
            return next(speakers)
        who = re.search(r"You are the (\w+ ?\w*)\.", words_of(request))
        agreed = " AGREED" if "designer: yes" in words_of(request) else ""
        return f"{who[1] if who else ''}: yes{agreed}"

    model = ScriptedModel(answer)
    run = Runner(example("group_chat"), model=model).run("Dark mode?")
    assert run.answer == "engineer: yes AGREED"
    assert run.records["talk"].fields == {"rounds": 4, "met": True}
    assert words_of(model.requests[-1]).count(": yes") == 3


def test_an_index_is_searched_in_other_words_until_it_is_enough() -> None:
    def answer(request: Request) -> object:
        text = words_of(request)
        if request.schema is not None:
            return {"enough": "30 days" in text, "missing": "how long"}
        return "lamps returned" if "Missing:" in text else Reply(text)

    model = ScriptedModel(answer)  # type: ignore[arg-type]  # as above
    run = Runner(example("retrieval"), model=model).run("Can I give it back?")
    assert run.records["search"].fields["rounds"] == 2
    assert run.records["search[1]/rewrite"].output == "lamps returned"
    assert run.records["search[2]/rewrite"].status == "skipped"
    assert "Lamps may be returned within 30 days" in (run.answer or "")
    assert "Can I give it back?" in (run.answer or "")


def test_a_refund_is_confirmed_and_its_letter_is_approved() -> None:
    wanted = iter([("look_up", '{"order": 17}'), ("refund", '{"order": 17, "amount": 40}')])

    def answer(request: Request) -> object:
        if request.tools and (call := next(wanted, None)):
            return Reply("", tool_calls=(ToolCall(id="c", name=call[0], arguments=call[1]),))
        return words_of(request).splitlines()[-1]

    model = ScriptedModel(answer)  # type: ignore[arg-type]  # as above
    runner = Runner(example("approve_refund"), model=model)
    run = runner.run("My lamp 17 is broken", run_id="r")
    assert run.turn.waiting == ("clerk/refund[2]",)
    run = runner.respond("r", {"clerk/refund[2]": {"approve": True}}, by="boss")
    (question,) = run.questions
    assert (question.path, question.options) == ("approve", ("send", "stop"))
    assert "40 euros are paid back for order 17" in question.text
    run = runner.respond("r", {"approve": "send"})
    assert (run.status, run.records["silence"].status) == ("done", "skipped")
    assert run.records["clerk"].exchanges[0].tool_results[0].content.startswith('{"lamp"')


def test_a_supervisor_asks_members_and_a_graph_and_then_answers() -> None:
    from supervisor import build  # noqa: PLC0415  a script, of which only this is needed

    def answer(request: Request) -> str | Reply:
        if not request.tools:
            return f"{request.messages[-1].content.strip()} found"
        done = [one.content for one in request.messages if one.role == "tool"]
        if done:
            return "; ".join(done)
        calls = [("trains", "to Porto"), ("hotels", "in Porto")]
        return Reply(
            "",
            tool_calls=tuple(
                ToolCall(id=name, name=name, arguments=f'{{"message": "{text}"}}')
                for name, text in calls
            ),
        )

    run = build(ScriptedModel(answer)).run("Plan a weekend")
    assert run.answer == "to Porto found; in Porto found"
    assert "leader/hotels[2]/judge" in run.records


def test_whoever_can_help_takes_the_conversation_over_and_keeps_it() -> None:
    def answer(request: Request) -> str | Reply:
        text = words_of(request)
        if "You receive" in text:
            call = ToolCall(id="1", name="transfer_to_refunds", arguments='{"reason": "a bag"}')
            return Reply("", tool_calls=(call,))
        return "How did it look?" if "a bag\n</handover>" in text else text.splitlines()[-1]

    model = ScriptedModel(answer)
    runner = Runner(example("airline_desk"), model=model)
    run = runner.run("It is lost", session_id="s")
    assert (run.answer, run.records["desk"].fields["speakers"]) == (
        "How did it look?",
        ["reception", "refunds"],
    )
    run = runner.run("Black", session_id="s")
    assert run.records["desk"].fields["speakers"] == ["refunds"]
    assert "How did it look?" in words_of(model.requests[-1])
