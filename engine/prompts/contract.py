"""Checks a template against what is known of the values that it is given.

It is walked as for its reads, but every expression is followed to what it can be: a field that is
not there, a None that would be printed, a comparison that never holds are found at load. What
cannot be told is never held against a template.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from jinja2 import nodes

from ..errors import Problem, closest
from .known import ANYTHING, TEXT, TRUTH, WHOLE, Items, Known, Plain, Row, Words, of
from .known import Fields as FieldsOf
from .known import item_of, may_be_none
from .narrow import path_of, where
from .reader import Reader
from .role import is_replay
from .scope import Binding, MacroBinding, Place, Scope, ValueBinding
from .tree import Find, Parsed
from .values import Values


class Contract(Reader):
    """Walks one template with the types of its variables."""

    def __init__(self, find: Find, known: Collection[str]) -> None:
        super().__init__(find, known)
        self._values = Values(self)
        self._calls: set[tuple[nodes.Macro, tuple[Known, ...], object]] = set()
