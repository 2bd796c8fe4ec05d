"""Messages, tool calls and usage: what is sent to a model, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import FieldInfo, asdict, fields
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, JsonValue, ValidationError
from pydantic_core import (
    CoreSchema,
    PydanticSerializationError,
    core_schema,
    to_jsonable_python,
)

from .errors import InputError, closest, listed

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class FrozenStruct(Struct, frozen=True, eq=False):
    """Frozen msgspec struct: unvalidated when made, validated as a field of a pydantic type.

    Two are equal if their fields are, except those that the class lists in `beside`.
    """

    beside: ClassVar[frozenset[str]] = frozenset()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, type(self)) and self._compared() == other._compared()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._compared())

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def schema(column: FieldInfo) -> core_schema.TypedDictField:
            return core_schema.typed_dict_field(
                handler.generate_schema(column.type), required=column.required
            )

        columns = {column.name: schema(column) for column in fields(source)}
        mapping = core_schema.typed_dict_schema(columns, extra_behavior="forbid")
        return core_schema.no_info_after_validator_function(lambda found: source(**found), mapping)

    def _compared(self) -> tuple[object, ...]:
        return tuple(
            getattr(self, name) for name in self.__struct_fields__ if name not in self.beside
        )


JSON: TypeAlias = JsonValue
"""Any JSON value: None, a boolean, a number, a text, or a list or mapping of JSON values."""
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


class FrozenModel(BaseModel):
    """Frozen pydantic model; an invalid one raises `InputError` with the field that was meant."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def __init__(self, /, *others: object, **data: Any) -> None:  # noqa: ANN401  pydantic's
        if others:
            raise InputError(_by_name_only(type(self)))
        try:
            # What `super().__init__` does, without a frame more for each message.
            self.__pydantic_validator__.validate_python(data, self_instance=self)
        except ValidationError as error:
            what, known = type(self).__name__, type(self).model_fields
            problems = "; ".join(_problem(detail, known) for detail in error.errors())
            raise InputError(f"{what}: {problems}; it has {listed(known)}") from error

    # What is nested is validated without a call of `__init__`, as with pydantic's own.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


def _by_name_only(model: type[BaseModel]) -> str:
    required = (name for name, each in model.model_fields.items() if each.is_required())
    example = ", ".join(f"{name}=..." for name in required)
    return f"{model.__name__} takes its fields by name only: {model.__name__}({example})"


def _problem(detail: ErrorDetails, known: Iterable[str]) -> str:
    """What pydantic found in one field, and the field that was meant."""
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        near = closest(name, known)
        return f"unknown {name!r}" + (f", did you mean {near!r}?" if near else "")
    text = detail["msg"].removeprefix("Input should be ").removeprefix("Field ")
    return f"{name!r} is {text}" if detail["type"] == "missing" else f"{name!r} must be {text}"


class ToolCall(FrozenModel):
    """A tool call in a model's reply; `arguments` is the JSON text that the model wrote."""

    id: str
    name: str
    arguments: str


class Part(FrozenModel):
    """An attachment as messages, turns and templates have it: all of it but its bytes.

    `size` counts its bytes, and `sha256` is the hash by which the session's store has them. One
    that is passed on as a `url` has neither.
    """

    name: str
    media_type: str
    size: int = 0
    sha256: str = ""
    url: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.media_type})"


class Message(FrozenModel):
    """One chat message: role and content, with tool calls or the id of the call it answers.

    `cache` marks the end of a prefix that the provider may cache. `origin` is the id of the
    earlier run that the message was replayed from, or None; such a message is stored as a
    reference to that run, never as a copy. `reasoning` is that of `Reply`. `parts` are what is
    attached to it.
    """

    role: Role
    content: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    cache: bool = False
    origin: str | None = None
    reasoning: str = ""
    parts: tuple[Part, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """The message as JSON, without its empty fields and the run that it is quoted from."""
        fields = self.model_dump(mode="json", exclude_defaults=True, exclude={"origin"})
        return {"role": self.role, "content": self.content, **fields}


HistoryItem: TypeAlias = Mapping[str, str] | Message | tuple[str, str]
"""A turn as `{input, answer}` or a pair of texts, or one message as `{role, content}`."""


class Quote(FrozenStruct, frozen=True, eq=False):
    """A text of an earlier run, which a record may repeat.

    `place` says which of the run's texts it is (`session.quotes.texts_of`), `session_id` is None
    for a run of the same session. A store writes a reference in place of the words, and returns
    the quote without its `text`.
    """

    run_id: str
    place: str
    text: str = ""
    session_id: str | None = None


class Usage(FrozenStruct, frozen=True, eq=False):
    """Tokens, calls and cost of model calls; tokens as the provider counts them.

    `cached_tokens` are those of `input_tokens` that a provider had in its cache, and
    `reasoning_tokens` those of `output_tokens` that are not in the answer. `cost` is in US dollars,
    None if it is unknown; a sum with an unknown cost is unknown.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    calls: int = 0
    cost: float | None = None
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        if not other.calls:
            return self
        if not self.calls:
            return other
        known = self.cost is not None and other.cost is not None
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            calls=self.calls + other.calls,
            cost=(self.cost or 0.0) + (other.cost or 0.0) if known else None,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


NO_USAGE = Usage()


def as_plain(value: object) -> JSON:
    """A value as JSON, structs as mappings of their fields; neither depth nor size is checked."""
    plain: JSON = to_jsonable_python(value, by_alias=False, fallback=struct_fields)
    return plain


def struct_fields(value: object) -> object:
    """The fields of a struct, for pydantic's `fallback`, which knows none."""
    if isinstance(value, Struct):
        return asdict(value)
    raise PydanticSerializationError(f"a {type(value).__name__} is not JSON")


def text_of(value: object) -> str:
    """An output as the text of an answer: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
