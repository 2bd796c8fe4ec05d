"""What templates may read is what they are given, and it is known by what the graph declares."""

# ruff: noqa: ANN401, E501  users pass what they like; a template is easier to read on one line
from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field, computed_field

from teamgraph import Graph, Runner, ScriptedModel
from teamgraph.engine.graph.template_types import TemplateTypes
from teamgraph.engine.prompts.static.types import ANY, ListType, RecordType, StaticType
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import Context, Node, Result, shape
from teamgraph.nodes import HistoryLoader, Leader, Member, Python, Router, Search, Summarizer
from tests.builders import refused, written


@dataclass
class Ticket:
    title: str
    note: str | None = None


def lookup(message: str) -> Ticket:
    return Ticket(message)


def team(template: str, **options: Any) -> Graph:
    """A router, what it leads to, and `end`, which reads with this template what it likes."""
    nodes: dict[str, Node] = {
        "history": HistoryLoader(),
        "router": Router(routes={"french": "French", "english": "English"}, default="french"),
        "french": Member(),
        "english": Member(),
        "triage": Member(returns={"lang": "fr|de", "score": "float?"}),
        "ticket": Python(call=lookup),
        "end": Member(
            prompt=f"{template}\n",
            needs=["french", "english"],
            params=options.pop(
                "params",
                {
                    "style": "calm",
                    "none": [],
                    "deep": {"two": ["a", "b"]},
                    "rows": [{"a": 1, "b": "x"}, {"a": 2}],
                },
            ),
            **options.pop("end", {}),
        ),
    }
    return Graph(
        **{
            "name": "team",
            "model": "m",
            "nodes": nodes,
            "state": {"orders": 0, "cart": {}, "seen": [], "who": None},
            "output": "end",
        }
        | options
    )


def told(template: str, **options: Any) -> list[Problem]:
    try:
        found = team(template, **options).warnings
    except DefinitionError as error:
        found = error.problems
    return [each for each in found if each.code[0] == "P"]


@pytest.mark.parametrize(
    ("template", "code", "column", "suggestion"),
    [
        ("{{ input.mesage }}", "P002", 10, "message"),
        ("{{ session.sumary }}", "P002", 12, "summary"),
        ("{{ session.summary }}", "P005", 4, None),
        ("{{ user_id }}", "P005", 4, None),
        ("{{ session.state.town }}", "P002", 18, None),
        ("{{ session.state.oders + 1 }}", "P002", 18, "orders"),
        ("{{ node.params.stile }}", "P002", 16, "style"),
        ("{% if node.params.stile %}{% endif %}", "P002", 19, "style"),
        ("{% for row in node.params.rows %}{{ row.b }}{% endfor %}", "P005", 37, None),
        ("{% for row in node.params.rows %}{{ row.c }}{% endfor %}", "P002", 41, None),
        ("{{ node.tsak }}", "P002", 9, "task"),
        ("{{ node.rol }}", "P002", 9, "role"),
        ("{{ node.task }}", "P005", 4, None),
        ("{{ node }}", "P006", 4, None),
        ("{{ graph.membrs }}", "P002", 10, "members"),
        ("{% for m in graph.members %}{{ m.roll }}{% endfor %}", "P002", 34, "role"),
        ("{% for m in upstream %}{{ m.outptu }}{% endfor %}", "P002", 29, "output"),
        ("{% for r in history.runs %}{{ r.anser }}{% endfor %}", "P002", 33, "answer"),
        ("{{ run.idd }}", "P002", 8, "id"),
        ("{{ now.yaer }}", "P002", 8, "year"),
        ("{% if router.output == 'frnch' %}{% endif %}", "P008", 24, "french"),
        ("{% if router.outptu %}{% endif %}", "P002", 14, "output"),
        ("{{ triage.output.lnag }}", "P002", 18, "lang"),
        ("{% if triage.output.lang == 'it' %}{% endif %}", "P008", 29, None),
        ("{{ triage.output.score }}", "P005", 4, None),
        ("{{ triage.output }}", "P006", 4, None),
        ("{{ ticket.output.titel }}", "P002", 18, "title"),
        ("{{ ticket.reason }}", "P002", 11, None),
        ("{% macro m(a) %}{{ a }}{% endmacro %}{{ m() }}", "P009", 41, None),
    ],
)
def test_what_cannot_hold_is_told_when_the_graph_is_made(
    template: str, code: str, column: int, suggestion: str | None
) -> None:
    (problem,) = told(template)
    assert (problem.code, problem.line, problem.column) == (code, 1, column)
    assert problem.suggestion == suggestion
    assert problem.path == ("nodes", "end", "prompt")


