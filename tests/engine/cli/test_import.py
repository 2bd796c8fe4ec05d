"""Flows of promptflow as graphs: the shapes that people have published, in files of our own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from teamgraph import Graph

from .conftest import Project

QUESTION = "${inputs.question}"


def _node(kind: str, name: str, path: str, inputs: dict[str, Any]) -> dict[str, Any]:
    source = {"type": "code", "path": path}
    return {"name": name, "type": kind, "source": source, "inputs": inputs}


def call(name: str, path: str, **inputs: object) -> dict[str, Any]:
    return _node("python", name, path, inputs)


def ask(name: str, path: str, **inputs: object) -> dict[str, Any]:
    return _node("llm", name, path, inputs)


def text(name: str, path: str, **inputs: object) -> dict[str, Any]:
    return _node("prompt", name, path, inputs)


CHAT = """\
description: Talks about bread
inputs:
  chat_history: {type: list, is_chat_history: true, default: []}
  question: {type: string, is_chat_input: true}
outputs:
  answer: {type: string, reference: "${chat.output}", is_chat_output: true}
nodes:
- name: chat
  type: llm
  source: {type: code, path: chat.jinja2}
  inputs:
    deployment_name: small
    max_tokens: "256"
    temperature: ""
    top_p: ${inputs.question}
    stop: "\\n\\n"
    tools: []
    chat_history: ${inputs.chat_history}
    question: ${inputs.question}
  connection: mine
"""
CHAT_TEMPLATE = """\
# System:
You are a baker.
{% if question %}Be brief.{% endif %}

{% for item in chat_history %}
# user:
{{ item.inputs.question }}
# assistant:
{{ item["outputs"]["answer"] }}
{% endfor %}

# user:
{{question}}
"""
IS_LONG, MERGED = "${is_long.output}", "${merge.output}"
CONDITIONAL = {
    "inputs": {"question": {"type": "string"}, "strict": {"type": "bool", "default": True}},
    "outputs": {"result": {"reference": MERGED}},
    "additional_includes": ["shared/is_long.py"],
    "nodes": [
        call("is_long", "is_long.py", text=QUESTION, limit=3, strict="${inputs.strict}"),
        {
            **ask("LLM-result", "answer.jinja2", model="big", question=QUESTION),
            "activate": {"when": IS_LONG, "is": True},
        },
        {
            **call("class", "tools/my-default.py", question=QUESTION),
            "activate": {"when": IS_LONG, "is": "False"},
        },
        call("merge", "merge.py", llm="${LLM-result.output}", default="${class.output}"),
        {**call("2nd", "../gone.py", of=MERGED), "aggregation": True},
    ],
}
FOUND, HISTORY = "${find.output}", "${inputs.chat_history}"
RETRIEVAL = {
    "inputs": {"chat_history": {"type": "list"}, "query": {"is_chat_input": True}},
    "outputs": {
        "topics": {"reference": "${sort.output.topics}"},
        "output": {"reference": "${answer.output}", "is_chat_output": True},
        "echo": {"reference": "${inputs.query}"},
    },
    "nodes": [
        {
            **call("find", "", query="${inputs.query}", before=HISTORY),
            "source": {"type": "package", "tool": "some.index.search"},
        },
        call("sort", "sort.py", docs=FOUND, about="${rules.output}"),
        text("input", "input.jinja2", docs=FOUND, topics="${sort.output.topics}"),
        text("rules", "rules.jinja2", query="${inputs.query}"),
        ask(
            "answer",
            "answer.jinja2",
            temperature=0,
            context="${input.output}",
            rules="${rules.output}",
            other="${nothing.output}",
            number=None,
            chat_history=HISTORY,
        ),
    ],
}
VARIANTS = {
    "inputs": {"url": {"type": "string", "default": "https://a.example"}},
    "outputs": {"category": {"reference": "${parse.output.category}"}},
    "nodes": [
        call("fetch", "fetch.py", url="${inputs.url}"),
        {"name": "summarize", "use_variants": True},
        ask("classify", "gone.jinja2", deployment_name="small", text="${summarize.output}"),
        call("parse", "parse.py", text="${classify.output}"),
    ],
    "node_variants": {
        "summarize": {
            "default_variant_id": "variant_0",
            "variants": {
                "variant_0": {"node": ask("", "long.jinja2", text="${fetch.output}")},
                "variant_1": {"node": ask("", "short.jinja2", text="${fetch.output}")},
            },
        }
    },
}
PROMPTY = """\
---
name: Ask
description: Asks
model:
  api: chat
  configuration: {type: azure_openai, azure_deployment: small}
  parameters: {temperature: 0.2}
