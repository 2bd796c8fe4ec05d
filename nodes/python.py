"""A python node: a function of yours as a part of the graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, ClassVar, Self, cast, get_type_hints

from pydantic import Field, PrivateAttr, model_validator

from teamgraph import JSON
from teamgraph.errors import DefinitionError, InputError, Problem
from teamgraph.kinds import Context, Node, Result, call_in_thread, reference, stand_in


class Python(Node):
    """Calls a function; what it returns is the output.

    The function names what it wants: `message`, `user_id`, `session_id`, `state` (what the node
    kept), `session_state`, `upstream`, `context` (all of it), any of the node's `params`, and the
    ids of other nodes, whose outputs it then gets and after which it runs. A function that is not
    async runs in a thread. It may return a `Result` to set state as well.
    """

    prompts: ClassVar[bool] = False
    provides: ClassVar[Mapping[str, object]] = {"output": object}
    given: ClassVar[tuple[str, ...]] = (
        *("message", "user_id", "session_id", "state", "session_state", "upstream", "context"),
    )

    call: str | Callable[..., Any] = Field(  # Any: the function is the user's
        description="The function: `package.module:name`, or itself in Python.",
        examples=["myapp.orders:lookup"],
    )
    _wanted: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _look_at_function(self) -> Self:
        if callable(self.call):
            self._wanted = tuple(_wanted(self.call))
        return self

    def bound(self, resolve: Callable[[str], object]) -> Self:
        """The node with its function found."""
        node = super().bound(resolve)
        if not isinstance(node.call, str):
            return node
        function = _found(node.call, resolve)
        fields: dict[str, Any] = {**dict(node), "call": function}
        return type(node)(**fields)

    def inputs(self) -> Mapping[str, bool]:
        """The nodes that the function names, and whether it can do without."""
        if not callable(self.call):
            return {}
        parameters = inspect.signature(self.call).parameters
        return {
            name: parameters[name].default is not inspect.Parameter.empty
            for name in self._wanted
            if name not in self.given and name not in self.params
        }

    def gives(self) -> Mapping[str, object]:
        """The output is what the function says that it returns, if it says so."""
        try:
            returned: object = get_type_hints(self.call).get("return", object)
        except (NameError, TypeError):
            return self.provides
        return self.provides if returned is Result else {"output": returned}

    def written(self) -> dict[str, JSON]:
        """The function by its name; one that has none cannot be written."""
        if isinstance(self.call, str):
            return super().written()
        return self.model_copy(update={"call": reference(self.call)}).written()

    async def rehearse(self, context: Context) -> Result:
        """Not call the function: give something of the type that it says it returns."""
        return Result(stand_in(_returned(self.call), context.node_id))

    async def run(self, context: Context) -> Result:
        """Call the function with what it named."""
        if not callable(self.call):
            raise InputError(f"node {context.node_id!r}: {self.call!r} was not found at load")
        given: dict[str, object] = {
            **context.outputs,
            "context": context,
            "message": context.input.message,
            "user_id": context.user_id,
            "session_id": context.session_id,
            "state": dict(context.state),
            "session_state": dict(context.session_state),
            "upstream": context.upstream,
            **self.params,
        }
        arguments = {name: _own(given[name]) for name in self._wanted if name in given}
        if inspect.iscoroutinefunction(self.call):
            output = await self.call(**arguments)
        else:
            output = await call_in_thread(partial(self.call, **arguments))
        if inspect.isawaitable(output):
            output = await output
        return output if isinstance(output, Result) else Result(output)


def _returned(function: object) -> object:
    """The type that a function is annotated to return, None where that cannot be told."""
    try:
        return get_type_hints(function).get("return")
    except (NameError, TypeError):
        return None


def _own(value: object) -> object:
    """A JSON value that the function may change, and nobody else sees it changed."""
    return deepcopy(cast("object", value)) if isinstance(value, dict | list) else value


def _found(name: str, resolve: Callable[[str], object]) -> Callable[..., Any]:
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
        raise DefinitionError([Problem("G008", f"{name!r} is no function", path=("call",))])
    return function


def _wanted(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as error:
        text = f"nobody can tell what {function!r} takes; call it in a function of your own"
        raise DefinitionError([Problem("G008", text, path=("call",))]) from error
    wanted: list[str] = []
    for name, parameter in parameters.items():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            text = f"{name!r} of the function is positional only; arguments are given by name"
            raise DefinitionError([Problem("G008", text, path=("call",))])
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            wanted.append(name)
    return wanted
