"""Small answers that a JSON Schema accepts, for the models that do not think."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.messages import JSON

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
