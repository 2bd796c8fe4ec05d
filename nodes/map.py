"""The kind `map`: runs another graph for each item of a list."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, cast

from msgspec.structs import replace
from pydantic import Field

from teamgraph import JSON, Instead, OnError
from teamgraph.errors import BudgetExceeded, InputError
from teamgraph.kinds import Context, ItemInput, ItemSource, NodeWaits, Result, value_text

from .graph import SubGraph

_MAX_ITEMS = 100


class Map(SubGraph):
    """Runs an inner graph for each item of a list, at the same time; the output are the answers.

    The answers have the order of the items. Templates inside, and `input`, read `input.item` and
    `input.number`, which counts from 1. Records have paths such as `node[2]/inner_node`.
    """

    kind: ClassVar[str] = "map"
    runs_again: ClassVar[bool] = True
    streams: ClassVar[bool] = False
    provides: ClassVar[Mapping[str, object]] = {"output": object, "skipped": list[int]}

    over: str = Field(
        min_length=1,
        description="A Jinja expression that gives the list.",
        examples=["plan.output.steps"],
    )
    max_parallel: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None,
        description="Items that may run at the same time; no limit if left out.",
        examples=[8],
    )
    on_item_error: OnError = Field(
        default="fail",
        description="What follows if an item failed: the node fails (`fail`), its answer is left "
        "out (`skip`), or a value is used.",
        examples=["skip"],
    )
    max_items: Annotated[int, Field(ge=1, strict=True)] = Field(
        default=_MAX_ITEMS, description="The most items; more fail the node.", examples=[1000]
    )
    input: str | None = Field(
        default=None,
        description="A template for the message of each item; if left out, it is the item as text.",
        examples=["{{ input.item.query }}"],
    )

    def items(self) -> ItemSource:
        """The list `over`, and the value in place of an answer."""
        policy = self.on_item_error
        instead = (policy.value,) if isinstance(policy, Instead) else ()
        return ItemSource(self.over, ("over",), instead)

    async def run(self, context: Context) -> Result:
        """Run the items; those that an earlier try of the run has finished are not run again."""
        items = context.value(self.over)
        if not isinstance(items, list):
            raise InputError(f"`over` is not a list: {self.over} is {str(items)[:60]!r}")
        if len(items) > self.max_items:
            raise InputError(
                f"{self.over} has {len(items)} items, and at most {self.max_items} are allowed; "
                f"raise `max_items`, or take a part: `over: ({self.over})[:{self.max_items}]`"
            )
        return await self._run(context, cast("list[object]", items))

    async def rehearse(self, context: Context) -> Result:
        """Run the first item; where nothing is known of the list, what stands for it."""
        found = context.value(self.over)
        items = cast("list[object]", found) if isinstance(found, list) else [found]
        return await self._run(context, items[:1])

    async def _run(self, context: Context, items: Sequence[object]) -> Result:
        """Run items, at most `max_parallel` at a time; after a failure no new one begins."""
        waiting = enumerate(items, 1)
        done = _Items()

        async def work() -> None:
            for number, item in waiting:
                try:
                    done.answers[number] = await self._answer(context, number, item)
                except NodeWaits:
                    done.waits = True  # for a person, while the others run
                except Exception as error:  # noqa: BLE001  whatever it is, the item failed
                    self._failed(done, number, error)
                if done.failures:
                    break

        count = min(self.max_parallel or len(items), len(items))
        workers = [asyncio.create_task(work()) for _ in range(count)]
        await _all(workers)
        if done.failures:
            raise done.failures[min(done.failures)]
        if done.waits:
            raise NodeWaits
        output = [done.answers[number] for number in sorted(done.answers)]
        return Result(output, fields={"skipped": list[JSON](sorted(done.skipped))})

    async def _answer(self, context: Context, number: int, item: object) -> object:
        given = context.input
        given = ItemInput(given.message, given.system, given.attachments, item=item, number=number)
        if self.input is None and self.prompt is None:
            message = value_text(item, f"item {number}")
        else:
            message = context.render(input=given)
        given = replace(given, message=message)
        inner = await context.run_graph(given, number=number, tokens="events")
        return inner.output

    def _failed(self, done: _Items, number: int, error: Exception) -> None:
        """Do what `on_item_error` says; what exceeds the budget is a failure in any case."""
        if self.on_item_error == "fail" or isinstance(error, BudgetExceeded):
            done.failures[number] = error
        elif isinstance(self.on_item_error, Instead):
            done.answers[number] = self.on_item_error.value
        else:
            done.skipped.append(number)


class _Items:
    """What became of the items so far, by number."""

    def __init__(self) -> None:
        self.answers: dict[int, object] = {}
        self.failures: dict[int, Exception] = {}
        self.skipped: list[int] = []
        self.waits = False


async def _all(workers: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all; if the caller is cancelled, so are they, unless the loop itself was dropped."""
    try:
        await asyncio.gather(*workers)
    except (Exception, asyncio.CancelledError, KeyboardInterrupt, SystemExit):
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        raise
