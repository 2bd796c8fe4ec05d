"""The login, in a browser."""

from __future__ import annotations

from hashlib import sha256

import pytest

from .conftest import AXE, TOKEN, Browser


def test_the_checker_of_accessibility_is_what_was_vendored() -> None:
    written = (AXE.parent / "VENDORED.txt").read_text(encoding="utf-8")
    assert f"sha256      {sha256(AXE.read_bytes()).hexdigest()}\n" in written


_WIDE = """
() => {
  const wide = document.createElement("div");
  wide.style.whiteSpace = "nowrap";
  wide.textContent = "wide ".repeat(1000);
  document.body.append(wide);
}
"""


def test_what_no_page_may_do_is_found(browser: Browser) -> None:
    """The checks can fail: each fault that is put into a page is told."""
    page = browser.open("/login")
    page.evaluate("() => { document.title = ''; }")
    with pytest.raises(AssertionError, match="document-title"):
        browser.check()
    page.evaluate(_WIDE)
    with pytest.raises(AssertionError, match="360"):
        browser.check()
    page.evaluate("() => document.querySelector('button').tabIndex = -1")
    with pytest.raises(AssertionError, match="<button"):
        browser.check_keyboard()
    page.evaluate("() => { const i = new Image(); i.src = 'http://127.0.0.1:9/'; }")
    page.evaluate(
        "() => { const s = document.createElement('script'); s.text = 'alert(1)';"
        " document.body.append(s); }"
    )
    page.wait_for_timeout(0)
    told = " ".join(browser.complaints)
    assert "request of http://127.0.0.1:9/" in told or "CSP violation: img-src" in told
    assert "CSP violation: script-src-elem inline" in told
    browser.complaints.clear()


def test_the_login_is_a_page_for_everybody(browser: Browser) -> None:
    browser.open("/login")
    browser.check()
    browser.check_keyboard()


def test_a_wrong_token_is_told_and_the_right_one_logs_in_by_keyboard(browser: Browser) -> None:
    page = browser.open("/login")
    browser.may_fail = "401 (Unauthorized)"
    for typed in ("wrong", TOKEN):
        page.get_by_label("Token").focus()
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        if typed != TOKEN:
            page.get_by_text("That is not the token of this server").wait_for()
            browser.check()
    page.wait_for_url(lambda url: "/login" not in url)
