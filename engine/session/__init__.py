"""Sessions as their owner reads them: turns, history, state, and the protocol of a store.

It knows no graph and no store by name.
"""
