"""The parts of an answer in OpenAI's chat format put together, whoever decoded them.

Providers agree on this format only roughly: contents may be lists of parts, tool calls of one reply
may share an index, or have no index or id, and what a model thinks has a field of its own, or is
one of the parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from msgspec import Struct, field

from ..messages import JSON, ToolCall

_REASONING_LISTS = ("thinking_blocks", "reasoning_details")
"""Fields of a message with blocks of what a model thought: Anthropic's, and OpenRouter's."""
_GROWING = frozenset(("thinking", "text", "summary"))


def text_in(content: object) -> str:
    """The text of a message's content: a text, or those of its parts that are text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        return ""
    return "".join(_text_of_part(part) for part in cast("Sequence[object]", content))


def _text_of_part(part: object) -> str:
    if isinstance(part, str):
        return part
    kind, text = get(part, "type"), get(part, "text")
    return text if isinstance(text, str) and kind in (None, "text", "output_text") else ""


def get(value: object, name: str) -> object:
    """A key of a mapping or an attribute of an object; None if there is none."""
    if isinstance(value, Mapping):
        return cast("Mapping[str, object]", value).get(name)
    return getattr(value, name, None)


class PartialReasoning(Struct):
    """What a model thought, put together from its parts.

    `lists` are those fields of a message that are lists of blocks, which may have signatures.
    """

    texts: list[str] = field(default_factory=list[str])
    lists: dict[str, list[dict[str, JSON]]] = field(
        default_factory=dict[str, "list[dict[str, JSON]]"]
    )

    def add(self, message: object) -> None:
        """Add the blocks of a message, or of a part of one."""
        for name in _REASONING_LISTS:
            blocks = get(message, name)
            for block in cast("list[object]", blocks) if isinstance(blocks, list) else []:
                if isinstance(block, dict):
                    self._add(name, cast("dict[str, JSON]", block))

    def fields(self) -> dict[str, JSON]:
        """The fields of the message that have something."""
        text = "".join(self.texts)
        found: dict[str, JSON] = {"reasoning_content": text} if text else {}
        return {**found, **{name: [*blocks] for name, blocks in self.lists.items()}}

    def _add(self, name: str, block: dict[str, JSON]) -> None:
        """Add a block, or what continues the last one: that has its index and no signature yet."""
        blocks = self.lists.setdefault(name, [])
        last = blocks[-1] if blocks else {}
        is_same = all(last.get(key) == block.get(key) for key in ("type", "index"))
        if not is_same or last.get("signature") or last.get("data"):
            blocks.append(dict(block))
            return
        for key, value in block.items():
            before = last.get(key)
            if key in _GROWING and isinstance(before, str) and isinstance(value, str):
                last[key] = before + value
            elif value is not None:
                last[key] = value


def thoughts_in(content: Sequence[object]) -> str:
    """The text of those parts of a content that are thoughts."""
    parts = [get(part, "thinking") for part in content if get(part, "type") == "thinking"]
    return "".join(map(text_in, parts))


class PartialCall(Struct):
    """A tool call of which parts have arrived."""

    index: object
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])

    @property
    def is_complete(self) -> bool:
        """Whether its arguments are JSON as far as they have arrived."""
        try:
            json.loads("".join(self.arguments))
        except (ValueError, RecursionError):
            return False
        return True


class PartialCalls(Struct):
    """The tool calls of a reply, put together from their parts."""

    calls: list[PartialCall] = field(default_factory=list[PartialCall])

    def add(self, part: object, *, index: int | None = None) -> None:
        """Add a part, a mapping or an object; `index` is used instead of its own.

        It continues the newest call of its index, or the newest of all if it has none, unless it
        has another id, or names a function although that call has one and is complete.
        """
        function = get(part, "function")
        call_id, name = _text(get(part, "id")), _text(get(function, "name"))
        place = get(part, "index") if index is None else index
        call = self._continued(place, call_id, name)
        if call is None:
            call = PartialCall(place)
            self.calls.append(call)
        call.id = call_id or call.id
        call.name = name or call.name
        arguments = get(function, "arguments")
        if isinstance(arguments, str):
            call.arguments.append(arguments)
        elif arguments is not None:
            call.arguments.append(json.dumps(arguments, ensure_ascii=False))

    def complete(self) -> tuple[ToolCall, ...]:
        """The calls, in the order of their first parts."""
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments))
            for call in self.calls
        )

    def _continued(self, index: object, call_id: str, name: str) -> PartialCall | None:
        """The call that a part continues; None if it begins one."""
        for call in reversed(self.calls):
            if index is not None and call.index != index:
                continue
            if call_id and call.id:
                if call.id == call_id:
                    return call
            elif not name or not call.name or (name == call.name and not call.is_complete):
                return call
            else:
                return None
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
