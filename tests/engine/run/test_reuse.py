"""A run goes on after its graph was changed: what did not change stays, the rest is done anew."""

# ruff: noqa: ANN401  nodes are what a test makes them
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import pytest

from teamgraph import (
    Graph,
    MemoryStore,
    Record,
    Request,
    Run,
    Runner,
    ScriptedModel,
    SessionKey,
    Store,
)
from teamgraph.errors import Changed, ModelError, NodeError
from teamgraph.kinds import Node
from teamgraph.nodes import Member, Python, Route, Router, SubGraph
from tests.teams import wait_for

KEY = SessionKey(None, "s")


class Team:
    """Functions as nodes; `ran` says which were called, `broken` which fail."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ran: list[str] = []
        self.broken = {"last"}

    def node(self, name: str, *needs: str, **options: Any) -> Node:
        def call() -> str:
            self.ran.append(name)
            if name in self.broken:
                raise ValueError(name)
            return name

        call.__qualname__ = name
        return Python(call=call, needs=needs, **options)

    def graph(self, nodes: Mapping[str, Node] | None = None, output: str = "last") -> Graph:
        plain = {
            "one": self.node("one"),
            "two": self.node("two", "one"),
            "aside": self.node("aside"),
            "last": self.node("last", "two", "aside"),
        }
        return Graph(name="g", nodes={**plain, **(nodes or {})}, output=output)

    def fail(self, graph: Graph) -> None:
        with pytest.raises(NodeError):
            Runner(graph, store=self.store).run("hello", session_id="s", run_id="r")
        self.ran.clear()

    def resume(self, graph: Graph) -> Run:
        self.broken.clear()
        return Runner(graph, store=self.store).resume("r", session_id="s", reuse_unchanged=True)

    def kept(self) -> Mapping[str, Record]:
        run = wait_for(self.store.run(KEY, "r"))
        assert run is not None
        return run.records


def differences(runner: Runner) -> str:
    with pytest.raises(Changed) as caught:
        runner.resume("r")
    return "\n".join(caught.value.differences)


def test_what_was_changed_and_all_that_follows_is_run_anew_and_nothing_else(store: Store) -> None:
    team = Team(store)
    team.fail(team.graph())
    run = team.resume(team.graph({"two": team.node("two", "one", params={"now": 1})}))
    assert run.answer == "last"
    assert team.ran == ["two", "last"]
    assert {node: record.attempt for node, record in team.kept().items()} == {
        "one": 1,
        "two": 2,
        "aside": 1,
        "last": 2,
    }
    assert all(record.is_final for record in team.kept().values())


def test_what_follows_is_run_anew_even_if_it_was_not_changed_and_the_try_broke_off() -> None:
    store = MemoryStore()
    team = Team(store)
    graph = {"after": team.node("after", "two"), "last": team.node("last", "after")}
    team.fail(team.graph(graph))
    team.broken = {"after"}
    changed = team.graph({**graph, "two": team.node("two", "one", params={"now": 1})})
    with pytest.raises(NodeError):
        Runner(changed, store=store).resume("r", session_id="s", reuse_unchanged=True)
    assert team.ran == ["two", "after"]
    team.broken.clear()
    run = Runner(changed, store=store).resume("r", session_id="s")
    assert run.status == "done"
    assert team.ran == ["two", "after", "after", "last"], "`after` kept no answer to the old `two`"


def test_a_router_that_was_changed_decides_again_and_skips_what_had_run(store: Store) -> None:
    team = Team(store)

    def graph(about: str) -> Graph:
        nodes = {
            "router": Router(routes={"left": about, "right": "or right"}),
            "left": Python(call=lambda: team.ran.append("left") or "left"),
            "right": Python(call=lambda: team.ran.append("right") or "right"),
            "last": team.node("last", "left", "right"),
        }
        return Graph(name="g", model="m", nodes=nodes, output="last")

    def asked(label: str, about: str) -> Runner:
        return Runner(graph(about), store=store, model=ScriptedModel(lambda _: label))

    with pytest.raises(NodeError):
        asked("left", "go left").run("hello", session_id="s", run_id="r")
    team.broken.clear()
    team.ran.clear()
    run = asked("right", "never go left").resume("r", reuse_unchanged=True)
    assert team.ran == ["right", "last"]
    assert (run.records["left"].status, run.records["left"].because) == (
        "skipped",
        "router chose right",
    )
    kept = team.kept()
    assert (kept["left"].status, kept["left"].attempt) == ("skipped", 2)
    assert kept["right"].status == "done"


def test_a_node_that_the_graph_no_longer_has_stands_in_nobodys_way(store: Store) -> None:
    team = Team(store)
    nodes = {
        "extra": team.node("extra"),
        "last": team.node("last", "two", "aside", "extra"),
    }
    team.fail(team.graph(nodes))
    team.broken = {"last"}
    with pytest.raises(NodeError):
        Runner(team.graph(), store=store).resume("r", session_id="s", reuse_unchanged=True)
    assert team.kept()["extra"].status == "failed"
    assert team.resume(team.graph()).status == "done"
    assert team.ran == ["last", "last"]


def test_a_new_edge_is_a_change_of_the_node_that_it_leads_to() -> None:
    team = Team(MemoryStore())
    team.fail(team.graph())
    changed = team.graph({"aside": team.node("aside", "one")})
    told = differences(Runner(changed, store=team.store))
    assert """node 'aside': needs: [] -> ["one"]""" in told
    team.resume(changed)
    assert team.ran == ["aside", "last"]


def test_a_route_that_leads_to_a_node_is_told_with_the_node_too() -> None:
    store = MemoryStore()

    def graph(to: str) -> Graph:
        nodes = {
            "router": Router(routes={"left": "L", "more": Route(to=[to], about="M")}),
            "left": Member(),
            "right": Member(needs="router"),
            "last": Python(call=broken, needs=["left", "right"]),
        }
        return Graph(name="g", model="m", nodes=nodes, output="last")

    model = ScriptedModel(lambda request: "left" if request.choices else "said")
    with pytest.raises(NodeError):
        Runner(graph("left"), store=store, model=model).run("hi", run_id="r")
    told = differences(Runner(graph("right"), store=store, model=model))
    assert """node 'right': after router: "always" -> ["more"]""" in told


def broken() -> str:
    raise ValueError


class TestTold:
    """What a refusal says of the change."""

    def runner(self, member: Member, store: Store, *, model: str = "m") -> Runner:
        nodes = {"member": member, "last": Python(call=broken, needs="member")}
        graph = Graph(name="g", model=model, nodes=nodes, output="last")
        return Runner(graph, store=store, model=ScriptedModel('{"sure": 1}'))

    def told(self, old: Member, new: Member) -> str:
        store = MemoryStore()
        with pytest.raises(NodeError):
            self.runner(old, store).run("hello", run_id="r")
        return differences(self.runner(new, store))

    def test_a_field_is_told_with_its_old_and_its_new_value(self) -> None:
        told = self.told(Member(role="old", timeout=3), Member(role="new"))
        assert told == """node 'member':\nrole: "old" -> "new"\ntimeout: 3.0 -> nothing"""

    def test_a_parameter_of_the_model_is_told_by_its_name(self) -> None:
        old = Member(model={"id": "m", "temperature": 0.5, "fallback": ["n"]})
        told = self.told(old, Member(model={"id": "o", "fallback": ["p"]}))
        assert """model id: "m" -> "o\"""" in told
        assert "model temperature: 0.5 -> nothing" in told
        assert """fallback 1 id: "n" -> "p\"""" in told

    def test_another_schema_of_a_type_that_is_declared_elsewhere_is_told(self) -> None:
        def answer(field: type) -> object:
            return TypedDict("Answer", {"sure": field})

        told = self.told(Member(returns=answer(int)), Member(returns=answer(float)))
        assert told == """node 'member': returns properties sure type: "integer" -> "number\""""

    def test_another_kind_is_told_as_such(self) -> None:
        store = MemoryStore()
        with pytest.raises(NodeError):
            self.runner(Member(), store).run("hello", run_id="r")
        graph = self.runner(Member(), store).graph
        nodes = {**graph.nodes, "member": Python(call=broken)}
        changed = Graph(name="g", model="m", nodes=nodes, output="last")
        told = differences(Runner(changed, store=store, model=ScriptedModel("x")))
        assert """kind: "member" -> "python\"""" in told

    def test_a_template_in_place_is_told_line_by_line(self) -> None:
        told = self.told(
            Member(prompt="Be kind.\nBe short.\n{{ input.message }}\n"),
            Member(prompt="Be kind.\nBe long.\n{{ input.message }}\n"),
        )
        assert told == (
            "node 'member':\nprompt:\n   Be kind.\n  -Be short.\n  +Be long.\n   "
            "{{ input.message }}"
        )

    def test_a_template_file_is_told_from_the_text_that_was_kept(self, tmp_path: Path) -> None:
        store, file = MemoryStore(), tmp_path / "own.jinja"
        part = tmp_path / "part.jinja"

        def runner() -> Runner:
            nodes = {
                "member": Member(prompt="own.jinja"),
                "last": Python(call=broken, needs="member"),
            }
            graph = Graph(
                name="g", model="m", nodes=nodes, output="last", prompt_dirs=[str(tmp_path)]
            )
            return Runner(graph, store=store, model=ScriptedModel('{"sure": 1}'))

        file.write_text("{% include 'part.jinja' %}\n{{ input.message }}\n", encoding="utf-8")
        part.write_text("old\n", encoding="utf-8")
        with pytest.raises(NodeError):
            runner().run("hello", run_id="r")
        part.write_text("".join(f"new {n}\n" for n in range(99)), encoding="utf-8")
        told = differences(runner())
        assert "template part.jinja:\n  -old\n  +new 0\n  +new 1" in told
        assert "own.jinja" not in told
        assert told.endswith("  ..."), "a long text is cut"

    def test_of_several_templates_only_the_one_that_was_changed_is_told(
        self, tmp_path: Path
    ) -> None:
        store = MemoryStore()

        class Twice(Member):
            prompt: str | None = "first.jinja"
            templates: ClassVar[tuple[str, ...]] = ("second.jinja",)

        def runner(first: str) -> Runner:
            (tmp_path / "first.jinja").write_text(first, encoding="utf-8")
            (tmp_path / "second.jinja").write_text("as ever\n", encoding="utf-8")
            nodes = {"twice": Twice(), "last": Python(call=broken, needs="twice")}
            graph = Graph(name="g", model="m", nodes=nodes, output="last", prompt_dirs=[tmp_path])
            return Runner(graph, store=store, model=ScriptedModel('{"sure": 1}'))

        with pytest.raises(NodeError):
            runner("old\n").run("hello", run_id="r")
        told = differences(runner("new\n"))
        assert told == "node 'twice':\ntemplate first.jinja:\n  -old\n  +new"

    def test_where_nothing_was_kept_it_says_so(self) -> None:
        class Forgetful(MemoryStore):
            async def prompt(self, prompt_hash: str) -> None:
                return None

        store = Forgetful()
        with pytest.raises(NodeError):
            self.runner(Member(), store).run("hello", run_id="r")
        told = differences(self.runner(Member(role="x"), store))
        assert (
            told
            == "node 'member': it was changed, and the store has no record of what it was before"
        )

    def test_where_only_the_template_was_not_kept_it_says_so(self, tmp_path: Path) -> None:
        class Forgetful(MemoryStore):
            async def prompt(self, prompt_hash: str) -> Mapping[str, str] | None:
                kept = await super().prompt(prompt_hash)
                return None if kept and "member.jinja" in kept else kept

        store = Forgetful()
        with pytest.raises(NodeError):
            self.runner(Member(), store).run("hello", run_id="r")
        told = differences(self.runner(Member(prompt="Hello\n"), store))
        assert "its template was changed, and the store has no record of its old text" in told

    def test_a_template_that_came_or_went_is_told_in_full(self) -> None:
        nodes = {"last": Python(call=broken, needs="member")}

        def told(old: Node, new: Node) -> str:
            graphs = [
                Graph(name="g", model="m", nodes={"member": member, **nodes}, output="last")
                for member in (old, new)
            ]
            store, model = MemoryStore(), ScriptedModel(lambda _: "said")
            with pytest.raises(NodeError):
                Runner(graphs[0], store=store, model=model).run("hello", run_id="r")
            return differences(Runner(graphs[1], store=store, model=model))

        plain = Python(call=lambda: "x")
        assert "template member.jinja:\n  +" in told(plain, Member())
        assert "template member.jinja:\n  -" in told(Member(), plain)


