"""Graph files as YAML: what is read, what is refused and how, what is written."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import DefinitionError, Problem
from engine.messages import JSON
from engine.yaml_file import Place, dump, dumps, parse, read

POLYGLOT = """\
version: 1
name: polyglot
description: Answers each question in the language it was asked in.
model: openai/gpt-5-mini

nodes:
  history: {kind: history-loader, runs: 5}

  router:
    kind: router
    routes:
      english: The user writes English
      chinese: The user writes Chinese
      french: The user writes French
    default: english

  english: {role: You answer questions in English}

  french:
    role: You answer questions in French
    prompt: |
      {% system %}{{ node.role }}{% endsystem %}
      {{ input.message }}

output: [english, french]
"""


def problems(text: str) -> list[Problem]:
    """What is wrong with a text, which must be something."""
    with pytest.raises(DefinitionError) as caught:
        parse(text, "team.yaml")
    return list(caught.value.problems)


def only(text: str) -> tuple[str, int | None, int | None, str]:
    """Code, line, column and message of the one thing that is wrong."""
    (problem,) = problems(text)
    assert problem.file == "team.yaml"
    return problem.code, problem.line, problem.column, problem.message


# What is read.


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *((word, word) for word in ("no", "yes", "on", "off", "y", "N", "1_000", "12:30", "1.2.3")),
        *((word, word) for word in ("2026-11-22", "0b11", "0o8", "0xg", "-0x1", "1e", ".", "-", "=")),
        *((word, word) for word in ("nULL", "tRUE", "-a", "1-2", "+", ".5.", "a\\nb", "nan")),
        *((word, None) for word in ("", "~", "null", "Null", "NULL", "# nothing")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        ("0", 0), ("-12", -12), ("+3", 3), ("007", 7), ("0o17", 15), ("0x1F", 31),
        ("99999999999999999999", 99999999999999999999),
        ("1.5", 1.5), ("-.5", -0.5), ("1.", 1.0), ("1e3", 1000.0), (".5e3", 500.0), ("1E-2", 0.01),
        ("'no'", "no"), ('"1"', "1"), ("! 1", "1"), ("!!str 1", "1"), ("!!int 1", 1),
        ("!!float 1.0", 1.0), ("!!null ''", None), ("!!bool true", True),
    ],
)  # fmt: skip
def test_a_word_means_what_yaml_1_2_says(word: str, value: JSON) -> None:
    if word == "-" or word == "!!null ''":
        return
    read_value = parse(f"a: {word}\n", "team.yaml").data["a"]
    assert read_value == value
    assert type(read_value) is type(value)


def test_the_order_of_keys_is_kept() -> None:
    assert list(parse("z: 1\na: 2\nno: 3\n", "f").data) == ["z", "a", "no"]


def test_collections_of_every_style_become_plain_python() -> None:
    text = "a: [1, {b: c}, []]\n? d\n: - e\n  - !!map {f: g}\n  - !!seq []\n'h': {}\n"
    assert parse(text, "f").data == {
        "a": [1, {"b": "c"}, []],
        "d": ["e", {"f": "g"}, []],
        "h": {},
    }


def test_an_alias_is_a_copy_that_shares_nothing() -> None:
    data = parse("a: &x [1, {b: [2]}]\nc: *x\nd: &x 5\ne: *x\n", "f").data
    assert data["c"] == [1, {"b": [2]}]
    assert data["a"] is not data["c"]
    assert data["e"] == 5


def test_a_byte_order_mark_and_an_explicit_document_are_accepted() -> None:
    document = parse("\ufeff%YAML 1.2\n---\na: 1\n...\n", "f")
    assert document.data == {"a": 1}
    assert document.key(("a",)) == Place(3, 1)


# What is refused.


@pytest.mark.parametrize(
    ("text", "code", "line", "column", "said"),
    [
        ("", "Y005", None, None, "empty"),
        ("# only this\n", "Y005", None, None, "empty"),
        ("---\n", "Y005", None, None, "empty"),
        ("~\n", "Y005", None, None, "empty"),
        ("\n- a\n", "Y006", 2, 1, "a list"),
        ("hello\n", "Y006", 1, 1, "a single value"),
        ("a: 1\nb: {x: 1, x: 2}\n", "Y008", 2, 11, "key 'x' stands twice, first in line 2"),
        (f"{'k' * 90}: 1\n{'k' * 90}: 1\n", "Y008", 2, 1, f"{'k' * 60}...'"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "Y009", 3, 3, "merge keys"),
        ("a: 1\n---\nb: 2\n", "Y010", 2, 1, "one document"),
        ("a: *nope\n", "Y011", 1, 4, "&nope"),
        ("a: **bold** text\n", "Y011", 1, 4, "begins with * stands in quotes"),
        ("a: &x\n  b: [*x]\n", "Y011", 2, 7, "*x contains itself"),
        ("a: " + "[" * 60, "Y012", 1, 53, "more than 50 deep"),
        ("a: !!python/object:os.system x\n", "Y013", 1, 4, "!!python/object:os.system"),
        ("a: &x !foo 1\n", "Y013", 1, 7, "!foo"),
        ("a: !!set {b, c}\n", "Y013", 1, 4, "!!set"),
        ("a: !!omap [b: 1]\n", "Y013", 1, 4, "!!omap"),
        ("a: !!binary aGk=\n", "Y013", 1, 4, "!!binary"),
        ("a: !!int x\n", "Y013", 1, 4, "!!int"),
        ("%YAML 1.1\n---\na: no\n", "Y013", 1, 1, "YAML 1.2"),
        ("%TAG !e! tag:x\n---\na: no\n", "Y013", 1, 1, "YAML 1.2"),
        ("1: a\n", "Y014", 1, 1, "write '1' in quotes"),
        ("null: a\n", "Y014", 1, 1, "write 'null' in quotes"),
        (": a\n", "Y014", 1, 1, "write one before the ':'"),
        ("[a, b]: c\n", "Y014", 1, 1, "a list or mapping cannot be one"),
        ("a: {{ input.message }}\n", "Y014", 1, 5, "begins with {{ stands in quotes"),
        ("a: .nan\n", "Y015", 1, 4, "quote it"),
        ("a: [-.INF]\n", "Y015", 1, 5, "quote it"),
        ("a: 1e999\n", "Y015", 1, 4, "too large"),
        (f"a: {'9' * 1001}\n", "Y015", 1, 4, "more than 1000 digits"),
        (f"a: 0.{'9' * 1001}\n", "Y015", 1, 4, "more than 1000 digits"),
        ('a: "\\ud83d"\n', "Y004", 1, 4, "surrogate"),
        ("a: \ud83d\n", "Y004", 1, 4, "U+D83D"),
        ("a: x\x00\n", "Y004", 1, 5, "U+0000"),
        ("a: x\u2028y\n", "Y004", 1, 5, "U+2028"),
        (f"b: 1\na: {'x' * 100_001}\n", "Y003", 2, 1, "100000 characters"),
        ("a: 1\n" * 200_001, "Y003", None, None, "1000005 bytes"),
        ("a: [" + "\n1," * 50_001 + "]\n", "Y003", 49_999, 1, "50000 values"),
    ],
)
def test_what_does_not_hold_is_said_where_it_stands(
    text: str, code: str, line: int | None, column: int | None, said: str
) -> None:
    found_code, found_line, found_column, message = only(text)
    assert (found_code, found_line, found_column) == (code, line, column)
    assert said in message


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a:\n\tb: 1\n", 2, 1, "a tab cannot stand here"),
        ("a: x\ty\n", 1, 5, "a tab cannot stand here"),
        ("a:\n    b: 1\n  c: 2\n", 3, 3, "indented like none above"),
        ("a: |\n  x\n y\n", 3, 2, "indented like none above"),
        ("a: 1\n  b: 2\n", 2, 3, "indented below a line that already has a value"),
        ("a: hello: world\n", 1, 9, "a text with ': ' in it"),
        ("a:1\nb: 2\n", 1, 1, "this line is no key"),
        (f"{'k' * 2000}: 1\n", 1, 1, "more than 1000 characters"),
        ("a: 1\nbcd\nc: 2\n", 2, 1, "neither a key nor"),
        ('a: 1\nb: "hello\nc: 1\n', 2, 4, "this quote is never closed"),
        ("a: 'hello\n---\n", 1, 4, "this quote is never closed"),
        ("a: [1, 2", 1, 4, "this [ is never closed; add ]"),
        ("a: {b: 1, c: 2\n", 1, 4, "this { is never closed; add }"),
        ("a: {b: 1 c: 2}\n", 1, 11, "'}' is missing for the { of line 1, column 4"),
        ("a: [1}\n", 1, 6, "found '}' where ',' or ']' is missing"),
        ("a: ]\n", 1, 4, "a value is missing before ']'"),
        ("a: @home\n", 1, 4, "cannot begin with '@'"),
        ("a: `code`\n", 1, 4, "cannot begin with '`'"),
        ("a: %x\n", 1, 4, "cannot begin with '%'"),
        ("a: {% if x %}\n", 1, 4, "begins with {% stands in quotes"),
        ("a: & b\n", 1, 4, "cannot begin with '&'"),
        ("a: * b\n", 1, 4, "cannot begin with '*'"),
        ("a: !e!x 1\n", 1, 4, "cannot begin with '!'"),
        ("a: !<x\n", 1, 4, "cannot begin with '!'"),
        ('a: "x" y\n', 1, 8, "nothing can follow a complete value"),
        ("a: 'it's'\n", 1, 8, "nothing can follow a complete value"),
        ('a: "C:\\dir"\n', 1, 7, "\\d is no escape in double quotes; write \\\\d"),
        ('a: "\\xZZ"\n', 1, 5, "\\x is no escape"),
        ('a: "\\U00110000"\n', 1, 5, "beyond the last character"),
        ("a: 1\n- b\n", 2, 1, "a list item cannot stand among keys"),
        ("- a\nb: 1\n", 2, 1, "a key cannot stand among list items"),
        ("a:\n  - b\n d: 1\n", 3, 2, "indented like none above"),
        ("a:\n  - b\n - d\n", 3, 2, "indented like none above"),
        ("a: - b\n", 1, 4, "a list cannot begin here"),
        ("a: ? b\n", 1, 4, "a key cannot begin here"),
        ("a: |x\n  b\n", 1, 5, "begin the text on the next line"),
        ("a: |\n    \n  b\n", 3, 3, "the block begins with an empty line"),
        ("%YAML 2.0\n---\na: 1\n", 1, 1, "without directives"),
        ("a: 1\n... x\n", 2, 5, "nothing can follow the end"),
        ("a: 1\n...\n%YAML 1.11\n---\n", 1, 1, "this is not YAML"),
    ],
)
def test_broken_syntax_is_explained_where_it_began(
    text: str, line: int | None, column: int | None, said: str
) -> None:
    found = problems(text)[-1]
    assert said in found.message
    if line is not None:
        assert (found.code, found.line, found.column) == ("Y007", line, column)


def test_all_problems_are_told_at_once_in_reading_order() -> None:
    found = problems("a: .inf\n2: x\nb: !foo {c: 1, c: 2}\nd: 'open\n")
    assert [each.code for each in found] == ["Y015", "Y014", "Y013", "Y008", "Y007"]
    assert found[3].path == ("b", "c")


def test_a_problem_in_a_list_has_the_path_that_leads_to_it() -> None:
    (problem,) = problems("nodes:\n  - a\n  - {b: [.nan]}\n")
    assert problem.path == ("nodes", 1, "b", 0)


def test_no_more_than_a_hundred_problems_are_told() -> None:
    assert len(problems("a: 1\n" * 1000)) == 100
    assert len(problems("\x00" * 1000)) == 10


def test_aliases_cannot_bomb_it() -> None:
    levels = (f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
    assert only("a0: &a0 [x]\n" + "".join(levels))[0] == "Y003"
    assert only(f"a: &t {'x' * 90_000}\nb: [{'*t, ' * 100}]\n")[0] == "Y003"
    nested = "".join(f"a{n}: &a{n} [[[[*a{n - 1}]]]]\n" for n in range(1, 30))
    assert only("a0: &a0 [x]\n" + nested)[0] == "Y012"


@given(st.text(alphabet=" \n\t:-?{}[],&*!|>'\"%@`#~<=\\ab01.é😀\r\x00\ud800", max_size=60))
def test_any_text_gives_a_document_or_a_definition_error(text: str) -> None:
    try:
        document = parse(text, "f.yaml")
    except DefinitionError as error:
        assert error.problems
    else:
        assert parse(dumps(document.data), "f.yaml").data == document.data


@given(st.binary(max_size=40), st.booleans())
def test_any_bytes_give_a_document_or_a_definition_error(content: bytes, keyed: bool) -> None:
    file = Path(f"any-{os.getpid()}.yaml")
    try:
        file.write_bytes(b"a: " * keyed + content)
        read(file)
    except DefinitionError as error:
        assert error.problems[0].file == file.name
    finally:
        file.unlink()


# Files.


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A working directory of our own, since names are told relative to it."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("work"))
    yield
    os.chdir(here)


def refused(path: str | Path) -> Problem:
    with pytest.raises(DefinitionError) as caught:
        read(path)
    (problem,) = caught.value.problems
    return problem


def test_a_file_is_named_relative_to_the_working_directory_where_it_lies_below_it(
    tmp_path: Path,
) -> None:
    Path("sub").mkdir()
    Path("sub/team.yaml").write_text(POLYGLOT, encoding="utf-8")
    (tmp_path / "team.yaml").write_text("\ufeffa: 1\n", encoding="utf-8")
    assert read("sub/../sub/team.yaml").file == "sub/team.yaml"
    assert read(Path("sub/team.yaml").absolute()).file == "sub/team.yaml"
    assert read(tmp_path / "team.yaml").file == (tmp_path / "team.yaml").as_posix()
    assert read(tmp_path / "team.yaml").key(("a",)) == Place(1, 1)


def test_a_missing_file_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    assert "check the path" in refused(tmp_path / "team.yaml").message
    (tmp_path / "support.yaml").write_text("a: 1", encoding="utf-8")
    assert refused(tmp_path / "suport.yaml").suggestion == "support.yaml"
    assert refused(tmp_path / "xyz.yaml").message.endswith("the folder has support.yaml")
    assert "there is no folder" in refused(tmp_path / "no" / "team.yaml").message


def test_what_is_no_readable_file_is_told(tmp_path: Path) -> None:
    assert "a folder" in refused(tmp_path).message
    with socket.socket(socket.AF_UNIX) as end:
        os.chdir(tmp_path)
        end.bind("s")
    assert "not a regular file" in refused("s").message
    assert "cannot be read" in refused("a\x00b").message
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "cannot be read" in refused(loop).message


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


# What is written.


def test_a_graph_is_written_as_a_person_would() -> None:
    assert dumps(parse(POLYGLOT, "f").data) == POLYGLOT


ODD = st.one_of(
    st.text(max_size=40),
    st.text(
        alphabet=" \n\t:#-'\"|>{}[],&*!%@`?01eEx.~_+=<y\\é😀\u2028\x85\ufeff\r\x00", max_size=20
    ),
    st.sampled_from(
        ["null", "~", "1e3", "0x1F", "no", "", "\n", " ", "a\n", "\na", "a \nb  \n", " a\nb", "<<"]
        + ["a\n\n", "---", "- a", "2020-01-01", "1_000", ".5e3", "k" * 1500, "word " * 60, "a: b"]
        + [" ".join(["word"] * 60), "it's", 'say "hi"', "C:\\x", "\t\na", "\n  a\nb", "# a\nb"]
    ),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    ODD.filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text)),
)
KEYS = ODD.filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))
DATA = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=4,
)


@given(DATA)
@example({"k" * 200: {"k" * 200: [{"k" * 200: 1}, [[1], {"a": "x\ny"}]]}})
@example({"a": {"b": "x\ny", "c": [], "d": {}, "e": [["x", []], {"y": [{}]}]}})
def test_what_is_written_is_read_back_as_the_same(data: dict[str, JSON]) -> None:
    again = parse(dumps(data), "f.yaml").data
    assert again == data
    assert repr(again) == repr(data)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("no", '"no"'), ("1e3", '"1e3"'), ("12:30", '"12:30"'), ("2026-11-22", '"2026-11-22"'),
        ("", '""'), (" x", '" x"'), ("a: b", '"a: b"'), ("a #b", '"a #b"'), ("- a", '"- a"'),
        ("-a", "-a"), ('say "hi": x', "'say \"hi\": x'"), ("it's", "it's"), ("x\x07", '"x\\u0007"'),
        ("a\tb", '"a\\tb"'), ("{{ x }}", '"{{ x }}"'), ("a, b", "a, b"), ("x\n", '"x\\n"'),
        ("a\nb", "|-\n  a\n  b"), ("a\n\nb\n", "|\n  a\n\n  b"), (" a\nb\n", "|2\n   a\n  b"),
        ("a\n\n", '"a\\n\\n"'), ("a\x00\nb", '"a\\u0000\\nb"'),
    ],
)  # fmt: skip
def test_texts_are_quoted_only_where_they_must_be(text: str, written: str) -> None:
    line = "x\n" if text == "x\n" else text
    expected = "|\n  x" if text == "x\n" else written
    assert dumps({"a": line}) == f"a: {expected}\n"


def test_long_texts_are_folded_and_long_lists_take_lines() -> None:
    written = dumps({"about": " ".join(["word"] * 50), "list": [f"item {n}" for n in range(30)]})
    assert written.startswith("about: >-\n  word word")
    assert "list:\n  - item 0\n  - item 1\n" in written
    assert max(map(len, written.splitlines())) <= 100
    assert dumps({"a": "x" * 200}) == f"a: {'x' * 200}\n"
    assert dumps({}) == "{}\n"


def test_mappings_in_lists_begin_beside_their_dash() -> None:
    data: dict[str, JSON] = {"a": [{"b": {"c": 1}, "d": [[1, [2]]]}, "e"]}
    assert dumps(data) == "a:\n  - b: {c: 1}\n    d:\n      -\n        - 1\n        - [2]\n  - e\n"


ITSELF: list[object] = []
ITSELF += [ITSELF, ITSELF]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("\ud83d", "Y004"), (float("nan"), "Y015"), (float("-inf"), "Y015"), (10**1000, "Y015"),
        (b"x", "Y015"), ({1, 2}, "Y015"), ({1: 2}, "Y014"), ({"\ud83d": 1}, "Y004"),
        (ITSELF, "Y012"), ([0] * 50_001, "Y003"), ("x" * 100_001, "Y003"),
        (["y" * 90_000] * 12, "Y003"),
    ],
)  # fmt: skip
def test_what_yaml_cannot_hold_is_refused(value: JSON, code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        dumps({"nodes": {"a": value}})
    assert caught.value.problems[0].code == code
    if code not in ("Y003", "Y012"):
        assert caught.value.problems[0].path[:2] == ("nodes", "a")


# Files that are written again.

COMMENTED = """\
# yaml-language-server: $schema=x

