"""A browser without a screen: it keeps cookies, sends forms, and checks each page."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from starlette.testclient import TestClient

VOID = {"meta", "link", "input", "br", "hr", "img"}
TAGS = VOID | {
    *("html", "head", "title", "script", "noscript", "body", "header", "nav", "main", "aside"),
    *(
        "section",
        "article",
        "div",
        "span",
        "p",
        "a",
        "h1",
        "h2",
        "h3",
        "h4",
        "ul",
        "ol",
        "li",
        "dl",
    ),
    *(
        "dt",
        "dd",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "caption",
        "form",
        "label",
        "button",
    ),
    *("select", "option", "textarea", "details", "summary", "pre", "code", "time", "strong", "ins"),
    *("del", "svg", "g", "path", "rect", "text", "tspan", "desc", "marker", "defs", "polygon"),
    *("ellipse", "circle", "line", "polyline", "figure", "figcaption", "em", "small"),
}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Form:
    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict[str, str])


class Page(HTMLParser):
    """A page that is parsed strictly: what is open is closed, and every tag is one of ours."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[Element] = []
        self.forms: list[Form] = []
        self.text = ""
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        assert not self._open, [each.tag for each in self._open]
        self._check()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag.lower() in TAGS, f"<{tag}> in {self.html}"
        found = Element(tag, {name: value or "" for name, value in attrs})
        for name in found.attributes:
            assert not name.startswith(("on", "hx-on")), f"{name} of <{tag}>"
            assert name not in ("style", "srcdoc", "formaction"), f"{name} of <{tag}>"
        self.elements.append(found)
        if tag == "form":
            self.forms.append(Form(found.attributes["method"], found.attributes["action"]))
        if "name" in found.attributes and tag in ("input", "textarea", "button") and self._in_form:
            value = found.attributes.get("value", "")
            self.forms[-1].fields.setdefault(found.attributes["name"], value)
        if tag not in VOID:
            self._open.append(found)

    @property
    def _in_form(self) -> bool:
        return any(each.tag == "form" for each in self._open)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag, f"</{tag}> in {self.html}"

    def handle_data(self, data: str) -> None:
        self.text += data
        for each in self._open:
            each.text += data
        if self._open and self._open[-1].tag == "textarea":
            name = self._open[-1].attributes["name"]
            self.forms[-1].fields[name] = self._open[-1].text.removeprefix("\n")

    def all(self, tag: str) -> list[Element]:
        return [each for each in self.elements if each.tag == tag]

    @property
    def links(self) -> list[str]:
        return [each.attributes["href"] for each in self.all("a")]

    def form(self, action: str) -> Form:
        """The form whose action is below a path."""
        return next(each for each in self.forms if urlsplit(each.action).path == action)

    def _check(self) -> None:
        """What every page has: one heading, a place to skip to, names for all that is filled in."""
        assert [len(self.all(tag)) for tag in ("h1", "main", "html")] == [1, 1, 1]
        ids = [each.attributes["id"] for each in self.elements if "id" in each.attributes]
        assert len(ids) == len(set(ids)), ids
        assert self.all("html")[0].attributes["lang"] == "en"
        assert "#main" in self.links
        for each in self.all("script"):
            assert each.attributes["src"].startswith("/"), each
            assert not each.text
        labelled = {each.attributes.get("for") for each in self.all("label")}
        for each in self.elements:
            is_field = each.tag in ("select", "textarea") or (
                each.tag == "input" and each.attributes.get("type") != "hidden"
            )
            if is_field and each.attributes.get("id") not in labelled:
                assert self._is_inside_label(each), each
        for each in self.all("button") + self.all("a") + self.all("summary"):
            assert each.text.strip() or each.attributes.get("aria-label"), each
        for each in self.elements:
            for name in ("href", "src", "action"):
                if name in each.attributes:
                    assert each.attributes[name].startswith(("/", "#")), each
                    assert not each.attributes[name].startswith("//"), each

    def _is_inside_label(self, wanted: Element) -> bool:
        before = self.elements[: self.elements.index(wanted)]
        labels = [each for each in before if each.tag == "label"]
        return bool(labels and labels[-1].text.strip())


@dataclass
class Browser:
    """A client of an app that wants pages."""

    client: TestClient
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def raw(self, path: str, **options: Any) -> Any:  # noqa: ANN401  httpx's
        headers = {"Accept": "text/html,*/*;q=0.8", **self.headers, **options.pop("headers", {})}
        return self.client.request(options.pop("method", "GET"), path, headers=headers, **options)

    def open(self, path: str, status: int = 200) -> Page:
        return self._page(self.raw(path), status)

    def send(self, form: Form, status: int = 200, **fields: str | list[str]) -> Page:
        return self._page(self.sent(form, **fields), status)

    def sent(self, form: Form, **fields: str | list[str]) -> Any:  # noqa: ANN401  httpx's
        filled = {**form.fields, **fields}
        if form.method == "get":
            return self.raw(form.action, params=filled)
        return self.raw(form.action, method="POST", data=filled)

    def _page(self, answer: Any, status: int) -> Page:  # noqa: ANN401  httpx's
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; ")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        return Page(answer.text)
