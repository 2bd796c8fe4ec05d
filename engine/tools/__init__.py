"""Tools: plain typed functions that a model may ask for while it answers.

`tool` makes a function a tool, `docstring` reads what its docstring tells the model, `toolbox` is
what a node declares, `caller` calls what a reply asks for, `session` are the tools that come with
the engine.
"""

from .caller import Caller, told_apart
from .context import SessionState, ToolContext
from .tool import Tool
from .toolbox import Toolbox, Tools

__all__ = ["Caller", "SessionState", "Tool", "ToolContext", "Toolbox", "Tools", "told_apart"]
