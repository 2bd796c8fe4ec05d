"""What is stored of a record is shorter than the record, and the record is read again."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from teamgraph import (
    Change,
    Exchange,
    Message,
    Question,
    Record,
    SessionKey,
    Summary,
    TinyDBStore,
    Turn,
    Usage,
)
from teamgraph.engine.stores.codec import (
    SharedWords,
    decode_own_words,
    decode_record,
    decode_summary,
    decode_turn,
    encode_record,
    encode_summary,
    encode_turn,
    pack_record,
    pack_summary,
    pack_turn,
    shared_texts,
    unpack_record,
    unpack_summary,
    unpack_turn,
)
from teamgraph.engine.stores.journal.line import (
    dump_json,
    dump_key,
    header_data,
    parse_document,
    parse_key,
)
from teamgraph.engine.stores.tinydb.repair import Salvage, Survey
from teamgraph.engine.stores.tinydb.session_file import OtherRuns, RunReferences, SessionFile

KEY = SessionKey("ann", "s")
TIMES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.floats(1.7e9, 1.9e9), st.just(0.0)
)
NO_REFERENCES = RunReferences(cast("SessionFile", None), OtherRuns())
OLD = [Path(__file__).parent / f"version{number}" for number in (1, 2)]
TEXTS = st.sampled_from(["", "short", "a" * 64, "b" * 99])
USAGES = st.builds(Usage, *[st.integers(0, 9)] * 4, st.none() | st.floats(0, 9), st.integers(0, 1))


def exchanges(reply: str) -> st.SearchStrategy[tuple[Exchange, ...]]:
    """Model calls, of which the last has this reply."""
    words = st.sampled_from(["a", "b", ""])
    message = st.builds(Message, role=st.sampled_from(["system", "user"]), content=TEXTS)
    messages = st.lists(message, max_size=2).map(tuple)
    in_json = '{"a": "b", "text": "said at some length"}'
    in_words = ["{said at some length}", "He said at some length"]
    replies = st.sampled_from([reply, "other", in_json, *in_words])
    one = st.builds(
        Exchange, words, words, words, messages, replies, USAGES, st.none(), TIMES, TIMES
    )
    return st.lists(one, max_size=3).map(tuple)


RECORDS = st.builds(
    Record,
    st.just("n"),
    st.sampled_from(["done", "skipped"]),
    kind=st.sampled_from(["member", "router"]),
    output=st.sampled_from([None, "", "said", "other", 5, "said at some length", "\ud800" * 16]),
    exchanges=exchanges("said"),
    usage=USAGES,
    fingerprint=st.sampled_from(["", "f1", "f2"]),
    started=TIMES,
    ended=TIMES,
)


TURNS = st.builds(
    Turn,
    st.just("r"),
    st.just("hello"),
    st.sampled_from(["", "shop"]),
    st.sampled_from(["running", "done", "failed", "waiting", "cancelled"]),
    TEXTS,
    number=st.integers(0, 2),
    usage=USAGES,
    started=TIMES,
    ended=TIMES,
    declared=st.sampled_from(["", "d1", "d2"]),
)


class Numbers:
    """Numbers of what is shared, and what has them: `Shared` and `SharedLookup`."""

    def __init__(self) -> None:
        self.shared: list[object] = []

    def words(self, words: SharedWords) -> int:
        if words not in self.shared:
            self.shared.append(words)
        return self.shared.index(words)

    def text(self, text: str) -> int | None:
        return None if text.startswith("b") else self.words(cast("SharedWords", text))

    def words_at(self, number: int) -> SharedWords | None:
        return cast("SharedWords", self.shared[number])

    def text_at(self, number: int) -> str:
        return cast("str", self.shared[number])


@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_a_record_is_read_as_it_was_put(records: list[Record]) -> None:
    shared = Numbers()
    for record in records:
        document = encode_record(1, record, NO_REFERENCES)
        packed = pack_record(document, shared)
        assert packed.keys().isdisjoint(("run", "node", "attempt"))
        assert shared_texts(packed) <= {*range(len(shared.shared))}
        for stored in (packed, document):
            key = (1, record.node, record.attempt)
            found = unpack_record(parse_document(dump_json(stored)), key, shared)
            assert decode_record(found, NO_REFERENCES) == record


@given(st.lists(TURNS, min_size=1, max_size=4))
def test_a_turn_is_read_as_it_was_put(turns: list[Turn]) -> None:
    shared = Numbers()
    for turn in turns:
        document = encode_turn(turn)
        for stored in (pack_turn(document, shared), document):
            parsed = parse_document(dump_json(stored))
            found = unpack_turn(parsed, (turn.run_id, turn.number), shared)
            assert decode_turn(found) == turn


@pytest.mark.parametrize("run_id", ["", "r", "other"])
@pytest.mark.parametrize("covers", [0, 7])
def test_a_summary_is_read_as_it_was_put(run_id: str, covers: int) -> None:
    summary = Summary("s", ("a",), covers, 5.0, run_id)
    document = encode_summary(summary)
    packed = pack_summary(document, {"r": 12}.get)
    assert ("run_id" in packed) == (run_id == "other")
    for stored in (packed, document):
        found = unpack_summary(parse_document(dump_json(stored)), (covers,), {"12": "r"}.get)
        read = decode_summary(found)
        assert (read, read.run_id) == (summary, run_id)


class Name(str):
    """A text of another type, as the path of a node is."""

    __slots__ = ()


LETTERS = st.text(st.characters(codec=None, categories=None))


@example(["\ud800"])
@given(st.lists(LETTERS | LETTERS.map(Name) | st.integers(0, 2**63)))
def test_keys_are_the_same_bytes_as_other_json(key: list[str | int]) -> None:
    assert dump_key(key) == dump_json(key)
    assert parse_key(dump_key(key)) == key


def test_replayed_turns_are_stored_as_ranges_and_templates_by_number() -> None:
    long, shared = "x" * 64, Numbers()
    turns = [{"turn": run} for run in (3, 4, 5, 7, 8)]
    first = {"role": "system", "content": [long, [0, "input"]]}
    last = {"role": "user", "content": long}
    messages = [first, *turns[:2], last, *turns[2:], {"user": 12}, last]
    exchange = {"prompt": "p", "prompt_hash": "h", "model": "m", "reply": "r", "messages": messages}
    document = {"run": 1, "node": "n", "status": "done", "exchanges": [exchange]}
    packed = pack_record(document, shared)
    (stored,) = packed["exchanges"]
    ranges = [{"turns": pair} for pair in ([3, 4], [5, 5], [7, 8])]
    short = {"user": long}
    beginning = {"system": [1, [0, "input"]]}
    assert stored["messages"] == [beginning, ranges[0], short, *ranges[1:], {"user": 12}, short]
    assert shared_texts(packed) == {1}
    assert unpack_record(packed, (1, "n", 1), shared) == document


def journal_of(root: Path) -> Path:
    """The longest journal of a store."""
    return max(root.glob("users/*/*/*.jsonl"), key=lambda path: path.stat().st_size)


def version_of(path: Path) -> object:
    """The version in a journal's header."""
    data = header_data(path.read_bytes().splitlines(keepends=True)[0])
    assert data is not None
    return parse_document(data)["version"]


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.name)
def test_a_store_of_an_older_version_is_read(tmp_path: Path, old: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(old, root)
    path = journal_of(root)
    assert f"version{version_of(path)}" == old.name
    assert [Survey(root).read(each).findings for each in Survey(root).journals] == [(), ()]

    async def test() -> None:
        store = TinyDBStore(root, sync="never")
        assert {info.name for info in await store.sessions("ann")} == {"Trip", None}
        assert version_of(path) == 3
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


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.name)
def test_a_run_of_an_older_version_is_gone_on_with(tmp_path: Path, old: Path) -> None:
    shutil.copytree(old, tmp_path / "store")

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


