"""What makes a function a command: grouped options, readable errors, documented exit codes."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer

from ..errors import TeamgraphError
from .failure import NOT_HELD, exit_code, report, report_fault

DEBUG = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", show_default=False)
]
BROKEN_PIPE = 141


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of `app`.

    A parameter that is a dataclass stands for as many options as it has fields, so that options
    which go together are declared once. `--debug` comes with every command.
    """

    def add(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name)(_guarded(function))
        return function

    return add


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    parameters, groups = _unfolded(function)

    def call(*, debug: bool, **given: Any) -> None:  # noqa: ANN401  whatever the options are
        with _told_errors(debug=debug):
            for group, (made, names) in groups.items():
                given[group] = made(**{name: given.pop(name) for name in names})
            function(**given)
            sys.stdout.flush()

    call.__name__ = function.__name__
    call.__doc__ = function.__doc__
    call.__annotations__ = {}
    setattr(call, "__signature__", inspect.Signature(parameters))  # noqa: B010  it has no type
    return call


@contextmanager
def _told_errors(*, debug: bool) -> Generator[None]:
    """End with a readable error and its exit code; with `debug` with a traceback."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except BrokenPipeError as error:
        _let_go_of_stdout()
        raise typer.Exit(BROKEN_PIPE) from error
    except Exception as error:
        if debug:
            raise
        if isinstance(error, TeamgraphError):
            report(error)
            raise typer.Exit(exit_code(error)) from error
        report_fault(error)
        raise typer.Exit(NOT_HELD) from error


def _unfolded(
    function: Callable[..., None],
) -> tuple[list[inspect.Parameter], dict[str, tuple[type[Any], list[str]]]]:
    """The options of a command, and which of them make each of its dataclasses."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type[Any], list[str]]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        made: object = parameter.annotation
        if isinstance(made, type) and is_dataclass(made):
            hints = get_type_hints(made, include_extras=True)
            groups[parameter.name] = (made, [field.name for field in fields(made)])
            parameters += [_option(one.name, hints[one.name], one.default) for one in fields(made)]
        else:
            parameters.append(_option(parameter.name, parameter.annotation, parameter.default))
    return [*parameters, _option("debug", DEBUG, default=False)], groups


def _option(name: str, annotation: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _let_go_of_stdout() -> None:
    """Nobody reads any more, and Python would complain of it again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
