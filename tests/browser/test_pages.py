"""Every page in a browser: it complains of nothing, is accessible, and does what its words say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.stub import StubAnswer, StubRequest

from .conftest import Browser, Site, post


class Said(NamedTuple):
    """A session of two turns, whose answers were about parcels and then about engines."""

    session_id: str
    runs: tuple[str, str]


def by_turn(request: StubRequest) -> StubAnswer | str | None:
    """A router's choice and a member's answer, by the words of the last message."""
    text = json.dumps(request.messages)
    is_about_machines = "engine" in request.messages[-1]["content"]
    if "What something costs" in text:
        return json.dumps({"choice": "machines" if is_about_machines else "prices"})
    if "You know" in text:
        return "An engine burns fuel" if is_about_machines else "A parcel costs two euros"
    return None


@pytest.fixture(scope="package")
def said(site: Site) -> Said:
    """The session of all tests."""
    return talk(site)


def talk(site: Site) -> Said:
    """Two turns of Ann, after the first one in another session."""
    site.answer = by_turn
    price, machine = "What does a parcel cost?", "How does an engine work?"
    runs = [
        post(site, "/api/runs", graph="desk", message=text, user_id="ann", session_id=session)[
            "run_id"
        ]
        for text, session in ((price, "again"), (price, "talk"), (machine, "talk"))
    ]
    return Said("talk", (runs[1], runs[2]))


PAGES = {
    "graphs": "/",
    "graph": "/graph?graph=desk",
    "chat": "/chat?graph=desk&user_id=ann&session_id=talk",
    "new chat": "/chat?graph=asks",
    "sessions": "/sessions?user_id=ann",
    "session": "/session?user_id=ann&session_id=talk",
    "deletion": "/session/delete?user_id=ann&session_id=talk",
    "comparison": "/compare?user_id=ann&session_id=talk&other=again",
    "run": "/run?user_id=ann&session_id=talk&run_id=RUN",
    "node": "/run?user_id=ann&session_id=talk&run_id=RUN&node=machines",
    "difference": "/run/compare?user_id=ann&session_id=talk&run_id=RUN&node=router",
    "prompts": "/prompts",
    "rendered prompts": "/graph?graph=desk&message=What+does+it+cost%3F&assume%3Arouter=prices",
    "search": "/sessions?user_id=ann&search=engine",
    "nothing": "/nothing",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_everybody(browser: Browser, said: Said, name: str) -> None:
    """In light and dark, narrow and wide, for a screen reader, and by keyboard alone."""
    browser.log_in()
    browser.open(PAGES[name].replace("RUN", said.runs[1]), 404 if name == "nothing" else 200)
    browser.check()
    browser.check_keyboard()


def test_a_token_is_in_the_page_before_the_model_sends_the_next_one(browser: Browser) -> None:
    """The model waits with the rest of its answer until the browser has shown the beginning."""
    shown: list[bool] = []

    def answer(request: StubRequest) -> StubAnswer | str | None:
        is_answer = "You know the prices" in json.dumps(request.messages)
        return (
            StubAnswer("A parcel costs two euros", after=3, until=lambda: bool(shown))
            if (is_answer)
            else None
        )

    browser.site.answer = answer
    browser.log_in()
    page = browser.open("/chat?graph=desk")
    page.get_by_label("Message").fill("What does a parcel cost?")
    page.keyboard.press("Enter")
    page.locator(".live .answer", has_text="A parce").wait_for()
    assert "two euros" not in page.locator(".live .answer").inner_text()
    page.locator("[data-node=prices].state-running").wait_for()
    shown.append(True)
    page.get_by_text("A parcel costs two euros").wait_for()
    page.locator("[data-node=prices].state-finished").wait_for()
    page.locator("[data-node=machines].state-skipped").wait_for()
    browser.check()


def test_the_page_goes_on_after_the_server_was_killed_and_started_again(browser: Browser) -> None:
    """The run is resumed by the new server, and the page shows its answer without a reload."""
    is_back: list[bool] = []

    def answer(request: StubRequest) -> StubAnswer | str | None:
        if "You know the prices" in json.dumps(request.messages):
            return StubAnswer("It costs two euros", after=2, until=lambda: bool(is_back))
        return None

    browser.site.answer = answer
    browser.log_in()
    page = browser.open("/chat?graph=desk")
    page.get_by_label("Message").fill("What does it cost?")
    page.keyboard.press("Enter")
    page.locator(".live .answer", has_text="It").wait_for()
    browser.may_fail = "ERR_"
    browser.site.kill()
    is_back.append(True)
    browser.site.start()
    page.locator(".live .answer", has_text="It costs two euros").wait_for()
    page.locator("[data-node=prices].state-finished").wait_for()


def test_a_question_is_answered_by_a_button(browser: Browser) -> None:
    browser.site.answer = lambda request: "Dear Ann"
    browser.log_in()
    page = browser.open("/chat?graph=asks")
    page.get_by_label("Message").fill("Write to Ann")
    page.get_by_role("button", name="Send").click()
    page.get_by_text("May this be sent? Dear Ann").wait_for()
    browser.check()
    browser.check_keyboard()
    page.get_by_role("button", name="yes").click()
    page.locator("[data-node=sent].state-finished").wait_for()


def test_the_pages_of_the_command_line_change_nothing_if_they_are_read_only(
    chromium: object, tmp_path: Path
) -> None:
    (tmp_path / "duo.yaml").write_text("name: duo\nmodel: echo\nnodes: {m: {role: Say}}\n")
    (tmp_path / "bad.yaml").write_text("name: bad\nmodel: echo\nnodes: {m: {rol: Say}}\n")
    store = tmp_path / "store"
    subprocess.run(
        [sys.executable, "-m", "teamgraph", "run", tmp_path / "duo.yaml", "hi", "--store", store],
        check=True,
        capture_output=True,
    )
    site = Site(tmp_path, "ui", ("--read-only", "--no-open"))
    site.start()
    with Browser.at(site, chromium) as browser:
        browser.log_in()
        for path in ("/", "/graph?graph=bad.yaml", "/graph?graph=duo", "/sessions"):
            page = browser.open(path)
            assert page.locator("form[method=post]").count() == 0, path
            browser.check()
        browser.open("/graph?graph=bad.yaml")
        page.get_by_text("bad.yaml:3:13").wait_for()
        browser.check_keyboard()
        page = browser.open(browser.links(browser.links("/sessions", "/session?")[0], "/run?")[0])
        assert page.locator("form[method=post]").count() == 0
        assert "echo: hi" in page.inner_text("main")
    site.stop()


_WATCH = """
() => {
  window.seen = [];
  const look = () => seen.push(document.querySelector(".live")?.innerText ?? "");
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true});
}
"""


def test_tool_calls_and_retries_are_told_and_a_run_is_stopped(browser: Browser) -> None:
    """Each is in the page as it happens; an answer begun anew takes the place of its half."""
    tried: list[bool] = []
    stopped: list[bool] = []

    def answer(request: StubRequest) -> StubAnswer | str | None:
        if request.messages[-1]["role"] != "tool":
            return StubAnswer(tool_calls=(("read_chat_history", {}),))
        tried.append(True)
        if len(tried) == 1:
            return StubAnswer("Half of an answer", fault="cut", after=4)
        return StubAnswer("Begun anew", after=3, until=lambda: bool(stopped))

    browser.site.answer = answer
    browser.log_in()
    page = browser.open("/chat?graph=busy")
    page.evaluate(_WATCH)
    page.get_by_label("Message").fill("Look it up")
    page.keyboard.press("Enter")
    page.locator(".live .answer", has_text="Begun a").wait_for()
    told = page.evaluate("() => seen.join('\\n')")
    for text in (
        "calls read_chat_history {}",
        "read_chat_history done: ",
        "Half of ",
        "failed, and is tried again: ",
        "runs, attempt 2",
    ):
        assert text in told
    assert "Half" not in page.locator(".live .answer").inner_text()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("cancelled").first.wait_for()
    stopped.append(True)
    browser.check()
