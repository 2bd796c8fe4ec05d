"""A function as a tool: JSON Schema from its signature and docstring, validation, the call.

An object with `__call__` is one tool, any other object a toolkit: each public method is a tool.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cache, partial
from inspect import cleandoc
from itertools import pairwise
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NamedTuple, Protocol, Self, TypeVar, cast, get_args, get_type_hints

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic.json_schema import GenerateJsonSchema

from ..blocking import call_in_thread
from ..errors import DefinitionError, InputError, Problem
from ..messages import JSON
from ..unknown_names import explained
from ..values import parse_json, to_json
from .context import CallOutcome, ToolContext

_SECTION = r"(Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?|Warnings?):\s*"
_ARGUMENTS = ("Args", "Arguments", "Parameters")
_ENTRY = r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)"
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


HANDS_OVER = "transfer_to_"
"""How the names of the tools begin that hand over to a node."""
_OPTIONS = "_teamgraph_tool"
"""The attribute of a function that its decorator sets."""
F = TypeVar("F", bound=Callable[..., object])
FUNCTIONS: tuple[type, ...] = (FunctionType, BuiltinFunctionType, MethodType, partial)
"""The types of what is called as it is; any other object may be a toolkit."""


class ToolOptions(Struct, frozen=True):
    """How the calls of a tool are executed; None is what a function's decorator says, or no limit.

    `confirm` says whether a person confirms each call, or is an expression over `arguments` that
    does. `timeout` are the seconds that a call may take, `max_result` the characters of a result
    that the model is sent.
    """

    confirm: bool | str | None = None
    timeout: float | None = None
    max_result: int | None = None

    def over(self, other: ToolOptions) -> ToolOptions:
        """These options, and those of `other` where they say nothing."""
        return ToolOptions(
            other.confirm if self.confirm is None else self.confirm,
            self.timeout or other.timeout,
            self.max_result or other.max_result,
        )


NO_OPTIONS = ToolOptions()


@explained
def tool(
    *, confirm: bool | str = False, timeout: float | None = None, max_result: int | None = None
) -> Callable[[F], F]:
    """Decorate a function, or a method of a toolkit, with how its calls as a tool are executed.

    With `confirm` a person confirms them before: all if it is true, or those for which it is true
    as a Jinja expression over `arguments`: `@tool(confirm="arguments.amount > 100")`. A call that
    takes longer than `timeout` seconds is an error, and a result longer than `max_result`
    characters is truncated; the model sees both. Without them there is no limit. A graph may set
    other limits for its own node. Raises `DefinitionError` if a limit is not more than 0.
    """
    for name, limit in (("timeout", timeout), ("max_result", max_result)):
        if limit is not None and not limit > 0:
            raise _refused(
                f"@tool({name}={limit}): it must be more than 0; leave it out for no limit"
            )

    def mark(function: F) -> F:
        setattr(function, _OPTIONS, ToolOptions(confirm, timeout, max_result))
        return function

    return mark


class BadArguments(ValueError):
    """The arguments that a model wrote are invalid; the text, sent back to the model, says why."""


class Arguments(Protocol):
    """Validates the arguments of a tool, JSON that a model wrote; raises `BadArguments`."""

    def read(self, text: str) -> dict[str, object]:
        """What the function is called with."""
        ...

    def complete(self, text: str) -> dict[str, JSON]:
        """The arguments with the defaults of those that are left out, as JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    `parameters` is the JSON Schema of the arguments that the model writes, which `_arguments`
    validates; `_contexts` are the parameters of type `ToolContext`. A call of a tool with
    `hands_to`, the id of a node, hands over to that. One with `is_external` is of a server: a call
    must not be repeated in silence. Tools are equal if their functions and options are.
    """

    function: Callable[..., object]
    options: ToolOptions
    name: str = field(compare=False)
    description: str = field(compare=False)
    parameters: Mapping[str, JSON] = field(compare=False)
    _arguments: Arguments = field(compare=False, repr=False)
    _contexts: tuple[str, ...] = field(default=(), compare=False, repr=False)
    is_graph: bool = False
    is_external: bool = False
    hands_to: str = ""

    @classmethod
    def of_graph(cls, name: str, description: str) -> Self:
        """The tool that stands for a graph; whoever executes calls runs that on the `message`."""
        return replace(cls.of(_graph), name=name, description=description, is_graph=True)

    @classmethod
    def of(cls, function: Callable[..., object], options: ToolOptions = NO_OPTIONS) -> Self:
        """Make a tool from a typed function; raises `DefinitionError` if that is not possible.

        Options that are not given are those of the function's decorator (`tool`).
        """
        name = _checked_name(function)
        hints = _hints(function, name)
        contexts = tuple(each for each, hint in hints.items() if _is_context(hint))
        parameters = _parameters(function, name, hints, contexts)
        docstring = read_docstring(_docstring(function))
        fields: dict[str, Any] = {}
        names: dict[str, str] = {}
        for index, parameter in enumerate(parameters):
            # Own field names: `schema`, `copy` or `_x` cannot be fields of a pydantic model.
            names[f"p{index}"] = parameter.name
            known: dict[str, Any] = {"alias": parameter.name}
            if parameter.name in docstring.arguments:
                known["description"] = docstring.arguments[parameter.name]
            if parameter.default is not inspect.Parameter.empty:
                known["default"] = parameter.default
            fields[f"p{index}"] = (hints[parameter.name], Field(**known))
        arguments, schema = _model(name, fields)
        options = options.over(getattr(function, _OPTIONS, NO_OPTIONS))
        reader = _FunctionArguments(arguments, names)
        return cls(function, options, name, docstring.description, schema, reader, contexts)

    @classmethod
    def of_object(cls, target: object, options: ToolOptions = NO_OPTIONS) -> list[Self]:
        """The tools that an object is: itself if it is callable, else its public methods.

        Raises `DefinitionError` for a class, and for an object without any.
        """
        if callable(target):
            return [cls.of(target, options)]
        methods = _public_methods(target)
        if not methods:
            text = f"an object of {type(target).__qualname__!r} has no public method that could be "
            raise _refused(f"{text}a tool; give a function, or an object with methods")
        return [cls.of(method, options) for method in methods]

    def with_options(self, options: ToolOptions) -> Self:
        """The same tool with these options, where they say something."""
        return replace(self, options=options.over(self.options))

    def offered(self) -> Mapping[str, JSON]:
        """The tool as a request to a model describes it."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": dict(self.parameters),
            },
        }

    def read(self, text: str) -> dict[str, object]:
        """Validate the arguments, JSON that a model wrote; raises `BadArguments`.

        Arguments that the model left out are left out, so that the function's defaults apply. An
        empty text and `null` are no arguments.
        """
        return self._arguments.read(_written(text))

    def complete(self, text: str) -> dict[str, JSON]:
        """The arguments with the defaults of those that the model left out, as JSON.

        Raises `BadArguments` as `read` does.
        """
        return self._arguments.complete(_written(text))

    def complete_schema(self) -> Mapping[str, JSON]:
        """The JSON Schema of what `complete` returns: no argument is missing."""
        properties = cast("Mapping[str, JSON]", self.parameters["properties"])
        return {**self.parameters, "required": list(properties)}

    async def prepare(self) -> None:
        """Do what has to be done before the time of a call begins: start its server."""
        if self.is_external:
            await cast("Any", self.function).prepare()

    async def call(
        self, arguments: Mapping[str, object], context: ToolContext
    ) -> str | CallOutcome:
        """Call the function, in a thread if it is not async; the result as text.

        A server's tool may give what became of the call instead, for the template to word.
        Raises what the function raises, and `TypeError` for a result that JSON cannot represent.
        """
        given = {**arguments, **dict.fromkeys(self._contexts, context)}
        if _is_async(self.function):
            value = await cast("Any", self.function(**given))
        else:
            value = await call_in_thread(partial(self.function, **given))
        if inspect.isawaitable(value):
            value = await value
        return value if isinstance(value, CallOutcome) else _as_text(value)


