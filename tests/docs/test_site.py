"""The site is whole: pages are found, links lead somewhere, nothing comes from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.docs.site import ROOT, problems_of, write_pages

_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site") / "pages"
    write_pages(target)
    return target


def listed(entry: object) -> Iterator[str]:
    """The pages of a part of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry or ():
            yield from listed(inner)


def test_every_page_is_in_the_navigation_or_in_the_list_of_decisions(pages: Path) -> None:
    navigation = set(listed(YAML().load(ROOT / "mkdocs.yml")["nav"]))
    written = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    decisions = {f"decisions/{page.name}" for page in (ROOT / "docs" / "decisions").glob("*.md")}
    missing = written - decisions - navigation
    assert not missing, "name the page in `nav` of mkdocs.yml"
    assert [page for page in navigation if not (pages / page).is_file()] == []
    index = (pages / "decisions" / "index.md").read_text(encoding="utf-8")
    assert [page for page in decisions if f"({Path(page).name})" not in index] == []


def test_every_link_of_the_site_leads_to_a_file_of_it(pages: Path) -> None:
    for page in pages.rglob("*.md"):
        text = _FENCED.sub("", page.read_text(encoding="utf-8"))
        for target in _LINK.findall(text):
            assert (page.parent / target).is_file(), f"{page.relative_to(pages)}: {target}"


def test_a_link_out_of_the_docs_leads_to_a_page_with_that_file(pages: Path) -> None:
    page = (pages / "how-it-works.md").read_text(encoding="utf-8")
    assert "(source/engine/graph/plan.py.md)" in page
    shown = (pages / "source" / "engine" / "graph" / "plan.py.md").read_text(encoding="utf-8")
    assert "class Plan" in shown


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="other/">x</a><a href="#here">x</a><p id="here">', None),
        ('<a href="other/#there">x</a><a href="https://example.com">x</a>', None),
        ('<a href="nowhere/">x</a>', "links to nowhere/, which does not exist"),
        ('<a href="#gone">x</a>', "links to #gone, and there is no such place on the page"),
        ('<a href="other/#gone">x</a>', "links to other/#gone, and there is no such place"),
        ('<a href="../">x</a>', "links to ../, which does not exist"),
        ('<img src="no.png">', "loads no.png, which does not exist"),
        ('<img src="//example.com/a.png">', "loads //example.com/a.png"),
        ('<script src="https://example.com/a.js"></script>', "loads https://example.com/a.js"),
        ('<link rel="preload stylesheet" href="https://example.com/a.css">', "loads https://exam"),
        ('<link rel="canonical" href="https://example.com/">', None),
        ('<p style="background: url(https://example.com/a.png)">', "loads https://example.com"),
        ("<style>@import 'https://example.com/a.css'</style>", "loads https://example.com/a.css"),
    ],
)
def test_a_built_page_is_checked(tmp_path: Path, html: str, problem: str | None) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text('<p id="there">', encoding="utf-8")
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    found = problems_of(tmp_path)
    assert [one.partition(problem or "")[1] for one in found] == ([problem] if problem else [])


def test_a_style_that_loads_a_font_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("@font-face {src: url('https://example.com/a.woff')}", "utf-8")
    assert problems_of(tmp_path) == ["a.css: loads https://example.com/a.woff"]


@pytest.mark.parametrize(
    "subject",
    ["History and sessions", "Prompts and tests", "Tools and people", "Durability", "Deployment"],
)
def test_questions_are_answered_within_two_clicks_of_the_front_page(subject: str) -> None:
    docs = ROOT / "docs"
    assert "(questions.md)" in (docs / "index.md").read_text(encoding="utf-8")
    page = (docs / "questions.md").read_text(encoding="utf-8")
    (asked,) = re.findall(rf"^## {subject}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    questions = re.findall(r"^- .*?[?.] .*\]\(\S+\)", asked, re.MULTILINE)
    assert len(questions) >= 3
