"""Text of anybody as a page shows it."""

from __future__ import annotations

import pytest

from teamgraph.engine.view.text import shown


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("a\x1b[31m\x00\x9b", "a␛[31m␀\\u009b"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\ud800\ufeff\ufffe\uffff", "\\ud800\\ufeff\\ufffe\\uffff"),
        ("e\u0301 ✓ \U0001f600", "e\u0301 ✓ \U0001f600"),
    ],
)
def test_controls_and_what_is_no_character_become_visible(text: str, visible: str) -> None:
    assert shown(text) == visible
    shown(text).encode()
