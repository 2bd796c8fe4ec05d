"""Sample values: what a JSON Schema accepts, for dry runs and for models that do not think."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Any,
    TypeAlias,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ..errors import DefinitionError
from ..messages import JSON
from ..returns.shape import shape

if TYPE_CHECKING:
    from .protocol import Request

JSONSchema: TypeAlias = "Mapping[str, JSON]"


def stand_in(returns: object, name: str) -> JSON:
    """A full sample of the type that `returns` declares, as a node's `returns` does.

    Where `returns` declares no type, it is the text `«name»`.
    """
    if returns is None or returns is object or returns is Any:
        return placeholder(name)
    try:
        declared = shape(returns, name=name)
    except DefinitionError:
        return _by_parts(returns, name)
    sampler = _Sampler(declared.schema, is_full=True)
    if declared.is_wrapped:
        return sampler.value(_schema(_schema(declared.schema["properties"])["value"]), name)
    return sampler.value(declared.schema, name)


def _by_parts(returns: object, name: str) -> JSON:
    """A full sample of a type that pydantic refuses: `typing.TypedDict` before Python 3.12."""
    origin, arguments = get_origin(returns), get_args(returns)
    if is_typeddict(returns) and name.count(".") < _DEEPEST:
        hints = get_type_hints(returns)
        return {key: stand_in(part, f"{name}.{key}") for key, part in hints.items()}
    if origin in (list, tuple, Sequence):
        parts = [part for part in arguments if part is not ...]
        return [stand_in(part, f"{name}[{index}]") for index, part in enumerate(parts)]
    if origin in (dict, Mapping):
        return {}
    options = [each for each in arguments if each is not NoneType]
    return stand_in(options[0], name) if options else placeholder(name)


def sample(schema: JSONSchema, text: str = "", *, name: str | None = None) -> JSON:
    """A value that `schema` accepts.

    Without `name` the smallest one, with `text` for every text. With `name` a full one: it has
    every optional field, an item in every list, no null that need not be, and texts that name
    their place, `«name.field»`. Types, sizes, `enum`, `const`, `$ref`, `allOf` and unions are
    known; `pattern`, `format` and `not` are not.
    """
    if name is None:
        return _Sampler(schema, is_full=False).value(schema, text)
    return _Sampler(schema, is_full=True).value(schema, name)


def placeholder(name: str) -> str:
    """The text that stands in for another: `«name»`."""
    return f"«{name}»"


def choose(request: Request, labels: Sequence[str]) -> str:
    """The JSON with which a model chooses `labels` (only the first unless `request.many`)."""
    answer = sample(request.schema or {"type": "object"})
    fields: dict[str, JSON] = answer if isinstance(answer, dict) else {}
    if request.many:
        fields["choices"] = list(labels)
    else:
        fields["choice"] = labels[0]
    fields["reason"] = ""
    return json.dumps(fields, ensure_ascii=False)


_DEEPEST = 5
"""How deep a type that contains itself is followed."""


class _Sampler:
    """Makes values for parts of one schema; `_open` are the references being followed.

    `place` is the text of a small sample, and the dotted path of the value in a full one.
    """

    def __init__(self, root: JSONSchema, *, is_full: bool) -> None:
        self._root = root
        self._is_full = is_full
        self._open: list[str] = []

    def value(self, schema: JSONSchema, place: str) -> JSON:
        if isinstance(reference := schema.get("$ref"), str):
            return self._referred(reference, place)
        if fixed := self._fixed(schema):
            return fixed[0]
        if every := _schemas(schema.get("allOf")):
            return self.value(_merged(schema, every), place)
        if options := _schemas(schema.get("anyOf")) or _schemas(schema.get("oneOf")):
            return self.value(self._option(options), place)
        return self._typed(schema, place)

    def _fixed(self, schema: JSONSchema) -> Sequence[JSON]:
        """The values that the schema itself has: a constant, a default, or those of an enum."""
        if "const" in schema:
            return [schema["const"]]
        if "default" in schema and not (self._is_full and _is_structured(schema)):
            return [schema["default"]]
        return _list(schema.get("enum"))

    def _option(self, options: Sequence[JSONSchema]) -> JSONSchema:
        if self._is_full:
            fitting = [one for one in options if one.get("type") != "null"]
        else:
            fitting = [one for one in options if one.get("$ref") not in self._open]
        return (fitting or options)[0]

    def _referred(self, reference: str, place: str) -> JSON:
        if reference in self._open:
            return None
        target = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = _schema(target.get(part.replace("~1", "/").replace("~0", "~")))
        self._open.append(reference)
        made = self.value(target, place)
        self._open.pop()
        return made

    def _typed(self, schema: JSONSchema, place: str) -> JSON:
        made: JSON = None
        match _type(schema):
            case "object":
                made = self._object(schema, place)
            case "array":
                made = self._array(schema, place)
            case "integer" | "number" as kind:
                made = _nearest_to_zero(schema, whole=kind == "integer")
            case "boolean":
                made = self._is_full
            case "string":
                text = placeholder(place) if self._is_full else place
                longest = int(_number(schema, "maxLength", len(text)))
                made = text[:longest].ljust(int(_number(schema, "minLength", 0)), "x")
            case _:
                pass
        return made

    def _object(self, schema: JSONSchema, place: str) -> JSON:
        properties = _schema(schema.get("properties"))
        names = [str(name) for name in _list(schema.get("required"))]
        if not self._is_full:
            return {name: self.value(_schema(properties.get(name)), place) for name in names}
        return {
            name: self.value(_schema(properties.get(name)), f"{place}.{name}")
            for name in dict.fromkeys([*properties, *names])
        }

    def _array(self, schema: JSONSchema, place: str) -> JSON:
        """A list; a full sample has an item, unless it is of a type that is being followed."""
        item, count = _schema(schema.get("items")), int(_number(schema, "minItems", 0))
        if not self._is_full:
            return [self.value(item, place) for _ in range(count)]
        if parts := _schemas(schema.get("prefixItems")):
            return [self.value(part, f"{place}[{at}]") for at, part in enumerate(parts)]
        if schema.get("maxItems") == 0:
            return []
        count = count if item.get("$ref") in self._open else max(1, count)
        return [self.value(item, f"{place}[{at}]") for at in range(count)]


def _is_structured(schema: JSONSchema) -> bool:
    """Whether a full sample says more than the schema's default."""
    return _type(schema) in ("object", "array", "boolean")


def _type(schema: JSONSchema) -> str:
    """The first type that the schema allows; without one, what its properties imply."""
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    return str(kind[0] if isinstance(kind, list) else kind)


def _nearest_to_zero(schema: JSONSchema, *, whole: bool) -> int | float:
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


def _merged(schema: JSONSchema, parts: Sequence[JSONSchema]) -> JSONSchema:
    """What all of `parts` require at once, as far as their properties go."""
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


def _number(schema: JSONSchema, key: str, otherwise: float) -> float:
    value = schema.get(key, otherwise)
    return float(value) if isinstance(value, int | float) else otherwise


def _schemas(value: JSON) -> list[JSONSchema]:
    return [_schema(part) for part in _list(value)]


def _schema(value: JSON) -> JSONSchema:
    return value if isinstance(value, dict) else {}


def _list(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []
