"""What is done to the documents of a journal so that a run is gone from them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from .catalogue import Catalogue, Place
from .documents import Source
from .forgetting import forget_run, wrote_summary
from .line import Operation


def deletion(catalogue: Catalogue, source: Source, run_id: str, run: int) -> Iterator[Operation]:
    """The operations that delete a run, which is document `run`, but for what it set in the state.

    Summaries that may be of it go. A run that is not done is left without the record of its own
    summary, so that it writes it anew when it is taken up.
    """
    number = catalogue.number_of.get(run_id, 0)
    yield Operation("d", "runs", str(run))
    for other, records in catalogue.records.items():
        since = catalogue.number_of.get(catalogue.run_ids.get(str(other), ""), 0)
        sums_up = bool(number) and not 0 < since < number
        for record in records.values():
            if other == run:
                yield Operation("d", "nodes", record.document)
            else:
                yield from _forget(
                    source, record, (run_id, run), sums_up=sums_up, is_done=since > 0
                )
    if number:
        for covered in catalogue.covers[bisect_left(catalogue.covers, number) :]:
            yield Operation("d", "summaries", catalogue.summaries[covered].document)


def _forget(
    source: Source, record: Place, gone: tuple[str, int], *, sums_up: bool, is_done: bool
) -> Iterator[Operation]:
    data = source.text(record.slot)
    if sums_up and not is_done and wrote_summary(data):
        yield Operation("d", "nodes", record.document)
        return
    kept = forget_run(data, *gone, sums_up=sums_up)
    if kept is not None:
        yield Operation("p", "nodes", record.document, record.slot.key, kept)
