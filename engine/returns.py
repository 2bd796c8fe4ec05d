"""TEMPORARY stand-in by the lead; helper replaces it."""
from __future__ import annotations
import json
from dataclasses import dataclass
@dataclass(frozen=True)
class Shape:
    schema: dict
    type: object = None
    def parse(self, text): return json.loads(text)
    def check(self, value): return value
def shape(returns, *, name, folder=None):
    return Shape({"type": "object", "title": name, "properties": {k: {"type": "string"} for k in returns} if isinstance(returns, dict) else {}})
