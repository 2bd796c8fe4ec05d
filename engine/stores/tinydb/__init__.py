"""The default store: one TinyDB for each session, on a journal of its own.

Knows users, sessions and runs, the paths of their files, and the content of each transaction.
"""
