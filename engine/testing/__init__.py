"""Snapshots of prompts: case files without code, a fixture for pytest, coverage of templates.

`plugin` is what pytest loads. It imports the rest only when there is something to do, so that a
measurement of the engine that begins later misses nothing.
"""
