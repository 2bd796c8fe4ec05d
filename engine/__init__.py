"""teamgraph: declare a team of LLM agents as a graph, run it, and remember every turn.

A message goes one way: declare (`Graph`) -> check -> order (`Plan`) -> visit -> render -> ask ->
record -> tell. This list is the whole public API; kinds of nodes use nothing else.

A name is taken from its module when it is first asked for, so that `teamgraph --help`, which asks
for none, does not wait for the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .check import misnamed
    from .context import Choice, Context, Exchanged, History, Result, Upstream
    from .declared import Declared
    from .errors import (
        AnswerError,
        BudgetExceeded,
        Changed,
        Conflict,
        DamagedStore,
        DefinitionError,
        InputError,
        ModelError,
        NoAnswer,
        NodeError,
        NoModelError,
        NotFound,
        Path,
        Problem,
        PromptError,
        RunError,
        SessionBusy,
        StoreError,
        TeamgraphError,
        UnknownVersion,
        closest,
    )
    from .events import (
        Answer,
        Event,
        NodeFailed,
        NodeFinished,
        NodeRetried,
        NodeSkipped,
        NodeStarted,
        PromptRendered,
        RunCancelled,
        RunFailed,
        RunFinished,
        RunStarted,
        RunWaiting,
        Token,
        ToolAnswered,
        ToolCalled,
    )
    from .graph import Graph
    from .imports import reference
    from .messages import JSON, Message, ToolCall, Usage
    from .models import (
        OWN_MODEL,
        AnyModel,
        Chunk,
        EchoModel,
        Model,
        Reply,
        Request,
        ScriptedModel,
    )
    from .node import Node
    from .past import OtherSession, Past, Quoted
    from .placeholder import stand_in
    from .plan import Edge, Plan
    from .policy import Ids, Instead, ModelSpec, OnError, Retry, Texts, Timeout
    from .rendering import RenderedNode, RenderedPrompt, Rendering
    from .runner import Runner
    from .session import Called, Exchange, Head, Record, Run, SessionInfo, SessionKey, Summary, Turn
    from .sessions import Metrics, Session
    from .stores import MemoryStore, Store, TinyDBStore
    from .tools import Toolbox, ToolContext, Tools
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415  not a name of this package

        for home in _HOMES if name in __all__ else ():
            found = getattr(import_module(f".{home}", __name__), name, None)
            if found is not None:
                return globals().setdefault(name, found)
        from .errors import closest  # noqa: PLC0415  as above

        near = closest(name, __all__)
        meant = f"; did you mean {near!r}?" if near else ""
        raise AttributeError(f"the package {__name__!r} has no {name!r}{meant}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


# From the ground up, so that a name is found where it is made, and little above it is imported.
_HOMES = (
    *("errors", "messages", "session", "past", "declared", "imports", "events", "context"),
    *("placeholder", "policy", "tools", "node", "plan", "check", "graph", "stores", "models"),
    *("sessions", "runner", "rendering"),
)

__all__ = [
    "JSON",
    "OWN_MODEL",
    "Answer",
    "AnswerError",
    "AnyModel",
    "BudgetExceeded",
    "Called",
    "Changed",
    "Choice",
    "Chunk",
    "Conflict",
    "Context",
    "DamagedStore",
    "Declared",
    "DefinitionError",
    "EchoModel",
    "Edge",
    "Event",
    "Exchange",
    "Exchanged",
    "Graph",
    "Head",
    "History",
    "Ids",
    "InputError",
    "Instead",
    "MemoryStore",
    "Message",
    "Metrics",
    "Model",
    "ModelError",
    "ModelSpec",
    "NoAnswer",
    "NoModelError",
    "Node",
    "NodeError",
    "NodeFailed",
    "NodeFinished",
    "NodeRetried",
    "NodeSkipped",
    "NodeStarted",
    "NotFound",
    "OnError",
    "OtherSession",
    "Past",
    "Path",
    "Plan",
    "Problem",
    "PromptError",
    "PromptRendered",
    "Quoted",
    "Record",
    "RenderedNode",
    "RenderedPrompt",
    "Rendering",
    "Reply",
    "Request",
    "Result",
    "Retry",
    "Run",
    "RunCancelled",
    "RunError",
    "RunFailed",
    "RunFinished",
    "RunStarted",
    "RunWaiting",
    "Runner",
    "ScriptedModel",
    "Session",
    "SessionBusy",
    "SessionInfo",
    "SessionKey",
    "Store",
    "StoreError",
    "Summary",
    "TeamgraphError",
    "Texts",
    "Timeout",
    "TinyDBStore",
    "Token",
    "ToolAnswered",
    "ToolCall",
    "ToolCalled",
    "ToolContext",
    "Toolbox",
    "Tools",
    "Turn",
    "UnknownVersion",
    "Upstream",
    "Usage",
    "closest",
    "misnamed",
    "reference",
    "stand_in",
]
