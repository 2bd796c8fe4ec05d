"""Who sees a page: the login leads there and back, and no form of another page is taken."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from starlette.testclient import TestClient

from teamgraph import MemoryStore
from teamgraph.engine.server.pages.login import login_path
from teamgraph.server import create_app
from tests.engine.server.conftest import DUO, TOKEN
from tests.engine.server.pages.browser import Browser
from tests.engine.server.pages.conftest import Open

PAGES = ("/", "/graph?graph=duo", "/chat", "/run?run_id=r", "/sessions?user_id=a", "/prompts")


@pytest.mark.parametrize("path", PAGES)
def test_without_a_login_a_page_leads_to_it_and_the_login_back(browse: Open, path: str) -> None:
    browser = browse(login=False)
    login = browser.open(path)
    assert "Log in" in login.text
    form = login.form("/login")
    assert "That is not the token" in browser.send(form, 401, token="").text
    there = browser.sent(form, token=TOKEN)
    assert str(there.url).removeprefix("http://testserver") == path
    on_page = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{path}"}
    away = browse(login=False).raw("/chat", method="POST", headers=on_page)
    assert parse_qs(urlsplit(away.headers["hx-redirect"]).query)["next"] == [path]
    lost = browse(login=False).raw("/chat", method="POST", follow_redirects=False)
    assert lost.headers["location"] == "/login"
    as_json = browse(login=False).raw(path, headers={"Accept": "application/json"})
    assert as_json.json()["error"]["code"] == "unauthorized"


FOREIGN = (
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "https://evil.example",
    "/\tx",
    "x",
)


@pytest.mark.parametrize("path", FOREIGN)
def test_the_login_leads_to_no_other_server(browse: Open, path: str) -> None:
    client = browse(login=False).client
    form = {"token": TOKEN, "next": path}
    answer = client.post("/login", data=form, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_page_of_no_valid_address_is_not_come_back_to(browse: Open) -> None:
    on_page = {"HX-Request": "true", "HX-Current-URL": "http://["}
    refused = browse(login=False).raw("/", headers=on_page)
    assert refused.headers["hx-redirect"] == "/login"


def test_an_address_that_logs_in_is_good_once(browse: Open) -> None:
    browser = browse(login=False)
    path = login_path(browser.client.app)  # type: ignore[arg-type]  an ASGI app for its types
    assert browser.open(path).all("h1")[0].text == "Graphs"
    assert TOKEN not in path
    browser.client.cookies.clear()
    assert "was opened before" in browser.open(path, status=401).text
    assert "Log in" in browser.open("/").text


def test_a_form_needs_the_csrf_token_of_its_login(browse: Open) -> None:
    browser = browse()
    form = browser.open("/chat?session_id=s").form("/chat")
    forged = browser.raw(form.action, method="POST", data={"message": "hi"})
    assert (forged.status_code, "load the page again" in forged.text) == (403, True)
    swapped = browser.raw(
        form.action, method="POST", data={"message": "hi"}, headers={"HX-Request": "true"}
    )
    assert swapped.headers["hx-retarget"] == "#problem"
    foreign = {"Origin": "https://evil.example"}
    refused = browser.raw(form.action, method="POST", data=form.fields, headers=foreign)
    assert refused.status_code == 403
    assert browser.send(form, message="hi").text


def test_a_login_of_ones_own_says_whose_pages_they_are(browse: Open) -> None:
    def who(request: Request) -> str | None:
        return request.headers.get("x-user")

    browser = browse(auth=who)
    assert "not logged in" in browser.open("/", status=401).text
    browser.headers["X-User"] = "ada"
    assert "user ada" in browser.open("/sessions?user_id=bob").text


def test_without_pages_errors_are_json(browse: Open) -> None:
    browser = browse(ui=False)
    assert browser.raw("/").json()["error"]["code"] == "unauthorized"
    assert browser.raw("/static/pages.css").json()["error"]["code"] == "not_found"


def test_pages_of_a_mounted_app_stay_below_its_path() -> None:
    app = create_app([DUO], store=MemoryStore(), token=TOKEN, hosts=["testserver"])
    with TestClient(Starlette(routes=[Mount("/team", app)])) as client:
        browser = Browser(client)
        login = browser.open("/team/chat?session_id=s")
        page = browser.send(login.form("/team/login"), token=TOKEN)
        assert all(link.startswith(("/team/", "#")) for link in page.links)
        style = next(each.attributes["href"] for each in page.all("link")[1:])
        assert client.get(style).headers["content-type"].startswith("text/css")
        assert client.get("/team/static/nothing.css").status_code == 404
