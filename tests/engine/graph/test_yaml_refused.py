"""Graph files that do not hold: what is said, and where."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teamgraph.engine.graph.yaml.reader import parse_yaml
from teamgraph.engine.graph.yaml.writer import to_yaml
from teamgraph.errors import DefinitionError, Problem


def problems(text: str) -> list[Problem]:
    """What is wrong with a text, which must be something."""
    with pytest.raises(DefinitionError) as caught:
        parse_yaml(text, "team.yaml")
    return list(caught.value.problems)


def only(text: str) -> tuple[str, int | None, int | None, str]:
    """Code, line, column and message of the one thing that is wrong."""
    (problem,) = problems(text)
    assert problem.file == "team.yaml"
    return problem.code, problem.line, problem.column, problem.message


@pytest.mark.parametrize(
    ("text", "code", "line", "column", "said"),
    [
        ("", "Y005", 1, 1, "empty"),
        ("# only this\n", "Y005", 1, 1, "empty"),
        ("---\n", "Y005", 1, 1, "empty"),
        ("~\n", "Y005", 1, 1, "empty"),
        ("\n- a\n", "Y006", 2, 1, "a list"),
        ("hello\n", "Y006", 1, 1, "a single value"),
        ("a: 1\nb: {x: 1, x: 2}\n", "Y008", 2, 11, "key 'x' is a duplicate, first in line 2"),
        (f"{'k' * 90}: 1\n{'k' * 90}: 1\n", "Y008", 2, 1, f"{'k' * 60}...'"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "Y009", 3, 3, "merge keys"),
        ("a: 1\n---\nb: 2\n", "Y010", 2, 1, "one document"),
        ("a: *nope\n", "Y011", 1, 4, "&nope"),
        ("a: **bold** text\n", "Y011", 1, 4, "quote a text that begins with *"),
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
        ("a: {{ input.message }}\n", "Y014", 1, 5, "quote a text that begins with {{"),
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
        ("a:\n\tb: 1\n", 2, 1, "a tab is not allowed here"),
        ("a: x\ty\n", 1, 5, "a tab is not allowed here"),
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
        ("a: {% if x %}\n", 1, 4, "quote a text that begins with {%"),
        ("a: & b\n", 1, 4, "cannot begin with '&'"),
        ("a: * b\n", 1, 4, "cannot begin with '*'"),
        ("a: !e!x 1\n", 1, 4, "cannot begin with '!'"),
        ("a: !<x\n", 1, 4, "cannot begin with '!'"),
        ('a: "x" y\n', 1, 8, "nothing can follow a complete value"),
        ("a: 'it's'\n", 1, 8, "nothing can follow a complete value"),
        ('a: "C:\\dir"\n', 1, 7, "\\d is no escape in double quotes; write \\\\d"),
        ('a: "\\xZZ"\n', 1, 5, "\\x is no escape"),
        ('a: "\\U00110000"\n', 1, 5, "beyond the last character"),
        ("a: 1\n- b\n", 2, 1, "a list item is not allowed among keys"),
        ("- a\nb: 1\n", 2, 1, "a key is not allowed among list items"),
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
    with suppress(DefinitionError):
        document = parse_yaml(text, "f.yaml")
        assert parse_yaml(to_yaml(document.data), "f.yaml").data == document.data
