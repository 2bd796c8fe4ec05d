"""Text of users, models and files as a page may show it."""

from __future__ import annotations

from ..terminal import escape_controls


def shown(text: str) -> str:
    """The text with its control characters made visible; it is not yet escaped for HTML.

    Marks of direction, which make a text read as another one, and lone surrogates, which cannot be
    encoded, are controls too. Line feeds and tabs stay.
    """
    return escape_controls(text)
