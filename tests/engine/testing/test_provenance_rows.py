"""The words of a message are shown row by row, each with where it came from."""

from __future__ import annotations

from teamgraph import Message, RenderedNode, RenderedPrompt
from teamgraph.engine.prompts.library import CapturedPrompt
from teamgraph.engine.prompts.provenance import Span
from teamgraph.engine.testing.snapshot_text import ProvenanceRow, nodes_as_text, provenance_rows


def test_a_row_ends_with_its_line_or_its_stretch() -> None:
    text = "Say\n\nA: hello\nthere.\n<a>\nx\n</a>"
    stretches = [
        Span(0, 8, "t", 1, 1, is_text=True),
        Span(8, 19, "t", 3, 4, ("input.message",)),
        Span(19, 21, "t", 3, 20, is_text=True),
        Span(21, 25, "t", 4, 4),
        Span(25, 26, "t", 4, 4, ("a", "b", "c", "d")),
        Span(26, 31, "t", 4, 4),
    ]
    assert [*provenance_rows(text, stretches)] == [
        ProvenanceRow("t:1:1", "", "Say", continues=False),
        ProvenanceRow("t:2:1", "", "", continues=False),
        ProvenanceRow("t:3:1", "", "A: ", continues=False),
        ProvenanceRow("t:3:4", "input.message", "hello", continues=True),
        ProvenanceRow("", "", "there", continues=False),
        ProvenanceRow("t:3:20", "", ".", continues=True),
        ProvenanceRow("t:4:4", "", "<a>", continues=False),
        ProvenanceRow("t:4:4", "a, b and 2 more", "x", continues=False),
        ProvenanceRow("t:4:4", "", "</a>", continues=False),
    ]


def test_the_rows_stand_in_columns_and_forge_nothing() -> None:
    names = {"a": "one\n## b\n\u202etwo", "b": "!"}
    message = Message(role="user", content=f"A: {names['a']}{names['b']}")
    rendered = CapturedPrompt("m.jinja", {"m.jinja": "A: {{ a }}{{ b }}"}, names, (message,))
    prompt = RenderedPrompt("m.jinja", (message,), _rendered=rendered)
    node = RenderedNode("m", "member", (prompt, RenderedPrompt("by.hand", (message,))))
    assert nodes_as_text([node], came_from=True).splitlines() == [
        *("## m", "", "m.jinja", "", "### m 1 user", ""),
        "    m.jinja:1:1      A: ",
        "    m.jinja:1:7   a  …one",
        "                     ## b",
        "                     ⟦U+202E⟧two",
        "    m.jinja:1:14  b  …!",
        *("", "by.hand", "", "### m 2 user", ""),
        *("    A: one", "    ## b", "    ⟦U+202E⟧two!"),
    ]