def asked(*contents: str) -> Exchange:
    """A model call with these system messages."""
    messages = tuple(Message(role="system", content=content) for content in contents)
    return Exchange("member.jinja", "hash", "some/model", messages, "yes")


async def tell(store: TinyDBStore, run_id: str, *contents: str) -> None:
    """A run whose node failed once, then asked with these system messages."""
    lease = await store.begin(KEY, Turn(run_id, "x"))
    await store.put(lease, [Record("n", "failed", exchanges=(asked("once " * 20),))])
    await store.put(lease, [Record("n", "done", exchanges=(asked(*contents),))])
    await store.finish(lease, Turn(run_id, "x", status="done"), Change())


def test_a_text_of_many_prompts_is_stored_once_and_deleted_with_the_last_of_them(
    tmp_path: Path,
) -> None:
    both, first, late, once = ("both " * 20, "first " * 20, "late " * 20, "once " * 20)

    async def test() -> None:
        store = TinyDBStore(tmp_path, sync="never")
        await tell(store, "r1", both, first, first)
        await store.close()
        await tell(store, "r2", both)
        lease = await store.begin(KEY, Turn("r3", "x"))
        replay = Message(role="user", content="x", origin="r1")
        exchange = replace(asked(both), messages=(*asked(both, late).messages, replay))
        await store.put(lease, [Record("n", "done", exchanges=(exchange,))])
        await store.release(lease)
        path = journal_of(tmp_path)
        counts = [path.read_bytes().count(text.encode()) for text in (both, first, late, once)]
        assert counts == [1, 1, 1, 1]
        assert await store.delete_run(KEY, "r1")
        assert first.encode() not in path.read_bytes()
        for run_id, texts in (("r2", [both]), ("r3", [both, late])):  # one was written again
            run = await store.run(KEY, run_id)
            assert run is not None
            sent = run.records["n"].exchanges[0].messages
            assert [each.content for each in sent if each.role == "system"] == texts
        assert await store.delete_run(KEY, "r2")
        assert await store.delete_run(KEY, "r3")
        left = path.read_bytes()
        assert not any(text.encode() in left for text in (both, late, once))
        await store.close()

    asyncio.run(test())


