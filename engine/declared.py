"""The root of what people declare: frozen, closed, and wrong in a readable way.

pydantic finds what is wrong; this module says it in the words of the house, with the key that was
probably meant. Nested declarations raise inside their parent, and pydantic gathers what they say,
so one `DefinitionError` names everything at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import DefinitionError, Path, Problem, closest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Declared(BaseModel):
    """A part of a definition. An object that exists holds; otherwise `DefinitionError`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, /, **data: Any) -> None:  # noqa: ANN401  pydantic's signature
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise DefinitionError(problems_of(error, type(self))) from error


def problems_of(
    error: ValidationError, declared: type[BaseModel], prefix: Path = ()
) -> list[Problem]:
    """What pydantic found, one problem each, in the order of the fields."""
    problems: list[Problem] = []
    for detail in error.errors(include_url=False):
        path = (*prefix, *(part for part in detail["loc"] if not _is_union_tag(part)))
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, DefinitionError):
            problems.extend(_moved(problem, path) for problem in cause.problems)
        else:
            problems.append(_problem(detail, path, declared))
    return _without_echoes(problems)


def _moved(problem: Problem, prefix: Path) -> Problem:
    return replace(problem, path=(*prefix, *problem.path))


def _is_union_tag(part: str | int) -> bool:
    """pydantic puts the tried member of a union into the path: never a key that people wrote."""
    return isinstance(part, str) and (part.endswith("]") or "-" in part or part in _SCHEMA_WORDS)


_SCHEMA_WORDS = frozenset(
    ("str", "int", "float", "bool", "constrained-str", "Retry", "Timeout", "ModelSpec", "Instead")
    + ("Route", "Budget")
)


def _without_echoes(problems: Iterable[Problem]) -> list[Problem]:
    """One problem a place: a union reports each of its members, the last one is the richest."""
    by_place: dict[Path, Problem] = {}
    for problem in problems:
        known = by_place.get(problem.path)
        if known is None or known.code == "G002":
            by_place[problem.path] = problem
        elif problem.code == "G002" and problem.message not in known.message:
            by_place[problem.path] = known
    return list(by_place.values())


def _problem(detail: ErrorDetails, path: Path, declared: type[BaseModel]) -> Problem:
    key = str(path[-1]) if path else ""
    if detail["type"] == "extra_forbidden":
        known = _keys_at(declared, path)
        return Problem(
            "G001", f"unknown key {key!r}", path=path, suggestion=closest(key, known), on_key=True
        )
    if detail["type"] == "missing":
        return Problem("G003", f"{key!r} is required", path=path)
    say = _SAY.get(detail["type"])
    context: Mapping[str, object] = detail.get("ctx", {})
    text = say(context) if say else detail["msg"].removeprefix("Value error, ").rstrip(".")
    return Problem("G002", f"{key}: {text}{_given(detail['input'])}" if key else text, path=path)


def _given(value: object) -> str:
    shown = repr(value)
    return f", not {shown}" if len(shown) <= 60 and "object at 0x" not in shown else ""


def _keys_at(declared: type[BaseModel], path: Path) -> list[str]:
    """The keys that could stand where the unknown one does, as far as the models tell."""
    keys: dict[str, None] = {}
    todo: list[type[BaseModel]] = [declared]
    if len(path) > 1:
        todo = list(_models_in(field.annotation for field in declared.model_fields.values()))
    for model in todo:
        keys.update(dict.fromkeys(model.model_fields))
    return list(keys)


def _models_in(annotations: Iterable[object]) -> Iterable[type[BaseModel]]:
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        yield from _models_in(getattr(annotation, "__args__", ()))


_SAY: Mapping[str, Callable[[Mapping[str, object]], str]] = {
    "greater_than": lambda facts: f"must be more than {facts['gt']}",
    "greater_than_equal": lambda facts: f"must be {facts['ge']} or more",
    "less_than_equal": lambda facts: f"must be {facts['le']} or less",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "string_type": lambda _: "must be text",
    "string_too_short": lambda _: "must not be empty",
    "dict_type": lambda _: "must be a mapping of keys to values",
    "mapping_type": lambda _: "must be a mapping of keys to values",
    "list_type": lambda _: "must be a list",
    "tuple_type": lambda _: "must be a list",
    "too_short": lambda _: "must not be empty",
    "literal_error": lambda facts: f"must be {facts['expected']}",
}
