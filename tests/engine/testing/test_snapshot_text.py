"""A snapshot shows everything, forges nothing, and no two prompts have the same."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph import Message, RenderedNode, RenderedPrompt, Rendering, ToolCall
from teamgraph.engine.testing.snapshot_text import (
    LONGEST_SLUG,
    difference,
    escape_invisible,
    slug,
    snapshot,
)


def shown(*messages: Message, prompt: RenderedPrompt | None = None) -> str:
    made = prompt or RenderedPrompt("m.jinja", messages)
    return snapshot(Rendering("g", {"m": RenderedNode("m", "member", (made,))}), "c")


def said(content: str, role: Literal["user", "assistant"] = "user") -> Message:
    return Message(role=role, content=content)


def test_nodes_templates_messages_and_reasons_are_shown() -> None:
    nodes = {
        "history": RenderedNode("history", "history-loader"),
        "m": RenderedNode("m", "member", (RenderedPrompt("m.jinja", (said("hi\n\nthere"),)),)),
        "n": RenderedNode("n", "member", because="router chose\nm"),
    }
    assert snapshot(Rendering("g", nodes), "a case").splitlines() == [
        *("# g / a case", "", "## history", "", "history-loader, sends no prompt", ""),
        *("## m", "", "m.jinja", "", "### m 1 user", "", "    hi", "", "    there", ""),
        *("## n", "", "skipped: router chose⟦U+000A⟧m"),
    ]


def test_tools_and_the_response_format_are_shown_with_sorted_keys() -> None:
    tool = {"name": "t", "about": "é"}
    prompt = RenderedPrompt("m.jinja", (said("x"),), (tool,), {"b": 1, "a": 2})
    lines = shown(prompt=prompt).splitlines()
    assert lines[lines.index("### m tools") :] == [
        *("### m tools", "", "    [", "      {", '        "about": "é",', '        "name": "t"'),
        *("      }", "    ]", ""),
        *("### m response format", "", "    {", '      "a": 2,', '      "b": 1', "    }"),
    ]


def test_what_a_message_has_beside_its_words_is_shown() -> None:
    call = ToolCall(id="1", name="look", arguments="{}")
    text = shown(
        Message(role="assistant", content="", name='a"\n', cache=True, tool_calls=(call,)),
        Message(role="tool", content="found", tool_call_id="1"),
    )
    assert '### m 1 assistant name="a\\"\\n" cache\n\n    ⟦⟧\n' in text
    assert '### m 1 tool calls\n\n    [\n      {\n        "arguments": "{}",' in text
    assert '### m 2 tool tool_call_id="1"\n\n    found' in text


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("a\u202eb", "a⟦U+202E⟧b"),
        ("a\u200bb", "a⟦U+200B⟧b"),
        ("a\ufe01b", "a⟦U+FE01⟧b"),
        ("a\U000e0041b", "a⟦U+E0041⟧b"),
        ("a\u3164b", "a⟦U+3164⟧b"),
        ("a\rb", "a⟦U+000D⟧b"),
        ("a\u2028b", "a⟦U+2028⟧b"),
        ("a\xa0b", "a⟦U+00A0⟧b"),
        ("a\ue000b", "a⟦U+E000⟧b"),
        ("a\udc80b", "a⟦U+DC80⟧b"),
        ("a⟦b", "a⟦U+27E6⟧b"),
        ("a\tb", "a\tb"),
        ("a \t", "a⟦U+0020⟧⟦U+0009⟧"),
        ("Grüße, 你好 🙂", "Grüße, 你好 🙂"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, visible: str) -> None:
    assert f"\n    {visible}\n" in shown(said(text))


def test_line_ends_at_the_ends_are_seen() -> None:
    assert "\n    ⟦⟧\n    a\n    ⟦⟧\n" in shown(said("\na\n"))


TEXTS = st.text(alphabet=st.sampled_from("#\n⟦⟧ \taU+0\r\u200b"), max_size=12)


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS)
def test_content_forges_no_heading_and_different_content_never_looks_the_same(
    one: str, other: str
) -> None:
    text = shown(said(one), said(other, "assistant"))
    headings = re.findall(r"^#.*", text, re.MULTILINE)
    assert headings == ["# g / c", "## m", "### m 1 user", "### m 2 assistant"]
    if one != other:
        assert shown(said(one)) != shown(said(other))


def test_a_difference_names_the_node_and_the_message_of_each_hunk() -> None:
    def of(first: str, second: str) -> str:
        filling = "\n".join("abcdefgh")
        return shown(said(f"{first}\n{filling}"), said(f"{filling}\n{second}", "assistant"))

    lines = difference(of("one", "two"), of("ONE", "TWO"), "c.md").splitlines()
    assert lines[:2] == ["--- c.md (stored)", "+++ rendered now"]
    assert [line.split("@@ ")[-1] for line in lines if line.startswith("@@")] == [
        "m 1 user",
        "m 2 assistant",
    ]
    assert "-    one" in lines
    assert "+    TWO" in lines


def test_a_difference_above_all_headings_names_none() -> None:
    assert "@@ -1,1 +1,1 @@" in difference("# a", "# b", "c.md").splitlines()


def test_a_case_is_a_file_name() -> None:
    assert slug("German, with History!") == "german-with-history"
    assert slug("  ../..  ") == "case"
    assert slug("e\u0301té") == "été"
    long = slug("x" * 300)
    assert len(long) == LONGEST_SLUG + 9
    assert long != slug("x" * 301)


def test_a_name_stays_on_its_line() -> None:
    assert escape_invisible("a\n# b") == "a⟦U+000A⟧# b"
