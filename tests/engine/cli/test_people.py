"""Runs that wait for a person, at the command line."""

from __future__ import annotations

import json

import pytest

from .conftest import Project

GRAPH = """\
name: refund
model: echo
nodes:
  draft: {}
  approve:
    kind: human
    prompt: |
      Shall we pay?
      {{ draft.output }}
    options: [go, stop]
    assign_to: boss
  form: {kind: human, needs: draft, returns: "int?"}
  say: {kind: leader, needs: [approve, form]}
output: say
"""
TILL = """\
from teamgraph import tool


@tool(confirm=True)
def pay(amount: int) -> str:
    return f"paid {amount}"
"""


@pytest.fixture
def waiting(project: Project) -> str:
    """The id of a run that waits, of the graph `refund.yaml`."""
    project.write("refund.yaml", GRAPH)
    done = project.teamgraph("run", "refund.yaml", "ten", "--session", "s", "--json")
    assert done.exit_code == 3
    run = json.loads(done.stdout)
    assert run["status"] == "waiting"
    assert [question["path"] for question in run["questions"]] == ["approve", "form"]
    return str(run["run_id"])


def test_a_run_of_a_script_that_waits_ends_with_exit_code_3_and_says_how_to_answer(
    project: Project,
) -> None:
    project.write("refund.yaml", GRAPH)
    done = project.teamgraph("run", "refund.yaml", "ten", "--session", "s")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "approve: Shall we pay? echo: ten [go, stop]\n" in done.stderr
    command = done.stderr.partition("answer it: teamgraph ")[2].split()
    words = [word.replace("ANSWER", "go" if "approve" in word else "3") for word in command]
    again = project.teamgraph(*words, "--by", "ann")
    assert (again.exit_code, again.stdout) == (0, "echo: ten\n")
    shown = project.teamgraph("runs", "show", "--last", "--session", "s").stdout
    assert "asks approve    Shall we pay? echo: ten [go, stop] (boss)" in shown
    assert "answer approve  go (" in shown
    assert " by ann)" in shown
    assert "answer form  3 (" in shown


def test_waiting_runs_are_listed_with_what_is_asked(project: Project, waiting: str) -> None:
    done = project.teamgraph("runs", "list", "--waiting")
    assert done.stdout.splitlines() == [
        "run\tsession\tquestion\tassigned to\tasked",
        f"{waiting}\ts\tapprove\tboss\tShall we pay? echo: ten [go, stop]",
        f"{waiting}\ts\tform\t\tten draft: > echo: ten",
    ]
    assert "answer one: teamgraph runs respond RUN QUESTION=ANSWER" in done.stderr
    (listed,) = json.loads(project.teamgraph("runs", "list", "--waiting", "--json").stdout)
    assert (listed["run_id"], listed["waiting"]) == (waiting, ["approve", "form"])
    assert listed["questions"][0]["options"] == ["go", "stop"]
    shown = project.teamgraph("runs", "show", waiting).stdout
    assert "asks approve  Shall we pay? echo: ten [go, stop] (boss)\n" in shown
    assert "answer" not in shown.partition("approve (human)")[2].partition("\n\n")[0]
    all_users = project.teamgraph("runs", "list", "--waiting", "--all-users", "--limit", "1")
    assert all_users.stdout.count(waiting) == 2
    none = project.teamgraph("runs", "list", "--waiting", "--user", "ann")
    assert "no waiting runs in .teamgraph; --all-users lists" in none.stderr
    every = project.teamgraph("runs", "list", "--waiting", "--all-users", "--offset", "1")
    assert "no waiting runs in .teamgraph\n" in every.stderr
    for option in ("--unfinished", "--session=s"):
        both = project.teamgraph("runs", "list", "--waiting", option)
        assert both.exit_code == 2
        assert "--waiting cannot be combined" in both.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["approve=mabe"], 2, "'mabe' is none of its options"),
        (["approv=go"], 1, "asks no question 'approv'; did you mean 'approve'?"),
        (["approve"], 2, "'approve': write an answer as PATH=ANSWER, such as approve=yes"),
        (["form=many"], 2, "question 'form': the answer does not fit"),
        ([], 2, "no answer is given; it asks approve, form"),
    ],
)
def test_an_answer_that_is_not_valid_is_an_error(
    project: Project, waiting: str, words: list[str], code: int, told: str
) -> None:
    done = project.teamgraph("runs", "respond", waiting[:8], *words, "--graph", "refund.yaml")
    assert done.exit_code == code
    assert told in done.stderr