@pytest.mark.parametrize(
    "template",
    [
        "{{ input.message }}{{ user_id or 'nobody' }}{{ now.year }}",
        "{% if session.summary %}{{ session.summary }}{% endif %}{{ session.turns + 1 }}",
        "{{ session.state.orders }}{{ session.state.cart.apples }}{{ session.state | tojson }}",
        "{% for one in session.state.seen %}{{ one.what }}{% endfor %}{{ session.state.who.name }}",
        "{% if session.state.town is defined %}{{ session.state.town.name }}{% endif %}",
        "{{ session.state.town | default('nowhere') }}{{ node.params.tone | default('calm') }}",
        "{% if node.params.tone is undefined %}{% else %}{{ node.params.tone }}{% endif %}",
        "{% for row in node.params.rows %}{{ row.a }}{% if row.b %}{{ row.b }}{% endif %}{% endfor %}",
        "{% for row in node.params.rows %}{{ row.b | default('-') }}{% endfor %}",
        "{% for one in node.params.none %}{{ one.what }}{% endfor %}{{ node.params.deep.two[0] | upper }}",
        "{% for row in node.params.rows if row.b is defined %}{{ row.b | upper }}{% endfor %}",
        "{% if router.output == 'french' %}{{ router.reason }}{% endif %}",
        "{% for one in upstream %}{{ one.id }}{{ one.output | fence('x') }}{% endfor %}",
        "{{ triage.output.lang }}{{ triage.output.score or 0 }}{{ triage.output | fence('x') }}",
        "{{ ticket.output.title }}{{ [ticket.output] | bullets }}{{ node | fence('n') }}",
        "{{ node.id }}{{ node.kind }}{{ node.state.any }}{{ node.tools | length }}{{ node.returns | tojson }}",
    ],
)
def test_nothing_is_said_against_what_may_hold(template: str) -> None:
    assert told(template) == []


def test_a_condition_keeps_the_same_contract_at_its_own_place() -> None:
    (problem,) = told("x", end={"when": "router.output == 'frnch'"})
    assert (problem.code, problem.column, problem.suggestion) == ("P008", 18, "french")
    assert problem.path == ("nodes", "end", "when")
    assert told("x", end={"when": "session.turns > 0 and router.output == 'french'"}) == []


def test_a_condition_that_cannot_be_read_is_told_once() -> None:
    assert len(told("x", end={"when": "session.turns >"})) == 1


def test_what_others_brought_is_known_by_their_kind() -> None:
    def graph(template: str) -> Graph:
        prompt = f"{{% for one in node.reads %}}{template}{{% endfor %}}\n"
        nodes = {
            "history": HistoryLoader(),
            "search": Search(),
            "end": Member(prompt=prompt, reads=["history", "search"]),
        }
        return Graph(name="g", model="m", nodes=nodes)

    assert graph(
        "{{ one.output | fence('x') }}{% if one.kind == 'mail' %}{{ one.output.x }}{% endif %}"
    )
    loop = "{% for past in one.output %}{{ past.session_id }}{% endfor %}"
    assert graph(f"{{% if one.kind == 'search' %}}{loop}{{% endif %}}")
    assert graph(f"{{% if one.kind != 'search' %}}{{% else %}}{loop}{{% endif %}}")
    for wrong in (
        loop,
        f"{{% if one.kind == 'search' %}}{loop.replace('sess', 'ses')}{{% endif %}}",
    ):
        with pytest.raises(DefinitionError, match=r"which has no|has no 'sesion_id'"):
            graph(wrong)


def test_labels_of_a_router_that_chooses_many_are_the_items_of_its_output() -> None:
    def graph(template: str) -> Graph:
        router = Router(routes={"a": "A", "b": "B"}, select="many")
        end = Member(prompt=f"{template}\n", needs=["a", "b"])
        nodes = {"router": router, "a": Member(), "b": Member(), "end": end}
        return Graph(name="g", model="m", nodes=nodes, output="end")

    assert graph("{{ 'A' if 'a' in router.output }}")
    with pytest.raises(DefinitionError) as caught:
        graph("{{ 'A' if 'c' in router.output }}")
    assert [each.code for each in caught.value.problems] == ["P008"]


