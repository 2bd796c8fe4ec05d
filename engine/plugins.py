"""Entry points of installed packages: which names a group has, and the object behind one of them.

Kinds of nodes and adapters of models are found this way. Listing the names imports nothing; a
plug-in is imported when it is first used.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from .errors import TeamgraphError


@cache
def plugins(group: str, what: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group by name; `what` says in errors what they are ("kind").

    Raises `TeamgraphError` if two packages offer different objects under one name.
    """
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        known = points.setdefault(point.name, point)
        if known.value != point.value:
            text = f"the {what} {point.name!r} is offered twice, as {known.value} and {point.value}"
            raise TeamgraphError(f"{text}; uninstall one of the two packages")
    return points


def load_plugin(point: EntryPoint, what: str) -> object:
    """Import what an entry point names; raises `TeamgraphError` with the reason if that fails."""
    try:
        return point.load()
    except Exception as error:
        package = point.module.partition(".")[0]
        raise TeamgraphError(
            f"the {what} {point.name!r} ({point.value}) cannot be imported: {error}; if another "
            f"package of the name {package!r} comes before it on the path, rename or remove that "
            "one"
        ) from error
