"""Declare a team of LLM agents as a graph, run it, and store every turn.

A message goes one way: declare (`Graph`) -> check -> order (`Plan`) -> visit -> render -> ask ->
record -> tell. This module exports what a user of graphs needs. Ready-made graphs are in
`teamgraph.graphs`, node kinds in `teamgraph.nodes`, what the author of a kind needs in
`teamgraph.kinds`; `teamgraph.events`, `teamgraph.errors` and `teamgraph.testing` have the rest.

Names are imported from their modules on first access (PEP 562): `teamgraph --help` loads no engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine.attachments import Attachable, Attachment
    from .engine.events import Event
    from .engine.graph.fields import Instead, ModelSpec, OnError, Retry, Timeout
    from .engine.graph.graph import Budget, Graph
    from .engine.graph.plan import Edge, Plan
    from .engine.messages import JSON, Message, Part, ToolCall, Usage
    from .engine.models.protocol import Chunk, Model, Reply, Request
    from .engine.models.recordings import Recorder, Replay
    from .engine.models.registry import OWN_MODEL, AnyModel
    from .engine.models.scripted import EchoModel, ScriptedModel
    from .engine.records import (
        Change,
        Exchange,
        Fault,
        Head,
        Question,
        Record,
        Response,
        Run,
        SessionInfo,
        SessionKey,
        Summary,
        Turn,
    )
    from .engine.run.dry_run.rendering import RenderedNode, RenderedPrompt, Rendering
    from .engine.run.runner import Runner
    from .engine.session.session import Metrics, Session
    from .engine.session.store import Hit, Lease, Policy, Store, WhileWaiting
    from .engine.stores.memory import MemoryStore
    from .engine.stores.postgres import PostgresStore
    from .engine.stores.tinydb.store import TinyDBStore
    from .engine.tools.context import ToolContext
    from .engine.tools.tool import tool
    from .engine.tools.toolbox import MCPServer
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415  not a name of this package

        if (module := _MODULES.get(name)) is not None:
            return globals().setdefault(name, getattr(import_module(module, __name__), name))
        from .engine.errors import closest  # noqa: PLC0415  as above

        for door in () if name.startswith("_") else _DOORS:
            if name in import_module(door, __name__).__all__:
                where = f"{__name__}{door}"
                text = f"{name!r} is in {where}: from {where} import {name}"
                raise ImportError(text, name=name)  # of AttributeError, `from` would drop the text
        near = closest(name, __all__)
        meant = f"; did you mean {near!r}?" if near else ""
        raise AttributeError(f"the package {__name__!r} has no {name!r}{meant}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


_DOORS = (".graphs", ".nodes", ".events", ".errors", ".kinds")

_MODULES = {
    "AnyModel": ".engine.models.registry",
    "Attachable": ".engine.attachments",
    "Attachment": ".engine.attachments",
    "Budget": ".engine.graph.graph",
    "Change": ".engine.records",
    "Chunk": ".engine.models.protocol",
    "EchoModel": ".engine.models.scripted",
    "Edge": ".engine.graph.plan",
    "Event": ".engine.events",
    "Exchange": ".engine.records",
    "Fault": ".engine.records",
    "Graph": ".engine.graph.graph",
    "Head": ".engine.records",
    "Hit": ".engine.session.store",
    "Instead": ".engine.graph.fields",
    "JSON": ".engine.messages",
    "Lease": ".engine.session.store",
    "MCPServer": ".engine.tools.toolbox",
    "MemoryStore": ".engine.stores.memory",
    "Message": ".engine.messages",
    "Metrics": ".engine.session.session",
    "Model": ".engine.models.protocol",
    "ModelSpec": ".engine.graph.fields",
    "OWN_MODEL": ".engine.models.registry",
    "OnError": ".engine.graph.fields",
    "Part": ".engine.messages",
    "Plan": ".engine.graph.plan",
    "Policy": ".engine.session.store",
    "PostgresStore": ".engine.stores.postgres",
    "Question": ".engine.records",
    "Record": ".engine.records",
    "Recorder": ".engine.models.recordings",
    "RenderedNode": ".engine.run.dry_run.rendering",
    "RenderedPrompt": ".engine.run.dry_run.rendering",
    "Rendering": ".engine.run.dry_run.rendering",
    "Replay": ".engine.models.recordings",
    "Reply": ".engine.models.protocol",
    "Request": ".engine.models.protocol",
    "Response": ".engine.records",
    "Retry": ".engine.graph.fields",
    "Run": ".engine.records",
    "Runner": ".engine.run.runner",
    "ScriptedModel": ".engine.models.scripted",
    "Session": ".engine.session.session",
    "SessionInfo": ".engine.records",
    "SessionKey": ".engine.records",
    "Store": ".engine.session.store",
    "Summary": ".engine.records",
    "Timeout": ".engine.graph.fields",
    "TinyDBStore": ".engine.stores.tinydb.store",
    "ToolCall": ".engine.messages",
    "ToolContext": ".engine.tools.context",
    "Turn": ".engine.records",
    "Usage": ".engine.messages",
    "WhileWaiting": ".engine.session.store",
    "tool": ".engine.tools.tool",
}

__all__ = [
    "JSON",
    "OWN_MODEL",
    "AnyModel",
    "Attachable",
    "Attachment",
    "Budget",
    "Change",
    "Chunk",
    "EchoModel",
    "Edge",
    "Event",
    "Exchange",
    "Fault",
    "Graph",
    "Head",
    "Hit",
    "Instead",
    "Lease",
    "MCPServer",
    "MemoryStore",
    "Message",
    "Metrics",
    "Model",
    "ModelSpec",
    "OnError",
    "Part",
    "Plan",
    "Policy",
    "PostgresStore",
    "Question",
    "Record",
    "Recorder",
    "RenderedNode",
    "RenderedPrompt",
    "Rendering",
    "Replay",
    "Reply",
    "Request",
    "Response",
    "Retry",
    "Run",
    "Runner",
    "ScriptedModel",
    "Session",
    "SessionInfo",
    "SessionKey",
    "Store",
    "Summary",
    "Timeout",
    "TinyDBStore",
    "ToolCall",
    "ToolContext",
    "Turn",
    "Usage",
    "WhileWaiting",
    "tool",
]