def test_what_only_one_of_the_nodes_lacks_names_that_node(tmp_path: Any) -> None:
    (tmp_path / "shared.jinja").write_text("{{ node.params.tone }}")
    with pytest.raises(DefinitionError) as caught:
        Graph(
            name="g",
            model="m",
            prompt_dirs=[tmp_path],
            nodes={
                "one": Member(prompt="shared.jinja", params={"tone": "calm"}),
                "two": Member(prompt="shared.jinja", needs=["one"]),
            },
        )
    (problem,) = caught.value.problems
    assert problem.code == "P002"
    assert problem.message.endswith("(as node two uses it)")


def test_a_value_instead_of_a_failed_output_counts_among_what_it_can_be() -> None:
    on_error: Any = {"value": {"lang": "xx"}}

    def graph(**options: Any) -> Graph:
        triage = Member(returns={"lang": "fr|de"}, on_error=options.pop("own", None))
        end = Member(prompt="{{ 'x' if triage.output.lang == 'xx' }}\n", needs="triage")
        return Graph(name="g", model="m", nodes={"triage": triage, "end": end}, **options)

    assert graph(on_error=on_error)
    assert graph(own=on_error)
    with pytest.raises(DefinitionError):
        graph()


def test_what_a_kind_gives_its_own_template_is_known_by_its_variables() -> None:
    class Counter(Node):
        variables: ClassVar[dict[str, object]] = {"count": int}

        async def run(self, context: Context) -> Result:
            return Result(await context.ask(count=1))

    assert Graph(name="g", model="m", nodes={"a": Counter(prompt="{{ count + 1 }}\n")})
    with pytest.raises(DefinitionError, match="no 'upper'"):
        Graph(name="g", model="m", nodes={"a": Counter(prompt="{{ count.upper() }}\n")})


def silent(message):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    return message


def made(message: str) -> Result:
    return Result(message)


def lost(message: str) -> Unknown:  # type: ignore[name-defined]  # noqa: F821
    return message


@pytest.mark.parametrize("call", [silent, made, lost])
def test_a_function_that_does_not_say_what_it_returns_may_return_anything(call: Any) -> None:
    end = Member(prompt="{{ a.output.what }}\n", needs="a")
    assert Graph(name="g", model="m", nodes={"a": Python(call=call), "end": end})


class Spy(Node):
    """Looks at all the names that its template could read."""

    seen: ClassVar[list[dict[str, object]]] = []

    async def run(self, context: Context) -> Result:
        call: Any = context.asker
        self.seen.append(call.scope.names(call.node))
        return Result(await context.ask())


def test_every_name_that_is_declared_is_given_and_nothing_else() -> None:
    nodes: dict[str, Node] = {
        "history": HistoryLoader(),
        "router": Router(routes={"french": "French", "english": "English"}, default="french"),
        "french": Member(),
        "english": Member(),
        "triage": Member(returns={"lang": "fr|de"}, needs="french"),
        "leader": Leader(needs=["triage"]),
        "ticket": Python(call=lookup),
        "spy": Spy(
            needs=["leader"],
            reads=["history", "router", "triage", "ticket", "french"],
            params={"tone": "calm", "rows": [{"a": 1}]},
            prompt="{{ input.message }}\n",
        ),
        "summary": Summarizer(needs=["spy"]),
    }
    declared = {"state": {"orders": 0}}
    graph = Graph(name="g", description="d", model="m", nodes=nodes, output="spy", **declared)
    model = ScriptedModel(_answer)
    runner = Runner(graph, model=model)
    Spy.seen.clear()
    for message in ("one", "two"):
        runner.run(message, user_id="ann", session_id="s")
    given = Spy.seen[-1]
    shapes = {"triage": shape({"lang": "fr|de"}, name="triage")}
    names = TemplateTypes(nodes, shapes, declared, graph.prompts, ()).for_template("spy", "")
    assert given.keys() - {"spy"} == names.keys() - {"english", "spy", "summary"}
    for name, value in given.items():
        agrees(value, names[name], name)


def _answer(request: Any) -> Any:
    if request.choices:
        return "french"
    if request.schema is None:
        return "x"
    return (
        {"lang": "fr"} if "lang" in request.schema["properties"] else {"summary": "s", "topics": []}
    )


