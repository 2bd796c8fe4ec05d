"""A rendering as a text to review: Markdown that no content can forge, the same in every process.

Content is always indented by four, headings never are. Characters that cannot be seen are written
`⟦U+202E⟧`, so that hidden instructions show, and different prompts never look the same.

The words of a message row by row, each with where it came from.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from hashlib import sha256
from typing import NamedTuple

from ..messages import JSON, Message
from ..prompts.provenance import Span
from ..run.dry_run.rendering import RenderedNode, RenderedPrompt, Rendering

_NAMED = 2
"""How many paths of one stretch are named."""


class Row(NamedTuple):
    """Words on one line that came from one place; `goes_on` if the line began before them.

    `place` and `values` are empty where they are those of the row above.
    """

    place: str
    values: str
    words: str
    goes_on: bool


def rows(text: str, stretches: Sequence[Span]) -> Iterator[Row]:
    """The rows of a message; the end of a line has none of its own."""
    goes_on = False
    for stretch in stretches:
        lines = text[stretch.start : stretch.end].split("\n")
        place, values = f"{stretch.template}:{stretch.line}:{stretch.column}", _values(stretch)
        for number, words in enumerate(lines):
            if number and stretch.is_text:
                place = f"{stretch.template}:{stretch.line + number}:1"
            goes_on = goes_on and not number
            is_end = not words and (goes_on or number == len(lines) - 1)
            if not is_end:
                yield Row(place, values, words, goes_on)
                place = values = ""
        goes_on = not text[: stretch.end].endswith("\n")


def _values(stretch: Span) -> str:
    more = len(stretch.values) - _NAMED
    named = ", ".join(stretch.values[:_NAMED])
    return f"{named} and {more} more" if more > 0 else named


LONGEST_SLUG = 100
_INDENT = "    "
_OPEN = "⟦"
_UNSEEN = frozenset(("Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"))
# Letters and marks that print as nothing: fillers, joiners, variation selectors.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f]|[\U000e0100-\U000e01ef]"
)


def snapshot(rendering: Rendering, case: str) -> str:
    """The snapshot of a case: every node in topological order, with all that it would send."""
    heading = f"# {in_line(rendering.graph)} / {in_line(case)}"
    return f"{heading}\n\n{body(rendering.values())}"


def body(nodes: Iterable[RenderedNode], *, came_from: bool = False) -> str:
    """What some nodes would send, as a snapshot has it; also where each of the words came from."""
    lines = [line for node in nodes for line in _node(node, came_from=came_from)]
    return "\n".join(lines).rstrip("\n") + "\n"


def slug(name: str) -> str:
    """The name of a case as the name of a file, without its suffix."""
    plain = unicodedata.normalize("NFC", name).lower()
    words = re.sub(r"[^\w.-]+", "-", plain).strip("-.") or "case"
    if len(words) <= LONGEST_SLUG:
        return words
    return f"{words[:LONGEST_SLUG]}-{sha256(name.encode()).hexdigest()[:8]}"


def difference(stored: str, now: str, name: str, context: int = 2) -> str:
    """A unified diff of two snapshots; each hunk names the node and the message it begins in."""
    old, new = stored.split("\n"), now.split("\n")
    lines = [f"--- {name} (stored)", "+++ rendered now"]
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(context):
        first, last = group[0], group[-1]
        spans = f"-{first[1] + 1},{last[2] - first[1]} +{first[3] + 1},{last[4] - first[3]}"
        changed = next(op[3] for op in group if op[0] != "equal")
        lines.append(f"@@ {spans} @@ {_heading(new, changed)}".rstrip())
        for kind, old_start, old_end, new_start, new_end in group:
            if kind == "equal":
                lines += [f" {line}" for line in old[old_start:old_end]]
            else:
                lines += [f"-{line}" for line in old[old_start:old_end]]
                lines += [f"+{line}" for line in new[new_start:new_end]]
    return "\n".join(line.rstrip() for line in lines)


def in_line(text: str) -> str:
    """A text on one line, all of it to be seen."""
    return "".join(_shown(one) for one in text)


def _heading(lines: list[str], index: int) -> str:
    """The innermost heading over a line: it names the node and the message."""
    above = reversed(lines[: index + 1])
    return next((line.lstrip("# ") for line in above if line.startswith("##")), "")


def _node(node: RenderedNode, *, came_from: bool) -> Iterator[str]:
    yield from (f"## {node.id}", "")
    if node.because is not None:
        yield from (f"skipped: {in_line(node.because)}", "")
    elif not node.prompts:
        yield from (f"{in_line(node.kind)}, sends no prompt", "")
    number = 0
    for prompt in node.prompts:
        yield from (in_line(prompt.template), "")
        stretches = prompt.came_from if came_from else ((),) * len(prompt.messages)
        for message, tiles in zip(prompt.messages, stretches, strict=True):
            number += 1
            yield from (f"### {node.id} {number} {message.role}{_attributes(message)}", "")
            content = message.content
            yield from (*(_beside(content, tiles) if tiles else _indented(content)), "")
            if message.tool_calls:
                calls = [call.model_dump(mode="json") for call in message.tool_calls]
                yield from (f"### {node.id} {number} tool calls", "", *_json(calls), "")
        yield from _offered(node.id, prompt)


def _offered(node_id: str, prompt: RenderedPrompt) -> Iterator[str]:
    if prompt.tools:
        tools: list[JSON] = [dict(tool) for tool in prompt.tools]
        yield from (f"### {node_id} tools", "", *_json(tools), "")
    if prompt.response_format is not None:
        yield from (f"### {node_id} response format", "", *_json(prompt.response_format), "")


def _attributes(message: Message) -> str:
    attributes: Mapping[str, str | None] = {
        "name": message.name,
        "tool_call_id": message.tool_call_id,
    }
    said = [f" {name}={_quoted(value)}" for name, value in attributes.items() if value is not None]
    return "".join(said) + (" cache" if message.cache else "")


def _quoted(value: str) -> str:
    return in_line(json.dumps(value, ensure_ascii=False))


def _json(value: object) -> list[str]:
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, default=dict)
    return _indented(text)


def _indented(text: str) -> list[str]:
    """The lines of a text; no end of it, and no empty line at an end, goes unseen."""
    if not text:
        return [f"{_INDENT}{_OPEN}⟧"]
    lines = [_line(line) for line in text.split("\n")]
    for place in (0, -1):
        lines[place] = lines[place] or f"{_OPEN}⟧"
    return [f"{_INDENT}{line}" if line else "" for line in lines]


def _beside(text: str, stretches: Sequence[Span]) -> list[str]:
    """The words of a text with where they came from before them; `…` goes on with a line."""
    found = [*rows(text, stretches)]
    places = max((len(row.place) for row in found), default=0)
    values = max((len(row.values) for row in found), default=0)
    return [
        f"{_INDENT}{row.place:<{places}}  {row.values:<{values}}  "
        f"{'…' if row.goes_on else ''}{in_line(row.words)}"
        for row in found
    ]


def _line(text: str) -> str:
    bare = text.rstrip(" \t")
    ends = "".join(f"{_OPEN}U+{ord(one):04X}⟧" for one in text[len(bare) :])
    return "".join(one if one == "\t" else _shown(one) for one in bare) + ends


def _shown(one: str) -> str:
    if one == " " or (one != _OPEN and one.isascii() and one.isprintable()):
        return one
    if one == _OPEN or unicodedata.category(one) in _UNSEEN or _BLANK.match(one):
        return f"{_OPEN}U+{ord(one):04X}⟧"
    return one
