"""What the author of a node kind needs in addition to the names of `teamgraph` itself.

The built-in kinds use only this module, `teamgraph`, `teamgraph.errors` and
`teamgraph.events`.
"""

from __future__ import annotations

from .engine.blocking import call_in_thread, door, stream_door
from .engine.errors import KeyPath, closest
from .engine.graph.context import Choice, Context, Exchanged, History, Result, Upstream
from .engine.graph.fields import Ids, Texts
from .engine.graph.node import Node
from .engine.graph.rules import misnamed
from .engine.imports import reference
from .engine.models.samples import stand_in
from .engine.records import PastToolCall
from .engine.session.history import OtherSession, Past, Quoted
from .engine.tools.toolbox import Toolbox, Tools
from .engine.validation import Declared

__all__ = [
    "Choice",
    "Context",
    "Declared",
    "Exchanged",
    "History",
    "Ids",
    "KeyPath",
    "Node",
    "OtherSession",
    "Past",
    "PastToolCall",
    "Quoted",
    "Result",
    "Texts",
    "Toolbox",
    "Tools",
    "Upstream",
    "call_in_thread",
    "closest",
    "door",
    "misnamed",
    "reference",
    "stand_in",
    "stream_door",
]
