"""A graph in Python and in YAML is the same thing, and what the check finds in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teamgraph import JSON, Budget, Edge, Graph, Instead, ModelSpec, OnError, Retry, Timeout
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Node
from teamgraph.nodes import HistoryLoader, Leader, Member, Python, Route, Router, Summarizer
from tests.builders import written


def polyglot() -> Graph:
    return Graph(
        name="polyglot",
        model="openai/gpt-5-mini",
        timeout=60,
        nodes={
            "history": HistoryLoader(runs=5),
            "router": Router(routes={"english": "English", "french": "French"}, default="english"),
            "english": Member(role="You answer in English"),
            "french": Member(role="You answer in French"),
            "summary": Summarizer(needs=["english", "french"]),
        },
        output=["english", "french"],
    )


def test_a_dumped_graph_reads_as_people_write_it(tmp_path: Path) -> None:
    (tmp_path / ".schema").mkdir()
    (tmp_path / ".schema" / "graph.v1.json").write_text("{}", encoding="utf-8")
    (tmp_path / "graphs").mkdir()
    polyglot().dump(tmp_path / "graphs" / "team.yaml")
    assert (tmp_path / "graphs" / "team.yaml").read_text(encoding="utf-8") == (
        "# yaml-language-server: $schema=../.schema/graph.v1.json\n"
        "version: 1\n"
        "name: polyglot\n"
        "model: openai/gpt-5-mini\n"
        "timeout: 60\n"
        "\n"
        "nodes:\n"
        "  history: {kind: history-loader, runs: 5}\n"
        "\n"
        "  router:\n"
        "    kind: router\n"
        "    routes: {english: English, french: French}\n"
        "    default: english\n"
        "\n"
        "  english: {role: You answer in English}\n"
        "  french: {role: You answer in French}\n"
        "  summary: {kind: summarizer, needs: [english, french]}\n"
        "\n"
        "output: [english, french]\n"
    )


def lookup(message: str) -> str:
    """A function that a graph file can name."""
    return message


words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
ids = words.map("openai/{}".format)
json: st.SearchStrategy[JSON] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-99, 99)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
constants = st.dictionaries(words, json, max_size=2)
seconds = st.integers(1, 99) | st.floats(0.001, 1e6)
retries = st.none() | st.integers(0, 9) | st.builds(Retry, times=st.integers(0, 9), wait=seconds)
timeouts = st.none() | seconds | st.builds(Timeout, total=st.none() | seconds, idle=seconds)
models = (
    st.none()
    | ids
    | st.builds(
        ModelSpec,
        id=ids,
        temperature=st.floats(0, 2),
        fallback=st.lists(ids | st.builds(ModelSpec, id=ids)),
    )
)
no_errors: list[OnError | None] = [None, "fail", "skip"]
on_errors = st.sampled_from(no_errors) | st.builds(Instead, value=json)
prompts = st.sampled_from(["member.jinja", "Say\n{{ input.message }}\n", "\n  \tlast {{ now }}"])
common = {
    "model": models,
    "retry": retries,
    "timeout": timeouts,
    "on_error": on_errors,
    "params": constants,
    "description": st.just("") | words,
}
members = st.builds(Member, role=words, prompt=prompts, **common)
loaders = st.builds(HistoryLoader, runs=st.integers(0, 9), messages=st.none() | st.integers(0, 9))
pythons = st.builds(Python, call=st.just(lookup), when=st.sampled_from([None, "input.message"]))


@st.composite
def routers(draw: st.DrawFn, targets: list[str]) -> Router:
    long = st.builds(
        Route,
        to=st.lists(st.sampled_from(targets), min_size=1, unique=True),
        about=words,
        when=st.sampled_from([None, "input.message == 'x'"]),
    )
    routes: dict[str, str | Route] = {target: draw(words | long) for target in targets}
    routes[draw(words)] = draw(long)
    return Router(
        routes=routes,
        default=targets[0],
        select=draw(st.sampled_from(["one", "many"])),
        tasks=draw(st.booleans()),
        needs=draw(st.sampled_from([(), ["history"]])),
    )


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    targets = ["first", "second"]
    nodes: dict[str, Node] = {
        "history": draw(loaders),
        "router": draw(routers(targets)),
        "first": draw(members),
        "second": draw(members | pythons),
        "leader": Leader(needs=targets, join=draw(st.sampled_from(["any", "always"]))),
        "summary": Summarizer(every=draw(st.integers(1, 3)), on_error=draw(on_errors)),
    }
    return Graph(
        name=draw(words),
        description=draw(st.just("") | words),
        model=draw(models),
        retry=draw(retries),
        timeout=draw(timeouts),
        on_error=draw(on_errors),
        max_parallel=draw(st.none() | st.integers(1, 9)),
        budget=draw(st.none() | st.builds(Budget, usd=st.none() | st.floats(0.1, 9))),
        state=draw(constants),
        nodes=nodes,
        output=draw(st.sampled_from(["leader", ["leader", "second"]])),
    )


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(graph=graphs())
def test_a_graph_that_is_dumped_and_loaded_is_the_same(graph: Graph, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.unlink(missing_ok=True)
    second.unlink(missing_ok=True)
    graph.dump(first)
    loaded = Graph.load(first, allow=["tests"])
    assert loaded == graph
    assert repr(loaded.nodes) == repr(graph.nodes)
    loaded.dump(second)
    assert second.read_bytes() == first.read_bytes()
    assert loaded.plan.order == graph.plan.order


def test_comments_survive_a_dump_over_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path, "# our team\nname: x\nnodes:\n  # answers\n  a: {role: You}  # the one\n"
    )
    graph = Graph.load(path)
    graph.dump(path)
    text = path.read_text(encoding="utf-8")
    assert all(comment in text for comment in ("# our team", "# answers", "# the one"))
    assert Graph.load(path) == graph


def test_a_lambda_cannot_be_written_and_the_node_is_named(tmp_path: Path) -> None:
    graph = Graph(name="x", nodes={"a": Python(call=lambda: 3)})
    with pytest.raises(DefinitionError, match="node 'a': a lambda cannot be written") as caught:
        graph.dump(tmp_path / "team.yaml")
    assert caught.value.problems[0].path == ("nodes", "a")
    assert not (tmp_path / "team.yaml").exists()


def test_a_window_that_limits_messages_keeps_its_turns_when_written() -> None:
    assert HistoryLoader(runs=3, messages=20).written() == {"messages": 20, "runs": 3}
    assert HistoryLoader(messages=20).written() == {"messages": 20}
    assert HistoryLoader(runs=3).written() == {}


def test_graphs_are_equal_if_they_say_the_same() -> None:
    assert polyglot() == polyglot()
    assert polyglot() != Graph(name="x", nodes={"a": Member()})
    assert polyglot() != "polyglot"
    reordered = dict(reversed(list(polyglot().nodes.items())))
    other = Graph(
        name="polyglot",
        model="openai/gpt-5-mini",
        timeout=60,
        nodes=reordered,
        output=["english", "french"],
    )
    assert polyglot() != other
    with pytest.raises(TypeError):
        hash(polyglot())


def test_a_graph_in_a_file_knows_the_place_of_every_edge(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        name: x
        nodes:
          router:
            kind: router
            routes:
              a: {to: [a, b], about: both}
              b: only b
          a: {prompt: plain.jinja}
          b: {role: x, when: input.message}
          last:
            needs: [a]
            reads: router
            prompt: |
              {% if b is defined %}
              Say {{ b.output }}
        """,
        name="team.yaml",
    )
    text = path.read_text(encoding="utf-8") + "      {% endif %}\noutput: last\n"
    path.write_text(text, encoding="utf-8")
    written(tmp_path, "Hello\n", name="prompts/plain.jinja")
    graph = Graph.load(path)
    places = {
        (edge.source, edge.target, edge.kind): graph.place(edge).removeprefix(f"{path}:")
        for edge in reversed(graph.plan.edges)
    }
    assert places == {
        ("router", "a", "route"): "6:16",
        ("router", "b", "route"): "6:19",
        ("a", "last", "needs"): "11:13",
        ("router", "last", "reads"): "12:12",
        ("b", "last", "reads"): "14:13",
    }
    assert graph.file == str(path)