class TestInside:
    """A graph inside a node, changed between two tries."""

    def outer(self, team: Team, inner: Mapping[str, Node], **options: Any) -> Graph:
        within = Graph(name="inner", nodes=inner, output=list(inner)[-1])
        nodes = {
            "before": team.node("before"),
            "team": SubGraph(graph=within, needs="before", **options),
            "last": team.node("last", "team"),
        }
        return Graph(name="g", nodes=nodes, output="last")

    def inner(self, team: Team, **now: int) -> dict[str, Node]:
        return {
            "a": team.node("a", params={"now": now.get("a", 0)}),
            "b": team.node("b", "a", params={"now": now.get("b", 0)}),
            "c": team.node("c", "b"),
        }

    def test_only_the_changed_part_of_it_is_run_anew(self, store: Store) -> None:
        team = Team(store)
        team.fail(self.outer(team, self.inner(team)))
        run = team.resume(self.outer(team, self.inner(team, b=1)))
        assert run.status == "done"
        assert team.ran == ["b", "c", "last"]

    def test_a_new_node_in_it_leaves_the_others_as_they_are(self, store: Store) -> None:
        team = Team(store)
        inner = self.inner(team)
        team.fail(self.outer(team, inner))
        changed = self.outer(team, {"d": team.node("d"), **inner})
        with pytest.raises(Changed, match="node 'team': the graph inside it was changed"):
            Runner(changed, store=store).resume("r", session_id="s")
        assert team.resume(changed).status == "done"
        assert team.ran == ["d", "last"]

    def test_what_comes_before_it_makes_all_of_it_anew(self, store: Store) -> None:
        team = Team(store)
        team.fail(self.outer(team, self.inner(team)))
        changed = self.outer(team, self.inner(team))
        nodes = {**changed.nodes, "before": team.node("before", params={"now": 1})}
        team.resume(Graph(name="g", nodes=nodes, output="last"))
        assert team.ran == ["before", "a", "b", "c", "last"]

    def test_a_node_that_failed_inside_is_mended_freely_but_not_what_it_is_given(self) -> None:
        team = Team(MemoryStore())
        team.broken = {"c"}
        team.fail(self.outer(team, self.inner(team)))
        inner = {**self.inner(team), "c": team.node("c", "b", params={"now": 1})}
        mended = self.outer(team, inner)
        given = self.outer(team, inner, input="Something else\n")
        with pytest.raises(Changed, match="node 'team'"):
            Runner(given, store=team.store).resume("r", session_id="s")
        team.broken.clear()
        assert Runner(mended, store=team.store).resume("r").status == "done"
        assert team.ran == ["c", "last"]

    def test_a_graph_that_became_a_node_of_another_kind_is_run_as_that(self) -> None:
        team = Team(MemoryStore())
        team.fail(self.outer(team, self.inner(team)))
        nodes = {
            "before": team.node("before"),
            "team": team.node("team", "before"),
            "last": team.node("last", "team"),
        }
        assert team.resume(Graph(name="g", nodes=nodes, output="last")).status == "done"
        assert team.ran == ["team", "last"]


