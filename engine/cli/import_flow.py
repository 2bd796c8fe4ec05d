"""`teamgraph import`: a flow of promptflow, or a prompty file, as a graph with its prompts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DefinitionError, InputError, RunError
from ..graph.graph import MESSAGE, Graph
from ..graph.settings import make_importable
from .command import EXIT_FAILURE, command, make_app, report_error
from .options import JsonFlag
from .output import Style, print_json, print_note, print_text, write_new_files
from .promptflow import ImportedFlow, import_flow, variants_of

app = make_app()

_FLOW = "flow.dag.yaml"


@command(app)
def import_(
    flow: Annotated[
        Path,
        typer.Argument(
            metavar="FLOW",
            help="A flow.dag.yaml of promptflow, its folder, or a .prompty file.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The folder to write to. Default: the flow's name with -graph.",
            show_default=False,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write a flow of promptflow as a graph with its prompts, and say what was not taken.

    LLM nodes become members and their templates prompts, with tags in place of lines such as
    system:. Prompt nodes become parts of these. Python nodes call the flow's functions, whose
    files are copied; activate becomes when. Of the inputs one is the message, a chat history is
    loaded from the session, and the others are its state. Each further variant is a graph file.

    The graphs are checked and their prompts rendered. Existing files are never overwritten.

    Exit code 0 if all is valid, 1 if something must be mended by hand, 2 if it is no flow.
    """
    file = flow / _FLOW if flow.is_dir() else flow
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; name a {_FLOW} or its folder")
    title = file.parent.resolve().name if file.suffix != ".prompty" else file.stem
    name = re.sub(r"[^\w-]+", "-", title).strip("-") or "flow"
    imported = _with_variants(file, name)
    folder = output or Path(f"{name}-graph")
    write_new_files({path: text.encode() for path, text in imported.files.items()}, folder)
    if json:
        print_json({"folder": str(folder), "files": list(imported.files), "notes": imported.notes})
    else:
        for path in imported.files:
            print_text(str(folder / path))
        for note in imported.notes:
            print_note(f"not taken as it was: {note}", Style.WARNING)
    make_importable(folder.absolute())
    graphs = [folder / path for path in imported.files if path.endswith(".yaml")]
    invalid = [graph for graph in graphs if not _is_valid(graph, imported.modules)]
    if invalid:
        raise typer.Exit(EXIT_FAILURE)
    print_note(f"valid; next: cd {shlex.quote(str(folder))} and teamgraph render {name}.yaml")


def _with_variants(file: Path, name: str) -> ImportedFlow:
    """The files of a flow, and of a graph for each variant that is not the default one."""
    result = import_flow(file, name)
    for node, variant in variants_of(file):
        other = import_flow(file, f"{name}.{variant}", (node, variant))
        result.files = {**other.files, **result.files}
        result.notes += other.notes
    result.notes = list(dict.fromkeys(result.notes))
    if result.modules:
        allowed = ", ".join(f'"{module}"' for module in result.modules)
        result.files["pyproject.toml"] = f"[tool.teamgraph]\nallow = [{allowed}]\n"
    return result


def _is_valid(file: Path, modules: Sequence[str]) -> bool:
    """Whether a graph can be loaded and its prompts rendered; prints what is wrong."""
    try:
        Graph.load(file, allow=modules).render(MESSAGE)
    except (DefinitionError, InputError, RunError) as error:
        report_error(error)
        return False
    return True
