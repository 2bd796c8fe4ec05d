"""The messages of a model call as HTML."""

from __future__ import annotations

from teamgraph import ToolCall
from teamgraph.engine.view.messages import messages_html, origin_text
from teamgraph.engine.view.origins import MessageOrigins, Origin, Piece

from .elements import Elements

TURN = Origin("history", "turn 3", "member.jinja", 12, 4, ("history.runs[2].answer",))
WORDS = Origin("template", "member.jinja", "member.jinja", 1, 1)


def test_a_piece_has_the_class_of_its_kind_and_says_where_it_is_from() -> None:
    message = MessageOrigins("user", (Piece("before: ", WORDS), Piece("Bonjour", TURN)))
    found = Elements(messages_html([message]))
    spans = [attributes for tag, attributes in found.elements if "title" in attributes and tag]
    assert spans == [
        {"class": "origin origin-template", "title": "template: member.jinja:1"},
        {
            "class": "origin origin-history",
            "title": "history, turn 3: history.runs[2].answer, member.jinja:12",
        },
    ]
    assert "".join(found.text).startswith("userbefore: Bonjour")


def test_the_legend_counts_about_four_bytes_as_a_token_or_shares_out_what_was_counted() -> None:
    messages = [
        MessageOrigins("system", (Piece("x" * 30, WORDS),)),
        MessageOrigins("user", (Piece("y" * 10, TURN), Piece("z" * 20, TURN))),
    ]
    assert _rows(messages_html(messages)) == ["template", "8", "an earlier turn", "turn 3", "8"]
    assert _rows(messages_html(messages, tokens=11)) == [
        *("template", "6", "an earlier turn", "turn 3", "5"),
    ]


def _rows(html: str) -> list[str]:
    return Elements(html.partition("<tbody>")[2]).text


def test_tool_calls_and_attachments_follow_the_message() -> None:
    call = ToolCall(id="1", name="lookup", arguments='{"word": "pear"}')
    html = messages_html([MessageOrigins("assistant", (), (call,))])
    assert 'calls lookup({"word": "pear"})' in Elements(html).text


def test_an_origin_in_words() -> None:
    assert origin_text(Origin("unknown")) == "unknown"
    assert origin_text(Origin("tool", "lookup")) == "tool, lookup"
