"""`teamgraph init`: a new project that runs and whose tests pass.

Its files are the templates in `starter/`. The project is built in a temporary folder, where its
prompts are rendered for the first snapshots, and then copied.
"""

from __future__ import annotations

import json as json_text
import re
import shlex
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ..errors import InputError
from ..graph.graph import SCHEMA_FILE
from ..graph.kinds import installed
from ..graph.schema import graph_schema
from ..testing.cases import CaseFile, case_schema, check_case
from ..testing.snapshots import SnapshotTracker
from .command import command, make_app
from .options import JsonFlag
from .output import Style, pretty_json, print_json, print_note, print_text, write_new_files

app = make_app()

_STARTER = Path(__file__).parent / "starter"
_RENAMED = {"gitignore": ".gitignore", "vscode": ".vscode", "github": ".github"}
"""Files and folders whose real name would have an effect in this repository."""
_CASE_SCHEMA = ".schema/prompts.v1.json"
_CASES = "tests/team.prompts.yaml"
_MESSAGE = '"My parcel did not come."'


@command(app)
def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="The folder of the project; . is the current one.",
            show_default=False,
        ),
    ],
    *,
    model: Annotated[
        str, typer.Option(metavar="ID", help="The model: any litellm id, local, or echo.")
    ] = "echo",
    json: JsonFlag = False,
) -> None:
    """Create a project: a graph, two templates, test cases and the snapshots of their prompts.

    Also the JSON Schemas by which editors complete graphs and cases, settings of VS Code, and a
    workflow of GitHub Actions that checks graphs and tests prompts.

    `pytest`, `teamgraph check` and `teamgraph run` work in it at once. Existing files are never
    overwritten.
    """
    if not (model.strip() and model.isprintable()):
        raise InputError(
            f"--model: {model!r} is not a model id; name one, such as openai/gpt-5-mini"
        )
    name = _graph_name(folder)
    files = _project(name, model)
    write_new_files(files, folder)
    steps = list(_steps(folder))
    if json:
        print_json({"folder": str(folder), "name": name, "files": list(files), "next": steps})
        return
    for file in files:
        print_text(str(folder / file))
    print_note("\n  ".join([f"created {name}; next steps:", *steps]), Style.SUCCESS)
    if model == "echo":
        print_note("the model is echo, which repeats the message; name another in pyproject.toml")


def _graph_name(folder: Path) -> str:
    """The name of the folder as the name of a graph."""
    return re.sub(r"[^\w.-]+", "-", folder.resolve().name).strip("-.") or "team"


def _project(name: str, model: str) -> Mapping[str, bytes]:
    """The files of a new project by their paths, with the snapshots of its prompts."""
    values = {"name": name, "model": json_text.dumps(model, ensure_ascii=False)[1:-1]}
    with TemporaryDirectory() as temporary:
        home = Path(temporary)
        for path in _files(_STARTER):
            relative = path.relative_to(_STARTER)
            file = home.joinpath(*(_RENAMED.get(part, part) for part in relative.parts))
            file.parent.mkdir(parents=True, exist_ok=True)
            text = Template(path.read_text(encoding="utf-8")).substitute(values)
            file.write_bytes(text.encode("utf-8"))
        schemas = {SCHEMA_FILE: graph_schema(installed()), _CASE_SCHEMA: case_schema()}
        for name_of_file, schema in schemas.items():
            (home / name_of_file).parent.mkdir(exist_ok=True)
            (home / name_of_file).write_text(f"{pretty_json(schema)}\n", encoding="utf-8")
        snapshots = SnapshotTracker(home, is_updating=True)
        for case in CaseFile.load(home / _CASES).cases:
            check_case(case, snapshots)
        return {path.relative_to(home).as_posix(): path.read_bytes() for path in _files(home)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _steps(folder: Path) -> Iterator[str]:
    if folder.resolve() != Path.cwd():
        yield f"cd {shlex.quote(str(folder))}"
    if find_spec("pytest") is None:
        yield "pip install pytest"
    yield "pytest"
    yield f"teamgraph render team.yaml {_MESSAGE}"
    yield f"teamgraph run team.yaml {_MESSAGE}"
