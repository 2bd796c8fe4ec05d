"""`teamgraph explain`: what the code of a problem means, from the pages in docs/."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ..errors import NotFound, listed
from .command import command, make_app
from .options import JsonFlag
from .output import indent, print_json, print_paged

app = make_app()

_DOCS = Path(__file__).resolve().parents[2] / "docs"  # of the repository, or inside the package
_PAGES = ("graph-checks.md", "prompt-checks.md")
_SECTION = re.compile(r"^## ([A-Z]\d{3}): (.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def complete_codes(incomplete: str) -> list[str]:
    """The codes that begin with the text, for the Tab key."""
    return [code for code in sorted(explanations()) if code.startswith(incomplete)]


@command(app)
def explain(
    code: Annotated[
        str,
        typer.Argument(
            metavar="CODE",
            help="A code, such as G012.",
            show_default=False,
            autocompletion=complete_codes,
        ),
    ],
    *,
    json: JsonFlag = False,
) -> None:
    """Explain the code of a problem, with an example.

    `teamgraph check` prints the code of each problem in brackets at its end.
    """
    sections = explanations()
    name = code.strip().strip("[]").upper()
    if name not in sections:
        known = [each for each in sorted(sections) if each.startswith(name)] or sorted(sections)
        raise NotFound(f"there is no code {code!r}; known codes: {listed(known, at_most=99)}")
    title, _, text = sections[name].partition("\n")
    if json:
        print_json({"code": name, "title": title, "text": text.strip()})
    else:
        print_paged(f"{name}: {title}\n\n{_plain(text.strip())}")


def explanations() -> Mapping[str, str]:
    """The section of each code: its title, and after a line break its text in Markdown."""
    pages = [(_DOCS / page).read_text(encoding="utf-8") for page in _PAGES]
    return {found[1]: found[2].strip() for page in pages for found in _SECTION.finditer(page)}


def _plain(markdown: str) -> str:
    """Markdown with its examples, one that is refused and one that is accepted, indented."""
    titles = iter(("Refused", "Accepted"))
    return _FENCE.sub(lambda fence: f"{next(titles)}:\n\n{indent(fence[2], by='    ')}", markdown)
