"""What clients attach to a message: bytes in data URLs, and addresses that are passed on.

A path is never taken, so that a client reaches no file of this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import InputError
from ..graph.graph import Graph
from .errors import Refusal

if TYPE_CHECKING:
    from ..attachments import Attachment

_ADDRESS = re.compile("https?://", re.IGNORECASE)


def read_attachment(
    url: str, place: str, *, name: str | None = None, usual: str | None = None
) -> Attachment:
    """The attachment of a `data:` URL, or of an http or https one, which is never fetched here.

    `place` is where the request has it, `usual` the media type of a URL that does not say its own.
    Raises `Refusal`.
    """
    # Lazy: few requests attach anything.
    from ..attachments import Attachment  # noqa: PLC0415

    try:
        if url[:5].lower() == "data:":
            return Attachment.from_data_url(url, name=name)
        if not _ADDRESS.match(url):
            raise InputError(f"{url[:60]!r} is no data:, http or https URL; send one of these")
        name = name or PurePosixPath(urlsplit(url).path).name or "attachment"
        try:
            return Attachment(name=name, url=url)
        except InputError:
            if usual is None:
                raise
            return Attachment(name=name, url=url, media_type=usual)
    except ValueError as error:  # an InputError, or of urlsplit
        raise Refusal(400, "invalid_request", f"{place}: {error}", param=place) from error


def check_attaches(graph: Graph, places: Iterable[str]) -> None:
    """Raise `Refusal` if something is attached and no template of the graph sends it.

    `places` are where the request has what is attached.
    """
    for place in places:
        if not graph.reads_attachments:
            raise Refusal(
                400,
                "unsupported_parameter",
                f"{place}: graph {graph.name!r} has no use for it, as none of its templates has "
                "{% attach input.attachments %}; add that, or send text only",
                param=place,
            )
