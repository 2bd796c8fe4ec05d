"""The JSON Schema of graph files, generated from the pydantic classes that validate them.

Editors use it for completion and validation. It describes what a file may contain; whether names,
edges and templates are consistent is only checked when the graph is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from ..messages import JSON
from ..validation import CONFIDENTIAL
from .edges import NOT_IDS
from .fields import ModelSpec
from .graph import Declaration
from .kinds import DEFAULT
from .node import Node

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema: TypeAlias = dict[str, Any]
_NODE = {"$ref": "#/$defs/node"}
_WORDS_OF_JSON_SCHEMA = (
    "string",
    "integer",
    "number",
    "boolean",
    "object",
    "array",
    "json",
    "dict",
)
_TYPE: Schema = {"type": "string", "minLength": 1, "not": {"enum": [*_WORDS_OF_JSON_SCHEMA]}}
_RETURNS: list[Schema] = [
    _TYPE,
    {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"anyOf": [_TYPE, {"type": ["object", "array"]}]},
    },
    {"type": "array", "minItems": 1, "maxItems": 1},
]
_NO_BRACES: Schema = {"not": {"pattern": r"^\s*\{[{%]"}}
"""Of a condition: an expression, not a template."""
_NO_SECRETS: Schema = {"not": {"pattern": CONFIDENTIAL}}


def graph_schema(kinds: Mapping[str, type[Node]]) -> dict[str, JSON]:
    """The JSON Schema (draft 2020-12) of a graph file whose nodes are of these kinds."""
    names, made = models_json_schema(
        [(Declaration, "validation"), *((kind, "validation") for kind in kinds.values())],
        schema_generator=_FileSchema,
    )
    parts: dict[str, Schema] = made["$defs"]
    graph = parts.pop(_part(names[Declaration, "validation"]))
    graph["properties"]["nodes"] |= {"additionalProperties": _NODE, "propertyNames": _NAMES}
    links: dict[str, Schema] = {}
    for kind, declared in sorted(kinds.items()):
        links[kind] = names[declared, "validation"]
        part = parts[_part(links[kind])]
        _name_kind(part, kind)
        if (field := getattr(declared, "nodes_field", None)) is not None:
            part["properties"][field] |= {"additionalProperties": _NODE, "propertyNames": _NAMES}
    for name in _unused(parts):
        del parts[name]
    for part in parts.values():
        for name in {"when", "until"} & {*part.get("properties", ())}:
            part["properties"][name] |= _NO_BRACES
    parts[ModelSpec.__name__]["propertyNames"] = _NO_SECRETS
    return {
        "$schema": DIALECT,
        "title": "teamgraph graph",
        **{key: value for key, value in graph.items() if key != "title"},
        "$defs": {**dict(sorted(parts.items())), "node": _any_kind(links)},
    }


_NAMES: Schema = {
    "pattern": "^[a-z][a-z0-9_]*$",
    "not": {"enum": sorted(NOT_IDS - {"history"})},
}


class _FileSchema(GenerateJsonSchema):
    """Generates a schema without titles of fields, and without what no file can contain."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  theirs

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401  pydantic's own
        del schema
        return False


def _part(link: Mapping[str, Any]) -> str:
    return str(link["$ref"]).rpartition("/")[2]


def _name_kind(part: Schema, kind: str) -> None:
    """Add the key `kind`, which only nodes of the default kind may leave out."""
    about = str(part.get("description", "")).partition("\n\n")[0]
    named: Schema = {"const": kind, "description": about, "examples": [kind]}
    properties: Schema = part["properties"]
    properties["returns"] = {**properties["returns"], "anyOf": _RETURNS}
    part["properties"] = {"kind": named, **properties}
    if kind != DEFAULT:
        part["required"] = ["kind", *part.get("required", ())]


def _any_kind(links: Mapping[str, Schema]) -> Schema:
    """The schema of a node: `kind` selects one of the kinds, so errors are about that one."""
    kind: Schema = {
        "enum": list(links),
        "default": DEFAULT,
        "description": "What the node is.",
        "examples": list(links)[:1],
    }
    cases: list[Schema] = [
        {
            "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
            "then": link,
        }
        for name, link in links.items()
    ]
    if DEFAULT in links:
        cases.append({"if": {"not": {"required": ["kind"]}}, "then": links[DEFAULT]})
    return {"type": "object", "properties": {"kind": kind}, "allOf": cases}


def _unused(parts: Mapping[str, Schema]) -> list[str]:
    """The base class `Node`, which no file can name."""
    return [name for name in parts if name == Node.__name__]
