"""What the parser says about broken syntax, in words that say where it began and how to go on.

The parser names the token at which it could not go on. The mistake is often earlier (a quote that
is never closed), so each rule knows whether to point here or there.
"""

from __future__ import annotations

import re

from .document import Place, line_starts, place_at
from .event import SyntaxFault

_UNKNOWN = "this is not YAML; compare its quotes, brackets and indents"
_QUOTE_IT = "put the text in quotes"
# What the parser says; our sentence, with the groups of the match; whether to point at the
# beginning of what was being read instead of the place where reading stopped.
_RULES: tuple[tuple[str, str, bool], ...] = (
    (
        r"character '\\t' that",
        "a tab cannot stand here; use spaces, or put a text with tabs in quotes",
        False,
    ),
    (r"character '%' that", f"a text cannot begin with '%'; {_QUOTE_IT}", False),
    (r"character (.+) that", f"a text cannot begin with {{0}}; {_QUOTE_IT}", False),
    (
        r"quoted scalar: .*(?:end of stream|separator)",
        "this quote is never closed; end it with the same quote",
        True,
    ),
    (r"simple key", "this is neither a key nor more of the text above; add ':' or indent it", True),
    (r"sequence entries", "a list cannot begin here; put '-' on a line of its own", False),
    (r"mapping keys", "a key cannot begin here; put it on a line of its own", False),
    (r"an anchor", f"a text cannot begin with '&'; {_QUOTE_IT}", True),
    (r"an alias", f"a text cannot begin with '*'; {_QUOTE_IT}", True),
    (r"[ ]tag\b|tag handle", f"a text cannot begin with '!'; {_QUOTE_IT}", True),
    (r"block scalar", "after | or > nothing can stand; begin the text on the next line", False),
    (
        r"directive|version 1",
        "graph files are YAML 1.2 without directives; remove the % line",
        True,
    ),
    (
        r"document end marker|document start",
        "nothing can follow the end of the document; remove it",
        False,
    ),
    (
        r"node content, but found (.+)",
        "a value is missing before {0}; write one, or remove it",
        False,
    ),
    (
        r"collection: .*<block end>, but found '\?'",
        "a key cannot stand among list items; indent it below its item",
        False,
    ),
    (r"collection: ", "this is not indented like the list items above; align it", False),
    (
        r"mapping: .*<block end>, but found '-'",
        "a list item cannot stand among keys; indent it below its key",
        False,
    ),
    (r"", _UNKNOWN, False),
)
_KEY_FOUND_WITHIN = 1000  # characters; what the parser looks ahead for a colon, rounded down
_TOO_HIGH = re.compile(r"\\U(?!000|0010)[0-9a-fA-F]{8}")


def explain(fault: SyntaxFault, text: str) -> tuple[str, int]:
    """One sentence about a syntax error, and the offset where it stands."""
    if fault.here is None:
        return _without_mark(text)
    here = min(fault.here, len(text))
    began = here if fault.began is None else fault.began
    special = _special(fault.said, text, here, began)
    if special:
        return special
    rule = next(rule for rule in _RULES if re.search(rule[0], fault.said))
    match = re.search(rule[0], fault.said)
    groups = match.groups() if match else ()
    return rule[1].format(*groups), began if rule[2] else here


def _special(said: str, text: str, here: int, began: int) -> tuple[str, int] | None:
    """The mistakes that only a look at the text can tell apart."""
    if "mapping values" in said:
        return _second_colon(text, here)
    if "flow mapping" in said or "flow sequence" in said:
        return _unclosed(said, text, here, began)
    if re.search(r"mapping: expected <block end>, but found '(?!-')", said):
        return _leftover(text, here)
    return _sign(said, text, here)


def _sign(said: str, text: str, here: int) -> tuple[str, int] | None:
    """A backslash or a percent sign where it means something else than was meant."""
    if "escape" in said and "double-quoted" in said:
        start = text.rfind("\\", 0, here + 1)
        written = text[start : start + 2]
        return f"{written} is no escape in double quotes; write \\{written}", start
    if "character '%' that" in said and text.startswith("{%", here - 1):
        return "a text that begins with {% stands in quotes, or in a block after |", here - 1
    return None


def _second_colon(text: str, here: int) -> tuple[str, int]:
    """A colon where no key can be: in a text, or after a line that does not lead to it."""
    before, line = _lines(text, here)
    key = text[line:here]
    at = line + _indent(key)
    if re.search(r":\s", key):
        return f"a text with ': ' in it is taken for a key; {_QUOTE_IT}", here
    if len(key) > _KEY_FOUND_WITHIN:
        return f"a key of more than {_KEY_FOUND_WITHIN} characters; write it after '? '", at
    above = text[before:line].rstrip()
    if re.search(r":\s", above) and _indent(key) > _indent(above):
        return "this key is indented below a line that already has a value; align the two", at
    message = "this line is no key, yet the next one is; write `key: value` in one line each"
    return message, before + _indent(above)


def _unclosed(said: str, text: str, here: int, began: int) -> tuple[str, int]:
    opening = text[began : began + 1]
    closing = "}" if opening == "{" else "]"
    if "stream end" in said:
        return f"this {opening} is never closed; add {closing}", began
    found = said.rsplit("got ", 1)[-1]
    place = _place(text, began)
    message = f"found {found} where ',' or '{closing}' is missing for the {opening} of line"
    return f"{message} {place.line}, column {place.column}; add it, or quote the text", here


def _leftover(text: str, here: int) -> tuple[str, int]:
    """Something after a complete value: on its line, or on a line with an indent of its own."""
    before, line = _lines(text, here)
    if text[line:here].strip():
        return "nothing can follow a complete value; put the whole text in quotes", here
    if text[before:line].strip():
        return "this line is indented like none above it; align it with its siblings", here
    return "the block begins with an empty line that is indented deeper; shorten that line", here


def _without_mark(text: str) -> tuple[str, int]:
    """For errors that are not the parser's own: an escape beyond the last character of Unicode."""
    match = _TOO_HIGH.search(text)
    if match:
        return f"{match[0]} is beyond the last character of Unicode; correct it", match.start()
    return _UNKNOWN, 0


def _lines(text: str, offset: int) -> tuple[int, int]:
    """Where the line before that of `offset` begins, and where its own does."""
    starts = line_starts(text[:offset])
    return (starts[-2] if len(starts) > 1 else 0), starts[-1]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _place(text: str, offset: int) -> Place:
    return place_at(line_starts(text), offset)
