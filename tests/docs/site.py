"""Makes the pages of the site from docs/, and checks what was built of them.

A page of docs/ links to files of the repository. On the site, such a link leads to a page with that
file, so that the site is whole without the repository, and without a network.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from html.parser import HTMLParser
from os.path import relpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent.parent
_FENCED = re.compile(r"(^```.*?^```$|^~~~.*?^~~~$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)")
_LEXERS = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".svg": "xml"}
_LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src"}
_LOADED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "manifest"}
_URL_OF_STYLE = re.compile(r"(?:url\(|@import\s)[\s\"']*((?:https?:)?//[^\"')\s]+)")


def write_pages(target: Path) -> None:
    """Copy docs/ to the folder `target`, with a page for each file that its pages link to."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "docs", target)
    for page in sorted((ROOT / "docs").rglob("*.md")):
        shown: set[Path] = set()
        text = with_links(page, shown)
        (target / page.relative_to(ROOT / "docs")).write_text(text, encoding="utf-8")
        _write_shown(target, shown)
    _write_shown(target, {ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"})
    (target / "decisions" / "index.md").write_text(_decisions(), encoding="utf-8")
    (target / "llms.txt").write_text(_listed(target), encoding="utf-8")


def _listed(target: Path) -> str:
    """Write each page as text too, and list these by title: for programs that read the site."""
    lines = ["# teamgraph", ""]
    for page in sorted(target.rglob("*.md")):
        place = page.relative_to(target)
        if place.parts[0] != "source" or place.parent == Path("source"):
            title = page.read_text(encoding="utf-8").partition("\n")[0].strip("# ")
            lines.append(f"- [{title}]({place.with_suffix('.txt').as_posix()})")
            page.with_suffix(".txt").write_bytes(page.read_bytes())
    return "\n".join(lines) + "\n"


def _decisions() -> str:
    """The page that lists the decisions by their titles."""
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    titles = [page.read_text(encoding="utf-8").partition("\n")[0].strip("# ") for page in pages]
    lines = [f"- [{title}]({page.name})" for page, title in zip(pages, titles, strict=True)]
    about = "What was decided, what was rejected, and what was measured."
    return f"# Decisions\n\n{about}\n\n" + "\n".join(lines) + "\n"


def _write_shown(target: Path, files: set[Path]) -> None:
    """Write the pages of these files and folders, and of what their own pages link to."""
    for file in sorted(files):
        page = target / shown_as(file)
        if page.exists():
            continue
        page.parent.mkdir(parents=True, exist_ok=True)
        linked: set[Path] = set()
        page.write_text(_text_of(file, linked), encoding="utf-8")
        _write_shown(target, linked)


def with_links(page: Path, shown: set[Path]) -> str:
    """The text of a page; links to files outside docs/ lead to their pages, and are in `shown`."""
    here = _address(page)

    def replaced(link: re.Match[str]) -> str:
        file = (page.parent / unquote(link[1])).resolve()
        if file.is_relative_to(ROOT / "docs"):
            shown_at = file.relative_to(ROOT / "docs")
        else:
            shown.add(file)
            shown_at = shown_as(file)
        return f"]({relpath(shown_at, here.parent)}"

    parts = _FENCED.split(page.read_text(encoding="utf-8"))
    return "".join(
        part if part.startswith(("```", "~~~")) else _LINK.sub(replaced, part) for part in parts
    )


def _address(page: Path) -> Path:
    """The place of a Markdown page among the pages of the site."""
    docs = ROOT / "docs"
    return page.relative_to(docs) if page.is_relative_to(docs) else shown_as(page)


def shown_as(file: Path) -> Path:
    """The page that shows a file or folder of the repository."""
    path = file.relative_to(ROOT)
    if path.suffix == ".md":
        return Path("source", path.with_name(path.name.lower()))
    return Path("source", f"{path}.md")


def _text_of(file: Path, linked: set[Path]) -> str:
    if file.suffix == ".md":
        return with_links(file, linked)
    name = file.relative_to(ROOT).as_posix()
    if file.is_dir():
        entries = sorted(
            each for each in file.iterdir() if each.suffix and not each.name.startswith(".")
        )
        linked |= {each for each in entries if each.is_file()}
        at = shown_as(file).parent
        lines = [f"- [{one.name}]({relpath(shown_as(one), at)})" for one in entries]
        return f"# {name}/\n\n" + "\n".join(lines) + "\n"
    language = _LEXERS.get(file.suffix, "jinja" if file.suffix == ".jinja" else "text")
    code = file.read_text(encoding="utf-8")
    return f"# {name}\n\n~~~~~{language}\n{code}\n~~~~~\n"


class _Page(HTMLParser):
    """What a built page has: its anchors, what it links to, and what a browser loads for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and _LOADED_LINKS & set(values.get("rel", "").split()):
            self.loaded.append(values["href"])
        if tag in _LOADED and _LOADED[tag] in values:
            self.loaded.append(values[_LOADED[tag]])
        self._load_style(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self._load_style(data)

    def _load_style(self, text: str) -> None:
        self.loaded += [found[1] for found in _URL_OF_STYLE.finditer(text)]


def problems_of(site: Path) -> list[str]:
    """Links that lead nowhere, and addresses of other machines that a page or a style loads."""
    pages = {file: _Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    found = [
        f"{file.relative_to(site)}: {problem}"
        for file, page in pages.items()
        for problem in _problems_of(page, partial(_resolved, site, file), pages)
    ]
    for sheet in sorted((*site.rglob("*.css"), *site.rglob("*.svg"))):
        text = sheet.read_text(encoding="utf-8")
        found += [
            f"{sheet.relative_to(site)}: loads {url[1]}" for url in _URL_OF_STYLE.finditer(text)
        ]
    return found


def _problems_of(
    page: _Page, resolved: partial[Path | None], pages: Mapping[Path, _Page]
) -> Iterator[str]:
    for address in page.loaded:
        if urlsplit(address).netloc:
            yield f"loads {address}"
        elif not address.startswith("data:") and resolved(address) is None:
            yield f"loads {address}, which does not exist"
    for address in page.links:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        file = resolved(address)
        if file is None:
            yield f"links to {address}, which does not exist"
        elif parts.fragment and file in pages and parts.fragment not in pages[file].anchors:
            yield f"links to {address}, and there is no such place on the page"


def _resolved(site: Path, page: Path, address: str) -> Path | None:
    """The file that an address of a page leads to, or None."""
    path = unquote(urlsplit(address).path)
    start = site if path.startswith("/") else page.parent
    file = (start / path.lstrip("/")).resolve() if path else page
    file = file / "index.html" if file.is_dir() else file
    return file if file.is_file() and file.is_relative_to(site) else None
