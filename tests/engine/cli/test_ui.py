"""`teamgraph ui`: the pages in a browser, which is logged in once."""

from __future__ import annotations

import re
import signal
from http.client import HTTPConnection

from tests.engine.cli.conftest import Project

GRAPH = "name: duo\nmodel: echo\nnodes: {m: {role: Say}}\n"
BROWSER = """\
#!/bin/sh
echo "$1" > opened
"""


def test_the_pages_are_opened_in_a_browser_with_an_address_that_is_good_once(
    project: Project,
) -> None:
    project.write("duo.yaml", GRAPH)
    project.write("bad.yaml", "name: bad\nmodel: echo\nnodes: {m: {rol: Say}}\n")
    project.write("browser", BROWSER).chmod(0o755)
    project.more["BROWSER"] = str(project.folder / "browser")
    running = project.start("ui", "duo.yaml", "bad.yaml", "--port", "0")
    assert running.stderr is not None
    token = running.stderr.readline().split()[1]
    found = re.search(r"open http://127\.0\.0\.1:(\d+)(/\S+) ", running.stderr.readline())
    assert found is not None
    port, path = int(found[1]), found[2]
    assert token not in path
    answers: list[tuple[int, str]] = []
    for _ in range(2):
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        answers.append((answer.status, answer.headers.get("set-cookie", "")))
        connection.close()
    (first, cookie), (second, _) = answers
    assert (first, second) == (303, 401)
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/", headers={"Accept": "text/html", "Cookie": cookie.split(";")[0]})
    text = connection.getresponse().read().decode()
    assert "duo" in text
    assert "It cannot be loaded: 1 problem" in text
    connection.close()
    running.send_signal(signal.SIGTERM)
    _, log = running.communicate(timeout=30)
    assert (running.returncode, log) == (0, "")
    assert (project.folder / "opened").read_text(encoding="utf-8").strip().endswith(path)


def test_without_a_browser_the_address_is_printed_and_nothing_opened(project: Project) -> None:
    project.write("duo.yaml", GRAPH)
    project.write("browser", BROWSER).chmod(0o755)
    project.more["BROWSER"] = str(project.folder / "browser")
    running = project.start("ui", "duo.yaml", "--port", "0", "--no-open")
    assert running.stderr is not None
    line = [running.stderr.readline() for _ in range(2)][1]
    connection = HTTPConnection(line.partition("http://")[2].partition("/")[0])
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=30)
    assert not (project.folder / "opened").exists()
