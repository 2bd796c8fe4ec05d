"""A shape: the declared type of a node's answer, sent to the model and validated on return."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import cast

from pydantic import TypeAdapter

from ..errors import DefinitionError, Problem
from ..messages import JSON
from ..values import parse_json
from .form import Form
from .inline import InlineValidator, read_inline
from .python_type import read_type
from .reading import answer_in, json_values
from .schema_file import SchemaValidator, read_schema
from .validator import Validator

_VALUE = "value"
# NaN stays NaN and is refused; by default pydantic would make it null.
_ANYTHING: TypeAdapter[object] = TypeAdapter(object, config={"ser_json_inf_nan": "constants"})


@dataclass(frozen=True, slots=True)
class Shape:
    """The type of a node's answer that is not free text.

    `schema` is the JSON Schema to send to a model. Its root is an object, since providers take
    nothing else: a list, a number or a word is asked for as `{"value": ...}`, and `parse` takes it
    with and without. `is_wrapped` tells whether the schema has that object around the value. `form`
    describes the schema to templates.
    """

    schema: Mapping[str, JSON]
    validator: Validator = field(repr=False)
    is_wrapped: bool = field(default=False, repr=False)
    form: Form = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "form", Form(self.schema))

    @property
    def type(self) -> object:
        """The Python type of the value as templates read it; a mapping's is a TypedDict.

        None if a JSON Schema is all that is known.
        """
        return self.validator.type

    def parse(self, text: str) -> JSON:
        """The value in a model's text: the first JSON in it that fits; see `json_values`.

        Where the shape is text or words, they may stand without quotes. Raises `ValueError` with
        one line for the model that names the field and says what is wrong with it.
        """
        wrong: ValueError | None = None
        values = json_values(text)
        while True:
            try:
                value = next(values)
            except StopIteration:
                break
            except ValueError as error:
                wrong = wrong or error
                break
            try:
                return self._read(value, text)
            except ValueError as error:
                wrong = wrong or error
        if self._is_text and (words := answer_in(text)):
            return self.validator.validate(words)
        raise cast("ValueError", wrong)

    def _read(self, value: JSON, text: str) -> JSON:
        if self.is_wrapped and isinstance(value, dict) and value.keys() == {_VALUE}:
            value = value[_VALUE]
        elif self._is_text and not isinstance(value, str | None):
            value = answer_in(text)
        return self.validator.validate(value)

    def validate(self, value: object) -> JSON:
        """The same for a Python value: a pydantic model, a dataclass, a dict, or plain JSON.

        Raises `ValueError` as `parse` does.
        """
        try:
            plain = json.dumps(_ANYTHING.dump_python(value, mode="json", round_trip=True))
        except (ValueError, RecursionError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise ValueError(f"the answer cannot be written as JSON: {reason}") from error
        return self.validator.validate(parse_json(plain))

    @property
    def _is_text(self) -> bool:
        return isinstance(self.validator, InlineValidator) and self.validator.is_text


def shape(returns: object, *, name: str, folder: Path | None = None) -> Shape:
    """The shape that a node's `returns` declares.

    `returns` is a mapping, list or text as in a graph file, a class, or the name of a `.json` file
    beside the graph file, in `folder`. `name`, the node's id, is the schema's title where that has
    none. Raises `DefinitionError` with all problems, each with its path inside `returns`.
    """
    validator = _validator_of(returns, name, folder)
    schema = validator.schema
    wraps = not isinstance(validator, SchemaValidator) and schema.get("type") != "object"
    asked = _wrapped(schema) if wraps else schema
    return Shape({"title": name, **asked}, validator, is_wrapped=wraps)


def names_class(returns: str) -> bool:
    """Whether a text names a class, `package.module:Class`, and is no type: `{reason: str}`."""
    return ":" in returns and not {*"[{|"} & {*returns}


def _validator_of(returns: object, name: str, folder: Path | None) -> Validator:
    if isinstance(returns, str) and returns.endswith(".json"):
        return read_schema(returns, folder)
    if isinstance(returns, str) and names_class(returns):
        text = f"{returns!r} is a reference, which only a graph file can have; here pass "
        raise DefinitionError([Problem("G031", f"{text}the class itself")])
    if isinstance(returns, type | UnionType) or hasattr(returns, "__origin__"):
        return read_type(returns)
    return read_inline(returns, name)


def _wrapped(schema: Mapping[str, JSON]) -> dict[str, JSON]:
    """An object around a schema of something else; references still lead to its root."""
    inner = {key: part for key, part in schema.items() if key != "$defs"}
    wrapped: dict[str, JSON] = {
        "type": "object",
        "properties": {_VALUE: inner},
        "required": [_VALUE],
        "additionalProperties": False,
    }
    return {**wrapped, "$defs": schema["$defs"]} if "$defs" in schema else wrapped
