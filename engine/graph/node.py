"""What a node is: the fields that every kind has, and what a kind adds.

A kind of node is a frozen class with one method:

    class Translator(Node):
        language: str
        prompt: str | None = "translate.jinja"

        async def run(self, context: Context) -> Result:
            return Result(await context.ask())
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import Field

from ..errors import InputError, KeyPath
from ..imports import reference
from ..messages import JSON
from ..records import Summary
from ..tools.toolbox import Toolbox
from ..validation import Declared
from .context import Context, Result
from .fields import Ids, Join, ModelSpec, OnError, Retry, Seconds, Text, Timeout


class Node(Declared):
    """A part of a graph. Its id is its key in `Graph.nodes`.

    A kind adds fields and `run`. Every field is readable in its template as `node.FIELD`. The
    name of the kind is made from the class's name (`HistoryLoader` is `history-loader`), unless
    the class sets `kind` itself.
    """

    kind: ClassVar[str] = "node"
    answers: ClassVar[bool] = True
    """Whether the node's output can be what the user is told."""
    streams: ClassVar[bool] = False
    """Whether the output is the text of its one `ask`, so that it can be told as it arrives."""
    prompts: ClassVar[bool] = True
    """Whether the kind has a template; without `prompt` it is the file called like the kind."""
    text_field: ClassVar[str | None] = None
    """A field whose text is a template that the kind renders itself (`Context.render`)."""
    comes_last: ClassVar[bool] = False
    """Whether the node waits until the answer is known, and works for the session's sake."""
    loads_history: ClassVar[bool] = False
    """Whether the template name `history` means this node."""
    summarizes: ClassVar[bool] = False
    """Whether the node keeps the session's summary."""
    provides: ClassVar[Mapping[str, object]] = {"output": str}
    """The names that templates can read of it, with their types: `node_id.NAME`."""
    templates: ClassVar[tuple[str, ...]] = ()
    """Further template files that it asks with (`Context.ask(NAME)`), checked like its own."""
    variables: ClassVar[Mapping[str, object]] = {}
    """Further names that the kind gives to its templates, with their types."""
    given: ClassVar[tuple[str, ...]] = ()
    """What a function of the kind may name beside nodes (`inputs`) and `params`."""

    prompt: str | None = Field(
        default=None,
        description="A template file (`name.jinja`), or the template itself in several lines.",
        examples=["member.jinja"],
    )
    model: Text | ModelSpec | None = Field(
        default=None, description="The model to ask, if not the graph's.", examples=["local"]
    )
    needs: Ids = Field(
        default=(),
        description="Nodes that run before; they vote in `join`.",
        examples=[["english", "french"]],
    )
    reads: Ids = Field(
        default=(),
        description="Nodes whose output is read; they have no vote.",
        examples=[["history"]],
    )
    history: str | None = Field(
        default=None,
        description="The history-loader that `history` means in its template, if there are "
        "several; `none`: an empty history.",
        examples=["own_history"],
    )
    join: Join = Field(
        default="any", description="Run if any or all of `needs` ran, or always.", examples=["all"]
    )
    when: str | None = Field(
        default=None,
        description="A Jinja expression; if false, skip.",
        examples=["session.turns > 0"],
    )
    retry: Annotated[int, Field(ge=0, strict=True)] | Retry | None = Field(
        default=None, description="Attempts after a failed one.", examples=[2]
    )
    timeout: Seconds | Timeout | None = Field(
        default=None, description="Seconds that an attempt may take.", examples=[60]
    )
    on_error: OnError | None = Field(
        default=None,
        description="What a failure does: fail the run, skip, or a value instead.",
        examples=["skip"],
    )
    params: Mapping[str, JSON] = Field(
        default_factory=dict[str, JSON],
        description="Constants for the template.",
        examples=[{"tone": "friendly"}],
    )
    description: str = Field(
        default="",
        description="What the node is for, in a few words.",
        examples=["checks the facts"],
    )
    returns: Any = Field(  # a mapping, a text or a class: engine.returns says which hold
        default=None,
        description="The shape of the answer, if it is not free text.",
        examples=[{"lang": "english|french"}],
    )

    @property
    def template_field(self) -> str:
        """The field that its template is written in: `prompt`, or its `text_field`."""
        own = self.text_field
        has_own = own is not None and self.prompt is None and isinstance(getattr(self, own), str)
        return own if own is not None and has_own else "prompt"

    def __init_subclass__(cls, **facts: Any) -> None:  # noqa: ANN401  pydantic's signature
        super().__init_subclass__(**facts)
        if "kind" not in cls.__dict__:
            cls.kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

    async def run(self, context: Context) -> Result:
        """Do the node's work once; an exception means that it failed."""
        raise InputError(f"the kind {self.kind!r} has no run method; give it `async def run`")

    async def rehearse(self, context: Context) -> Result:
        """What the node does in a dry run: the same, where that touches nothing outside.

        A kind that reads or changes the world gives something in place of its output here.
        """
        return await self.run(context)

    async def recall(self, context: Context, stored: JSON) -> object:
        """The output as templates read it, made again from what its record keeps of it."""
        del context
        return stored

    def summarized(self, output: JSON, fields: Mapping[str, JSON]) -> Summary | None:
        """The `Result.summary` of an earlier try of the run, from what its record keeps."""
        del output, fields
        return None

    def asks(self) -> bool:
        """Whether running the node asks a model, if it has a template."""
        return True

    def within(self) -> object | None:
        """The `Graph` that the node runs (`Context.run_graph`), None if it runs none."""
        return None

    def opened(self, read: Callable[[str | Mapping[str, Any]], Any]) -> Self:
        """The node with the graph that it runs made by `read`, from a file or what stands there."""
        del read
        return self

    def mentions(self) -> Mapping[KeyPath, str]:
        """Ids of nodes that it names without coming after them, by the path of the field."""
        return {}

    def toolbox(self) -> Toolbox | None:
        """The tools that its model may call, None if there are none."""
        return None

    def inputs(self) -> Mapping[str, bool]:
        """Names of nodes that it reads without a template, and whether it can do without each."""
        return {}

    def instead(self, error: Exception) -> Result | None:
        """What to give back after the last attempt failed, or None to fail."""
        del error
        return None

    def gives(self) -> Mapping[str, object]:
        """`provides`, as exact as the declaration makes it: types, or JSON Schemas."""
        return self.provides

    def branches(self) -> Mapping[str, tuple[str, ...]]:
        """For a kind that routes: the ids that each label leads to."""
        return {}

    def takes(self) -> tuple[int, int]:
        """For a kind that routes: the fewest and the most labels that it chooses at once."""
        return (1, 1)

    def expressions(self) -> Mapping[KeyPath, str]:
        """The Jinja expressions in the node's fields, by the path of the field."""
        return {("when",): self.when} if self.when is not None else {}

    def bound(self, resolve: Callable[[str], object]) -> Self:
        """The node with what it names in Python (`package.module:name`) resolved."""
        if isinstance(self.returns, str) and ":" in self.returns:
            return self.model_copy(update={"returns": resolve(self.returns)})
        return self

    def written(self) -> dict[str, JSON]:
        """The node as a graph file says it, without its kind and without defaults."""
        data: dict[str, JSON] = self.model_dump(
            mode="json", exclude_defaults=True, exclude={"returns"}
        )
        returns: object = self.returns
        if isinstance(returns, str | Mapping):
            data["returns"] = cast("JSON", returns)
        elif returns is not None:
            data["returns"] = reference(returns)
        return data

    def shown(self) -> Mapping[str, object]:
        """More names that its template reads as `node.NAME`, beside the fields."""
        return {}
