"""The page Workers: what waits, who works, and a button for what was given up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from msgspec import structs
from starlette.testclient import TestClient

from teamgraph import Runner
from teamgraph.dispatch import DBOSDispatcher, DispatchedRunner
from teamgraph.engine.dispatch.turns import CallRow
from teamgraph.errors import RunError
from teamgraph.server import create_app
from tests.engine.cli.conftest import Project
from tests.engine.dispatch.conftest import Gate, Told, duo, working
from tests.engine.dispatch.test_worker import submitting, turn
from tests.engine.server.conftest import TOKEN
from tests.engine.server.pages.browser import Browser


@pytest.fixture(scope="module")
def left(empty_dsn: str) -> str:
    """A database with a silent worker, a turn that waits and 21 that were given up."""
    asyncio.run(_leave(empty_dsn))
    return empty_dsn


async def _leave(dsn: str) -> None:
    async with submitting(dsn) as dispatcher:
        async with working(dsn, Gate(), Told(), duo()) as worker:
            row = structs.replace(worker.row, id="<b>other</b>")
        table = dispatcher.table
        await table.register(row, {"duo": ""})
        await table.write_calls(row.id, [CallRow(uuid4(), "m", 3)])
        for n in range(21):
            run = await dispatcher.submit(turn(f"gone {n}", user_id="ann"))
            execution, number = uuid4(), (await dispatcher.find(run)).id
            await table.begin(number, execution, "died", is_again=False)
            error = RunError("it ended <i>its</i> workers")
            await table.end(number, execution, state="dead", outcome=None, error=error)
        await dispatcher.submit(turn("waits", user_id="ann"))


@contextmanager
def browsing(dsn: str, **options: Any) -> Iterator[Browser]:  # noqa: ANN401
    dispatcher = DBOSDispatcher(dsn, connections=2)
    app = create_app([DispatchedRunner(duo(), dispatcher)], **options)
    with TestClient(app, base_url="http://localhost") as client:
        client.post("/login", data={"token": TOKEN})
        yield Browser(client)
        assert client.portal is not None
        client.portal.call(dispatcher.close)


def test_workers_queues_calls_and_turns_are_shown_and_what_was_given_up_is_retried(
    left: str, project: Project
) -> None:
    with browsing(left, token=TOKEN) as browser:
        assert "/workers" in browser.open("/").links
        page = browser.open("/workers")
        for shown in ("<b>other</b>", "works", "0 of 8", "it ended <i>its</i> workers", "gone 19"):
            assert shown in page.text
        cells = [each.text for each in page.all("td")]
        assert cells[cells.index("yes") + 1 :][:3] == ["1", "0", "21"]
        assert cells[cells.index("3") :][:3] == ["3", "1", "0"]
        assert "gone 20" not in page.text
        assert "gone 20" in browser.open("/workers?dead_offset=20").text
        after = browser.send(page.form("/workers/retry"))
        assert page.forms[0].action not in [form.action for form in after.forms]
        cells = [each.text for each in after.all("td")]
        assert cells[cells.index("yes") + 1 :][:3] == ["2", "0", "20"]
        again = browser.send(page.form("/workers/retry"), status=404)
        assert "there is no dead letter 1 here; the page /workers lists" in again.text
        browser.send(page.form("/workers/retry"), status=400, number=f"{2**63}")
    done = project.teamgraph("queue", "retry", "2", "--dsn", left)
    assert done.stderr == "turn 2 is in the queue again\n"


def test_whoever_may_not_act_for_all_users_sees_no_queue_and_a_read_only_page_has_no_button(
    left: str,
) -> None:
    with browsing(left, auth=lambda _: "ann") as browser:
        assert "/workers" not in browser.open("/").links
        assert "the turns of all users" in browser.open("/workers", status=403).text
    with browsing(left, token=TOKEN, read_only=True) as browser:
        assert not browser.open("/workers").all("button")
        assert browser.raw("/workers/retry?number=1", method="POST").status_code == 403


def test_a_server_that_runs_its_turns_itself_has_no_workers() -> None:
    with TestClient(create_app([Runner(duo(), model=Gate())]), base_url="http://localhost") as own:
        browser = Browser(own)
        assert "/workers" not in browser.open("/").links
        assert "start it with --dispatch" in browser.open("/workers", status=404).text
