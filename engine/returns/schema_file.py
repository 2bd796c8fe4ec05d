"""Types declared by a JSON Schema file; the schema is sent to the model as it is."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Struct
from msgspec.structs import replace
from pydantic import StringConstraints, TypeAdapter
from pydantic import ValidationError as PydanticValidationError
from pydantic_core import SchemaError

from ..errors import DefinitionError, KeyPath, Problem, closest
from ..messages import JSON
from .validator import location, summary

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator


_CODE = "G033"
_MOST_STEPS = 100_000  # parts that one value is checked against
_DEEPEST = 200  # references and parts inside each other
_NO_BOUND = (
    "uses look-around or a back-reference; as its match may take for ever, it is never tried: "
    "write it without (several patterns in `allOf` must all match), or check the text in a "
    "pydantic model of an allowed package, `returns: package.module:Model`"
)
_MAX_MESSAGE = 200  # characters of an error: jsonschema repeats the whole value in it


class SchemaValidator(Struct, frozen=True):
    """Validates with jsonschema against a JSON Schema."""

    schema: Mapping[str, JSON]
    type: object
    validator: Validator

    def validate(self, value: JSON) -> JSON:
        """The value as it is. Raises `ValueError`, one line, if it is invalid."""
        try:
            errors = [
                f"{location(tuple(error.absolute_path))}: {_cut(error.message)}"
                for error in self.validator.iter_errors(value)
            ]
        except RecursionError as error:
            text = "the answer cannot be checked: its JSON Schema refers to itself"
            raise ValueError(text) from error
        if errors:
            raise ValueError(summary(errors))
        return value


def read_schema(declared: str, folder: Path | None) -> SchemaValidator:
    """The validator of the schema in a file; without `folder` it lies in the working directory.

    Raises `DefinitionError` if there is no such file, if what is in it is no JSON Schema, or if
    that refers to anything outside of it: a schema is never fetched.
    """
    schema = _loaded(declared, folder or Path())
    try:
        return SchemaValidator(schema, None, _validator(schema))
    except DefinitionError as error:
        raise DefinitionError(
            [
                replace(problem, message=f"{declared!r}: {problem.message}")
                for problem in error.problems
            ]
        ) from error


def schema_validator(schema: Mapping[str, JSON]) -> SchemaValidator:
    """The validator of a JSON Schema; raises `DefinitionError` as `read_schema` does."""
    return SchemaValidator(schema, None, _validator(dict(schema)))


def _loaded(declared: str, folder: Path) -> dict[str, JSON]:
    file = folder / declared
    try:
        if file.exists() and not (
            file.is_file() or file.is_dir()
        ):  # reading a pipe would never end
            raise OSError(errno.EINVAL, "it is not a regular file")
        schema: JSON = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        text = f"there is no JSON Schema file {declared!r}"
        near = closest(file.name, sorted(path.name for path in file.parent.glob("*.json")))
        near = near and declared.removesuffix(file.name) + near
        raise DefinitionError([Problem(_CODE, text, suggestion=near)]) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or "unknown"
        text = f"the JSON Schema file {declared!r} cannot be read: {reason.partition('[')[0]}"
        raise DefinitionError([Problem(_CODE, text.rstrip())]) from error
    if not isinstance(schema, dict):
        raise DefinitionError(
            [Problem(_CODE, f"{declared!r} is not a JSON Schema: it is not an object")]
        )
    return schema


def _validator(schema: dict[str, JSON]) -> Validator:
    # jsonschema costs 60 ms to import, which only a graph with such a file should pay.
    from jsonschema import SchemaError as NotASchema  # noqa: PLC0415  # see above
    from jsonschema.validators import Draft202012Validator, extend, validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    dialect = schema.get("$schema", Draft202012Validator.META_SCHEMA["$id"])
    kind = validator_for({"$schema": str(dialect)}, default=Draft202012Validator)
    known = kind.META_SCHEMA.get("$id") or kind.META_SCHEMA["id"]
    if str(dialect).rstrip("#") != known.rstrip("#"):
        text = f"$schema {dialect!r} is unknown; name a published draft or leave it out"
        raise DefinitionError([Problem(_CODE, text)])
    try:
        kind.check_schema(schema)
    except NotASchema as error:
        text = f"{location(tuple(error.absolute_path))} is not a JSON Schema: {_cut(error.message)}"
        raise DefinitionError([Problem(_CODE, text)]) from error
    _check_references(schema)
    if problems := [*_check_patterns(schema)]:
        raise DefinitionError(problems)
    if _steps(schema, schema, 0, {}) > _MOST_STEPS:
        text = "its parts refer to each other so often that no check would end; simplify it"
        raise DefinitionError([Problem(_CODE, text)])
    checks = {"pattern": _match_pattern}
    bounded: type[Validator] = extend(kind, checks)  # type: ignore[no-untyped-call]  # it has no types
    return bounded(schema, registry=Registry())  # an empty registry fetches nothing


def _steps(part: JSON, root: JSON, depth: int, known: dict[int, int]) -> int:
    """How many parts one value may be checked against, at most; a reference back counts once."""
    if id(part) in known or depth > _DEEPEST:
        return known.get(id(part), 1)
    known[id(part)] = 1  # while it is counted
    found = 1
    if isinstance(part, list):
        found += sum(_steps(each, root, depth + 1, known) for each in part)
    if isinstance(part, dict):
        found += sum(_steps(each, root, depth + 1, known) for each in part.values())
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            found += _steps(_referred(root, reference), root, depth + 1, known)
    known[id(part)] = found
    return found


def _referred(root: JSON, reference: str) -> JSON:
    part = root
    for key in reference.removeprefix("#/").split("/"):
        part = (
            part.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(part, dict) else None
        )
    return part


def _match_pattern(
    validator: Validator, pattern: str, instance: object, schema: object
) -> Iterator[ValidationError]:
    """`pattern`, by an engine whose time is linear, if it knows the pattern."""
    from jsonschema import ValidationError  # noqa: PLC0415  # see above

    if not isinstance(instance, str):
        return
    try:
        _linear(pattern).validate_python(instance)
    except PydanticValidationError:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


@lru_cache(maxsize=256)
def _linear(pattern: str) -> TypeAdapter[str]:
    return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])


def _check_patterns(part: JSON, place: KeyPath = ()) -> Iterator[Problem]:
    """The patterns that cannot be matched in linear time."""
    if isinstance(part, list):
        for at, item in enumerate(part):
            yield from _check_patterns(item, (*place, at))
    if not isinstance(part, dict):
        return
    pattern = part.get("pattern")
    if isinstance(pattern, str):
        try:
            _linear(pattern)
        except SchemaError:
            yield Problem(_CODE, f"{location((*place, 'pattern'))} {_NO_BOUND}")
    for key, value in part.items():
        yield from _check_patterns(value, (*place, key))


def _check_references(schema: dict[str, JSON]) -> None:
    from referencing import Registry, Resource  # noqa: PLC0415  # comes with jsonschema
    from referencing.exceptions import Unresolvable  # noqa: PLC0415
    from referencing.jsonschema import DRAFT202012  # noqa: PLC0415

    resource: Resource[JSON] = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry: Registry[JSON] = Registry()
    resolver = registry.with_resource("", resource).resolver()
    problems: list[Problem] = []
    for path, target in _references(schema, ()):
        text = f"{location(path)} refers to {target!r}, "
        if not target.startswith("#"):
            problems.append(Problem(_CODE, f"{text}outside of the file; copy it into $defs"))
            continue
        try:
            resolver.lookup(target)
        except Unresolvable:
            problems.append(Problem(_CODE, f"{text}which is not in the file"))
    if problems:
        raise DefinitionError(problems)


def _references(part: JSON, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every reference, and every id inside: those would move what a reference means."""
    if isinstance(part, list):
        for at, item in enumerate(part):
            yield from _references(item, (*path, at))
    if not isinstance(part, dict):
        return
    for key, value in part.items():
        is_reference = key in ("$ref", "$dynamicRef", "$recursiveRef") or (key == "$id" and path)
        if is_reference and isinstance(value, str):
            yield (*path, key), value
        else:
            yield from _references(value, (*path, key))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}..."