def test_one_that_waited_is_refused_if_another_graph_took_the_run_further() -> None:
    class Meanwhile(MemoryStore):
        """Somebody with another graph takes the run further before this one has the session."""

        other: Runner | None = None

        async def begin(self, *args: Any, **options: Any) -> Any:
            other, self.other = self.other, None
            if other is not None:
                with pytest.raises(NodeError):
                    await other.aresume("r")
            return await super().begin(*args, **options)

    store = Meanwhile()
    team = Team(store)
    team.broken = {"two", "last"}
    team.fail(team.graph())
    team.broken = {"last"}
    store.other = Runner(team.graph({"two": team.node("two", "one", params={"a": 1})}), store=store)
    with pytest.raises(Changed, match="node 'two'"):
        Runner(team.graph(), store=store).resume("r")


def test_usage_of_what_was_run_anew_is_not_forgotten() -> None:
    store = MemoryStore()

    def runner(role: str, *, fails: bool) -> Runner:
        def answer(request: Request) -> object:
            is_last = "LAST" in request.messages[0].content
            return ModelError("down", model="m") if fails and is_last else "said"

        nodes = {"member": Member(role=role), "last": Member(role="LAST", needs="member")}
        graph = Graph(name="g", model="m", nodes=nodes, output="last")
        return Runner(graph, store=store, model=ScriptedModel(answer))

    with pytest.raises(NodeError):
        runner("old", fails=True).run("hello", run_id="r")
    run = runner("new", fails=False).resume("r", reuse_unchanged=True)
    assert run.usage.calls == 3
