"""What was changed in a graph since a run: told node by node, field by field, line by line.

Which records of a run the graph would not make again as it is now.

A node is done anew for one of three reasons: it was changed, it comes after one that is done anew,
or somebody asks for it. All of them are sets of paths, `node` or `node/inner_node`; a path that
ends in `/` means a node for the sake of the graph inside it, whose other nodes keep their records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import unified_diff
from itertools import islice
from typing import cast

from msgspec.structs import replace

from ..records import Record, Run
from ..session.store import Store
from .prepared import PreparedGraph, own


def changed(cast: PreparedGraph, records: Mapping[str, Record]) -> list[str]:
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


def outdated(cast: PreparedGraph, records: Mapping[str, Record], paths: Iterable[str]) -> set[str]:
    """The paths of the final records that cannot stay if these nodes are done anew."""
    anew = _anew(cast, records, paths)
    return {path for path in anew if path in records and records[path].is_final}


def reopened(records: Mapping[str, Record], paths: Iterable[str], because: str) -> list[Record]:
    """The records of these nodes as those of failed attempts, so that others follow them."""
    return [replace(records[path], status="failed", error=because) for path in sorted(paths)]


def _anew(cast: PreparedGraph, paths_there: Iterable[str], wanted: Iterable[str]) -> set[str]:
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


_TEMPLATE, _AFTER, _INLINE = "templates", "after ", ".inline"
_MOST_LINES = 40
"""Lines of one text's difference that are told."""


async def differences(of: PreparedGraph, store: Store, run: Run, paths: Iterable[str]) -> list[str]:
    """What is another now at each of the paths that `changed` found, one text each.

    A difference of a text has lines of its own, which begin with `-` and `+`.
    """
    kept = await store.prompt(run.turn.declared) or {}
    texts: list[str] = []
    for path in paths:
        node_id = path.removesuffix("/")
        if node_id not in of.fingerprints:
            told = ["the graph no longer has it"]
        elif node_id != path:
            told = ["the graph inside it was changed"]
        else:
            told = await _told(of, store, node_id, kept.get(path))
        between = ": " if len(told) == 1 and "\n" not in told[0] else ":\n"
        texts.append(f"node {node_id!r}{between}" + "\n".join(told))
    return texts


async def _told(of: PreparedGraph, store: Store, path: str, kept: str | None) -> list[str]:
    if kept is None:
        return ["it was changed, and what it was before is not known here"]
    old, new = _facts(kept), _facts(of.facts[path])
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    own_names = [name for name in names if name != _TEMPLATE and not name.startswith(_AFTER)]
    told = [_field(name, old.get(name), new.get(name)) for name in own_names]
    if _TEMPLATE in names:
        told += await _templates(of, store, path, old[_TEMPLATE], new[_TEMPLATE])
    # A route that leads here is told by its router; alone it is told here.
    return told or [_field(name, old.get(name), new.get(name)) for name in names]


async def _templates(
    of: PreparedGraph, store: Store, path: str, old: object, new: object
) -> list[str]:
    """What was changed in the texts that make the prompts; inline ones are told as fields."""
    hashes, now = cast("Mapping[str, str]", old), cast("Mapping[str, str]", new)
    before, after = dict[str, str](), dict[str, str]()
    for prompt_hash in set(hashes.values()) - set(now.values()):
        kept = await store.prompt(prompt_hash)
        if kept is None:
            return ["its template was changed, and the text that it had is not known here"]
        before |= kept
    for name, prompt_hash in now.items():
        if prompt_hash not in hashes.values():
            after |= of.at(path).graph.prompts.sources(name)
    return [
        _text(f"template {each}", before.get(each, ""), after.get(each, ""))
        for each in dict.fromkeys([*before, *after])
        if before.get(each) != after.get(each) and not each.endswith(_INLINE)
    ]


def _facts(text: str) -> dict[str, object]:
    """The facts by names as people write them: `role`, `model temperature`, `after router`."""
    facts = cast("dict[str, object]", json.loads(text))
    fields = cast("dict[str, object]", facts["node"])
    named = {"kind": facts["kind"], _TEMPLATE: facts["templates"]}
    named |= dict(_flat("", {name: fields[name] for name in fields if name != "model"}))
    for index, model in enumerate(cast("list[object]", facts["models"])):
        named |= dict(_flat("model" if not index else f"fallback {index}", model))
    for source, labels in cast("dict[str, object]", facts["after"]).items():
        named[f"{_AFTER}{source}"] = labels or "always"
    return named


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, item in cast("dict[str, object]", value).items():
        yield from _flat(f"{name} {key}".strip(), item)


def _field(name: str, old: object, new: object) -> str:
    if isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
        return _text(name, old, new)
    return f"{name}: {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _text(name: str, old: str, new: str) -> str:
    compared = unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
    lines = [line for line in islice(compared, 2, None) if not line.startswith("@@")]
    more = ["..."] if len(lines) > _MOST_LINES else []
    return "\n  ".join([f"{name}:", *lines[:_MOST_LINES], *more])
