"""`teamgraph serve` and `teamgraph runs cancel`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from teamgraph.engine.server.listen import bind
from tests.engine.cli.conftest import Project
from tests.teams import wait_for


def test_the_command_serves_until_a_signal_and_prints_its_token_once(project: Project) -> None:
    project.write("duo.yaml", "name: duo\nmodel: echo\nnodes: {m: {role: Say}}\n")
    running = project.start(
        "serve", "duo.yaml", "--port=0", "--grace=1", "--mcp", "--trace=t.jsonl"
    )
    assert running.stderr is not None
    lines = [running.stderr.readline() for _ in range(2)]
    port = int(lines[1].rpartition(":")[2])
    token = lines[0].split()[1]
    connection = HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {token}"}
    connection.request("POST", "/api/runs", json.dumps({"message": "hi"}), headers)
    assert json.load(connection.getresponse())["answer"] == "echo: hi"
    connection.close()
    assert wait_for(ask_over_http(f"http://127.0.0.1:{port}/mcp", token)) == "echo: hi"
    running.send_signal(signal.SIGTERM)
    _, log = running.communicate(timeout=30)
    assert running.returncode == 0
    line = json.loads(log.splitlines()[0])
    assert (line["route"], line["status"]) == ("/api/runs", 200)
    assert token not in log
    lines = (project.folder / "t.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(each)["event"] for each in lines].count("run_finished") == 2


def test_a_token_that_was_set_is_not_printed(project: Project) -> None:
    project.write("duo.yaml", "name: duo\nmodel: echo\nnodes: {m: {role: Say}}\n")
    project.more["TEAMGRAPH_TOKEN"] = "set-by-the-admin"  # noqa: S105  no secret
    running = project.start("serve", "duo.yaml", "--port=0")
    assert running.stderr is not None
    lines = [running.stderr.readline() for _ in range(2)]
    assert lines[0].strip() == "token: that of TEAMGRAPH_TOKEN"
    connection = HTTPConnection("127.0.0.1", int(lines[1].rpartition(":")[2]))
    connection.request("GET", "/api/graphs", headers={"Authorization": "Bearer set-by-the-admin"})
    assert connection.getresponse().status == 200
    connection.close()
    running.send_signal(signal.SIGTERM)
    out, log = running.communicate(timeout=30)
    assert "set-by-the-admin" not in "".join([*lines, out, log])


def test_without_a_token_everybody_on_this_machine_may_call(project: Project) -> None:
    project.write("duo.yaml", "name: duo\nmodel: echo\nnodes: {m: {role: Say}}\n")
    running = project.start("serve", "duo.yaml", "--port=0", "--no-token")
    assert running.stderr is not None
    lines = [running.stderr.readline() for _ in range(2)]
    assert "no token is needed: --no-token" in lines[0]
    connection = HTTPConnection("127.0.0.1", int(lines[1].rpartition(":")[2]))
    connection.request("POST", "/api/runs", json.dumps({"message": "hi"}))
    assert json.load(connection.getresponse())["answer"] == "echo: hi"
    connection.close()
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=30)
    assert running.returncode == 0


async def ask_over_http(address: str, token: str) -> str:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        return await ask(Client(streamable_http_client(address, http_client=http)))


async def ask(connecting: Client, read_log: Callable[[], str] = str) -> str:
    """The answer of the tool, after the log of the server, which is still running."""
    async with connecting as client:
        assert [each.name for each in (await client.list_tools()).tools] == ["duo"]
        answer: Any = await client.call_tool("duo", {"message": "hi"})
        return read_log() + str(answer.content[0].text)


def test_the_command_serves_mcp_over_standard_input_and_output(project: Project) -> None:
    project.write(
        "duo.yaml",
        "name: duo\nmodel: echo\nnodes: {p: {kind: python, call: 'noisy:say'}, m: {needs: p}}\n"
        "output: m\n",
    )
    project.write("noisy.py", "def say():\n    print('no message of the protocol')\n")
    words = ["-m", "teamgraph", "serve", "duo.yaml", "--mcp-stdio", "--allow", "noisy"]
    words += ["--trace", "/dev/full"]
    with (project.folder / "log").open("w") as log:
        transport = stdio_client(
            StdioServerParameters(
                command=sys.executable, args=words, cwd=project.folder, env=project.environment()
            ),
            errlog=log,
        )
        told = wait_for(ask(Client(transport), (project.folder / "log").read_text))
        assert told.endswith("echo: hi")
        assert "no message of the protocol" in told
        assert told.count("--trace /dev/full: cannot write it") == 1


MISTAKES: dict[tuple[str, ...], str] = {
    ("--no-token", "--host", "0.0.0.0"): "leave it out, or bind to",  # noqa: S104  it is refused
    ("--no-token", "--host", "host.example"): "leave it out, or bind to",
    ("--auth", "nowhere:who"): "there is no module 'nowhere'",
    ("--auth", "logins:NAME"): "is no function",
    ("--auth", "logins:who", "--host", "256.0.0.1"): "cannot listen on 256.0.0.1",
    ("--mcp-stdio", "--mcp", "--no-token", "--cors", "x"): "leave out --mcp, --no-token, --cors",
    ("--trace", "nowhere/t.jsonl"): "--trace nowhere/t.jsonl: cannot write it",
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