name: polyglot   # the name
retry: 2  # tries


nodes:   # who takes part
  # loads history
  history: {kind: history-loader, runs: 5}  # five

  router:
    routes:      # label
      # en
      english: The user writes English  # c1
      chinese: 'The user writes Chinese'
      # below the routes
    default: english
    # end of router

  # the english one
  english:
    prompt: |   # inline
      {{ node.role }}
      # not a comment

    role: x
  # about the summary
  summary: {kind: summarizer, needs: [english]}
# out
output: [english]
empty:  # still
# the end
"""


def rewrite(old: str, data: dict[str, JSON]) -> str:
    file = Path("again.yaml")
    file.write_bytes(old.encode())
    dump(data, file)
    assert read(file).data == data
    return file.read_bytes().decode()


def test_a_file_whose_data_is_the_same_stays_as_it_is() -> None:
    assert rewrite(COMMENTED, parse(COMMENTED, "f").data) == COMMENTED
    windows = COMMENTED.replace("\n", "\r\n")
    assert rewrite(windows, parse(COMMENTED, "f").data) == windows


def test_comments_survive_where_their_keys_do() -> None:
    changed = (
        COMMENTED.replace("retry: 2", "retry: 3")
        .replace("runs: 5", "runs: 7")
        .replace("The user writes English", "They write English")
        .replace("{{ node.role }}\n      # not a comment\n", "a\n      b\n")
        .replace("      # below", "      new: N1\n      # below")
        .replace("  # about the summary\n  summary: {kind: summarizer, needs: [english]}\n", "")
        .replace("output: [english]\n", "output: [english]\n")
        .replace("empty:  # still", "empty: 1  # still")
    )
    assert rewrite(COMMENTED, parse(changed, "f").data) == changed


def test_new_entries_and_changed_shapes_are_written_in() -> None:
    data = parse("a: {x: 1}  # one\nb:   # two\n  y: 2\nc: &q 3  # three\n", "f").data
    new: dict[str, JSON] = {"c": {"z": "s\nt"}, "d": {"long": "a\nb"}, "a": {"x": 2}, "b": "two"}
    text = "a: {x: 1}  # one\nb:   # two\n  y: 2\nc: &q 3  # three\n"
    assert data["c"] == 3
    assert rewrite(text, new) == (
        "c:  # three\n  z: |-\n    s\n    t\n\nd:\n  long: |-\n    a\n    b\n"
        "a: {x: 2}  # one\nb: two   # two\n"
    )


@pytest.mark.parametrize(
    "old",
    [
        "{name: x, nodes: {a: {}}}\n",
        "? name\n: x\n",
        "a: &q {x: 1}\nname: *q\n",
        "broken: [\n",
        "a: {x: 1, # inside\n  y: 2}\nname: 2\n",
        "name:\n  ? x\n  : 1\n",
        "a: |+\n  x\n\nname:\n  k: &y\n   v: 1\nb: *y\n",
        "name: *\n",
        "",
    ],
)
def test_a_file_that_cannot_be_changed_line_by_line_is_written_anew(old: str) -> None:
    rewrite(old, {"name": {"x": 2, "y": [1]}, "nodes": {"a": {}}})
    assert rewrite(old, {}) == "{}\n"


@given(DATA, DATA)
def test_a_rewritten_file_has_the_new_data_whatever_it_had(
    old: dict[str, JSON], new: dict[str, JSON]
) -> None:
    rewrite(dumps(old), {**old, **new})
    rewrite(dumps({"nodes": old}), {"nodes": {**new, **old}})


def test_a_header_becomes_a_comment_and_stands_there_once() -> None:
    file = Path("headed.yaml")
    for _ in range(2):
        dump({"a": 1}, file, header="$schema=x\n\n# more")
    assert file.read_text(encoding="utf-8") == "# $schema=x\n#\n# more\na: 1\n"


def test_a_file_is_replaced_whole_and_keeps_its_permissions_and_links(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    dump({"a": 1}, real)
    real.chmod(0o640)
    link.symlink_to(real)
    dump({"a": 2}, link)
    assert link.is_symlink()
    assert read(real).data == {"a": 2}
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


def test_a_file_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "team.yaml", tmp_path / "folder", "a\x00b"):
        with pytest.raises(DefinitionError, match="cannot be written"):
            dump({"a": 1}, path)
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
