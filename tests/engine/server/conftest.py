"""What the tests of the server share: an app in this process, and a client of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

from teamgraph import Graph, MemoryStore, ScriptedModel
from teamgraph.nodes import Human, Member
from teamgraph.server import create_app

TOKEN = "t0ken-of-the-tests"  # noqa: S105  no secret
DUO = Graph(
    name="duo",
    model="echo",
    nodes={"first": Member(role="Begin"), "last": Member(role="End", needs=["first"])},
    output=["last"],
)
ASKS = Graph(
    name="asks",
    model="echo",
    nodes={
        "ok": Human(prompt="May I?\n", options=["yes", "no"]),
        "done": Member(role="Do it", needs=["ok"]),
    },
    output=["done"],
)


class Told(NamedTuple):
    """One event of a stream: its id, its name and its data."""

    id: str
    event: str
    data: dict[str, Any]


def events_of(text: str) -> list[Told]:
    """The events of an event stream."""
    found: list[Told] = []
    for block in text.split("\n\n"):
        fields = {line.partition(": ")[0]: line.partition(": ")[2] for line in block.split("\n")}
        if "data" in fields:
            data = json.loads(fields["data"])
            found.append(Told(fields.get("id", ""), fields["event"], data))
    return found


@dataclass(frozen=True)
class Served:
    """An app and a client that has its token."""

    client: TestClient

    def post(self, path: str, **body: object) -> Any:  # noqa: ANN401  httpx's
        content = json.dumps(body).encode()
        return self.client.post(path, content=content)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
        return self.client.get(path, headers=headers)

    def stream(self, path: str, **body: object) -> list[Told]:
        answer = self.post(path, stream=True, **body)
        assert answer.status_code == 200, answer.text
        return events_of(answer.text)


@pytest.fixture
def serve() -> Any:  # noqa: ANN401  a generator of a factory
    clients: list[TestClient] = []

    def make(*graphs: Graph, **options: Any) -> Served:  # noqa: ANN401
        options.setdefault("store", MemoryStore())
        options.setdefault("model", ScriptedModel(["one", "two"] * 9))
        shown = graphs if graphs or "broken" in options else (DUO,)
        app = create_app(shown, token=TOKEN, hosts=["testserver"], **options)
        client = TestClient(
            app, headers={"Authorization": f"Bearer {TOKEN}"}, raise_server_exceptions=False
        )
        client.__enter__()
        clients.append(client)
        return Served(client)

    yield make
    for client in clients:
        client.__exit__(None, None, None)


Serve = Callable[..., Served]
