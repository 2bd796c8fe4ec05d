"""What was changed in a graph since a run: which of its records that concerns, and a diff.

A node is run again for one of three reasons: it was changed, it comes after one that is run again,
or the caller asks for it. Nodes are named by their paths; a path that ends in `/` stands for a node
that has to run again only because of the graph inside it, whose other nodes keep their records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import unified_diff
from itertools import islice
from typing import cast

from msgspec.structs import replace

from ..errors import Changed
from ..graph.node import runs_rounds, tools_of, visited_field
from ..node_path import NodePath
from ..records import Record, Run
from ..session.store import Store
from .prepared import PreparedGraph, own_fingerprint

_TEMPLATES, _AFTER, _INLINE = "templates", "after ", ".inline"
_MAX_LINES = 40
"""Lines that are shown of the diff of one text."""


def changed_paths(prepared: PreparedGraph, records: Mapping[str, Record]) -> list[str]:
    """The nodes with a final record whose fingerprint is another one now, or which are gone.

    A node without a final record may be changed, unless part of the graph inside it is done, or it
    has asked a person: the answer is to what was asked.
    """
    changed: list[str] = []
    for path, record in records.items():
        now = prepared.fingerprints.get(NodePath(path).declared, "")
        if record.fingerprint == now:
            continue
        if own_fingerprint(record.fingerprint) != own_fingerprint(now):
            if record.is_final or _has_asked(record) or _has_final_inside(path, records):
                changed.append(path)
        elif record.is_final:
            changed.append(f"{path}/")
    return changed


async def check_unchanged(prepared: PreparedGraph, store: Store, run: Run) -> None:
    """Raise `Changed`, with the differences, if the graph is not the one that made the records."""
    if paths := changed_paths(prepared, run.records):
        raise Changed(await _differences(prepared, store, run, paths), run=run)


def invalidated(
    prepared: PreparedGraph, records: Mapping[str, Record], paths: Iterable[str]
) -> set[str]:
    """The paths of the records that become invalid if these nodes are run again.

    These are the final ones, and those that would be continued.
    """
    again = _run_again(prepared, records, paths)
    return {path for path in again if path in records and _is_used(records[path])}


def as_failed(records: Mapping[str, Record], paths: Iterable[str], error: str) -> list[Record]:
    """The records of these nodes turned into those of failed attempts, so that others follow."""
    return [
        replace(records[path], status="failed", error=error, abandoned=True)
        for path in sorted(paths)
    ]


def _run_again(prepared: PreparedGraph, paths: Iterable[str], wanted: Iterable[str]) -> set[str]:
    """Those of `paths` that are run again with `wanted`, whatever their records say."""
    known, whole, inside = [NodePath(path) for path in paths], set[str](), dict[str, list[str]]()
    for path in map(NodePath, wanted):
        outer = path.outermost
        # A node whose model called the graph inside as a tool has read the results.
        is_tool = outer in prepared.inner and tools_of(prepared.graph.nodes[outer]) is not None
        if path != outer and outer in prepared.inner and not is_tool:
            inside.setdefault(outer, []).append(path)
        else:
            whole.add(outer)
    order = prepared.plan.order
    whole |= prepared.plan.after(node_id for node_id in {*whole, *inside} if node_id in order)
    again: set[str] = {path for path in known if path.outermost in whole}
    for outer in inside.keys() - whole:
        again |= {outer, *_again_inside(prepared, outer, known, inside[outer])}
    return again


def _again_inside(
    prepared: PreparedGraph, outer: str, known: Iterable[NodePath], wanted: Iterable[str]
) -> set[str]:
    """Those of the paths inside a node that run again; after a round or visit all later ones."""
    again, is_later, node = set[str](), False, prepared.graph.nodes[outer]
    is_ordered = runs_rounds(node) or visited_field(node) is not None
    by_step: dict[str, list[str]] = {}
    for path in known:
        if path.is_inside(outer):
            step, _, rest = path.partition("/")
            by_step.setdefault(step, []).append(rest)
    for step in sorted(by_step, key=lambda each: NodePath(each).number or 0):
        parts = [path.partition("/") for path in wanted]
        rests = [rest for first, _, rest in parts if rest and first in (step, outer)]
        if is_later or step in wanted:
            deeper = set(by_step[step])
        else:
            deeper = _run_again(prepared.inner[outer], by_step[step], rests)
        again |= {NodePath(step).child(path) for path in deeper}
        is_later = bool(deeper) and is_ordered
    return again


def _has_asked(record: Record) -> bool:
    """Whether the node waits for a person, or an attempt that is not over got an answer."""
    return not record.abandoned and (record.status == "waiting" or bool(record.questions))


def _is_used(record: Record) -> bool:
    """Whether a resumed run uses the record: it is final, or its tool calls are continued."""
    return record.is_final or _has_asked(record) or (not record.abandoned and record.calls > 0)


def _has_final_inside(outer: str, records: Mapping[str, Record]) -> bool:
    return any(
        record.is_final and NodePath(path).is_inside(outer) for path, record in records.items()
    )


async def _differences(
    prepared: PreparedGraph, store: Store, run: Run, paths: Iterable[str]
) -> list[str]:
    """What is different at each of the paths that `changed_paths` gave, one text each.

    A difference of a text has lines of its own, which begin with `-` and `+`.
    """
    facts = await store.prompt(run.turn.declared) or {}
    texts: list[str] = []
    # Rounds and items of one node have the same difference.
    for path in dict.fromkeys(NodePath(path).declared for path in paths):
        node_path = path.removesuffix("/")
        if node_path not in prepared.fingerprints:
            lines = ["the graph no longer has it"]
        elif node_path != path:
            lines = ["the graph inside it was changed"]
        else:
            lines = await _node_differences(prepared, store, node_path, facts.get(path))
        between = ": " if len(lines) == 1 and "\n" not in lines[0] else ":\n"
        texts.append(f"node {node_path!r}{between}" + "\n".join(lines))
    return texts


async def _node_differences(
    prepared: PreparedGraph, store: Store, path: str, stored: str | None
) -> list[str]:
    if stored is None:
        return ["it was changed, and the store has no record of what it was before"]
    old, new = _facts_by_name(stored), _facts_by_name(prepared.facts[path])
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    fields = [name for name in names if name != _TEMPLATES and not name.startswith(_AFTER)]
    lines = [_field_difference(name, old.get(name), new.get(name)) for name in fields]
    if _TEMPLATES in names:
        lines += await _template_differences(
            prepared, store, path, old[_TEMPLATES], new[_TEMPLATES]
        )
    # A route that leads here is a difference of its router; alone it is shown here.
    return lines or [_field_difference(name, old.get(name), new.get(name)) for name in names]


async def _template_differences(
    prepared: PreparedGraph, store: Store, path: str, old: object, new: object
) -> list[str]:
    """The diff of the sources that make the prompts; inline templates are diffed as fields."""
    hashes, now = cast("Mapping[str, str]", old), cast("Mapping[str, str]", new)
    before, after = dict[str, str](), dict[str, str]()
    for prompt_hash in set(hashes.values()) - set(now.values()):
        sources = await store.prompt(prompt_hash)
        if sources is None:
            return ["its template was changed, and the store has no record of its old text"]
        before |= sources
    for name, prompt_hash in now.items():
        if prompt_hash not in hashes.values():
            after |= prepared.owner(path).graph.prompts.sources(name)
    return [
        _text_difference(f"template {each}", before.get(each, ""), after.get(each, ""))
        for each in dict.fromkeys([*before, *after])
        if before.get(each) != after.get(each) and not each.endswith(_INLINE)
    ]


def _facts_by_name(text: str) -> dict[str, object]:
    """The facts by names as people write them: `role`, `model temperature`, `after router`."""
    facts = cast("dict[str, object]", json.loads(text))
    fields = cast("dict[str, object]", facts["node"])
    by_name = {"kind": facts["kind"], _TEMPLATES: facts["templates"]}
    by_name |= dict(_flatten("", {name: fields[name] for name in fields if name != "model"}))
    if (schema := facts.get("schema")) is not None:
        by_name |= dict(_flatten("returns", schema))
    for index, model in enumerate(cast("list[object]", facts["models"])):
        by_name |= dict(_flatten("model" if not index else f"fallback {index}", model))
    for source, labels in cast("dict[str, object]", facts["after"]).items():
        by_name[f"{_AFTER}{source}"] = labels or "always"
    return by_name


def _flatten(name: str, value: object) -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, item in cast("dict[str, object]", value).items():
        yield from _flatten(f"{name} {key}".strip(), item)


def _field_difference(name: str, old: object, new: object) -> str:
    if isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
        return _text_difference(name, old, new)
    return f"{name}: {_value_text(old)} -> {_value_text(new)}"


def _value_text(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _text_difference(name: str, old: str, new: str) -> str:
    compared = unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
    lines = [line for line in islice(compared, 2, None) if not line.startswith("@@")]
    more = ["..."] if len(lines) > _MAX_LINES else []
    return "\n  ".join([f"{name}:", *lines[:_MAX_LINES], *more])
