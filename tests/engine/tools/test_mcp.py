"""Tools of MCP servers: locked beside the graph, called on one connection for each process."""

# ruff: noqa: ANN401  servers are declared as users write them

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from teamgraph import (
    Graph,
    MCPServer,
    MemoryStore,
    Recorder,
    Replay,
    Reply,
    Run,
    Runner,
    ScriptedModel,
    ToolCall,
)
from teamgraph.engine.cli import app
from teamgraph.engine.run.prepared import prepare
from teamgraph.engine.tools.mcp import write_lock
from teamgraph.engine.tools.mcp_client import MCPAddress, MCPConnection, ServerTool
from teamgraph.errors import DefinitionError, NodeError, ToolError
from teamgraph.events import ToolCalled
from teamgraph.nodes import Member
from tests.builders import refused, written

SERVER = Path(__file__).with_name("mcp_server.py")
STDIO = f"shop: {{command: [{sys.executable}, {SERVER}], env: [SHOP_TOKEN, CALLS], timeout: 20}}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a graph and the lock file of its server."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP_TOKEN", "tea-4711")
        patch.setenv("CALLS", str(folder / "calls.txt"))
        team(folder)
        done = CliRunner().invoke(
            app, ["mcp", "lock", str(folder / "team.yaml"), "--allow-mcp", "shop"]
        )
        assert done.exit_code == 0, done.output
        assert "+ shop.price\n" in done.stdout
        yield folder


def team(folder: Path, tools: str = '["shop.*"]', servers: str = STDIO) -> Path:
    text = f"name: team\nmodel: m\nmcp:\n  {servers}\nnodes:\n  clerk: {{tools: {tools}}}\n"
    return written(folder, text)


def call(name: str, /, **arguments: object) -> ToolCall:
    return ToolCall(id=f"{name}{arguments}", name=name, arguments=json.dumps(arguments))


def told(graph: Graph, *calls: ToolCall) -> list[str]:
    """What the model is told of calls."""
    model = ScriptedModel([Reply("", tool_calls=calls), "done"])
    Runner(graph, model=model).run("hello")
    return [each.content for each in model.requests[-1].messages if each.role == "tool"]


def test_a_model_is_offered_what_is_locked_and_the_server_answers(shop: Path) -> None:
    graph = Graph.load(team(shop), allow_mcp=["shop"])
    (prompt,) = graph.render("hello").values()
    offered: Any = [tool["function"] for tool in prompt.prompts[0].tools]
    assert [each["name"] for each in offered] == [
        *("shop_environment", "shop_fail", "shop_price", "shop_process", "shop_wait"),
        "shop_write",
    ]
    assert offered[2]["description"] == "Look up what something costs."
    assert told(
        graph,
        call("shop_price", item="tea", count=2),
        call("shop_environment", name="SHOP_TOKEN"),
        call("shop_environment", name="OPENAI_API_KEY"),
        call("shop_fail", reason="no tea"),
        call("shop_price", count="many"),
    ) == [
        "6",
        "tea-4711",
        "(not set)",
        "error: Error executing tool fail: no tea",
        "error: the arguments of 'shop_price' do not fit: 'count': 'many' is not of type 'integer'"
        "; 'item' is a required property; call it again",
    ]


def test_one_server_serves_all_loops_and_a_lost_call_is_marked_and_never_repeated(
    shop: Path,
) -> None:
    graph = Graph.load(team(shop), allow_mcp=["shop"])
    first, second = (asyncio.run(Runner(graph, model=again()).arun("hello")) for _ in range(2))
    assert results(first) == results(second)
    assert results(first) == told(graph, call("shop_process"))
    calls = [call("shop_write", line="once", die="after"), call("shop_process")]
    lost = "error: the tool's server ended during the call, which may have been executed; check"
    assert told(graph, calls[0])[0].startswith(lost)
    assert (shop / "calls.txt").read_text(encoding="utf-8") == "once\n"
    assert told(graph, calls[1]) != results(first)


