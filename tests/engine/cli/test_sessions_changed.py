"""`teamgraph sessions search`, `rename`, `export`, `import` and `delete`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from teamgraph import Runner, ScriptedModel, TinyDBStore
from tests.teams import alone

from .conftest import DESK, Project
from .test_sessions import say


def shown(project: Project, *words: str) -> Any:  # noqa: ANN401  whatever JSON it is
    done = project.teamgraph(*words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def ids(project: Project, *words: str) -> list[str]:
    return [one["session_id"] for one in shown(project, "sessions", "list", *words)]


def test_a_session_shows_its_name_and_usage(project: Project) -> None:
    say(project, "one", "s")
    project.teamgraph("sessions", "rename", "s", "greetings")
    text = project.teamgraph("sessions", "show", "s").stdout
    assert "name     greetings\n" in text
    assert " s, 2 calls, " in text
    assert "\nruns " not in text
    metrics = shown(project, "sessions", "show", "s")["metrics"]
    assert (metrics["runs"], metrics["turns"], metrics["usage"]["calls"]) == (1, 1, 2)
    assert metrics["seconds"] > 0


def test_runs_that_are_not_done_count_for_what_a_session_cost(project: Project) -> None:
    project.write("own.py", "def mood(message):\n    return 'ok' if message == 'hi' else 1 / 0\n")
    project.write("one.yaml", "name: one\nnodes:\n  a: {kind: python, call: 'own:mood'}\n")
    for message in ("bad", "hi"):
        project.teamgraph("run", "one.yaml", message, "--allow", "own", "--session", "s")
    text = project.teamgraph("sessions", "show", "s").stdout
    assert "turns    1\nruns     2\n" in text


def test_a_session_is_shown_in_pages_from_its_end(project: Project) -> None:
    for message in "abcde":
        say(project, message, "s")
    pages = [
        project.teamgraph("sessions", "show", "s", "--limit", "2", "--offset", offset).stdout
        for offset in ("0", "2", "4", "6")
    ]
    assert [[f"user: {message}" in page for message in "abcde"] for page in pages] == [
        [False, False, False, True, True],
        [False, True, True, False, False],
        [True, False, False, False, False],
        [False] * 5,
    ]
    for page, told in zip(
        pages,
        (
            "4 to 5; --offset 2 shows earlier ones",
            "2 to 3; --offset 4 shows earlier ones",
            "1 to 1",
            "none; --offset skips all of them",
        ),
        strict=True,
    ):
        assert f"turns    5\nshown    {told}\n" in page
    part = shown(project, "sessions", "show", "s", "--limit", "1", "--offset", "1")
    assert [turn["input"] for turn in part["turns"]] == ["d"]


def test_what_was_said_is_found_in_messages_and_answers_of_one_user(project: Project) -> None:
    say(project, "The Bread rises", "first", "--user", "ann")
    say(project, "nothing of it", "first", "--user", "ann")
    say(project, f"{'long ago, ' * 9}some bread{' and more' * 20}", "second", "--user", "ann")
    say(project, "bread of bob", "his", "--user", "bob")
    hits = shown(project, "sessions", "search", "bReaD", "--user", "ann")
    assert [(hit["session_id"], hit["number"]) for hit in hits] == [("second", 1), ("first", 1)]
    found = project.teamgraph("sessions", "search", "bread", "--user", "ann").stdout
    rows = [line.split("\t") for line in found.splitlines()]
    assert rows[0] == ["session", "turn", "started", "who", "text"]
    assert rows[1][0] == "second"
    assert rows[1][4].startswith("…")
    assert rows[1][4].endswith("…")
    assert "some bread and more" in rows[1][4]
    assert rows[2][3:] == ["user", "The Bread rises"]
    answer = project.teamgraph("sessions", "search", "echo: the", "--user", "ann").stdout
    assert answer.splitlines()[1].split("\t")[3:] == ["answer", "echo: The Bread rises"]


def test_a_search_is_cut_into_pages_and_looks_only_so_far_back(project: Project) -> None:
    for name in ("a", "b", "c"):
        say(project, "hello", name)
    words = ("sessions", "search", "hello")
    page = shown(project, *words, "--limit", "1", "--offset", "1")
    assert [hit["session_id"] for hit in page] == ["b"]
    assert [hit["session_id"] for hit in shown(project, *words, "--last", "1")] == ["c"]


def test_what_nobody_said_is_a_note_and_no_error(project: Project) -> None:
    say(project, "secret", "s", "--user", "ann")
    his = project.teamgraph("sessions", "search", "secret", "--user", "bob")
    nobodys = project.teamgraph("sessions", "search", "secret", "--offset", "3")
    assert (his.exit_code, his.stdout, nobodys.exit_code, nobodys.stdout) == (0, "", 0, "")
    assert his.stderr == "no completed turns of user 'bob' in .teamgraph have 'secret'\n"
    assert nobodys.stderr.startswith("no more completed turns without a user (see --user)")


def test_nothing_is_not_searched_for(project: Project) -> None:
    done = project.teamgraph("sessions", "search", " ")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: the text is empty; give a text to look for\n",
    )


def test_a_session_is_named_and_the_name_is_taken_away(project: Project) -> None:
    say(project, "one", "s", "--user", "ann")
    done = project.teamgraph("sessions", "rename", "s", "my bread", "--user", "ann")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "session 's' of user 'ann' is now named 'my bread'\n"
    listed = project.teamgraph("sessions", "list", "--user", "ann").stdout
    assert listed.splitlines()[1].split("\t")[:2] == ["s", "my bread"]
    gone = project.teamgraph("sessions", "rename", "s", "", "--user", "ann")
    assert gone.stderr == "session 's' of user 'ann' no longer has a name\n"
    assert shown(project, "sessions", "show", "s", "--user", "ann")["name"] is None
    again = shown(project, "sessions", "rename", "s", "new", "--user", "ann")
    assert again == {"session_id": "s", "user_id": "ann", "name": "new"}


def test_a_name_that_is_not_utf_8_is_refused(project: Project) -> None:
    say(project, "one", "s")
    done = project.shell("$teamgraph sessions rename s $'\\xff'")
    assert done.returncode == 2
    assert done.stderr == "error: the name is not UTF-8; convert it first\n"


@pytest.mark.parametrize(
    "words",
    [("show",), ("rename", "x"), ("export",), ("delete", "--yes")],
    ids=lambda words: words[0],
)
def test_another_users_session_looks_exactly_like_none(
    project: Project, words: tuple[str, ...]
) -> None:
    say(project, "one", "s", "--user", "ann")
    before = project.teamgraph("sessions", "export", "s", "--user", "ann").stdout
    name, *more = words
    his = project.teamgraph("sessions", name, "s", *more, "--user", "bob")
    none = project.teamgraph("sessions", name, "t", *more, "--user", "bob")
    assert (his.exit_code, his.stdout) == (none.exit_code, none.stdout) == (1, "")
    assert his.stderr == none.stderr.replace("'t'", "'s'")
    assert his.stderr.startswith("error: user 'bob' has no session 's' in .teamgraph; ")
    assert len(his.stderr.splitlines()) == 1
    nobodys = project.teamgraph("sessions", name, "s", *more)
    assert nobodys.exit_code == 1
    assert nobodys.stderr.startswith("error: there is no session 's' in ")
    assert project.teamgraph("sessions", "export", "s", "--user", "ann").stdout == before


def test_an_exported_session_comes_back_as_it_was(project: Project) -> None:
    project.write("desk.yaml", f"{DESK}state: {{mood: calm}}\n")
    say(project, "größe 1", "s", "--user", "ann", "--state", 'mood="good"')
    say(project, "two", "s", "--user", "ann")
    project.teamgraph("sessions", "rename", "s", "sizes", "--user", "ann")
    written = project.teamgraph("sessions", "export", "s", "--user", "ann", "-o", "s.json")
    assert (written.exit_code, written.stdout) == (0, "")
    text = project.teamgraph("sessions", "export", "s", "--user", "ann").stdout
    assert (project.folder / "s.json").read_text(encoding="utf-8") == text
    assert "größe 1" in text
    words = ("sessions", "import", "s.json", "--store", "other")
    done = project.teamgraph(*words)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "imported session 's' of user 'ann' with 2 turns\n"
    back = ("sessions", "export", "s", "--user", "ann", "--store", "other")
    assert json.loads(project.teamgraph(*back).stdout) == json.loads(text)


def test_an_import_becomes_another_session_or_another_users(project: Project) -> None:
    say(project, "one", "s")
    text = project.teamgraph("sessions", "export", "s").stdout
    words = ("sessions", "import", "-", "--session", "copy", "--user", "bob", "--json")
    done = project.teamgraph(*words, said=text)
    assert json.loads(done.stdout) == {"session_id": "copy", "user_id": "bob", "turns": 1}
    assert (ids(project), ids(project, "--user", "bob")) == (["s"], ["copy"])
    run_id = json.loads(text)["runs"][0]["turn"]["run_id"]
    for whose in ((), ("--user", "bob")):
        assert shown(project, "runs", "show", run_id, *whose)["input"] == "one"
    gone = shown(project, "runs", "delete", run_id, "--user", "bob", "--yes")
    assert gone == {"run_id": run_id, "session_id": "copy", "user_id": "bob"}
    assert len(shown(project, "sessions", "show", "s")["turns"]) == 1


def test_the_state_of_each_node_is_exported_imported_and_shown(project: Project) -> None:
    say(project, "one", "s")
    exported = json.loads(project.teamgraph("sessions", "export", "s").stdout)
    text = json.dumps({**exported, "node_states": {"router": {"seen": 1}}})
    done = project.teamgraph("sessions", "import", "-", "--session", "copy", said=text)
    assert done.exit_code == 0
    told = project.teamgraph("sessions", "show", "copy").stdout
    assert 'state of router\n  {\n    "seen": 1\n  }\n' in told


def test_nothing_is_imported_over_a_session_that_is_there(project: Project) -> None:
    say(project, "one", "s")
    project.teamgraph("sessions", "export", "s", "-o", "s.json")
    done = project.teamgraph("sessions", "import", "s.json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: session 's' already exists in .teamgraph; delete it, or import under another id "
        "with --session\n"
    )


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"\xff", "it is not JSON: "),
        (b"{", "it is not JSON: "),
        (b"[" * 200_000, "it is not JSON: "),
        (b"[]", "not an exported session; use a file that `teamgraph sessions export` wrote"),
        (b'{"session_id": 1}', "not an exported session; "),
        (b'{"session_id": "s", "user_id": 1}', "not an exported session; "),
        (b'{"session_id": "s"}', "this is not an exported session: version: "),
    ],
)
def test_what_was_not_exported_is_not_imported(project: Project, written: bytes, told: str) -> None:
    (project.folder / "s.json").write_bytes(written)
    done = project.teamgraph("sessions", "import", "s.json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: s.json: {told}")
    assert ids(project) == []


def test_a_file_that_is_not_there_is_not_imported(project: Project) -> None:
    done = project.teamgraph("sessions", "import", "nowhere.json")
    assert done.exit_code == 2
    assert done.stderr == (
        "error: nowhere.json: cannot read it: no such file or directory; name another file\n"
    )


def test_words_that_utf_8_cannot_hold_are_exported_as_json_has_them(project: Project) -> None:
    runner = Runner(
        alone(), store=TinyDBStore(project.folder / ".teamgraph"), model=ScriptedModel("\ud800")
    )
    runner.run("half a pair", session_id="s")
    done = project.apart("sessions", "export", "s")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"][0]["turn"]["answer"] == "\ud800"


def test_a_deleted_session_is_gone_with_every_word(project: Project) -> None:
    say(project, "platypus", "s", "--user", "ann")
    say(project, "badger", "t", "--user", "ann")
    done = project.teamgraph("sessions", "delete", "s", "--user", "ann", "--yes")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "deleted 1 session\n")
    kept = b"".join(path.read_bytes() for path in project.folder.rglob("*") if path.is_file())
    assert b"badger" in kept
    assert b"platypus" not in kept
    again = shown(project, "sessions", "delete", "t", "--user", "ann", "--yes")
    assert again == {"session_id": "t", "user_id": "ann", "deleted": 1}


def test_a_user_is_deleted_with_all_sessions_and_nobody_else(project: Project) -> None:
    for name in ("a", "b"):
        say(project, "hello", name, "--user", "ann")
    say(project, "hello", "a", "--user", "bob")
    say(project, "hello", "a")
    words = ("sessions", "delete", "--all", "--user", "ann", "--yes")
    assert shown(project, *words) == {"session_id": None, "user_id": "ann", "deleted": 2}
    assert ids(project, "--user", "ann") == []
    assert ids(project, "--user", "bob") == ids(project) == ["a"]
    again = project.teamgraph(*words)
    assert again.exit_code == 1
    assert again.stderr == (
        "error: user 'ann' has no sessions in .teamgraph; nothing was deleted\n"
    )


def test_what_is_to_be_deleted_must_be_named(project: Project) -> None:
    say(project, "one", "s")
    for words in ((), ("s", "--all", "--user", "ann")):
        done = project.teamgraph("sessions", "delete", *words, "--yes")
        assert done.exit_code == 2
        assert "name a session, or delete all of a user with --all --user ID" in done.stderr
    everybodys = project.teamgraph("sessions", "delete", "--all", "--yes")
    assert everybodys.exit_code == 2
    assert "name the user with --user" in everybodys.stderr
    assert ids(project) == ["s"]


def test_a_damaged_session_can_be_deleted(project: Project) -> None:
    say(project, "one", "s")
    say(project, "two", "s")
    (journal,) = project.folder.rglob("*.jsonl")
    journal.write_bytes(journal.read_bytes().replace(b"one", b"eno"))
    assert project.teamgraph("sessions", "show", "s").exit_code == 2
    assert project.teamgraph("sessions", "delete", "s", "--yes").exit_code == 0
    assert not list(project.folder.rglob("*.jsonl"))


def test_where_nobody_can_be_asked_nothing_is_deleted_without_yes(project: Project) -> None:
    say(project, "one", "s", "--user", "ann")
    run_id = shown(project, "runs", "list", "--user", "ann")[0]["run_id"]
    for words in (
        ("sessions", "delete", "s"),
        ("sessions", "delete", "--all"),
        ("runs", "delete", run_id),
    ):
        done = project.teamgraph(*words, "--user", "ann", said="y\n")
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("error: cannot ask whether to delete ")
        assert "--yes" in done.stderr
    assert ids(project, "--user", "ann") == ["s"]


@pytest.mark.parametrize(("key", "code", "left"), [("y", 0, []), ("n", 1, ["s"])])
def test_at_a_terminal_somebody_is_asked_first(
    project: Project, key: str, code: int, left: list[str]
) -> None:
    say(project, "one", "s")
    terminal = project.terminal("sessions", "delete", "s")
    terminal.wait_for("delete session 's' in .teamgraph and everything quoted from it? [y/N]")
    terminal.press(f"{key}\n")
    assert terminal.end() == code
    assert ("nothing was deleted" in terminal.shown) == bool(left)
    assert ids(project) == left
