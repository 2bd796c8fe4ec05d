"""The kind `loop`: runs another graph repeatedly until a condition is true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from teamgraph import JSON
from teamgraph.errors import NoAnswer
from teamgraph.kinds import Context, KeyPath, Result

from .graph import SubGraph

_REHEARSED = 2
"""Rounds of a dry run: the first, and one that follows another."""


class Loop(SubGraph):
    """Runs an inner graph in rounds until `until` is true; the answer of the last is the output.

    Templates inside, and `input`, read `round`: its `number` from 1, `outputs` (the answers of the
    rounds before), `previous` (the last of these, none in the first round), and `nodes` (what the
    inner nodes gave in that round, by id). Records have paths such as `node[2]/inner_node`.
    """

    kind: ClassVar[str] = "loop"
    runs_again: ClassVar[bool] = True
    provides: ClassVar[Mapping[str, object]] = {"output": object, "rounds": int, "met": bool}

    until: str = Field(
        min_length=1,
        description="A Jinja expression that ends the loop if it is true after a round; it reads "
        "`output` (the answer of the round), `round`, `session.state` and the inner nodes by id.",
        examples=["critic.output.approved"],
    )
    max: Annotated[int, Field(ge=1, strict=True)] = Field(
        description="The most rounds.", examples=[3]
    )
    on_max: Literal["answer", "fail"] = Field(
        default="answer",
        description="What follows if `until` is still false after `max` rounds: the answer of the "
        "last round is the output, or the node fails.",
        examples=["fail"],
    )
    input: str | None = Field(
        default=None,
        description="A template for the message of each round; if left out, it is the task from a "
        "router, or the message of this run.",
        examples=["{{ round.previous or input.message }}"],
    )
    stream: Literal["answer", "rounds"] = Field(
        default="answer",
        description="Whether tokens of a round that may not be the last are dropped, or emitted as "
        "events (never as a part of the answer).",
        examples=["rounds"],
    )

    def ends(self) -> Mapping[KeyPath, str]:
        """The expression `until`."""
        return {("until",): self.until}

    async def run(self, context: Context) -> Result:
        """Run rounds; those that an earlier try of the run has finished are not run again."""
        return await self._run(context, self.max, is_rehearsal=False)

    async def rehearse(self, context: Context) -> Result:
        """Run the first two rounds, whatever `until` is after the first."""
        return await self._run(context, min(self.max, _REHEARSED), is_rehearsal=True)

    async def _run(self, context: Context, most: int, *, is_rehearsal: bool) -> Result:
        outputs: list[object] = []
        fields: dict[str, JSON] = {}
        nodes: Mapping[str, object] | None = None
        is_met, number = False, 0
        while number < most and not is_met:
            number += 1
            given = {
                "number": number,
                "previous": outputs[-1] if outputs else None,
                "outputs": outputs,
                "nodes": nodes,
            }
            is_last = number == self.max and self.on_max == "answer"
            inner = await context.run_graph(
                context.render(round=given),
                number=number,
                names={"round": given},
                tokens="output" if is_last else "events" if self.stream == "rounds" else "none",
            )
            if not is_rehearsal:
                known = {**inner.nodes, "output": inner.output, "round": given}
                is_met = context.test(self.until, **known)
            outputs.append(inner.output)
            nodes, fields = inner.nodes, {**inner.fields}
        if not is_met and self.on_max == "fail" and not is_rehearsal:
            raise NoAnswer(f"`until` was still false after {number} rounds: {self.until}")
        return Result(outputs[-1], fields={**fields, "rounds": number, "met": is_met})