def agrees(value: Any, known: StaticType, path: str) -> None:
    """Every field that is declared is there, and every field that is there is declared."""
    if isinstance(known, ListType):
        assert isinstance(value, list | tuple), path
        for item in value:
            agrees(item, known.item, f"{path}[]")
    if not isinstance(known, RecordType) or known == ANY:
        return
    for name, part in known.fields.items():
        agrees(read(value, name, path), part, f"{path}.{name}")
    own = (
        [*value]
        if hasattr(value, "keys")
        else getattr(value, "__dict__", None) or [*getattr(value, "__slots__", ())]
    )
    assert set(own) <= known.fields.keys(), path


def read(value: Any, name: str, path: str) -> Any:
    assert hasattr(value, name), f"{path} has no {name}"
    return getattr(value, name)


class Kept(BaseModel):
    """What a template reads of it is what JSON has of it."""

    day: date = date(2026, 1, 1)
    said: str = Field(default="", alias="Said")
    first: Leaf | None = None

    @computed_field
    @property
    def told(self) -> str | None:
        return None

    @property
    def lost(self) -> str:
        return "lost"


class Leaf(BaseModel):
    word: str = "leaf"


def kept() -> Kept:
    return Kept()


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{{ kept.output.day.year }}", "P002"),
        ("{{ kept.output.lost }}", "P002"),
        ("{{ kept.output.Said }}", "P002"),
        ("{{ kept.output.told }}", "P005"),
        ("{{ kept.output.first.word }}", "P005"),
        ("{{ kept.output.day + 1 }}", "P018"),
        ("{{ kept.output.day }}{{ kept.output.said }}{{ kept.output.told or '' }}", None),
        ("{% if kept.output.first %}{{ kept.output.first.word | upper }}{% endif %}", None),
    ],
)
@pytest.mark.parametrize("way", ["returns", "python"])
def test_outputs_are_read_as_json_keeps_them(template: str, code: str | None, way: str) -> None:
    source: Node = Member(returns=Kept) if way == "returns" else Python(call=kept)
    graph = partial(
        Graph,
        name="g",
        model="m",
        nodes={"kept": source, "end": Member(prompt=f"{template}\n")},
        output="end",
    )
    if code is not None:
        with pytest.raises(DefinitionError) as caught:
            graph()
        assert [each.code for each in caught.value.problems] == [code]
        return
    model = ScriptedModel(lambda request: {} if request.schema else "done")
    assert Runner(graph(), model=model).run("hello").answer == "done"


def first_of_upstream(join: str, routes: dict[str, str]) -> Graph:
    """A node that reads the first of two that it needs; a router may lead to it too."""
    return Graph(
        name="g",
        model="m",
        output="end",
        nodes={
            "router": Router(routes=routes),
            "one": Member(),
            "two": Member(),
            "end": Member(needs=["one", "two"], join=join, prompt="{{ upstream[0].output }}\n"),
        },
    )


def test_a_node_that_runs_only_after_one_that_it_needs_may_read_the_first_of_them() -> None:
    two = {"one": "1", "two": "2"}
    assert first_of_upstream("any", two).warnings == ()
    for join, routes in (("always", two), ("any", {**two, "end": "neither"})):
        with pytest.raises(DefinitionError, match=r"upstream\[0\] may be missing here"):
            first_of_upstream(join, routes)


def test_the_items_of_a_list_of_records_are_typed(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        name: plan
        nodes:
          planner:
            returns:
              steps: [{reason: str, query: str}]
              mood: very good|bad
          other: {returns: "list[{a: str}]", needs: planner}
          writer:
            needs: other
            prompt: |
              {% for step in planner.output.steps %}{{ step.qery }}{% endfor %}
              {% if planner.output.mood == "very god" %}{{ other.output[0].b }}{% endif %}
        output: writer
        """,
    )
    found = [problem for problem in refused(file) if problem.severity == "error"]
    assert [problem.suggestion for problem in found[:2]] == ["query", "very good"]
    text = file.read_text(encoding="utf-8")
    for wrong, right in (
        ("qery", "query"),
        ("very god", "very good"),
        ("[0].b", "[0].a if other.output"),
    ):
        text = text.replace(wrong, right)
    file.write_text(text, encoding="utf-8")
    graph = Graph.load(file)
    graph.dump(tmp_path / "again.yaml")
    assert Graph.load(tmp_path / "again.yaml") == graph
