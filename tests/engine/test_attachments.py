"""What can be attached, and what is said of the rest."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from teamgraph import Attachment, Graph, MemoryStore, Part, Runner, ScriptedModel
from teamgraph.errors import InputError
from teamgraph.nodes import Member

PNG = b"\x89PNG\r\n\x1a\n and more"
DATA_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photo.png").write_bytes(PNG)
    (tmp_path / "report.bin").write_bytes(b"%PDF-1.7")
    (tmp_path / "odd.bin").write_bytes(b"odd")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "notes.md").write_text("words")
    (tmp_path / "a folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "big.png").open("wb") as big:
        big.truncate(20_000_001)
    return tmp_path


def attach(*given: object, model: ScriptedModel | None = None) -> Runner:
    runner = Runner(
        Graph(name="g", nodes={"a": Member()}),
        store=MemoryStore(),
        model=model or ScriptedModel("seen"),
    )
    runner.run("look", attachments=[*given])  # type: ignore[list-item]  # also what is refused
    return runner


@pytest.mark.parametrize(
    ("given", "name", "media_type"),
    [
        (lambda folder: folder / "photo.png", "photo.png", "image/png"),
        (lambda folder: str(folder / "report.bin"), "report.bin", "application/pdf"),
        (lambda _: PNG, "attachment-1.png", "image/png"),
        (lambda _: bytearray(b"RIFF....WAVE"), "attachment-1.wav", "audio/wav"),
        (lambda _: DATA_URL, "attachment.png", "image/png"),
        (lambda _: "data:application/pdf,%25PDF-1", "attachment.pdf", "application/pdf"),
        (lambda _: "data:image/x-odd;base64,YQ==", "attachment", "image/x-odd"),
        (lambda _: "https://x.example/dir/b.JPG?size=1", "b.JPG", "image/jpeg"),
        (lambda _: Attachment(name="c", media_type="x/y", data=b"c"), "c", "x/y"),
        (
            lambda _: Attachment(name="d", media_type="image/png", url="http://x.example"),
            "d",
            "image/png",
        ),
        (
            lambda folder: Attachment.from_path(folder / "odd.bin", media_type="image/tiff"),
            "odd.bin",
            "image/tiff",
        ),
        (lambda _: Attachment.from_data_url(DATA_URL, name="e.png"), "e.png", "image/png"),
    ],
)
def test_a_path_bytes_a_url_or_an_attachment_can_be_attached(
    folder: Path, given: Callable[[Path], object], name: str, media_type: str
) -> None:
    model = ScriptedModel("seen")
    attach(given(folder), model=model)
    [part] = model.requests[0].messages[-1].parts
    assert (part.name, part.media_type) == (name, media_type)
    assert part.url or len(model.requests[0].attachments[part.sha256]) == part.size > 0


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (lambda folder: folder / "phto.png", "there is no file .*did you mean 'photo.png'"),
        (lambda _: "/no/such/folder/at all", "there is no file .*give the path of a file"),
        (lambda folder: folder / "a folder.png", "is a folder; attach the files in it"),
        (lambda folder: folder / "pipe.png", "is no file"),
        (lambda folder: folder / "empty.png", "is empty"),
        (lambda _: b"", "is empty"),
        (lambda folder: folder / "big.png", "20,000,001 bytes, and one may have 20,000,000"),
        (lambda folder: folder / "odd.bin", "media type is unknown"),
        (lambda folder: folder / "notes.md", "is text.*put it into the message"),
        (lambda folder: folder / "photo.png" / "x.png", "cannot be attached: Not a directory"),
        (lambda _: "a\0b.png", "cannot be attached: embedded null"),
        (lambda _: b"odd", "do not say what they are; give Attachment"),
        (lambda _: "https://x.example/b.jpgg", "did you mean .jpg"),
        (lambda _: "ftp://x.example/b.png", "no http or https URL"),
        (lambda _: "http://[", r"'http://\[' is no http or https URL"),
        (lambda _: Attachment(name="a.png", url="http://a\u2100b/"), "no http or https URL"),
        (lambda _: Attachment(name="a.png", url=5), "no http or https URL"),  # type: ignore[arg-type]  # the mistake
        (lambda _: "https://ann:secret@x.example/b.png", "has a password"),
        (lambda _: "https://x.example/b.mp3", "audio cannot be passed on as a URL"),
        (lambda _: "data:image/png;base64,%%%", "not valid base64"),
        (lambda _: "data:nothing", "no data URL"),
        (lambda _: "data:image/png," + "x" * 60_000_001, "60,000,001 bytes"),
        (lambda _: 5, "attachment 1 is a int; give a path"),
        (lambda _: Attachment(name="a.png"), "give its data or its url"),
        (lambda _: Attachment(name="a.png", data=b"x", url="https://x.example/"), "one of them"),
        (lambda _: Attachment(name="", data=b"x"), "the name of an attachment is ''"),
        (lambda _: Attachment(name="a\nb.png", data=b"x"), "cannot be printed"),
        (lambda _: Attachment(name="a", media_type="image", data=b"x"), "did you mean 'image/"),
        (lambda _: Attachment(name="a", media_type="?", data=b"x"), "write it as in 'image/png'"),
        (lambda _: Attachment(name="a", media_type="text/csv", data=b"x"), "is text"),
    ],
)
def test_what_cannot_be_attached_is_refused_with_a_way_on(
    folder: Path, given: Callable[[Path], object], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        attach(given(folder))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("photo.png", "attachments is a str; give a list"),
        (5, "attachments is a int; give a list"),
        ([PNG] * 51, "51 attachments are too many"),
        ([Attachment(name="a.pdf", data=bytes(19_000_000))] * 3, "57,000,000 bytes together"),
    ],
)
def test_attachments_are_a_list_with_a_limit(given: object, text: str) -> None:
    runner = Runner(Graph(name="g", nodes={"a": Member()}), model=ScriptedModel("seen"))
    with pytest.raises(InputError, match=text):
        runner.run("look", attachments=given)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("photo.png", "attachments is a str; give a list of names"),
        ([5], "attachments has a int; give names"),
        (["odd.odd"], "media type is unknown"),
    ],
)
def test_a_dry_run_says_what_is_no_name(given: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        Graph(name="g", nodes={"a": Member()}).render(attachments=given)  # type: ignore[arg-type]


def test_a_dry_run_reads_no_file() -> None:
    part = Part(name="d.png", media_type="image/png")
    given = ["dir/a.png", "https://x.example/b.pdf", Attachment(name="c.png", data=PNG), part]
    graph = Graph(name="g", nodes={"a": Member()})
    rendering = graph.render(attachments=given)  # type: ignore[arg-type]  # an Attachment will do
    names = [each.name for each in rendering["a"].messages[-1].parts]
    assert names == ["a.png", "b.pdf", "c.png", "d.png"]
