"""Where sessions are stored: the protocol, and the stores that come with teamgraph.

The store on disk is imported when it is first asked for: a run in memory does not wait for it.
"""
