"""What a model's id says is known when a graph is declared; a run that cannot begin does not."""

# ruff: noqa: ANN401  as in a file

from __future__ import annotations

import sys
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from teamgraph import AnyModel, Graph, MemoryStore, Runner, ScriptedModel, Usage
from teamgraph.engine.models import catalog
from teamgraph.engine.models.endpoints import _HOSTS, _KEY_OWNERS, COMMON_PROVIDERS
from teamgraph.engine.models.litellm import IMPORTER, price
from teamgraph.engine.models.local.model import LocalModel
from teamgraph.errors import DefinitionError, NoModelError, Problem
from teamgraph.nodes import Member, Router, SubGraph
from tests.catalog import installed


def price_of(thing: str) -> str:
    """Looks a price up."""
    return thing


def problems(of_graph: Any, *, budget: Any = None, **options: Any) -> list[Problem]:
    nodes = {"clerk": Member(**options)}
    try:
        graph = Graph(name="g", model=of_graph, budget=budget, nodes=nodes)
    except DefinitionError as error:
        return list(error.problems)
    return [*graph.warnings, *graph.unknown_models]


def test_the_table_is_that_of_the_locked_litellm() -> None:
    table = catalog._catalog()
    assert table.litellm == installed(), "make the table again: python -m tests.catalog"
    litellm: Any = IMPORTER.module()
    assert table.providers.keys() > COMMON_PROVIDERS
    used = Usage(input_tokens=10, output_tokens=10, calls=1)
    for name, provider in table.providers.items():
        for model in sorted(provider.priced)[:1]:
            assert price(litellm, f"{name}/{model}", used) is not None
        for model in sorted(provider.bare)[:2]:
            assert litellm.get_llm_provider(model)[1] == name == catalog.provider(model)
    for model in ("gtp5", "opanai/gpt-5", "foo/bar"):
        with suppress(litellm.BadRequestError), redirect_stdout(StringIO()):
            pytest.fail(litellm.get_llm_provider(model))


def test_every_provider_that_takes_a_key_alone_has_a_name_for_it() -> None:
    owners = {each for names in _KEY_OWNERS.values() for each in names}
    assert owners >= _HOSTS.keys() - {"dashscope", "huggingface", "nvidia_nim"}


@pytest.mark.parametrize(
    ("model", "text", "meant"),
    [
        ("gtp5", "unknown provider 'gtp5'", "openai/gpt-5"),
        ("gpt5-mini", "unknown provider 'gpt5-mini'", "openai/gpt-5-mini"),
        (
            "Claude Sonnet 4.5",
            "unknown provider 'Claude Sonnet 4.5'",
            "anthropic/claude-sonnet-4-5",
        ),
        ("opanai/gpt-5", "unknown provider 'opanai'", "openai/gpt-5"),
        ("lokal", "unknown provider 'lokal'", "local"),
        ("local/tiny", "the demo model has no other id than local", "local"),
        ("zzz/m", "unknown provider 'zzz'; write the id as provider/model, such as openai/", None),
        ("openai", "the id 'openai' has no model; write openai/ and the model's name", None),
    ],
)
def test_an_id_that_nobody_serves_is_an_error_with_the_one_that_was_meant(
    model: str, text: str, meant: str | None
) -> None:
    for declared, path in (
        (model, ("model",)),
        ({"id": model}, ("model", "id")),
        ({"id": "echo", "fallback": ["local", model]}, ("model", "fallback", 1)),
    ):
        (found,) = problems(declared)
        assert (found.code, found.severity, found.path) == ("G018", "error", path)
        assert found.message.startswith(text)
        assert found.suggestion == meant
        (inner,) = problems(None, model=declared)
        assert inner.path == ("nodes", "clerk", *path)
    with pytest.raises(NoModelError, match="did you mean" if meant else "write"):
        Runner(Graph(name="g", nodes={"a": Member()}), model=model)


@pytest.mark.parametrize(
    "model",
    [
        *("gpt-5", "openai/next-year", "claude-opus-9", "bedrock/anything", "azure/my-deployment"),
        *("vertex_ai/gemini-9", "echo", "own/critic", "ft:gpt-4o:mine", "gmi/openai/gpt-5"),
        {"id": "served-here", "api_base": "https://api.groq.com/openai/v1"},
    ],
)
def test_an_id_that_litellm_or_an_object_may_serve_is_none(model: Any) -> None:
    assert problems(model) == []


def test_a_name_of_an_object_s_own_is_only_warned_of_until_a_provider_is_asked() -> None:
    graph = Graph(name="g", model="m", nodes={"clerk": Member()})
    assert graph.warnings == ()
    (warning,) = graph.unknown_models
    assert (warning.code, warning.severity) == ("G018", "warning")
    assert Runner(graph, model=ScriptedModel("yes")).run("hi").answer == "yes"
    with pytest.raises(NoModelError, match="unknown provider 'm'; write the id as provider/model"):
        Runner(graph).run("hi")


