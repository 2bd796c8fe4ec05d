"""What the author of a node kind needs in addition to the names of `teamgraph` itself.

A kind is a subclass of `Node` with `run`. Whatever else it does is one of the optional protocols,
such as `Routes` or `HasTools`: it has their methods or class variables, and inherits nothing. The
kinds that come with teamgraph use only this module, `teamgraph`, `teamgraph.errors` and
`teamgraph.events`.
"""

from __future__ import annotations

from .engine.blocking import call_in_thread, door, stream_door, warn
from .engine.errors import KeyPath, closest
from .engine.graph.context import (
    Choice,
    Context,
    Exchanged,
    GraphResult,
    Handover,
    HandsOver,
    History,
    Input,
    ItemInput,
    NodeWaits,
    Result,
    Upstream,
    Visit,
)
from .engine.graph.fields import Ids, JSONMapping, Seconds, Texts
from .engine.graph.kinds import written_node
from .engine.graph.node import (
    AsksPeople,
    AsksSometimes,
    CallsFunctions,
    ChoosesSeveral,
    HasConditions,
    HasTools,
    HoldsGraph,
    ItemSource,
    LoadsHistory,
    MentionsNodes,
    NamesPython,
    Node,
    ReadsNodes,
    Recalls,
    Recovers,
    RefinesTypes,
    Rehearses,
    RendersField,
    Routes,
    RunsAgain,
    RunsItems,
    RunsLast,
    RunsRounds,
    RunsVisits,
    ShowsMore,
    Streams,
    Summarizes,
    UsesTemplates,
    handovers_of,
)
from .engine.graph.rules import misnamed
from .engine.imports import reference
from .engine.models.samples import stand_in
from .engine.records import PastToolCall
from .engine.returns.shape import shape
from .engine.session.history import OtherSession, Past, Quoted
from .engine.tools.context import SessionState
from .engine.tools.tool import handover_name
from .engine.tools.toolbox import GraphTool, Toolbox, Tools
from .engine.unknown_names import explained, missing_attribute
from .engine.validation import Declared
from .engine.values import value_text

__all__ = [
    "AsksPeople",
    "AsksSometimes",
    "CallsFunctions",
    "Choice",
    "ChoosesSeveral",
    "Context",
    "Declared",
    "Exchanged",
    "GraphResult",
    "GraphTool",
    "Handover",
    "HandsOver",
    "HasConditions",
    "HasTools",
    "History",
    "HoldsGraph",
    "Ids",
    "Input",
    "ItemInput",
    "ItemSource",
    "JSONMapping",
    "KeyPath",
    "LoadsHistory",
    "MentionsNodes",
    "NamesPython",
    "Node",
    "NodeWaits",
    "OtherSession",
    "Past",
    "PastToolCall",
    "Quoted",
    "ReadsNodes",
    "Recalls",
    "Recovers",
    "RefinesTypes",
    "Rehearses",
    "RendersField",
    "Result",
    "Routes",
    "RunsAgain",
    "RunsItems",
    "RunsLast",
    "RunsRounds",
    "RunsVisits",
    "Seconds",
    "SessionState",
    "ShowsMore",
    "Streams",
    "Summarizes",
    "Texts",
    "Toolbox",
    "Tools",
    "Upstream",
    "UsesTemplates",
    "Visit",
    "call_in_thread",
    "closest",
    "door",
    "explained",
    "handover_name",
    "handovers_of",
    "misnamed",
    "missing_attribute",
    "reference",
    "shape",
    "stand_in",
    "stream_door",
    "value_text",
    "warn",
    "written_node",
]