def test_a_call_that_takes_too_long_leaves_the_connection_as_it_is(shop: Path) -> None:
    tools = "[{call: shop.wait, timeout: 0.2}, {call: shop.price, max_result: 1}, shop.process]"
    graph = Graph.load(team(shop, tools), allow_mcp=["shop"])
    before = told(graph, call("shop_process"))
    late = "error: the tool 'shop_wait' gave no result within 0.2 seconds; it may still be running"
    assert told(graph, call("shop_wait")) == [late]
    assert told(graph, call("shop_price", item="tea", count=4)) == [
        "1\n[cut: these are the first 1 of 2 characters]"
    ]
    assert told(graph, call("shop_process")) == before


def test_a_person_confirms_a_call(shop: Path) -> None:
    tools = '[{call: shop.price, confirm: "arguments.count > 1"}]'
    graph = Graph.load(team(shop, tools), allow_mcp=["shop"])
    wanted = call("shop_price", item="tea", count=3)
    runner = Runner(graph, model=ScriptedModel([Reply("", tool_calls=(wanted,)), "9"]))
    assert [each.path for each in runner.run("hello", run_id="r").questions] == [
        "clerk/shop_price[1]"
    ]
    assert results(runner.respond("r", {"clerk/shop_price[1]": "approve"})) == ["9"]


def test_a_call_that_was_interrupted_is_marked_when_it_is_executed_again(shop: Path) -> None:
    graph = Graph.load(team(shop, "[{call: shop.wait, timeout: 0.2}]"), allow_mcp=["shop"])
    model = ScriptedModel([Reply("", tool_calls=(call("shop_wait"),)), "done"])
    runner = Runner(graph, model=model, store=MemoryStore())

    async def interrupt() -> None:
        async with aclosing(runner.astream("hello", run_id="r")) as events:
            async for event in events:
                if isinstance(event, ToolCalled):
                    break

    asyncio.run(interrupt())
    (result,) = results(runner.resume("r"))
    assert result.startswith("this call was interrupted before, and may be executed twice; error:")


def test_a_tool_that_is_not_the_locked_one_ends_the_run_with_the_difference(
    shop: Path, tmp_path: Path
) -> None:
    lock = tmp_path / "lock.json"
    servers = {"shop": {"command": [sys.executable, str(SERVER)], "env": ["SHOP_TOKEN", "CALLS"]}}

    def made(old: str, new: str) -> Graph:
        text = (shop / "mcp_lock.json").read_text(encoding="utf-8")
        lock.write_text(text.replace(old, new), encoding="utf-8")
        nodes = {"clerk": Member(tools=["shop.price", "shop.fail"])}
        nodes["boss"] = Member(needs="clerk", tools=["tests.shop:price", "shop.price"])
        nodes["last"] = Member(needs="boss", tools="tests.shop:price")
        return Graph(name="team", model="m", mcp=servers, mcp_lock=lock, nodes=nodes)

    graph = made("Look up what", "Guess what")
    with pytest.raises(NodeError, match="is not the one in the lock file") as caught:
        told(graph, call("shop_price", item="tea"))
    assert isinstance(caught.value.__cause__, ToolError)
    assert '-  "description": "Guess what something costs."' in str(caught.value.__cause__)
    assert '+  "description": "Look up what something costs."' in str(caught.value.__cause__)
    with pytest.raises(NodeError, match="the MCP server 'shop' has it no more"):
        told(with_gone_tool(shop, lock, servers), call("shop_gone"))
    assert made("x", "x") == made("x", "x")
    assert made("x", "x") != graph


def with_gone_tool(shop: Path, lock: Path, servers: Any) -> Graph:
    data = json.loads((shop / "mcp_lock.json").read_text(encoding="utf-8"))
    data["servers"]["shop"]["gone"] = {"description": "Gone.", "parameters": {"type": "object"}}
    lock.write_text(json.dumps(data), encoding="utf-8")
    nodes = {"clerk": Member(tools="shop.gone")}
    return Graph(name="team", model="m", mcp=servers, mcp_lock=lock, nodes=nodes)


