"""Values that stand in for answers nobody gave: `«node.field»` where text is wanted.

They let every prompt be rendered without a model, and show in it where an answer would stand.

Small answers that a JSON Schema accepts, for the models that do not think.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import DefinitionError
from ..messages import JSON
from ..returns.shape import shape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .protocol import Request


Schema: TypeAlias = "Mapping[str, JSON]"


def choose(request: Request, labels: Sequence[str]) -> str:
    """The JSON with which a model says that it chose `labels` (without `many`, the first one)."""
    answer = smallest_instance(request.schema or {"type": "object"})
    fields: dict[str, JSON] = answer if isinstance(answer, dict) else {}
    if request.many:
        fields["choices"] = list(labels)
    else:
        fields["choice"] = labels[0]
    fields["reason"] = ""
    return json.dumps(fields, ensure_ascii=False)


def smallest_instance(schema: Schema, text: str = "") -> JSON:
    """A plain value that `schema` accepts; `text` stands wherever it wants some text.

    It knows types, sizes, `enum`, `const`, `$ref` and unions; not `pattern`, `format` and `not`.
    """
    return _Maker(schema, text).make(schema)


class _Maker:
    """Makes instances of parts of one schema; `_open` are the references that it is inside of."""

    def __init__(self, root: Schema, text: str) -> None:
        self._root = root
        self._text = text
        self._open: list[str] = []

    def make(self, schema: Schema) -> JSON:
        if isinstance(reference := schema.get("$ref"), str):
            return self._referred(reference)
        if fixed := _fixed(schema):
            return fixed[0]
        if every := _schemas(schema.get("allOf")):
            return self.make(_merged(schema, every))
        if options := _schemas(schema.get("anyOf")) or _schemas(schema.get("oneOf")):
            fresh = (one for one in options if one.get("$ref") not in self._open)
            return self.make(next(fresh, options[0]))
        return self._typed(schema, _type(schema))

    def _referred(self, reference: str) -> JSON:
        if reference in self._open:
            return None
        target = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = _schema(target.get(part.replace("~1", "/").replace("~0", "~")))
        self._open.append(reference)
        made = self.make(target)
        self._open.pop()
        return made

    def _typed(self, schema: Schema, kind: str) -> JSON:
        made: JSON = None
        match kind:
            case "object":
                properties = _schema(schema.get("properties"))
                names = [str(name) for name in _list(schema.get("required"))]
                made = {name: self.make(_schema(properties.get(name))) for name in names}
            case "array":
                count = int(_number(schema, "minItems", 0))
                made = [self.make(_schema(schema.get("items"))) for _ in range(count)]
            case "integer" | "number":
                made = _nearest_to_zero(schema, whole=kind == "integer")
            case "boolean":
                made = False
            case "string":
                longest = int(_number(schema, "maxLength", len(self._text)))
                made = self._text[:longest].ljust(int(_number(schema, "minLength", 0)), "x")
            case _:
                pass
        return made


def _fixed(schema: Schema) -> Sequence[JSON]:
    """The values that the schema itself gives: one that is wanted, or some to choose from."""
    for key in ("const", "default"):
        if key in schema:
            return [schema[key]]
    return _list(schema.get("enum"))


def _type(schema: Schema) -> str:
    """The first type that the schema allows; where it names none, what its properties mean."""
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    return str(kind[0] if isinstance(kind, list) else kind)


def _nearest_to_zero(schema: Schema, *, whole: bool) -> int | float:
    """Zero, or the number next to it that lies within the bounds."""
    step = _number(schema, "multipleOf", 1.0)
    least = max(
        _number(schema, "minimum", float("-inf")),
        _number(schema, "exclusiveMinimum", float("-inf")) + step,
    )
    most = min(
        _number(schema, "maximum", float("inf")),
        _number(schema, "exclusiveMaximum", float("inf")) - step,
    )
    number = min(max(0.0, least), most)
    return int(number) if whole or number.is_integer() else number


def _merged(schema: Schema, parts: Iterable[Schema]) -> Schema:
    """What all of `parts` want at once, as far as their properties go."""
    merged: dict[str, JSON] = {key: value for key, value in schema.items() if key != "allOf"}
    properties = dict(_schema(schema.get("properties")))
    required = [*_list(schema.get("required"))]
    for part in parts:
        merged.update(part)
        properties.update(_schema(part.get("properties")))
        required += _list(part.get("required"))
    if properties:
        merged.update(properties=properties, required=required)
    return merged


def _number(schema: Schema, key: str, otherwise: float) -> float:
    value = schema.get(key, otherwise)
    return float(value) if isinstance(value, int | float) else otherwise


def _schemas(value: JSON) -> list[Schema]:
    return [_schema(part) for part in _list(value)]


def _schema(value: JSON) -> Schema:
    return value if isinstance(value, dict) else {}


def _list(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []


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


def _items(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []
