"""Field types of graphs and nodes: models, retries, timeouts, error policies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Literal, Self, TypeAlias, cast

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
from ..validation import Declared, as_tuple, is_secret

Join: TypeAlias = Literal["any", "all", "always"]


def _one_or_many(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError("must be an id or a list of ids")
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
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Number: TypeAlias = Annotated[float, PlainSerializer(_shortest, return_type=int | float)]
Seconds: TypeAlias = Annotated[
    Number, Field(gt=0, strict=True, allow_inf_nan=False, description="seconds")
]


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

    value: JSON = Field(description="The output of the node if it failed.", examples=["unknown"])


class ModelSpec(Declared):
    """A model with its parameters; those not listed here are passed to the provider as they are."""

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
        description="The environment variable that holds the key.",
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
    fallback: Ids = Field(
        default=(),
        description="Models to ask if this one fails.",
        examples=[["anthropic/claude-haiku-4-5"]],
    )

    @model_validator(mode="after")
    def _check_extra(self) -> Self:
        problems: list[Problem] = []
        for path in _paths_of(self.model_extra or {}):
            key = path[-1]
            if is_secret(key):
                text = f"{key!r} would put a secret into the graph; name the environment variable "
                text += "that holds it"
                problems.append(
                    Problem("G004", text, path=path, suggestion="api_key_env", on_key=True)
                )
            elif len(path) == 1 and (
                near := get_close_matches(key, type(self).model_fields, n=1, cutoff=0.8)
            ):
                text = f"unknown key {key!r}"
                problems.append(Problem("G001", text, path=path, suggestion=near[0], on_key=True))
        if self.api_base and re.search(r"://[^/@]*:[^/@]*@", self.api_base):
            text = "api_base holds a password; leave it out and name its variable: api_key_env"
            problems.append(Problem("G004", text, path=("api_base",)))
        if problems:
            raise DefinitionError(problems)
        return self

    def parameters(self) -> dict[str, JSON]:
        """The parameters of a request beside the messages."""
        given = self.model_fields_set - {"id", "fallback"}
        return self.model_dump(include=given, exclude_none=True) if given else {}


def _paths_of(
    mapping: Mapping[str, object], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The paths of all keys in a mapping and in those inside it."""
    for key, value in mapping.items():
        yield (*path, key)
        if isinstance(value, Mapping):
            yield from _paths_of(cast("Mapping[str, object]", value), (*path, key))


OnError: TypeAlias = Literal["fail", "skip"] | Instead
"""What follows the last failed attempt: fail the run, skip the node, or use a value."""
