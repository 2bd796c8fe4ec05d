"""ScriptedModel gives the scripted answers, EchoModel repeats the user."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph import JSON, EchoModel, Message, Reply, Request, ScriptedModel, ToolCall
from teamgraph.errors import ModelError
from tests.stub import ask, ask_all


def saying(*texts: str, choices: tuple[str, ...] = (), many: bool = False) -> Request:
    messages = tuple(Message(role="user", content=text) for text in texts)
    return Request("scripted", messages, choices=choices, many=many)


def test_answers_come_in_the_order_of_the_script() -> None:
    model = ScriptedModel(["english", "Hello!"])
    assert [ask(model, saying("hi"))[1].text for _ in range(2)] == ["english", "Hello!"]


def test_a_single_text_is_the_answer_to_everything() -> None:
    model = ScriptedModel("Hello!")
    assert {ask(model, saying(text))[1].text for text in "abc"} == {"Hello!"}


def test_a_function_answers_by_the_request() -> None:
    model = ScriptedModel(lambda request: request.messages[-1].content.upper())
    assert ask(model, saying("hi"))[1].text == "HI"


def test_the_key_in_the_latest_message_counts() -> None:
    model = ScriptedModel({"first": "1", "second": "2"})
    assert ask(model, saying("the first", "the second"))[1].text == "2"
    assert ask(model, saying("the first", "something"))[1].text == "1"


def test_a_prompt_without_a_key_is_an_error_that_names_the_keys() -> None:
    with pytest.raises(ModelError, match=r"no key of the script .*'hi'; the keys are 'refund'"):
        ask(ScriptedModel({"refund": "billing"}), saying("hi"))


def test_one_call_more_than_the_script_has_is_an_error_that_shows_the_prompt() -> None:
    with pytest.raises(ModelError, match=r"has 0 answers and this is one call more, .* 'hi'"):
        ask(ScriptedModel([]), saying("hi"))


def test_an_empty_prompt_is_recognized() -> None:
    with pytest.raises(ModelError, match="ends with ''"):
        ask(ScriptedModel([]), Request("scripted", ()))


def test_requests_are_recorded() -> None:
    model = ScriptedModel("x")
    request = saying("hi")
    ask(model, request)
    assert model.requests == [request]


def test_an_exception_in_the_script_is_raised_and_the_script_goes_on() -> None:
    model = ScriptedModel([ModelError("model m: gone", model="m"), "back"])
    with pytest.raises(ModelError, match="gone"):
        ask(model, saying("hi"))
    assert ask(model, saying("hi"))[1].text == "back"


def test_a_mapping_is_sent_as_json() -> None:
    assert json.loads(ask(ScriptedModel([{"lang": "fr"}]), saying("hi"))[1].text) == {"lang": "fr"}


def test_a_reply_is_given_as_it_is() -> None:
    reply = Reply("look", tool_calls=(ToolCall(id="1", name="look", arguments="{}"),))
    pieces, got = ask(ScriptedModel([reply]), saying("hi"))
    assert (pieces, got) == (["look"], reply)


def test_a_bare_label_becomes_a_choice() -> None:
    text = ask(ScriptedModel(["b"]), saying("hi", choices=("a", "b")))[1].text
    assert json.loads(text) == {"choice": "b", "reason": ""}


def test_several_labels_become_choices() -> None:
    request = saying("hi", choices=("a", "b", "c"), many=True)
    model = ScriptedModel([["a", "c"], "b", []])
    assert [json.loads(ask(model, request)[1].text)["choices"] for _ in range(3)] == [
        ["a", "c"],
        ["b"],
        [],
    ]


def test_what_is_no_label_goes_out_as_it_is_so_that_a_router_can_be_tried() -> None:
    request = saying("hi", choices=("a", "b"))
    model = ScriptedModel(["nonsense", ["a", "x"]])
    assert ask(model, request)[1].text == "nonsense"
    assert json.loads(ask(model, request)[1].text) == ["a", "x"]


def test_other_fields_that_the_schema_requires_are_filled() -> None:
    schema: dict[str, JSON] = {
        "type": "object",
        "properties": {"choice": {"enum": ["a"]}, "task": {"type": "string"}},
        "required": ["choice", "task"],
    }
    request = Request("m", (), schema=schema, choices=("a",))
    text = ask(ScriptedModel("a"), request)[1].text
    assert json.loads(text) == {"choice": "a", "task": "", "reason": ""}


@settings(deadline=None)
@given(st.text())
def test_the_pieces_put_together_are_the_answer(text: str) -> None:
    pieces, reply = ask(ScriptedModel([text]), saying("hi"))
    assert "".join(pieces) == reply.text == text


def test_an_answer_comes_word_by_word() -> None:
    assert ask(ScriptedModel("one two  three"), saying("hi"))[0] == ["one ", "two  ", "three"]


def test_words_are_counted_and_cost_nothing() -> None:
    usage = ask(ScriptedModel("one two"), saying("a b c"))[1].usage
    assert (usage.input_tokens, usage.output_tokens, usage.calls, usage.cost) == (3, 2, 1, 0.0)


def test_answers_that_take_time_do_so_side_by_side() -> None:
    model = ScriptedModel("x", delay=0.01)

    async def both() -> list[str]:
        answers = await asyncio.gather(*(ask_all(model, saying("hi")) for _ in range(2)))
        assert len(model.requests) == 2
        return [reply.text for _, reply in answers]

    assert asyncio.run(both()) == ["x", "x"]


def test_the_echo_repeats_the_last_user_message_and_says_that_it_is_scripted() -> None:
    messages = (Message(role="user", content="hi"), Message(role="assistant", content="yes"))
    pieces, reply = ask(EchoModel(), Request("echo", messages))
    assert "".join(pieces) == reply.text == "echo: hi"
    assert "scripted" in reply.model


def test_the_echo_of_nothing_is_an_echo() -> None:
    assert ask(EchoModel(), Request("echo", ()))[1].text == "echo"


def test_the_echo_chooses_the_first_label() -> None:
    one, many = saying("x", choices=("a", "b")), saying("x", choices=("a", "b"), many=True)
    assert json.loads(ask(EchoModel(), one)[1].text)["choice"] == "a"
    assert json.loads(ask(EchoModel(), many)[1].text)["choices"] == ["a"]


def test_the_echo_fills_a_schema() -> None:
    schema: dict[str, JSON] = {
        "type": "object",
        "properties": {"summary": {"type": "string"}, "n": {"type": "integer"}},
        "required": ["summary", "n"],
    }
    text = ask(EchoModel(), Request("echo", (), schema=schema))[1].text
    assert json.loads(text) == {"summary": "echo", "n": 0}
