"""One message through one graph: visit, render, ask, record, tell.

Knows what a run needs while it is under way, and how it is resumed and forked. It does not know
how a store keeps records, nor how a model is reached.
"""
