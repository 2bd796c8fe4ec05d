"""Every place that a template's tree carries is exact."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import nodes

from teamgraph.engine.prompts.environment import PromptEnvironment
from teamgraph.engine.prompts.library import Prompts
from teamgraph.engine.prompts.sources import LineIndex, position_of

ENVIRONMENT = PromptEnvironment(lambda name: None)

PIECES = st.sampled_from(
    [
        "{{ NAME }}",
        "{{- NAME.NAME -}}",
        "{{\n  NAME\n  .NAME\n}}",
        "{{ NAME | join(', ') }}",
        "{{ NAME['key'] ~ NAME if NAME else NAME }}",
        "{% if NAME %}",
        "{%- if NAME is defined -%}",
        "{%+ if NAME +%}",
        "{% endif %}",
        "{%- endif +%}",
        "{# a comment NAME #}",
        "{#- NAME -#}",
        "{% raw %} {{ NAME }} {% endraw %}",
        "{%- raw -%} {{ NAME }} {%- endraw -%}",
        "{% set NAME -%}\n\n  t {{ NAME }}\n{%- endset %}",
        "{% for NAME in NAME -%}   \n {{ NAME }}{%- endfor %}",
        "{% system cache=NAME %}",
        "{% endsystem %}",
        "{% messages NAME.NAME %}",
        "text ",
        "\n",
        "\r\n",
        "\r",
        "  ",
        "\t",
        "é☃\U0001d4b3",
        "'",
        '"',
        "{{ 'a \" {{ b' }}",
        "\x85\u2028\x0c\v",
    ]
)


@st.composite
def sources(draw: st.DrawFn) -> str:
    """Templates that parse: every tag that was opened is closed."""
    text, opened, count = "", list[str](), 0
    for piece in draw(st.lists(PIECES, max_size=25)):
        if piece.startswith(("{% end", "{%- end")):
            if not opened or opened[-1] not in piece:
                continue
            opened.pop()
        elif match := re.match(r"\{%[-+ ]* ?(if|system)", piece):
            opened.append(match[1])
        first, *rest = piece.split("NAME")
        text += first
        for each in rest:
            text += (f"näme{count}" if count % 3 else f"v{count}") + each
            count += 1
    return text + "".join(f"{{% end{tag} %}}" for tag in reversed(opened))


@given(sources())
@example("a {{ x.y }} b\r\n  {%- if x.z -%}  {{ w }} {%+ endif +%}\r\n{{ q }}")
@example(
    "{% raw %}{{ no }}{% endraw %}{{ yes }}\n\n\n   {% if a %}\n  {{ b|default(c.d) }}\n{% endif %}"
)
@example("{# {{ c1 }} \n x #}{{ c2 }}\t{{ é.ñ }}{{ 'x y'.z }}")
def test_each_name_and_attribute_stands_where_its_position_says(source: str) -> None:
    lines = re.split(r"\r\n|\r|\n", source)
    tree = ENVIRONMENT.read(source, None)
    for node in tree.find_all((nodes.Name, nodes.Getattr)):
        at = position_of(node.lineno)
        rest = lines[at - 1][at.column - 1 :]
        if isinstance(node, nodes.Name):
            assert rest.startswith(node.name)
        else:
            assert rest.startswith("." + node.attr)


@given(st.text(alphabet="ab\n", max_size=40), st.data())
def test_an_offset_is_found_on_its_line(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    at = LineIndex(text).position(offset)
    assert text.split("\n")[at - 1][: at.column - 1] == text[:offset].rpartition("\n")[2]
    assert int(at) == text[:offset].count("\n") + 1


def test_a_plain_number_stands_in_the_first_column() -> None:
    assert position_of(7).column == 1


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("a {{ x ? y }}", 1, 8),
        ("ä\n  {{ x", 2, 6),
        ("ok\n{# never closed", 2, 1),
        ("ok\n  {% raw %} never closed", 2, 3),
        ("{{ x.y( }}", 1, 9),
        ("{{ x } }}", 1, 6),
        ("a\r\nb {% usr %}", 2, 6),
        ("x {% if a %}\n{% for b in c %}{% endfor %}", 1, 6),
        ("{% user %}{% if a %}{% enduser %}", 1, 24),
        ("{{ '\\N{nope}' }}", 1, 4),
    ],
)
def test_a_syntax_error_is_told_at_its_place(source: str, line: int, column: int) -> None:
    (problem,) = Prompts(inline={"a": source}).problems("a.inline")
    assert (problem.line, problem.column) == (line, column)
    assert problem.code == "P011"
    assert problem.file is None
