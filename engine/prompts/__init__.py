"""Prompts as Jinja files: roles by tags, checked at load, hashed, rendered in a sandbox."""

from .coverage import MEASURED, Branch, Coverage
from .expression import Expression
from .library import Prompts
from .reads import Read
from .rendered import RENDERED, Rendered, Stretch
from .source import BUILTIN, file_names

__all__ = [
    "BUILTIN",
    "MEASURED",
    "RENDERED",
    "Branch",
    "Coverage",
    "Expression",
    "Prompts",
    "Read",
    "Rendered",
    "Stretch",
    "file_names",
]
