"""Graph files as they are written, and written again over what a person put there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from teamgraph import JSON, Graph
from teamgraph.engine.graph.yaml.reader import parse_yaml, read_yaml
from teamgraph.engine.graph.yaml.writer import to_yaml, write_yaml
from teamgraph.errors import DefinitionError
from teamgraph.nodes import Member

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


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A working directory of our own, since names are told relative to it."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("work"))
    yield
    os.chdir(here)


def test_a_graph_is_written_as_a_person_would() -> None:
    assert to_yaml(parse_yaml(POLYGLOT, "f").data) == POLYGLOT


ODD = st.one_of(
    st.text(max_size=40),
    st.text(
        alphabet=" \n\t:#-'\"|>{}[],&*!%@`?01eEx.~_+=<y\\é😀\u2028\x85\ufeff\r\x00", max_size=20
    ),
    st.sampled_from(
        [
            *("null", "~", "1e3", "0x1F", "no", "", "\n", " ", "a\n", "\na", "a \nb  \n", " a\nb"),
            *("<<", "a\n\n", "---", "- a", "2020-01-01", "1_000", ".5e3", "k" * 1500, "a: b"),
            *("word " * 60, " ".join(["word"] * 60), "it's", 'say "hi"', "C:\\x", "\t\na"),
            *("\n  a\nb", "# a\nb"),
        ]
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
@example({"k" * 110: {}, "l" * 110: [], "m" * 99: [{"n" * 99: {"o": 1}}, 10**150]})
@example({"a": {"b": "x\ny", "c": [], "d": {}, "e": [["x", []], {"y": [{}]}]}})
def test_what_is_written_is_read_back_as_the_same(data: dict[str, JSON]) -> None:
    again = parse_yaml(to_yaml(data), "f.yaml").data
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
    assert to_yaml({"a": line}) == f"a: {expected}\n"


def test_long_texts_are_folded_and_long_lists_take_lines() -> None:
    written = to_yaml({"about": " ".join(["word"] * 50), "list": [f"item {n}" for n in range(30)]})
    assert written.startswith("about: >-\n  word word")
    assert "list:\n  - item 0\n  - item 1\n" in written
    assert max(map(len, written.splitlines())) <= 100
    assert to_yaml({"a": "x" * 200}) == f"a: {'x' * 200}\n"
    assert to_yaml({}) == "{}\n"


def test_mappings_in_lists_begin_beside_their_dash() -> None:
    data: dict[str, JSON] = {"a": [{"b": {"c": 1}, "d": [[1, [2]]]}, "e"]}
    assert (
        to_yaml(data) == "a:\n  - b: {c: 1}\n    d:\n      -\n        - 1\n        - [2]\n  - e\n"
    )


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
        to_yaml({"nodes": {"a": value}})
    assert caught.value.problems[0].code == code
    if code not in ("Y003", "Y012"):
        assert caught.value.problems[0].path[:2] == ("nodes", "a")


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
    write_yaml(data, file)
    assert read_yaml(file).data == data
    return file.read_bytes().decode()


def test_a_file_whose_data_is_the_same_stays_as_it_is() -> None:
    assert rewrite(COMMENTED, parse_yaml(COMMENTED, "f").data) == COMMENTED
    windows = COMMENTED.replace("\n", "\r\n")
    assert rewrite(windows, parse_yaml(COMMENTED, "f").data) == windows


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
    assert rewrite(COMMENTED, parse_yaml(changed, "f").data) == changed


def test_new_entries_and_changed_shapes_are_written_in() -> None:
    data = parse_yaml("a: {x: 1}  # one\nb:   # two\n  y: 2\nc: &q 3  # three\n", "f").data
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
        "a: &q {x: 2, y: [1]}\nname: *q\nnodes: {a: {}}\n",
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
    rewrite(to_yaml(old), {**old, **new})
    rewrite(to_yaml({"nodes": old}), {"nodes": {**new, **old}})


GRAPH: dict[str, JSON] = {
    "version": 1,
    "name": "n",
    "description": "d",
    "model": {"id": "m", "temperature": 0.5, "max_tokens": 3},
    "state": {"z": 1, "a": {"y": 1, "b": 2}},
    "budget": {"tokens": 5, "calls": 6},
    "output": "b",
}
NODE: dict[str, JSON] = {
    "role": "r",
    "params": {"z": 1, "a": 2},
    "description": "d",
    "returns": {"z": "str", "a": "int"},
    "model": {"id": "m", "temperature": 0.5},
}


@st.composite
def shuffled_graphs(draw: st.DrawFn) -> dict[str, JSON]:
    """A graph whose keys, and those of its nodes and models, are in any order."""

    def shuffled(mapping: dict[str, JSON]) -> dict[str, JSON]:
        return {
            key: shuffled(value) if key == "model" and isinstance(value, dict) else value
            for key, value in draw(st.permutations(list(mapping.items())))
        }

    nodes: dict[str, JSON] = {node_id: shuffled(NODE) for node_id in draw(st.permutations("ab"))}
    inner = shuffled({**GRAPH, "nodes": dict(nodes)})
    nodes["c"] = shuffled({"kind": "graph", "graph": inner, "role": "x"})
    return shuffled({**GRAPH, "nodes": nodes})


@settings(max_examples=15)
@given(shuffled_graphs())
def test_a_graph_keeps_the_order_of_the_keys_of_its_file(data: dict[str, JSON]) -> None:
    file, other = Path("shuffled.yaml"), Path("other.yaml")
    file.write_text(to_yaml(data), encoding="utf-8")
    graph = Graph.load(file)
    assert to_yaml(graph.written()) == to_yaml(data)
    other.unlink(missing_ok=True)
    graph.dump(other)
    assert to_yaml(read_yaml(other).data) == to_yaml(data)
    changed = Graph.load(file).model_copy(update={"max_parallel": 3})
    Graph(**{name: getattr(changed, name) for name in type(changed).model_fields}).dump(file)
    written = read_yaml(file).data
    assert [key for key in written if key != "max_parallel"] == list(data)
    assert list(written["nodes"]) == list(data["nodes"])


def test_a_header_becomes_a_comment_and_stands_there_once() -> None:
    file = Path("headed.yaml")
    for _ in range(2):
        write_yaml({"a": 1}, file, header="$schema=x\n\n# more")
    assert file.read_text(encoding="utf-8") == "# $schema=x\n#\n# more\na: 1\n"


def test_a_file_is_replaced_whole_and_keeps_its_permissions_and_links(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    write_yaml({"a": 1}, real)
    real.chmod(0o640)
    link.symlink_to(real)
    write_yaml({"a": 2}, link)
    assert link.is_symlink()
    assert read_yaml(real).data == {"a": 2}
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


def test_a_file_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "team.yaml", tmp_path / "folder", "a\x00b"):
        with pytest.raises(DefinitionError, match="cannot be written"):
            write_yaml({"a": 1}, path)
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_node_and_settings_that_a_file_has_not_are_added(tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    Graph(name="g", nodes={"a": Member()}).dump(file)
    nodes = {"b": Member(role="x"), "a": Member()}
    Graph(name="g", model={"id": "m", "temperature": 0}, nodes=nodes, output="a").dump(file)
    written = read_yaml(file).data
    assert written["model"] == {"id": "m", "temperature": 0}
    assert list(written["nodes"]) == ["b", "a"]
