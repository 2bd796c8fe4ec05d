"""Field types of graphs and nodes: models, retries, timeouts, error policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeAlias, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from ..errors import DefinitionError, Problem
from ..messages import JSON
from ..models.endpoints import (
    address_problem,
    key_variable_problem,
    parameter_problem,
)
from ..models.registry import provider_of, takes_provider_parameters
from ..validation import Declared, as_tuple, is_secret, refuse_model_object
from ..values import json_problem, model_id_problem

Join: TypeAlias = Literal["any", "all", "always"]


def _one_or_many(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("must be an id or a list of ids")
    return cast("Sequence[object]", value)


def _one_or_many_models(value: object) -> object:
    if isinstance(value, str | Mapping | ModelSpec):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("must be a model's id, {id, ...}, or a list of them")
    return cast("Sequence[object]", value)


def _shortest(number: float) -> float:
    """`60` as `60`, not as `60.0`."""
    return int(number) if number.is_integer() else number


Ids: TypeAlias = Annotated[
    Sequence[str],
    BeforeValidator(_one_or_many, json_schema_input_type=str | Sequence[str]),
    AfterValidator(as_tuple),
]
"""Type of a field that takes one id or several; stored as a tuple."""
Texts: TypeAlias = Annotated[
    Sequence[str],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else value,
        json_schema_input_type=str | Sequence[str],
    ),
    AfterValidator(as_tuple),
]
"""Type of a field that takes one text or several; stored as a tuple."""


def _storable(value: object) -> object:
    """Refuse what no store could read again; NaN and infinity are refused by `Declared`."""
    if problem := json_problem(value):
        path, reason = problem
        text = f"{reason}; use text, finite numbers, lists and mappings"
        raise DefinitionError([Problem("G002", text, path=path)])
    return value


JSONValue: TypeAlias = Annotated[JSON, AfterValidator(_storable)]
JSONMapping: TypeAlias = Annotated[Mapping[str, JSON], AfterValidator(_storable)]
"""Type of a field that maps keys to JSON values which every store can read again."""
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Number: TypeAlias = Annotated[float, PlainSerializer(_shortest, return_type=int | float)]
Seconds: TypeAlias = Annotated[
    Number, Field(gt=0, strict=True, allow_inf_nan=False, description="seconds")
]
"""Type of a field that is a positive number of seconds."""


class Retry(Declared):
    """Retry policy of a node: exponential backoff from `wait` up to `max_wait`."""

    model_config = ConfigDict(defer_build=False)

    times: int = Field(ge=0, strict=True, description="Attempts after the first.", examples=[2])
    wait: Seconds = Field(
        default=0.5,
        description="Seconds before the first retry; the wait doubles each time.",
        examples=[0.5],
    )
    max_wait: Seconds = Field(
        default=30.0, description="No wait is longer than this.", examples=[30]
    )


class Timeout(Declared):
    """Time limits of an attempt: `total`, and `idle` without data from the model."""

    model_config = ConfigDict(defer_build=False)

    total: Seconds | None = Field(
        default=None, description="Seconds for the whole attempt.", examples=[120]
    )
    idle: Seconds | None = Field(
        default=None, description="Seconds without data from the model.", examples=[30]
    )


class Instead(Declared):
    """The error policy `{value: ...}`: an output to use if the node failed."""

    model_config = ConfigDict(defer_build=False)

    value: JSONValue = Field(
        description="The output of the node if it failed.", examples=["unknown"]
    )


_NO_CHAIN = "a fallback has no fallback of its own; list that model after it"


def _also_one(schema: dict[str, Any]) -> None:
    """One model, without a list, is valid too."""
    many = {name: schema.pop(name) for name in ("type", "items")}
    schema["anyOf"] = [*many["items"]["anyOf"], many]


_FORM = frozenset(("structured", "response_format"))
"""Keys of a model that say in which form an answer is asked for, each in place of the other."""


class ModelSpec(Declared):
    """A model with its parameters; docs/writing-graphs.md lists those beside the ones here."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(
        min_length=1,
        description="Any litellm id, `local` or `echo`.",
        examples=["openai/gpt-5-mini"],
    )
    api_base: str | None = Field(
        default=None,
        description="An OpenAI-compatible server.",
        examples=["http://127.0.0.1:8000/v1"],
    )
    api_key_env: str | None = Field(
        default=None,
        description="The environment variable with the API key.",
        examples=["OPENAI_API_KEY"],
    )
    temperature: Number | None = Field(
        default=None, ge=0, strict=True, description="0 is the most predictable.", examples=[0]
    )
    max_tokens: int | None = Field(
        default=None,
        gt=0,
        strict=True,
        description="The longest answer, in tokens.",
        examples=[1000],
    )
    structured: Literal["auto", "schema", "tool", "json", "text"] = Field(
        default="auto",
        description="How an answer of a certain form is asked for: as an enforced JSON Schema, as "
        "the arguments of a tool, as any JSON, or only in words; auto: the first that works.",
        examples=["json"],
    )
    fallback: Annotated[
        Sequence[Text | ModelSpec], BeforeValidator(_one_or_many_models), AfterValidator(as_tuple)
    ] = Field(
        default=(),
        description="Models to ask if this one fails, by their ids or with keys of their own; the "
        "other parameters are those of this one.",
        examples=[["anthropic/claude-haiku-4-5", {"id": "openai/gpt-5-nano", "temperature": 1}]],
        json_schema_extra=_also_one,
    )

    @classmethod
    def key_advice(cls) -> Mapping[str, str]:
        """What other frameworks call the id of a model."""
        return dict.fromkeys(("name", "model", "model_id", "deployment_name"), "id")

    @model_validator(mode="after")
    def _check_extra(self) -> Self:
        _storable(self.model_extra or {})
        problems = [
            Problem("G002", _NO_CHAIN, path=("fallback", index, "fallback"), on_key=True)
            for index, each in enumerate(self.fallback)
            if isinstance(each, ModelSpec) and each.fallback
        ]
        for path in _paths_of(self.model_extra or {}):
            key = path[-1]
            if is_secret(key):
                text = f"{key!r} would put a secret into the graph; name the environment variable "
                text += "that contains it"
                problems.append(
                    Problem("G004", text, path=path, suggestion="api_key_env", on_key=True)
                )
        if takes_provider_parameters(self.id):
            reported = {problem.path[0] for problem in problems}
            problems += (one for one in self._provider_problems() if one.path[0] not in reported)
        if problems:
            raise DefinitionError(problems)
        return self

    def _provider_problems(self) -> Iterator[Problem]:
        """What a graph may not set: see `engine.models.endpoints`."""
        if self.structured != "auto" and "response_format" in self.model_fields_set:
            text = "structured is of no use beside response_format, which is sent as it is; remove "
            yield Problem("G007", f"{text}one of the two", path=("structured",), on_key=True)
        known = [*type(self).model_fields]
        for name in self.model_extra or {}:
            found = parameter_problem(name, known)
            if found is not None:
                text, near = found
                yield Problem("G001", text, path=(name,), suggestion=near, on_key=True)
        checks = (
            ("id", model_id_problem, self.id),
            ("api_base", address_problem, self.api_base),
            ("api_key_env", key_variable_problem, self.api_key_env),
        )
        for name, check, value in checks:
            problem = check(value) if value is not None else None
            if problem is not None:
                yield Problem("G004", problem, path=(name,))

    @cached_property
    def parameters(self) -> Mapping[str, JSON]:
        """The parameters of a request beside the messages."""
        given = self.model_fields_set - {"id", "fallback"}
        if not given:
            return {}
        extra = self.model_extra or {}
        dumped: dict[str, JSON] = self.model_dump(include=given)
        return {name: value for name, value in dumped.items() if value is not None or name in extra}

    def in_order(self) -> tuple[ModelSpec, ...]:
        """The model and its fallbacks, each with all its parameters."""
        return (self, *map(self._as_fallback, self.fallback))

    def _as_fallback(self, other: str | ModelSpec) -> ModelSpec:
        """Another model with the parameters of this one that it does not have itself.

        Address and key go together, and to the same provider only; keys that only some models know
        go to a model of the same sort.
        """
        own = other if isinstance(other, ModelSpec) else ModelSpec(id=other)
        kept = self.model_fields_set - {"id", "fallback"} - own.model_fields_set
        kept -= _FORM if own.model_fields_set & _FORM else set()
        is_same = provider_of(self.id) == provider_of(own.id)
        if not is_same or "api_base" in own.model_fields_set:
            kept -= {"api_base", "api_key_env"}
        if not is_same and not all(map(takes_provider_parameters, (self.id, own.id))):
            kept -= {*(self.model_extra or {})}
        inherited = {name: getattr(self, name) for name in kept}
        return ModelSpec(**inherited, **own.model_dump(exclude_unset=True))


def _paths_of(
    mapping: Mapping[str, object], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The paths of all keys in a mapping and in those inside it."""
    for key, value in mapping.items():
        yield (*path, key)
        if isinstance(value, Mapping):
            yield from _paths_of(cast("Mapping[str, object]", value), (*path, key))


ModelField: TypeAlias = Annotated[Text | ModelSpec | None, BeforeValidator(refuse_model_object)]
"""Type of a field that names a model, by its id or with parameters."""
OnError: TypeAlias = Literal["fail", "skip"] | Instead
"""What follows the last failed attempt: fail the run, skip the node, or use a value."""
