"""Text of users, models and files made safe to print on a terminal.

A terminal obeys what it is sent: an escape sequence in an answer can rewrite lines, set the window
title or fill the clipboard, and marks of direction can make a text read as another one.
"""

from __future__ import annotations

import re
from typing import TextIO

# C0 but tab and line feed, DEL, C1, everything that changes the direction of text, and what is no
# character.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\ufffe\uffff]"
)
_PICTURES = 0x2400  # from here, Unicode shows the control characters 0 to 31
_FIRST_PRINTABLE = 0x20
_DELETE = 0x7F


def write_text(text: str, stream: TextIO) -> None:
    """Write a text of anybody to standard output or error, safe if that is a terminal.

    Characters that the stream's encoding lacks are written as escapes.
    """
    safe = escape_controls(text) if stream.isatty() else text
    encoding = stream.encoding or "utf-8"
    stream.write(safe.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def escape_controls(text: str) -> str:
    """The text with control characters replaced by visible ones; line feeds and tabs stay."""
    return _CONTROL.sub(_escape, text.replace("\r\n", "\n"))


def escape_json(written: str) -> str:
    """JSON of the same value without control characters, each written as its escape."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", written)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < _FIRST_PRINTABLE:
        return chr(_PICTURES + code)
    return "\u2421" if code == _DELETE else f"\\u{code:04x}"
