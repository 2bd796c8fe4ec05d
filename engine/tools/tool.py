"""A function as a tool: what the model is told of it, and how it is called.

What a docstring tells a model: what the function does, and what each argument means.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import cleandoc
from itertools import pairwise
from typing import Any, NamedTuple, Self, cast, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError

from ..blocking import call_in_thread
from ..errors import DefinitionError, Problem
from ..messages import JSON
from ..values import jsonable
from .context import ToolContext

_SECTION = r"(Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?|Warnings?):\s*"
_ARGUMENTS = ("Args", "Arguments", "Parameters")
_ENTRY = r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)"


class Told(NamedTuple):
    """The text before the first section, and the description of each argument by its name."""

    description: str
    arguments: Mapping[str, str]


def read_docstring(text: str | None) -> Told:
    """Read a docstring in Google style; what is not there is empty."""
    lines = cleandoc(text or "").splitlines()
    heads = [index for index, line in enumerate(lines) if re.fullmatch(_SECTION, line)]
    description = "\n".join(lines[: heads[0]] if heads else lines).strip()
    arguments: dict[str, str] = {}
    for head, end in pairwise([*heads, len(lines)]):
        if lines[head].strip().rstrip(":") in _ARGUMENTS:
            arguments |= _entries(lines[head + 1 : end])
    return Told(description, arguments)


def _entries(lines: Sequence[str]) -> dict[str, str]:
    """The entries of a section: each begins where the first one does, and goes on further in."""
    entries: dict[str, list[str]] = {}
    margin: int | None = None
    name: str | None = None
    for line in filter(str.strip, lines):
        depth = len(line) - len(line.lstrip())
        margin = depth if margin is None else margin
        entry = re.fullmatch(_ENTRY, line.strip()) if depth <= margin else None
        if entry is not None:
            name = str(entry[1])
            entries[name] = [entry[2]]
        elif name is not None:
            entries[name].append(line.strip())
    return {name: " ".join(filter(None, parts)) for name, parts in entries.items()}


_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class BadArguments(ValueError):
    """What the model wrote cannot be the arguments of the tool; the text tells it why."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    `parameters` is the JSON Schema of the arguments that the model writes. Two tools are equal if
    their functions are.
    """

    function: Callable[..., object]
    name: str = field(compare=False)
    description: str = field(compare=False)
    parameters: Mapping[str, JSON] = field(compare=False)
    _arguments: type[BaseModel] = field(compare=False, repr=False)
    _names: Mapping[str, str] = field(compare=False, repr=False)
    _contexts: tuple[str, ...] = field(compare=False, repr=False)

    @classmethod
    def of(cls, function: Callable[..., object]) -> Self:
        """Make a tool of a typed function; raises `DefinitionError` if it cannot be one."""
        name: object = getattr(function, "__name__", None)
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            text = f"{function!r} has no name that a model could call it by"
            raise _refused(f"{text}; define a function with `def`")
        hints = _hints(function, name)
        contexts = tuple(each for each, hint in hints.items() if _is_context(hint))
        parameters = _parameters(function, name, hints, contexts)
        told = read_docstring(function.__doc__)
        fields: dict[str, Any] = {}
        names: dict[str, str] = {}
        for index, parameter in enumerate(parameters):
            # Under names of our own: `schema`, `copy` or `_x` could not be fields of a model.
            names[f"p{index}"] = parameter.name
            facts: dict[str, Any] = {"alias": parameter.name}
            if parameter.name in told.arguments:
                facts["description"] = told.arguments[parameter.name]
            if parameter.default is not inspect.Parameter.empty:
                facts["default"] = parameter.default
            fields[f"p{index}"] = (hints[parameter.name], Field(**facts))
        arguments, schema = _model(name, fields)
        return cls(function, name, told.description, schema, arguments, names, contexts)

    def offered(self) -> Mapping[str, JSON]:
        """The tool as a request to a model names it."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": dict(self.parameters),
            },
        }

    def read(self, text: str) -> dict[str, object]:
        """The arguments in the JSON that a model wrote; raises `BadArguments`.

        Those that it left out are left out here too, so that the function's own defaults hold.
        """
        try:
            made = self._arguments.model_validate_json(text.strip() or "{}")
        except ValidationError as error:
            raise BadArguments("; ".join(_faults(error))) from error
        written = made.model_fields_set
        return {name: getattr(made, own) for own, name in self._names.items() if own in written}

    async def call(self, arguments: Mapping[str, object], context: ToolContext) -> str:
        """Call the function, in a thread if it is not async; what it gives back, as text.

        Raises what the function raises, and `TypeError` for what cannot be told as JSON.
        """
        given = {**arguments, **dict.fromkeys(self._contexts, context)}
        if inspect.iscoroutinefunction(self.function):
            value = await self.function(**given)
        else:
            value = await call_in_thread(partial(self.function, **given))
        if inspect.isawaitable(value):
            value = await value
        return _as_text(value)


class _Generator(GenerateJsonSchema):
    """Without titles that only repeat a name, and without defaults that JSON cannot hold."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  theirs

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401  pydantic's own
        del schema
        return False


def _hints(function: Callable[..., object], name: str) -> dict[str, object]:
    try:
        hints: dict[str, object] = get_type_hints(function, include_extras=True)
    except Exception as error:
        text = f"tool {name!r}: its types cannot be read: {error}; import them where the function "
        raise _refused(f"{text}is defined, not for type checkers only") from error
    hints.pop("return", None)
    return hints


def _parameters(
    function: Callable[..., object],
    name: str,
    hints: Mapping[str, object],
    contexts: tuple[str, ...],
) -> list[inspect.Parameter]:
    """The parameters that the model fills in."""
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in _BY_NAME:
            text = f"tool {name!r}: {parameter} takes arguments that have no name; "
            raise _refused(f"{text}name each that the model is to give")
        if parameter.name not in hints:
            text = f"tool {name!r}: the parameter {parameter.name!r} has no type; "
            raise _refused(f"{text}annotate it, so that the model can be told")
        if parameter.name not in contexts:
            parameters.append(parameter)
    return parameters


def _is_context(hint: object) -> bool:
    return hint is ToolContext or ToolContext in get_args(hint)


def _model(name: str, fields: dict[str, Any]) -> tuple[type[BaseModel], dict[str, JSON]]:
    """What reads the arguments, and its JSON Schema."""
    try:
        model: type[BaseModel] = create_model(
            name, __config__=ConfigDict(extra="forbid", protected_namespaces=()), **fields
        )
        schema = model.model_json_schema(schema_generator=_Generator)
    except (
        PydanticSchemaGenerationError,
        PydanticInvalidForJsonSchema,
        PydanticUserError,
    ) as error:
        told = str(error).strip().splitlines()[0]
        text = f"tool {name!r}: a model cannot be told its types: {told}"
        raise _refused(f"{text}; use text, numbers, lists, mappings or pydantic models") from error
    del schema["title"]
    schema.setdefault("properties", {})
    return model, cast("dict[str, JSON]", schema)


def _faults(error: ValidationError) -> list[str]:
    faults: list[str] = []
    for detail in error.errors(include_url=False):
        place = ".".join(str(part) for part in detail["loc"])
        faults.append(f"{place}: {detail['msg']}" if place else detail["msg"])
    return faults


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False)
    except (PydanticSerializationError, ValueError) as error:
        raise TypeError(
            f"it gave back a {type(value).__name__} that cannot be told as JSON"
        ) from error


def _refused(text: str) -> DefinitionError:
    return DefinitionError([Problem("G008", text)])
