"""Values that stand in for answers nobody gave: `«node.field»` where text is wanted.

They let every prompt be rendered without a model, and show in it where an answer would stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from .errors import DefinitionError
from .messages import JSON
from .models.instance import smallest_instance
from .returns import shape

Schema: TypeAlias = Mapping[str, JSON]


def stand_in(returns: object, name: str) -> JSON:
    """A value of the shape that `returns` says, as a node's `returns` does.

    Where that says nothing, or nothing that has a shape, it is the text `«name»`.
    """
    if returns is None or returns is object or returns is Any:
        return quoted(name)
    try:
        wanted = shape(returns, name=name)
    except DefinitionError:
        return quoted(name)
    value = filled(wanted.schema, name)
    if wanted.is_wrapped and isinstance(value, dict):
        return _fill(wanted.schema, wanted.schema["properties"], "value", name)
    return value


def quoted(name: str) -> str:
    """The text that stands in for another: `«name»`."""
    return f"«{name}»"


def filled(schema: Schema, name: str, *, is_full: bool = True) -> JSON:
    """A value that `schema` accepts, its texts named after their place.

    With `is_full` every optional field is there, every list has an item and nothing is null that
    need not be; without, it is the least that is accepted. Patterns and formats are not known.
    """
    return (
        _Filler(schema).value(schema, name) if is_full else smallest_instance(schema, quoted(name))
    )


def _fill(root: Schema, properties: JSON, key: str, name: str) -> JSON:
    part = properties.get(key) if isinstance(properties, dict) else None
    return _Filler(root).value(_schema(part), name)


class _Filler:
    """Fills parts of one schema; `_open` are the references that it is inside of."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._open: list[str] = []

    def value(self, schema: Schema, name: str) -> JSON:
        if isinstance(reference := schema.get("$ref"), str):
            return self._referred(reference, name)
        if "const" in schema:
            return schema["const"]
        if words := _items(schema.get("enum")):
            return words[0]
        options = [_schema(one) for key in ("anyOf", "oneOf") for one in _items(schema.get(key))]
        if options:
            there = [one for one in options if one.get("type") != "null"]
            return self.value((there or options)[0], name)
        return self._typed(schema, name)

    def _referred(self, reference: str, name: str) -> JSON:
        if reference in self._open:
            return None
        target: Schema = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = _schema(target.get(part.replace("~1", "/").replace("~0", "~")))
        self._open.append(reference)
        value = self.value(target, name)
        self._open.pop()
        return value

    def _typed(self, schema: Schema, name: str) -> JSON:
        properties = _schema(schema.get("properties"))
        if properties:
            return {key: self.value(_schema(of), f"{name}.{key}") for key, of in properties.items()}
        match schema.get("type"):
            case "array" if "maxItems" not in schema or schema["maxItems"]:
                return self._list(schema, name)
            case "boolean":
                return True
            case _:
                return smallest_instance(schema, quoted(name))

    def _list(self, schema: Schema, name: str) -> JSON:
        """One item, or as many as there must be; none of a kind that we are inside of.

        A tuple has one for each of its parts.
        """
        if parts := _items(schema.get("prefixItems")):
            return [self.value(_schema(of), f"{name}[{at}]") for at, of in enumerate(parts)]
        least = schema.get("minItems")
        count = least if isinstance(least, int) else 0
        item = _schema(schema.get("items"))
        count = count if item.get("$ref") in self._open else max(1, count)
        return [self.value(item, f"{name}[{number}]") for number in range(count)]


def _schema(value: JSON) -> Schema:
    return value if isinstance(value, dict) else {}


def _items(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []
