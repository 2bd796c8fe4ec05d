"""The graphs of `examples/` and `graphs/` are replayed from recordings: none asks a model.

`pytest tests/test_recorded_examples.py --models-record` records them again, with a stand-in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from teamgraph import EchoModel, Graph, Model, Reply, Request, Runner, ScriptedModel, ToolCall
from tests.teams import words_of

ROOT = Path(__file__).parent.parent
GRAPHS = [
    path
    for folder in ("examples", "graphs")
    for path in sorted((ROOT / folder).glob("*.yaml"))
    if path.stem != "approve_refund"
]
ALLOW = ["retrieval", "approve_refund"]
STAND_INS: dict[str, Model] = {  # of graphs whose prompts grow if all is repeated
    "group_chat": ScriptedModel(lambda request: (request.choices or ("Yes. AGREED",))[0]),
}
RecordedModel = Callable[[Model], Model]


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_a_graph_runs_from_its_recordings(path: Path, recorded_model: RecordedModel) -> None:
    from own_kind import Translator  # noqa: PLC0415  a script, of which only this is needed

    graph = Graph.load(path, allow=ALLOW, kinds={"translator": Translator})
    model = recorded_model(STAND_INS.get(path.stem, EchoModel()))
    run = Runner(graph, model=model).run("Can I give my lamp back?")
    assert run.status == "done"
    assert run.usage.calls > 0


def test_tools_are_called_again_in_a_replay(recorded_model: RecordedModel) -> None:
    call = ToolCall(id="c", name="look_up", arguments='{"order": 17}')

    def answer(request: Request) -> Reply | str:
        looked_up = any(message.role == "tool" for message in request.messages)
        if request.tools and not looked_up:
            return Reply("", tool_calls=(call,))
        return words_of(request).splitlines()[-1]

    graph = Graph.load(ROOT / "examples" / "approve_refund.yaml", allow=ALLOW)
    runner = Runner(graph, model=recorded_model(ScriptedModel(answer)))
    run = runner.run("My lamp 17 is broken", run_id="r")
    assert run.records["clerk"].exchanges[0].tool_results[0].content.startswith('{"lamp"')
    assert runner.respond("r", {"approve": "stop"}).status == "done"
