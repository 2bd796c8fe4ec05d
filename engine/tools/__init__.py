"""Tools: typed Python functions that a model may call while it answers.

`tool` makes a function a tool: a JSON Schema from its signature and docstring. `toolbox` has the
tools of one node and those that come with teamgraph, `caller` executes the calls of a reply,
`context` is what a tool receives beside its arguments. This room knows no graph and no provider.
"""
