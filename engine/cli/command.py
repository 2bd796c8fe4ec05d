"""The `teamgraph` command: its subcommands, their options and help, and how errors are reported.

Exit codes: 0 success; 1 the run failed, a check found problems, or nothing was found; 2 usage
error, invalid graph, no model, or unreadable store; 3 the run waits for a person; 130 interrupted;
141 broken pipe.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from ..errors import (
    Changed,
    Conflict,
    DefinitionError,
    InputError,
    ModelError,
    NoModelError,
    Problem,
    RunError,
    SessionBusy,
    StoreError,
    TeamgraphError,
)
from ..terminal import escape_json, write_text
from .output import Style, print_note

EXIT_FAILURE = 1
EXIT_NOT_STARTED = 2
EXIT_WAITING = 3
EXIT_BROKEN_PIPE = 141

EXIT_CODES = (
    "Exit codes: 0 success; 1 the run failed, a check found problems, or nothing was found; "
    "2 usage error, invalid graph, no model, or unreadable store; 3 the run waits for a person; "
    "130 interrupted."
)

_SUMMARIES = {
    "init": "Create a project: a graph, its prompts and their tests.",
    "run": "Run a graph on one message and print the answer.",
    "chat": "Chat with a graph in one session.",
    "check": "Check graph files and report every problem.",
    "explain": "Explain the code of a problem, such as G012.",
    "render": "Render every prompt of a run, without a model.",
    "prompts": "Check, render and snapshot-test prompt templates, and show recorded ones.",
    "mcp": "Write and list the tools of a graph's MCP servers.",
    "draw": "Draw a graph as Mermaid, SVG or PNG.",
    "schema": "Print the JSON Schema of graph files, for editors.",
    "sessions": "List, show, search, rename, export, import and delete sessions.",
    "runs": "List, show, answer, resume, fork, cancel and delete runs.",
    "serve": "Serve graphs over HTTP.",
    "worker": "Run turns that servers have put into the queue of a database.",
    "workers": "List the workers of a database.",
    "queue": "Show the turns that wait for workers, and retry those that were given up.",
    "ui": "Look at graphs, chats, runs, sessions and prompts in a browser.",
    "usage": "Add up tokens, calls and costs by model, graph, node, session or user.",
    "store": "Verify and repair the files of a store, show their size, and copy sessions.",
    "import": "Write a flow of promptflow as a graph with its prompts.",
    "doctor": "Check the installation, the models and their keys, and the store.",
}

_Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", show_default=False)
]


class Commands(TyperGroup):
    """A command group that imports a subcommand's module only to call it."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  typer's signature
        super().__init__(**attributes)
        for name, summary in _SUMMARIES.items():
            self.add_command(TyperCommand(name, help=summary, short_help=summary))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  typer keeps the types of click to itself
        """Run the subcommand; with `--json` a wrong use of it is reported as JSON too."""
        as_json = any(word.partition("=")[0] in ("--json", "--events") for word in ctx.args)
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            if not as_json:
                raise
            _print_error_as_json("UsageError", error.format_message(), error.exit_code)
            raise typer.Exit(error.exit_code) from error

    def resolve_command(
        self,
        ctx: Any,  # noqa: ANN401  typer keeps the types of click to itself
        args: list[str],
    ) -> tuple[str | None, Any, list[str]]:
        """The command itself in place of its name."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in _SUMMARIES:
            module = "import_flow" if name == "import" else name  # `import` is a word of Python
            command = get_command(import_module(f".{module}", __package__).app)
        return name, command, rest


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # it takes a tenth of the time of --help

        typer.echo(f"teamgraph {version('teamgraph')}")
        raise typer.Exit


@app.callback()
def teamgraph(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_print_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Declare a team of LLM agents as a graph, run it, and inspect what each one was sent."""


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a function to make it a command of `app`.

    A parameter that is a dataclass becomes one option for each of its fields, so that options that
    go together are declared once. Every command has `--debug`.
    """

    def add(function: Callable[..., None]) -> Callable[..., None]:
        text = reflow(function.__doc__ or "")
        epilog = None if "Exit code" in text else EXIT_CODES
        summary = text.partition("\n")[0]
        app.command(name, help=text, short_help=summary, epilog=epilog)(_guarded(function))
        return function

    return add


def command_group(summary: str) -> typer.Typer:
    """An app whose commands are subcommands, with its help."""
    group = make_app(no_args_is_help=True)
    group.callback(help=reflow(summary))(_do_nothing)
    return group


def make_app(*, no_args_is_help: bool = False) -> typer.Typer:
    """An app of typer, whose help is plain text."""
    return typer.Typer(add_completion=False, no_args_is_help=no_args_is_help, rich_markup_mode=None)


def reflow(text: str) -> str:
    """The text with every paragraph on one line, for the terminal to wrap; lists stay lists."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join("\n".join(_joined_lines(paragraph)) for paragraph in paragraphs)


def _joined_lines(paragraph: str) -> Iterator[str]:
    """The lines of a paragraph with each continued where it was only wrapped."""
    line = ""
    for part in paragraph.splitlines():
        starts_item = part.lstrip().startswith(("- ", "$ ", "# "))
        if line and starts_item:
            yield line
            line = part
        else:
            line = f"{line} {part.strip()}" if line else part
    yield line


