"""The timeline, differences and the page of a run; and that no text of anybody becomes HTML."""

from __future__ import annotations

import asyncio
import re
from itertools import product

import pytest
from msgspec.structs import replace

from teamgraph import (
    Exchange,
    Fault,
    MemoryStore,
    Message,
    Record,
    Run,
    Runner,
    SessionKey,
    ToolCall,
    Turn,
    Usage,
)
from teamgraph.engine.view.difference import calls_difference_html, difference_html
from teamgraph.engine.view.messages import messages_html
from teamgraph.engine.view.origins import CallOrigins, MessageOrigins, Origin, Piece
from teamgraph.engine.view.report import MOST_NODES, node_html, run_page
from teamgraph.engine.view.timeline import timeline_html, times_of
from tests.teams import desk, desk_model

from .elements import Elements

PARTS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</pre></span></td></style></title><script>",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus='alert(1)",
    "<svg><a xlink:href='javascript:alert(1)'>",
    "[x](javascript:alert(1)) ![y](http://a.example/b.png)",
    "data:text/html;base64,PHNjcmlwdD4=",
    "<!-- <?php ]]> <![CDATA[",
    "&lt;script&gt;&#x3c;&amp",
    "\u202egnp.exe\u2066\u061c",
    "\x1b]0;title\x07\x1b[31m\x00\x9b",
    "\ud800 lone \udfff",
    "{{ 7 * 7 }}{% raw %}",
    "\r\n\n\n<p>\t",
    "@import url(http://a.example);}</style>",
    "%3Cscript%3E %(x)s {0} {x}",
)
HOSTILE = [f"{left}{right}" for left, right in product(PARTS, ("", "x", *PARTS))]


def hostile_run(text: str) -> Run:
    """A run that has this text wherever a text of anybody can stand."""
    call = ToolCall(id=text, name=text, arguments=text)
    sent = (Message(role="user", content=text, name=text), Message(role="user", content="b"))
    exchange = Exchange(text, text, text, sent, text, tool_calls=(call,), started=1.0, ended=2.0)
    record = Record(
        text,
        "failed",
        kind=text,
        because=text,
        output=text,
        choices=(text,),
        task=text,
        exchanges=(exchange, exchange),
        state={text: text},
        session_state={text: text},
        error=text,
        faults=(Fault(1, text, text, text, ended=1.0),),
        started=0.5,
        ended=3.0,
    )
    turn = Turn(text, text, graph=text, status="failed", answer=text, error=text)
    return Run(SessionKey(text, text), turn, {text: record})


def pieces_of(text: str) -> str:
    """Every piece, with this text in each place."""
    origin = Origin("node", text, text, 1, 1, (text,))
    message = MessageOrigins("user", (Piece(text, origin), Piece("x", origin)))
    run = hostile_run(text)
    return "".join(
        (
            messages_html([message]),
            difference_html(f"a {text} b", f"a {text} {text} c"),
            calls_difference_html(CallOrigins(text, (message,)), CallOrigins(text, ())),
            timeline_html(run),
            asyncio.run(run_page(run, MemoryStore())).partition("<body")[2],
        )
    )


def test_no_text_of_anybody_becomes_an_element_or_an_attribute() -> None:
    assert len(HOSTILE) >= 300
    plain = {*Elements(pieces_of("plain")).shape()}
    for text in HOSTILE:
        html = pieces_of(text)
        html.encode()  # no lone surrogate is left
        assert {*Elements(html).shape()} - plain == set(), text
        assert "\x1b" not in html
        assert "\u202e" not in html


def test_the_times_of_a_node_are_those_of_its_model_and_its_tools() -> None:
    call = ToolCall(id="1", name="t", arguments="{}")
    first = Exchange("a", "h", "m", (), "", started=11.0, ended=12.0, tool_calls=(call,))
    second = Exchange("a", "h", "m", (), "ok", started=14.0, ended=16.0)
    third = Exchange("a", "h", "m", (), "ok", started=16.0, ended=17.0)
    records = {
        "a": Record("a", "done", started=10.5, ended=17.5, exchanges=(first, second, third)),
        "b": Record("b", "done", started=18.0, ended=20.0),
        "b/c": Record("b/c", "done", started=18.5, ended=19.0),
        "d": Record("d", "skipped", because="nobody needs it"),
    }
    run = Run(SessionKey(None, "s"), Turn("r", "hi", started=10.0, ended=20.5), records)
    times = times_of(run)
    assert [*times] == ["a", "b", "b/c"]
    assert (times["a"].start, times["a"].took, times["a"].queued) == (0.5, 7.0, 0.5)
    assert (times["a"].model, times["a"].tools) == (4.0, 2.0)
    assert [each.stored for each in times.values()] == [0.5, 0.5, None]
    assert (times["b"].queued, times["b/c"].queued) == (0.0, 0.0)
    text = Elements(timeline_html(run)).text
    assert "skipped: nobody needs it" in text
    assert "7.000 s" in text


def test_what_the_store_took_is_unknown_where_another_node_ended_before_the_next_began() -> None:
    records = {
        "a": Record("a", "done", started=1.0, ended=2.0),
        "b": Record("b", "done", started=1.0, ended=3.0),
        "c": Record("c", "done", started=3.25, ended=4.0, queued=0.75),
    }
    times = times_of(Run(SessionKey(None, "s"), Turn("r", "hi", started=1.0), records))
    assert [each.stored for each in times.values()] == [None, 0.25, None]
    assert [each.queued for each in times.values()] == [0.0, 0.0, 0.75]