def test_a_changed_tool_is_a_changed_node(shop: Path, tmp_path: Path) -> None:
    shutil.copy(shop / "mcp_lock.json", tmp_path)
    path = team(tmp_path, "[shop.price]")
    store = MemoryStore()
    runner = Runner(Graph.load(path, allow_mcp=["shop"]), store=store, model=ScriptedModel([""]))
    with pytest.raises(NodeError):
        runner.run("hello", run_id="r", session_id="s")
    text = (tmp_path / "mcp_lock.json").read_text(encoding="utf-8")
    (tmp_path / "mcp_lock.json").write_text(text.replace("Look up", "Guess"), encoding="utf-8")
    changed = Graph.load(path, allow_mcp=["shop"])
    assert prepare(changed, "echo").facts != prepare(runner.graph, "echo").facts


def test_a_file_and_its_dump_name_the_same_tools(shop: Path) -> None:
    tools = "[shop.price, {call: shop.fail, timeout: 5}]"
    graph = Graph.load(team(shop, tools), allow_mcp=["shop"])
    graph.dump(shop / "again.yaml")
    assert Graph.load(shop / "again.yaml", allow_mcp=["shop"]) == graph
    inner = "[{graph: {nodes: {a: {tools: shop.price}}}, name: ask, about: Asks}]"
    nested = Graph.load(team(shop, inner), allow_mcp=["shop"])
    (prompt,) = nested.render("hello")["clerk/ask[1]/a"].prompts
    assert [tool["function"] for tool in prompt.tools] != []


NO_TEXT = '{"version": 1, "servers": {"a": {"b": {}}}}'
NO_SCHEMA = '{"version": 1, "servers": {"a": {"b": {"description": "B", "parameters": 3}}}}'
MISTAKES = [
    (
        "command: [x]",
        "[shop.pricee]",
        "has no tool 'pricee', by mcp_lock.json; if it is new, run `tea",
    ),
    ("command: [x]", "[shop.pricee]", "did you mean 'shop.price'?"),
    (
        "command: [x]",
        "[shop.zzz]",
        "has no tool 'zzz'; it has environment, fail, price, process, wait",
    ),
    ("command: [x]", "[shopp.price]", "the graph has no server 'shopp' under `mcp`; did you mean"),
    (
        "command: [x]",
        "[files.read]",
        "the graph has no server 'files' under `mcp`; it has shop. A f",
    ),
    ("command: python x.py", "[]", "command: must be a list of words: [python, x.py]"),
    (
        "timeout: 3",
        "[]",
        "a server has either a `command`, which starts it, or the `url` of one that",
    ),
    ("command: x, url: 'https://h/mcp'", "[]", "a server has either a `command`"),
    ("url: 'ftp://h'", "[]", "url must be an address such as"),
    (
        "url: 'https://h/mcp', headers_env: {A: PATH}",
        "[]",
        "headers_env names 'PATH', which is no v",
    ),
    ("url: 'https://h/mcp', env: X", "[]", "a server with a `url` takes no env; leave it out"),
    (
        "command: x, env: 'A=1'",
        "[]",
        "env names variables of the environment; their values are not",
    ),
    ("command: x, time: 3", "[]", "unknown key 'time'; did you mean 'timeout'?"),
]


@pytest.mark.parametrize(("server", "tools", "says"), MISTAKES)
def test_a_mistake_is_told_at_its_place(
    shop: Path, tmp_path: Path, server: str, tools: str, says: str
) -> None:
    shutil.copy(shop / "mcp_lock.json", tmp_path)
    path = team(tmp_path, tools, f"shop: {{{server}}}")
    with pytest.raises(DefinitionError) as caught:
        Graph.load(path, allow_mcp=["shop"])
    (problem,) = caught.value.problems
    assert says in str(problem)
    assert problem.line in (4, 6)


