"""`--store postgresql://...`: every command reads and writes a database as it does a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from teamgraph.engine.stores.places import title
from tests.postgres import Server

from .conftest import Project

AWAY = "postgresql://ann:s3cret@127.0.0.1:1/shop?connect_timeout=1"
AWAY_TITLE = "postgresql://ann@127.0.0.1:1/shop?connect_timeout=1"


@pytest.fixture
def address(server: Server) -> str:
    """The address of a database, with a password that nobody must see."""
    return server.dsn.replace("teamgraph@", "teamgraph:s3cret@")


def told(project: Project, line: str, *, code: int = 0, said: str | None = None) -> str:
    """What a command says, from which the password is missing."""
    done = project.teamgraph(*line.split(), said=said)
    assert done.exit_code == code, done.output
    assert "s3cret" not in done.output
    return done.output


def test_sessions_of_a_database_are_written_read_and_deleted(
    project: Project, address: str
) -> None:
    project.more["TEAMGRAPH_STORE"] = address
    of = "--user cli"
    told(project, f"run desk.yaml hello --model echo --session s {of}")
    told(project, f"chat desk.yaml --model echo --session s {of}", said="again\n/quit\n")
    assert "hello" in told(project, f"sessions list {of}")
    assert "again" in told(project, f"sessions show s {of}")
    assert "2" in told(project, f"sessions search hello {of}")
    (run, _) = json.loads(told(project, f"runs list {of} --json"))
    assert "again" in told(project, f"runs show {run['run_id']} {of} --prompt")
    assert "calls" in told(project, f"usage {of}")
    told(project, f"render desk.yaml more --session s {of}")
    told(project, f"sessions export s {of} -o s.json")
    assert "deleted 1 session" in told(project, f"sessions delete s {of} --yes")
    told(project, "sessions import s.json")
    assert "hello" in told(project, f"sessions show s {of}")
    assert "s3cret" not in told(project, f"sessions show nothing {of}", code=1)
    told(project, f"sessions delete --all {of} --yes")
    assert not (project.folder / ".teamgraph").exists()


def test_a_projects_database_is_used_and_doctor_asks_it(project: Project, address: str) -> None:
    project.write("pyproject.toml", f"[tool.teamgraph]\nmodel = 'echo'\nstore = '{address}'\n")
    assert f"+ store: {title(address)} answers\n" in told(project, "doctor")
    project.write("pyproject.toml", f"[tool.teamgraph]\nmodel = 'echo'\nstore = '{AWAY}'\n")
    text = told(project, "doctor", code=1)
    assert "x store: PostgreSQL at 127.0.0.1:1/shop: no connection within 1 s: " in text


@pytest.mark.parametrize("line", ["verify", "repair", "stats", "attachments"])
def test_what_reads_files_says_that_a_database_has_none(project: Project, line: str) -> None:
    text = told(project, f"store {line} --store {AWAY}", code=2)
    assert f"{AWAY_TITLE}: this " in text
    assert "has tools of its own for that (docs/postgres.md)" in text


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (AWAY, "no connection within 1 s: connection failed"),
        ("postgresql://ann:s3/cret@h/d", "%2F for /"),
        ("mysql://ann:s3cret@h/d", "mysql://ann@h/d: there is no store for mysql://"),
        ("", "it is empty; name a folder or an address"),
    ],
)
def test_a_store_that_cannot_be_opened_is_an_error_with_a_way_on(
    project: Project, place: str, expected: str
) -> None:
    done = project.teamgraph("sessions", "list", "--store", place)
    assert done.exit_code == 2
    assert expected in " ".join(done.output.replace("│", "").split())
    assert "cret" not in done.output


def test_advice_names_a_database_without_its_password(project: Project, address: str) -> None:
    project.write(
        "two.yaml", "name: two\nmodel: echo\nbudget: {calls: 1}\nnodes: {a: {}, b: {needs: a}}\n"
    )
    line, named = "run two.yaml hello --user advised", f"--store {title(address)} "
    assert named in told(project, f"{line} --store {address}", code=1)
    project.more["TEAMGRAPH_STORE"] = address
    assert "--store" not in told(project, line, code=1)
    project.more["TEAMGRAPH_STORE"] = title(address)
    assert named in told(project, line, code=1)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Path("of/project"), "of/project"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql://ann:s3cret@h:1,i:2/d?pasword=s3cret", "postgresql://ann@h:1,i:2/d"),
        ("postgres:///d?host=/tmp&password=s3cret", "postgres:///d?host=/tmp"),
        ("postgresql://ann:s3/c@ret?x@h/d", "postgresql://ann@h/d"),
        ("postgresql://h/d?user=ann@x&password=s3cret", "postgresql://h@x"),
    ],
)
def test_a_place_is_shown_without_a_password(place: str | Path, expected: str) -> None:
    assert title(place) == expected
