"""The values that `--json` prints and the server answers, with names that programs can rely on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, cast

from ..messages import JSON, as_plain
from ..records import Head, Run, SessionInfo, SessionKey, Turn
from ..session.session import Metrics

if TYPE_CHECKING:
    from ..graph.plan import Edge
    from .dry_run.rendering import RenderedNode, RenderedPrompt, Rendering


def records_as_json(run: Run, node_ids: Collection[str], *, prompts: bool) -> dict[str, JSON]:
    """A run with whole records of these nodes; with `prompts` also the messages that were sent."""
    nodes: dict[str, JSON] = {}
    for node_id in node_ids:
        record = cast("dict[str, JSON]", as_plain(run.records[node_id]))
        if not prompts:
            for exchange in cast("list[dict[str, JSON]]", record["exchanges"]):
                del exchange["messages"]
        nodes[node_id] = {**record, "choice": run.records[node_id].choice}
    return {
        **_run_fields(run),
        "input": run.input,
        "system": run.turn.system,
        "graph": run.turn.graph,
        "number": run.turn.number,
        "forked_from": run.turn.forked_from,
        "nodes": nodes,
        "usage": as_plain(run.usage),
        "duration": run.duration,
        "started": run.turn.started,
        "ended": run.turn.ended,
    }


def turn_as_json(key: SessionKey, turn: Turn) -> dict[str, JSON]:
    """A turn with all its fields, and the ids of its session."""
    turn_fields = cast("dict[str, JSON]", as_plain(turn))
    return {"session_id": key.session_id, "user_id": key.user_id, **turn_fields}


def info_as_json(info: SessionInfo) -> dict[str, JSON]:
    """A session as `sessions list --json` prints it."""
    return {
        "session_id": info.key.session_id,
        "user_id": info.key.user_id,
        "name": info.name,
        "turns": info.turns,
        "started": info.started,
        "updated": info.updated,
        "first_input": info.first_input,
    }


def head_as_json(head: Head) -> dict[str, JSON]:
    """The name, state and summary of a session."""
    return {
        "name": head.name,
        "state": as_plain(head.state),
        "node_states": as_plain(head.node_states),
        "summary": as_plain(head.summary),
    }


def metrics_as_json(metrics: Metrics) -> dict[str, JSON]:
    """The usage of a session."""
    return cast("dict[str, JSON]", as_plain(metrics))


def edge_as_json(graph: str, edge: Edge, origin: str) -> dict[str, JSON]:
    """An edge as `check --edges --format json` prints it."""
    return {
        "graph": graph,
        "source": edge.source,
        "target": edge.target,
        "kind": edge.kind,
        "labels": list(edge.labels),
        "origin": origin,
    }


def rendering_as_json(
    rendering: Rendering, node_ids: Collection[str], *, came_from: bool = False
) -> JSON:
    """The prompts of some nodes as `render --json` prints them: one item for each prompt.

    A node without a prompt has one item without a template, with the reason if it is skipped. With
    `came_from` each message has the origins of its text.
    """
    items: list[JSON] = []
    for node_id in node_ids:
        node = rendering[node_id]
        for prompt in node.prompts or (None,):
            messages = [message.to_json() for message in prompt.messages] if prompt else []
            if prompt and came_from:
                for message, stretches in zip(messages, prompt.came_from, strict=True):
                    message["came_from"] = as_plain(stretches)
            items.append(_prompt(node, prompt, messages))
    return items


def _prompt(
    node: RenderedNode, prompt: RenderedPrompt | None, messages: list[dict[str, JSON]]
) -> JSON:
    return {
        "node": node.id,
        "template": prompt.template if prompt else None,
        "messages": [*messages],
        "tools": as_plain(prompt.tools) if prompt else [],
        "response_format": as_plain(prompt.response_format) if prompt else None,
        "because": node.because,
    }


def _run_fields(run: Run) -> dict[str, JSON]:
    return {
        "run_id": run.run_id,
        "session_id": run.session_id,
        "user_id": run.user_id,
        "status": run.status,
        "answer": run.answer,
        "error": run.turn.error,
    }
