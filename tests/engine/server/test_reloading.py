"""`teamgraph ui` shows graphs and templates as they are on disk now."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shutil import rmtree

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from teamgraph import Graph, MemoryStore, Runner, ScriptedModel
from teamgraph.engine.server.reloading import Reloader, WatchedGraphs
from teamgraph.errors import InputError
from teamgraph.server import create_app

DUO = """\
name: duo
model: echo
nodes:
  first: {role: Begin}
  inside: {kind: graph, graph: inner/part.yaml, needs: [first]}
output: [inside]
"""
INNER = "name: part\nnodes: {part: {role: Part, returns: shape.json}}\n"
BROKEN = DUO.replace("role:", "rol:")


class Site:
    """The pages of two graph files in a folder, which is the current one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("duo.yaml", DUO)
        self.write("inner/part.yaml", INNER)
        self.write("inner/shape.json", '{"type": "object", "properties": {}}')
        self.write("other.yaml", "name: other\nmodel: echo\nnodes: {m: {rol: Say}}\n")
        files = WatchedGraphs([Path("duo.yaml"), Path("other.yaml")], Graph.load)
        store, model = MemoryStore(), ScriptedModel("{}")
        self.loaded = 0
        make = partial(self._make, store, model)
        self.app: Starlette = create_app(
            map(make, files.graphs), broken=files.broken, hosts=["testserver"]
        )
        self.app.add_middleware(Reloader, served=self.app, files=files, make=make)
        self.client = TestClient(self.app)

    def _make(self, store: MemoryStore, model: ScriptedModel, graph: Graph) -> Runner:
        if graph.description == "refused":
            raise InputError("this graph is refused")
        self.loaded += 1
        return Runner(graph, store=store, model=model)

    def write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def open(self, path: str) -> str:
        return " ".join(self.client.get(path, headers={"Accept": "text/html"}).text.split())

    def render(self) -> str:
        return self.open("/graph?graph=duo&message=hi")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    made = Site(tmp_path)
    with made.client:
        yield made


def test_what_has_not_changed_is_loaded_once(site: Site) -> None:
    assert "Begin" in site.render()
    assert "Begin" in site.render()
    assert site.loaded == 1


@pytest.mark.parametrize(
    ("file", "text", "shown"),
    [
        ("duo.yaml", DUO.replace("Begin", "Commence"), "Commence"),
        ("inner/part.yaml", INNER.replace("Part,", "A part of it,"), "A part of it"),
        ("inner/shape.json", '{"type": "object", "properties": {"town": {}}}', "town"),
        ("prompts/member.jinja", "From a file: {{ input.message }}\n", "From a file:"),
        ("inner/prompts/member.jinja", "Inside: {{ input.message }}\n", "Inside:"),
    ],
)
def test_a_changed_file_counts_with_the_next_page(
    site: Site, file: str, text: str, shown: str
) -> None:
    assert shown not in site.render()
    site.write(file, text)
    assert shown in site.render()
    assert site.loaded == 2


def test_a_graph_that_is_broken_meanwhile_shows_its_problems_and_runs_as_before(
    site: Site,
) -> None:
    site.write("duo.yaml", BROKEN)
    page = site.render()
    assert "duo.yaml:4:11" in page
    assert "cannot be loaded. This is the graph as it was before" in page
    assert "Begin" in page
    assert "Its file was changed and cannot be loaded" in site.open("/")
    said = site.client.post("/api/runs", json={"message": "hi", "graph": "duo"})
    assert said.json()["status"] == "done"
    (site.folder / "duo.yaml").unlink()
    assert "there is no such file" in site.render()
    site.write("duo.yaml", DUO)
    assert "cannot be loaded" not in site.render()
    rmtree(site.folder / "inner")
    assert "there is no file" in site.render()
    site.write("inner/part.yaml", INNER.replace(", returns: shape.json", ""))
    assert "cannot be loaded" not in site.render()


def test_a_graph_that_could_not_be_loaded_is_served_once_it_is_mended(site: Site) -> None:
    assert "other.yaml" in site.open("/")
    site.write("other.yaml", "name: other\nmodel: echo\nnodes: {m: {role: Say}}\n")
    page = site.open("/")
    assert "other.yaml" not in page
    assert "Chat with other" in page


def test_a_graph_may_get_another_name_but_not_that_of_another(site: Site) -> None:
    site.write("other.yaml", DUO)
    page = site.open("/graph?graph=other.yaml")
    assert "two graphs are called" in page
    site.write("duo.yaml", DUO.replace("name: duo", "name: pair"))
    page = site.open("/")
    assert "Chat with pair" in page
    assert "Chat with duo" in page
    site.write("other.yaml", DUO + "description: refused\n")
    assert "this graph is refused" in site.open("/graph?graph=duo")
    site.write("other.yaml", DUO + "description: served\n")
    page = site.open("/graph?graph=duo")
    assert "this graph is refused" not in page
    assert "served" in page
