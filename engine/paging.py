"""A long list, read page by page and told item by item."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item", covariant=True)  # noqa: PLC0105  `Item_co` says no more
PAGE = 100


class Read(Protocol[Item]):
    """Reads a part of a list; nothing where it is at its end."""

    async def __call__(self, *, limit: int, offset: int) -> Sequence[Item]:
        """At most `limit` items, after the first `offset`."""
        ...


async def every(read: Read[Item]) -> AsyncIterator[Item]:
    """All items of the list; a page is read when it is come to."""
    offset = 0
    while page := await read(limit=PAGE, offset=offset):
        for item in page:
            yield item
        offset += len(page)
