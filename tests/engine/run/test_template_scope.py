"""What templates see of values, nodes and graphs."""

# ruff: noqa: ANN401  users pass what they like
from __future__ import annotations

import json
from typing import Any

import pytest

from teamgraph import Graph, Record, Runner, ScriptedModel
from teamgraph.engine.messages import text_of
from teamgraph.engine.run.template_scope import GraphScope, JSONView, json_view, output_view
from teamgraph.kinds import History
from teamgraph.nodes import HistoryLoader, Member, Python
from tests.teams import words_of


def rendered(template: str, nodes: dict[str, Any] | None = None, **state: Any) -> str:
    """What a member with this template sends, after `nodes` ran."""
    before = nodes or {}
    graph = Graph(
        name="team",
        description="of two",
        model="m",
        nodes={**before, "end": Member(prompt=f"{template}\n", role="Last", needs=list(before))},
        output="end",
    )
    model = ScriptedModel("x")
    Runner(graph, model=model).run("hello", user_id="ann", session_id="s", state=state or None)
    return words_of(model.requests[-1]).removesuffix("\n")


def test_a_key_wins_over_a_method_of_the_same_name() -> None:
    value = {"items": [1, 2], "keys": {"get": "got"}, "_data": "hidden?", "plain": 1}
    fields: Any = JSONView(value)
    assert fields.items == [1, 2]
    assert fields.keys.get == "got"
    assert fields["plain"] == fields.plain == 1
    assert fields["_data"] == "hidden?"
    assert list(fields) == list(value)
    assert len(fields) == 4
    assert "plain" in fields
    assert fields == value
    assert fields == JSONView(dict(value))
    assert fields != {"items": []}
    assert json.loads(str(fields)) == value
    with pytest.raises(AttributeError):
        _ = fields.missing


def test_lists_are_shown_with_what_is_in_them() -> None:
    (first, second) = json_view([{"a": 1}, "text"])  # type: ignore[misc]  a list
    assert first.a == 1
    assert second == "text"
    assert json_view(None) is None


@pytest.mark.parametrize(
    ("value", "text"), [("é", "é"), (None, "null"), ({"a": "é"}, '{"a": "é"}'), ([1], "[1]")]
)
def test_an_output_reads_as_text(value: object, text: str) -> None:
    assert text_of(value) == text


def test_what_a_node_gave_reads_the_same_by_id_and_upstream() -> None:
    nodes = {"one": Python(call=lambda: {"items": [{"keys": 1}], "name": "n"})}
    every = "{% for each in #.items %}{{ each.keys }}{% endfor %}"
    assert rendered(every.replace("#.items", "one.output['items']"), nodes) == "1"
    assert rendered(every.replace("#", "upstream[0].output"), nodes) == "1"
    assert rendered("{{ upstream[0].output }}", nodes) == ('{"items": [{"keys": 1}], "name": "n"}')


def test_the_session_state_is_read_by_key_whatever_the_key_is_called() -> None:
    template = (
        "{{ session.state['items'] }} {{ session.state.deep.keys }} {{ session.state | tojson }}"
    )
    assert rendered(template, items=3, deep={"keys": 4}) == (
        '3 4 {"deep": {"keys": 4}, "items": 3}'
    )


def test_the_names_that_every_template_has() -> None:
    template = (
        "{{ input.message }}|{{ user_id or '' }}|{{ session.id }}|{{ session.turns }}|"
        "{{ session.summary or 'None' }}|{{ graph.name }}|{{ graph.description }}|{{ node.id }}|"
        "{{ node.kind }}|{{ node.role }}|{{ node.task or 'None' }}|{{ history.runs | length }}|"
        "{% for one in graph.members %}{{ one.id }}:{{ one.kind }}:{{ one.role }},{% endfor %}"
    )
    assert rendered(template) == (
        "hello|ann|s|0|None|team|of two|end|member|Last|None|0|end:member:Last,"
    )


def test_a_loader_called_history_is_what_history_means() -> None:
    def loader(nodes: dict[str, Any]) -> str | None:
        return GraphScope(
            Graph(name="g", model="m", nodes={**nodes, "end": Member()}, output="end")
        ).loaders["end"]

    assert loader({}) is None
    assert loader({"past": HistoryLoader()}) == "past"


def test_an_outcome_is_the_output_and_the_further_fields() -> None:
    record = Record("router", "done", output="a", fields={"reason": {"why": "so"}})
    seen: Any = output_view(record, "a")
    assert (seen.output, seen.reason.why) == ("a", "so")
    history = History(output="text")
    assert output_view(Record("past", "done"), history) is history
