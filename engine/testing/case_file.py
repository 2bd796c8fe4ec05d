"""What a case file says: the fields of its cases, and what in them can hold of no run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from pydantic import Field

from ..errors import InputError, KeyPath, Problem, closest, listed
from ..graph.fields import Ids
from ..graph.graph import MESSAGE, Graph
from ..messages import JSON
from ..node_path import NodePath
from ..run.dry_run.assumptions import check_assumptions
from ..run.dry_run.rendering import RenderedNode
from ..validation import Declared

BYTES_A_TOKEN = 4
"""A rule of thumb that needs no tokenizer: English has about four bytes a token."""


class Wanted(Declared):
    """What must be true of a node's prompts; `max_tokens` goes by four bytes a token."""

    contains: Ids = ()
    excludes: Ids = ()
    max_chars: int | None = Field(default=None, ge=0, strict=True)
    max_tokens: int | None = Field(default=None, ge=0, strict=True)

    def misses(self, node: RenderedNode) -> Iterator[str]:
        """What is not true of it, in words."""
        text = node.text
        tokens = -(-len(text.encode(errors="replace")) // BYTES_A_TOKEN)
        if node.because is not None:
            yield f"{node.id}: it was skipped ({node.because}), but a prompt is expected"
            return
        yield from (
            f"{node.id}: {words!r} is missing" for words in self.contains if words not in text
        )
        yield from (
            f"{node.id}: {words!r} must not be there" for words in self.excludes if words in text
        )
        if self.max_chars is not None and len(text) > self.max_chars:
            yield f"{node.id}: {len(text)} characters, more than {self.max_chars}"
        if self.max_tokens is not None and tokens > self.max_tokens:
            yield f"{node.id}: about {tokens} tokens, more than {self.max_tokens}"


Expected: TypeAlias = Literal["skipped"] | Wanted


class Declaring(Declared):
    """A case as the file has it."""

    input: str = MESSAGE
    user_id: str | None = None
    session: Mapping[str, JSON] = Field(default_factory=dict[str, JSON])
    history: Sequence[Mapping[str, str]] = ()
    state: Mapping[str, JSON] = Field(default_factory=dict[str, JSON])
    assume: Mapping[str, JSON] = Field(default_factory=dict[str, JSON])
    expect: Mapping[str, Expected] = Field(default_factory=dict[str, Expected])
    snapshot: bool = Field(default=True, strict=True)


class CaseFile(Declared):
    """The whole file; `prompts` are folders of templates, `allow` packages that it may name.

    Both come on top of what the project's `[tool.teamgraph]` says.
    """

    graph: str
    prompts: Ids = ()
    allow: Ids = ()
    defaults: Declaring = Field(default_factory=Declaring)
    auto: Literal["routes"] | None = None
    cases: Mapping[str, Declaring] = Field(default_factory=dict[str, Declaring])


def misplaced(graph: Graph, declared: Declaring, path: KeyPath) -> Iterator[Problem]:
    """What is said of nodes that the graph does not have, or that do not give that.

    `path` are the keys that lead to the case.
    """
    yield from _unexpected(graph, declared, (*path, "expect"))
    yield from _unassumed(graph, declared, (*path, "assume"))


def _unexpected(graph: Graph, declared: Declaring, path: KeyPath) -> Iterator[Problem]:
    """What is expected of nodes that are not there."""
    for node_id in declared.expect:
        if NodePath(node_id).outermost not in graph.nodes:
            text = f"graph {graph.name!r} has no node {node_id!r}"
            near = closest(node_id, graph.nodes)
            text += "" if near else f"; it has {listed(graph.nodes)}"
            where = (*path, node_id)
            yield Problem("C003", text, path=where, suggestion=near, on_key=True)


def _unassumed(graph: Graph, declared: Declaring, path: KeyPath) -> Iterator[Problem]:
    """What is assumed of nodes that are not there, or do not give that."""
    for node_id, value in declared.assume.items():
        try:
            check_assumptions(graph, {node_id: value})
        except InputError as error:
            where = (*path, node_id)
            yield Problem("C006", str(error), path=where, on_key=True)
