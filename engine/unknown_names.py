"""What is said about attributes and arguments that do not exist: the ones that were meant.

People come with the words of Agno, LangGraph and CrewAI; a table has these, and for all other
names the most similar one that exists is suggested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, signature
from typing import ParamSpec, TypeVar

from .errors import closest, listed

P = ParamSpec("P")
T = TypeVar("T")

_SESSION = "session_id"
ARGUMENTS: Mapping[str, str] = {
    **dict.fromkeys(("session", "thread", "thread_id", "conversation_id"), _SESSION),
    **dict.fromkeys(("user", "userid"), "user_id"),
    **dict.fromkeys(("session_state", "context", "dependencies"), "state"),
    **dict.fromkeys(("input", "inputs", "text", "prompt", "question", "query"), "message"),
    **dict.fromkeys(("db", "storage", "checkpointer", "memory"), "store"),
    **dict.fromkeys(("images", "audio", "videos", "files", "media"), "attachments"),
    "llm": "model",
    "id": "run_id",
}
"""Arguments of other frameworks, and what they are called here."""
_EVENTS = ("message", "call `stream`, or `astream` in async code, which yield events")
ADVICE: Mapping[str, tuple[str, str]] = {
    "config": (_SESSION, "LangGraph's `thread_id` is session_id='...'"),
    "stream": _EVENTS,
    "stream_mode": _EVENTS,
}
"""Arguments of other frameworks that are none here: one beside which people give them, and why."""


def missing_attribute(
    owner: type, name: str, meant: Mapping[str, str], more: Iterable[str] = ()
) -> AttributeError:
    """The error for an attribute that a class lacks; `more` are names of its instances' own."""
    text = f"{owner.__name__} has no {name!r}"
    known = [each for each in (*more, *dir(owner)) if not each.startswith(("_", "model_"))]
    if name in meant:
        return AttributeError(f"{text}; {meant[name]}")
    near = None if name.startswith("_") else closest(name, known)
    return AttributeError(f"{text}; did you mean {near!r}?" if near else text)


def check_arguments(
    function: Callable[..., object],
    called: str,
    arguments: Sequence[object],
    options: Mapping[str, object],
) -> None:
    """Raise `TypeError` for arguments that a function or method does not take, or that are missing.

    `called` is its name in the error; `arguments` are those without names, the instance or class
    of a method first.
    """
    parameters = signature(function).parameters
    bound = _is_method(function)
    known = [*parameters][bound:]
    by_name = [name for name in known if parameters[name].kind is Parameter.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            owner = _owner(arguments) if bound else None
            raise TypeError(f"{called}() has no argument {name!r}; {_meant(name, known, owner)}")
    if len(arguments) > len(parameters) - len(by_name):
        text = f"{called}() takes no argument without a name"
        if len(parameters) - len(by_name) > bound:
            takes = listed(name for name in known if name not in by_name)
            text = f"{called}() takes {takes}, and nothing more without a name"
        if by_name:
            text = f"{called}() takes these by name only: "
            text += listed(f"{name}=..." for name in by_name)
        raise TypeError(text)
    for name in known[len(arguments) - bound :]:
        if parameters[name].default is Parameter.empty and name not in options:
            raise TypeError(f"{called}() needs {name!r}; give it")


def explained(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function or method so that wrong arguments raise what `check_arguments` says."""

    @wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return function(*arguments, **options)
        except TypeError:
            check_arguments(function, _called(function, arguments), arguments, options)
            raise

    return call


def _is_method(function: Callable[..., object]) -> bool:
    return next(iter(signature(function).parameters), "") in ("self", "cls")


def _called(function: Callable[..., object], arguments: Sequence[object]) -> str:
    """A call as its caller writes it: `Runner.run`, `Runner` for its constructor, `tool`."""
    name = function.__name__
    if not _is_method(function):
        return name
    owner = _owner(arguments).__name__
    return owner if name == "__init__" else f"{owner}.{name}"


def _owner(arguments: Sequence[object]) -> type:
    """The class whose method was called with these arguments."""
    return arguments[0] if isinstance(arguments[0], type) else type(arguments[0])


def _meant(name: str, known: Sequence[str], owner: type | None) -> str:
    """What an unknown argument was meant to be; `owner` is the class whose method was called."""
    if name in ADVICE and ADVICE[name][0] in known:
        return ADVICE[name][1]
    if owner is not None and name in signature(owner).parameters:
        what = owner.__name__
        return f"it is an option of the {what} itself: {what}(..., {name}=...)"
    near = ARGUMENTS.get(name)
    near = near if near in known else closest(name, known)
    return f"did you mean {near!r}?" if near else f"it has {listed(known)}"
