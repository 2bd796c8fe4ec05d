"""A real `teamgraph serve` on loopback, a browser, and what no page may do in it.

The tests need Chromium and Playwright, which `make browser` installs; without either they are
skipped. The model is the stub provider of the tests, whose answers can be held up in the middle.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.stub import StubAnswer, StubProvider, StubRequest

TOKEN = "t0ken-of-the-browser"  # noqa: S105  no secret
ROOT = Path(__file__).parents[2]
AXE = Path(__file__).parent / "axe" / "axe.min.js"
NARROW, WIDE = 360, 1280
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ADDRESS = re.compile(r"(?:serving .* at|open) (http://[^/\s]+)")
_HOW = "make browser installs it"
_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error("CSP violation: " + event.violatedDirective + " " + event.blockedURI));
"""
_TOO_WIDE = """
() => {
  const width = window.innerWidth;
  if (Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) <= width) return [];
  const clips = (each) => each !== document.body && each !== document.documentElement
    && getComputedStyle(each).overflowX !== "visible";
  const is_wide = (each) => each.getBoundingClientRect().right > width
    || each.scrollWidth > each.clientWidth && getComputedStyle(each).display !== "inline";
  const is_clipped = (each) => each !== null && (clips(each) || is_clipped(each.parentElement));
  return Array.from(document.querySelectorAll("body, body *"))
    .filter((each) => is_wide(each) && !is_clipped(each))
    .map((each) => each.outerHTML.slice(0, 60)).slice(-4);
}
"""
_SEEN = """
() => axe.run(document, {resultTypes: ["violations"]}).then((result) => result.violations
  .filter((each) => each.impact === "serious" || each.impact === "critical")
  .map((each) => each.id + ": " + each.nodes.map((node) => node.html).slice(0, 3).join(" ")))
"""
_FOCUSABLE = """
() => Array.from(document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"))
  .filter((each) => !each.disabled && each.checkVisibility())
  .map((each, at) => (each.setAttribute("data-focus", at), at))
"""
_FOCUSED = """
() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const box = element.querySelector(".box");
  const is_shown = style.outlineStyle !== "none" || style.boxShadow !== "none"
    || (box !== null && parseFloat(getComputedStyle(box).strokeWidth) >= 4);
  return [element.getAttribute("data-focus"), is_shown, element.outerHTML.slice(0, 120)];
}
"""

Answer = Callable[[StubRequest], StubAnswer | str | None]


