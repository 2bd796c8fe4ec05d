"""What the three ways to declare a shape have in common: a rule that a JSON value fits or not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from ..messages import JSON

_SHOWN = 60  # characters of a wrong value: enough to know it again
_TOLD = 5  # faults at once: a model mends no more than that


class Rule(Protocol):
    """A declared shape of JSON values."""

    @property
    def schema(self) -> Mapping[str, JSON]:
        """The JSON Schema of what fits."""
        ...

    @property
    def type(self) -> object:
        """The Python type of what fits, None if there is none."""
        ...

    def read(self, value: JSON) -> JSON:
        """The value as it is kept. Raises `ValueError`, one line, if it does not fit."""
        ...


def told(faults: Sequence[str]) -> str:
    """The first faults in one line."""
    more = [f"and {len(faults) - _TOLD} more"] if len(faults) > _TOLD else []
    return "; ".join([*(" ".join(fault.split()) for fault in faults[:_TOLD]), *more])


def named(place: Sequence[str | int]) -> str:
    """How a place in the answer is called: `'place.city'`, `'tags[2]'`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return repr(text.removeprefix(".")) if text else "the answer"


def shown(value: object) -> str:
    """A value in a message: as JSON, on one line, not too long."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
