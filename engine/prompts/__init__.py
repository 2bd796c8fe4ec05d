"""Prompt templates: Jinja with role tags, checked at load, hashed, rendered in a sandbox.

This room knows templates, the messages that they render to, and the types of variables. It does not
know graphs, nodes, runs, sessions or models: callers pass the variables, or their types, in.
"""
