"""OpenTelemetry spans of runs (extra `otel`); importing it raises `ImportError` without the extra.

`Runner(graph, listeners=[OpenTelemetry()])` makes one span each for a run, a node, a model call and
a tool call.
"""

from __future__ import annotations

from .engine.tracing import OpenTelemetry

__all__ = ["OpenTelemetry"]