inputs:
  question: {type: string}
---
system:
You help.

user:
{{question}}
"""
TOOL = "from promptflow.core import tool\n\n@tool\ndef "


def imported(project: Project, *words: str, code: int = 0) -> list[str]:
    """Import; returns what was not taken."""
    done = project.teamgraph("import", *words, "--json")
    assert done.exit_code == code, done.stderr
    notes: list[str] = json.loads(done.stdout)["notes"]
    return notes


def test_a_chat_has_its_history_and_tags_of_roles(project: Project) -> None:
    project.write("chat/flow.dag.yaml", CHAT)
    project.write("chat/chat.jinja2", CHAT_TEMPLATE)
    assert imported(project, "chat/flow.dag.yaml") == [
        "chat: 'tools' was not taken; declare `tools` of the node (docs/tools.md)",
        "chat: the connection 'mine' was not taken; set the provider's key",
        "chat: 'top_p' comes from a node or an input, and is left out",
    ]
    graph = Graph.load("chat-graph/chat.yaml")
    assert graph.written()["nodes"]["chat"]["model"] == {  # type: ignore[call-overload, index]
        "id": "azure/small",
        "max_tokens": 256,
        "stop": "\n\n",
    }
    history = [("one", "1")]
    rendering = graph.render("two", history=history)
    assert [(each.role, each.content) for each in rendering["chat"].messages] == [
        ("system", "You are a baker.\nBe brief."),
        ("user", "one"),
        ("assistant", "1"),
        ("user", "two"),
    ]


def test_conditions_choose_what_runs(project: Project) -> None:
    project.write("f/flow.dag.yaml", json.dumps(CONDITIONAL))
    project.write("f/answer.jinja2", "Answer: {{ question }}\n")
    body = "is_long(text, limit, strict) -> bool:\n    return len(text) > limit\n"
    project.write("f/shared/is_long.py", f"{TOOL}{body}")
    project.write("f/tools/my-default.py", f"{TOOL}default(question):\n    return 'nothing'\n")
    body = "@tool()\ndef merge(llm, default):\n    return llm or default\n"
    project.write("f/merge.py", f"from promptflow import tool, log\ndef a(): pass\n{body}")
    assert imported(project, "f") == [
        "merge.py needs more of promptflow; install it, or mend it",
        "2nd: it aggregates several runs, and is called in each run here",
        "2nd: ../gone.py was not taken; write f_nodes.node_2nd",
        "inputs: strict: in the state here; set with --state KEY=JSON",
    ]
    merge = project.folder / "f-graph" / "merge.py"
    merge.write_text(merge.read_text().partition("\n")[2])
    graph = project.folder / "f-graph" / "f.yaml"
    kept = [line for line in graph.read_text().splitlines() if "node_2nd" not in line]
    graph.write_text("\n".join(kept))
    project.write(
        "run.sh", "cd f-graph; for m in yes longer; do $teamgraph run f.yaml $m --model echo; done"
    )
    done = project.shell(". ./run.sh")
    assert done.stdout == "nothing\necho: Answer: longer\n", done.stderr


def test_tools_and_prompts_of_a_retrieval_have_their_places(project: Project) -> None:
    project.write("rag/flow.dag.yaml", json.dumps(RETRIEVAL))
    project.write("rag/sort.py", f"{TOOL}sort(docs, about) -> dict:\n    return docs\n")
    project.write("rag/input.jinja2", "Docs: {{ docs }} on {{ topics }}\n")
    project.write("rag/rules.jinja2", "system:\nAbout {{ query }}.\n")
    answer = "{% set a = 1 %}\nsystem:\n{{ context }}\n{% for t in chat_history %}\nfunction:\n"
    answer += "{{ t.outputs.output }}\n{% endfor %}\nuser:\n{{ rules }}{{ other }}\n"
    project.write("rag/answer.jinja2", answer)
    assert imported(project, "rag") == [
        "find: it gets an empty list for the history; read it in a template",
        "find: some.index.search was not taken; write rag_nodes.find",
        "sort: the text of rules is only in templates; it gets an empty one",
        "answer: no model is named, so temperature: left out",
        "rules: it renders roles, which are left out: its text is a part of a prompt",
        "answer: it reads 'nothing', and the flow has no such node",
        "answer: messages of the role function or tool are sent as text",
        "outputs: the answer is all of sort, not .topics alone",
        "outputs: ${inputs.query} is no output of a node here",
        "outputs: the answer is that of answer; those of sort are in run.records",
    ]
    graph = Graph.load("rag-graph/rag.yaml", allow=["rag_nodes"])
    rendering = graph.render("bread", assume={"find": "one", "sort": {"topics": "t"}})
    said = [each.content for each in rendering["answer"].messages]
    assert said == ["Docs: one on t", "About bread."]


def test_a_block_over_several_roles_is_left_to_the_user(project: Project) -> None:
    project.write("chat/flow.dag.yaml", CHAT)
    project.write("chat/chat.jinja2", "system:\nA {% if question %} b\nuser:\nc {% endif %}\n")
    notes = imported(project, "chat")
    assert notes[-1] == "chat: a role is inside a block of several messages; write its tags by hand"
    assert "chat: a role" in project.teamgraph("import", "chat", "-o", "again").stderr


def test_each_variant_is_a_graph(project: Project) -> None:
    project.write("web/flow.dag.yaml", json.dumps(VARIANTS))
    for name in ("fetch", "parse"):
        project.write(f"web/{name}.py", f"{TOOL}{name}(text='', url=''):\n    return text\n")
    for name in ("long", "short"):
        project.write(f"web/{name}.jinja2", f"{name}: {{{{ text }}}}\n")
    assert imported(project, "web") == [
        "classify: the template 'gone.jinja2' cannot be read; write it",
        "outputs: the answer is all of parse, not .category alone",
    ]
    for name, begins in (("web", "long: "), ("web.variant_1", "short: ")):
        graph = Graph.load(f"web-graph/{name}.yaml", allow=["web_nodes"])
        assert graph.render("hi")["summarize"].messages[0].content.startswith(begins)


def test_a_prompty_file_is_a_graph_of_one_node(project: Project) -> None:
    project.write("ask.prompty", PROMPTY)
    assert imported(project, "ask.prompty") == []
    graph = Graph.load("ask-graph/ask.yaml")
    assert [each.role for each in graph.render("hi")["answer"].messages] == ["system", "user"]
    project.write("ask.prompty", PROMPTY.replace("{{question}}", "{{ question"))
    assert imported(project, "ask.prompty", "-o", "again", code=1) == []
    done = project.teamgraph("import", "ask.prompty")
    assert done.exit_code == 2
    assert "already exists; nothing was written" in done.stderr


@pytest.mark.parametrize(
    ("name", "written", "says"),
    [
        ("gone.yaml", None, "there is no such file; name a flow.dag.yaml"),
        ("flow.dag.yaml", "inputs: {}\n", "the flow has no nodes"),
        ("flow.dag.yaml", "nodes: [\n", "flow.dag.yaml:"),
    ],
)
def test_what_is_no_flow_is_refused(
    project: Project, name: str, written: str | None, says: str
) -> None:
    if written is not None:
        project.write(name, written)
    done = project.teamgraph("import", name)
    assert done.exit_code == 2
    assert says in done.stderr
