"""The kind `python`: calls a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, ClassVar, Self, cast, get_type_hints

from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field, PrivateAttr, model_validator

from teamgraph import JSON
from teamgraph.errors import DefinitionError, InputError, Problem
from teamgraph.kinds import (
    Context,
    Node,
    Result,
    SessionState,
    Upstream,
    call_in_thread,
    reference,
    stand_in,
)

_GIVEN: Mapping[str, Callable[[Context], object]] = {
    "message": lambda context: context.input.message,
    "user_id": lambda context: context.user_id,
    "session_id": lambda context: context.session_id,
    "state": lambda context: {key: _copy(value) for key, value in context.state.items()},
    "session_state": lambda context: SessionState(context.session_state),
    "upstream": lambda context: _copies(context.upstream),
    "context": lambda context: context,
}
"""The parameters that are not nodes, and where their values come from."""


class _Function(Struct, frozen=True):
    """A resolved function; `parameters` says whether each of them has a default."""

    call: Callable[..., Any]  # Any: a user's function
    parameters: Mapping[str, bool]
    is_async: bool


class Python(Node):
    """Calls a function; the value that it returns is the output.

    Its parameters are filled in by name: `message`, `user_id`, `session_id`, `state` (the node's
    own), `session_state`, `upstream`, `context` (the whole `Context`), the node's `params`, and
    ids of other nodes, which then run before and whose outputs are passed. A function that is not
    async runs in a thread. What it changes in `state` and `session_state` is stored if it succeeds.
    It may return a `Result` instead, whose states take precedence.
    """

    prompts: ClassVar[bool] = False
    provides: ClassVar[Mapping[str, object]] = {"output": object}
    given: ClassVar[tuple[str, ...]] = tuple(_GIVEN)

    call: str | Callable[..., Any] = Field(  # Any: a user's function
        description="The function: `package.module:name`, or itself in Python.",
        examples=["myapp.orders:lookup"],
    )
    _resolved: _Function | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check_function(self) -> Self:
        if callable(self.call):
            is_async = inspect.iscoroutinefunction(self.call)
            self._resolved = _Function(self.call, _parameters(self.call), is_async)
        return self

    def bound(self, resolve: Callable[[str], object]) -> Self:
        """The node with its function resolved."""
        if not isinstance(self.call, str):
            return self
        function = _resolve(self.call, resolve)
        fields: dict[str, Any] = {**dict(self), "call": function}
        return type(self)(**fields)

    def inputs(self) -> Mapping[str, bool]:
        """The nodes that its parameters name, and whether each has a default."""
        return {
            name: has_default
            for name, has_default in (self._resolved.parameters if self._resolved else {}).items()
            if name not in self.given and name not in self.params
        }

    def functions(self) -> tuple[Callable[..., object], ...]:
        """The function, once it is resolved."""
        return (self.call,) if callable(self.call) else ()

    def gives(self) -> Mapping[str, object]:
        """The output has the type that the function is annotated to return, if it is."""
        returned = _returned(self.call)
        return self.provides if returned in (None, Result) else {"output": returned}

    def written(self) -> dict[str, JSON]:
        """The function by its name; one without an importable name raises `DefinitionError`."""
        if isinstance(self.call, str):
            return super().written()
        return self.model_copy(update={"call": reference(self.call)}).written()

    async def rehearse(self, context: Context) -> Result:
        """A sample of the type that the function is annotated to return; it is not called."""
        return Result(stand_in(_returned(self.call), context.node_id))

    async def run(self, context: Context) -> Result:
        """Call the function with the arguments that its parameters name."""
        # What `self._resolved` is, which pydantic finds only when all else has failed.
        function: _Function | None = (self.__pydantic_private__ or {}).get("_resolved")
        if function is None:
            raise InputError(f"node {context.node_id!r}: {self.call!r} was not resolved at load")
        arguments: dict[str, object] = {}
        for name in function.parameters:
            if name in self.params:
                arguments[name] = _copy(self.params[name])
            elif name in _GIVEN:
                arguments[name] = _GIVEN[name](context)
            elif name in context.outputs:
                arguments[name] = _copy(context.outputs[name])
        if function.is_async:
            output = await function.call(**arguments)
        else:
            output = await call_in_thread(partial(function.call, **arguments))
        if type(output) is not str and inspect.isawaitable(output):
            output = await output
        result = output if isinstance(output, Result) else Result(output)
        has_states = "state" in arguments or "session_state" in arguments
        return self._with_states(result, arguments, context) if has_states else result

    def _with_states(
        self, result: Result, arguments: Mapping[str, object], context: Context
    ) -> Result:
        """The result with what the function changed in the states that it was given."""
        if "state" in arguments and "state" not in self.params and result.state is None:
            state = cast("dict[str, JSON]", arguments["state"])
            result = replace(result, state=state) if state != context.state else result
        session_state = arguments.get("session_state")
        if isinstance(session_state, SessionState) and (changed := session_state.changed()):
            result = replace(result, session_state={**changed, **(result.session_state or {})})
        return result


def _returned(function: object) -> object:
    """The annotated return type of a function or an object that is called, None if unknown."""
    while isinstance(function, partial):
        function = function.func
    if callable(function) and not (isinstance(function, type) or inspect.isroutine(function)):
        function = function.__call__
    try:
        return get_type_hints(function).get("return")
    except (NameError, TypeError):
        return None


def _copies(upstream: Sequence[Upstream]) -> list[Upstream]:
    """The nodes before with copies of their outputs; one whose output is a text is shared."""
    return [
        replace(each, output=_copy(each.output)) if isinstance(each.output, dict | list) else each
        for each in upstream
    ]


def _copy(value: object) -> object:
    """A copy of a JSON value, which the function may change."""
    return deepcopy(cast("object", value)) if isinstance(value, dict | list) else value


def _resolve(name: str, resolve: Callable[[str], object]) -> Callable[..., Any]:
    try:
        function = resolve(name)
    except DefinitionError as error:
        raise DefinitionError(
            [
                Problem(
                    problem.code, problem.message, path=("call",), suggestion=problem.suggestion
                )
                for problem in error.problems
            ]
        ) from error
    if not callable(function):
        raise DefinitionError([Problem("G008", f"{name!r} is not a function", path=("call",))])
    return function


def _parameters(function: Callable[..., Any]) -> Mapping[str, bool]:
    """The parameters that can be given by name, and whether each has a default."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as error:
        text = f"the parameters of {function!r} cannot be read; call it in a function of your own"
        raise DefinitionError([Problem("G008", text, path=("call",))]) from error
    wanted: dict[str, bool] = {}
    for name, parameter in parameters.items():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            text = f"{name!r} of the function is positional only; arguments are given by name"
            raise DefinitionError([Problem("G008", text, path=("call",))])
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            wanted[name] = parameter.default is not parameter.empty
    return wanted
