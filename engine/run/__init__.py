"""One message through one graph: schedule the nodes, attempt each, ask models, store records, emit.

Knows a run from its lease to its last event, and how a run is resumed, forked and rendered dry. It
does not know how a store writes records, nor how a model is reached.
"""
