"""Kinds of nodes: installed ones, those passed in, and what happens to broken ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teamgraph import Graph
from teamgraph.engine.graph.kinds import installed, installed_kind, offered
from teamgraph.engine.imports import plugins
from teamgraph.errors import TeamgraphError
from teamgraph.kinds import Context, Node, Result
from tests.builders import refused, told, written


class Translator(Node):
    """Puts the message into another language."""

    language: str
    prompt: str | None = "member.jinja"

    async def run(self, context: Context) -> Result:
        return Result(await context.ask())


class HTTPCall2Go(Node):
    pass


class Renamed(Node):
    kind = "other-name"


Offer = Callable[[str], None]


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """Installs packages that offer a kind, each `name = module:Class`, for this test only."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def install(entry: str) -> None:
        name = f"tg_plugin_{len(list(tmp_path.glob('*.dist-info')))}"
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[teamgraph.nodes]\n{entry}\n")
        plugins.cache_clear()
        installed_kind.cache_clear()

    yield install
    plugins.cache_clear()
    installed_kind.cache_clear()
    for module in set(sys.modules) - before:
        del sys.modules[module]


def test_a_kind_is_called_like_its_class() -> None:
    assert Translator.kind == "translator"
    assert HTTPCall2Go.kind == "httpcall2-go"
    assert Renamed.kind == "other-name"


def test_the_built_in_kinds_are_installed() -> None:
    kinds = installed()
    assert {"history-loader", "router", "member", "leader", "summarizer", "python"} <= set(kinds)
    assert all(kind.kind == name for name, kind in kinds.items())


def test_an_own_kind_is_written_and_loaded(tmp_path: Path) -> None:
    kinds = {"translator": Translator}
    path = written(tmp_path, "name: x\nnodes: {a: {kind: translator, language: French}}\n")
    graph = Graph.load(path, kinds=kinds)
    assert graph.nodes["a"] == Translator(language="French")
    graph.dump(tmp_path / "again.yaml")
    assert Graph.load(tmp_path / "again.yaml", kinds=kinds) == graph


class Echoing(Node):
    """Has a template of its own name, or none."""


def test_a_kind_without_a_prompt_has_the_template_called_like_it(tmp_path: Path) -> None:
    written(tmp_path, "Hello\n", name="prompts/echoing.jinja")
    here = Graph(name="x", nodes={"a": Echoing()}, prompt_dirs=[tmp_path / "prompts"])
    assert here.templates == {"a": "echoing.jinja"}
    assert Graph(name="x", nodes={"a": Echoing()}).templates == {}


def test_an_own_kind_is_as_readable_when_wrong(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nnodes: {a: {kind: translator, langage: French}}\n")
    problems = refused(path, {"translator": Translator})
    assert [(problem.code, problem.suggestion) for problem in problems] == [
        ("G003", None),
        ("G001", "language"),
    ]


def test_an_unknown_kind_names_the_near_one_or_all(tmp_path: Path) -> None:
    assert told(written(tmp_path, "name: x\nnodes: {a: {kind: routr}}\n")) == [
        "2:19: node 'a': unknown kind 'routr'; did you mean 'router'?"
    ]
    (far,) = told(written(tmp_path, "name: x\nnodes: {a: {kind: zzz}}\n"))
    assert "known kinds: graph, history-loader, human, leader, loop, map," in far


def test_a_kind_must_be_offered_by_its_own_name(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nnodes: {a: {kind: french, language: French}}\n")
    with pytest.raises(TeamgraphError, match=r"'translator' \(Translator\) is offered as 'french'"):
        Graph.load(path, kinds={"french": Translator})


def test_a_kind_must_be_a_class_of_node(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nnodes: {a: {kind: text}}\n")
    with pytest.raises(TeamgraphError, match="'text' must be a class of node"):
        Graph.load(path, kinds={"text": str})  # type: ignore[dict-item]  # what this is about


def test_an_installed_package_offers_its_kind(tmp_path: Path, offer: Offer) -> None:
    written(
        tmp_path,
        """
        from teamgraph.kinds import Node
        class Shouter(Node):
            prompt: str | None = "member.jinja"
        """,
        name="tg_shouting.py",
    )
    offer("shouter = tg_shouting:Shouter")
    path = written(tmp_path, "name: x\nnodes: {a: {kind: shouter}}\n")
    assert Graph.load(path).nodes["a"].kind == "shouter"


@pytest.mark.parametrize(
    ("source", "told_so"),
    [
        ("raise ImportError('no wheels')", "cannot be imported: no wheels"),
        ("raise ValueError('odd')", "cannot be imported: odd"),
        ("", "cannot be imported: .*Broken"),
        ("Broken = 3", "must be a class of node, not 3"),
    ],
)
def test_a_broken_package_is_named_when_its_kind_is_used(
    tmp_path: Path, offer: Offer, source: str, told_so: str
) -> None:
    written(tmp_path, source + "\n", name="tg_broken.py")
    offer("broken-one = tg_broken:Broken")
    sound = written(tmp_path, "name: x\nnodes: {a: {role: You}}\n", name="sound.yaml")
    assert Graph.load(sound).nodes["a"].kind == "member"
    unknown = written(tmp_path, "name: x\nnodes: {a: {runs: b}}\n", name="unknown.yaml")
    assert "unknown key 'runs': a member has none" in told(unknown)[0]
    path = written(tmp_path, "name: x\nnodes: {a: {kind: broken-one}}\n")
    with pytest.raises(TeamgraphError, match=told_so) as caught:
        Graph.load(path)
    assert "broken-one" in str(caught.value)


def test_a_package_in_the_way_of_ours_is_told(tmp_path: Path, offer: Offer) -> None:
    offer("gone = tg_gone:Gone")
    path = written(tmp_path, "name: x\nnodes: {a: {kind: gone}}\n")
    with pytest.raises(TeamgraphError, match="package of the name 'tg_gone' comes before it"):
        Graph.load(path)


def test_one_name_for_two_kinds_is_refused(offer: Offer) -> None:
    offer("shouter = tg_one:Shouter")
    offer("shouter = tg_one:Shouter")
    assert offered()["shouter"].value == "tg_one:Shouter"
    offer("shouter = tg_two:Shouter")
    with pytest.raises(TeamgraphError, match="'shouter' is offered twice"):
        offered()


def test_the_edges_of_a_broken_node_are_still_checked(tmp_path: Path) -> None:
    text = "name: x\nnodes:\n  a: {kind: membr, needs: b, reads: [a, 3, c]}\n  c: {role: x}\n"
    found = told(written(tmp_path, text))
    assert any("node 'a' needs 'b', and there is no such node" in problem for problem in found)
    assert any("unknown kind 'membr'" in problem for problem in found)
