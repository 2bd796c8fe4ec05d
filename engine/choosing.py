"""How a model says which of some labels it chose: what it is asked for, and how that is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from .context import Choice
from .errors import closest
from .messages import JSON

SHOWN = 60
"""Characters of a wrong answer that an error shows."""


def choice_schema(
    labels: Sequence[str], *, many: bool, allow_none: bool, tasks: bool
) -> dict[str, JSON]:
    """The JSON Schema of a choice among `labels`, with the task of each chosen one if asked for."""
    label: JSON = {"type": "string", "enum": list(labels)}
    properties: dict[str, JSON] = {"reason": {"type": "string"}}
    if many:
        properties["choices"] = {
            "type": "array",
            "items": label,
            **({} if allow_none else {"minItems": 1}),
        }
    else:
        properties["choice"] = label
    if tasks:
        task: JSON = {
            "type": "object",
            "properties": {"label": label, "task": {"type": "string"}},
            "required": ["label", "task"],
            "additionalProperties": False,
        }
        properties["tasks"] = {"type": "array", "items": task}
    return {
        "type": "object",
        "title": "choice",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_choice(text: str, labels: Sequence[str]) -> Choice | str:
    """The choice in a model's answer, or why there is none. A bare label will do."""
    bare = _meant(_unfenced(text).strip("`\"'."), labels)
    if bare is not None:
        return Choice((bare,))
    try:
        data: object = json.loads(_unfenced(text))
    except ValueError:
        return f"the model answered {_short(text)} instead of a label{_hint(text, labels)}"
    fields = cast("dict[str, object]", data) if isinstance(data, dict) else {"choices": data}
    named = fields.get("choices", fields.get("choice"))
    picked: set[str] = set()
    for name in cast("list[object]", named) if isinstance(named, list) else [named]:
        label = _meant(name, labels)
        if label is None:
            return f"the model chose {_short(str(name))}{_hint(str(name), labels)}"
        picked.add(label)
    in_order = tuple(label for label in labels if label in picked)
    return Choice(in_order, reason=str(fields.get("reason") or ""), tasks=_tasks(fields, in_order))


def _meant(name: object, labels: Sequence[str]) -> str | None:
    """The label that a model's word is, upper and lower case being the same where they may be."""
    if name in labels or not isinstance(name, str):
        return name if isinstance(name, str) else None
    folded = name.strip().casefold()
    return next((label for label in labels if label.casefold() == folded), None)


def _hint(name: str, labels: Sequence[str]) -> str:
    near = closest(name, labels)
    return f" (did it mean {near!r}?)" if near else ""


def _tasks(fields: Mapping[str, object], chosen: Sequence[str]) -> dict[str, str]:
    written = fields.get("tasks")
    tasks: dict[str, list[str]] = {}
    for item in cast("list[object]", written) if isinstance(written, list) else []:
        if isinstance(item, dict):
            pair = cast("dict[str, object]", item)
            label, task = _meant(pair.get("label"), chosen), pair.get("task")
            if label is not None and isinstance(task, str) and task.strip():
                tasks.setdefault(label, []).append(task.strip())
    # A member that is to do two things does both, in one go, and what is said twice, once.
    return {label: "\n".join(dict.fromkeys(each)) for label, each in tasks.items()}


def _unfenced(text: str) -> str:
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```"):
        return bare.strip("`").removeprefix("json").strip()
    return bare


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