@dataclass
class Site:
    """Graphs in a folder, served by a process of teamgraph, asked by the stub's answers."""

    folder: Path
    command: str = "serve"
    options: tuple[str, ...] = ()
    url: str = ""
    answer: Answer = lambda request: "hello"
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def reply(self, request: StubRequest) -> StubAnswer | str | None:
        """What the model says now: the test may have changed it."""
        return self.answer(request)

    def start(self) -> None:
        """Serve all graphs of the folder, at the address of before if there was one."""
        port = self.url.rpartition(":")[2] or "0"
        graphs = sorted(path.name for path in self.folder.glob("*.yaml"))
        arguments = [self.command, *graphs, "--port", port, "--store", "store", *self.options]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "teamgraph", *arguments],
            cwd=self.folder,
            env=os.environ | {"TEAMGRAPH_TOKEN": TOKEN, "OPENAI_API_KEY": "none"},
            stderr=subprocess.PIPE,
            text=True,
        )
        lines: list[str] = []
        assert self._process.stderr is not None
        for line in self._process.stderr:
            lines.append(line)
            if found := _ADDRESS.search(line):
                self.url = found[1]
                break
        else:
            raise AssertionError("".join(lines))

    def kill(self) -> None:
        """Kill the server as a crash of the machine would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        self._process = None

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if self._process is not None:
            self.kill()


def post(site: Site, path: str, **body: object) -> Any:  # noqa: ANN401  JSON
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = Request(f"{site.url}{path}", json.dumps(body).encode(), headers)  # noqa: S310  ours
    with urlopen(request) as answer:  # noqa: S310
        return json.load(answer)


class Browser:
    """A window of the browser at a site; what its pages do that none may is collected."""

    def __init__(self, site: Site, page: Any) -> None:  # noqa: ANN401  Playwright's
        self.site = site
        self.page = page
        self.complaints: list[str] = []
        page.add_init_script(_TELL_VIOLATIONS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", self._request)
        self.may_fail = ""
        """Part of the messages that a test expects, as when the server is gone."""

    @classmethod
    @contextmanager
    def at(cls, site: Site, chromium: Any) -> Iterator[Browser]:  # noqa: ANN401
        """A new window, in which nothing may have happened at the end that no page may do."""
        context = chromium.new_context(viewport={"width": WIDE, "height": 800})
        context.set_default_timeout(60_000)  # a busy machine is slow to import
        window = cls(site, context.new_page())
        yield window
        window.page.evaluate("() => new Promise((done) => setTimeout(done))")  # what is under way
        context.close()
        assert window.complaints == []

    def _console(self, message: Any) -> None:  # noqa: ANN401
        if message.type in ("error", "warning") and not (
            self.may_fail and self.may_fail in message.text
        ):
            self.complaints.append(f"{message.type}: {message.text} {message.location.get('url')}")

    def _request(self, request: Any) -> None:  # noqa: ANN401
        if not request.url.startswith(f"{self.site.url}/"):
            self.complaints.append(f"request of {request.url[:80]}")

    def open(self, path: str, status: int = 200) -> Any:  # noqa: ANN401  Playwright's page
        """Open a page; it must be there, unless another status is expected."""
        self.may_fail = f"{status} (" if status >= 400 else self.may_fail
        answer = self.page.goto(self.site.url + path)
        assert answer.status == status, (path, answer.status, answer.text()[:300])
        return self.page

    def log_in(self) -> None:
        """Log in by the form."""
        self.open("/login")
        self.page.get_by_label("Token").fill(TOKEN)
        self.page.get_by_role("button").click()
        self.page.wait_for_url(lambda url: "/login" not in url)

    def links(self, path: str, part: str) -> list[str]:
        """The addresses that a page links to and that have this part, each once."""
        self.open(path)
        found = self.page.eval_on_selector_all("a", "all => all.map((a) => a.getAttribute('href'))")
        return list(dict.fromkeys(each for each in found if part in (each or "")))

    def check(self) -> None:
        """The page has no serious finding of axe, in light and dark, and fits narrow and wide."""
        for width in (NARROW, WIDE):
            self.check_width(width)
        for scheme in ("dark", "light"):
            self.check_accessible(scheme)

    def check_width(self, width: int) -> None:
        """The page fits a window of this width; what is wider scrolls in a box of its own."""
        self.page.set_viewport_size({"width": width, "height": 800})
        assert self.page.evaluate(_TOO_WIDE) == [], (self.page.url, width)

    def check_accessible(self, scheme: str) -> None:
        """The page has no serious finding of axe in `light` or `dark`."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        assert self.page.evaluate(_SEEN) == [], (self.page.url, scheme)

    def check_keyboard(self) -> None:
        """Each thing to click is reached by the Tab key alone, and is seen to have the focus."""
        wanted = set(map(str, self.page.evaluate(_FOCUSABLE)))
        self.page.evaluate("() => document.activeElement.blur()")
        for _ in range(2 * len(wanted) + 10):  # boxes that scroll are reached, too
            if not wanted:
                break
            self.page.keyboard.press("Tab")
            name, is_shown, html = self.page.evaluate(_FOCUSED)
            wanted.discard(name)
            assert is_shown or name is None, f"no sign of the focus on {html}"
        assert not wanted, [
            self.page.locator(f"[data-focus='{each}']").evaluate("each => each.outerHTML")[:200]
            for each in wanted
        ]


@contextmanager
def launched() -> Iterator[Any]:
    """The browser, without its window; skips the test where there is none."""
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        pytest.skip(f"there is no Chromium: {_HOW}")
    api = pytest.importorskip("playwright.sync_api", reason=f"there is no Playwright: {_HOW}")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """The browser of all tests."""
    with launched() as browser:
        yield browser


@contextmanager
def served(folder: Path) -> Iterator[Site]:
    """The graphs of these tests, served."""
    site = Site(folder)
    with StubProvider(handler=site.reply) as stub:
        for name, text in GRAPHS.items():
            (folder / name).write_text(text.replace("STUB", stub.base_url), encoding="utf-8")
        site.start()
        yield site
        site.stop()


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory, chromium: object) -> Iterator[Site]:
    """The site of all tests."""
    with served(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture
def browser(chromium: object, site: Site) -> Iterator[Browser]:
    """A new window at the site."""
    site.answer = lambda request: "hello"
    with Browser.at(site, chromium) as window:
        yield window


GRAPHS = {
    "desk.yaml": """\
version: 1
name: desk
description: Answers questions of customers.
model: {id: openai/gpt-5-mini, api_base: STUB}
nodes:
  history: {kind: history-loader, runs: 3}
  router:
    kind: router
    routes: {prices: What something costs, machines: How something works}
    default: prices
  prices: {role: You know the prices}
  machines: {role: You know how machines work}
  summary: {kind: summarizer, needs: [prices, machines]}
output: [prices, machines]
""",
    "busy.yaml": """\
name: busy
model: {id: openai/stub, api_base: STUB}
nodes:
  clerk: {role: You look things up, tools: [read_chat_history], retry: {times: 2, wait: 0.1}}
""",
    "asks.yaml": """\
version: 1
name: asks
model: {id: openai/gpt-5-mini, api_base: STUB}
nodes:
  draft: {role: You write letters}
  ok:
    kind: human
    prompt: "May this be sent? {{ draft.output }}"
    options: ["yes", "no"]
  sent: {role: You send letters, needs: [ok]}
output: sent
""",
}
