"""Pictures of the pages for the documentation: `make screenshots`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .conftest import ROOT, Browser, Site, launched, served
from .test_pages import PAGES, talk

SHOWN = (
    *("graph", "chat", "run", "node", "difference", "sessions", "session", "comparison", "prompts"),
)
SIZE = {"width": 860, "height": 560}
FOLDER = ROOT / "docs" / "pages"


def take(site: Site, chromium: Any) -> None:  # noqa: ANN401  Playwright's
    """A picture of each page."""
    run = talk(site).runs[1]
    FOLDER.mkdir(exist_ok=True)
    with Browser.at(site, chromium) as browser:
        browser.page.set_viewport_size(SIZE)
        browser.log_in()
        for name in SHOWN:
            browser.open(PAGES[name].replace("RUN", run) + "#node" * (name == "node"))
            browser.page.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    with TemporaryDirectory() as folder, served(Path(folder)) as site, launched() as chromium:
        take(site, chromium)
