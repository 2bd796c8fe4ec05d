"""`teamgraph prompts check`, `render`, `update` and `show`."""

from __future__ import annotations

import json

import pytest

from .conftest import Project

CASES = """\
graph: desk.yaml
cases:
  bill: {input: The bill, assume: {router: billing}, expect: {technical: skipped}}
  box: {input: The box, assume: {router: technical}}
"""
MEMBER = "{% system %}\nHi {{ node.role }}\n{% endsystem %}\n{% user %}\n{{ input.message }}\n"
MEMBER += "{% enduser %}\n"


def cases(project: Project, folder: str = "") -> str:
    project.write(
        f"{folder}talk.prompts.yaml", CASES.replace("desk", "../" * bool(folder) + "desk")
    )
    return f"{folder}__prompts__/talk"


def asked(project: Project) -> str:
    """The hash of the prompt that a member of a fresh run was asked with."""
    done = project.teamgraph("run", "desk.yaml", "hello", "--model", "echo", "--json")
    run_id = json.loads(done.stdout)["run_id"]
    words = ("runs", "show", run_id, "--node", "billing", "--prompt", "--json")
    exchange = json.loads(project.teamgraph(*words).stdout)["nodes"]["billing"]["exchanges"][0]
    return str(exchange["prompt_hash"])


def test_valid_prompts_are_reported_as_valid(project: Project) -> None:
    done = project.teamgraph("prompts", "check", "desk.yaml")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "desk.yaml: valid (3 prompts)\n"


@pytest.mark.parametrize("form", ["text", "json", "github"])
def test_only_problems_of_prompts_are_reported(project: Project, form: str) -> None:
    project.write("prompts/member.jinja", MEMBER.replace("role", "rol"))
    project.write("odd.yaml", "name: t\nnodes:\n  a: {}\n  b: {}\noutput: a\n")
    done = project.teamgraph("prompts", "check", "odd.yaml", "--format", form)
    assert done.exit_code == 1
    assert "G108" not in done.stdout
    if form == "json":
        assert {each["code"] for each in json.loads(done.stdout)} == {"P002"}
    else:
        assert "node has no 'rol'; did you mean 'role'?" in done.stdout
    assert done.stdout.startswith({"text": "prompts/", "json": "[", "github": "::error "}[form])


def test_notes_on_prompts_are_told_to_those_who_ask(project: Project) -> None:
    project.write("prompts/member.jinja", MEMBER.replace("node.role", "input.message"))
    assert project.teamgraph("prompts", "check", "desk.yaml").stdout == ""
    assert "[P110]" in project.teamgraph("prompts", "check", "desk.yaml", "--notes").stdout


def test_prompts_of_an_invalid_graph_are_not_reported_as_valid(project: Project) -> None:
    project.write("bad.yaml", "name: t\nnodes:\n  a: {rol: x}\n")
    for name in ("bad.yaml", "nowhere.yaml"):
        done = project.teamgraph("prompts", "check", name)
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"{name}: other problems prevented some checks" in done.stderr
        assert f"`teamgraph check {name}` lists them" in done.stderr


def test_problems_of_prompts_are_reported_for_an_otherwise_invalid_graph_too(
    project: Project,
) -> None:
    project.write("bad.yaml", "name: t\nnodes:\n  a: {rol: x}\n  b: {prompt: nowhere.jinja}\n")
    done = project.teamgraph("prompts", "check", "bad.yaml")
    assert done.exit_code == 1
    assert "[P001]" in done.stdout
    assert "other problems prevented some checks" in done.stderr


def test_render_has_two_names(project: Project) -> None:
    words = ("render", "desk.yaml", "hello", "--node", "billing")
    done = project.teamgraph("prompts", *words)
    assert "### billing 1 system" in done.stdout
    assert done.stdout == project.teamgraph(*words).stdout


