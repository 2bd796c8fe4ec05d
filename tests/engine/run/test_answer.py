"""Which words are the answer, in whatever order nodes speak and end."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from teamgraph import Event, Record
from teamgraph.engine.events import EventEmitter, TokenMode
from teamgraph.engine.run.model_call import AnswerStream
from teamgraph.events import Answer, AnswerReset
from tests.teams import of, told


@settings(deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(["final", "revocable", "none"]), st.booleans())
def test_whoever_speaks_and_ends_first_the_answer_is_the_first_candidates_not_skipped(
    seed: int, tokens: TokenMode, is_inner: bool
) -> None:
    chance, events = random.Random(seed), list[Event]()
    candidates = [f"n{index}" for index in range(chance.randint(1, 5))]
    texts = {node_id: f"{node_id} says {chance.random()}" for node_id in candidates}
    skipped = {node_id for node_id in candidates if chance.random() < 0.4}
    emitter = EventEmitter("r", "s", events.append, tokens)
    outer = stream = AnswerStream(["outer"] if is_inner else candidates, emitter)
    if is_inner:
        stream = AnswerStream(candidates, EventEmitter("r", "s", None), (outer, "outer"))
    left = {node_id: list(texts[node_id].partition(" ")) for node_id in candidates}
    while left:
        node_id = chance.choice(list(left))
        if (
            left[node_id]
            and chance.random() < 0.7
            and not (node_id in skipped and stream.is_committed(node_id))
        ):
            stream.add(node_id, 1, left[node_id].pop(0), is_output=True)
            continue
        if node_id in skipped and not stream.is_committed(node_id):
            stream.discard(node_id, 1)
            stream.settle(Record(node_id, "skipped"))
        else:
            skipped.discard(node_id)  # what was told is not skipped any more
            if stream.is_committed(node_id):
                texts[node_id] = stream.emitted + "".join(left[node_id])
            stream.settle(Record(node_id, "done", output=texts[node_id]))
        del left[node_id]
    speaker = next((node_id for node_id in candidates if node_id not in skipped), None)
    assert stream.text == (texts[speaker] if speaker else None)
    if speaker is None:
        return
    if is_inner:
        outer.settle(Record("outer", "done", output=stream.text))
    assert told(events) == ("" if tokens == "none" else stream.text)
    assert [event.node for event in of(events, Answer)] == ["outer" if is_inner else speaker]


def test_what_others_say_is_told_but_is_no_answer() -> None:
    events: list[Event] = []
    stream = AnswerStream(["a"], EventEmitter("r", "s", events.append))
    stream.add("b", 1, "beside", is_output=True)
    stream.add("a", 1, '{"js', is_output=False)
    stream.settle(Record("b", "done", output="beside"))
    assert told(events) == ""
    assert len(events) == 2
    assert stream.text is None
    stream.settle(Record("a", "done", output={"json": 1}))
    stream.settle(Record("a", "done", output="again"))
    assert (stream.text, stream.value) == ('{"json": 1}', {"json": 1})
    assert len(of(events, Answer)) == 1


def test_what_nobody_heard_can_be_taken_back() -> None:
    for listener, left in (([].append, "Once"), (None, "")):
        stream = AnswerStream(["a"], EventEmitter("r", "s", listener))  # type: ignore[arg-type]  any list will do
        stream.add("a", 1, "Once", is_output=True)
        assert stream.emitted == "Once"
        assert stream.is_committed("a") is (listener is not None)
        stream.discard("a", 1)
        assert stream.emitted == left


def test_what_a_listener_can_take_back_is_void_when_something_else_comes() -> None:
    events: list[Event] = []
    stream = AnswerStream(["a", "b"], EventEmitter("r", "s", events.append, "revocable"))
    stream.add("a", 1, "Once", is_output=True)
    stream.discard("a", 1)
    assert not of(events, AnswerReset), "a run that fails now shows what there was"
    stream.settle(Record("a", "skipped"))
    stream.add("b", 1, "Twice", is_output=True)
    assert [(event.node, event.attempt) for event in of(events, AnswerReset)] == [("a", 1)]
    stream.settle(Record("b", "done", output="another text"))
    assert told(events) == "another text"
    assert not stream.is_awaited("b")
