"""Hostile texts wherever a text of anybody can stand: nothing runs, and nothing is fetched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from teamgraph import Graph, Runner
from tests.stub import StubAnswer, StubProvider, StubRequest

from .conftest import Browser, Site, post

PARTS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</pre></span></td></style></title></textarea><script>alert(1)</script>",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus='alert(1)",
    "<svg><a xlink:href='javascript:alert(1)'><animate onbegin=alert(1)>",
    "[x](javascript:alert(1)) ![y](http://127.0.0.1:9/b.png)",
    "data:text/html;base64,PHNjcmlwdD4=",
    "<!-- <?php ]]> <![CDATA[",
    "&lt;script&gt;&#x3c;&amp",
    "\u202egnp.exe\u2066\u061c",
    "\x1b]0;title\x07\x1b[31m\x9b",
    "<base href=http://127.0.0.1:9/><meta http-equiv=refresh content=0>",
    "{{ 7 * 7 }}{% raw %}",
    "\r\n\n\n<p>\t",
    "@import url(http://127.0.0.1:9);}</style>",
    "<form action=http://127.0.0.1:9><button autofocus>",
    "word" * 50,
)
TEXTS = [f"{left}{right}" for left, right in product(PARTS, ("", *PARTS))]
ALL = "\n".join(TEXTS)
ONCE = "".join(PARTS)
GRAPH = {
    "version": 1,
    "name": "".join(PARTS[:4]),
    "description": ONCE,
    "model": {"id": "openai/gpt-5-mini"},
    "nodes": {
        "history": {"kind": "history-loader"},
        "router": {
            "kind": "router",
            "routes": {"".join(PARTS[:3]): {"to": "teller", "about": ONCE}, "other": "Others"},
        },
        "teller": {"role": ONCE, "tools": ["read_chat_history"]},
        "other": {"prompt": "<img src=x onerror=alert(1)>'\".jinja"},
        "summary": {"kind": "summarizer", "needs": ["teller", "other"]},
    },
    "output": ["teller", "other"],
}
USER = "ann<script>alert(1)</script>' onfocus='alert(2)"
RUN = 'run"><svg onload=alert(1)>&amp;/..'
SAID = f"{ALL}\ud800 half of a pair"
SESSION = 'talk"><img src=x onerror=alert(1)>&amp;'
_WRONG = """
() => {
  const wrong = [];
  for (const each of document.querySelectorAll("*")) {
    const name = each.localName;
    if (name === "script" && !each.src) wrong.push(each.outerHTML);
    if (["img", "iframe", "object", "embed", "base", "animate"].includes(name)) wrong.push(name);
    for (const attribute of each.attributes) {
      if (attribute.name.startsWith("on")) wrong.push(attribute.name);
      if (["href", "src", "action"].includes(attribute.name)
          && new URL(attribute.value, location).origin !== location.origin)
        wrong.push(attribute.value);
    }
  }
  return wrong.slice(0, 5);
}
"""


def said(request: StubRequest) -> StubAnswer:
    """A hostile choice, a tool call whose result is hostile, and all texts as the answer."""
    tools = json.dumps(request.body.get("tools", []))
    if "read_chat_history" in tools and request.messages[-1]["role"] != "tool":
        return StubAnswer(tool_calls=(("read_chat_history", {}),))
    if "Others" in json.dumps(request.messages):
        return StubAnswer(json.dumps({"choice": "".join(PARTS[:3]), "reason": ALL}))
    return StubAnswer(ALL, chunk_size=4000)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, chromium: object) -> Iterator[Site]:
    """A site with hostile texts in two turns of a session."""
    folder = tmp_path_factory.mktemp("hostile")
    template = (
        "{% system %}{{ node.role }}{% endsystem %}{% user %}{{ input.message }}{% enduser %}"
    )
    (folder / "prompts").mkdir()
    (folder / "prompts" / GRAPH["nodes"]["other"]["prompt"]).write_text(template)
    with StubProvider(handler=said) as stub:
        model = {"id": "openai/gpt-5-mini", "api_base": stub.base_url}
        (folder / "hostile.yaml").write_text(json.dumps(GRAPH | {"model": model}))
        site = Site(folder)
        site.start()
        for number in range(2):
            ids = {"user_id": USER, "session_id": SESSION, "run_id": f"{RUN}{number}"}
            post(site, "/api/runs", message=SAID, **ids)
        yield site
        site.stop()


def test_no_text_runs_or_fetches_anything(chromium: object, hostile: Site) -> None:
    """Of 342 texts, as message, answer, name, id, label, reason, tool result and template."""
    assert len(TEXTS) >= 300
    with Browser.at(hostile, chromium) as browser:
        browser.log_in()
        ids = {"user_id": USER, "session_id": SESSION}
        found = browser.links(f"/session?{urlencode(ids)}", "/run?")
        assert quote(f"{RUN}1", safe="") in found[0]
        pages = [
            "/",
            f"/graph?{urlencode({'graph': GRAPH['name']})}",
            f"/chat?{urlencode(ids)}",
            f"/sessions?{urlencode({'user_id': USER})}",
            f"/session?{urlencode(ids)}",
            f"/session/delete?{urlencode(ids)}",
            f"/compare?{urlencode(ids | {'other': SESSION})}",
            "/prompts",
            found[0],
            *browser.links(found[0], "node="),
        ]
        for path in pages:
            page = browser.open(path)
            assert page.evaluate(_WRONG) == [], path
            for width in (360, 1280):
                browser.check_width(width)
        browser.open(f"/chat?{urlencode(ids)}")
        assert "<script>alert(1)</script>" in browser.page.inner_text("main")
        browser.check_accessible("light")


def outputs(folder: Path) -> tuple[str, list[str]]:
    """The id of a hostile run, and what a notebook shows of graph, run and rendering."""
    session = Runner(folder / "hostile.yaml", store=folder / "store").session(SESSION, user_id=USER)
    run = session.run(session.runs()[0].run_id)
    graph = Graph.load(folder / "hostile.yaml")
    rendering = graph.render(ONCE, history=[(ONCE, ONCE)])
    return run.run_id, [each._repr_html_() for each in (graph, run, rendering)]


def test_what_is_mailed_or_shown_in_a_notebook_runs_and_fetches_nothing(
    chromium: object, hostile: Site, tmp_path: Path
) -> None:
    """Also without the CSP of the server: a notebook has none."""
    with ThreadPoolExecutor(1) as pool:  # Playwright's loop runs in this thread
        run, pieces = pool.submit(outputs, hostile.folder).result()
    mailed = tmp_path / "run.html"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "teamgraph",
            "runs",
            "show",
            run,
            "--user",
            USER,
            "--store",
            "store",
            "--html",
            mailed,
        ],
        cwd=hostile.folder,
        check=True,
    )
    with Browser.at(hostile, chromium) as browser:
        for text in (*pieces, mailed.read_text(encoding="utf-8")):
            browser.page.set_content(f"<!doctype html><title>x</title>{text}")
            assert browser.page.evaluate(_WRONG) == []
            assert "<script>alert(1)</script>" in browser.page.inner_text("body")
