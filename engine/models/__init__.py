"""Models: the protocol, the registry that finds one by its id, and the adapters that ship with us.

It knows requests and replies; it knows nothing of graphs, runs, prompts or sessions.
"""
