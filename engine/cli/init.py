"""`teamgraph init`: a new project that runs, and whose tests are green.

Its texts lie in `starter/`. The project is made whole in a temporary folder, where its prompts are
rendered for the first snapshots, and only then put in place.
"""

from __future__ import annotations

import json as json_text
import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from ..errors import InputError, listed
from ..testing.cases import CaseFile, check_case
from ..testing.snapshots import SnapshotTracker
from .command import command
from .options import AsJson
from .screen import Tone, note, print_json, say

app = typer.Typer(add_completion=False)

_STARTER = Path(__file__).parent / "starter"
_HIDDEN = {"gitignore": ".gitignore"}
"""Files that tools would take for ours under their own name."""
_CASES = "tests/team.prompts.yaml"
_ASKED = '"My parcel did not come."'


@command(app)
def init(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Where to; . is this folder.", show_default=False),
    ],
    *,
    model: Annotated[
        str, typer.Option(metavar="ID", help="The model: any id of litellm, local, or echo.")
    ] = "echo",
    json: AsJson = False,
) -> None:
    """Begin a project: a graph, two templates, test cases and the snapshots of their prompts.

    `pytest`, `teamgraph check` and `teamgraph run` work there at once. A file that is there is
    never overwritten.
    """
    if not (model.strip() and model.isprintable()):
        raise InputError(f"--model: {model!r} is no id; name one, such as openai/gpt-5-mini")
    name = _name(folder)
    files = _project(name, model)
    _write(files, folder)
    steps = list(_steps(folder))
    if json:
        named: list[str] = list(files)
        print_json({"folder": str(folder), "name": name, "files": named, "next": steps})
        return
    for file in files:
        say(str(folder / file))
    note("\n  ".join([f"{name} is ready; go on with", *steps]), Tone.GOOD)
    if model == "echo":
        note("the model is echo, which repeats you; name another in pyproject.toml")


def _name(folder: Path) -> str:
    """The name of the folder as the name of a graph."""
    return re.sub(r"[^\w.-]+", "-", folder.resolve().name).strip("-.") or "team"


def _project(name: str, model: str) -> Mapping[str, bytes]:
    """The files of a new project by their paths, with the snapshots of its prompts."""
    given = {"name": name, "model": json_text.dumps(model, ensure_ascii=False)[1:-1]}
    with TemporaryDirectory() as place:
        home = Path(place)
        for path in _files(_STARTER):
            inside = path.relative_to(_STARTER)
            file = home / inside.with_name(_HIDDEN.get(inside.name, inside.name))
            file.parent.mkdir(exist_ok=True)
            text = Template(path.read_text(encoding="utf-8")).substitute(given)
            file.write_bytes(text.encode("utf-8"))
        snapshots = SnapshotTracker(home, is_updating=True)
        for case in CaseFile.load(home / _CASES).cases:
            check_case(case, snapshots)
        return {path.relative_to(home).as_posix(): path.read_bytes() for path in _files(home)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    if there := _in_the_way(files, folder):
        raise InputError(
            f"{listed(there)}: there already, and never overwritten; nothing was written; move "
            f"{'it' if len(there) == 1 else 'them'} away, or name another folder"
        )
    for name, data in files.items():
        file = folder / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as new:
                new.write(data)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            told = f"{file}: it cannot be written: {reason}; name another folder"
            raise InputError(told) from error


def _in_the_way(names: Collection[str], folder: Path) -> list[str]:
    """What is there already of these files, or stands where one of their folders should."""
    found: dict[str, None] = {}
    for name in names:
        file = folder / name
        above = file.parents[: name.count("/") + 1]
        blocking = [path for path in above if os.path.lexists(path) and not path.is_dir()]
        blocking += [file] if os.path.lexists(file) else []
        found.update(dict.fromkeys(map(str, blocking)))
    return list(found)


def _steps(folder: Path) -> Iterator[str]:
    if folder.resolve() != Path.cwd():
        yield f"cd {shlex.quote(str(folder))}"
    if find_spec("pytest") is None:
        yield "pip install pytest"
    yield "pytest"
    yield f"teamgraph render team.yaml {_ASKED}"
    yield f"teamgraph run team.yaml {_ASKED}"
