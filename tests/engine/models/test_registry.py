"""The id of a model decides which adapter answers; the environment decides the default id."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from teamgraph import AnyModel, Graph, Message, Request, Runner, ScriptedModel
from teamgraph.engine.models.local.server import SERVER
from teamgraph.engine.models.registry import default_model_id
from teamgraph.errors import NoModelError
from teamgraph.nodes import Member
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
    assert model.default_id({}) == "ScriptedModel"
    assert AnyModel().default_id({"TEAMGRAPH_LOCAL_GGUF": str(weights)}) == "local"


def test_a_model_that_only_python_has_is_missed_by_its_name() -> None:
    with pytest.raises(NoModelError, match=r"own/critic: .*AnyModel\(\{'own/critic': \.\.\.\}\)"):
        AnyModel().ask(Request("own/critic", HELLO))


def test_local_is_never_answered_by_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    SERVER.stop()  # that of other tests in this process would answer
    monkeypatch.setenv("TEAMGRAPH_LOCAL_GGUF", str(tmp_path / "none.gguf"))
    with pytest.raises(NoModelError, match=r"model local: TEAMGRAPH_LOCAL_GGUF names .*none\.gguf"):
        ask(AnyModel(), Request("local", HELLO))


PLUGIN = """
from teamgraph import Chunk, Reply

made = []

class Shouting:
    def __init__(self):
        made.append(self)

    async def ask(self, request):
        text = f"{request.model}: {request.messages[-1].content.upper()}"
        yield Chunk(text)
        yield Reply(text)

class Costly:
    def __init__(self, key):
        self.key = key

class Mute:
    pass
"""


def test_a_package_adds_models_by_a_prefix(install: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(PLUGIN)
    install("loud = loud:Shouting")
    model = AnyModel()
    assert ask(model, Request("echo", HELLO))[1].text == "echo: hello"
    assert "loud" not in sys.modules  # imported when it is first asked
    assert ask(model, Request("loud/large", HELLO))[1].text == "loud/large: HELLO"
    assert ask(model, Request("loud", HELLO))[1].text == "loud: HELLO"
    assert len(sys.modules["loud"].made) == 1


def test_a_graph_names_a_model_of_a_package(install: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(PLUGIN)
    install("loud = loud:Shouting")
    graph = Graph(name="g", model="loud/large", nodes={"a": Member()})
    assert Runner(graph).run("hello").answer == "loud/large: HELLO"


def test_the_package_of_the_documentation_works(
    install: Callable[[str], None], tmp_path: Path
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "your-own-model.md").read_text(encoding="utf-8")
    (code,) = re.findall(
        r"^```python\n(# acme_models\.py\n.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    (project,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "acme_models.py").write_text(code)
    groups = tomllib.loads(project)["project"]["entry-points"]
    for name, value in groups["teamgraph.models"].items():
        install(f"{name} = {value}")
    graph = Graph(name="g", model="acme/large", nodes={"a": Member()})
    assert Runner(graph).run("hello").answer == "HELLO"


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            ["bad = no_such_package:Model"],
            r"'bad' \(no_such_package:Model\) cannot be imported: No",
        ),
        (["bad = loud:Nothing"], r"'bad' \(loud:Nothing\) cannot be imported: .*no attribute"),
        (["bad = broken:Model"], r"'bad' \(broken:Model\) cannot be imported: on purpose"),
        (["bad = loud:Costly"], r"loud:Costly of the model prefix 'bad' cannot be made: .*key.*"),
        (["bad = loud:Mute"], r"loud:Mute of the model prefix 'bad' has no method `ask`"),
        (["bad = loud:made"], r"loud:made of the model prefix 'bad' cannot be made: .*callable"),
        (
            ["bad = loud:Shouting", "bad = other:Model"],
            r"the model prefix 'bad' is offered twice, as (loud:Sh|other).*; uninstall one of the",
        ),
    ],
)
def test_a_broken_package_is_named(
    install: Callable[[str], None], tmp_path: Path, entries: list[str], words: str
) -> None:
    (tmp_path / "loud.py").write_text(PLUGIN)
    (tmp_path / "broken.py").write_text("raise RuntimeError('on purpose')")
    for entry in entries:
        install(entry)
    with pytest.raises(NoModelError, match=rf"^model bad/x: .*{words}") as caught:
        AnyModel().ask(Request("bad/x", HELLO))
    assert caught.value.model == "bad/x"


def test_two_packages_may_offer_the_same_object(
    install: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "loud.py").write_text(PLUGIN)
    install("loud = loud:Shouting")
    install("loud = loud:Shouting")
    assert ask(AnyModel(), Request("loud", HELLO))[1].text == "loud: HELLO"


def test_a_name_that_only_begins_like_the_demo_model_is_refused() -> None:
    with pytest.raises(NoModelError, match="model local/x: the demo model has no other id than"):
        ask(AnyModel(), Request("local/x", HELLO))


def test_no_adapter_is_imported_before_it_is_asked() -> None:
    code = "import sys; from teamgraph import AnyModel; AnyModel()\n"
    code += "names = ('litellm', 'openai', 'xllamacpp', 'teamgraph.engine.models.litellm')\n"
    code += "print([name for name in names if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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


def test_with_nothing_at_all_the_error_lists_the_alternatives(tmp_path: Path) -> None:
    nowhere = {"TEAMGRAPH_LOCAL_GGUF": str(tmp_path / "none")}
    with pytest.raises(NoModelError) as caught:
        default_model_id(nowhere)
    for way in ("make demo", "OPENAI_API_KEY", "--model openai/", "--model echo"):
        assert way in str(caught.value)


def test_an_installation_without_its_entry_points_is_told(
    install: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install("loud = loud:Shouting")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(NoModelError, match="no adapter 'litellm'; install teamgraph again"):
        AnyModel().ask(Request("openai/x", HELLO))
