"""What a graph file says, before anyone has asked whether it hangs together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from .declared import Declared
from .messages import JSON
from .node import Node
from .policy import Ids, ModelSpec, Number, OnError, Retry, Seconds, Text, Timeout


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
