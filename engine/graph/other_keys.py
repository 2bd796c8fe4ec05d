"""Keys and kinds that people know from other frameworks, and what is written here instead.

The words of Agno, AutoGen, CrewAI, docker agent, Haystack, LangGraph, prompty and promptflow. A
value is the key that is meant, where there is one, else how to go on.
"""

from __future__ import annotations

from collections.abc import Mapping

_PROMPT = (
    "what the model is told is its `role` and `instructions`, or a template: `prompt: NAME.jinja`"
)
_PARAMETER = "parameters belong to the model: `model: {{id: ..., {0}: ...}}`"
_EDGES = "there is no list of edges: each node names the nodes before it, `needs: [ID]`"
_AFTER = "a node names the nodes before it: `needs: [ID]`; a router chooses among `routes`"
_HISTORY = "a node with `kind: history-loader` loads earlier turns; its id is read in templates"
_VALUES = (
    "values for a template are `params`, those of a session `state`; the message is "
    "`input.message` in a template"
)
_STREAM = (
    "streaming is chosen where the graph is run: `teamgraph run --stream`, `runner.stream(...)`"
)
_PARAMETERS = {
    name: _PARAMETER.format(name)
    for name in ("temperature", "max_tokens", "top_p", "seed", "stop", "presence_penalty")
}

NODE_KEYS: Mapping[str, str] = {
    **dict.fromkeys(("type", "node_type"), "kind"),
    **dict.fromkeys(("system", "system_prompt", "system_message", "persona"), _PROMPT),
    **dict.fromkeys(("goal", "backstory", "expected_output", "user", "user_prompt"), _PROMPT),
    **dict.fromkeys(("template", "prompt_template", "prompt_file"), "prompt"),
    **dict.fromkeys(("messages", "text", "content"), _PROMPT),
    **dict.fromkeys(("depends_on", "dependencies", "after", "inputs_from", "from"), "needs"),
    **dict.fromkeys(("next", "edges", "transitions", "then", "goto", "handoffs"), _AFTER),
    **dict.fromkeys(("if", "condition", "activate", "skip"), "when"),
    **dict.fromkeys(("llm", "model_id", "model_client", "connection", "deployment_name"), "model"),
    **dict.fromkeys(("output_schema", "response_model", "response_format", "schema"), "returns"),
    **dict.fromkeys(("structured_output", "output_json", "output_pydantic"), "returns"),
    **dict.fromkeys(("toolsets", "functions", "skills"), "tools"),
    **dict.fromkeys(("max_iterations", "max_iter", "max_turns"), "max_tool_rounds"),
    **dict.fromkeys(("memory", "chat_history", "add_history_to_context"), _HISTORY),
    **dict.fromkeys(("inputs", "variables", "args"), _VALUES),
    **dict.fromkeys(("retries", "max_retries"), "retry"),
    **dict.fromkeys(("stream", "streaming"), _STREAM),
    "instruction": "instructions",
    "name": "a node's name is its key: `nodes: {NAME: {...}}`",
    "id": "a node's id is its key: `nodes: {ID: {...}}`",
    **_PARAMETERS,
}
"""Keys of a node."""

GRAPH_KEYS: Mapping[str, str] = {
    **dict.fromkeys(("agents", "steps", "members", "tasks", "workflow"), "nodes"),
    **dict.fromkeys(("edges", "transitions", "conditional_edges"), _EDGES),
    **dict.fromkeys(("llm", "models", "model_id"), "model"),
    **dict.fromkeys(("inputs", "variables", "params"), _VALUES),
    **dict.fromkeys(("outputs", "answer", "finish", "finish_point"), "output"),
    **dict.fromkeys(("entry_point", "start", "entrypoint"), _EDGES),
    **dict.fromkeys(("session_state", "initial_state"), "state"),
    **dict.fromkeys(("memory", "history", "checkpointer"), _HISTORY),
    **dict.fromkeys(
        ("system", "system_prompt", "instructions", "role"), f"it belongs to a node: {_PROMPT}"
    ),
    **dict.fromkeys(("tools", "toolsets"), "tools belong to a node: `nodes: {ID: {tools: [...]}}`"),
    **dict.fromkeys(("stream", "streaming"), _STREAM),
    "cases": "this is a case file, not a graph: run pytest on it",
    "environment": "the variable of a key is the model's: `model: {id: ..., api_key_env: ...}`",
    "title": "name",
    "retries": "retry",
    **_PARAMETERS,
}
"""Keys of a graph."""

KINDS: Mapping[str, str] = {
    **dict.fromkeys(("agent", "llm", "assistant", "prompt", "chat", "llm_agent"), "member"),
    **dict.fromkeys(("function", "tool", "code", "custom_function"), "python"),
    **dict.fromkeys(("switch", "condition", "branch", "if", "conditional"), "router"),
    **dict.fromkeys(("supervisor", "manager", "coordinator", "team"), "leader"),
    **dict.fromkeys(("memory", "history"), "history-loader"),
    **dict.fromkeys(("subgraph", "workflow", "flow"), "graph"),
    **dict.fromkeys(("parallel", "for_each", "foreach"), "map"),
    **dict.fromkeys(("approval", "input", "user_proxy"), "human"),
    **dict.fromkeys(("while", "repeat"), "loop"),
}
"""Kinds of nodes."""
