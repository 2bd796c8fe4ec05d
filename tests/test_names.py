"""A name means one type, and tests take from the public modules what these export."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import teamgraph
from teamgraph import errors, events, graphs, kinds, nodes, testing

ROOT = Path(__file__).parents[1]
TYPE = re.compile(r"^(?:class (\w+)|(\w+): TypeAlias =)", re.MULTILINE)
IMPORT = re.compile(
    r"^ *from (teamgraph\.(?:engine\.|nodes\.|graphs\.)\S+) import (\([^)]*\)|.+)", re.MULTILINE
)
EXPORTED = {
    name: door.__name__
    for door in (testing, graphs, nodes, events, errors, kinds, teamgraph)
    for name in door.__all__
}


def test_two_types_have_one_name_only_where_the_decision_gives_the_reason() -> None:
    page = (ROOT / "docs/decisions/0014-the-house.md").read_text(encoding="utf-8")
    files: dict[str, list[str]] = defaultdict(list)
    for room in ("engine", "nodes", "graphs"):
        for file in (ROOT / room).rglob("*.py"):
            for match in TYPE.finditer(file.read_text(encoding="utf-8")):
                files[match[1] or match[2]].append(str(file.relative_to(ROOT)))
    twice = {name: where for name, where in files.items() if len(where) > 1}
    allowed = page.partition("| name | types |")[2].partition("\n\n")[0]
    assert twice.keys() == set(re.findall(r"^\| `(\w+)` \|", allowed, re.MULTILINE)), twice


def test_tests_import_what_a_public_module_exports_from_there() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {name} is in {EXPORTED[name]}, not only in {module}"
        for file in (ROOT / "tests").rglob("*.py")
        for module, names in IMPORT.findall(file.read_text(encoding="utf-8"))
        for name in re.findall(r"\w+", re.sub(r"#.*|\bas \w+", "", names))
        if name in EXPORTED
    ]
    assert found == []
