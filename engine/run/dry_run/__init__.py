"""A dry run: every prompt of a run rendered as it would be sent, with no model.

The run is a real one, visited by the real scheduler. Only what is outside is replaced: the model
answers what the caller assumes, the session is the one that the caller describes, nothing is kept.
"""
