"""Text layout, and control characters made visible."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teamgraph.engine.cli.output import indent, one_line, two_columns
from teamgraph.engine.terminal import escape_controls


@given(st.text())
def test_no_control_character_is_left_but_line_breaks_and_tabs(text: str) -> None:
    left = {letter for letter in escape_controls(text) if unicodedata.category(letter) == "Cc"}
    assert left <= {"\n", "\t"}


@given(st.text(alphabet=st.characters(whitelist_categories=("L", "N", "P", "S"))))
def test_words_stay_as_they_are(text: str) -> None:
    assert escape_controls(text) == text


@given(st.text())
def test_a_text_on_one_line_has_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\u241b[2J"),
        ("a\r\nb\rc", "a\nb\u240dc"),
        ("\x7f\x9b", "\u2421\\u009b"),
        ("\u202eabc", "\\u202eabc"),
    ],
)
def test_what_could_steer_a_terminal_is_made_visible(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


def test_facts_without_a_value_are_left_out() -> None:
    assert two_columns({"a": 1, "long": "x", "none": None, "empty": ""}) == "a     1\nlong  x"
    assert two_columns({}) == ""


def test_empty_lines_are_not_indent() -> None:
    assert indent("a\n\nb") == "  a\n\n  b"
