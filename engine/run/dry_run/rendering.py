"""The result of a dry run: for each node the prompts that it would send, or why it sends none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module

from msgspec import Struct

from ...messages import JSON, Message
from ...models.protocol import Request
from ...prompts.library import CapturedPrompt
from ...prompts.provenance import Span, trace_spans


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """One request to a model: the template it was made from, and all that would be sent.

    `tools` are the schemas of the tools that are offered, `response_format` is the JSON Schema that
    the answer must satisfy, None for free text.
    """

    template: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, JSON], ...] = ()
    response_format: Mapping[str, JSON] | None = None
    _rendered: CapturedPrompt | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, template: str, request: Request, rendered: CapturedPrompt) -> RenderedPrompt:
        """The prompt that a request sends, with what its messages were rendered from."""
        return cls(template, request.messages, request.tools, request.schema, rendered)

    @property
    def came_from(self) -> tuple[tuple[Span, ...], ...]:
        """The provenance of each message: consecutive spans that make up its text.

        Computed when first read: the prompt is rendered again with tracking. Empty for a prompt
        that no dry run made.
        """
        if self._rendered is None:
            return ((),) * len(self.messages)
        return trace_spans(self._rendered)

    @property
    def captured(self) -> CapturedPrompt | None:
        """What its messages were rendered from; None if no dry run made it."""
        return self._rendered

    @property
    def text(self) -> str:
        """The text of all messages, one message after the other."""
        return "\n".join(message.content for message in self.messages)

    @property
    def system(self) -> str:
        """The text of the system messages."""
        return "\n".join(one.content for one in self.messages if one.role == "system")


class RenderedNode(Struct, frozen=True):
    """What one node would send. A node that asks no model has no `prompts`.

    `because` says why the node would be skipped, None if it runs. `output` is what later nodes read
    of it here: what was assumed, or a sample.
    """

    id: str
    kind: str
    prompts: tuple[RenderedPrompt, ...] = ()
    because: str | None = None
    output: JSON = None

    @property
    def is_skipped(self) -> bool:
        """Whether the node would not run."""
        return self.because is not None

    @property
    def template(self) -> str | None:
        """The template of its first prompt, None if it has none."""
        return self.prompts[0].template if self.prompts else None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of all its prompts."""
        return tuple(message for prompt in self.prompts for message in prompt.messages)

    @property
    def text(self) -> str:
        """The text of all its messages."""
        return "\n".join(prompt.text for prompt in self.prompts)

    @property
    def system(self) -> str:
        """The text of its system messages."""
        return "\n".join(prompt.system for prompt in self.prompts if prompt.system)


@dataclass(frozen=True, eq=False)
class Rendering(Mapping[str, RenderedNode]):
    """The prompts of one run by node id, in topological order.

    `routes` are the labels that each router chose, of those that ran.
    """

    graph: str
    nodes: Mapping[str, RenderedNode]
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __getitem__(self, node_id: str) -> RenderedNode:
        return self.nodes[node_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        count = sum(len(node.prompts) for node in self.values())
        return f"Rendering({self.graph!r}, {count} prompt{'s' * (count != 1)})"

    def _repr_html_(self) -> str:
        """The messages of each prompt, for notebooks."""
        # Lazy: only notebooks need it; by name, as the view is a room above.
        return str(import_module("...view.notebook", __package__).rendering_html(self))
