"""What is stored of a record is shorter than the record, and the record is read again."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from teamgraph import (
    Change,
    Exchange,
    Message,
    Question,
    Record,
    SessionKey,
    TinyDBStore,
    Turn,
    Usage,
)
from teamgraph.engine.stores.codec import (
    Words,
    decode_own_words,
    decode_record,
    encode_record,
    pack_record,
    unpack_record,
)
from teamgraph.engine.stores.journal.line import dump_json, header_data, parse_document
from teamgraph.engine.stores.tinydb.repair import Salvage, Survey
from teamgraph.engine.stores.tinydb.session_file import OtherRuns, RunReferences, SessionFile

KEY = SessionKey("ann", "s")
TIMES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.floats(1.7e9, 1.9e9), st.just(0.0)
)
NO_REFERENCES = RunReferences(cast("SessionFile", None), OtherRuns())
OLD = Path(__file__).parent / "version1"
USAGES = st.builds(Usage, *[st.integers(0, 9)] * 4, st.none() | st.floats(0, 9), st.integers(0, 1))


def exchanges(reply: str) -> st.SearchStrategy[tuple[Exchange, ...]]:
    """Model calls, of which the last has this reply."""
    words, messages = st.sampled_from(["a", "b", ""]), (Message(role="user", content="x"),)
    replies = st.sampled_from([reply, "other"])
    one = st.builds(
        Exchange, words, words, words, st.just(messages), replies, USAGES, st.none(), TIMES, TIMES
    )
    return st.lists(one, max_size=3).map(tuple)


RECORDS = st.builds(
    Record,
    st.just("n"),
    st.sampled_from(["done", "skipped"]),
    kind=st.sampled_from(["member", "router"]),
    output=st.sampled_from([None, "", "said", "other", 5]),
    exchanges=exchanges("said"),
    usage=USAGES,
    fingerprint=st.sampled_from(["", "f1", "f2"]),
    started=TIMES,
    ended=TIMES,
)


@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_a_record_is_read_as_it_was_put(records: list[Record]) -> None:
    numbers: dict[Words, int] = {}
    for record in records:
        document = encode_record(1, record, NO_REFERENCES)
        packed = pack_record(document, lambda words: numbers.setdefault(words, len(numbers) + 1))
        words = {number: words for words, number in numbers.items()}
        for stored in (packed, document):
            found = unpack_record(parse_document(dump_json(stored)), words)
            assert decode_record(found, NO_REFERENCES) == record


def test_replayed_turns_are_stored_as_ranges() -> None:
    turns = [{"turn": run} for run in (3, 4, 5, 7, 8)]
    first, last = {"role": "system", "content": "x"}, {"role": "user", "content": "y"}
    messages = [first, *turns[:2], last, *turns[2:], last]
    exchange = {"prompt": "p", "prompt_hash": "h", "model": "m", "reply": "r", "messages": messages}
    packed = pack_record({"exchanges": [exchange]}, lambda _: 1)
    (stored,) = packed["exchanges"]
    ranges = [{"turns": pair} for pair in ([3, 4], [5, 5], [7, 8])]
    assert stored["messages"] == [first, ranges[0], last, *ranges[1:], last]
    assert unpack_record(packed, {1: ("p", "h", "m")}) == {"exchanges": [exchange]}


def journal_of(root: Path) -> Path:
    """The longest journal of a store."""
    return max(root.glob("users/*/*/*.jsonl"), key=lambda path: path.stat().st_size)


def version_of(path: Path) -> object:
    """The version in a journal's header."""
    data = header_data(path.read_bytes().splitlines(keepends=True)[0])
    assert data is not None
    return parse_document(data)["version"]