def test_the_rest_of_the_questions_is_answered_later(project: Project, waiting: str) -> None:
    respond = ("runs", "respond", waiting, "--graph", "refund.yaml")
    first = project.teamgraph(*respond, "form=null", "--json")
    assert (first.exit_code, json.loads(first.stdout)["status"]) == (3, "waiting")
    twice = project.teamgraph(*respond, "form=3")
    assert (twice.exit_code, "answered already, by no user" in twice.stderr) == (2, True)
    busy = project.teamgraph("run", "refund.yaml", "next", "--session", "s")
    assert busy.exit_code == 1
    assert f"run '{waiting}' waits for an answer to 'approve'" in busy.stderr
    let_by = ("--session", "s", "--while-waiting", "allow")
    assert project.teamgraph("run", "refund.yaml", "next", *let_by).exit_code == 3
    resumed = project.teamgraph("runs", "resume", "--all", "--graph", "refund.yaml")
    assert resumed.exit_code == 0
    assert f"{waiting}\ts\twaiting\twaits for approve" in resumed.stdout
    assert project.teamgraph(*respond, "approve=go").exit_code == 0


def test_a_terminal_asks_at_once(project: Project) -> None:
    project.write("refund.yaml", GRAPH)
    terminal = project.terminal("run", "refund.yaml", "ten", "--session", "s")
    terminal.wait_for("approve asks (boss):")
    terminal.wait_for("go/stop> ")
    terminal.press("perhaps\n")
    terminal.wait_for("JSON> ")
    terminal.press("3\n")
    terminal.wait_for("'perhaps' is none of its options")
    terminal.wait_for("go/stop> ")
    terminal.press("go\n")
    terminal.wait_for("JSON> ")
    terminal.press("\n")  # leaves it open
    terminal.wait_for("form asks:")
    terminal.wait_for("JSON> ")
    terminal.press("4\n")
    terminal.wait_for("done in ")
    assert terminal.end() == 0


def test_a_terminal_at_which_nobody_answers_leaves_the_run_waiting(project: Project) -> None:
    project.write("refund.yaml", GRAPH)
    terminal = project.terminal("chat", "refund.yaml", "--session", "s")
    terminal.wait_for("\x1b[?2004h> ")
    terminal.press("ten\n")
    terminal.wait_for("go/stop> ")
    terminal.press("\n")
    terminal.wait_for("JSON> ")
    terminal.press("\n")
    terminal.wait_for("answer it: teamgraph runs respond ")
    terminal.wait_for("\x1b[?2004h> ")
    terminal.press("more\n")
    terminal.wait_for("waits for an answer to 'approve', 'form'")
    terminal.wait_for("\x1b[?2004h> ")
    terminal.press("\x04")
    assert terminal.end() == 0
    run_id = project.teamgraph("runs", "list", "--session", "s").stdout.splitlines()[1].split()[0]
    again = project.terminal("runs", "respond", run_id, "--graph", "refund.yaml")
    again.wait_for("go/stop> ")
    again.press("stop\n")
    again.wait_for("JSON> ")
    again.press("5\n")
    again.wait_for("done in ")
    assert again.end() == 0


def test_ctrl_d_at_a_question_leaves_the_run_waiting(project: Project) -> None:
    project.write("refund.yaml", GRAPH)
    terminal = project.terminal("run", "refund.yaml", "ten")
    terminal.wait_for("go/stop> ")
    terminal.press("\x04")
    terminal.wait_for("answer it: teamgraph runs respond ")
    assert terminal.end() == 3


def test_a_tool_call_is_confirmed_at_a_terminal(project: Project) -> None:
    project.write("till.py", TILL)
    project.write(
        "ask.py",
        "from till import pay\n"
        "from teamgraph import Graph, Reply, Runner, ScriptedModel, TinyDBStore, ToolCall\n"
        "from teamgraph.nodes import Member\n"
        "graph = Graph(name='shop', model='echo', nodes={'clerk': Member(tools=[pay])})\n"
        "graph.dump('shop.yaml')\n"
        "call = ToolCall(id='1', name='pay', arguments='{\"amount\": 5}')\n"
        "model = ScriptedModel([Reply('', tool_calls=(call,))])\n"
        "runner = Runner(graph, store=TinyDBStore('.teamgraph'), model=model)\n"
        "runner.run('hi', session_id='s', run_id='r')\n",
    )
    assert project.python_at_terminal("ask.py").end() == 0
    words = ("runs", "respond", "r", "--graph", "shop.yaml", "--allow", "till")
    terminal = project.terminal(*words)
    terminal.wait_for('clerk wants to call pay with {"amount": 5}')
    terminal.wait_for("approve/reject, or JSON> ")
    terminal.press("reject\n")
    terminal.wait_for("reason> ")
    terminal.press("no money\n")
    terminal.wait_for("done in ")
    assert terminal.end() == 0
    (run,) = json.loads(project.teamgraph("runs", "list", "--session", "s", "--json").stdout)
    shown = project.teamgraph("runs", "show", run["run_id"]).stdout
    assert '{"approve": false, "reason": "no money"}' in shown
