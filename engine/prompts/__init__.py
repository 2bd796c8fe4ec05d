"""Prompts as Jinja files: roles by tags, checked at load, hashed, rendered in a sandbox."""

from .coverage import MEASURED, Branch, Coverage
from .expression import Expression
from .library import Prompts
from .reads import Read
from .source import BUILTIN

__all__ = ["BUILTIN", "MEASURED", "Branch", "Coverage", "Expression", "Prompts", "Read"]
