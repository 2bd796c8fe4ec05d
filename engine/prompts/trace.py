"""A rendering that notes what is read on the way, so that one can tell where each word came from.

Texts carry the path that they were read by (`Traced`); other values are known again by their
identity, as long as the rendering lasts. What was read is also kept in order: a text that is
computed came from all that was read since its expression began.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from typing import cast

from jinja2 import Undefined

from .budget import CURRENT, Rendering
from .traced import Traced

_PLAIN = (str, int, float, Undefined, type(None))
"""Values that are not known by their identity: Python shares them."""

_NAME = re.compile(r"[A-Za-z_]\w*")
_STEP = re.compile(r"[.\[]")
_LISTS = (list, tuple)
_PATIENCE = 100
"""How much more work than the rendering itself its trace may do."""


class Trace(Rendering):
    """A rendering under way, and what it has read of its `variables`."""

    __slots__ = ("_paths", "_reads", "_variables", "texts")

    def __init__(self, longest: int, variables: Mapping[str, object]) -> None:
        super().__init__(longest)
        self.left *= _PATIENCE
        self.texts: list[Traced] = []
        self._variables = variables
        self._reads: list[str] = []
        self._paths: dict[int, tuple[object, str]] = {}

    @property
    def mark(self) -> int:
        """How much was read so far."""
        return len(self._reads)

    def since(self, mark: int) -> tuple[str, ...]:
        """The paths read since then; of `input` and `input.message` only the second."""
        reads = dict.fromkeys(self._reads[mark:])
        ways = {read[: step.start()] for read in reads for step in _STEP.finditer(read)}
        return tuple(read for read in reads if read not in ways)

    def path(self, value: object) -> str | None:
        """Where a value was read that is known by its identity."""
        found = self._paths.get(id(value))
        return None if found is None else found[1]

    def name(self, value: object, name: str) -> object:
        """What a name stands for."""
        if isinstance(value, Traced):
            self._reads += value.values
        elif self._variables.get(name) is value:
            return self._read(value, name)
        elif not isinstance(value, str):
            self._reads += self._within(value)
        return value

    def part(self, owner: object, value: object, key: object) -> object:
        """What was found in `owner` under `key`."""
        path, known = self.path(owner), self.path(value)
        if isinstance(value, Traced):
            self._reads += value.values
        elif known is not None and isinstance(owner, list | tuple):
            return self._read(value, known)  # the list may have been made of another
        elif path is not None and not callable(value):
            return self._read(value, path + _step(key, value))
        return value

    def view(self, owner: object, value: object) -> object:
        """All of `owner` in another form: its keys, values or items."""
        path = self.path(owner)
        return value if path is None else self._read(value, path)

    def computed(self, value: object, mark: int) -> object:
        """A text that was made of what was read since then."""
        if type(value) is str and (reads := self.since(mark)):
            return Traced.of(value, None, reads)
        return value

    def each(self, values: Iterable[object], mark: int, path: str | None) -> list[object]:
        """What a loop goes over: `path` leads there, or it was made of what was read since then."""
        reads, everything = self.since(mark), values
        if isinstance(values, ItemsView) and path is not None:
            items = cast("ItemsView[object, object]", values)
            return [
                (self._known(key, path), self._known(value, path + _step(key, value)))
                for key, value in items
            ]
        if isinstance(values, Sequence) and path is not None:
            return [self._known(one, path + _step(index, one)) for index, one in enumerate(values)]
        return [self._made(value, reads) for value in everything]

    def _within(self, value: object) -> Iterator[str]:
        """The paths of a value, or of what it was made of in a template."""
        if isinstance(value, Traced):
            yield from value.values
        elif (path := self.path(value)) is not None:
            yield path
        elif isinstance(value, list | tuple | dict):
            made = cast("list[object] | dict[object, object]", value)
            for part in made.values() if isinstance(made, dict) else made:
                yield from self._within(part)

    def _read(self, value: object, path: str) -> object:
        self._reads.append(path)
        return self._known(value, path)

    def _known(self, value: object, path: str) -> object:
        """The value, from now on known by its path; a text carries it."""
        if type(value) is str:
            return Traced.of(value, None, (path,))
        if not isinstance(value, _PLAIN):
            self._paths[id(value)] = value, path
            if issubclass(type(value), _LISTS):
                self._know_parts(cast("Sequence[object]", value), path)
        return value

    def _know_parts(self, values: Sequence[object], path: str) -> None:
        for index, value in enumerate(values):
            if isinstance(value, str):
                self._paths[id(value)] = value, path + _step(index, value)
            elif not isinstance(value, _PLAIN) and id(value) not in self._paths:
                self._known(value, path + _step(index, value))

    def _made(self, value: object, reads: tuple[str, ...]) -> object:
        """An item of a list that was computed: the very item of one that was read, or a new one."""
        path = self.path(value)
        if type(value) is str:
            is_item = path is not None and path.startswith(reads)
            came_from = (path,) if path is not None and is_item else reads
            return Traced.of(value, None, came_from) if reads else value
        if type(value) is tuple:
            return tuple(self._made(one, reads) for one in cast("tuple[object, ...]", value))
        if path is None and len(reads) == 1 and not issubclass(type(value), (*_LISTS, dict)):
            return self._known(value, reads[0])
        return value


def trace() -> Trace:
    """The trace under way."""
    return cast("Trace", CURRENT.get())


def _step(key: object, value: object) -> str:
    """From a value to one of its parts; what has an id is known by that, not by its number."""
    if isinstance(key, str):
        return f".{key}" if _NAME.fullmatch(key) else f"[{str(key)!r}]"
    own = None if isinstance(value, _PLAIN) else getattr(value, "id", None)
    return f"[{own}]" if isinstance(own, str) and _NAME.fullmatch(own) else f"[{key!r}]"
