"""The text of a snapshot: a rendering as Markdown that is reviewed, the same in every process.

Content cannot forge structure: it is always indented by four, headings never are. Invisible
characters are written as `⟦U+202E⟧`, so hidden instructions show, and different prompts have
different texts. With provenance, each piece of a message has its template and values beside it.
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

LONGEST_SLUG = 100
_VALUES_SHOWN = 2
_INDENT = "    "
_OPEN = "⟦"
_INVISIBLE = frozenset(("Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"))
# Letters and marks that print nothing: fillers, joiners, variation selectors.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f]|[\U000e0100-\U000e01ef]"
)


def snapshot(rendering: Rendering, case: str) -> str:
    """The snapshot of a case: every node in topological order, with all that it would send."""
    heading = f"# {escape_invisible(rendering.graph)} / {escape_invisible(case)}"
    return f"{heading}\n\n{nodes_as_text(rendering.values())}"


def nodes_as_text(nodes: Iterable[RenderedNode], *, came_from: bool = False) -> str:
    """What nodes would send, as a snapshot has it; with `came_from`, with the provenance of it."""
    lines = [line for node in nodes for line in _node(node, came_from=came_from)]
    return "\n".join(lines).rstrip("\n") + "\n"


def slug(name: str) -> str:
    """The name of a case as a file name, without the suffix."""
    normalized = unicodedata.normalize("NFC", name).lower()
    short = re.sub(r"[^\w.-]+", "-", normalized).strip("-.") or "case"
    if len(short) <= LONGEST_SLUG:
        return short
    return f"{short[:LONGEST_SLUG]}-{sha256(name.encode()).hexdigest()[:8]}"


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


def escape_invisible(text: str) -> str:
    """The text on one line, with line breaks and invisible characters escaped."""
    return "".join(_escaped(one) for one in text)


class ProvenanceRow(NamedTuple):
    """Text on one line that one place of a template printed; `continues` the line of the row above.

    `place` and `values` are empty where they are the same as in the row above.
    """

    place: str
    values: str
    text: str
    continues: bool


def provenance_rows(text: str, spans: Sequence[Span]) -> Iterator[ProvenanceRow]:
    """The rows of a message; a line break has no row of its own."""
    continues = False
    for span in spans:
        lines = text[span.start : span.end].split("\n")
        place, values = f"{span.template}:{span.line}:{span.column}", _values(span)
        for number, line in enumerate(lines):
            if number and span.is_text:
                place = f"{span.template}:{span.line + number}:1"
            continues = continues and not number
            is_end = not line and (continues or number == len(lines) - 1)
            if not is_end:
                yield ProvenanceRow(place, values, line, continues)
                place = values = ""
        continues = not text[: span.end].endswith("\n")


def _values(span: Span) -> str:
    more = len(span.values) - _VALUES_SHOWN
    named = ", ".join(span.values[:_VALUES_SHOWN])
    return f"{named} and {more} more" if more > 0 else named


def _heading(lines: list[str], index: int) -> str:
    """The nearest heading above a line: it names the node and the message."""
    above = reversed(lines[: index + 1])
    return next((line.lstrip("# ") for line in above if line.startswith("##")), "")


def _node(node: RenderedNode, *, came_from: bool) -> Iterator[str]:
    yield from (f"## {node.id}", "")
    if node.because is not None:
        yield from (f"skipped: {escape_invisible(node.because)}", "")
    elif not node.prompts:
        yield from (f"{escape_invisible(node.kind)}, sends no prompt", "")
    number = 0
    for prompt in node.prompts:
        yield from (escape_invisible(prompt.template), "")
        spans = prompt.came_from if came_from else ((),) * len(prompt.messages)
        for message, tiles in zip(prompt.messages, spans, strict=True):
            number += 1
            yield from (f"### {node.id} {number} {message.role}{_attributes(message)}", "")
            content = message.content
            yield from (*(_with_provenance(content, tiles) if tiles else _indented(content)), "")
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
    found = [f" {name}={_quoted(value)}" for name, value in attributes.items() if value is not None]
    found += [f" attached={_quoted(str(part))}" for part in message.parts]
    return "".join(found) + (" cache" if message.cache else "")


def _quoted(value: str) -> str:
    return escape_invisible(json.dumps(value, ensure_ascii=False))


def _json(value: object) -> list[str]:
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, default=dict)
    return _indented(text)


def _indented(text: str) -> list[str]:
    """The lines of a text; an empty text, first or last line is written as `⟦⟧`."""
    if not text:
        return [f"{_INDENT}{_OPEN}⟧"]
    lines = [_line(line) for line in text.split("\n")]
    for index in (0, -1):
        lines[index] = lines[index] or f"{_OPEN}⟧"
    return [f"{_INDENT}{line}" if line else "" for line in lines]


def _with_provenance(text: str, spans: Sequence[Span]) -> list[str]:
    """The lines of a text, each piece after its provenance; `…` continues the line above."""
    found = [*provenance_rows(text, spans)]
    places = max((len(row.place) for row in found), default=0)
    values = max((len(row.values) for row in found), default=0)
    return [
        f"{_INDENT}{row.place:<{places}}  {row.values:<{values}}  "
        f"{'…' if row.continues else ''}{escape_invisible(row.text)}"
        for row in found
    ]


def _line(text: str) -> str:
    stripped = text.rstrip(" \t")
    trailing = "".join(f"{_OPEN}U+{ord(one):04X}⟧" for one in text[len(stripped) :])
    return "".join(one if one == "\t" else _escaped(one) for one in stripped) + trailing


def _escaped(one: str) -> str:
    if one == " " or (one != _OPEN and one.isascii() and one.isprintable()):
        return one
    if one == _OPEN or unicodedata.category(one) in _INVISIBLE or _BLANK.match(one):
        return f"{_OPEN}U+{ord(one):04X}⟧"
    return one
