"""Words of one text found in another, however they are written there."""

from __future__ import annotations

import json
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teamgraph.engine.stores.quoting import (
    QuotedSpan,
    find_beginnings,
    has_ellipsis,
    quote_text,
    split,
)

ODD = 'a </tag> of "é" <b> and\n  two lines > of it\\n'


def own(text: str, quoted: str) -> str:
    """What is left of a text without what it quotes."""
    found = find_beginnings([quoted], truncated=has_ellipsis(text))
    beginnings = [beginning for beginning, _ in found]
    pieces = list(split(text, quoted, beginnings))
    whole = (
        quote_text(piece.parts, quoted) if isinstance(piece, QuotedSpan) else piece
        for piece in pieces
    )
    assert "".join(whole) == text
    return "".join("*" if isinstance(piece, QuotedSpan) else piece for piece in pieces)


@pytest.mark.parametrize(
    ("said", "sent", "left"),
    [
        ("the secret", "user: the secret\nassistant: yes", "user: *\nassistant: yes"),
        ("hi", "user: hi\nthis is his", "user: *\nthis is his"),
        ("his", "this\\nhis", "this\\n*"),
        ("(a+b)*", "they said (a+b)* twice: (a+b)*", "they said * twice: *"),
        ("long " * 20, f"<t>{('long ' * 20)[:70]}…[cut]</t>", "<t>*…[cut]</t>"),
        ("a secret that is mine", "it was: a secret that…", "it was: *…"),
        ("a secret that is mine", "a secret that is hers", "a secret that is hers"),
        ("\nfirst line", "> \nfirst line", "> *"),
        ("secret", "no word of it", "no word of it"),
    ],
)
def test_they_are_found_whole_or_cut_where_they_stand_alone(
    said: str, sent: str, left: str
) -> None:
    assert own(sent, said) == left


@pytest.mark.parametrize(
    "write",
    [
        str,
        lambda text: text.replace("</tag", "&lt;/tag"),
        lambda text: text.replace("\n", "\n> "),
        lambda text: textwrap.indent(text, "    "),
        lambda text: json.dumps({"said": text}),
        lambda text: json.dumps([json.dumps({"said": text}, ensure_ascii=False)]),
        lambda text: json.dumps([json.dumps({"said": text})], ensure_ascii=False),
    ],
)
def test_they_are_found_through_every_filter(write: object) -> None:
    left = own(f"before {write(ODD)} after", ODD)  # type: ignore[operator]
    assert "*" in left
    assert not any(word in left for word in ("and", "two", "é"))


@given(st.text(min_size=1, max_size=80), st.text(max_size=20))
def test_a_text_is_always_put_together_again(said: str, around: str) -> None:
    for sent in (f"{around}{said}{around}", json.dumps(said), around):
        own(sent, said)


def test_a_text_full_of_marks_is_found() -> None:
    assert own("said: <<<<<<<&lt;tag> it", "<<<<<<<<tag> it") == "said: *"
