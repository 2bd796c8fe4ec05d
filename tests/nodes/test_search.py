"""The kind `search`: what it finds, what its record keeps, how templates read it."""

# ruff: noqa: ANN401  models, tools and stores say what they like
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from teamgraph import Graph, Runner, ScriptedModel, SessionKey, Store
from teamgraph.errors import DefinitionError, ModelError, NodeError
from teamgraph.nodes import Member, Search
from tests.builders import written
from tests.teams import wait_for

PROMPT = """{% for session in earlier.output %}
{{ session.session_id }}:
{%- for run in session.runs %} {{ run.input }} -> {{ run.answer }};{% endfor %}

{% endfor %}
"""


def desk(**options: Any) -> Graph:
    nodes = {"earlier": Search(**options), "clerk": Member(prompt=PROMPT)}
    return Graph(name="desk", model="m", nodes=nodes, output="clerk", state={"topic": ""})


def asked(
    store: Store, message: str, session: str, graph: Graph | None = None, **more: Any
) -> list[str]:
    """The lines of the prompt of a turn."""
    model = ScriptedModel(lambda _: f"re {message}")
    runner = Runner(graph or desk(), model=model, store=store)
    runner.run(message, session_id=session, user_id="ann", **more)
    return model.requests[-1].messages[0].content.splitlines()


def test_it_brings_the_last_two_other_sessions_latest_first(store: Store) -> None:
    for session in ("s1", "s2", "s3", "s4"):
        asked(store, f"capital {session}", session)
    assert asked(store, "what did I ask?", "s5") == [
        "s4: capital s4 -> re capital s4;",
        "s3: capital s3 -> re capital s3;",
    ]
    # The session of the run is left out before the others are counted.
    assert asked(store, "and now?", "s4")[0].startswith("s5: what did I ask?")
    assert asked(store, "again?", "s4")[1].startswith("s3: ")


def test_it_brings_as_many_turns_of_each_as_it_is_told(store: Store) -> None:
    for number in range(5):
        asked(store, f"m{number}", "old")
    assert asked(store, "?", "a") == ["old: m2 -> re m2; m3 -> re m3; m4 -> re m4;"]
    assert asked(store, "?", "b", desk(runs=1, sessions=9))[-1] == "old: m4 -> re m4;"
    assert asked(store, "?", "c", desk(runs=0)) == []
    assert asked(store, "?", "c", desk(sessions=0)) == []


def test_a_query_is_a_template_and_brings_only_what_contains_its_text(store: Store) -> None:
    for message in ("about tea", "about bread", "tea again"):
        asked(store, message, "old")
    graph = desk(query="{{ session.state.topic }}")
    assert asked(store, "?", "new", graph, state={"topic": "Tea"}) == [
        "old: about tea -> re about tea; tea again -> re tea again;"
    ]
    assert asked(store, "?", "new", graph, state={"topic": "salt"}) == []
    assert len(asked(store, "?", "empty", graph, state={"topic": " "})) == 2
    assert asked(store, "{{ tea }}", "more", desk(query="{{ input.message }}")) == []


def test_two_users_find_nothing_of_each_other(store: Store) -> None:
    asked(store, "a secret", "s1")
    model = ScriptedModel("hello")
    for user in ("bob", None):
        Runner(desk(), model=model, store=store).run("?", user_id=user, session_id="s2")
        assert "secret" not in model.requests[-1].messages[0].content


def test_its_record_keeps_numbers_and_no_words(store: Store) -> None:
    asked(store, "first", "old")
    asked(store, "long " * 200, "old")
    model = ScriptedModel("ok")
    run = Runner(desk(runs=1), model=model, store=store).run("?", user_id="ann", session_id="new")
    assert run.records["earlier"].output == [{"session_id": "old", "turns": [2]}]
    assert "long long" in model.requests[0].messages[0].content
    assert "long …" in model.requests[0].messages[0].content


def test_a_run_that_is_taken_up_again_finds_the_same_turns(store: Store) -> None:
    asked(store, "first", "old")
    model = ScriptedModel([ModelError("gone", model="m"), "ok"])
    runner = Runner(desk(), model=model, store=store)
    with pytest.raises(NodeError):
        runner.run("?", user_id="ann", session_id="new", run_id="r")
    asked(store, "second", "old")
    assert runner.resume("r", user_id="ann", session_id="new").answer == "ok"
    first, again = (request.messages for request in model.requests)
    assert first == again
    assert "first" in first[0].content
    assert "second" not in first[0].content


def test_a_record_that_others_wrote_is_read_as_far_as_it_goes(store: Store) -> None:
    async def read(stored: Any) -> object:
        context: Any = None

        class Past:
            async def quoted_turns(self, turns: object) -> list[Any]:
                self.turns = turns
                return []

        class Seen:
            past = Past()

        context = Seen()
        assert await Search().recall(context, stored) == []
        return context.past.turns

    assert wait_for(read("?")) == {}
    assert wait_for(read([3, {}, {"session_id": "a", "turns": [1, "x"]}])) == {"a": [1]}


def test_what_a_query_reads_orders_the_nodes_and_is_checked(tmp_path: Path) -> None:
    graph = Graph(
        name="desk",
        model="m",
        nodes={
            "earlier": Search(query="{{ topic.output }}"),
            "topic": Member(),
            "clerk": Member(prompt=PROMPT),
        },
        output="clerk",
    )
    assert graph.plan.order.index("topic") < graph.plan.order.index("earlier")
    path = written(
        tmp_path,
        """
        name: desk
        model: m
        nodes:
          earlier: {kind: search, query: "{{ topik.output }}"}
          broken: {kind: search, query: "{{ input.message"}
          topic: {role: r, reads: [earlier, broken]}
        """,
    )
    with pytest.raises(DefinitionError) as caught:
        Graph.load(path, kinds={"search": Search})
    told = [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]
    assert told[0] == "4:38: unknown name 'topik'; did you mean 'topic'?"
    assert told[1].startswith("5:43: unexpected end of template")


def test_a_search_asks_no_model_and_has_no_prompt() -> None:
    with pytest.raises(DefinitionError, match="a search asks no model, so it has no prompt"):
        desk(prompt="search.jinja")
    with pytest.raises(DefinitionError, match="no prompt"):
        desk(prompt="search.jinja", query="tea")


def test_a_file_and_python_say_the_same(tmp_path: Path) -> None:
    graph = desk(sessions=3, query="tea")
    graph.dump(tmp_path / "desk.yaml")
    assert Graph.load(tmp_path / "desk.yaml", kinds={"search": Search}) == graph
    assert graph.nodes["earlier"].written() == {"sessions": 3, "query": "tea"}
    assert desk().nodes["earlier"].written() == {}


@pytest.mark.parametrize("field", ["sessions", "runs"])
def test_fewer_than_none_is_refused(field: str) -> None:
    with pytest.raises(DefinitionError, match=f"{field}: must be 0 or more"):
        Search(**{field: -1})


def test_a_session_that_was_deleted_is_not_found(store: Store) -> None:
    asked(store, "first", "old")
    wait_for(store.delete_session(SessionKey("ann", "old")))
    assert asked(store, "?", "new") == []
