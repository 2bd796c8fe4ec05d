"""Reads a shape that is written into a graph, and tells everything that does not hold in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from msgspec import Struct, field

from ..errors import DefinitionError, Path, Problem, closest
from .inline import SIMPLE, Fields, Inline, InlineRule, ListOf, Optional, Simple, Words

_CODE = "G030"
_DEEPEST = 16  # no model fills more; and a mapping made in Python may contain itself
_WORD = re.compile(r"\w[\w.+-]*")
_MEANT: Mapping[str, str] = {"number": "float", "double": "float", "text": "str"}
_FORMS = "str, int, float, bool, list[...], one of some words such as yes|no, or any of them with ?"


def read_inline(declared: object, name: str) -> InlineRule:
    """The shape that a mapping or a text says; `name` is what its type is called.

    Raises `DefinitionError` with all problems, each with its path inside `declared`.
    """
    reading = _Reading()
    root = reading.any(declared, (), name)
    if root is None:
        raise DefinitionError(reading.problems)
    return InlineRule(root)


class _Reading(Struct):
    """What does not hold is noted and None is given back, so that the rest is read too."""

    problems: list[Problem] = field(default_factory=list[Problem])

    def any(self, declared: object, path: Path, name: str) -> Inline | None:
        if isinstance(declared, Mapping):
            return self._mapping(cast("Mapping[object, object]", declared), path, name)
        if not isinstance(declared, str):
            self._note(
                path, f"{declared!r} is no shape; write {_FORMS}, or a mapping of keys to them"
            )
            return None
        if declared.count("[") + declared.count("?") > _DEEPEST:
            self._note(path, "this is nested too deeply; write less into one value")
            return None
        return self._text(declared, path)

    def _mapping(self, declared: Mapping[object, object], path: Path, name: str) -> Fields | None:
        if len(path) >= _DEEPEST:
            self._note(path, "this is nested too deeply; write less into one value")
            return None
        if not declared:
            self._note(path, "a mapping needs at least one key, such as {answer: str}")
        fields: dict[str, Inline] = {}
        for key, value in declared.items():
            at = (*path, str(key))
            self._check_key(key, at)
            inner = self.any(value, at, f"{name}_{key}")
            if inner is not None:
                fields[str(key)] = inner
        return None if self.problems else Fields(name, fields)

    def _check_key(self, key: object, path: Path) -> None:
        if isinstance(key, str) and key.isidentifier():
            return
        near = re.sub(r"\W+", "_", str(key)).strip("_")
        self._note(
            path,
            f"the key {key!r} must be a name of letters, digits and _, as templates read it",
            suggestion=near if near.isidentifier() else None,
            on_key=True,
        )

    def _text(self, declared: str, path: Path) -> Simple | Words | ListOf | Optional | None:
        text = declared.strip()
        if text.endswith("?"):
            return self._optional(text, path)
        if text.startswith("list[") and text.endswith("]"):
            item = self._text(text[5:-1], path)
            return ListOf(item) if item else None
        if text in SIMPLE:
            return Simple(text)
        if "|" in text:
            return self._words(text, path)
        self._note_unknown(text, path)
        return None

    def _optional(self, text: str, path: Path) -> Optional | None:
        inner = self._text(text[:-1], path)
        if isinstance(inner, Optional):
            self._note(path, f"{text!r} is optional twice; one ? is enough")
            return None
        return Optional(inner) if inner else None

    def _words(self, text: str, path: Path) -> Words | None:
        words = tuple(word.strip() for word in text.split("|"))
        wrong = next((word for word in words if not _WORD.fullmatch(word)), None)
        if wrong is not None:
            said = f"{wrong!r} in {text!r} is no word; a word is letters, digits and any of _-.+"
        elif len(set(words)) < len(words):
            said = f"{text!r} names a word twice"
        elif set(words) <= set(SIMPLE):
            said = f"{text!r} is a choice of types; a value has one type, or is one of some words"
        else:
            return Words(words)
        self._note(path, said)
        return None

    def _note_unknown(self, text: str, path: Path) -> None:
        if text == "list":
            self._note(path, "a list of what? write list[str]", suggestion="list[str]")
            return
        near = _MEANT.get(text.lower()) or closest(text.lower(), SIMPLE)
        if text.lower() in SIMPLE:
            near = text.lower()
        said = f"unknown type {text!r}" if text else "a type is missing here"
        self._note(path, said if near else f"{said}; write {_FORMS}", suggestion=near)

    def _note(
        self, path: Path, message: str, *, suggestion: str | None = None, on_key: bool = False
    ) -> None:
        problem = Problem(_CODE, message, path=path, suggestion=suggestion, on_key=on_key)
        self.problems.append(problem)