def test_another_litellm_and_what_a_program_tells_it_are_not_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Litellm:
        provider_list = ("mine",)
        api_key = "k"

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "litellm", Litellm)
        assert problems("mine/model") == []
        AnyModel().check_ready("openai/x", {}, {}, with_tools=False)
    with monkeypatch.context() as patch:
        patch.setenv("USE_LITELLM_PROXY", "1")
        assert problems("zzz/model") == []
    other = tmp_path / "litellm-9.9.dist-info" / "METADATA"
    other.parent.mkdir()
    other.write_text("Metadata-Version: 2.1\nName: litellm\nVersion: 9.9\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [each.severity for each in problems("zzz/model")] == ["warning"]
    AnyModel().check("zzz/model", {})


def test_the_demo_model_with_tools_is_an_error_at_load() -> None:
    fallback = {"id": "echo", "fallback": "local"}
    inner = Graph(name="in", nodes={"clerk": Member(tools=[price_of])})
    for nodes, model, at in (
        ({"clerk": Member(tools=[price_of])}, "local", "clerk"),
        ({"clerk": Member(tools=[price_of], model="local")}, "echo", "clerk"),
        ({"clerk": Member(tools=[price_of])}, fallback, "clerk"),
        ({"inside": SubGraph(graph=inner)}, "local", "inside"),
    ):
        with pytest.raises(DefinitionError, match="model local: it cannot call tools") as caught:
            Graph(name="g", model=model, nodes=nodes)  # type: ignore[arg-type]  # as in a file
        assert [each.path for each in caught.value.problems] == [("nodes", at)]
    with pytest.raises(DefinitionError) as caught:
        Graph(name="g", model="echo", nodes={"inside": SubGraph(graph={"model": "local", "nodes": {
            "clerk": {"role": "x", "tools": [price_of]}}})})  # fmt: skip
    assert [each.code for each in caught.value.problems] == ["G018"]


def test_a_limit_in_dollars_says_for_which_models_it_cannot_hold() -> None:
    (warning,) = problems({"id": "openai/next-year", "fallback": "azure/mine"}, budget={"usd": 1})
    assert (warning.code, warning.severity, warning.path) == ("G115", "warning", ("budget", "usd"))
    assert "the price of openai/next-year, azure/mine is unknown" in warning.message
    for model in ("openai/gpt-5-mini", "gpt-5-mini", "echo", "local", "own/critic"):
        assert problems(model, budget={"usd": 1}) == []
    assert problems("openai/next-year", budget={"calls": 1}) == []


def test_a_price_that_litellm_does_not_have_is_unknown_and_not_nothing() -> None:
    litellm: Any = IMPORTER.module()
    used = Usage(input_tokens=10, output_tokens=10, calls=1)
    lacking = "snowflake/llama3-8b"
    assert not any("cost" in each for each in litellm.model_cost[lacking])
    assert price(litellm, lacking, used) is None
    assert price(litellm, "ollama/llama3", used) == 0
    free = "zai/glm-4.5-flash"
    assert litellm.model_cost[free]["input_cost_per_token"] == 0
    assert price(litellm, free, used) == 0


def test_a_run_that_cannot_begin_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("MY_KEY", raising=False)
    monkeypatch.setenv("TEAMGRAPH_LOCAL_GGUF", "/nowhere.gguf")
    member = Member()
    inner = Graph(name="in", model="openai/gpt-5-mini", nodes={"a": member})
    clerk = Graph(name="g", nodes={"clerk": Member(tools=[price_of])})
    for graph, model, text in (
        (inner, None, "it has no API key; set OPENAI_API_KEY, name the variable"),
        (Graph(name="g", model="gpt-5", nodes={"a": member}), None, "set OPENAI_API_KEY"),
        (Graph(name="g", nodes={"inside": SubGraph(graph=inner)}), None, "set OPENAI_API_KEY"),
        (
            Graph(name="g", model={"id": "openai/x", "api_key_env": "MY_KEY"}, nodes={"a": member}),  # type: ignore[arg-type]
            None,
            "the environment variable MY_KEY is not set",
        ),
        (Graph(name="g", model="local", nodes={"a": member}), None, "it is not installed here"),
        (clerk, "local", "it cannot call tools, and the node has some"),
        (clerk, AnyModel(others=LocalModel()), "it cannot call tools"),
        (clerk, LocalModel(), "it cannot call tools"),
    ):
        store = MemoryStore()
        runner = Runner(graph, store=store, model=model)
        for _ in range(2):
            with pytest.raises(NoModelError, match=text):
                runner.run("hi", session_id="s")
        assert runner.sessions() == []
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    AnyModel().check_ready("openai/x", {}, {"OPENAI_API_KEY": "sk-1"}, with_tools=True)


def test_a_run_that_may_succeed_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that has no key may never be asked, may have a fallback, or its failure is none."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    keyless = Member(model="openai/gpt-5-mini")
    routed = Graph(
        name="g",
        model="echo",
        nodes={"way": Router(routes={"a": "A", "b": "B"}), "a": Member(), "b": keyless},
        output=["a", "b"],
    )
    assert Runner(routed).run("hi").answer == "echo: hi"
    fallback = {"id": "openai/x", "fallback": "echo"}
    skipped = {"a": keyless.model_copy(update={"on_error": "skip"}), "b": Member(model="echo")}
    tolerant = Graph(name="g", nodes=skipped, output=["a", "b"])
    for graph in (Graph(name="g", model=fallback, nodes={"a": Member()}), tolerant):  # type: ignore[arg-type]  # as in a file
        assert Runner(graph).run("hi").answer == "echo: hi"
