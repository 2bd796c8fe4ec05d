"""A word of a shipped template with one letter wrong is found before anything runs.

A sample of the identifiers by default; all of them with TEAMGRAPH_ALL_MUTATIONS set.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.own_kind import Translator
from teamgraph import Graph
from teamgraph.engine.prompts.library import Prompts
from teamgraph.errors import DefinitionError
from teamgraph.kinds import Node
from teamgraph.nodes import HistoryLoader, Leader, Member, Router, Search, Summarizer, Swarm

ROOT = Path(__file__).parents[3]
FOLDERS = ("prompts", "graphs/prompts", "examples/prompts")
FILES = sorted(file for folder in FOLDERS for file in ROOT.glob(f"{folder}/*.jinja"))
SAMPLE = 300
_CODE = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_WORD = re.compile(r"\"[^\"]*\"|'[^']*'|\b([A-Za-z_]\w*)\b")


@dataclass(frozen=True)
class Mutation:
    file: Path
    line: int
    column: int
    text: str
    word: str


def mutations(file: Path) -> Iterator[Mutation]:
    """Every identifier in the code of a template, each letter of it changed in turn."""
    source = file.read_text(encoding="utf-8")
    chosen = random.Random(file.name)
    for code in _CODE.finditer(source):
        for found in _WORD.finditer(code.group()):
            word = found.group(1)
            names_block = re.match(r"\{%-?\s*block\s+$", code.group()[: found.start()])
            if word is None or names_block:  # another name is another block
                continue
            start = code.start() + found.start()
            line, column = source.count("\n", 0, start) + 1, start - source.rfind("\n", 0, start)
            for index in range(len(word)):
                letter = chosen.choice([each for each in "abcdefghijklmnop" if each != word[index]])
                wrong = word[:index] + letter + word[index + 1 :]
                text = source[:start] + wrong + source[start + len(word) :]
                yield Mutation(file, line, column, text, f"{word} -> {wrong}")


def graph(folder: Path, file: Path) -> Graph:
    """A graph that uses the template from this folder, with all that it reads."""
    rows = [{"message": "m", "label": "one", "question": "q", "answer": "a"}]
    options = {"prompt": file.name, "params": {"examples": rows, "handbook": rows}}
    kinds = {"router": Router, "leader": Leader, "summarizer": Summarizer, "translator": Translator}
    kind = kinds.get(file.stem, Router if file.stem in ("by_example", "speaker") else Member)
    routes = {"routes": {"one": "One", "two": "Two"}} if kind is Router else {}
    nodes: dict[str, Node] = {"history": HistoryLoader(), "one": Member(), "two": Member()}
    own = {"language": "French"} if kind is Translator else {}
    needs = {} if kind is Router else {"needs": ["one", "two"]}
    if file.stem == "reads":
        needs["reads"] = ["history", "search"]
        nodes["search"] = Search()
    nodes["reader"] = kind(**options, **routes, **own, **needs)
    if file.stem == "handover":
        prompt = '{% if node.handover %}{% include "handover.jinja" %}{% endif %}\n'
        nodes["reader"] = Member(prompt=prompt, needs=["one", "two"])
    elif file.stem == "past_task":  # of the history loader
        nodes["reader"] = Member(needs=["one", "two"])
    elif file.stem == "transfer":
        desk = {"desk": Member(hands_to="sales"), "sales": Member()}
        nodes["reader"] = Swarm(members=desk, start="desk", needs=["one", "two"])
    output = ["one", "two"]
    return Graph(name="g", model="m", nodes=nodes, output=output, prompt_dirs=[folder])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_shipped_templates_keep_their_contract(file: Path) -> None:
    found = graph(file.parent, file)
    assert found.prompts.sources(file.name) == Prompts([file.parent]).sources(file.name)
    assert [each for each in found.warnings if each.code[0] == "P"] == []


def test_every_wrong_letter_is_caught_and_nearly_every_one_where_it_stands(tmp_path: Path) -> None:
    every = [each for file in FILES for each in mutations(file)]
    if "TEAMGRAPH_ALL_MUTATIONS" not in os.environ:
        every = random.Random(4).sample(every, SAMPLE)
    missed: list[str] = []
    elsewhere: list[str] = []
    for each in every:
        (tmp_path / each.file.name).write_text(each.text, encoding="utf-8")
        told = f"{each.file.name}:{each.line}:{each.column}: {each.word}"
        try:
            graph(tmp_path, each.file)
        except DefinitionError as error:
            if not any((p.line, p.column) == (each.line, each.column) for p in error.problems):
                elsewhere.append(f"{told}: {error}")
        else:
            missed.append(told)
        (tmp_path / each.file.name).unlink()
    exact = 1 - len(elsewhere) / len(every)
    numbers = f"{len(every)} mutations, {len(missed)} missed, {exact:.1%} exact"
    assert not missed, "\n".join([numbers, *missed])
    assert exact >= 0.93, "\n".join([numbers, *elsewhere])
