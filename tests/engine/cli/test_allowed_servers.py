"""Servers that a graph names need permission: an option, or the project's settings."""

from __future__ import annotations

import pytest

from tests.stub import StubProvider

from .conftest import Project

GRAPH = "name: one\nmodel: {{id: openai/stub, api_base: '{base}'}}\nnodes:\n  only: {{}}\n"


@pytest.mark.parametrize("command", ["run", "chat"])
def test_another_server_is_refused_with_advice(project: Project, command: str) -> None:
    project.write("one.yaml", GRAPH.format(base="https://llm.example/v1"))
    words = [command, "one.yaml", *(["hello"] if command == "run" else [])]
    done = project.teamgraph(*words, said="hello\n")
    assert "api_base https://llm.example/v1 is not allowed" in done.stderr
    assert "--allow-api-base https://llm.example/v1, allow_api_base in [tool.team" in done.stderr
    assert command == "chat" or done.exit_code != 0


@pytest.mark.parametrize("is_option", [True, False])
def test_the_option_and_the_settings_allow_a_server(
    project: Project, is_option: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody-at-all")
    with StubProvider() as stub:
        project.write("one.yaml", GRAPH.format(base=stub.base_url))
        base = stub.base_url.removesuffix("/v1")
        if not is_option:
            project.write("pyproject.toml", f'[tool.teamgraph]\nallow_api_base = ["{base}"]\n')
        option = ("--allow-api-base", base) if is_option else ()
        done = project.teamgraph("run", "one.yaml", "hello", *option)
        assert done.stdout == "echo: hello\n", done.stderr
        key = stub.requests[0].headers["authorization"]
    assert key == "Bearer sk-of-nobody-at-all"


def test_without_permission_a_server_on_loopback_gets_no_key(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody-at-all")
    with StubProvider() as stub:
        project.write("one.yaml", GRAPH.format(base=stub.base_url))
        assert project.teamgraph("run", "one.yaml", "hello").stdout == "echo: hello\n"
        assert "sk-of" not in str(stub.requests)


def test_a_malformed_permission_is_an_error(project: Project) -> None:
    done = project.teamgraph("run", "desk.yaml", "hi", "--allow-api-base", "llm.example")
    assert done.exit_code != 0
    assert "allow_api_base: 'llm.example': it must be an address such as http" in done.stderr
