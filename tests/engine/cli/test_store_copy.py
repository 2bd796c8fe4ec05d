"""`teamgraph store copy`: sessions of folders and databases, whole, resumed, compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import Server

from .conftest import Project
from .test_sessions import say
from .test_store import damage, journal, misspell

OURS = ".teamgraph"


def copy(project: Project, line: str, *, code: int = 0) -> Any:  # noqa: ANN401  whatever JSON it is
    done = project.teamgraph("store", "copy", *line.split(), "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def told(project: Project, line: str, *, code: int = 0) -> str:
    """What a command says, without line breaks."""
    done = project.teamgraph(*line.split())
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def address(server: Server, project: Project) -> str:
    """The address of a database that has no session of these tests."""
    for user in ("cat", "dan"):
        project.teamgraph(
            *f"sessions delete --all --yes --user {user} --store {server.dsn}".split()
        )
    return server.dsn


def test_sessions_go_to_a_database_and_back_and_a_copy_goes_on(
    project: Project, address: str
) -> None:
    say(project, "hello", "one", "--user", "cat")
    say(project, "more", "two", "--user", "dan")
    there = copy(project, f"{OURS} {address} --user cat --user dan")
    assert (there["sessions"], there["copied"], there["different"]) == (2, 2, [])
    say(project, "late", "three", "--user", "cat")
    again = copy(project, f"{OURS} {address} --user cat --user dan")
    assert (again["sessions"], again["copied"]) == (3, 1)
    back = copy(project, f"{address} back --user cat")
    assert (back["sessions"], back["copied"], back["prompts"] > 0) == (2, 2, True)
    exports = {
        told(project, f"sessions export one --user cat --store {store}")
        for store in (OURS, address, "back")
    }
    assert len(exports) == 1
    listed = [told(project, f"sessions list --user cat --store {s}") for s in (OURS, "back")]
    assert listed[0] == listed[1]
    said = told(project, f"store copy {OURS} {address} --user cat")
    assert said == (f"0 of 2 sessions copied from {OURS} to {address}; all are the same in both\n")


def test_some_sessions_can_be_chosen(project: Project) -> None:
    say(project, "hello", "one")
    say(project, "hello", "two")
    say(project, "hello", "two", "--user", "cat")
    assert copy(project, f"{OURS} some --session two")["copied"] == 1
    assert copy(project, f"{OURS} some --session two --user cat")["copied"] == 1
    assert copy(project, f"{OURS} some --session none")["sessions"] == 0
    assert copy(project, f"{OURS} some")["copied"] == 1


def test_what_differs_or_cannot_be_read_is_said_and_the_advice_works(project: Project) -> None:
    say(project, "hello", "one", "--user", "cat")
    say(project, "hello", "two", "--user", "cat")
    assert copy(project, f"{OURS} other")["copied"] == 2
    told(project, "sessions rename one else --user cat --store other")
    text = told(project, f"store copy {OURS} other", code=1)
    assert "session 'one' of user 'cat' differs in other; to copy it again, delete it" in text
    assert text.endswith("not all are the same in both\n")
    advice = text.partition("teamgraph ")[2].splitlines()[0]
    told(project, f"{advice} --yes")
    assert copy(project, f"{OURS} other")["copied"] == 1
    damage("one", 2, user="cat")
    found = copy(project, f"{OURS} other", code=1)
    assert journal("one", "cat").name in " ".join(found["unreadable"])
    text = told(project, f"store copy {OURS} other", code=1)
    assert f"a session was left out: {journal('one', 'cat')}" in text


def test_a_session_that_is_damaged_within_is_left_out(project: Project) -> None:
    for message in ("one", "two", "three"):
        say(project, message, "s")
    say(project, "hello", "t")
    misspell("s")
    found = copy(project, f"{OURS} other", code=1)
    assert (found["sessions"], found["copied"]) == (2, 1)
    assert "a stored turn has input: '7', which is of the wrong type" in found["unreadable"][0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{OURS} ./{OURS}", "cannot be copied to itself"),
        ("nowhere other", "nowhere"),
        (f"{OURS} postgresql://ann:s3cret@127.0.0.1:1/d?connect_timeout=1", "no connection"),
    ],
)
def test_a_store_that_cannot_be_copied_is_an_error(
    project: Project, line: str, expected: str
) -> None:
    say(project, "hello", "one")
    text = told(project, f"store copy {line}", code=2)
    assert expected in text
    assert "s3cret" not in text
    assert not Path("nowhere").exists()
