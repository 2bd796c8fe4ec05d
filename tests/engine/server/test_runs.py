"""Runs over HTTP: started, streamed, come back to, cancelled, resumed, forked, answered."""

from __future__ import annotations

from tests.engine.server.conftest import ASKS, DUO, Serve, events_of


def test_a_run_is_answered_whole_or_as_events(serve: Serve) -> None:
    served = serve()
    whole = served.post("/api/runs", message="hi", session_id="s")
    assert whole.status_code == 200
    assert (whole.json()["status"], whole.json()["answer"]) == ("done", "two")
    told = served.stream("/api/runs", message="hi", session_id="s")
    assert [each.data["sequence"] for each in told] == list(range(1, len(told) + 1))
    assert (told[0].event, told[-1].event) == ("run_started", "run_finished")
    tokens = [each.data["text"] for each in told if each.event == "token" and each.data["answer"]]
    assert "".join(tokens) == "two"


def test_a_client_that_comes_back_gets_the_rest_and_nothing_twice(serve: Serve) -> None:
    served = serve()
    told = served.stream("/api/runs", message="hi", run_id="r")
    for cut in range(len(told) - 1):
        rest = served.get("/api/runs/r/events", {"Last-Event-ID": told[cut].id})
        assert events_of(rest.text) == told[cut + 1 :]
    assert served.get(f"/api/runs/r/events?after={told[-1].id}").status_code == 204


def test_a_run_that_waits_is_answered(serve: Serve) -> None:
    served = serve(ASKS)
    waits = served.post("/api/runs", message="go", session_id="s").json()
    assert (waits["status"], waits["questions"][0]["path"]) == ("waiting", "ok")
    done = served.post(f"/api/runs/{waits['run_id']}/respond", answers={"ok": "yes"})
    assert done.json()["status"] == "done"
    assert served.get(f"/api/runs/{waits['run_id']}").json()["answer"] == "one"
    assert DUO.name == "duo"
