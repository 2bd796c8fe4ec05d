"""A dry run: every prompt of a run rendered as it would be sent, with no model.

The run is a real one, visited by the real scheduler. Only what is outside is replaced: the model
answers what the caller assumes, the session is the one that the caller describes, nothing is kept.
"""

from .assumption import assumed
from .past import Said
from .rehearsal import Scene, render, render_all, render_next
from .rendering import RenderedNode, RenderedPrompt, Rendering

__all__ = [
    "RenderedNode",
    "RenderedPrompt",
    "Rendering",
    "Said",
    "Scene",
    "assumed",
    "render",
    "render_all",
    "render_next",
]
