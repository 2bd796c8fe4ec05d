"""Keys go only where they belong: addresses, key variables and parameters of untrusted graphs."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from teamgraph import AnyModel, Graph, ModelSpec, Request, Runner, ScriptedModel
from teamgraph.engine.models.endpoints import _WITH_PLAIN_KEY, PARAMETERS
from teamgraph.engine.models.litellm import LiteLLM
from teamgraph.errors import DefinitionError, InputError, NodeError, NoModelError
from teamgraph.nodes import Member
from tests.stub import StubProvider, ask
from tests.stub.client import HELLO

CANARY = "canary-0123456789abcdef"
VARIABLES = (
    *("OPENAI_API_KEY", "OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GEMINI_API_KEY", "GOOGLE_API_KEY"),
    *("MISTRAL_API_KEY", "GROQ_API_KEY", "DEEPSEEK_API_KEY", "OPENROUTER_API_KEY", "XAI_API_KEY"),
    *("COHERE_API_KEY", "CO_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
    *("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    *("CEREBRAS_API_KEY", "SAMBANOVA_API_KEY", "DEEPINFRA_API_KEY", "MOONSHOT_API_KEY"),
    *("CODESTRAL_API_KEY", "HOSTED_VLLM_API_KEY", "LM_STUDIO_API_KEY", "LITELLM_PROXY_API_KEY"),
    *("OLLAMA_API_KEY", "OPENAI_LIKE_API_KEY", "CUSTOM_OPENAI_API_KEY", "DATABASE_PASSWORD"),
    *("HF_TOKEN", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AZURE_API_KEY", "DASHSCOPE_API_KEY"),
)


@pytest.fixture(autouse=True)
def _canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, f"{CANARY}-{name}")


def sent(stub: StubProvider) -> str:
    """All that the server received."""
    return json.dumps([[one.path, dict(one.headers), one.body] for one in stub.requests])


def graph(**model: object) -> Graph:
    return Graph(name="g", model={"id": "openai/stub", **model}, nodes={"a": Member()})


@pytest.mark.filterwarnings("ignore")  # of pydantic, when it builds types for some providers
@pytest.mark.parametrize("prefix", sorted(_WITH_PLAIN_KEY))
def test_a_server_on_loopback_gets_no_key_of_a_provider(stub: StubProvider, prefix: str) -> None:
    runner = Runner(graph(id=f"{prefix}/stub", api_base=stub.base_url))
    with suppress(NodeError):  # not every format is known to the stub
        runner.run("hello")
    assert stub.requests
    assert "canary" not in sent(stub)


@pytest.mark.parametrize("prefix", ["azure/", "bedrock/", "vertex_ai/", "", "anthropic."])
def test_a_provider_with_other_credentials_takes_no_server_on_loopback(
    stub: StubProvider, prefix: str
) -> None:
    with pytest.raises(NoModelError, match="may send credentials of its own to api_base"):
        Runner(graph(id=f"{prefix}stub", api_base=stub.base_url)).run("hello")
    assert not stub.requests


@pytest.mark.parametrize(
    "base",
    [
        "https://example.com/v1",
        "http://10.0.0.1:8000/v1",
        "https://api.openai.com.evil.example/v1",
        "https://evil.example/api.openai.com",
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.anthropic.com/v1",
        "http://localhost.evil.example/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://0.0.0.0:8000/v1",
        "http://127.1/v1",
        "http://2130706433/v1",
        "http://0x7f000001/v1",
        "http://127.0.0.256/v1",
        "http://[::ffff:127.0.0.1]/v1",
        "http://[::2]/v1",
        "http://169.254.169.254/latest",
    ],
)
@pytest.mark.parametrize("name", [None, "MY_KEY", "OPENAI_API_KEY"])
def test_any_other_server_needs_permission(base: str, name: str | None) -> None:
    key = {} if name is None else {"api_key_env": name}
    runner = Runner(graph(api_base=base, **key))
    with pytest.raises(NoModelError) as caught:
        runner.run("hello")
    text = str(caught.value)
    assert "is not allowed: prompts would go there; allow it with --allow-api-base" in text
    assert "Runner(..., allow_api_base=[...])" in text
    # The adapter itself refuses too, whoever made the request.
    with pytest.raises(NoModelError, match="is not allowed"):
        ask(LiteLLM(), Request("openai/x", HELLO, parameters={"api_base": base, **key}))


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("http://u:pw@127.0.0.1/v1", "contains a password"),
        ("http://pw@127.0.0.1/v1", "contains a password"),
        ("http://api.openai.com@evil.example/v1", "contains a password"),
        ("http://127.0.0.1/v1?api_key=x", "no query"),
        ("http://127.0.0.1/v1#api_key=x", "no fragment"),
        ("http://127.0.0.1\\@evil.example/v1", "contains a password"),
        ("http://127.0.0.1\\.evil.example/v1", "must be an address"),
        ("http://127.0.0.1/v1 ", "must be an address"),
        ("http://127.0.0.1/\n", "must be an address"),
        ("http://evil\u3002example/v1", "must be an address"),
        ("http://127.0.0.1:99999/v1", "must be an address"),
        ("http://127.0.0.1:x/v1", "must be an address"),
        ("http://127.0.0.1/a/../b", "must be an address"),
        ("http://127.0.0.1/a/%2E%2e/b", "must be an address"),
        ("//127.0.0.1/v1", "must be an address"),
        ("127.0.0.1:8000", "must be an address"),
        ("file:///etc/passwd", "must be an address"),
        ("ftp://127.0.0.1/v1", "must be an address"),
        ("http:///v1", "must be an address"),
        ("", "must be an address"),
    ],
)
def test_a_malformed_address_is_a_problem_of_the_graph(base: str, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        ModelSpec(id="openai/x", api_base=base)
    with pytest.raises(InputError, match="allow_api_base"):
        Runner(graph(), allow_api_base=[base])


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("openai/x", "https://api.openai.com/v1"),
        ("openai/x", "HTTPS://API.OPENAI.COM/v1"),
        ("openai/x", "https://eu.api.openai.com:443/v1"),
        ("anthropic/x", "https://api.anthropic.com"),
        ("openai/x", "http://localhost:8000/v1"),
        ("openai/x", "http://127.3.2.1/v1"),
        ("openai/x", "https://[::1]:8000/v1"),
    ],
)
def test_own_addresses_and_loopback_need_no_permission(model: str, base: str) -> None:
    AnyModel().check(model, ModelSpec(id=model, api_base=base).parameters)


@pytest.mark.parametrize(
    ("allowed", "base", "is_allowed"),
    [
        ("https://llm.example/v1", "https://llm.example/v1", True),
        ("https://llm.example/v1/", "https://llm.example/v1", True),
        ("https://llm.example/v1", "https://llm.example/v1/deep/er", True),
        ("https://llm.example", "https://LLM.example:443/v1", True),
        ("https://llm.example/v1", "https://llm.example/v10", False),
        ("https://llm.example/v1", "https://llm.example", False),
        ("https://llm.example/v1", "http://llm.example/v1", False),
        ("https://llm.example/v1", "https://llm.example:8443/v1", False),
        ("https://llm.example/v1", "https://a.llm.example/v1", False),
    ],
)
def test_permission_is_for_an_address_and_all_below_it(
    allowed: str, base: str, is_allowed: bool
) -> None:
    model = AnyModel(allow_api_base=[allowed])
    parameters = ModelSpec(id="openai/x", api_base=base).parameters
    if is_allowed:
        model.check("openai/x", parameters)
        return
    with pytest.raises(NoModelError, match="is not allowed"):
        model.check("openai/x", parameters)


def test_the_provider_s_key_goes_to_an_allowed_server(stub: StubProvider) -> None:
    runner = Runner(graph(api_base=stub.base_url), allow_api_base=[stub.base_url])
    assert runner.run("hello").answer == "echo: hello"
    assert stub.requests[0].headers["authorization"] == f"Bearer {CANARY}-OPENAI_API_KEY"
    named = graph(api_base=stub.base_url, api_key_env="OPENAI_API_KEY")
    assert Runner(named, allow_api_base=[stub.base_url]).run("hello").answer == "echo: hello"


def test_a_key_of_the_server_s_own_goes_to_loopback(
    stub: StubProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVER_KEY", "mine-0123456789")
    Runner(graph(api_base=stub.base_url, api_key_env="MY_SERVER_KEY")).run("hello")
    assert stub.requests[0].headers["authorization"] == "Bearer mine-0123456789"
    assert "canary" not in sent(stub)


@pytest.mark.parametrize(
    "name",
    [
        *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "HF_TOKEN", "GITHUB_TOKEN"),
        *("AZURE_API_KEY", "DEEPSEEK_API_KEY", "openai_api_key", "TOGETHERAI_API_KEY"),
    ],
)
def test_a_provider_s_key_goes_to_no_server_on_loopback(stub: StubProvider, name: str) -> None:
    with pytest.raises(NoModelError, match=f"{name} is a key of .*, and goes to no other server"):
        Runner(graph(api_base=stub.base_url, api_key_env=name)).run("hello")
    assert not stub.requests


@pytest.mark.parametrize("base", [None, "https://api.openai.com/v1"])
def test_a_provider_s_key_goes_to_no_other_provider(base: str | None) -> None:
    address = {} if base is None else {"api_base": base}
    with pytest.raises(NoModelError, match="ANTHROPIC_API_KEY is a key of anthropic, not of opena"):
        Runner(graph(api_key_env="ANTHROPIC_API_KEY", **address)).run("hello")
    AnyModel().check("openai/x", {"api_key_env": "TEAM_B_OPENAI_KEY", **address})


@pytest.mark.parametrize(
    "name",
    [
        *("DATABASE_PASSWORD", "DATABASE_URL", "HOME", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"),
        *("AWS_ACCESS_KEY", "SECRET", "PASSWORD", "MONKEY", "KEYS", "API_KEY_FILE", ""),
    ],
)
def test_only_a_variable_for_a_key_may_be_named(name: str) -> None:
    with pytest.raises(DefinitionError, match="which is no variable for an API key; name one that"):
        ModelSpec(id="openai/x", api_base="http://127.0.0.1/v1", api_key_env=name)


@pytest.mark.parametrize("name", ["KEY", "TOKEN", "APIKEY", "MY_APIKEY", "VLLM_API_TOKEN", "a_key"])
def test_variables_for_keys_are_known_by_their_end(name: str) -> None:
    assert ModelSpec(id="openai/x", api_key_env=name).api_key_env == name


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_a_parameter_of_the_list_may_be_set(name: str) -> None:
    data = {"id": "openai/x", name: 1}
    if name not in ModelSpec.model_fields:
        assert ModelSpec(**data).parameters == {name: 1}


@pytest.mark.parametrize(
    "name",
    [
        *("ssl_verify", "mock_response", "mock_tool_calls", "api_type", "custom_llm_provider"),
        *("base_url", "organization", "headers", "extra_headers", "extra_query", "client"),
        *("model_list", "fallbacks", "context_window_fallback_dict", "aws_region_name"),
        *("aws_bedrock_runtime_endpoint", "vertex_project", "vertex_location", "region_name"),
        *(
            "litellm_logging_obj",
            "logger_fn",
            "callbacks",
            "success_callback",
            "cache",
            "caching",
            "proxy",
        ),
        *("model", "messages", "tools", "functions", "num_retries"),
        *(
            "max_retries",
            "metadata",
            "litellm_metadata",
            "proxy",
            "shared_session",
            "hf_model_name",
        ),
        *(
            "azure_ad_token_provider",
            "tenant_id",
            "use_litellm_proxy",
            "deployment_id",
            "acompletion",
        ),
        *("input_cost_per_token", "no-log", "api_base ", "API_BASE", "kwargs", "user_config"),
    ],
)
def test_any_other_parameter_is_refused_with_advice(name: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        ModelSpec(**{"id": "openai/x", name: "x"})
    text = str(caught.value)
    advice = (
        "did you mean",
        "a model of your own (docs/your-own-model.md)",
        "give the node `tools`",
    )
    assert any(words in text for words in advice)


def test_one_key_says_in_which_form_an_answer_is_asked_for() -> None:
    form: Any = {"response_format": {"type": "json_object"}}
    with pytest.raises(DefinitionError, match="structured is of no use beside response_format"):
        ModelSpec(id="openai/x", structured="json", **form)
    spec = ModelSpec(id="openai/x", **form, fallback=[ModelSpec(id="openai/y", structured="tool")])
    assert [each.parameters for each in spec.in_order()] == [form, {"structured": "tool"}]
    assert ModelSpec(id="own/x", structured="json", **form).parameters["structured"] == "json"


@pytest.mark.parametrize("model", ["huggingface/https://evil.example/x", "https://evil.example"])
def test_an_address_in_an_id_is_refused(model: str) -> None:
    with pytest.raises(DefinitionError, match="an id has no address in it"):
        ModelSpec(id=model)
    with pytest.raises(NoModelError, match="an id has no address in it"):
        ask(LiteLLM(), Request(model, HELLO))
    with pytest.raises(DefinitionError, match="model: an id has no address in it"):
        Graph(name="g", model=model, nodes={"a": Member()})


def test_the_parameters_of_own_models_are_their_own_matter() -> None:
    spec = ModelSpec(id="own/critic", mood="x", ssl_verify=False)
    assert spec.parameters == {"mood": "x", "ssl_verify": False}


def test_permission_is_passed_with_the_model_s_object_or_its_id_not_both() -> None:
    with pytest.raises(InputError, match=r"pass it to AnyModel\(\.\.\., allow_api_base=\.\.\.\)"):
        Runner(graph(), model=ScriptedModel("x"), allow_api_base=["https://llm.example"])
    with pytest.raises(InputError, match="pass a list of addresses"):
        Runner(graph(), allow_api_base="https://llm.example")


def test_a_refused_address_is_reported_before_any_node_runs() -> None:
    nodes = {
        "first": Member(model="echo"),
        "second": Member(
            model=ModelSpec(id="openai/x", api_base="https://evil.example"), needs="first"
        ),
    }
    seen: list[str] = []
    runner = Runner(Graph(name="g", nodes=nodes, output="second"))
    with pytest.raises(NoModelError, match=r"evil\.example is not allowed"):
        seen += [type(event).__name__ for event in runner.stream("hello")]
    assert "NodeStarted" not in seen
