"""What a node gives back if it is not free text: declared in the graph, told to the model, checked.

A shape is said inline (`{lang: "english|french", sure: float}`), by a Python class, or by a file
with a JSON Schema. Either way there is a schema for the model, a type for the check of templates,
and one sentence for the model where its answer does not fit.
"""