def test_a_graph_in_python_names_edges_by_their_keys() -> None:
    graph = polyglot()
    edge = next(edge for edge in graph.plan.edges if edge.target == "english")
    assert graph.place(edge) == "nodes.router.routes.english.to.0"
    assert graph.file is None
    assert graph.place(Edge("a", "b", "needs")) == ""


def test_a_node_that_may_be_skipped_is_read_behind_a_guard() -> None:
    def team(text: str) -> Graph:
        nodes = {
            "router": Router(routes={"a": "x", "b": "y"}),
            "a": Member(),
            "b": Member(),
            "last": Member(needs=["a", "b"], prompt=text),
        }
        return Graph(name="x", nodes=nodes, output="last")

    with pytest.raises(DefinitionError, match="'a' may have been skipped when 'last' runs") as why:
        team("Say\n{{ a.output }}\n")
    assert [problem.code for problem in why.value.problems] == ["P004"]
    assert team("Say\n{% if a is defined %}{{ a.output }}{% endif %}\n").warnings == ()
    assert team("Say\n{% if a %}{{ a.output }}{% endif %}\n").warnings == ()


def test_no_guard_is_needed_where_the_reader_runs_only_if_the_other_ran() -> None:
    nodes = {
        "router": Router(routes={"a": "x", "b": "y"}),
        "a": Member(),
        "b": Member(),
        "after": Member(needs="a", prompt="Say\n{{ a.output }}\n"),
        "last": Member(needs=["after", "b"]),
    }
    assert Graph(name="x", nodes=nodes, output="last").plan.before("after") == {"router", "a"}


