"""From the parser's events to data and marks, one event at a time.

There is no recursion: open collections are a stack, so depth and size are checked as they grow,
before anything is built from them. What does not hold is noted and reading goes on, so that one
look finds everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ..errors import DefinitionError, Path, Problem, in_reading_order
from .document import Mark, Place
from .event import Event
from .scalar import resolve

BYTES_AT_MOST = 1_000_000
LINE_AT_MOST = 100_000  # the parser's time for one word can grow with its square
DEPTH_AT_MOST = 50
NODES_AT_MOST = 50_000
PROBLEMS_AT_MOST = 100
_SHOWN_AT_MOST = 60
_CHARACTERS_OF_A_NODE = 100  # a longer text weighs as much as several nodes

_PROPERTIES = re.compile(r"(?:[&!]\S*+(?:\s++|#[^\r\n]*+)*+)+")
_CORE = "tag:yaml.org,2002:"
_TEXT_TAGS = ("!", _CORE + "str")
_TAGS: dict[type, tuple[str, ...]] = {
    type(None): ("null",),
    bool: ("bool",),
    int: ("int", "float"),
    float: ("float",),
    str: (),
    list: ("seq",),
    dict: ("map",),
}

Tree: TypeAlias = "bool | int | float | str | list[Tree] | dict[str, Tree] | None"


class Node(Struct):
    """A finished value: `weight` in nodes with all below it, `height` in collections."""

    value: Tree
    mark: Mark
    weight: int = 1
    height: int = 0


class _Open(Struct):
    """A collection that is being read. `key` waits for its value; `name` leads here."""

    node: Node
    anchor: str | None
    name: str | int | None
    key: Node | None = None


class Builder:
    """Takes events one by one; afterwards `root` is the document, `problems` what is wrong."""

    def __init__(self, text: str, *, file: str, place: Callable[[int], Place]) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._text = text
        self._file = file
        self._place = place
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._weight = 0
        self._documents = 0

    def take(self, event: Event) -> None:
        """Go on by one event. Raises `DefinitionError` where reading on makes no sense."""
        match event.kind:
            case "scalar":
                self._finish(self._scalar(event), event.anchor)
            case "mapping" | "sequence":
                self._open(event)
            case "end":
                self._close(event.end)
            case "alias":
                self._finish(self._alias(event), None)
            case _:
                self._begin(event)

    def stop(self, code: str, message: str, at: int) -> NoReturn:
        """Give up with this problem and all that were found before it."""
        self._note(code, message, at)
        raise DefinitionError(in_reading_order(self.problems))

    def _begin(self, event: Event) -> None:
        self._documents += 1
        if self._documents > 1:
            message = "a file holds one document; put the rest into a file of its own"
            self.stop("Y010", message, event.start)
        if event.directed:
            self._note("Y013", "graph files are YAML 1.2 without directives; remove the % lines", 0)

    def _scalar(self, event: Event) -> Node:
        mark = self._mark(event)
        mark.style = event.style
        value: Tree = event.value
        if not event.style and event.tag not in _TEXT_TAGS:
            value = self._resolved(event.value, mark.at)
        if event.tag not in (None, *_TEXT_TAGS):
            self._check_tag(event, value)
        if isinstance(value, str):
            mark.text = value
            self._check_surrogates(value, mark.at)
        weight = 1 + len(event.value) // _CHARACTERS_OF_A_NODE
        self._weigh(weight, mark.at)
        return Node(value, mark, weight=weight)

    def _resolved(self, word: str, at: int) -> Tree:
        try:
            return resolve(word)
        except ValueError as error:
            message = f"{_shortened(word)} {error}; quote it if it is meant as text"
            self._note("Y015", message, at)
            return word

    def _check_tag(self, event: Event, value: Tree) -> None:
        """Only the core tags are known, and they must fit the value."""
        tag = event.tag or ""
        if tag.startswith(_CORE) and tag.removeprefix(_CORE) in _TAGS[type(value)]:
            return
        shown = _shortened(tag.replace(_CORE, "!!"))
        at = max(self._text.find("!", event.start), event.start)
        hint = "remove it" if isinstance(value, dict | list) else "remove it, or quote the text"
        self._note("Y013", f"the tag {shown} does not hold here; {hint}", at)

    def _check_surrogates(self, value: str, at: int) -> None:
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            self._note("Y004", "half a surrogate pair is no character; write it whole", at)

    def _alias(self, event: Event) -> Node:
        at = event.start
        name = event.anchor or ""
        if name not in self._anchors:
            hint = "a text that begins with * stands in quotes"
            self.stop("Y011", f"there is no anchor &{name} above; {hint}", at)
        node = self._anchors[name]
        if node is None:
            self.stop("Y011", f"the alias *{name} contains itself; write the value out", at)
        if self._height() + node.height > DEPTH_AT_MOST:
            self._too_deep(at)
        self._weigh(node.weight, at)
        return replace(node, value=_copy(node.value), mark=replace(node.mark, at=at, key=at))

    def _open(self, event: Event) -> None:
        if self._height() >= DEPTH_AT_MOST:
            self._too_deep(event.start)
        self._weigh(1, event.start)
        mark = self._mark(event)
        mark.flow = event.flow
        value: Tree = {} if event.kind == "mapping" else []
        if event.tag is not None:
            self._check_tag(event, value)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(Node(value, mark), event.anchor, self._name()))

    def _close(self, end: int) -> None:
        closed = self._stack.pop()
        closed.node.mark.end = end
        closed.node.height += 1
        self._finish(closed.node, closed.anchor)

    def _finish(self, node: Node, anchor: str | None) -> None:
        """Put a finished value where it belongs."""
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        parent.node.weight += node.weight
        parent.node.height = max(parent.node.height, node.height)
        match parent.node.value:
            case list() as items:
                self._append(items, parent.node.mark, node)
            case dict() as mapping if parent.key is not None:
                self._put(mapping, parent.node.mark, parent.key, node)
                parent.key = None
            case _:
                parent.key = node

    def _append(self, items: list[Tree], where: Mark, node: Node) -> None:
        """Put a value at the end of a list; where nothing is written, its dash stands for it."""
        if node.mark.is_empty and self._text.startswith("-", node.mark.at - 1):
            node.mark.key = node.mark.at = node.mark.at - 1
        where.children[len(items)] = node.mark
        items.append(node.value)

    def _put(self, mapping: dict[str, Tree], where: Mark, key: Node, node: Node) -> None:
        """Put a value under its key, unless the key does not hold."""
        name = self._key(key, where)
        if name is None:
            return
        node.mark.key = key.mark.at
        if node.mark.is_empty:
            node.mark.at = node.mark.start = node.mark.end = key.mark.at
        mapping[name] = node.value
        where.children[name] = node.mark

    def _key(self, key: Node, mapping: Mark) -> str | None:
        """The key's text, or None if it cannot stand here; then the problem is noted."""
        at = key.mark.at
        if not isinstance(key.value, str):
            self._note("Y014", f"a key must be text; {self._key_hint(key)}", at)
            return None
        if key.value == "<<" and not key.mark.style:
            self._note("Y009", "merge keys (<<) are not read; write the keys out", at)
            return None
        if key.value in mapping.children:
            first = self._place(mapping.children[key.value].key).line
            message = f"key {_shortened(key.value)!r} stands twice, first in line {first}"
            self._note("Y008", f"{message}; keep one of them", at, name=key.value)
            return None
        return key.value

    def _key_hint(self, key: Node) -> str:
        written = self._text[key.mark.start : key.mark.end].strip()
        if isinstance(key.value, dict | list):
            is_template = self._text.startswith("{{", key.mark.at - 1)
            return (
                "a text that begins with {{ stands in quotes"
                if is_template
                else "a list or mapping cannot be one"
            )
        return f"write '{_shortened(written)}' in quotes" if written else "write one before the ':'"

    def _mark(self, event: Event) -> Mark:
        """Where a value stands, without the anchor and tag before it."""
        start, end = event.start, event.end
        if self._text.startswith(("&", "!"), start):
            properties = _PROPERTIES.match(self._text, start)
            begins = properties.end() if properties else start
            if begins <= end or event.kind != "scalar":
                start = begins
        return Mark(key=start, at=start, start=start, end=end)

    def _weigh(self, weight: int, at: int) -> None:
        self._weight += weight
        if self._weight > NODES_AT_MOST:
            self.stop("Y003", f"more than {NODES_AT_MOST} values, aliases included; split it", at)

    def _too_deep(self, at: int) -> NoReturn:
        self.stop("Y012", f"nested more than {DEPTH_AT_MOST} deep; write it flatter", at)

    def _height(self) -> int:
        return len(self._stack)

    def _name(self) -> str | int | None:
        """The key or index under which the next value will stand."""
        if not self._stack:
            return None
        parent = self._stack[-1]
        if isinstance(parent.node.value, list):
            return len(parent.node.value)
        return parent.key.value if parent.key and isinstance(parent.key.value, str) else None

    def _note(self, code: str, message: str, at: int, *, name: str | None = None) -> None:
        names = [*(each.name for each in self._stack), name or self._name()]
        path: Path = tuple(part for part in names if part is not None)
        place = self._place(at)
        self.problems.append(
            Problem(code, message, file=self._file, line=place.line, column=place.column, path=path)
        )
        if len(self.problems) >= PROBLEMS_AT_MOST:
            raise DefinitionError(in_reading_order(self.problems))


def _shortened(word: str) -> str:
    return word if len(word) <= _SHOWN_AT_MOST else f"{word[:_SHOWN_AT_MOST]}..."


def _copy(value: Tree) -> Tree:
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_copy(each) for each in value]
    return value
