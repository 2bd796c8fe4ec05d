"""Structured answers, whatever form a server takes: the table of docs/structured-answers.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from teamgraph import AnyModel, Graph, MemoryStore, ModelSpec, Request, Run, Runner
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph.engine.run.prepared import prepare
from teamgraph.errors import ModelError, NodeError
from teamgraph.kinds import Node
from teamgraph.nodes import Member, Router, Summarizer
from tests.stub import StubAnswer, StubProvider, StubRequest, ask
from tests.stub.client import failure, request_to

pytestmark = pytest.mark.usefixtures("_keys")

REFUSED = StubAnswer(fault="400", message="This response_format type is unavailable now")
BEHAVIOURS = (
    "enforced",
    "400 to the schema",
    "schema ignored",
    "tools only",
    "json only",
    "text only",
)
PAGE = Path(__file__).parents[3] / "docs" / "structured-answers.md"
CITY = {"city": "Rome", "degrees": 20}


def weather(city: str) -> int:
    """Degrees in a city."""
    return 20


def router(**options: Any) -> dict[str, Node]:  # noqa: ANN401  of a router
    routes = {"french": "French", "german": "German"}
    return {
        "asker": Router(routes=routes, **options),
        "french": Member(),
        "german": Member(),
        "last": Member(needs=["french", "german"], join="always"),
    }


TASKS: dict[str, tuple[dict[str, Node], object, str, object]] = {
    "router, one": (router(), {"reason": "", "choice": "french"}, "It is french.", "french"),
    "router, many": (
        router(select="many"),
        {"reason": "", "choices": ["french", "german"]},
        "- french\n- german",
        ["french", "german"],
    ),
    "router, none": (
        router(select="many", allow_none=True),
        {"reason": "", "choices": []},
        "none",
        [],
    ),
    "summarizer": (
        {"last": Member(), "asker": Summarizer(needs="last")},
        {"summary": "They greeted.", "topics": ["greetings"]},
        'Here it is: {"summary": "They greeted.", "topics": ["greetings",],}',
        "They greeted.",
    ),
    "returns": (
        {"asker": Member(returns={"city": "str", "degrees": "int"})},
        CITY,
        f"<think>{{hm}}</think>\n```json\n{json.dumps(CITY)}\n```",
        CITY,
    ),
    "tools with returns": (
        {"asker": Member(returns={"city": "str", "degrees": "int"}, tools=[weather])},
        CITY,
        f"Sure!\n{json.dumps(CITY)}\nAnything else?",
        CITY,
    ),
}


def handler(
    behaviour: str, value: object, words: str, *, wrong: int = 0
) -> Callable[[StubRequest], StubAnswer]:
    """Answers structured requests as a server of this behaviour does, others with a word.

    The first `wrong` answers do not fit. A server that is told of no schema knows what is wanted
    only if the prompt says so.
    """
    left = [({"nothing": 1}, "I cannot say.")] * wrong

    def answer(request: StubRequest) -> StubAnswer:
        form = (request.body.get("response_format") or {}).get("type")
        tools = {tool["function"]["name"] for tool in request.body.get("tools", ())}
        refused = {
            "400 to the schema": form == "json_schema",
            "tools only": form is not None,
            "json only": form == "json_schema" or "answer" in tools,
            "text only": form is not None or "answer" in tools,
        }
        if refused.get(behaviour, False):
            return replace_message(REFUSED)
        if "weather" in tools and request.messages[-1]["role"] == "user":
            return StubAnswer(tool_calls=(("weather", {"city": "Rome"}),))
        is_lost = not is_told(request)
        given, said = ("x", "x") if is_lost else left.pop() if left else (value, words)
        if "answer" in tools:
            return StubAnswer(tool_calls=(("answer", given),))  # type: ignore[arg-type]  a mapping
        if (behaviour, form) in (("enforced", "json_schema"), ("json only", "json_object")):
            said = json.dumps(given)
        return StubAnswer(said)

    return answer


def rungs() -> dict[tuple[str, str], str]:
    """What the table of the page says is sent last, by behaviour and task."""
    table = PAGE.read_text().partition("## What works where")[2]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line[:2] == "| "][1:]
    return {
        (behaviour, task): cell.strip("`").replace("words", "schema")
        for behaviour, row in zip(BEHAVIOURS, rows, strict=True)
        for task, cell in zip(TASKS, row[1:], strict=True)
    }


def rung(request: StubRequest) -> str:
    """How a request asks for a form."""
    form = (request.body.get("response_format") or {}).get("type", "")
    tools = [tool["function"]["name"] for tool in request.body.get("tools", ())]
    by_tool = "tool" if "answer" in tools else "text"
    return {"json_schema": "schema", "json_object": "json"}.get(form, by_tool)


def is_told(request: StubRequest) -> bool:
    """Whether the prompt says the form in words."""
    return "nswer with JSON only, in this form:\n{" in str(request.messages[0]["content"])


def replace_message(answer: StubAnswer) -> StubAnswer:
    return StubAnswer(fault=answer.fault, message=answer.message)


def graph(stub: StubProvider, nodes: dict[str, Node]) -> Graph:
    spec = ModelSpec(id="openai/stub", api_base=stub.base_url, api_key_env="STUB_KEY")
    output = "last" if "last" in nodes else "asker"
    return Graph(name="t", model=spec, nodes=nodes, output=output)


@pytest.fixture
def server() -> Iterator[StubProvider]:
    with StubProvider() as running:
        yield running


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_structured_answer_is_had_from_every_server(
    server: StubProvider, behaviour: str, task: str
) -> None:
    nodes, value, words, expected = TASKS[task]
    server._handler = handler(behaviour, value, words)
    runner = Runner(graph(server, nodes), store=MemoryStore())
    first = runner.run("Bonjour")
    assert first.records["asker"].output == expected
    if "tools" in task:
        calls = [call for one in first.records["asker"].exchanges for call in one.tool_calls]
        assert [call.name for call in calls] == ["weather"]
    before = len(server.requests)
    again = runner.run("Bonjour")
    assert again.records["asker"].output == expected
    assert len(server.requests) - before == asked(again), "what was refused is not asked again"
    sent = [rung(request) for request in server.requests if is_told(request)]
    assert sent[-1] == rungs()[behaviour, task]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_an_answer_that_does_not_fit_is_repaired_with_every_server(
    server: StubProvider, behaviour: str, task: str
) -> None:
    nodes, value, words, expected = TASKS[task]
    server._handler = handler(behaviour, value, words, wrong=1)
    record = Runner(graph(server, nodes), store=MemoryStore()).run("Bonjour").records["asker"]
    assert (record.output, record.attempt) == (expected, 2)
    assert [each.prompt for each in record.exchanges][-1] == "answer_repair.jinja"


def asked(run: Run) -> int:
    return sum(len(record.exchanges) for record in run.records.values())


def structured(stub: StubProvider, **parameters: Any) -> Request:  # noqa: ANN401  JSON
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    return replace(request_to(stub, **parameters), schema=schema, stream=False)


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ("schema", {"response_format": "json_schema", "tools": 0}),
        ("tool", {"response_format": None, "tools": 1}),
        ("json", {"response_format": "json_object", "tools": 0}),
        ("text", {"response_format": None, "tools": 0}),
    ],
)
def test_a_form_that_the_graph_names_is_the_only_one(
    stub: StubProvider, form: str, sent: dict[str, object]
) -> None:
    ask(LiteLLM(), structured(stub, structured=form))
    body = stub.requests[0].body
    found = (body.get("response_format") or {}).get("type")
    assert {"response_format": found, "tools": len(body.get("tools", ()))} == sent
    stub.push(replace_message(REFUSED))
    assert failure(structured(stub, structured=form)).status == 400
    assert len(stub.requests) == 2


def test_where_no_form_helps_the_first_refusal_is_the_error(stub: StubProvider) -> None:
    stub.push(*(StubAnswer(fault="400", message=f"number {number}") for number in range(4)))
    assert "number 0" in str(failure(structured(stub)))
    assert len(stub.requests) == 4


@pytest.mark.parametrize("fault", ["context", "401", "404", "429", "500", "reset"])
def test_what_is_no_refusal_of_a_form_is_asked_once(stub: StubProvider, fault: str) -> None:
    stub.push(StubAnswer(fault=fault))
    failure(structured(stub))
    assert len(stub.requests) == 1


def test_a_redirect_is_no_refusal_of_a_form(stub: StubProvider) -> None:
    stub.push(StubAnswer(raw=b"HTTP/1.1 302 x\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n"))
    assert "redirects" in str(failure(structured(stub)))
    assert len(stub.requests) == 1


def test_litellm_knows_which_models_take_no_schema(stub: StubProvider) -> None:
    request = structured(stub)
    ask(LiteLLM(), replace(request, model="openai/gpt-4"))
    assert [tool["function"]["name"] for tool in stub.requests[0].body["tools"]] == ["answer"]
    ask(LiteLLM(), replace(request, model="openai/gpt-4o"))
    assert stub.requests[1].body["response_format"]["type"] == "json_schema"
    tools = ({"type": "function", "function": {"name": "answer", "parameters": {}}},)
    call = {"index": 0, "id": "a", "function": {"name": "answer", "arguments": "{}"}}
    choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
    stub.push(StubAnswer(events=({"choices": [choice]}, "[DONE]")))
    request = replace(request, model="groq/x", tools=tools, allow_api_base=(stub.base_url,))
    reply = ask(LiteLLM(), request)[1]
    assert [tool["function"]["name"] for tool in stub.requests[2].body["tools"]] == [
        "answer",
        "final_answer",
    ]
    assert [call.name for call in reply.tool_calls] == ["answer"], "it is the graph's own tool"
    ask(LiteLLM(), replace(structured(stub), model="openai/gpt-audio"))
    assert [tool["function"]["name"] for tool in stub.requests[3].body["tools"]] == ["answer"]


def test_the_tool_for_an_answer_is_described_by_a_template(
    server: StubProvider, tmp_path: Path
) -> None:
    server._handler = handler("400 to the schema", CITY, "")
    asker = Member(role="A forecaster", returns={"city": "str", "degrees": "int"})
    model = graph(server, {"asker": asker}).model
    (tmp_path / "answer_tool.jinja").write_text("{{ node.role }} tells {{ input.message }}")
    own = Graph(name="t", model=model, nodes={"asker": asker}, prompt_dirs=[tmp_path])
    shipped = Graph(name="t", model=model, nodes={"asker": asker})
    for each in (own, shipped):
        assert Runner(each, store=MemoryStore()).run("hello").records["asker"].output == CITY
    described = [
        tool["function"]["description"]
        for request in server.requests
        for tool in request.body.get("tools", ())
    ]
    assert described == [
        "A forecaster tells hello",
        "Gives the answer.",
    ]
    assert prepare(own, AnyModel()).facts != prepare(shipped, AnyModel()).facts


def test_what_was_learnt_is_of_one_adapter(server: StubProvider) -> None:
    server._handler = handler("400 to the schema", CITY, "")
    request = structured(server)
    model = AnyModel()
    for _ in range(2):
        ask(model, request)
    assert len(server.requests) == 3
    ask(AnyModel(), request)
    assert len(server.requests) == 5


def test_a_server_that_refuses_everything_fails_the_node(server: StubProvider) -> None:
    server._handler = lambda _: replace_message(REFUSED)
    with pytest.raises(NodeError) as caught:
        Runner(graph(server, TASKS["returns"][0])).run("hi")
    assert isinstance(caught.value.__cause__, ModelError)