def test_an_update_writes_what_is_new_or_changed_and_deletes_what_is_unused(
    project: Project,
) -> None:
    home = cases(project)
    project.write(f"{home}/box.md", "old")
    project.write(f"{home}/gone.md", "old")
    project.write("__prompts__/test_it/one.md", "a test's")
    project.write("test_it.py", "")
    done = project.teamgraph("prompts", "update")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"prompt snapshot written: {home}/bill.md",
        f"prompt snapshot changed: {home}/box.md",
        f"prompt snapshot deleted: {home}/gone.md",
    ]
    assert (project.folder / home / "bill.md").read_text().startswith("# desk / bill\n")
    assert (project.folder / "__prompts__/test_it/one.md").is_file()
    again = project.teamgraph("prompts", "update")
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr == "2 cases: all snapshots are up to date\n"


def test_pytest_finds_nothing_to_say_of_what_an_update_wrote(project: Project) -> None:
    cases(project)
    project.teamgraph("prompts", "update")
    done = project.shell("${teamgraph% -m *} -m pytest -q -p no:cacheprovider talk.prompts.yaml")
    assert done.returncode == 0, done.stdout


def test_an_update_as_json_says_what_became_of_each_snapshot(project: Project) -> None:
    home = cases(project, "deep/")
    done = project.teamgraph("prompts", "update", "deep/talk.prompts.yaml", "--json")
    assert json.loads(done.stdout) == {
        "written": [f"{home}/bill.md", f"{home}/box.md"],
        "changed": [],
        "deleted": [],
        "cases": 2,
        "wrong": [],
    }


def test_invalid_cases_are_reported_and_the_rest_is_updated(project: Project) -> None:
    cases(project)
    project.write("bad.prompts.yaml", "graph: desk.yaml\ncases: {a: {inptu: x}}\n")
    project.write("__prompts__/bad/a.md", "of a case that cannot be read")
    wrong = "{input: '', assume: {router: billing}}"
    project.write("more.prompts.yaml", f"graph: desk.yaml\ncases:\n  hm: {wrong}\n")
    missed = "{snapshot: false, expect: {billing: {contains: badger}}}"
    project.write("miss.prompts.yaml", f"graph: desk.yaml\ncases:\n  hm: {missed}\n")
    done = project.teamgraph("prompts", "update")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.splitlines() == [
        "bad.prompts.yaml:2:13: error: unknown key 'inptu'; did you mean 'input'? [G001]",
        "miss.prompts.yaml:3: hm: billing: 'badger' is missing",
        "more.prompts.yaml:3: hm: the message is empty; write something",
    ]
    assert (project.folder / "__prompts__/bad/a.md").is_file()


def test_nobody_updates_in_ci(project: Project) -> None:
    cases(project)
    project.more["CI"] = "true"
    done = project.teamgraph("prompts", "update")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "teamgraph prompts update: not in CI, where nobody would see what changed" in done.stderr


def test_case_files_of_others_are_left_alone(project: Project) -> None:
    for name in ("node_modules/a/", ".venv/a/", "env/lib/", "build/"):
        project.write(f"{name}bad.prompts.yaml", "bad")
    project.write("env/pyvenv.cfg", "")
    done = project.teamgraph("prompts", "update")
    assert done.exit_code == 1
    assert "there is no case file (*.prompts.yaml) here" in done.stderr
    named = project.teamgraph("prompts", "update", "build")
    assert "bad.prompts.yaml:1:1: error: the file contains a single value" in named.stderr


def test_only_case_files_are_updated(project: Project) -> None:
    done = project.teamgraph("prompts", "update", "desk.yaml")
    assert done.exit_code == 2
    assert "desk.yaml: not a case file (*.prompts.yaml) and not a folder" in done.stderr


def test_the_settings_of_a_project_apply_to_case_files_too(project: Project) -> None:
    table = '[tool.teamgraph]\nallow = ["own"]\nprompts = ["texts"]\n'
    project.write("pyproject.toml", table)
    project.write("own.py", "def shout(message):\n    return message.upper()\n")
    project.write("texts/say.jinja", "{{ shouted.output }}")
    nodes = "  shouted: {kind: python, call: 'own:shout'}\n  a: {prompt: say.jinja}\n"
    project.write("one.yaml", f"name: one\nnodes:\n{nodes}output: a\n")
    project.write("one.prompts.yaml", "graph: one.yaml\ncases: {a: {assume: {shouted: HI}}}\n")
    done = project.shell("$teamgraph prompts update")
    assert (done.returncode, done.stdout) == (
        0,
        "prompt snapshot written: __prompts__/one/a.md\n",
    ), done.stderr
    assert "    HI\n" in (project.folder / "__prompts__/one/a.md").read_text()


