"""Every place that a document reports stands on the very token, whatever is around it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teamgraph import JSON
from teamgraph.engine.graph.yaml.parser import FilePosition
from teamgraph.engine.graph.yaml.reader import Document, parse_yaml
from teamgraph.kinds import KeyPath

WORDS = st.text(alphabet="abcxyzäß語😀", min_size=1, max_size=5).map(lambda word: f"w{word}")
NOISE = st.sampled_from(["", "  # a: comment", "  # 😀 'quote", " # [", "   "])
GAPS = st.lists(st.sampled_from(["", "# whole line: x", "   # indented", "  "]), max_size=2)


@dataclass
class Source:
    """A document in the making: its text, and where each key and value was put."""

    text: str = ""
    keys: dict[KeyPath, tuple[FilePosition, str]] = field(default_factory=dict)
    values: dict[KeyPath, tuple[FilePosition, str]] = field(default_factory=dict)

    def here(self) -> FilePosition:
        lines = self.text.split("\n")
        return FilePosition(len(lines), len(lines[-1]) + 1)

    def put(
        self, path: KeyPath, token: str, where: dict[KeyPath, tuple[FilePosition, str]]
    ) -> None:
        where[path] = (self.here(), token)
        self.text += token


def scalar_of(draw: st.DrawFn) -> str:
    word = draw(WORDS)
    shape = draw(st.sampled_from(["{0}", "'{0} it''s'", '"{0}\\t\\u00e9\t x"', "{0} {0}", "12"]))
    return shape.format(word)


def put_flow(draw: st.DrawFn, source: Source, path: KeyPath, depth: int) -> None:
    kind = draw(st.sampled_from(["scalar", "list", "map"])) if depth else "scalar"
    if kind == "scalar":
        source.put(path, scalar_of(draw), source.values)
        return
    source.put(path, "[" if kind == "list" else "{", source.values)
    for index, key in enumerate(draw(st.lists(WORDS, max_size=3, unique=True))):
        source.text += ", " if index else draw(st.sampled_from(["", " "]))
        inner = (*path, index if kind == "list" else key)
        if kind == "list":
            source.keys[inner] = (source.here(), "")
        else:
            source.put(inner, key, source.keys)
            source.text += ": "
        put_flow(draw, source, inner, depth - 1)
    source.text += "]" if kind == "list" else "}"


def put_list(draw: st.DrawFn, source: Source, path: KeyPath, indent: int) -> None:
    for index in range(draw(st.integers(1, 3))):
        source.text += " " * indent + "-" + " " * draw(st.integers(1, 3))
        source.keys[(*path, index)] = (source.here(), "")
        if not index:
            source.values[path] = (FilePosition(source.here().line, indent + 1), "-")
        put_flow(draw, source, (*path, index), 1)
        source.text += draw(NOISE) + "\n"


def put_mapping(draw: st.DrawFn, source: Source, path: KeyPath, indent: int, depth: int) -> None:
    for index, key in enumerate(draw(st.lists(WORDS, min_size=1, max_size=4, unique=True))):
        source.text += "".join(f"{line}\n" for line in draw(GAPS))
        source.text += " " * indent
        if not index:
            source.values[path] = (source.here(), "")
        inner = (*path, key)
        quoted = draw(st.sampled_from(["{}", "'{}'", '"{}"'])).format(key)
        source.put(inner, quoted, source.keys)
        source.text += ":"
        kind = draw(st.sampled_from(["flow", "empty", "anchored", "list", "map"]))
        if kind == "empty":
            source.values[inner] = source.keys[inner]
        elif kind in ("flow", "anchored"):
            source.text += " &a0 !!str " if kind == "anchored" else " " * draw(st.integers(1, 4))
            put_flow(draw, source, inner, 2 if kind == "flow" else 0)
        source.text += draw(NOISE) + "\n"
        if kind == "list":
            put_list(draw, source, inner, indent + draw(st.integers(0, 2)))
        elif kind == "map" and depth:
            put_mapping(draw, source, inner, indent + draw(st.integers(1, 4)), depth - 1)
        elif kind == "map":
            source.values[inner] = source.keys[inner]


@st.composite
def sources(draw: st.DrawFn) -> Source:
    source = Source(text=draw(st.sampled_from(["", "---\n", "# head\n\n", "# é😀\n---\n"])))
    put_mapping(draw, source, (), 0, 2)
    return source


def at(text: str, place: FilePosition) -> str:
    """What stands in the source from a place to the end of its line."""
    return re.split(r"\r\n|\r|\n", text)[place.line - 1][place.column - 1 :]


@given(sources(), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_every_key_and_value_is_where_it_was_written(
    source: Source, newline: str, marked: bool
) -> None:
    text = source.text.replace("\n", newline)
    document = parse_yaml("\ufeff" * marked + text, "f.yaml")
    for path, (place, token) in source.keys.items():
        assert document.key(path) == place
        assert at(text, place).startswith(token)
    for path, (place, token) in source.values.items():
        assert document.value(path) == place
        assert at(text, place).startswith(token)


LINES = st.lists(
    st.text(alphabet="ab {}%:#é😀\t-'\"\\", max_size=12).map(str.rstrip), min_size=1, max_size=6
)


def shifted(document: Document, path: KeyPath) -> list[tuple[str, str]]:
    """Each character of a parsed text beside what stands at the place that is reported for it."""
    value: JSON = document.data
    for part in path:
        value = value[str(part)] if isinstance(value, dict) else None
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(str(value).split("\n"), start=1):
        for column, character in enumerate(line, start=1):
            place = document.inside(path, number, column)
            pairs.append((character, at(document.text, place)[:1]))
    return pairs


@given(
    LINES,
    st.sampled_from(["", "-", "+"]),
    st.integers(1, 6),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_character_of_a_literal_block_is_found(
    lines: list[str], chomp: str, indent: int, told: bool, newline: str
) -> None:
    pad = " " * (2 + indent)
    told = told or lines[0].startswith((" ", "\t")) or not any(lines) or not lines[0]
    sign = f"|{indent if told else ''}{chomp}"
    body = "".join(f"{pad if line else ''}{line}\n" for line in lines)
    text = f"top:\n  # é\n  text: {sign}  # what for\n{body}next: 1\n".replace("\n", newline)
    document = parse_yaml(text, "f.yaml")
    for written, found in shifted(document, ("top", "text")):
        assert written == found


@given(
    LINES,
    st.sampled_from(["'", '"', ">", ">-", "plain"]),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_word_of_a_folded_text_is_found(
    lines: list[str], style: str, tight: bool, newline: str
) -> None:
    words = [re.sub(r"[^abé😀]", "a", line) or "a" for line in lines]
    pad = "\n" if tight else "\n\n"
    body = pad.join(f"   {word} {word}" for word in words)
    opening = {"plain": "", ">": ">\n", ">-": ">-\n"}.get(style, style)
    closing = style if style in "'\"" else ""
    text = f"k: &n {opening}{body.lstrip() if closing else body}{closing}\n"
    document = parse_yaml(text.replace("\n", newline), "f.yaml")
    for written, found in shifted(document, ("k",)):
        assert written in (found, " ")


def test_places_inside_quoted_texts_count_escapes_and_doubled_quotes() -> None:
    document = parse_yaml(
        "a: 'it''s {{ x }}'\nb: \"\\u00e9\\n\\tz \\x41{{ y }}\\\n  w\"\n", "f.yaml"
    )
    assert document.inside(("a",), 1, 6) == FilePosition(1, 11)
    assert at(document.text, document.inside(("a",), 1, 6)).startswith("{{ x")
    assert at(document.text, document.inside(("b",), 2, 5)).startswith("{{ y")
    assert at(document.text, document.inside(("b",), 2, 4)).startswith("\\x41")
    assert at(document.text, document.inside(("b",), 2, 12)).startswith("w")


def test_breaks_written_as_escapes_are_told_from_folded_ones() -> None:
    document = parse_yaml('a: "x \n \n \\n\\ y\\\r\n  z"\n', "f.yaml")
    assert document.data["a"] == "x\n\n yz"
    assert at(document.text, document.inside(("a",), 3, 2)).startswith("y")
    assert at(document.text, document.inside(("a",), 3, 3)).startswith("z")


def test_an_empty_text_and_an_end_have_a_place_too() -> None:
    document = parse_yaml("a: ''\nb: |\nc: |+\n  x\n\nd: word\n", "f.yaml")
    assert document.inside(("a",), 1, 1) == FilePosition(1, 4)
    assert document.inside(("b",), 1, 1) == FilePosition(2, 4)
    assert document.inside(("c",), 2, 1) == FilePosition(5, 1)
    assert document.inside(("c",), 9, 9).line in (5, 6)
    assert document.inside(("d",), 1, 99) == FilePosition(6, 8)
    assert document.inside(("d",), 0, 0) == FilePosition(6, 4)


@pytest.mark.parametrize("path", [("a", "nope"), ("a", 7, "x"), ("a", "b", "c")])
def test_a_path_that_leads_nowhere_has_the_place_of_its_last_key(path: KeyPath) -> None:
    document = parse_yaml("x: 1\na: {b: 2}\n", "f.yaml")
    known = ("a", "b") if path[1] == "b" else ("a",)
    assert document.key(path) == document.key(known)
    assert document.value(path) == document.value(known)
    assert document.inside(path, 1, 1) == document.value(known)


def test_where_nothing_is_written_the_place_is_the_key_or_the_dash() -> None:
    document = parse_yaml("a:\n  -   # none\n  - b:  # none\n\n# end\n", "f.yaml")
    assert document.data == {"a": [None, {"b": None}]}
    assert document.key(("a", 0)) == document.value(("a", 0)) == FilePosition(2, 3)
    assert document.value(("a", 1, "b")) == FilePosition(3, 5)


def test_what_an_alias_copies_is_found_where_it_was_written() -> None:
    document = parse_yaml(
        "a: &x {k: one}\nb: *x\nc: [*x]\nt: &t |\n  hi {{ n }}\nu: *t\n", "f.yaml"
    )
    assert document.value(("b",)) == FilePosition(2, 4)
    assert document.key(("b",)) == FilePosition(2, 1)
    assert document.key(("c", 0)) == FilePosition(3, 5)
    assert document.value(("b", "k")) == document.value(("a", "k")) == FilePosition(1, 11)
    assert document.inside(("u",), 1, 4) == FilePosition(5, 6)


def test_anchors_and_tags_before_a_value_are_stepped_over() -> None:
    document = parse_yaml(
        "a: !!map &x\n  # why\n  k: !!str &y 5\n&z b: &e\nc: &f !!str\n", "f.yaml"
    )
    assert document.data == {"a": {"k": "5"}, "b": None, "c": ""}
    assert document.value(("a",)) == FilePosition(3, 3)
    assert document.value(("a", "k")) == FilePosition(3, 15)
    assert document.key(("b",)) == FilePosition(4, 4)
    assert document.value(("b",)).line == 4