def test_a_prompt_that_is_different_each_time_is_shared_only_so_often(tmp_path: Path) -> None:
    contents = [f"{number} {'now ' * 16}" for number in range(300)]

    async def test() -> None:
        store = TinyDBStore(tmp_path, sync="never")
        lease = await store.begin(KEY, Turn("r", "x"))
        await store.put(lease, [Record("n", "done", exchanges=(asked(*contents),))])
        await store.put(lease, [Record("m", "done", exchanges=(asked(*contents),))])
        with store.database(KEY) as database:
            assert len(database.table("texts")) == 256
            (first, second) = database.table("nodes").all()
            assert first["exchanges"] == second["exchanges"]
            sent = [each["content"] for each in first["exchanges"][0]["messages"]]
            assert sent == contents
        await store.close()

    asyncio.run(test())


def test_words_that_a_salvage_loses_cost_the_names_of_the_prompt_and_the_model(
    tmp_path: Path,
) -> None:
    exchange = asked("x" * 64)
    record = Record("n", "done", output="yes", exchanges=(exchange,), fingerprint="f")

    other = replace(record, fingerprint="other", exchanges=(asked("y" * 64),))

    async def put(*runs: tuple[str, Record]) -> None:
        store = TinyDBStore(tmp_path, sync="never")
        for run_id, stored in runs:
            lease = await store.begin(KEY, Turn(run_id, "x"))
            await store.put(lease, [stored])
            await store.finish(lease, Turn(run_id, "x", status="done"), Change())
        await store.close()

    async def look() -> None:
        store = TinyDBStore(tmp_path, sync="never")
        run = await store.run(KEY, "r1")
        assert run is not None
        assert run.records["n"] == replace(
            record,
            fingerprint="",
            exchanges=(replace(asked("(deleted)"), prompt="", prompt_hash="", model=""),),
        )
        await store.close()

    asyncio.run(put(("r0", record), ("r1", record)))
    path = journal_of(tmp_path)
    data = path.read_bytes()
    lost = {b'"t":"words"': b'"t":"wards"', b'"t":"texts"': b'"t":"taxts"'}
    for line, changed in lost.items():
        data = data.replace(line, changed)
    path.write_bytes(data)
    salvage = Salvage.read(path)
    assert salvage.loss.lines == 3  # words of the node and of the call, and a text
    salvage.write()
    asyncio.run(look())
    asyncio.run(put(("r2", other)))
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


def test_an_output_that_is_a_part_of_a_reply_without_keys_is_stored_by_itself() -> None:
    reply = "The answer is: forty-two, as always"
    exchange = Exchange(prompt="p", prompt_hash="h", model="m", messages=(), reply=reply)
    record = Record("n", "done", output="forty-two, as always", exchanges=(exchange,))
    shared = Numbers()
    packed = pack_record(encode_record(1, record, NO_REFERENCES), shared)
    assert packed["output"] == record.output
    found = unpack_record(parse_document(dump_json(packed)), (1, "n", 1), shared)
    assert decode_record(found, NO_REFERENCES) == record


def test_what_a_record_asks_is_not_its_own_words() -> None:
    record = Record("n", "waiting", questions=(Question("n", "May I?", options=("yes", "no")),))
    document = encode_record(1, record, NO_REFERENCES)
    (question,) = decode_own_words(document, NO_REFERENCES, results=True).questions
    assert question == replace(record.questions[0], text="")
