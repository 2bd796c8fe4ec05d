"""The operations of the native API, and their description as OpenAPI 3.1."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any, cast

from msgspec import Struct
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..messages import JSON

Endpoint = Callable[[Request], Awaitable[Response]]
_REFERENCES = "#/components/schemas/{model}"
_ERROR: JSON = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "It does not change."},
                "message": {"type": "string", "description": "What is wrong, and how to go on."},
                "request_id": {"type": "string", "description": "As in the server's log."},
                "run_id": {"type": "string", "description": "The run, if one has failed."},
                "session_id": {"type": "string"},
            },
        }
    },
}


class Operation(Struct, frozen=True):
    """A method of a path: its endpoint, whose docstring says what it does, and what it is sent."""

    method: str
    path: str
    endpoint: Endpoint
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    events: bool = False

    @property
    def route(self) -> Route:
        """The operation as Starlette has it."""
        return Route(self.path, self.endpoint, methods=[self.method])


def openapi(operations: Iterable[Operation]) -> dict[str, JSON]:
    """The document of `/openapi.json`; its schemas are made of the classes that read requests."""
    operations = list(operations)
    bodies = [each.body for each in operations if each.body is not None]
    names, made = models_json_schema(
        [(body, "validation") for body in dict.fromkeys(bodies)], ref_template=_REFERENCES
    )
    paths: dict[str, Any] = {}
    for each in operations:
        path = re.sub(r":path\}", "}", each.path)
        described = _described(each)
        if each.body is not None:
            schema = names[each.body, "validation"]
            described["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": schema}},
            }
        paths.setdefault(path, {})[each.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "teamgraph", "version": version("teamgraph")},
        "paths": paths,
        "security": [{"token": []}],
        "components": {
            "schemas": {**made["$defs"], "Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    first, _, rest = inspect.cleandoc(operation.endpoint.__doc__ or "").partition("\n\n")
    content: dict[str, JSON] = {"application/json": {}}
    if operation.events:
        content["text/event-stream"] = {}
    error: JSON = {"schema": {"$ref": _REFERENCES.format(model="Error")}}
    return {
        "operationId": operation.endpoint.__name__,
        "summary": first.replace("\n", " "),
        **({"description": rest.replace("\n", " ")} if rest else {}),
        "parameters": [*_parameters(operation)],
        "responses": {
            "200": {"description": "OK", "content": content},
            "default": {"description": "An error", "content": {"application/json": error}},
        },
    }


def _parameters(operation: Operation) -> Iterator[JSON]:
    for name in re.findall(r"\{(\w+)", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    if operation.query is None:
        return
    schema = operation.query.model_json_schema()
    for name, field in schema.get("properties", {}).items():
        about = field.pop("description", "")
        yield cast("JSON", {"name": name, "in": "query", "description": about, "schema": field})
