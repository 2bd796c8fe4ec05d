# ruff: noqa: E501  a construct is one line
"""Constructs of prompts of promptflow, prompty and other Jinja: accepted, or refused with advice.

After the forms in published prompts, no text of them. "" is accepted without a word; what is warned
of loads, and is sent as it is.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from teamgraph import Graph
from teamgraph.errors import DefinitionError

GRAPH = """\
name: brought
state: {question: ""}
nodes:
  history: {kind: history-loader}
  facts: {returns: [str]}
  a:
    prompt: asked.jinja
    params: {tone: calm, goods: [{name: bell, price: 9.5}], documents: [one, two], chat_history: []}
output: [a, facts]
"""
ROLE_TAG = "the tags of messages are {% system %}, {% user %} and {% assistant %}"
CONSTRUCTS = (
    # promptflow
    (
        "# system:\nBe kind.\n",
        "'# system:' is sent as text, it begins no message; put the message into {% system %}...{% endsystem %}",
    ),
    (
        "system:\nBe kind.\n",
        "'system:' is sent as text, it begins no message; put the message into {% system %}",
    ),
    ("# user:\n{{ input.message }}\n", "put the message into {% user %}...{% enduser %}"),
    ("# assistant:\nHello\n", "put the message into {% assistant %}...{% endassistant %}"),
    ("# tool:\n## name:\nadd\n", "calls of tools come with {% messages %}"),
    ("{{question}}", "did you mean 'input.message'?"),
    ("{{chat_history}}", "did you mean 'node.params.chat_history'?"),
    (
        "{% for item in chat_history %}{{ item.inputs.question }}{% endfor %}",
        "unknown name 'chat_history'",
    ),
    ("{% for item in history.runs %}{{ item.input }}: {{ item.answer }}{% endfor %}", ""),
    ("{{ documents }}", "did you mean 'node.params.documents'?"),
    ("![image]({{image}})", "unknown name 'image'"),
    ("{# Prompt is a jinja2 template that generates the prompt for the LLM #}Hello", ""),
    ("{{ input.message | default('nothing') }}", ""),
    # prompty
    (
        "---\nname: x\nmodel:\n  api: chat\n---\n{{ input.message }}",
        "this front matter is sent as text; move the model and its parameters to the graph",
    ),
    (
        "{{firstName}} {{context}}",
        "a value of yours is a param of the node (`params: {firstName: ...}`",
    ),
    ("{% for item in node.params.documents %}- {{item}}\n{% endfor %}", ""),
    ("{{ inputs.question }}", "did you mean 'input'?"),
    # Haystack
    ('{% message role="user" %}Hello{% endmessage %}', ROLE_TAG),
    (
        "{% for doc in documents %}{{ doc.content }}{% endfor %}",
        "did you mean 'node.params.documents'?",
    ),
    ("{{ query }}", "did you mean 'input.message'?"),
    # LangChain, Semantic Kernel, Langfuse and others that are no Jinja
    ("Answer: {question}", "{question} is sent as it is; write {{ input.message }}"),
    ('Use JSON: {{"answer": 1}}', "braces are doubled for Python's format; JSON has single ones"),
    ("{#\nsystem:\n#}{{ input.message }}", ""),
    ("{{$input}}", "this is a template of Go"),
    ("{{#if node.task}}yes{{/if}}", "this is Handlebars; write {% if ... %}...{% endif %}"),
    ("{{#each items}}- {{this}}{{/each}}", "write {% for x in list %}...{% endfor %}"),
    ("{{> header}}", "write {% include"),
    ("{{{ raw }}}", "three braces are Handlebars or Mustache; write two"),
    ("{{^empty}}x{{/empty}}", "this is Mustache; write {% if not ... %}...{% endif %}"),
    ("{{ .Input }}", "this is a template of Go; write the whole name: {{ input.message }}"),
    # chat templates of models
    ("{{ bos_token }}{{ input.message }}", "unknown name 'bos_token'"),
    (
        "{% for message in messages %}{{ message['content'] }}{% endfor %}",
        "did you mean 'history.messages'?",
    ),
    ("{{ raise_exception('no') }}", "the graph is checked before it runs; remove it"),
    ("{{ strftime_now('%d %b %Y') }}", "write now.strftime"),
    ("{% generation %}x{% endgeneration %}", "it marks what a model is trained on; remove it"),
    (
        "{% for m in history.messages %}{% if loop.first %}{% continue %}{% endif %}{% endfor %}",
        "choose the items before: {% for x in list if ... %}",
    ),
    # plain Jinja
    (
        "{% set ns = namespace(total=0) %}{% for g in node.params.goods %}{% set ns.total = ns.total + g.price %}{% endfor %}{{ ns.total }}",
        "",
    ),
    (
        "{% macro card(g) %}{{ g.name | title }}{% endmacro %}{% for g in node.params.goods %}{{ card(g) }}{% endfor %}",
        "",
    ),
    ("{%- if node.params.tone == 'calm' -%}Be calm.{%- else -%}Be loud.{%- endif -%}", ""),
    ("{{ node.params.goods | map(attribute='name') | join(', ') }}", ""),
    ("{% raw %}{{ as it is }}{% endraw %}", ""),
    ("{{ now.strftime('%Y-%m-%d') }}", ""),
    ("{{ loop_var if loop_var is defined else 'none' }}", "unknown name 'loop_var'"),
    ("{% do node.params.goods.append(1) %}", "a template changes no values; use {% set %}"),
    ("{% trans %}Hello{% endtrans %}", "prompts are not translated"),
    ("{{ facts.output | join('; ') }}", ""),
    ("{% include 'builtin/member.jinja' %}", ""),
    ("{{ input.message | tojson }} {{ input.message | truncate(40) }}", ""),
)


def test_there_are_forty() -> None:
    assert len({construct for construct, _ in CONSTRUCTS}) >= 40


@pytest.mark.parametrize(("construct", "advice"), CONSTRUCTS)
def test_a_construct_is_accepted_or_told_what_to_write(
    tmp_path: Path, construct: str, advice: str
) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "asked.jinja").write_text(construct, encoding="utf-8")
    (tmp_path / "team.yaml").write_text(GRAPH, encoding="utf-8")
    try:
        found = Graph.load(tmp_path / "team.yaml").warnings
    except DefinitionError as error:
        found = error.problems
    told = [
        str(problem) for problem in found if problem.code[0] == "P" and problem.severity != "note"
    ]
    assert any(advice in each for each in told) if advice else not told, told