def test_a_prompt_is_shown_as_it_was_when_it_was_sent(project: Project) -> None:
    template = project.write("prompts/member.jinja", MEMBER)
    prompt_hash = asked(project)
    template.write_text("another")
    for given in (prompt_hash, prompt_hash[:6], f" {prompt_hash[:9].upper()}"):
        done = project.teamgraph("prompts", "show", given)
        assert done.exit_code == 0
        assert done.stdout.startswith(
            f"prompt member.jinja ({prompt_hash[:12]}) was rendered from\n"
        )
        assert "  member.jinja:\n    {% system %}\n    Hi {{ node.role }}\n" in done.stdout
    done = project.teamgraph("prompts", "show", prompt_hash, "--json")
    assert json.loads(done.stdout) == {"hash": prompt_hash, "sources": {"member.jinja": MEMBER}}


def test_every_template_that_a_prompt_reaches_is_shown(project: Project) -> None:
    extends = '{% extends "builtin/member.jinja" %}\n{% block rules %}\nRhyme.\n{% endblock %}\n'
    project.write("prompts/member.jinja", extends)
    prompt_hash = asked(project)
    sources = json.loads(project.teamgraph("prompts", "show", prompt_hash, "--json").stdout)
    included = ["handover.jinja", "reads.jinja", "answer_form.jinja"]
    assert list(sources["sources"]) == ["member.jinja", "builtin/member.jinja", *included]


def test_a_prompt_that_is_not_recorded_is_not_found(project: Project) -> None:
    for given in ("abc", "", "../x", "*"):
        done = project.teamgraph("prompts", "show", given)
        assert (done.exit_code, done.stdout) == (1, "")
        assert f"there is no prompt with the hash {given!r} in .teamgraph" in done.stderr
    asked(project)
    assert project.teamgraph("prompts", "show", "").exit_code == 1


def test_a_beginning_that_several_prompts_have_is_refused_with_all_of_them(
    project: Project,
) -> None:
    template = project.write("prompts/member.jinja", MEMBER)
    hashes: set[str] = set()
    while len({each[0] for each in hashes}) == len(hashes):  # after 17 at the latest
        template.write_text(MEMBER.replace("Hi", f"Hi {len(hashes)}"))
        hashes.add(asked(project))
    first = max(hashes, key=lambda each: sum(other[0] == each[0] for other in hashes))[0]
    done = project.teamgraph("prompts", "show", first)
    assert done.exit_code == 2
    assert f"prompts begin with {first!r}: " in done.stderr
    assert done.stderr.endswith("; give more of the hash\n")


@pytest.mark.parametrize("name", ["update", "coverage"])
def test_functions_beside_the_graph_are_found_as_run_finds_them(
    project: Project, name: str
) -> None:
    project.write(
        f"teams/beside_{name}.py", "def shout(message: str) -> str:\n    return message.upper()\n"
    )
    project.write(
        "teams/team.yaml",
        f"name: t\nmodel: echo\nnodes:\n  a: {{kind: python, call: 'beside_{name}:shout'}}\n"
        "  b: {prompt: '{{ a.output }}'}\n",
    )
    cases = f"graph: ../teams/team.yaml\nallow: beside_{name}\ncases: {{one: {{input: hi}}}}\n"
    project.write("tests/one.prompts.yaml", cases)
    done = project.apart("prompts", name, "tests")
    assert done.returncode == 0, done.stderr
    ran = project.apart("run", "teams/team.yaml", "hi", "--allow", f"beside_{name}")
    assert ran.returncode == 0, ran.stderr
