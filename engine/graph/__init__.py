"""Declarations: what a graph says, and whether that is sound.

Knows nodes, edges, routes, the order, and the rules between them. It knows no run, no
store and no model: a graph is a value.
"""
