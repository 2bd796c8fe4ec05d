"""`teamgraph serve` and `teamgraph runs cancel`."""

from __future__ import annotations

import json
import signal
import sys
from http.client import HTTPConnection

import pytest

from teamgraph.engine.server.listen import bind
from tests.engine.cli.conftest import Project


def test_the_command_serves_until_a_signal_and_prints_its_token_once(project: Project) -> None:
    project.write("duo.yaml", "name: duo\nmodel: echo\nnodes: {m: {role: Say}}\n")
    running = project.start("serve", "duo.yaml", "--port", "0", "--grace", "1")
    assert running.stderr is not None
    lines = [running.stderr.readline() for _ in range(2)]
    port = int(lines[1].rpartition(":")[2])
    token = lines[0].split()[1]
    connection = HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {token}"}
    connection.request("POST", "/api/runs", json.dumps({"message": "hi"}), headers)
    assert json.load(connection.getresponse())["answer"] == "echo: hi"
    connection.close()
    running.send_signal(signal.SIGTERM)
    _, log = running.communicate(timeout=30)
    assert running.returncode == 0
    line = json.loads(log.splitlines()[0])
    assert (line["route"], line["status"]) == ("/api/runs", 200)
    assert token not in log


MISTAKES = {
    ("--no-token", "--host", "0.0.0.0"): "leave it out, or bind to",  # noqa: S104  it is refused
    ("--no-token", "--host", "host.example"): "leave it out, or bind to",
    ("--auth", "nowhere:who"): "there is no module 'nowhere'",
    ("--auth", "logins:NAME"): "is no function",
    ("--auth", "logins:who", "--host", "256.0.0.1"): "cannot listen on 256.0.0.1",
    ("--no-token", "--host", "localhost", "--port", "1"): "",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_what_cannot_be_served_is_told(project: Project, words: tuple[str, ...]) -> None:
    project.write("duo.yaml", "name: duo\nmodel: echo\nnodes: {m: {role: Say}}\n")
    project.write("logins.py", "NAME = 'ada'\n\n\ndef who(request):\n    return NAME\n")
    if words[-1] == "1":
        with bind("127.0.0.1", 0) as taken:
            port = str(taken.getsockname()[1])
            refused = project.teamgraph("serve", "duo.yaml", *words[:-1], port)
    else:
        refused = project.teamgraph("serve", "duo.yaml", *words)
    sys.modules.pop("logins", None)
    assert (refused.exit_code, MISTAKES[words] in refused.stderr) == (2, True), refused.stderr


def test_a_run_is_cancelled_from_the_command_line(project: Project) -> None:
    project.write(
        "asks.yaml",
        'name: asks\nmodel: echo\nnodes: {ok: {kind: human, prompt: "May I?\\n"}, m: {needs: ok}}\n'
        "output: m\n",
    )
    started = json.loads(project.teamgraph("run", "asks.yaml", "go", "--json").stdout)
    told = project.teamgraph("runs", "cancel", started["run_id"][:8])
    assert (told.exit_code, "is cancelled" in told.stderr) == (0, True)
    as_json = project.teamgraph("runs", "cancel", started["run_id"], "--json")
    assert json.loads(as_json.stdout)["status"] == "cancelled"
