"""Tools: plain typed functions that a model may ask for while it answers.

`tool` makes a function a tool, `docstring` reads what its docstring tells the model, `toolbox` is
what a node declares, `caller` calls what a reply asks for, `session` are the tools that come with
the engine.
"""
