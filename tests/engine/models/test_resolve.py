"""Who answers is told by the id; who answers if nobody was named is told by the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from teamgraph import AnyModel, Message, Request, ScriptedModel
from teamgraph.engine.models.resolve import default_model_id
from teamgraph.errors import NoModelError
from tests.stub import StubProvider, ask

HELLO = (Message(role="user", content="hello"),)


def test_echo_is_the_echo() -> None:
    assert ask(AnyModel(), Request("echo", HELLO))[1].text == "echo: hello"


def test_any_other_id_goes_to_its_provider() -> None:
    with StubProvider() as stub:
        parameters = {"api_base": stub.base_url, "api_key": "k"}
        reply = ask(AnyModel(), Request("openai/stub", HELLO, parameters=parameters))[1]
        assert reply.text == "echo: hello"
        assert len(stub.requests) == 1


def test_a_model_of_ones_own_is_asked_by_the_id_that_it_was_given() -> None:
    model = AnyModel({"own/critic": ScriptedModel("mine")})
    assert ask(model, Request("own/critic", HELLO))[1].text == "mine"
    assert ask(model, Request("echo", HELLO))[1].text == "echo: hello"


def test_others_are_asked_in_place_of_every_provider(weights: Path) -> None:
    model = AnyModel({"own/critic": ScriptedModel("mine")}, others=ScriptedModel("other"))
    assert ask(model, Request("own/critic", HELLO))[1].text == "mine"
    for named in ("echo", "openai/stub", "own/writer"):
        assert ask(model, Request(named, HELLO))[1].text == "other"
    assert model.usual_id({}) == "ScriptedModel"
    assert AnyModel().usual_id({"TEAMGRAPH_LOCAL_GGUF": str(weights)}) == "local"


def test_a_model_that_only_python_has_is_missed_by_its_name() -> None:
    with pytest.raises(NoModelError, match=r"own/critic: .*AnyModel\(\{'own/critic': \.\.\.\}\)"):
        AnyModel().ask(Request("own/critic", HELLO))


def test_local_is_never_answered_by_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEAMGRAPH_LOCAL_GGUF", str(tmp_path / "none.gguf"))
    with pytest.raises(NoModelError, match=r"model local: TEAMGRAPH_LOCAL_GGUF names .*none\.gguf"):
        ask(AnyModel(), Request("local", HELLO))


def test_the_environment_names_the_default() -> None:
    assert default_model_id({"TEAMGRAPH_MODEL": "a/b", "OPENAI_API_KEY": "k"}) == "a/b"


def test_without_a_key_the_installed_model_is_the_default(weights: Path) -> None:
    assert default_model_id({"TEAMGRAPH_LOCAL_GGUF": str(weights)}) == "local"


@pytest.mark.parametrize(
    ("variable", "example"),
    [("OPENAI_API_KEY", "openai/"), ("ANTHROPIC_API_KEY", "anthropic/")],
)
def test_a_key_without_a_model_asks_for_the_model(
    weights: Path, variable: str, example: str
) -> None:
    with pytest.raises(NoModelError, match=rf"{variable} is set; name one, .*--model {example}"):
        default_model_id({variable: "k", "TEAMGRAPH_LOCAL_GGUF": str(weights)})


def test_with_nothing_at_all_the_ways_out_are_told(tmp_path: Path) -> None:
    nowhere = {"TEAMGRAPH_LOCAL_GGUF": str(tmp_path / "none")}
    with pytest.raises(NoModelError) as caught:
        default_model_id(nowhere)
    for way in ("make demo", "OPENAI_API_KEY", "--model openai/", "--model echo"):
        assert way in str(caught.value)
