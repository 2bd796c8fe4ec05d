"""No text of a user, a model or a file reaches a terminal with its control characters.

Every command that prints such text runs at a terminal, one after the other in one process, over
one store in which every text that can be stored is hostile.
"""

from __future__ import annotations

import json
import os
import re
import stat
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teamgraph import Graph, Runner, ScriptedModel, TinyDBStore
from teamgraph.engine.terminal import escape_controls, escape_json, write_text
from teamgraph.nodes import Member, Router

from .conftest import Project

HOSTILE = "gnp\x1b]52;c;aGk=\x07\x1b[2J\x9b2J\x7f\u202ex\u2066\u061cy"
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f]"
)
OURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What rich writes: colours, moves of the cursor, and whether it is shown."""
GRAPH = f"""\
name: hostile
model: echo
nodes:
  a: {{role: "{HOSTILE.encode("unicode_escape").decode()}"}}
output: a
"""
SHOWN = [
    ("sessions", "list", "--user", HOSTILE),
    ("sessions", "list", "--user", HOSTILE, "--json"),
    ("sessions", "show", HOSTILE, "--user", HOSTILE),
    ("sessions", "show", HOSTILE, "--user", HOSTILE, "--json"),
    ("sessions", "search", "gnp", "--user", HOSTILE),
    ("sessions", "search", "gnp", "--user", HOSTILE, "--json"),
    ("sessions", "rename", HOSTILE, HOSTILE + "2", "--user", HOSTILE),
    ("sessions", "export", HOSTILE, "--user", HOSTILE),
    ("sessions", "show", "nothing" + HOSTILE, "--user", HOSTILE),
    ("runs", "list", "--user", HOSTILE),
    ("runs", "list", "--user", HOSTILE, "--json"),
    ("runs", "list", "--unfinished", "--all-users"),
    ("runs", "show", "r", "--user", HOSTILE, "--prompt"),
    ("runs", "show", "r", "--user", HOSTILE, "--prompt", "--json"),
    ("runs", "show", "r", "--user", HOSTILE, "--node", HOSTILE),
    ("runs", "fork", "r", "--user", HOSTILE, "--graph", "hostile.yaml", "--message", HOSTILE),
    ("store", "stats"),
    ("store", "stats", "--json"),
    ("run", "hostile.yaml", HOSTILE, "--user", HOSTILE, "--session", HOSTILE),
    ("run", "hostile.yaml", HOSTILE, "--no-stream"),
    ("run", "hostile.yaml", HOSTILE, "--json"),
    ("run", "fails.yaml", HOSTILE, "--allow", "own"),
    ("run", "fails.yaml", HOSTILE, "--allow", "own", "--debug"),
    ("render", "hostile.yaml", HOSTILE),
    ("render", "hostile.yaml", HOSTILE, "--came-from"),
    ("render", "hostile.yaml", HOSTILE, "--json"),
    ("draw", "hostile.yaml"),
    ("check", "bad.yaml"),
    ("check", "bad.yaml", "--format", "json"),
    ("check", "bad.yaml", "--format", "github"),
    ("check", "bad.yaml", "--edges"),
]

END = "-- end of command --"
ONE_BY_ONE = f"""\
import json, sys
from contextlib import suppress
from teamgraph.engine.cli import main
for words in json.loads(sys.argv[1]):
    with suppress(SystemExit):
        sys.argv = ["teamgraph", *words]
        main()
    print({END!r}, flush=True)
"""


@pytest.fixture
def hostile(project: Project) -> Project:
    escaped = HOSTILE.encode("unicode_escape").decode()
    project.write("hostile.yaml", GRAPH)
    project.write("bad.yaml", f'name: t\nnodes:\n  a: {{"{escaped}": "{escaped}"}}\n')
    project.write("own.py", f"def fail(message):\n    raise ValueError({HOSTILE!r} + message)\n")
    project.write("fails.yaml", "name: f\nnodes:\n  a: {kind: python, call: 'own:fail'}\n")
    script = [f'{{"choice": "{escaped}"}}'.replace("\\x", "\\u00"), HOSTILE]
    nodes = {
        "r": Router(routes={HOSTILE: {"to": "a", "about": HOSTILE}}),
        "a": Member(role=HOSTILE),
    }
    graph = Graph(name="hostile", model="m", nodes=nodes, output="a")
    runner = Runner(
        graph, store=TinyDBStore(project.folder / ".teamgraph"), model=ScriptedModel(script)
    )
    runner.run(HOSTILE, user_id=HOSTILE, session_id=HOSTILE, run_id="r", state={HOSTILE: HOSTILE})
    runner.session(HOSTILE, user_id=HOSTILE).rename(HOSTILE)
    return project


def test_no_command_sends_a_terminal_what_a_text_says(hostile: Project) -> None:
    hostile.more["PAGER"] = "cat"
    terminal = hostile.python_at_terminal("-c", ONE_BY_ONE, json.dumps(SHOWN))
    assert terminal.end() == 0, terminal.shown
    *outputs, rest = terminal.shown.split(END)
    assert rest.strip() == ""
    for words, shown in zip(SHOWN, outputs, strict=True):
        left = OURS.sub("", shown)
        assert not (found := FORBIDDEN.findall(left)), (words, found)
        assert "\x1b" not in left, words
        if words[0] != "store" and "--unfinished" not in words:
            assert "gnp" in shown, words


def test_a_chat_shows_an_answer_without_control_characters(hostile: Project) -> None:
    terminal = hostile.terminal("chat", "hostile.yaml", "--session", "s")
    terminal.wait_for("> ")
    terminal.press("say \u202egnp\n")
    terminal.wait_for("echo: say \\u202egnp")
    terminal.wait_for("\x1b[?2004h> ")
    terminal.press("\x04")
    assert terminal.end() == 0


PRINTED = f"""\
from teamgraph import Graph, Runner, ScriptedModel
from teamgraph.graphs import Agent, Team
from teamgraph.nodes import Member

