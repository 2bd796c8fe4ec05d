"""A dry run: every prompt of a run rendered as it would be sent, without a model.

The run is executed by the real scheduler. Only what is outside is replaced: the model replies what
the caller assumes, the session is the one that the caller describes, and nothing is stored.
"""
