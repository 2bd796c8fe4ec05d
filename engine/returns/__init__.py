"""Structured answers: `returns` of a node as JSON Schema, Python type and validator.

A shape is declared inline (`{lang: "english|french", sure: float}`), by a Python class, or by a
JSON Schema file. The schema is sent to the model, the type is used to check templates, and the
validator says in one line what is wrong with an answer. This room knows no node and no model.
"""
