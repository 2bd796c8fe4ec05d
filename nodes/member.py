"""The kind `member`: one role, one prompt, one answer, with tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

from pydantic import Field, PrivateAttr, model_validator

from teamgraph import JSON
from teamgraph.kinds import Context, Node, Result, Texts, Toolbox, Tools


class Member(Node):
    """Answers the message in its role, with the help of tools if it has any."""

    streams: ClassVar[bool] = True

    role: str = Field(
        default="",
        description="Who the member is and what it does; part of its prompt.",
        examples=["You answer questions in English"],
    )
    prompt: str | None = Field(
        default="member.jinja", description="Its template.", examples=["member.jinja"]
    )

    instructions: Texts = Field(
        default=(),
        description="Rules that it follows, one or several.",
        examples=[["Answer in one sentence."]],
    )
    tools: Tools = Field(
        default=(),
        description="What its model may call: functions, `package.module:name`, session tools; as "
        "`{call, confirm}` a person confirms the calls.",
        examples=[["read_chat_history", {"call": "myapp.orders:cancel", "confirm": True}]],
    )
    max_tool_rounds: int = Field(
        default=5,
        ge=1,
        strict=True,
        description="How many replies of one answer may call tools.",
        examples=[5],
    )
    _toolbox: Toolbox | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _make_tools(self) -> Self:
        if self.tools:
            self._toolbox = Toolbox.of(self.tools, rounds=self.max_tool_rounds)
        return self

    def bound(self, resolve: Callable[[str], object]) -> Self:
        """The member with the functions of its tools."""
        if self._toolbox is None or not self._toolbox.missing:
            return self
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        fields["tools"] = Toolbox.resolved(self.tools, resolve)
        return type(self)(**fields)

    def toolbox(self) -> Toolbox | None:
        """The tools that it declares."""
        return self._toolbox

    def written(self) -> dict[str, JSON]:
        """The tools by name; a function without an importable name raises `DefinitionError`."""
        if not self.tools:
            return super().written()
        bare = self.model_copy(update={"tools": ()})
        return {**super(Member, bare).written(), "tools": Toolbox.written(self.tools)}

    async def run(self, context: Context) -> Result:
        """Ask the model once; with `returns` the answer is a value of that shape."""
        return Result(await context.reply())
