"""Which records of a run the graph would not make again as it is now.

A node is done anew for one of three reasons: it was changed, it comes after one that is done anew,
or somebody asks for it. All of them are sets of paths, `node` or `node/inner_node`; a path that
ends in `/` means a node for the sake of the graph inside it, whose other nodes keep their records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from .casting import Cast
from .fingerprint import own
from .session import Record


def changed(cast: Cast, records: Mapping[str, Record]) -> list[str]:
    """The paths of what is done in `records` and is declared in another way now, or nowhere.

    A node that is not done may be mended, unless part of the graph inside it is done.
    """
    found: list[str] = []
    for path, record in records.items():
        now = cast.fingerprints.get(path, "")
        if record.fingerprint == now:
            continue
        if own(record.fingerprint) != own(now):
            if record.is_final or _is_begun_inside(path, records):
                found.append(path)
        elif record.is_final:
            found.append(f"{path}/")
    return found


def outdated(cast: Cast, records: Mapping[str, Record], paths: Iterable[str]) -> set[str]:
    """The paths of the final records that cannot stay if these nodes are done anew."""
    anew = _anew(cast, records, paths)
    return {path for path in anew if path in records and records[path].is_final}


def reopened(records: Mapping[str, Record], paths: Iterable[str], because: str) -> list[Record]:
    """The records of these nodes as those of failed attempts, so that others follow them."""
    return [replace(records[path], status="failed", error=because) for path in sorted(paths)]


def _anew(cast: Cast, paths_there: Iterable[str], wanted: Iterable[str]) -> set[str]:
    """Everything of `paths_there` that is done anew with `wanted`, whatever its record says."""
    there, whole, inside = list(paths_there), set[str](), dict[str, list[str]]()
    for path in wanted:
        outer, slash, inner_path = path.partition("/")
        if slash and outer in cast.inner:
            inside.setdefault(outer, []).append(inner_path)
        else:
            whole.add(outer)
    known = cast.plan.order
    whole |= cast.plan.after(node_id for node_id in {*whole, *inside} if node_id in known)
    found = {path for path in there if path.partition("/")[0] in whole}
    for outer in inside.keys() - whole:
        under = f"{outer}/"
        within = [path.removeprefix(under) for path in there if path.startswith(under)]
        wanted_within = [path for path in inside[outer] if path]
        found |= {f"{under}{path}" for path in _anew(cast.inner[outer], within, wanted_within)}
        found.add(outer)
    return found


def _is_begun_inside(path: str, records: Mapping[str, Record]) -> bool:
    under = f"{path}/"
    return any(record.is_final and other.startswith(under) for other, record in records.items())
