"""An append-only journal of JSON lines in one file: committed, synced, compacted, repaired.

Knows bytes, lines, checksums and transactions. It knows no sessions, runs or users.
"""
