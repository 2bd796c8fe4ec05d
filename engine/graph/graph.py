"""A declared team that holds: its nodes, its templates and its plan.

A `Graph` that exists is sound. The same class is made from YAML (`Graph.load`) and in Python, and
`Graph.load(path) == graph` after `graph.dump(path)`.

Where in a graph file the problems and the edges of its graph stand.

What a graph file says, before anyone has asked whether it hangs together.

What a declared graph can be asked before it is run: the prompts that it would send.

Rendering stands above the declaration, since it runs it. It is imported when it is first asked
for, so that whoever only declares or runs graphs does not wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import BaseModel, Field, PrivateAttr, SerializeAsAny, ValidationError
from pydantic.json_schema import SkipJsonSchema

from ..errors import DefinitionError, Problem, in_reading_order
from ..messages import JSON
from ..models.samples import quoted
from ..prompts.library import Expression, Prompts
from ..prompts.sources import template_names
from ..returns.shape import Shape, shape
from ..validation import Declared, problems_of
from . import yaml as yaml_file
from .fields import Ids, ModelSpec, Number, OnError, Retry, Seconds, Text, Timeout
from .kinds import DEFAULT, Broken, Reader, under
from .node import Node
from .plan import Edge, Plan
from .rules import check
from .template_types import Names
from .yaml.document import Document

if TYPE_CHECKING:
    from ..run.dry_run.assumed_session import HistoryItem
    from ..run.dry_run.rendering import Rendering


def place_of(edge: Edge, document: Document | None) -> str:
    """Where an edge is written: `file:line:column`, or its keys where there is no file."""
    problem = Problem("", "", file=edge.file, line=edge.line, column=edge.column, path=edge.path)
    found = placed(replace(problem, on_key=edge.target in edge.labels[:1]), document)
    return str(found).removesuffix(": ")


def placed(problem: Problem, document: Document | None) -> Problem:
    """The problem at its place in the graph file, if it has none yet and there is a file."""
    if problem.file is not None or document is None:
        return problem
    if problem.line is not None and problem.column is not None:
        place = document.inside(problem.path, problem.line, problem.column)
    elif problem.on_key:
        place = document.key(problem.path)
    else:
        place = document.value(problem.path)
    return replace(problem, file=document.file, line=place.line, column=place.column)


class Budget(Declared):
    """What one run may spend; passing any of these fails it, and its records stay."""

    tokens: int | None = Field(
        default=None,
        gt=0,
        strict=True,
        description="Tokens in and out, all nodes.",
        examples=[50_000],
    )
    usd: Number | None = Field(
        default=None,
        gt=0,
        strict=True,
        description="US dollars, where costs are known.",
        examples=[0.5],
    )
    calls: int | None = Field(
        default=None, gt=0, strict=True, description="Model calls.", examples=[20]
    )


class Declaration(Declared):
    """The fields of a graph, with their types and nothing between them checked."""

    version: Literal[1] = Field(
        default=1, description="The version of this file format.", examples=[1]
    )
    name: str = Field(min_length=1, description="What the team is called.", examples=["polyglot"])
    description: str = Field(
        default="",
        description="What the team is for, in a sentence.",
        examples=["Answers each question in the language it was asked in."],
    )
    model: Text | ModelSpec | None = Field(
        default=None, description="The model of every node.", examples=["openai/gpt-5-mini"]
    )
    retry: Annotated[int, Field(ge=0, strict=True)] | Retry | None = Field(
        default=None, description="Attempts of a node after a failed one.", examples=[2]
    )
    timeout: Seconds | Timeout | None = Field(
        default=None, description="Seconds that an attempt of a node may take.", examples=[60]
    )
    on_error: OnError | None = Field(
        default=None,
        description="What a node's failure does: `fail` (default), `skip`, a value.",
        examples=["skip"],
    )
    max_parallel: int | None = Field(
        default=None,
        gt=0,
        strict=True,
        description="Nodes that may run at the same time; no limit if left out.",
        examples=[4],
    )
    budget: Budget | None = Field(
        default=None, description="What one run may spend.", examples=[{"tokens": 50_000}]
    )
    state: Mapping[str, JSON] = Field(
        default_factory=dict[str, JSON],
        description="Defaults of `session.state`.",
        examples=[{"visits": 0}],
    )
    mcp: Mapping[str, JSON] = Field(
        default_factory=dict[str, JSON],
        description="MCP servers whose tools nodes may use.",
        examples=[{"files": {"command": "mcp-files"}}],
    )
    nodes: Mapping[str, SerializeAsAny[Node]] = Field(
        min_length=1,
        description="The nodes by their ids.",
        examples=[{"writer": {"role": "You write short texts"}}],
    )
    output: Ids = Field(
        default=(),
        description="The run's answer: the first of these that was not skipped.",
        examples=[["english", "french"]],
    )


MESSAGE = quoted("message")
"""What the user says in a dry run where the caller does not care."""


class Rehearsable(Declaration):
    """A declaration whose prompts can be rendered without a model."""

    def render(
        self,
        message: str = MESSAGE,
        *,
        assume: Mapping[str, object] | None = None,
        history: Sequence[HistoryItem] = (),
        state: Mapping[str, JSON] | None = None,
        session: Mapping[str, JSON] | None = None,
        user_id: str | None = None,
    ) -> Rendering:
        """Every prompt of a run, by node id, exactly as it would be sent.

        `assume` says what nodes give: a router its label, others their output; for the rest a text
        such as `«node»` stands in. `history` are the turns before, the oldest first, as
        `{input, answer}` or as messages; `session` may say `id`, `summary`, `turns` and
        `node_states`. The clock stands still and ids are fixed, so the same call gives the same
        text in every process. Raises `InputError`, or the `RunError` that ends the run.
        """
        parts = import_module("..run.dry_run.rehearsal", __package__)
        scene = _scene(parts, message, assume, history, state, session, user_id)
        return cast("Rendering", parts.render(self, scene))

    def render_all(
        self,
        message: str = MESSAGE,
        *,
        assume: Mapping[str, object] | None = None,
        history: Sequence[HistoryItem] = (),
        state: Mapping[str, JSON] | None = None,
        session: Mapping[str, JSON] | None = None,
        user_id: str | None = None,
    ) -> list[Rendering]:
        """Like `render`, once for each way that the routers may take; `InputError` if too many."""
        parts = import_module("..run.dry_run.rehearsal", __package__)
        scene = _scene(parts, message, assume, history, state, session, user_id)
        return cast("list[Rendering]", parts.render_all(self, scene))


def _scene(parts: Any, message: str, *given: object) -> object:  # noqa: ANN401  a module
    names = ("assume", "history", "state", "session", "user_id")
    there = {name: value for name, value in zip(names, given, strict=True) if value is not None}
    return parts.Scene(message, **there)


HEADER = "# yaml-language-server: $schema=../.schema/graph.v1.json\n"


class _Made(Struct):
    """What was found out about a graph while it was made."""

    plan: Plan
    prompts: Prompts
    templates: Mapping[str, str]
    shapes: Mapping[str, Shape]
    answering: tuple[str, ...]
    warnings: tuple[Problem, ...]
    document: Document | None


class Graph(Rehearsable):
    """A team of nodes. Raises `DefinitionError` with every problem at once.

    `prompt_dirs` are folders to look for templates in, after `prompts/` beside the graph file and
    before the built-in ones; they belong to the machine and are not written to files.
    """

    prompt_dirs: SkipJsonSchema[Sequence[str | os.PathLike[str]]] = Field(default=(), exclude=True)

    _made: _Made = PrivateAttr()

    # Type checkers make the signature from the fields.
    if not TYPE_CHECKING:  # pragma: no branch

        def __init__(self, /, **data: Any) -> None:  # noqa: ANN401
            self._made = _Making(data, Reader()).graph(self)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        kinds: Mapping[str, type[Node]] | None = None,
        prompt_dirs: Sequence[str | os.PathLike[str]] = (),
        allow: Collection[str] = (),
    ) -> Self:
        """Read a graph from a YAML file.

        `kinds` are kinds beside the installed ones, by name; `allow` names the packages whose
        functions and classes the file may use. Raises `DefinitionError`.
        """
        return cls.read(path, Reader(kinds, allow, (Path(path).resolve(),)), prompt_dirs)

    @classmethod
    def read(cls, path: str | os.PathLike[str], reader: Reader, prompt_dirs: object) -> Self:
        """`load` with a reader, which may know of graphs around this one."""
        document = yaml_file.read(path)
        data: dict[str, Any] = dict(document.data)
        if "prompt_dirs" in data:
            text = "unknown key 'prompt_dirs'; folders are given by the caller, not by the file"
            reader.problems.append(Problem("G001", text, path=("prompt_dirs",), on_key=True))
        data["prompt_dirs"] = prompt_dirs
        return cls.made(_Making(data, reader, document, Path(path).parent))

    @classmethod
    def made(cls, making: _Making) -> Self:
        """The graph that comes of what a file, or a part of one, says."""
        graph = cls.__new__(cls)
        graph._made = making.graph(graph)
        return graph

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Write the graph as YAML; comments of a file that is there survive where keys do."""
        yaml_file.dump(self.written(), path, header=HEADER)

    def written(self) -> dict[str, JSON]:
        """The graph as a file says it: no defaults, `version` first."""
        data: dict[str, JSON] = self.model_dump(
            mode="json", exclude_defaults=True, exclude={"nodes", "output"}
        )
        nodes: dict[str, JSON] = {}
        for node_id, node in self.nodes.items():
            kind: dict[str, JSON] = {} if node.kind == DEFAULT else {"kind": node.kind}
            try:
                nodes[node_id] = {**kind, **node.written()}
            except DefinitionError as error:
                raise DefinitionError(
                    [under(("nodes", node_id), problem) for problem in error.problems]
                ) from error
        output: dict[str, JSON] = {}
        if self.output:
            output["output"] = self.output[0] if len(self.output) == 1 else list(self.output)
        return {"version": self.version, **data, "nodes": nodes, **output}

    def __eq__(self, other: object) -> bool:
        """Graphs are equal if they say the same, wherever they and their templates stand."""
        if not isinstance(other, Graph):
            return NotImplemented
        names = [name for name in Declaration.model_fields if name != "nodes"]
        return all(getattr(self, name) == getattr(other, name) for name in names) and list(
            self.nodes.items()
        ) == list(other.nodes.items())

    __hash__ = None  # type: ignore[assignment]  # it holds mappings

    @cached_property
    def plan(self) -> Plan:
        """Order and edges."""
        return self._made.plan

    @cached_property
    def prompts(self) -> Prompts:
        """The templates that the graph can reach."""
        return self._made.prompts

    @cached_property
    def templates(self) -> Mapping[str, str]:
        """The name of each node's template, for the nodes that have one."""
        return self._made.templates

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """What the nodes that declare `returns` give back."""
        return self._made.shapes

    @cached_property
    def answering(self) -> tuple[str, ...]:
        """The nodes that may answer, the preferred one first."""
        return self._made.answering

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What holds but was probably not meant, and notes."""
        return self._made.warnings

    def expression(self, source: str) -> Expression:
        """A condition of one of its nodes, parsed once."""
        return self.prompts.expression(source)

    @property
    def file(self) -> str | None:
        """The file that the graph was read from, as messages show it; None if it was none."""
        return self._made.document.file if self._made.document else None

    def place(self, edge: Edge) -> str:
        """Where an edge is written: `file:line:column`, or the keys in a graph made in Python."""
        return place_of(edge, self._made.document)


class _Making(Struct):
    """Makes a graph from data, or raises with everything that does not hold, in reading order."""

    data: dict[str, Any]
    reader: Reader
    document: Document | None = None
    folder: Path | None = None
    inline: dict[str, str] = field(default_factory=dict[str, str])

    def graph(self, graph: Graph) -> _Made:
        problems = self.reader.problems
        declared = self.data.get("nodes")
        is_mapping = isinstance(declared, Mapping)
        nodes = self.reader.nodes(cast("Mapping[object, object]", declared)) if is_mapping else {}
        nodes = {node_id: self._opened(node_id, node) for node_id, node in nodes.items()}
        try:
            BaseModel.__init__(graph, **(self.data | ({"nodes": nodes} if nodes else {})))
        except ValidationError as error:
            problems += problems_of(error, type(graph))
        shapes = self._shapes(nodes)
        folders = self._folders()
        templates = self._templates(nodes, set(template_names(folders)))
        prompts = Prompts(folders, inline=self.inline)
        place = partial(place_of, document=self.document)
        names = Names(nodes, shapes, self.data)
        checked = check(nodes, self._output(), templates, prompts, place, names)
        found = [placed(problem, self.document) for problem in (*problems, *checked.problems)]
        found = [replace(problem, graph=self._name()) for problem in in_reading_order(found)]
        if checked.plan is None or any(problem.severity == "error" for problem in found):
            raise DefinitionError(found)
        return _Made(
            plan=checked.plan,
            prompts=prompts,
            templates=templates,
            shapes=shapes,
            answering=checked.output,
            warnings=tuple(found),
            document=self.document,
        )

    def _opened(self, node_id: str, node: Node) -> Node:
        """The node with the graph inside it read, if it has one."""
        found: Sequence[Problem] = ()
        try:
            opened = node.opened(self._inner)
            within = opened.within()
            if isinstance(within, Graph) and within is not node.within():
                found = [replace(each, path=("graph", *each.path)) for each in within.warnings]
        except DefinitionError as error:
            opened, found = Broken(needs=node.needs, reads=node.reads), error.problems
        self.reader.problems += [under(("nodes", node_id), each) for each in found]
        return opened

    def _inner(self, source: str | Mapping[str, Any]) -> Graph:
        folders = self.data.get("prompt_dirs", ())
        if isinstance(source, str):
            file = (self.folder or Path()) / source
            return Graph.read(file, self.reader.within(source, file), folders)
        data = {str(key): value for key, value in source.items()}
        data["prompt_dirs"] = folders
        return Graph.made(_Making(data, self.reader.in_place(), None, self.folder))

    def _name(self) -> str | None:
        name = self.data.get("name")
        return name if isinstance(name, str) else None

    def _output(self) -> list[str]:
        output: object = self.data.get("output")
        return [text for text in _items(output) or [output] if isinstance(text, str)]

    def _folders(self) -> list[Path]:
        beside = [self.folder / "prompts"] if self.folder else []
        given = _items(self.data.get("prompt_dirs"))
        return beside + [Path(each) for each in given if isinstance(each, str | Path)]

    def _templates(self, nodes: Mapping[str, Node], files: Collection[str]) -> dict[str, str]:
        """The template of each node: named, written inline, or the one called like its kind."""
        templates: dict[str, str] = {}
        for node_id, node in nodes.items():
            text: str | None = getattr(node, node.template_field)
            if text is None:
                if node.prompts and f"{node.kind}.jinja" in files:
                    templates[node_id] = f"{node.kind}.jinja"
            elif node.prompt is not None and not node.prompts:
                told = f"node {node_id!r}: a {node.kind} asks no model, so it has no prompt"
                self.reader.problems.append(
                    Problem("G006", told, path=("nodes", node_id, "prompt"), on_key=True)
                )
            elif "\n" in text or node.prompt is None:
                templates[node_id] = f"{node_id}.inline"
                self.inline[node_id] = text
            elif text.endswith(".jinja"):
                templates[node_id] = text
            else:
                told = f"node {node_id!r}: prompt {text!r} is neither a file (its name ends "
                told += "in .jinja) nor a template in several lines (`prompt: |`)"
                self.reader.problems.append(
                    Problem("G006", told, path=("nodes", node_id, "prompt"))
                )
        return templates

    def _shapes(self, nodes: Mapping[str, Node]) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        for node_id, node in nodes.items():
            if node.returns is None:
                continue
            try:
                shapes[node_id] = shape(node.returns, name=node_id, folder=self.folder)
            except DefinitionError as error:
                for problem in error.problems:
                    inner = replace(problem, path=("returns", *problem.path))
                    self.reader.problems.append(under(("nodes", node_id), inner))
        return shapes


def _items(value: object) -> Sequence[object]:
    """What a list or tuple from outside holds; nothing of anything else."""
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
