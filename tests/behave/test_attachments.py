"""What is attached to a message: sent where a template says so, stored, named, deleted."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from teamgraph import (
    JSON,
    AnyModel,
    Attachment,
    Chunk,
    Graph,
    MemoryStore,
    ModelSpec,
    Part,
    Reply,
    Request,
    Runner,
    ScriptedModel,
    SessionKey,
    TinyDBStore,
)
from teamgraph.engine.stores.journal.disk import Disk, Named
from teamgraph.errors import DamagedStore, DefinitionError, InputError, NodeError, StoreError
from teamgraph.graphs import Agent
from teamgraph.nodes import HistoryLoader, Map, Member, Route, Router, SubGraph
from tests.builders import written

PNG = b"\x89PNG\r\n\x1a\n and more"
CAT = Attachment(name="cat.png", data=PNG)
AGAIN = """\
{% user %}
{{ input.message }}
{% for turn in history.runs %}
{% attach turn.attachments %}
{% endfor %}
{% attach input.attachments %}
{% enduser %}
"""


def remembering(folder: Path, template: str = AGAIN) -> Graph:
    written(folder, template, name="prompts/again.jinja")
    nodes = {"history": HistoryLoader(), "a": Member(prompt="again.jinja")}
    state: dict[str, JSON] = {"forged": None}
    return Graph(name="g", nodes=nodes, output="a", state=state, prompt_dirs=[folder / "prompts"])


def attached(request: Request) -> list[str]:
    return [part.name for message in request.messages for part in message.parts]


def test_every_node_attaches_what_its_template_says() -> None:
    member = Graph(name="inner", nodes={"m": Member()})
    graph = Graph(
        name="g",
        nodes={
            "router": Router(routes={"x": Route(to=["each"])}),
            "each": Map(over="['a', 'b']", graph=member, needs=["router"]),
            "inside": SubGraph(graph=member, needs=["each"]),
        },
        output="inside",
    )
    model = ScriptedModel(lambda request: "x" if request.choices else "seen")
    Runner(graph, model=model).run("look", attachments=[CAT])
    assert [attached(each) for each in model.requests] == [["cat.png"]] * 4
    assert {each.attachments[CAT.part.sha256] for each in model.requests} == {PNG}


def test_history_names_what_was_attached_and_sends_it_again_only_if_the_template_says_so(
    tmp_path: Path,
) -> None:
    model = ScriptedModel("seen")
    runner = Runner(remembering(tmp_path), model=model)
    runner.run("look", session_id="s", attachments=[CAT])
    [again] = runner.render("and now?", session_id="s")["a"].messages
    assert [part.name for part in again.parts] == ["cat.png"]
    runner.run("and now?", session_id="s")
    assert attached(model.requests[-1]) == ["cat.png"]
    assert model.requests[-1].attachments == {CAT.part.sha256: PNG}

    usual = Graph(name="g", nodes={"history": HistoryLoader(), "a": Member()}, output="a")
    Runner(usual, store=runner.store, model=model).run("and now?", session_id="s")
    sent = model.requests[-1]
    assert not attached(sent)
    assert [each.content for each in sent.messages if each.role == "user"] == [
        "look\n(attached: cat.png (image/png))",
        "and now?",
        "and now?",
    ]


@pytest.mark.parametrize("kind", ["memory", "tinydb"])
def test_a_deleted_run_is_forgotten_with_the_names_of_its_attachments(
    tmp_path: Path, kind: str
) -> None:
    store = MemoryStore() if kind == "memory" else TinyDBStore(tmp_path / "store")
    shown = AGAIN.replace(
        "{{ input.message }}\n",
        "{{ input.message }} {{ history.output }} {{ history.runs[0].attachments[0].name }}\n",
    )
    is_second = "{% if history.runs and history.runs[0].attachments %}"
    shown = f"{is_second}{shown}{{% else %}}{AGAIN}{{% endif %}}"
    runner = Runner(remembering(tmp_path, shown), store=store, model=ScriptedModel("seen"))
    first = runner.run("look", session_id="s", attachments=[CAT])
    runner.run("and now?", session_id="s")
    session = runner.session("s")
    assert json.dumps(session.export()).count("cat.png") > 3
    session.delete_run(first.run_id)
    assert "cat.png" not in json.dumps(session.export())


def test_a_resumed_run_and_a_fork_have_the_attachments(tmp_path: Path) -> None:
    store = TinyDBStore(tmp_path)
    graph = Graph(name="g", nodes={"a": Member()})
    runner = Runner(graph, store=store, model=ScriptedModel([ValueError("no"), "seen", "seen"]))
    with pytest.raises(NodeError) as failed:
        runner.run("look", session_id="s", attachments=[CAT, "https://x.example/b.png"])
    assert failed.value.run is not None
    model = ScriptedModel("seen")
    runner = Runner(graph, store=store, model=model)
    run = runner.resume(failed.value.run.run_id, session_id="s")
    runner.run("more", session_id="s")
    runner.fork(runner.run("third", session_id="s").run_id, node="a", into="copy")
    runner.fork(run.run_id, node="a", into="fork")
    assert [attached(each) for each in model.requests] == [
        *(["cat.png", "b.png"], [], [], [], ["cat.png", "b.png"])
    ]
    assert model.requests[-1].attachments == {CAT.part.sha256: PNG}
    runner.session("s").delete()
    [first, *_] = runner.session("copy").history()
    assert first.attachments == run.turn.attachments
    restored = Runner(graph, store=MemoryStore(), model=model)
    restored.session("s").restore(runner.session("copy").export())
    restored.fork(first.run_id, session_id="s", node="a")
    assert model.requests[-1].attachments == {CAT.part.sha256: PNG}


def test_an_export_with_other_bytes_is_refused(tmp_path: Path) -> None:
    runner = Runner(Graph(name="g", nodes={"a": Member()}), model=ScriptedModel("seen"))
    runner.run("look", session_id="s", attachments=[CAT])
    exported = runner.session("s").export()
    for wrong in ("YQ==", "no base64"):
        changed: dict[str, JSON] = {**exported, "attachments": {CAT.part.sha256: wrong}}
        with pytest.raises(InputError, match="its bytes have another sha256"):
            runner.session("other").restore(changed)


class Blind:
    """A model that does not say that it takes attachments."""

    async def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        yield Reply("asked")


class ImagesOnly(Blind):
    """A model that takes some."""

    async def takes(self, request: Request, part: Part) -> bool:
        return part.media_type.startswith("image/")


@pytest.mark.parametrize(
    ("model", "kind"),
    [("echo", "images"), ("local", "images"), ("own/blind", "images"), ("own/images", "files of")],
)
def test_a_model_that_takes_no_attachment_is_not_asked(model: str, kind: str) -> None:
    own = AnyModel({"own/blind": Blind(), "own/images": ImagesOnly()})
    runner = Runner(Graph(name="g", model=model, nodes={"a": Member()}), model=own)
    given = [CAT] if kind == "images" else [CAT, b"%PDF-1"]
    with pytest.raises(NodeError, match=rf"{model} takes no {kind}.*member.jinja attaches") as no:
        runner.run("look", attachments=given)
    assert no.value.run is not None
    assert no.value.run.usage.calls == 0


def test_a_fallback_that_takes_it_is_asked() -> None:
    own = AnyModel({"own/blind": Blind(), "own/images": ImagesOnly()})
    spec = ModelSpec(id="own/blind", fallback=["own/images"])
    graph = Graph(name="g", model=spec, nodes={"a": Member()})
    assert Runner(graph, model=own).run("look", attachments=[CAT]).answer == "asked"


class NoRoom:
    """A store of an older protocol: all of a `MemoryStore` but the attachments."""

    def __init__(self) -> None:
        self._store = MemoryStore()

    def __getattr__(self, name: str) -> object:
        if "attachment" in name:
            raise AttributeError(name)
        return getattr(self._store, name)


def test_a_store_without_room_for_attachments_is_refused_and_takes_urls() -> None:
    store = NoRoom()
    runner = Runner(
        Graph(name="g", nodes={"a": Member()}),
        store=store,  # type: ignore[arg-type]  # it passes everything on
        model=ScriptedModel("seen"),
    )
    with pytest.raises(InputError, match="NoRoom stores no attachments; it lacks"):
        runner.run("look", attachments=[CAT])
    assert runner.sessions() == []
    run = runner.run("look", session_id="s", attachments=["https://x.example/a.png"])
    runner.fork(run.run_id, session_id="s", node="a", into="other")
    assert [each.url for each in runner.session("other").runs()[0].attachments]


def test_bytes_that_are_gone_are_an_error_with_a_way_on(tmp_path: Path) -> None:
    store = TinyDBStore(tmp_path)
    runner = Runner(Graph(name="g", nodes={"a": Member()}), store=store, model=ScriptedModel("s"))
    run = runner.run("look", session_id="s", attachments=[CAT])
    [file] = tmp_path.rglob("*.attached")
    file.write_bytes(b"others")
    with pytest.raises(DamagedStore, match="the attachment is damaged; restore the file"):
        runner.fork(run.run_id, session_id="s", node="a")
    file.unlink()
    with pytest.raises(NodeError, match=r"'cat.png' is no longer in the store; attach it again"):
        runner.fork(run.run_id, session_id="s", node="a")


def test_an_attachment_is_a_private_file_and_no_link_is_followed(tmp_path: Path) -> None:
    runner = Runner(
        Graph(name="g", nodes={"a": Member()}),
        store=TinyDBStore(tmp_path / "store"),
        model=ScriptedModel("seen"),
    )
    for _ in range(2):
        run = runner.run("look", session_id="s", attachments=[CAT, PNG])
    [file] = tmp_path.rglob("*.attached")  # once, by its hash
    assert file.stat().st_mode & 0o777 == 0o600
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        runner.fork(run.run_id, session_id="s", node="a")
    with pytest.raises(StoreError):
        runner.run("look", session_id="s", attachments=[CAT])
    store = TinyDBStore(tmp_path / "store")
    with pytest.raises(StoreError, match="is no sha256"):
        asyncio.run(store.put_attachment(SessionKey(None, "s"), "../x", b"x"))


class Stubborn(Disk):
    """A disk that removes no attachment."""

    def remove(self, path: Named) -> None:
        if str(path).endswith(".attached"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        super().remove(path)


def test_an_attachment_that_cannot_be_deleted_is_an_error(tmp_path: Path) -> None:
    store = TinyDBStore(tmp_path, disk=Stubborn())
    runner = Runner(Graph(name="g", nodes={"a": Member()}), store=store, model=ScriptedModel("s"))
    run = runner.run("look", session_id="s", attachments=[CAT])
    with pytest.raises(StoreError, match="permission denied"):
        runner.session("s").delete_run(run.run_id)


def test_an_agent_takes_attachments(capsys: pytest.CaptureFixture[str]) -> None:
    model = ScriptedModel("seen")
    agent = Agent(name="a", model=model)
    agent.run("look", attachments=[CAT])
    assert [*agent.stream("look", attachments=[CAT])]
    agent.print_response("look", attachments=[CAT])
    assert [attached(each) for each in model.requests] == [["cat.png"]] * 3
    assert "seen" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{% system %}{% attach input.attachments %}{% endsystem %}", "inside {% system %}"),
        ("{% user %}a{% enduser %}{% attach input.attachments %}", "outside of every message"),
        ("{% attach input.attachment %}", "'attachment'.*did you mean 'attachments'"),
        ("{% atach input.attachments %}", "did you mean 'attach'"),
        ("{% image %}", "{% attach input.attachments %}"),
    ],
)
def test_a_wrong_attach_tag_is_found_at_load(tmp_path: Path, template: str, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        remembering(tmp_path, template)


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{{ input.message }}\n{% attach input.attachments %}\n", ["cat.png"]),
        ("{% for x in input.attachments %}{% attach x %}{% endfor %}look", ["cat.png"]),
    ],
)
def test_a_template_without_role_tags_attaches_to_its_one_message(
    tmp_path: Path, template: str, names: list[str]
) -> None:
    rendering = remembering(tmp_path, template).render("look", attachments=["cat.png"])
    [message] = rendering["a"].messages
    assert message.content == "look"
    assert [part.name for part in message.parts] == names
    assert (
        "".join(
            message.content[span.start : span.end]
            for span in rendering["a"].prompts[0].came_from[0]
        )
        == "look"
    )


def test_data_cannot_be_made_an_attachment(tmp_path: Path) -> None:
    graph = remembering(
        tmp_path,
        "{% user %}{% if session.state.forged %}{% attach session.state.forged %}{% endif %}"
        "{% enduser %}",
    )
    runner = Runner(graph, model=ScriptedModel("seen"))
    forged: JSON = [{"name": "x", "media_type": "image/png", "sha256": CAT.part.sha256}]
    with pytest.raises(NodeError, match="is not an attachment"):
        runner.run("look", state={"forged": forged})
