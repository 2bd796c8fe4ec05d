"""What the three ways to declare an answer's type have in common: a validator of JSON values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from ..messages import JSON

_EXCERPT_LENGTH = 60  # characters of a wrong value: enough to recognize it
_MAX_ERRORS = 5  # a model corrects no more than that at once


class Validator(Protocol):
    """Validates JSON values against one declared type."""

    @property
    def schema(self) -> Mapping[str, JSON]:
        """The JSON Schema of valid values."""
        ...

    @property
    def type(self) -> object:
        """The Python type of valid values, None if there is none."""
        ...

    def validate(self, value: JSON) -> JSON:
        """The value as it is stored. Raises `ValueError`, one line, if it is invalid."""
        ...


def summary(errors: Sequence[str]) -> str:
    """The first errors in one line."""
    more = [f"and {len(errors) - _MAX_ERRORS} more"] if len(errors) > _MAX_ERRORS else []
    return "; ".join([*(" ".join(error.split()) for error in errors[:_MAX_ERRORS]), *more])


def location(path: Sequence[str | int]) -> str:
    """A path in the answer as messages have it: `'place.city'`, `'tags[2]'`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return repr(text.removeprefix(".")) if text else "the answer"


def excerpt(value: object) -> str:
    """A value in a message: as JSON, on one line, truncated."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _EXCERPT_LENGTH else f"{text[:_EXCERPT_LENGTH]}..."
