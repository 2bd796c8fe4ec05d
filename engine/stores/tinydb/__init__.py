"""The default store: one TinyDB for each session, on a journal of its own.

Knows users, sessions and runs, where their files lie, and what each transaction holds.
"""
