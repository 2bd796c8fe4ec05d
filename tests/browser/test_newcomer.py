"""The three questions of a newcomer, answered by clicks alone: no address is typed."""

from __future__ import annotations

import json

from tests.stub import StubRequest

from .conftest import Browser
from .test_pages import by_turn


def ask(browser: Browser, *messages: str) -> None:
    """Ask the desk in a new session, and wait for each answer."""
    page = browser.page
    page.get_by_role("link", name="Chat with desk").click()
    for message in messages:
        page.get_by_label("Message", exact=True).fill(message)
        page.get_by_role("button", name="Send").click()
        page.locator("#say").wait_for()
        page.locator(".turn", has_text=message).locator("summary .status-done").wait_for()


def open_node(browser: Browser, turn: str, node: str) -> None:
    """From the chat to what a node of a turn was sent."""
    page = browser.page
    page.get_by_role("link", name=turn, exact=True).click()
    page.get_by_role("rowheader", name=node).get_by_role("link").click()
    page.get_by_role("heading", name=f"What {node} was sent, and said").wait_for()


def test_why_did_it_say_that(browser: Browser) -> None:
    """Each word of the prompt says whether an earlier turn, the message or a template has it."""
    browser.site.answer = by_turn
    browser.log_in()
    ask(browser, "What does a parcel cost?", "How does an engine work?")
    open_node(browser, "turn 2", "machines")
    pieces = browser.page.locator(".messages")
    earlier = pieces.locator(".origin-history", has_text="A parcel costs two euros").first
    assert "turn 1" in (earlier.get_attribute("title") or "")
    assert pieces.locator(".origin-message", has_text="How does an engine work?").count()
    assert pieces.locator(".origin-template").count()
    browser.check()


def test_what_was_different_in_the_turn_before(browser: Browser) -> None:
    browser.site.answer = by_turn
    browser.log_in()
    ask(browser, "What does a parcel cost?", "What does a letter cost?")
    open_node(browser, "turn 2", "prices")
    browser.page.get_by_role("link", name="Compare with the previous turn").click()
    browser.page.locator("ins", has_text="letter").first.wait_for()
    browser.check()
    browser.check_keyboard()


def test_what_if_the_prompt_said_something_else(browser: Browser) -> None:
    """The run is repeated in a new session with another template; the old one stays."""

    def answer(request: StubRequest) -> str | None:
        if "in Latin" in json.dumps(request.messages):
            return "Duobus denariis"
        found = by_turn(request)
        return found if isinstance(found, str) else None

    browser.site.answer = answer
    browser.log_in()
    ask(browser, "What does a parcel cost?")
    open_node(browser, "turn 1", "prices")
    page = browser.page
    template = page.get_by_label("Template of prices, for this once")
    template.fill(template.input_value().replace("{% endsystem %}", " in Latin{% endsystem %}"))
    page.get_by_role("button", name="Run again in a new session").click()
    page.locator(".answer", has_text="Duobus denariis").wait_for()
    browser.check()
    page.go_back()
    page.locator(".answer", has_text="A parcel costs two euros").wait_for()