class _FunctionArguments(Struct, frozen=True):
    """The arguments of a function: a pydantic model, and the parameters by its fields' names."""

    model: type[BaseModel]
    names: Mapping[str, str]

    def read(self, text: str) -> dict[str, object]:
        made = self._made(text)
        present = made.model_fields_set
        return {name: getattr(made, own) for own, name in self.names.items() if own in present}

    def complete(self, text: str) -> dict[str, JSON]:
        made = self._made(text)
        return made.model_dump(mode="json", by_alias=True, fallback=repr, warnings=False)

    def _made(self, text: str) -> BaseModel:
        try:
            made = self.model.model_validate_json(text)
            parse_json(text, "the JSON")  # what pydantic lets pass: NaN, duplicate keys, depth
        except ValidationError as error:
            raise BadArguments("; ".join(_messages(error))) from error
        except ValueError as error:
            raise BadArguments(str(error)) from error
        return made


def _written(text: str) -> str:
    """The JSON of the arguments; an empty text and `null` are none."""
    written = text.strip()
    return "{}" if written in ("", "null") else written


def handover_tool(node_id: str, description: str) -> Tool:
    """The tool with which a model hands over to a node; whoever executes calls knows what to do."""
    name = handover_name(node_id)
    return replace(_any_handover(), name=name, description=description, hands_to=node_id)


def handover_name(node_id: str) -> str:
    """The name of the tool that hands over to a node."""
    return HANDS_OVER + node_id


@cache
def _any_handover() -> Tool:
    return Tool.of(_handover)  # takes a millisecond


async def _handover(reason: str) -> None:
    """The signature of all tools that hand over; it is never called."""


async def _graph(message: str) -> None:
    """The signature of all graphs as tools; it is never called.

    Args:
        message: What to do, with all that has to be known for it.
    """


