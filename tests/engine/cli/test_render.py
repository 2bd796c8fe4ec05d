"""`teamgraph render` and `teamgraph prompts coverage`."""

from __future__ import annotations

import json

import pytest

from .conftest import Project

CASES = "graph: desk.yaml\ncases:\n  a: {input: Hi, assume: {router: billing}}\n"


def test_the_prompts_of_every_node_are_shown(project: Project) -> None:
    done = project.teamgraph("render", "desk.yaml", "What does it cost?")
    assert done.exit_code == 0
    assert "## router\n\nrouter.jinja\n\n### router 1 system\n" in done.stdout
    assert "    What does it cost?" in done.stdout
    assert "## technical\n\nskipped: router chose billing" in done.stdout


def test_one_node_is_shown_under_an_assumption(project: Project) -> None:
    words = ("render", "desk.yaml", "--node", "technical", "--assume", "router=technical")
    done = project.teamgraph(*words)
    assert done.stdout.startswith("## technical\n\nmember.jinja\n")
    assert "«message»" in done.stdout


def test_it_is_printed_as_json(project: Project) -> None:
    done = project.teamgraph("render", "desk.yaml", "-", "--json", said="Hello\n")
    items = {item["node"]: item for item in json.loads(done.stdout)}
    assert list(items) == ["history", "router", "billing", "technical"]
    assert items["billing"]["template"] == "member.jinja"
    assert items["billing"]["messages"][-1] == {"role": "user", "content": "Hello"}
    assert items["router"]["response_format"]["title"] == "choice"
    assert items["history"]["template"] is None
    assert items["technical"]["because"] == "router chose billing"


def test_where_the_words_came_from_is_shown_beside_them(project: Project) -> None:
    words = ("render", "desk.yaml", "Hello", "--node", "router", "--came-from")
    shown = project.teamgraph(*words).stdout
    assert "    router.jinja:4:1                              Choose where the user's" in shown
    assert "    router.jinja:13:6       node.routes[0].label  …billing\n" in shown
    (item,) = json.loads(project.teamgraph(*words, "--json").stdout)
    assert item["messages"][-1] == {
        "role": "user",
        "content": "Hello",
        "came_from": [
            {
                "start": 0,
                "end": 5,
                "template": "router.jinja",
                "line": 39,
                "column": 4,
                "values": ["input.message"],
                "is_text": False,
            }
        ],
    }


def test_assumptions_are_labels_texts_and_json(project: Project) -> None:
    project.write(
        "many.yaml",
        "name: many\nnodes:\n"
        "  router: {kind: router, select: many, routes: {a: A, b: B}}\n"
        "  a: {returns: {count: int}}\n"
        "  b: {}\n"
        "  last: {kind: leader, needs: [a, b]}\n"
        "output: last\n",
    )
    words = ("--assume", "router=a, b", "--assume", 'a={"count": 3}', "--assume", "b=[1]")
    done = project.teamgraph("render", "many.yaml", "--node", "last", *words)
    assert '{"count": 3}' in done.stdout
    assert "    [1]" in done.stdout
    wrong = project.teamgraph("render", "many.yaml", "--assume", "a=three")
    assert wrong.exit_code == 2
    assert "assume: what node 'a' gives does not fit what it returns" in wrong.stderr


def test_the_next_prompts_of_a_stored_session_are_shown_and_nothing_is_stored(
    project: Project,
) -> None:
    said = ("run", "desk.yaml", "I am Ana", "--model", "echo", "--user", "u", "--session", "s")
    assert project.teamgraph(*said).exit_code == 0
    words = ("render", "desk.yaml", "Who am I?", "--user", "u", "--session", "s", "--json")
    for _ in range(2):
        done = project.teamgraph(*words)
        (router,) = (one for one in json.loads(done.stdout) if one["node"] == "router")
        roles = [message["role"] for message in router["messages"]]
        assert roles == ["system", "user", "assistant", "user"]
        assert router["messages"][1]["content"] == "I am Ana"
    listed = project.teamgraph("sessions", "show", "s", "--user", "u", "--json")
    assert len(json.loads(listed.stdout)["turns"]) == 1
    other = project.teamgraph("render", "desk.yaml", "--user", "v", "--session", "s")
    assert other.exit_code == 1
    assert "user 'v' has no session 's'" in other.stderr
    nobody = project.teamgraph("render", "desk.yaml", "--session", "s")
    assert "there is no session 's'" in nobody.stderr


@pytest.mark.parametrize(
    ("words", "told", "code"),
    [
        (["--assume", "router"], "--assume 'router': write it as NODE=VALUE", 2),
        (["--assume", "router=bill"], "no route 'bill'; did you mean 'billing'?", 2),
        (["--assume", "ruter=billing"], "no node 'ruter'; did you mean 'router'?", 2),
        (["--node", "biling"], "no node 'biling'; did you mean 'billing'?", 2),
        (["--node", "xyz"], "no node 'xyz'; it has history, router", 2),
        (["--session", "s"], "there is no store in .teamgraph; name one with --store", 1),
        ([" "], "the message is empty", 2),
    ],
)
def test_a_wrong_option_is_refused_with_the_way_on(
    project: Project, words: list[str], told: str, code: int
) -> None:
    done = project.teamgraph("render", "desk.yaml", *words)
    assert told in done.stderr
    assert done.exit_code == code


def test_the_branches_that_no_case_renders_are_listed(project: Project) -> None:
    project.write("talk.prompts.yaml", CASES)
    project.write("prompts/member.jinja", "{% if node.role %}\nA\n{% else %}\nB\n{% endif %}\n")
    done = project.teamgraph("prompts", "coverage")
    assert done.exit_code == 0
    assert "prompts/member.jinja:1:4: else taken: not rendered" in done.stdout
    assert project.teamgraph("prompts", "coverage", "--fail-under", "60").exit_code == 0
    done = project.teamgraph(
        "prompts", "coverage", "talk.prompts.yaml", "--fail-under", "90", "--json"
    )
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "percent": 66.67,
        "branches": 3,
        "missing": [
            {"template": "prompts/member.jinja", "line": 1, "column": 4, "what": "else taken"}
        ],
    }


def test_a_folder_without_cases_is_told(project: Project) -> None:
    done = project.teamgraph("prompts", "coverage")
    assert done.exit_code == 1
    assert "there is no case file (*.prompts.yaml) here" in done.stderr


def test_cases_without_a_template_of_ones_own_leave_nothing_to_cover(project: Project) -> None:
    project.write("talk.prompts.yaml", CASES)
    done = project.teamgraph("prompts", "coverage")
    assert done.stdout.split() == ["total", "0/0", "100.0", "%"]