def test_a_server_must_be_allowed_and_locked(shop: Path, tmp_path: Path) -> None:
    (problem,) = refused(team(shop))
    assert "pass allow_mcp=['shop'], --allow-mcp shop, or set allow_mcp in pyproject.toml" in (
        problem.message
    )
    path = team(tmp_path)
    with pytest.raises(DefinitionError, match="teamgraph mcp lock GRAPH --allow-mcp shop"):
        Graph.load(path, allow_mcp=["shop"])
    for damaged in (
        "{",
        "[]",
        '{"version": 2}',
        '{"version": 1, "servers": {"a": {"b": {}}}}',
        NO_SCHEMA,
    ):
        (tmp_path / "mcp_lock.json").write_text(damaged, encoding="utf-8")
        with pytest.raises(DefinitionError, match=r"cannot be read: .*; delete it and write it ag"):
            Graph.load(path, allow_mcp=["shop"])
    bare = written(tmp_path, "name: s\nmodel: m\nnodes:\n  a: {tools: files.read}\n")
    (problem,) = refused(bare)
    assert "declare it: `mcp: {files: {command: [...]}}`" in problem.message
    with pytest.raises(DefinitionError, match="no server 'files' under `mcp`"):
        Graph(name="s", model="m", nodes={"a": Member(tools="files.read")})
    wrong = team(tmp_path, "[]", "shop: 3")
    with pytest.raises(DefinitionError, match="mcp"):
        Graph.load(wrong, allow_mcp=["shop"])
    for key in ("prompt_dirs", "mcp_lock"):
        keyed = written(tmp_path, f"name: s\nmodel: m\n{key}: x\nnodes:\n  a: {{}}\n")
        (problem,) = refused(keyed)
        assert f"unknown key {key!r}; it is given by the caller" in problem.message


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("command: [no-such-program]", "there is no program 'no-such-program'; install it, or cor"),
        (
            f"command: [{sys.executable}, -c, \"raise SystemExit('no licence')\"]",
            "the MCP server 'shop' does not start: it ended: Connection closed\nthe last lines that"
            " it wrote:\n  no licence",
        ),
        (
            f'command: [{sys.executable}, -c, "while True: input()"], timeout: 0.3',
            "it did not answer within 0.3 seconds; give it a longer `timeout`",
        ),
        ("command: [x], env: SHOP_NOTHING", "the environment variable SHOP_NOTHING is not set"),
        ("url: 'http://127.0.0.1:1/mcp'", "http://127.0.0.1:1/mcp gives no answer: "),
    ],
)
def test_a_server_that_does_not_start_ends_the_run_with_its_words(
    shop: Path, tmp_path: Path, server: str, says: str
) -> None:
    shutil.copy(shop / "mcp_lock.json", tmp_path)
    graph = Graph.load(team(tmp_path, "[shop.price]", f"shop: {{{server}}}"), allow_mcp=["shop"])
    with pytest.raises(NodeError) as caught:
        told(graph, call("shop_price", item="tea"))
    assert says in str(caught.value.__cause__)