def test_the_attempts_of_a_node_are_shown_with_their_faults() -> None:
    used = Usage(7, 8, calls=1, cost=0.25)
    exchanges = tuple(
        Exchange("a", "h", "m", (), text, used, attempt=number)
        for number, text in ((2, "odd"), (3, "good"))
    )
    faults = (
        Fault(1, "busy", "ModelError", "m", wait=1.5, ended=2.0),
        Fault(2, "the answer does not fit", "AnswerError", "m", ended=4.0, usage=used),
    )
    done = Record(
        "a", "done", attempt=3, exchanges=exchanges, faults=faults, started=1.0, ended=5.0
    )
    calls = [CallOrigins("a", ())] * 2
    rows = cells_of(node_html(done, calls))
    assert rows == [
        ["1", "ModelError: busy", "", "", "1.500 s"],
        ["2", "AnswerError: the answer does not fit", "7 in, 8 out", "$0.2500", ""],
        ["3", "done", "7 in, 8 out", "$0.2500", ""],
    ]
    gave_up = replace(done, status="failed", error="it", attempt=2)
    assert [row[0] for row in cells_of(node_html(gave_up, calls))] == ["1", "2"]
    run = Run(SessionKey(None, "s"), Turn("r", "hi", started=1.0), {"a": done})
    html = timeline_html(run)
    assert "done (attempt 3)" in Elements(html).text
    assert html.count("bar-fault") == 2
    stored_before = replace(done, faults=())
    assert cells_of(node_html(stored_before, calls)) == []
    assert "attempts" in Elements(node_html(stored_before, calls)).text


def cells_of(html: str) -> list[list[str]]:
    """The texts of each row of the table of attempts."""
    table = html.partition('<table class="attempts">')[2].partition("</table>")[0]
    rows = table.partition("<tbody>")[2].split("<tr>")[1:]
    return [
        [re.sub("<[^>]*>", "", cell) for cell in re.split("</t[hd]>", row)[:-1]] for row in rows
    ]


def test_a_run_that_has_not_begun_has_a_timeline() -> None:
    run = Run(SessionKey(None, "s"), Turn("r", "hi"), {"a": Record("a", "running")})
    assert [tag for tag, _ in Elements(timeline_html(run)).elements].count("rect") == 0


def test_tokens_and_costs_are_in_the_timeline() -> None:
    used = Usage(input_tokens=12_000, output_tokens=3, calls=1, cost=0.25)
    unknown = Usage(input_tokens=1, output_tokens=2, calls=1)
    records = {
        "a": Record("a", "done", usage=used, started=1.0, ended=20.0),
        "b": Record("b", "done", usage=unknown),
    }
    text = Elements(timeline_html(Run(SessionKey(None, "s"), Turn("r", "hi"), records))).text
    assert [each for each in text if "in," in each or "$" in each] == [
        "12000 in, 3 out",
        "$0.2500",
        "1 in, 2 out",
    ]
    assert "19.0 s" in text


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("the same\n", "the same\n", "the same\n"),
        ("a red pear", "a green pear", "a -red-+green+ pear"),
        ("one\ntwo\n", "one\ntwo\nthree\n", "one\ntwo\n+three\n+"),
        ("gone", "", "-gone-"),
        ("a, b", "a; b", "a-,-+;+ b"),
        ("x\n" * 5000, "x\n" * 5000 + "y", f"-{'x,' * 5000}-+{'x,' * 5000}y+".replace(",", "\n")),
    ],
)
def test_a_difference_is_shown_by_words(before: str, after: str, marked: str) -> None:
    html = difference_html(before, after)
    for element, mark in (("del", "-"), ("ins", "+")):
        html = html.replace(f"<{element}>", mark).replace(f"</{element}>", mark)
    assert "".join(Elements(html).text) == marked


def test_messages_are_compared_by_their_roles() -> None:
    words = Origin("template")

    def call(*texts: tuple[str, str]) -> CallOrigins:
        messages = (MessageOrigins(role, (Piece(text, words),)) for role, text in texts)
        return CallOrigins("member.jinja", tuple(messages))

    before = call(("system", "be kind"), ("user", "hello"))
    after = call(("system", "be quick"), ("user", "one"), ("assistant", "two"), ("user", "hello"))
    html = calls_difference_html(before, after)
    assert "be <del>kind</del><ins>quick</ins>" in html
    assert html.count("<li") == 4
    assert calls_difference_html(None, before).count("<ins>") == 2


def test_a_page_has_all_of_a_run_and_fetches_nothing() -> None:
    store, graph = MemoryStore(), desk()
    run = Runner(graph, store=store, model=desk_model()).run("hello", session_id="s")
    html = asyncio.run(run_page(run, store, graph))
    found = Elements(html)
    assert "Bonjour mon ami" in found.text
    assert "svg" in {tag for tag, _ in found.elements}
    kept = {"script", "link", "img", "a", "iframe", "form", "object"}
    assert not kept & {tag for tag, _ in found.elements}
    addressed = {name for _, attributes in found.elements for name in attributes}
    assert not {"src", "href", "style", "onclick"} & addressed
    without = asyncio.run(run_page(run, store, nodes=["french"]))
    assert "member.jinja" in without
    assert "router.jinja" not in without


def test_a_page_shows_the_messages_of_so_many_nodes() -> None:
    records = {f"n{number}": Record(f"n{number}", "done") for number in range(MOST_NODES + 3)}
    run = Run(SessionKey(None, "s"), Turn("r", "hi"), records)
    html = asyncio.run(run_page(run, MemoryStore()))
    assert html.count("<section") == MOST_NODES
    assert "3 more nodes are not shown; name one with --node" in html


def test_the_name_of_a_node_can_be_a_link() -> None:
    run = Run(SessionKey(None, "s"), Turn("r", "hi"), {"a": Record("a", "done")})
    found = Elements(timeline_html(run, link=lambda path: f'/runs?node={path}&x="'))
    assert ("a", {"href": '/runs?node=a&x="'}) in found.elements
