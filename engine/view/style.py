"""The style sheet of the pieces, for pages, notebooks and files that stand alone."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
_VALUES = re.compile(r":root \{(.*?)\}", re.DOTALL)
_VALUE = re.compile(r"(--[a-z-]+): ([^;]+);")
_VARIABLE = re.compile(r"var\((--[a-z-]+)\)")


@cache
def style_sheet() -> str:
    """The whole sheet, `static/view.css`."""
    return (FOLDER / "view.css").read_text(encoding="utf-8")


def own_rules(name: str) -> str:
    """The rules of the class `name` alone, with values in place of variables, light and dark.

    Few programs that show SVG know variables of CSS.
    """
    sheet = style_sheet()
    light, dark = (dict(_VALUE.findall(block)) for block in _VALUES.findall(sheet))
    rules = [line for line in sheet.splitlines() if line.startswith(f".{name} ")]
    coloured = [rule for rule in rules if _VARIABLE.search(rule)]
    parts = [*_with_values(rules, light), "@media (prefers-color-scheme: dark) {"]
    return "\n".join([*parts, *_with_values(coloured, dark), "}"])


def _with_values(rules: list[str], values: dict[str, str]) -> list[str]:
    return [_VARIABLE.sub(lambda match: values[match[1]], rule) for rule in rules]