answers = ScriptedModel([{HOSTILE!r}] * 4)
runner = Runner(Graph(name="t", model="m", nodes={{"a": Member()}}), model=answers)
agent = Agent(name="A", model=answers)
routed = ScriptedModel(['{{"choice": "a"}}', {HOSTILE!r}] * 2)
members = [Agent(name="A", role="one"), Agent(name="B", role="two")]
team = Team(name="T", respond_directly=True, members=members, model=routed)
for stream in (False, True):
    runner.print_response("x", stream=stream)
    agent.print_response("x", stream=stream)
    team.print_response("x", stream=stream)
"""


def test_print_response_at_a_terminal_says_who_speaks_and_what_a_router_chose(
    project: Project,
) -> None:
    project.write("ask.py", PRINTED)
    terminal = project.python_at_terminal("ask.py")
    assert terminal.end() == 0, terminal.shown
    answer = f"a: {escape_controls(HOSTILE)}\n"
    expected = (answer + answer + "router: chose a\n" + answer) * 2
    assert terminal.shown.replace("\r\n", "\n") == expected


def test_print_response_writes_to_a_pipe_what_was_answered(project: Project) -> None:
    project.write("ask.py", PRINTED)
    project.more["PYTHONIOENCODING"] = "utf-8"
    assert project.shell("${teamgraph% -m *} ask.py").stdout == f"{HOSTILE}\n" * 6
    project.write("half.py", PRINTED.replace(repr(HOSTILE), repr("\ud800")))
    done = project.shell("${teamgraph% -m *} half.py")
    assert (done.returncode, done.stdout) == (0, "\\ud800\n" * 6), done.stderr


def test_json_says_the_same_with_escapes(hostile: Project) -> None:
    done = hostile.teamgraph("sessions", "show", HOSTILE, "--user", HOSTILE, "--json")
    shown = json.loads(done.stdout)
    assert shown["turns"][0]["input"] == shown["turns"][0]["answer"] == HOSTILE
    assert shown["state"] == {HOSTILE: HOSTILE}
    exported = json.loads(
        hostile.teamgraph("sessions", "export", HOSTILE, "--user", HOSTILE).stdout
    )
    assert exported["session_id"] == HOSTILE


@given(st.text(st.characters()))
def test_escaped_json_is_the_same_value_without_control_characters(text: str) -> None:
    escaped = escape_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(escaped) == {text: [text]}
    assert escape_controls(escaped) == escaped


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_a_text_as_it_is_and_a_terminal_does_not() -> None:
    pipe, terminal = StringIO(), _Terminal()
    write_text(HOSTILE, pipe)
    write_text(HOSTILE, terminal)
    assert pipe.getvalue() == HOSTILE
    assert terminal.getvalue() == escape_controls(HOSTILE)


@pytest.mark.parametrize("before", [None, "old"])
def test_an_exported_session_is_for_its_owner_only(hostile: Project, before: str | None) -> None:
    if before is not None:
        hostile.write("s.json", before).chmod(0o644)
    words = ("sessions", "export", HOSTILE, "--user", HOSTILE, "-o", "s.json")
    assert hostile.teamgraph(*words).exit_code == 0
    assert stat.S_IMODE(Path("s.json").stat().st_mode) == 0o600
    hostile.teamgraph("draw", "desk.yaml", "-o", "desk.mmd")
    assert stat.S_IMODE(Path("desk.mmd").stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_output_goes_through_links_and_into_pipes(project: Project) -> None:
    target = project.write("elsewhere/desk.mmd", "old")
    Path("desk.mmd").symlink_to(target)
    os.mkfifo("pipe")
    assert project.teamgraph("draw", "desk.yaml", "-o", "desk.mmd").exit_code == 0
    assert Path("desk.mmd").is_symlink()
    assert target.read_text().startswith("flowchart TD\n")
    done = project.shell("$teamgraph draw desk.yaml -o pipe --format mermaid & cat pipe; wait")
    assert done.stdout.startswith("flowchart TD\n")
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "desk.yaml", "hi", "--store", ""),
        ("sessions", "list", "--store", ""),
        ("store", "verify", "--store", " "),
        ("check", ""),
        ("check", "desk.yaml", "--prompts", ""),
        ("draw", "desk.yaml", "-o", ""),
        ("runs", "resume", "r", "--graph", ""),
        ("runs", "show", "r", "--graph", ""),
        ("sessions", "import", ""),
        ("prompts", "update", ""),
        ("init", ""),
    ],
    ids=" ".join,
)
def test_an_empty_path_is_refused_and_is_not_this_folder(
    project: Project, words: tuple[str, ...]
) -> None:
    before = sorted(project.folder.rglob("*"))
    done = project.teamgraph(*words)
    assert done.exit_code == 2
    assert "it is empty; name a f" in " ".join(done.stderr.split())
    assert sorted(project.folder.rglob("*")) == before