def test_a_store_of_version_1_is_read(tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(OLD, root)
    path = journal_of(root)
    assert version_of(path) == 1
    assert [Survey(root).read(each).findings for each in Survey(root).journals] == [(), ()]

    async def test() -> None:
        store = TinyDBStore(root, sync="never")
        assert {info.name for info in await store.sessions("ann")} == {"Trip", None}
        assert version_of(path) == 2
        turns = await store.turns(KEY)
        assert [turn.run_id for turn in turns] == ["r0", "r1", *(f"r{n}" for n in range(3, 9))]
        assert turns[-2].input == "What about place 7?"
        head, run = await store.head(KEY), await store.run(KEY, "r7")
        assert head is not None
        assert (head.state, head.node_states) == ({"city": "Oslo"}, {"n": {"k": 1}})
        assert run is not None
        assert list(run.records) == ["history", "router", "chinese", "french", "english", "summary"]
        english = run.records["english"]
        assert english.output == run.answer == english.exchanges[0].reply
        assert english.fingerprint
        contents = [message.content for message in english.exchanges[0].messages]
        assert contents[1:] == [
            *[text for turn in turns[-7:-2] for text in (turn.input, turn.answer)],
            "What about place 7?",
        ]
        await store.close()

    asyncio.run(test())


def test_a_run_of_version_1_is_gone_on_with_in_version_2(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "store")

    async def test() -> None:
        store = TinyDBStore(tmp_path / "store", sync="never")
        done, left = await store.run(KEY, "r7"), await store.run(KEY, "r9")
        assert done is not None
        english = done.records["english"]
        assert left is not None
        assert (left.status, left.records["n"].output) == ("running", "kept")
        assert await store.find("ann", "o0") == SessionKey("ann", "other")
        lease = await store.begin(KEY, left.turn, is_stored=True)
        await store.put(lease, [english])
        await store.finish(lease, Turn("r9", left.turn.input, status="done"), Change())
        again = await store.run(KEY, "r9")
        assert again is not None
        assert again.records["english"] == english
        assert await store.delete_run(KEY, "r7")
        redacted = await store.run(KEY, "r8")
        assert redacted is not None
        await store.close()

    asyncio.run(test())


def test_words_that_a_salvage_loses_cost_the_names_of_the_prompt_and_the_model(
    tmp_path: Path,
) -> None:
    message = Message(role="user", content="x")
    exchange = Exchange("member.jinja", "hash", "some/model", (message,), "yes")
    record = Record("n", "done", output="yes", exchanges=(exchange,), fingerprint="f")

    async def put() -> None:
        store = TinyDBStore(tmp_path, sync="never")
        for number in range(2):
            lease = await store.begin(KEY, Turn(f"r{number}", "x"))
            await store.put(lease, [record])
            await store.finish(lease, Turn(lease.run_id, "x", status="done"), Change())
        await store.close()

    async def put_other() -> None:
        store = TinyDBStore(tmp_path, sync="never")
        lease = await store.begin(KEY, Turn("r2", "x"))
        await store.put(lease, [replace(record, fingerprint="other")])
        await store.close()

    async def look() -> None:
        store = TinyDBStore(tmp_path, sync="never")
        run = await store.run(KEY, "r1")
        assert run is not None
        assert run.records["n"] == replace(
            record,
            fingerprint="",
            exchanges=(replace(exchange, prompt="", prompt_hash="", model=""),),
        )
        await store.close()

    asyncio.run(put())
    path = journal_of(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"t":"words"', b'"t":"wards"'))
    salvage = Salvage.read(path)
    assert salvage.loss.lines > 0
    salvage.write()
    asyncio.run(look())
    asyncio.run(put_other())
    asyncio.run(look())


def test_words_that_somebody_removed_are_empty(tmp_path: Path) -> None:
    async def test() -> None:
        store = TinyDBStore(tmp_path, sync="never")
        lease = await store.begin(KEY, Turn("r", "x"))
        await store.put(lease, [Record("n", "done", fingerprint="f")])
        with store.database(KEY) as database:
            assert database.table("words").get(doc_id=1) == {"words": ["", "f"]}
            database.table("words").truncate()
        run = await store.run(KEY, "r")
        assert run is not None
        assert run.records["n"] == Record("n", "done")
        await store.close()

    asyncio.run(test())


def test_what_a_record_asks_is_not_its_own_words() -> None:
    record = Record("n", "waiting", questions=(Question("n", "May I?", options=("yes", "no")),))
    document = encode_record(1, record, NO_REFERENCES)
    (question,) = decode_own_words(document, NO_REFERENCES, results=True).questions
    assert question == replace(record.questions[0], text="")
