"""The form of an answer: its JSON Schema as templates describe it to a model in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property, partial

from ..messages import JSON

_SIMPLE = frozenset(
    (
        *("type", "title", "description", "enum", "anyOf", "items", "minItems"),
        *("properties", "required", "additionalProperties", "$ref"),
    )
)
"""The keywords of a schema that is short in words."""
_ONLY: Mapping[str, JSON] = {"minItems": 1, "additionalProperties": False}
"""Those that are simple with this value only."""
_PREFIX = "#/$defs/"
_SCALARS = {name: name for name in ("string", "integer", "number", "null")} | {
    "boolean": "true | false"
}


class Form:
    """The template name `node.form`: what the answer to one request must look like.

    `sent` is the JSON Schema that servers get which take one. `labels` are those of a choice, empty
    for any other answer; `many` says that several may be chosen, `allow_none` that none may be.
    """

    def __init__(
        self,
        schema: Mapping[str, JSON],
        *,
        labels: tuple[str, ...] = (),
        many: bool = False,
        allow_none: bool = False,
    ) -> None:
        self.sent = schema
        self.labels = labels
        self.many = many
        self.allow_none = allow_none

    @property
    def is_simple(self) -> bool:
        """Whether `text` is short: the schema says no more than types, words and keys."""
        return self._notation is not None

    @cached_property
    def text(self) -> str:
        """The value as JSON with types in place of values: `{"lang": "de" | "fr", "n": number}`.

        Where that would not say all that the schema does, it is the JSON Schema itself.
        """
        return self._notation or json.dumps(self.sent, ensure_ascii=False)

    @cached_property
    def _notation(self) -> str | None:
        definitions = self.sent.get("$defs")
        root = {key: part for key, part in self.sent.items() if key not in ("$defs", "description")}
        try:
            return _notation(root, definitions if isinstance(definitions, dict) else {}, ())
        except ValueError:
            return None


def _notation(part: JSON, definitions: Mapping[str, JSON], inside: tuple[str, ...]) -> str:
    """A schema as JSON with types in place of values; `ValueError` if that does not say all.

    `inside` are the definitions around the part, which it must not contain again.
    """
    if not isinstance(part, dict) or any(map(_says_more, part.items())):
        raise ValueError(part)
    write = partial(_notation, definitions=definitions, inside=inside)
    text = ""
    match part:
        case {"$ref": str(reference)} if (name := reference.removeprefix(_PREFIX)) not in inside:
            text = _notation(definitions.get(name), definitions, (*inside, name))
        case {"enum": list(words)}:
            text = " | ".join(json.dumps(word, ensure_ascii=False) for word in words)
        case {"anyOf": list(options)}:
            text = " | ".join(map(write, options))
        case {"properties": dict(fields), "required": names} if names == list(fields):
            keys = (f"{json.dumps(key)}: {write(each)}" for key, each in fields.items())
            text = f"{{{', '.join(keys)}}}"
        case {"items": items}:
            text = f"[{write(items)}, ...]"
        case {"type": str(name)} if name in _SCALARS:
            text = _SCALARS[name]
        case _:
            raise ValueError(part)
    about = part.get("description")
    return f"{text} ({about})" if about else text


def _says_more(keyword: tuple[str, JSON]) -> bool:
    """Whether a keyword says what the notation has no sign for."""
    name, value = keyword
    return name not in _SIMPLE or (name in _ONLY and value != _ONLY[name])
