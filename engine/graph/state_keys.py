"""The keys of the session's state that functions set, as far as their source says so.

Only what is certain is found: a constant key that is assigned (`session_state["total"] = ...`, on a
name or an attribute `session_state`) or given in `Result(session_state={"total": ...})`.
Lists and mappings are left out, since changes of these are merged; so are keys made at run time.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from textwrap import dedent
from types import CodeType

STATE = "session_state"
_UNKNOWN = "..."
_MERGED = (
    *(ast.List, ast.Dict, ast.Set, ast.Tuple),
    *(ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp),
)


def keys_set(function: Callable[..., object]) -> frozenset[tuple[str, str]]:
    """Pairs of a key and the expression that it is set to; empty where the source is unknown."""
    while isinstance(function, partial):
        function = function.func
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    if not isinstance(code, CodeType) or not _mentions_state(code):
        return frozenset()
    try:
        tree = ast.parse(dedent(inspect.getsource(plain)))
    except (OSError, SyntaxError):  # no file, or a lambda in the midst of an expression
        return frozenset()
    return frozenset((key, _text(value)) for key, value in _changes(tree) if not _is_merged(value))


def contradict(some: str, other: str) -> bool:
    """Whether one key set to both expressions may contradict: not one text, boolean or null."""
    return some != other or some == _UNKNOWN


def _text(value: ast.expr) -> str:
    """A text, boolean or null as it is written; of anything else only that it is something else."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str | bool | None):
        return ascii(value.value)
    return _UNKNOWN


def _mentions_state(code: CodeType) -> bool:
    """Whether the function uses the name, looked up in its bytecode: reading source takes long."""
    names = {*code.co_names, *code.co_varnames, *code.co_freevars}
    return STATE in names or any(
        _mentions_state(each) if isinstance(each, CodeType) else each == STATE or _has(each)
        for each in code.co_consts
    )


def _has(constant: object) -> bool:
    """Whether a constant has the name of a keyword argument: these are a tuple."""
    return isinstance(constant, tuple) and STATE in constant


def _is_merged(value: ast.expr) -> bool:
    return any(isinstance(part, _MERGED) for part in ast.walk(value))


def _changes(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Each constant key that is set, with what it is set to; with `+=` only by a constant.

    Items that `+=` adds to a list are merged, and so are the keys that `|=` adds to a mapping.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _key(target, node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.value, ast.Constant):
            yield from _key(node.target, node.target)
        elif isinstance(node, ast.keyword) and node.arg == STATE:
            yield from _items(node.value) if isinstance(node.value, ast.Dict) else ()


def _items(value: ast.Dict) -> Iterator[tuple[str, ast.expr]]:
    """The constant keys of a mapping that is written in place."""
    for key, item in zip(value.keys, value.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value, item


def _key(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if not (isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant)):
        return
    name = getattr(target.value, "attr", getattr(target.value, "id", None))
    if name == STATE and isinstance(target.slice.value, str):
        yield target.slice.value, value
