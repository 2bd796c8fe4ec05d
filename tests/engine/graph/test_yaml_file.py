"""Graph files as YAML: what words mean, and what is said about files that cannot be read."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teamgraph import JSON
from teamgraph.engine.graph.yaml.parser import FilePosition
from teamgraph.engine.graph.yaml.reader import parse_yaml, read_yaml
from teamgraph.errors import DefinitionError, Problem


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *((word, word) for word in ("no", "yes", "on", "off", "y", "N", "1_000", "12:30", "1.2.3")),
        *((word, word) for word in ("2026-11-22", "0b11", "0o8", "0xg", "-0x1", "1e", ".")),
        ("=", "="),
        *((word, word) for word in ("nULL", "tRUE", "-a", "1-2", "+", ".5.", "a\\nb", "nan")),
        *((word, None) for word in ("", "~", "null", "Null", "NULL", "# nothing")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        ("0", 0), ("-12", -12), ("+3", 3), ("007", 7), ("0o17", 15), ("0x1F", 31),
        ("99999999999999999999", 99999999999999999999),
        ("1.5", 1.5), ("-.5", -0.5), ("1.", 1.0), ("1e3", 1000.0), (".5e3", 500.0), ("1E-2", 0.01),
        ("'no'", "no"), ('"1"', "1"), ("! 1", "1"), ("!!str 1", "1"), ("!!int 1", 1),
        ("!!float 1.0", 1.0), ("!!null ~", None), ("!!bool true", True),
    ],
)  # fmt: skip
def test_a_word_means_what_yaml_1_2_says(word: str, value: JSON) -> None:
    read_value = parse_yaml(f"a: {word}\n", "team.yaml").data["a"]
    assert read_value == value
    assert type(read_value) is type(value)


def test_the_order_of_keys_is_kept() -> None:
    assert list(parse_yaml("z: 1\na: 2\nno: 3\n", "f").data) == ["z", "a", "no"]


def test_collections_of_every_style_become_plain_python() -> None:
    text = "a: [1, {b: c}, []]\n? d\n: - e\n  - !!map {f: g}\n  - !!seq []\n'h': {}\n"
    assert parse_yaml(text, "f").data == {
        "a": [1, {"b": "c"}, []],
        "d": ["e", {"f": "g"}, []],
        "h": {},
    }


def test_an_alias_is_a_copy_that_shares_nothing() -> None:
    data = parse_yaml("a: &x [1, {b: [2]}]\nc: *x\nd: &x 5\ne: *x\n", "f").data
    assert data["c"] == [1, {"b": [2]}]
    assert data["a"] is not data["c"]
    assert data["e"] == 5


def test_a_byte_order_mark_and_an_explicit_document_are_accepted() -> None:
    document = parse_yaml("\ufeff%YAML 1.2\n---\na: 1\n...\n", "f")
    assert document.data == {"a": 1}
    assert document.key(("a",)) == FilePosition(3, 1)


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A working directory of our own, since names are told relative to it."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("work"))
    yield
    os.chdir(here)


def refused(path: str | Path) -> Problem:
    with pytest.raises(DefinitionError) as caught:
        read_yaml(path)
    (problem,) = caught.value.problems
    return problem


def test_a_file_is_named_relative_to_the_working_directory_where_it_lies_below_it(
    tmp_path: Path,
) -> None:
    Path("sub").mkdir()
    Path("sub/team.yaml").write_text("a: 1\n", encoding="utf-8")
    (tmp_path / "team.yaml").write_text("\ufeffa: 1\n", encoding="utf-8")
    assert read_yaml("sub/../sub/team.yaml").file == "sub/team.yaml"
    assert read_yaml(Path("sub/team.yaml").absolute()).file == "sub/team.yaml"
    assert read_yaml(tmp_path / "team.yaml").file == (tmp_path / "team.yaml").as_posix()
    assert read_yaml(tmp_path / "team.yaml").key(("a",)) == FilePosition(1, 1)


def test_a_missing_file_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    assert "check the path" in refused(tmp_path / "team.yaml").message
    (tmp_path / "support.yaml").write_text("a: 1", encoding="utf-8")
    assert refused(tmp_path / "suport.yaml").suggestion == "support.yaml"
    assert refused(tmp_path / "xyz.yaml").message.endswith("the folder has support.yaml")
    assert "there is no folder" in refused(tmp_path / "no" / "team.yaml").message


def test_what_is_no_readable_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "a folder" in refused(tmp_path).message
    with socket.socket(socket.AF_UNIX) as end:
        monkeypatch.chdir(tmp_path)
        end.bind("s")
    assert "not a regular file" in refused("s").message
    assert "cannot be read" in refused("a\x00b").message
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "cannot be read" in refused(loop).message


def test_a_working_directory_that_is_gone_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "team.yaml").write_text("a: 1", encoding="utf-8")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert read_yaml(tmp_path / "team.yaml").file == str(tmp_path / "team.yaml")
    assert refused("team.yaml").code == "Y001"


def test_a_folder_is_told_in_one_sentence(tmp_path: Path) -> None:
    assert refused(tmp_path).message == "this is a folder; name a YAML file"


def test_what_is_not_utf_8_is_told_with_the_byte(tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    file.write_bytes("a: é\nb: ".encode() + b"\xe9\n")
    problem = refused(file)
    assert (problem.code, problem.line, problem.column) == ("Y002", 2, 4)
    assert "byte 9 (0xe9)" in problem.message
    file.write_bytes("a: 1\n".encode("utf-16"))
    assert "UTF-16" in refused(file).message


def test_a_file_of_more_than_a_megabyte_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    file.write_bytes(b"#" * 1_000_001)
    assert refused(file).code == "Y003"


@given(st.binary(max_size=40), st.booleans())
def test_any_bytes_give_a_document_or_a_definition_error(content: bytes, keyed: bool) -> None:
    file = Path(f"any-{os.getpid()}.yaml")
    file.write_bytes(b"a: " * keyed + content)
    with suppress(DefinitionError):
        assert read_yaml(file).file == file.name
    file.unlink()
