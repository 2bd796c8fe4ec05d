"""`LimitedModel`: models of which at most so many calls run at once, over all workers.

Each worker keeps its calls that run or wait as rows of one table (`CallRows`). A call may run when
fewer calls of its model than the limit came before it, so they run in the order in which they came.
The rows go with the worker that they belong to: what a killed one held is free once it is found
dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from msgspec import Struct, field

from ..errors import InputError, StoreError, closest, listed
from ..models.protocol import Chunk, Model, Reply, Request, close_answer
from ..models.registry import AnyModel
from ..run.runner import Runner
from ..unknown_names import explained
from ..values import check_mapping
from .schema import CALLS
from .takeover import Log
from .turns import CallRow, TurnTable

MOST = 2**31 - 1
"""The greatest limit: a PostgreSQL `int`."""
_PAUSE = 1.0


class LimitedModel(AnyModel):
    """An `AnyModel` of which at most so many calls run at once, over all workers of a database.

    `limits` maps ids of models, as graphs name them, to numbers of calls; the other arguments are
    those of `AnyModel`. It is the model of a `Worker`'s runners, and of nothing else. Calls wait in
    the order in which they came; the time counts for their node's timeout. A call counts until its
    answer has ended. Each worker goes by its own limits, so give all of them the same.

    Raises `InputError` for a limit that is not a whole number from 1 to 2147483647, and when it is
    asked without a worker that runs.
    """

    @explained
    def __init__(
        self,
        limits: Mapping[str, int],
        own: Mapping[str, Model] | None = None,
        *,
        others: Model | None = None,
        allow_api_base: Collection[str] = (),
        override: str | None = None,
    ) -> None:
        super().__init__(own, others=others, allow_api_base=allow_api_base, override=override)
        check_mapping("limits", limits, "ids of models to numbers of calls")
        for model_id, limit in limits.items():
            if type(limit) is not int or not 1 <= limit <= MOST:
                raise InputError(
                    f"the limit of {model_id!r} is {limit!r}; give a whole number from 1 to {MOST}"
                )
        self.limits = dict(limits)
        self.rows: CallRows | None = None

    def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        """Stream the answer of the model that the request names, once its call may run."""
        limit = self.limits.get(request.model)
        return super().ask(request) if limit is None else self._ask_in_turn(request, limit)

    async def _ask_in_turn(self, request: Request, limit: int) -> AsyncGenerator[Chunk | Reply]:
        if self.rows is None:
            raise InputError(
                "a LimitedModel counts the calls of workers, and no running Worker has this one; "
                "give it to the runners of a Worker, and an AnyModel to others"
            )
        async with self.rows.call(request.model, limit):
            pieces = super().ask(request)
            try:
                async for piece in pieces:
                    yield piece
            finally:
                await close_answer(pieces)


class CallRows:
    """The running and waiting calls of this worker, mirrored in the table `calls`.

    Starts each when the table allows it.
    """

    def __init__(self, table: TurnTable, worker: str, log: Log) -> None:
        self._table = table
        self._worker = worker
        self._log = log
        self._calls: dict[UUID, _LimitedCall] = {}

    @asynccontextmanager
    async def call(self, model_id: str, limit: int) -> AsyncGenerator[None]:
        """A block that waits until a call of the model may run, and is the call."""
        call = _LimitedCall(CallRow(uuid4(), model_id, limit))
        self._calls[call.row.id] = call
        try:
            self._table.ring(CALLS)
            await call.may_run.wait()
            yield
        finally:
            del self._calls[call.row.id]
            self._table.ring(CALLS)

    async def synchronize(self) -> None:
        """Write the calls to the table, and start those that it allows, until cancelled.

        Each time all calls are written that are not there yet and all deleted that have ended, so
        after an outage of the database nothing needs to be remembered.
        """
        while True:
            bell = self._table.bell(CALLS)
            try:
                rows = [call.row for call in self._calls.values()]
                allowed = await self._table.write_calls(self._worker, rows)
            except (StoreError, ValueError) as error:  # those that run go on, the others wait
                self._log("calls_failed", {"why": " ".join(str(error).split())})
                await asyncio.sleep(_PAUSE)
                continue
            for call in self._calls.values():
                if call.row.id in allowed:
                    call.may_run.set()
            await self._table.wait(bell)


def connect(runners: Collection[Runner], rows: CallRows) -> list[LimitedModel]:
    """Let the limited models of a worker's runners count their calls; those that have limits.

    Raises `InputError` for a limit of a model that none of the graphs asks.
    """
    models = [each.prepared.model for each in runners]
    limited = [model for model in models if isinstance(model, LimitedModel) and model.limits]
    asked = {spec.id for each in runners for spec in each.prepared.all_models()}
    for model in limited:
        for unknown in sorted(model.limits.keys() - asked):
            near = closest(unknown, asked)
            hint = f"did you mean {near!r}?" if near else f"they ask {listed(sorted(asked))}"
            raise InputError(f"there is a limit of {unknown!r}, and no graph asks it; {hint}")
        model.rows = rows
    return limited


class _LimitedCall(Struct):
    """A call of this worker, and whether it may run."""

    row: CallRow
    may_run: asyncio.Event = field(default_factory=asyncio.Event)