def _do_nothing() -> None:
    """Groups need a callback to have a help text."""


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    parameters, groups = _expand(function)

    def call(*, debug: bool, **options: Any) -> None:  # noqa: ANN401  whatever the options are
        form = options.get("format")
        as_json = bool(options.get("json") or options.get("events"))
        as_json = as_json or (isinstance(form, Enum) and form.value == "json")
        with _reported_errors(debug=debug, as_json=as_json):
            for name, (group, names) in groups.items():
                options[name] = group(**{field: options.pop(field) for field in names})
            function(**options)
            sys.stdout.flush()

    call.__name__ = function.__name__
    call.__annotations__ = {}
    setattr(call, "__signature__", inspect.Signature(parameters))  # noqa: B010  it has no type
    return call


@contextmanager
def _reported_errors(*, debug: bool, as_json: bool) -> Generator[None]:
    """Turn an error into a message, or JSON, and an exit code; with `debug` let it through."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except BrokenPipeError as error:
        _discard_stdout()
        raise typer.Exit(EXIT_BROKEN_PIPE) from error
    except Exception as error:
        if debug:
            raise
        code = exit_code(error) if isinstance(error, TeamgraphError) else EXIT_FAILURE
        if as_json:
            problems = error.problems if isinstance(error, DefinitionError) else ()
            _print_error_as_json(type(error).__name__, _message(error), code, problems)
        elif isinstance(error, TeamgraphError):
            report_error(error)
        else:
            print_note(f"error: {_message(error)}", Style.ERROR)
        raise typer.Exit(code) from error


def _message(error: Exception) -> str:
    """What went wrong and how to go on; an exception of no room is a bug."""
    if isinstance(error, TeamgraphError):
        return "; ".join([error.text_for("terminal"), *getattr(error, "__notes__", ())])
    return (
        f"internal error: {type(error).__name__}: {error}; please report it with the traceback "
        "that --debug shows"
    )


def _print_error_as_json(
    kind: str, message: str, code: int, problems: Iterable[Problem] = ()
) -> None:
    """Print an error as one line of JSON on standard error."""
    error: dict[str, object] = {"type": kind, "message": message, "exit_code": code}
    if found := [problem_as_json(problem) for problem in problems]:
        error["problems"] = found
    line = escape_json(json.dumps({"error": error}, ensure_ascii=False))
    write_text(f"{line}\n", sys.stderr)


def _expand(
    function: Callable[..., None],
) -> tuple[list[inspect.Parameter], dict[str, tuple[type[Any], list[str]]]]:
    """The options of a command, and the fields of each of its dataclasses."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type[Any], list[str]]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        group: object = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            hints = get_type_hints(group, include_extras=True)
            groups[parameter.name] = (group, [field.name for field in fields(group)])
            parameters += [_option(one.name, hints[one.name], one.default) for one in fields(group)]
        else:
            parameters.append(_option(parameter.name, parameter.annotation, parameter.default))
    return [*parameters, _option("debug", _Debug, default=False)], groups


def _option(name: str, annotation: Any, default: object) -> inspect.Parameter:  # noqa: ANN401  a type
    """A parameter with what all options of its type have in common."""
    if get_origin(annotation) is Annotated:
        taken, info = get_args(annotation)
        info = copy(info)
        if taken is bool:
            info.metavar = ""  # a flag's help does not look as if it took a value
        elif Path in (taken, *get_args(taken)) or list[Path] in get_args(taken):
            info.parser = _parse_path
        annotation = Annotated[taken, info]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _parse_path(text: str) -> Path:
    """A path as it was typed; `Path("")` would be the current folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty; name a file or a folder, or leave it out")
    return Path(text)


def _discard_stdout() -> None:
    """Standard output was closed by its reader; keep Python from failing on it again at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def exit_code(error: TeamgraphError) -> int:
    """The exit code of the command that an error ended."""
    if isinstance(error, Changed):
        return EXIT_NOT_STARTED
    if isinstance(error, RunError):
        unavailable = any(_is_unavailable(cause) for cause in _causes(error))
        return EXIT_NOT_STARTED if unavailable else EXIT_FAILURE
    if isinstance(error, DefinitionError | InputError) or _is_unavailable(error):
        return EXIT_NOT_STARTED
    return EXIT_FAILURE


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_unavailable(error: BaseException) -> bool:
    """Whether a model or a store could not be reached at all."""
    if isinstance(error, ModelError):
        no_response = error.retryable and error.status is None and not error.interrupted
        return isinstance(error, NoModelError) or (no_response and type(error) is ModelError)
    return isinstance(error, StoreError) and not isinstance(error, SessionBusy | Conflict)


def report_error(error: TeamgraphError) -> None:
    """Print an error, or every problem of an invalid definition, on standard error."""
    if not isinstance(error, DefinitionError):
        told = f"error: {error.text_for('terminal')}"
        text = "\n  ".join([told, *getattr(error, "__notes__", ())])
        print_note(text, Style.ERROR)
        return
    for problem in error.problems:
        if problem.severity != "note":
            is_error = problem.severity == "error"
            print_note(problem_line(problem), Style.ERROR if is_error else Style.WARNING)


def problem_line(problem: Problem) -> str:
    """A problem as one line: place, severity, message, suggestion and code."""
    place = ":".join(
        str(part) for part in (problem.file, problem.line, problem.column) if part is not None
    )
    place = place or ".".join(str(part) for part in problem.path)
    text = f"{problem.severity}: {problem.message}{did_you_mean(problem)} [{problem.code}]"
    return f"{place}: {text}" if place else text


def problem_as_json(problem: Problem) -> dict[str, str | int | None]:
    """A problem as `check --format json` prints it."""
    return {
        "code": problem.code,
        "severity": problem.severity,
        "graph": problem.graph,
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "suggestion": problem.suggestion,
    }


def did_you_mean(problem: Problem) -> str:
    """The suggestion of a problem as the end of its sentence."""
    return f"; did you mean {problem.suggestion!r}?" if problem.suggestion else ""