def _checked_name(function: Callable[..., object]) -> str:
    """The name by which a model calls a function; `DefinitionError` if it cannot be a tool."""
    name: object = getattr(function, "__name__", None)
    if isinstance(function, type):
        made = f"`{_snake_case(function.__name__)} = {function.__name__}(...)`"
        raise _refused(f"{name!r} is a class; make an object of it, {made}, and give that")
    if not isinstance(function, FUNCTIONS):
        name = _snake_case(type(function).__name__)
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        text = f"{function!r} has no name that a model could call it by"
        raise _refused(f"{text}; define a function with `def`")
    called = _called(function)
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        text = f"tool {name!r} gives its result in pieces (`yield`), and a model reads one result; "
        raise _refused(f"{text}collect them in a list and return it")
    return name


def _called(function: Callable[..., object]) -> Callable[..., object]:
    """The function, or the `__call__` of an object."""
    return function if isinstance(function, FUNCTIONS) else type(function).__call__


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _docstring(function: Callable[..., object]) -> str | None:
    """The docstring of a function, or of an object's `__call__` or its class."""
    if isinstance(function, FUNCTIONS):
        return function.__doc__
    kind = type(function)
    of_class = None if is_dataclass(kind) else kind.__doc__  # a dataclass gets its signature
    return kind.__call__.__doc__ or of_class


def _is_async(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    )


def _public_methods(target: object) -> list[Callable[..., object]]:
    """The methods of an object without an underscore, those of base classes first."""
    names: dict[str, None] = {}
    for owner in reversed(type(target).__mro__):
        if owner not in (object, BaseModel):
            methods = (staticmethod, classmethod, FunctionType)
            names |= {
                name: None
                for name, value in vars(owner).items()
                if not name.startswith("_") and isinstance(value, methods)
            }
    return [getattr(target, name) for name in names]


class Docstring(NamedTuple):
    """A parsed docstring: the text before the first section, and each argument's description."""

    description: str
    arguments: Mapping[str, str]


def read_docstring(text: str | None) -> Docstring:
    """Parse a docstring in Google style; what is missing is empty."""
    lines = cleandoc(text or "").splitlines()
    heads = [index for index, line in enumerate(lines) if re.fullmatch(_SECTION, line)]
    description = "\n".join(lines[: heads[0]] if heads else lines).strip()
    arguments: dict[str, str] = {}
    for head, end in pairwise([*heads, len(lines)]):
        if lines[head].strip().rstrip(":") in _ARGUMENTS:
            arguments |= _entries(lines[head + 1 : end])
    return Docstring(description, arguments)


def _entries(lines: Sequence[str]) -> dict[str, str]:
    """The entries of a section; lines that are indented deeper continue an entry."""
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


class _ArgumentsSchema(GenerateJsonSchema):
    """Generates the schema without titles, and without defaults that JSON cannot represent."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  theirs

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401  pydantic's own
        del schema
        return False


def _hints(function: Callable[..., object], name: str) -> dict[str, object]:
    try:
        hints: dict[str, object] = get_type_hints(_called(function), include_extras=True)
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
            text = (
                f"tool {name!r}: {parameter} takes arguments without names; give each argument of "
            )
            raise _refused(f"{text}the tool a parameter of its own")
        if parameter.name not in hints:
            text = f"tool {name!r}: the parameter {parameter.name!r} has no type; "
            raise _refused(f"{text}annotate it: the model is sent the types")
        if parameter.name not in contexts:
            parameters.append(parameter)
    return parameters


def _is_context(hint: object) -> bool:
    return hint is ToolContext or ToolContext in get_args(hint)


def _model(name: str, fields: dict[str, Any]) -> tuple[type[BaseModel], dict[str, JSON]]:
    """The pydantic model that validates the arguments, and its JSON Schema."""
    try:
        model: type[BaseModel] = create_model(
            name, __config__=ConfigDict(extra="forbid", protected_namespaces=()), **fields
        )
        schema = model.model_json_schema(schema_generator=_ArgumentsSchema)
    except (
        PydanticSchemaGenerationError,
        PydanticInvalidForJsonSchema,
        PydanticUserError,
    ) as error:
        reason = str(error).strip().splitlines()[0]
        text = f"tool {name!r}: its types have no JSON Schema: {reason}"
        raise _refused(f"{text}; use text, numbers, lists, mappings or pydantic models") from error
    del schema["title"]
    schema.setdefault("properties", {})
    return model, cast("dict[str, JSON]", schema)


def _messages(error: ValidationError) -> list[str]:
    messages: list[str] = []
    for detail in error.errors(include_url=False):
        place = ".".join(str(part) for part in detail["loc"])
        messages.append(f"{place}: {detail['msg']}" if place else detail["msg"])
    return messages


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(to_json(value, "the result"), ensure_ascii=False)
    except InputError as error:
        reason = f"it returned a {type(value).__name__} that cannot be written as JSON"
        raise TypeError(f"{reason}: {error}") from error


def _refused(text: str) -> DefinitionError:
    return DefinitionError([Problem("G008", text)])