def test_without_the_extra_the_error_says_what_to_install(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(shop / "mcp_lock.json", tmp_path)
    graph = Graph.load(team(tmp_path, "[shop.price]", "shop: {command: [x]}"), allow_mcp=["shop"])
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(NodeError, match=r"the extra `mcp`: pip install 'teamgraph\[mcp\]'"):
        told(graph, call("shop_price", item="tea"))


def test_over_http_a_dead_server_costs_one_marked_call_and_no_more(
    shop: Path, tmp_path: Path
) -> None:
    shutil.copy(shop / "mcp_lock.json", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = f"shop: {{url: 'http://127.0.0.1:{port}/mcp', headers_env: {{X-Shop: SHOP_TOKEN}}}}"
    graph = Graph.load(team(tmp_path, '["shop.*"]', server), allow_mcp=["shop"])
    process = http_server(port)
    try:
        assert told(graph, call("shop_price", item="tea")) == ["3"]
        lost = told(graph, call("shop_write", line="over http", die="after"))
        assert "may have been executed" in lost[0]
        process.wait(timeout=20)
        process = http_server(port)
        assert told(graph, call("shop_price", item="bread")) == ["4"]
    finally:
        process.kill()
        process.wait()
    lines = (shop / "calls.txt").read_text(encoding="utf-8").splitlines()
    assert lines.count("over http") == 1


def test_headers_are_read_from_the_environment_and_go_to_the_server_alone(
    shop: Path, tmp_path: Path
) -> None:
    shutil.copy(shop / "mcp_lock.json", tmp_path)
    seen: list[bytes] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        place = b"http://127.0.0.1:1/elsewhere"
        writer.write(b"HTTP/1.1 307 x\r\nLocation: " + place + b"\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(receive, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            url = f"url: 'http://127.0.0.1:{port}/mcp'"
            server = f"shop: {{{url}, headers_env: {{X-Shop: SHOP_TOKEN}}}}"
            graph = Graph.load(team(tmp_path, "[shop.price]", server), allow_mcp=["shop"])
            wanted = call("shop_price", item="tea")
            model = ScriptedModel([Reply("", tool_calls=(wanted,)), "done"])
            with pytest.raises(NodeError, match="gives no answer"):
                await Runner(graph, model=model).arun("hello")

    asyncio.run(run())
    assert all(b"x-shop: tea-4711" in each.lower() for each in seen)
    assert len(seen) > 0


def test_what_a_server_may_answer(tmp_path: Path) -> None:
    fake = SERVER.with_name("mcp_fake.py")
    path = team(tmp_path, '["shop.*"]', fake_server(fake))
    done = CliRunner().invoke(app, ["mcp", "lock", str(path), "--allow-mcp", "shop"])
    assert done.exit_code == 0, done.output
    graph = Graph.load(path, allow_mcp=["shop"])
    names = ("structured", "picture", "refused", "invalid", "failed")
    wanted = [call(f"shop_{name}") for name in names]
    structured, picture, refused, invalid, failed = told(graph, *wanted)
    assert structured == '{"a": 1}'
    assert picture == "[image: not shown]"
    assert refused == "error: the tool's server refused the call: not today"
    assert invalid.startswith("error: the result of the tool's server is not valid: ")
    assert failed == "error: the tool failed"
    assert told(graph, call("shop_closed")) == [told_lost(graph)]
    last = told(graph, call("shop_last")) + told(graph, call("shop_structured"))
    assert last[0] == "bye"
    assert last[1] in (structured, told_lost(graph))  # it may still be ending


def test_what_a_model_is_told_of_a_server_is_a_template(tmp_path: Path) -> None:
    """Each text that is no plain result is the template's, and has no word beside it."""
    fake = SERVER.with_name("mcp_fake.py")
    path = team(tmp_path, '[{call: "shop.*", max_result: 40}]', fake_server(fake))
    assert CliRunner().invoke(app, ["mcp", "lock", str(path), "--allow-mcp", "shop"]).exit_code == 0
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "tool_result.jinja").write_text(
        "{{ call.status }}|{{ call.name }}|{{ call.reason | truncate(9, true, '') }}|"
        "{% for part in call.parts %}{{ part.type }}:{{ part.text }}{% endfor %}"
    )
    graph = Graph.load(path, allow_mcp=["shop"])
    names = ("structured", "picture", "refused", "failed", "closed")
    assert told(graph, *(call(f"shop_{name}") for name in names)) == [
        '{"a": 1}',
        "parts|shop_picture||image:",
        "declined|shop_refused|not today|",
        "error|shop_failed||",
        "lost|shop_closed||",
    ]
    (invalid,) = told(graph, call("shop_invalid"))
    assert invalid.startswith("malformed|shop_invalid|")


def fake_server(program: Path) -> str:
    return f"shop: {{command: [{sys.executable}, {program}]}}"


def told_lost(graph: Graph) -> str:
    """What is told where a server ends during a call."""
    (text,) = told(graph, call("shop_end"))
    assert text.startswith("error: the tool's server ended during the call, which may have been")
    return text


def test_a_call_that_was_not_sent_when_the_connection_ends_is_sent_to_the_next() -> None:
    address = MCPAddress((sys.executable, str(SERVER.with_name("mcp_fake.py"))))

    async def end_it() -> tuple[object, bool]:
        connection = MCPConnection("shop", address)
        locked = (await connection.tools())["structured"]
        tool = ServerTool("shop", address, "structured", locked)
        calling = asyncio.create_task(connection.call(tool, {}))
        await asyncio.gather(asyncio.create_task(connection.close()))
        result = await calling
        refused = asyncio.create_task(connection.call(tool, {}))
        await asyncio.sleep(0)
        refused.cancel()  # nobody waits for it any more
        await connection.close()
        return result, refused.cancelled()

    assert asyncio.run(end_it()) == ('{"a": 1}', True)


def test_arguments_are_checked_as_far_as_their_schema_can_be(tmp_path: Path) -> None:
    lock = tmp_path / "mcp_lock.json"
    ahead: Any = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}
    known: Any = {"description": "", "parameters": {"type": "object", "required": ["a"]}}
    assert write_lock(lock, {"s": {"a.b": known}}) == ["+ s.a.b"]
    assert write_lock(lock, {"s": {"a.b": known}}) == []
    (changed,) = write_lock(lock, {"s": {"a.b": {**known, "description": "B"}}})
    assert changed == '~ s.a.b\n-  "description": "",\n+  "description": "B",'
    new = {"x": {**known, "parameters": ahead}, "y": known}
    assert write_lock(lock, {"s": new}) == ["- s.a.b", "+ s.x", "+ s.y"]
    clerk = Member(tools="s.*")
    servers = {"s": MCPServer(command="x")}
    graph = Graph(name="g", model="m", mcp=servers, mcp_lock=lock, nodes={"clerk": clerk})
    texts = told(graph, *(ToolCall(id="1", name="s_y", arguments=text) for text in ("[1]",)))
    assert texts == [
        "error: the arguments of 's_y' do not fit: they must be a JSON object; call it again"
    ]
    with pytest.raises(NodeError, match="there is no program 'x'"):
        told(graph, ToolCall(id="1", name="s_x", arguments='{"a": "y"}'))


def test_a_recorded_run_replays_without_the_server_and_the_extra(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = call("shop_price", item="tea"), call("shop_environment", name="SHOP_TOKEN")
    replies = [Reply("", tool_calls=(first, second)), Reply("", tool_calls=(first,)), "done"]
    graph = Graph.load(team(shop), allow_mcp=["shop"])
    recorded = Runner(graph, model=Recorder(tmp_path, ScriptedModel(replies))).run("hello")
    monkeypatch.setitem(sys.modules, "mcp", None)
    gone = Graph.load(team(shop, '["shop.*"]', "shop: {command: [gone]}"), allow_mcp=["shop"])
    replay = Replay(tmp_path)
    replayed = Runner(gone, model=replay).run("hello")
    replay.verify()
    assert results(replayed) == results(recorded) == ["3", "tea-4711"]
    for file in tmp_path.glob("*.json"):
        if '"role": "tool"' in file.read_text(encoding="utf-8"):
            file.unlink()
    with pytest.raises(NodeError, match="has no result of this call of 'shop_price', and a repl"):
        Runner(gone, model=Replay(tmp_path)).run("hello")


def test_a_forked_child_has_a_server_of_its_own_and_a_process_ends_its_servers(shop: Path) -> None:
    graph = Graph.load(team(shop), allow_mcp=["shop"])
    before = told(graph, call("shop_process"))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, told(graph, call("shop_process"))[0].encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        of_child = pipe.read()
    os.waitpid(child, 0)
    assert [of_child] != before
    assert told(graph, call("shop_process")) == before
    wait_for_end(int(of_child))
    program = (
        "import sys; from tests.engine.tools.test_mcp import *\n"
        "print(told(Graph.load(sys.argv[1], allow_mcp=['shop']), call('shop_process'))[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(shop / "team.yaml")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=True,
        timeout=300,
    )
    wait_for_end(int(done.stdout))


def wait_for_end(pid: int) -> None:
    """Return when there is no such process; a server ends when its input does."""
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        os.sched_yield()


def again() -> ScriptedModel:
    return ScriptedModel([Reply("", tool_calls=(call("shop_process"),)), "done"])


def results(run: Run) -> list[str]:
    return [each.content for each in run.records["clerk"].exchanges[0].tool_results]


def http_server(port: int) -> subprocess.Popen[bytes]:
    """A server over HTTP that listens."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                break
        os.sched_yield()
    return process
