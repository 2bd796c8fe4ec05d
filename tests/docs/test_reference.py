"""The reference is complete and up to date: what is public has its place on a page."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from teamgraph import Graph, Runner, errors
from teamgraph.engine.event_schema import event_schema
from teamgraph.engine.graph.edges import RESERVED
from teamgraph.engine.graph.settings import Settings
from teamgraph.engine.prompts.library import Prompts
from teamgraph.errors import DefinitionError
from tests.docs.pictures import pictures
from tests.docs.reference import DOORS, PART, parts, renewed
from tests.docs.site import ROOT

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if PART.search(page.read_text("utf-8"))]
_GRAPH = re.compile(r"^```yaml\n# ([\w.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_KNOWN = re.compile(r"it has ([\w, ]+)$")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_generated_parts_of_a_page_are_up_to_date(page: Path) -> None:
    text = text_of(page)
    assert text == renewed(text), "run `make docs`, or `.venv/bin/python -m tests.docs`"


def test_the_drawings_show_the_graphs_of_their_pages() -> None:
    for file, drawing in pictures():
        assert file.read_text(encoding="utf-8") == drawing, "draw it with `make docs`"


def test_every_generated_part_has_its_place_on_a_page() -> None:
    placed = [part[2] for page in PAGES for part in PART.finditer(text_of(page))]
    assert sorted(placed) == sorted(parts())


@pytest.mark.parametrize("door", DOORS)
def test_every_public_name_has_a_section(door: str) -> None:
    page = REFERENCE / "python" / f"{door.rpartition('.')[2]}.md"
    sections = set(re.findall(r"^## (\w+)$", text_of(page), re.MULTILINE))
    assert set(import_module(door).__all__) == sections


def test_every_event_and_every_field_of_one_is_on_its_page() -> None:
    words = set(re.findall(r"`(\w+)`", text_of(DOCS / "events.md")))
    for event in event_schema()["$defs"].values():
        fields = event.get("properties", {})
        if "event" in fields:
            assert {fields["event"]["const"], *fields} <= words


def test_every_error_is_on_the_page_of_errors() -> None:
    page = text_of(REFERENCE / "errors.md")
    classes = {name for name in errors.__all__ if issubclass(getattr(errors, name), Exception)}
    inner = {"TeamgraphError", "RunError"}  # nothing raises these themselves
    assert [name for name in sorted(classes - inner) if f"`{name}`" not in page] == []


def test_every_setting_of_a_project_is_on_the_page_of_settings() -> None:
    page = text_of(REFERENCE / "settings.md")
    for name in {*Settings.__struct_fields__} - {"folder"}:
        assert f"| `{name}` |" in page
        assert f"\n{name} = " in page


@pytest.mark.parametrize(
    "name",
    [
        *sorted(RESERVED - {"user_id", "now", "upstream", "node"}),
        "history.runs[0]",
        "history.messages[0]",
        "upstream[0]",
        "graph.members[0]",
        "node.tools[0]",
        "node.form",
        "node.handover",
        "input.attachments[0]",
    ],
)
def test_every_name_that_a_template_may_read_is_on_the_page_of_templates(name: str) -> None:
    nodes = {
        "history": {"kind": "history-loader"},
        "first": {"role": "You begin"},
        "reader": {"needs": "first", "prompt": f"{{{{ {name}.no_such_field }}}}\n"},
    }
    with pytest.raises(DefinitionError) as caught:
        Graph(name="names", nodes=nodes, output="reader")
    known = [found[1] for one in caught.value.problems if (found := _KNOWN.search(one.message))]
    table = _names_of_templates()
    rows = re.findall(rf"^\| .*`{re.escape(name.removesuffix('[0]'))}\b.*", table, re.MULTILINE)
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", " ".join(rows)))))
    assert known
    assert [each for each in known[0].split(", ") if each not in words] == []


def test_every_name_of_its_own_is_on_the_page_of_templates() -> None:
    assert [name for name in sorted(RESERVED) if f"`{name}" not in _names_of_templates()] == []


@pytest.mark.parametrize("file", sorted((ROOT / "prompts").glob("*.jinja")), ids=lambda it: it.name)
def test_what_a_built_in_template_reads_beside_is_on_the_page_of_templates(file: Path) -> None:
    own = {read.name for read in Prompts([]).reads(file.name)} - RESERVED
    row = re.search(rf"^\| {re.escape(file.name)} \|.*", _names_of_templates(), re.MULTILINE)
    assert [name for name in sorted(own) if row is None or f"`{name}`" not in row[0]] == []


def _names_of_templates() -> str:
    return text_of(REFERENCE / "templates.md").partition("## Names")[2].partition("## Filters")[0]


def test_every_kind_has_an_example_that_runs(tmp_path: Path) -> None:
    page = text_of(REFERENCE / "graph-file.md")
    kinds = set[str]()
    for name, text in _GRAPH.findall(page):
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        graph = Graph.load(file, allow=["statistics"])
        kinds |= {node.kind for node in graph.nodes.values()}
        run = Runner(graph, model="echo").run("Hello", session_id="s")
        assert run.status == ("waiting" if name == "approval.yaml" else "done"), name
    assert kinds == {part.partition(" ")[2] for part in parts() if part.startswith("kind ")}


def test_the_workflow_on_the_page_of_ci_is_the_one_that_init_writes() -> None:
    starter = ROOT / "engine" / "cli" / "starter" / "github" / "workflows" / "prompts.yaml"
    assert f"```text\n{text_of(starter)}```" in text_of(DOCS / "ci.md")
