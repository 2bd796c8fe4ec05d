"""compose.yaml as far as it can be run without containers: its commands, names, ports and times."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from teamgraph.engine.cli.serve import TOKEN
from teamgraph.engine.cli.worker import DSN
from tests.engine.cli.conftest import Project

ROOT = Path(__file__).parents[3]
NAMED = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}")


def compose() -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / "compose.yaml")
    return document


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.mark.parametrize("service", ["worker", "server"])
def test_the_commands_are_ones_that_the_command_line_takes(
    project: Project, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    """They end where they need the graph, which is in the image: all before is read."""
    command = [NAMED.sub(r"\2", word) for word in compose()["services"][service]["command"]]
    assert command[0] == "teamgraph"
    monkeypatch.setenv(DSN, "postgresql://h/d")
    monkeypatch.setenv(TOKEN, "t")
    done = project.teamgraph(*command[1:])
    assert (done.exit_code, "team.yaml" in done.stderr) == (2, True), done.stderr


def test_names_ports_and_times_are_those_of_teamgraph() -> None:
    services = compose()["services"]
    for service in (services["worker"], services["server"]):
        names = {name for name in service["environment"] if name.startswith("TEAMGRAPH_")}
        assert names == {DSN, TOKEN}
        assert service["environment"][DSN].startswith("postgresql://team:")
        assert service["environment"][DSN].endswith("@db:5432/team")
        assert set(service["depends_on"]) <= set(services)
    database = services["db"]["environment"]
    assert (database["POSTGRES_USER"], database["POSTGRES_DB"]) == ("team", "team")
    grace = float(option(services["worker"]["command"], "--grace"))
    assert float(services["worker"]["stop_grace_period"].removesuffix("s")) > grace + 10
    assert services["server"]["ports"][0].endswith(":8700")