@pytest.mark.parametrize("fields", [{"when": "input.message"}, {"on_error": "skip"}])
def test_what_may_drop_out_needs_a_guard_too(fields: dict[str, str]) -> None:
    nodes = {"a": Member(**fields), "b": Member(prompt="Say\n{{ a.output }}\n", reads="a")}  # type: ignore[arg-type]  # fields by name
    with pytest.raises(DefinitionError, match="'a' may have been skipped"):
        Graph(name="x", nodes=nodes, output="b")


def test_a_condition_reads_what_may_be_skipped_behind_a_guard_only() -> None:
    def team(when: str) -> Graph:
        nodes = {"a": Member(when="input.message"), "b": Member(when=when)}
        return Graph(name="x", nodes=nodes, output="b")

    with pytest.raises(DefinitionError, match="'a' may have been skipped") as caught:
        team("a.output == 'yes'")
    assert caught.value.problems[0].path == ("nodes", "b", "when")
    graph = team("a is defined and a.output == 'yes'")
    assert graph.plan.before("b") == {"a"}
    assert graph.expression("input.message") is graph.expression("input.message")


def test_a_node_that_can_never_run_is_refused() -> None:
    nodes = {
        "router": Router(routes={"a": "x", "b": "y"}),
        "a": Member(),
        "b": Member(),
        "both": Member(needs=["a", "b"], join="all"),
    }
    with pytest.raises(DefinitionError, match="node 'both' can never run") as caught:
        Graph(name="x", nodes=nodes, output=["both", "a"])
    assert {problem.code for problem in caught.value.problems} == {"G014"}


def test_a_rare_meeting_of_many_routers_is_not_taken_for_never() -> None:
    nodes: dict[str, Node] = {}
    for index in range(14):
        nodes[f"router_{index}"] = Router(routes={f"yes_{index}": "x", f"no_{index}": "y"})
        nodes[f"yes_{index}"] = Member()
        nodes[f"no_{index}"] = Member()
    nodes["all_yes"] = Member(needs=[f"yes_{index}" for index in range(14)], join="all")
    graph = Graph(name="x", nodes=nodes, output="all_yes")
    assert "all_yes" in graph.plan.order


def test_many_labels_at_once_can_all_be_chosen() -> None:
    labels = [f"label_{index}" for index in range(14)]
    nodes: dict[str, Node] = {
        "router": Router(routes=dict.fromkeys(labels, "x"), select="many"),
        **{label: Member() for label in labels},
        "all": Member(needs=labels, join="all"),
    }
    assert Graph(name="x", nodes=nodes, output="all").answering == ("all",)


def test_a_target_that_also_needs_others_is_warned_of() -> None:
    def team(target: Member) -> list[str]:
        nodes = {
            "first": Member(),
            "router": Router(routes={"a": "x", "b": "y"}),
            "a": target,
            "b": Member(),
        }
        graph = Graph(name="x", nodes=nodes, output=["a", "b"])
        return [problem.code for problem in graph.warnings]

    assert team(Member(needs="first")) == ["G107"]
    assert team(Member(needs="first", join="all")) == []
    assert team(Member(reads="first")) == []


def test_an_output_that_nobody_uses_is_warned_of() -> None:
    graph = Graph(name="x", nodes={"a": Member(), "b": Member()}, output="a")
    (warning,) = graph.warnings
    assert (warning.code, warning.severity, warning.path) == ("G108", "warning", ("nodes", "b"))
    assert str(warning) == (
        "nodes.b: warning: the output of node 'b' is not used; read it in a template, or remove it"
    )


def test_a_template_beside_the_file_comes_before_one_of_the_same_name(tmp_path: Path) -> None:
    written(tmp_path, "Mine\n", name="prompts/member.jinja")
    written(tmp_path, "Theirs\n", name="other/member.jinja")
    path = written(tmp_path, "name: x\nnodes: {a: {role: You}}\n")
    graph = Graph.load(path, prompt_dirs=[tmp_path / "other"])
    assert graph.prompts.sources(graph.templates["a"]) == {"member.jinja": "Mine\n"}
    (tmp_path / "prompts" / "member.jinja").unlink()
    graph = Graph.load(path, prompt_dirs=[tmp_path / "other"])
    assert graph.prompts.sources(graph.templates["a"]) == {"member.jinja": "Theirs\n"}


@pytest.mark.parametrize("folders", ["prompts", 3, [3], None])
def test_folders_of_templates_are_a_list(folders: object) -> None:
    with pytest.raises(DefinitionError, match="prompt_dirs") as caught:
        Graph(name="x", nodes={"a": Member()}, prompt_dirs=folders)  # type: ignore[arg-type]  # what this is about
    assert all(problem.path[0] == "prompt_dirs" for problem in caught.value.problems)
