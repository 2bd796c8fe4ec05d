"""Mistakes at the Python doors: what was meant is named, in the words of other frameworks too."""

# ruff: noqa: ANN401, E501  wrong calls are what this is about; a table reads better in lines
from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from pydantic import BaseModel

import teamgraph
from teamgraph import (
    AnyModel,
    Graph,
    MemoryStore,
    Message,
    Recorder,
    Replay,
    Runner,
    ScriptedModel,
    TinyDBStore,
    ToolCall,
    graphs,
    nodes,
    testing,
    tool,
)
from teamgraph.errors import DefinitionError, InputError
from teamgraph.graphs import Agent, Team
from teamgraph.graphs.assistant import Assistant
from teamgraph.nodes import Member

GRAPH: Any = Graph(name="g", model="echo", nodes={"a": Member()})
RUNNER: Any = Runner(GRAPH)
AGENT: Any = Agent(name="a", model="echo")
RUN: Any = RUNNER.run("hi")
SESSION: Any = RUNNER.session("s")


@pytest.mark.parametrize(
    ("owner", "name", "told"),
    [
        (GRAPH, "run", "Graph has no 'run'; a graph is run by a Runner: Runner(graph).run('...')"),
        (GRAPH, "invoke", "Runner(graph).run('...')"),
        (GRAPH, "ainvoke", "Runner(graph).arun('...')"),
        (GRAPH, "astream", "Runner(graph).stream('...') yields events"),
        (GRAPH, "compile", "pass it to a Runner: Runner(graph)"),
        (GRAPH, "add_node", "pass all nodes to Graph(name=..., nodes={...})"),
        (GRAPH, "nods", "Graph has no 'nods'; did you mean 'nodes'?"),
        (RUNNER, "invoke", "Runner has no 'invoke'; use run"),
        (RUNNER, "kickoff", "use run"),
        (RUNNER, "sesion", "did you mean 'session'?"),
        (RUNNER, "_secret", "Runner has no '_secret'"),
        (RUN, "content", "Run has no 'content'; use answer"),
        (RUN, "raw", "use answer"),
        (RUN, "messages", "use records[node].exchanges"),
        (RUN, "metrics", "use usage"),
        (SESSION, "get_messages", "Session has no 'get_messages'; use messages()"),
        (SESSION, "histroy", "did you mean 'history'?"),
        (AGENT, "runn", "Agent has no 'runn'; did you mean 'run'?"),
        (AGENT, "modle", "did you mean 'model'?"),
        (RUN, "anwser", "did you mean 'answer'?"),
    ],
)
def test_an_attribute_that_is_not_there_names_what_is_meant(
    owner: object, name: str, told: str
) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(owner, name)
    assert str(caught.value).endswith(told)
    assert not hasattr(owner, name)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: RUNNER.run("hi", session="s"), "Runner.run() has no argument 'session'; did you mean 'session_id'?"),
        (lambda: RUNNER.run("hi", thread_id="s"), "did you mean 'session_id'?"),
        (lambda: RUNNER.run("hi", images=["a.png"]), "did you mean 'attachments'?"),  # type: ignore[call-arg]  # as others call it
        (lambda: RUNNER.run(inputs="hi"), "did you mean 'message'?"),
        (lambda: RUNNER.run("hi", user_i="s"), "did you mean 'user_id'?"),
        (lambda: RUNNER.run("hi", config={}), "LangGraph's `thread_id` is session_id='...'"),
        (lambda: RUNNER.run("hi", stream=True), "call `stream`, or `astream` in async code, which yield events"),
        (lambda: RUNNER.run("hi", zzz=1), "it has message, user_id, session_id, state, run_id, history, system, attachments"),
        (lambda: RUNNER.run("hi", "s"), "Runner.run() takes these by name only: user_id=..., session_id=..., state=..., run_id=..., history=..., system=..., attachments=..."),
        (RUNNER.run, "Runner.run() needs 'message'; give it"),
        (lambda: list(RUNNER.stream("hi", session="s")), "Runner.stream() has no argument 'session'; did you mean 'session_id'?"),
        (RUNNER.resume, "Runner.resume() needs 'run_id'; give it"),
        (lambda: AGENT.run("hi", session="s"), "Agent.run() has no argument 'session'; did you mean 'session_id'?"),
        (lambda: RUNNER.run("hi", model="m"), "it is an option of the Runner itself: Runner(..., model=...)"),
        (lambda: AGENT.run("hi", add_history_to_context=True), "it is an option of the Agent itself: Agent(..., add_history_to_context=...)"),
        (lambda: AGENT.print_response("hi", markdown=True), "Agent(..., markdown=...)"),
        (lambda: Graph.load("g.yaml", nodes={}), "it is an option of the Graph itself: Graph(..., nodes=...)"),  # type: ignore[call-arg]  # wrong
        (lambda: RUNNER.arun("hi", session="s"), "Runner.arun() has no argument 'session'; did you mean 'session_id'?"),
        (lambda: RUNNER.astream("hi", thread_id="s"), "Runner.astream() has no argument 'thread_id'; did you mean 'session_id'?"),
        (RUNNER.arun, "Runner.arun() needs 'message'; give it"),
        (lambda: AGENT.arun("hi", session="s"), "Agent.arun() has no argument 'session'; did you mean 'session_id'?"),
        (lambda: SESSION.summary(3), "Session.summary() takes no argument without a name"),
        (lambda: SESSION.rename("a", "b"), "Session.rename() takes name, and nothing more without a name"),
        (Graph.load, "Graph.load() needs 'path'; give it"),
        (lambda: Runner(GRAPH, db="x"), "Runner() has no argument 'db'; did you mean 'store'?"),  # type: ignore[call-arg]  # as others call it
        (lambda: Runner(GRAPH, config={}), "it has graph, store, model, busy, while_waiting, allow_api_base, listeners"),  # type: ignore[call-arg]  # as above
    ],
)  # fmt: skip
def test_an_argument_that_is_not_there_names_what_is_meant(call: Any, told: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value).endswith(told)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: RUNNER.run({"question": "x"}), "and other values as state={...}, which prompts read"),
        (lambda: RUNNER.run([{"role": "user"}]), "the turns before it are those of the session_id"),
        (lambda: RUNNER.run(5), "the message is a int, and only text can be sent; pass a text"),
        (lambda: Runner(5), "a Runner takes a Graph or the path of a graph file, not a int"),  # type: ignore[arg-type]  # wrong
        (lambda: Runner(AGENT), "not a Agent; call its own `run`, or pass its `.graph`"),
        (lambda: Runner(GRAPH, store=3), "store is a int; give a store, such as TinyDBStore('folder')"),  # type: ignore[arg-type]  # wrong
        (lambda: Runner(GRAPH, model=3), "model is 3; give a Model, or the id of one"),  # type: ignore[arg-type]  # wrong
        (lambda: Runner(GRAPH, allow_api_base=3), "allow_api_base is a int; pass a list of addresses"),  # type: ignore[arg-type]  # wrong
        (lambda: Runner(GRAPH, allow_api_base=[3]), "allow_api_base: 3 is not text"),  # type: ignore[list-item]  # wrong
        (lambda: RUNNER.run("hi", session_id=5), "session_id is 5, and ids are texts; give '5'"),
        (lambda: RUNNER.run("hi", state=5), "the state is a int; give a mapping of keys to values"),
        (lambda: RUNNER.session(5), "give '5'"),
        (lambda: RUNNER.resume(5), "run_id is 5, and ids are texts"),
        (lambda: RUNNER.respond("r", 5), "the answers are a int; give a mapping of the questions' paths to answers"),
        (lambda: RUNNER.fork("r", node=5), "node is 5"),
        (lambda: RUNNER.sessions(5), "user_id is 5"),
        (lambda: RUNNER.sessions(limit="x"), "limit is 'x'; give a whole number"),
        (lambda: RUNNER.waiting(limit="x"), "limit is 'x'"),
        (lambda: RUNNER.render(5), "the message is a int"),
        (lambda: RUNNER.render("hi", assume=5), "assume is a int; give a mapping of node ids to outcomes"),
        (lambda: GRAPH.render(5), "the message is a int"),
        (lambda: GRAPH.render_all("hi", state=5), "state is a int; give a mapping"),
        (lambda: GRAPH.render("hi", history=5), "history is a int; give a list of turns"),
        (lambda: GRAPH.render("hi", session=5), "session is a int; give a mapping of `id`, `summary`"),
        (lambda: GRAPH.render("hi", user_id=5), "user_id is 5"),
        (lambda: GRAPH.dump(5), "Graph.dump() takes the path of a graph file, not a int"),
        (lambda: Graph.load(5), "Graph.load() takes the path of a graph file, not a int"),  # type: ignore[arg-type]  # wrong
        (lambda: Graph.load({"name": "g"}), "make a graph of a mapping with Graph(**mapping)"),  # type: ignore[arg-type]  # wrong
        (lambda: Graph.load("g.yaml", allow="myapp"), "allow is a str; give a list: allow=[...]"),
        (lambda: Graph.load("g.yaml", prompt_dirs=5), "prompt_dirs is a int; give a list"),  # type: ignore[arg-type]  # wrong
        (lambda: Graph.load("g.yaml", kinds=[Member]), "kinds is a list; give a mapping of names to kinds"),  # type: ignore[arg-type]  # wrong
        (lambda: SESSION.messages(limit="x"), "limit is 'x'"),
        (lambda: SESSION.runs(offset="x"), "offset is 'x'"),
        (lambda: SESSION.run(5), "run_id is 5"),
        (lambda: SESSION.rename(5), "the name is 5; give a text, or None to remove it"),
        (lambda: ScriptedModel(5), "the script is a int; give a text, a list of answers, a mapping of words"),  # type: ignore[arg-type]  # wrong
        (lambda: AnyModel(ScriptedModel("x")), "own is a ScriptedModel; give a mapping of ids to models, and one for all other ids as others=..."),  # type: ignore[arg-type]  # wrong
        (lambda: AnyModel({"own/a": "x"}), "'own/a' is 'x'; give a Model, which has `ask`"),  # type: ignore[dict-item]  # wrong
        (lambda: AnyModel(others="x"), "'others' is 'x'"),  # type: ignore[arg-type]  # wrong
        (lambda: MemoryStore("folder"), "sessions is a str; give a mapping of keys to sessions; TinyDBStore('folder') has a folder"),  # type: ignore[arg-type]  # wrong
        (lambda: MemoryStore(max_unnamed="x"), "max_unnamed is 'x'"),  # type: ignore[arg-type]  # wrong
        (lambda: Replay(5), "folder is a int; give the path of a folder"),  # type: ignore[arg-type]  # wrong
        (lambda: Recorder(5), "folder is a int; give the path of a folder"),  # type: ignore[arg-type]  # wrong
        (lambda: TinyDBStore(5), "path is a int; give the path of a folder"),  # type: ignore[arg-type]  # wrong
        (lambda: TinyDBStore("x", lease_timeout="x"), "lease_timeout: 'x' is not positive"),  # type: ignore[arg-type]  # wrong
        (lambda: Message(role="usr", content="x"), "Message: 'role' must be 'system', 'user', 'assistant' or 'tool'; it has role, content"),  # type: ignore[arg-type]  # wrong
        (lambda: Message(role="user", contnt="x"), "'content' is required; unknown 'contnt', did you mean 'content'?"),  # type: ignore[call-arg]  # wrong
        (lambda: Message("user"), "Message takes its fields by name only: Message(role=..., content=...)"),  # type: ignore[call-arg, misc]  # wrong
        (lambda: ToolCall(id="c", name="n"), "ToolCall: 'arguments' is required; it has id, name, arguments"),  # type: ignore[call-arg]  # wrong
    ],
)  # fmt: skip
def test_a_wrong_type_says_what_is_meant(call: Any, told: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: Graph("g"), "Graph takes its fields by name only: Graph(name=..., nodes=...)"),  # type: ignore[call-arg, misc]  # wrong
        (lambda: Graph(name="g", nodes=[Member()]), "nodes: must be a mapping of keys to values, not a list"),  # type: ignore[arg-type]  # wrong
        (lambda: Graph(name="g", nodes=Member()), "nodes: must be a mapping of keys to values, not a Member"),  # type: ignore[arg-type]  # wrong
        (lambda: Graph(name="g", nodes={"a": Member()}, model=ScriptedModel("x")), "model: must be the id of a model; an object is passed to the runner: Runner(graph, model=...)"),  # type: ignore[arg-type]  # wrong
        (lambda: Member("You cook"), "Member takes its fields by name only: Member(role=...)"),  # type: ignore[call-arg, misc]  # wrong
        (lambda: Member(needs=Member()), "must be an id or a list of ids, not a Member"),  # type: ignore[arg-type]  # wrong
        (lambda: Agent("Clerk"), "Agent takes its fields by name only: Agent(name=...)"),  # type: ignore[call-arg, arg-type]  # wrong
        (lambda: Agent(db=5), "must be a store, such as TinyDBStore('folder'), or the path of the folder, not 5"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_says_what_is_meant(call: Any, told: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        call()
    assert told in str(caught.value)


DOORS = (teamgraph, graphs, nodes, testing)
READ = ("Plan", "RenderedPrompt", "Rendering")
"""Classes whose objects users read and never make."""
TEAMS = ("as_member", "loader", "searcher")
"""Methods of agents that teams call."""
CLASSES = [
    found
    for found in (
        getattr(door, name) for door in DOORS for name in door.__all__ if name not in READ
    )
    if isinstance(found, type)
    and not (issubclass(found, Struct | tuple) or getattr(found, "_is_protocol", False))
]
METHODS = [
    (owner, name)
    for owner in (RUNNER, SESSION, AGENT, Team(model="echo", members=[AGENT]))
    for name in dir(type(owner))
    if inspect.isfunction(vars(type(owner)).get(name) or getattr(Assistant, name, None))
    and not name.startswith("_")
    and name not in (*TEAMS, *dir(BaseModel))
] + [(GRAPH, name) for name in ("load", "dump", "render", "render_all")]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda it: it.__name__)
@pytest.mark.parametrize("arguments", [((), {"zzz": 1}), (("a", "b", "c", "d"), {})])
def test_every_constructor_says_in_its_own_words_what_it_takes(kind: Any, arguments: Any) -> None:
    given, named = arguments
    with pytest.raises((TypeError, InputError, DefinitionError)) as caught:
        kind(*given, **named)
    text = str(caught.value)
    assert "pydantic" not in text
    assert "__init__" not in text
    assert kind.__name__ in text or "zzz" in text or "'id' is required" in text


@pytest.mark.parametrize(
    ("owner", "name"), METHODS, ids=lambda it: it if isinstance(it, str) else ""
)
def test_every_method_says_in_its_own_words_what_it_takes(owner: object, name: str) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(owner, name)(zzz=1)
    assert str(caught.value).startswith(
        f"{type(owner).__name__}.{name}() has no argument 'zzz'; it has "
    )


def test_a_function_says_what_it_takes() -> None:
    with pytest.raises(TypeError, match=r"^tool\(\) takes these by name only: confirm=..., "):
        tool(print)  # type: ignore[call-arg, arg-type]  # wrong


def test_a_type_error_of_anything_else_stays_as_it_is() -> None:
    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise TypeError("of its own")

    with pytest.raises(TypeError, match="of its own"):
        RUNNER.render("hi", state=Broken())


def test_a_path_is_a_graph_or_a_store(tmp_path: Path) -> None:
    GRAPH.dump(tmp_path / "g.yaml")
    for file in (tmp_path / "g.yaml", str(tmp_path / "g.yaml")):
        runner = Runner(file, store=tmp_path / "store")
        assert runner.graph == GRAPH
        assert isinstance(runner.store, TinyDBStore)
    assert runner.run("hi", session_id="s").answer == "echo: hi"
    assert Runner(GRAPH, store=str(tmp_path / "store")).session("s").runs()


def test_a_graph_cannot_be_changed() -> None:
    changes: list[Any] = [
        lambda: GRAPH.nodes.__setitem__("b", Member()),
        lambda: GRAPH.nodes.update(b=Member()),
        lambda: GRAPH.nodes.pop("a"),
        GRAPH.nodes.clear,
    ]
    for change in changes:
        with pytest.raises(TypeError, match=r"a graph is immutable; make another one: Graph\("):
            change()
    with pytest.raises(AttributeError, match="'model' cannot be set; make another one") as caught:
        GRAPH.model = "x"
    assert "pydantic" not in str(caught.value)
    assert list(GRAPH.nodes) == ["a"]
    assert copy.deepcopy(GRAPH.nodes) == GRAPH.nodes
