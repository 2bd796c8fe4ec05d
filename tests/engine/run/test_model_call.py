"""What is asked of a model, and how its answer is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph import JSON, Graph, Reply, Request, Runner, ScriptedModel
from teamgraph.errors import AnswerError, NodeError
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import Member, Router

LABELS = ["billing", "Sales & more", "été", "a.b"]


def chosen(text: str, *, many: bool) -> tuple[str, ...] | str:
    """The labels that a router reads in a model's text, or why there are none."""
    graph = Graph(
        name="g",
        model="m",
        nodes={
            "router": Router(
                routes={label: {"to": "end"} for label in LABELS},
                select="many" if many else "one",
            ),
            "end": Member(),
        },
        output="end",
    )
    model = ScriptedModel(lambda request: Reply(text if request.choices else "x"))
    try:
        return Runner(graph, model=model).run("hi").records["router"].choices or ()
    except NodeError as error:
        return error.reason if isinstance(error.__cause__, AnswerError) else repr(error)


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=40) | st.recursive(st.none() | st.text(max_size=9), st.lists).map(json.dumps)
)
def test_whatever_a_model_says_is_a_label_or_an_error_with_the_labels(text: str) -> None:
    outcome = chosen(text, many=False)
    if isinstance(outcome, tuple):
        assert len(outcome) == 1
        assert outcome[0] in LABELS
    else:
        assert outcome.startswith(("the answer does not fit: ", "the model's "))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(LABELS), min_size=1), st.booleans())
def test_labels_come_in_declared_order_once_each(labels: list[str], loud: bool) -> None:
    names = [label.upper() if loud else label for label in labels]
    outcome = chosen(json.dumps({"reason": None, "choices": names}), many=True)
    assert outcome == tuple(label for label in LABELS if label in labels)


def test_the_schema_of_a_choice_names_the_labels_and_what_is_wanted() -> None:
    asked: list[Request] = []

    def script(request: Request) -> Reply:
        asked.append(request)
        return Reply('{"choices": ["a"], "reason": "", "tasks": []}' if request.choices else "x")

    for options in ({}, {"select": "many"}, {"select": "many", "allow_none": True, "tasks": True}):
        nodes = {
            "router": Router.model_validate({"routes": {"a": "A", "b": "B"}, **options}),
            "a": Member(),
            "b": Member(),
        }
        graph = Graph(name="g", model="m", nodes=nodes, output=["a", "b"])
        Runner(graph, model=ScriptedModel(script)).run("hi")
    one, many, all_options = [request for request in asked if request.choices]
    assert one.schema == {
        "type": "object",
        "title": "choice",
        "properties": {
            "reason": {"type": "string"},
            "choice": {"type": "string", "enum": ["a", "b"]},
        },
        "required": ["reason", "choice"],
        "additionalProperties": False,
    }
    label = {"type": "string", "enum": ["a", "b"]}
    assert many.schema is not None
    assert all_options.schema is not None
    assert many.schema["properties"] == {
        "reason": {"type": "string"},
        "choices": {"type": "array", "items": label, "minItems": 1},
    }
    assert all_options.schema["required"] == ["reason", "choices", "tasks"]
    assert (one.many, many.many) == (False, True)


def test_an_error_shows_a_long_answer_only_in_part() -> None:
    reason = chosen("word " * 100, many=False)
    assert isinstance(reason, str)
    assert "word ...' is not a label" in reason
    assert len(reason) < 200


@pytest.mark.parametrize(
    "text",
    [
        '{"choices": ["billing"], "tasks": [{"label": 3, "task": "x"}]}',
        'So it is {"choice": "billing", "reason": "a \\"bill\\" }"}, I think.',
        f"```\n{'[' * 5000 + ']' * 5000}\n```\n```\n['billing',]\n```\n",
        "```\n# {}\n```\n```\n['billing',]\n```\n",
    ],
    ids=["a task without a label", "quotes in a text", "too deep", "a comment"],
)
def test_what_else_is_in_an_answer_does_no_harm(text: str) -> None:
    assert chosen(text, many=True) == ("billing",)


WANTED: dict[str, JSON] = {"n": "int"}


class Changing(Node):
    """Asks in a form that it changes between two requests, in the same object."""

    prompt: str | None = "{{ node.form.text if node.form else '' }}"

    async def run(self, context: Context) -> Result:
        WANTED.clear()
        WANTED["n"] = "int"
        answers = [await context.ask_for(WANTED), await context.ask_for(WANTED)]
        WANTED["word"] = "str"
        return Result([*answers, await context.ask_for(WANTED), await context.ask_for("float")])


def test_a_form_that_a_kind_changes_is_what_the_next_request_asks_for() -> None:
    replies = ['{"n": 1}', '{"n": 2}', '{"n": 3, "word": "x"}', '{"value": 4}']
    model = ScriptedModel([Reply(text) for text in replies])
    graph = Graph(name="g", model="m", nodes={"a": Changing()}, output="a")
    run = Runner(graph, model=model).run("hi")
    assert run.records["a"].output == [{"n": 1}, {"n": 2}, {"n": 3, "word": "x"}, 4.0]
    forms = [request.messages[-1].content for request in model.requests]
    assert forms == [
        '{"n": integer}',
        '{"n": integer}',
        '{"n": integer, "word": string}',
        '{"value": number}',
    ]
