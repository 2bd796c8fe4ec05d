"""Conformance tests: the bytes of attachments, for stores that have room for them."""

from __future__ import annotations

from hashlib import sha256

import pytest

from ...messages import Message, Part
from ...records import Record, SessionKey, Turn
from ...session.store import Store, StoresAttachments
from .store_tests import KEY, NO_CHANGE, StoreOpener, StoreTests, asked, async_test

_OTHER = SessionKey("ben", "trip")


def _open(stores: StoreOpener) -> tuple[Store, StoresAttachments]:
    store = stores.open()
    if not isinstance(store, StoresAttachments):
        pytest.skip("optional: the store does not implement attachments (`StoresAttachments`)")
    return store, store


def _part(data: bytes, name: str = "photo.png") -> Part:
    digest = sha256(data).hexdigest()
    return Part(name=name, media_type="image/png", size=len(data), sha256=digest)


async def _turn(store: Store, run_id: str, parts: tuple[Part, ...], record: Record) -> None:
    lease = await store.begin(KEY, Turn(run_id, "look", attachments=parts))
    await store.put(lease, [record])
    done = Turn(run_id, "look", status="done", answer="a cat", attachments=parts)
    await store.finish(lease, done, NO_CHANGE)


class AttachmentTests(StoreTests):
    """Bytes belong to one session, and go with the last run that names them."""

    @async_test
    async def test_an_attachment_is_read_in_its_session_alone(self, stores: StoreOpener) -> None:
        _, attachments = _open(stores)
        part = _part(b"cat")
        assert await attachments.get_attachment(KEY, part.sha256) is None
        for _ in range(2):  # the second time nothing changes
            await attachments.put_attachment(KEY, part.sha256, b"cat")
        assert await attachments.get_attachment(KEY, part.sha256) == b"cat"
        assert await attachments.get_attachment(KEY, _part(b"dog").sha256) is None
        for key in (_OTHER, SessionKey("ann", "work"), SessionKey(None, "trip")):
            assert await attachments.get_attachment(key, part.sha256) is None

    @async_test
    async def test_a_turn_and_its_messages_name_what_was_attached(
        self, stores: StoreOpener
    ) -> None:
        store, _ = _open(stores)
        parts = (_part(b"cat"), Part(name="b.pdf", media_type="x/y", url="https://x.example/b"))
        message = Message(role="user", content="look", parts=parts)
        await _turn(store, "r1", parts, asked(message))
        other = stores.open()
        [turn] = await other.turns(KEY)
        run = await other.run(KEY, "r1")
        assert turn.attachments == parts
        assert run is not None
        assert run.records["writer"].exchanges[0].messages == (message,)

    @async_test
    async def test_a_deleted_run_takes_along_what_no_other_run_has(
        self, stores: StoreOpener
    ) -> None:
        store, attachments = _open(stores)
        mine, shared = _part(b"cat"), _part(b"dog")
        work = SessionKey("ann", "work")
        for data in (b"cat", b"dog"):
            await attachments.put_attachment(KEY, _part(data).sha256, data)
            await attachments.put_attachment(work, _part(data).sha256, data)
        await _turn(store, "r1", (mine, shared), asked(Message(role="user", content="look")))
        plain = Message(role="system", content="You look")
        again = Message(role="user", content="look", parts=(shared, mine))
        await _turn(store, "r2", (shared,), asked(plain, again))
        assert await store.delete_run(KEY, "r1")
        assert await attachments.get_attachment(KEY, mine.sha256) is None
        assert await attachments.get_attachment(KEY, shared.sha256) == b"dog"
        assert await attachments.get_attachment(work, mine.sha256) == b"cat"
        run = await store.run(KEY, "r2")
        assert run is not None
        messages = run.records["writer"].exchanges[0].messages
        assert [message.parts for message in messages] == [(), (shared,)]

    @pytest.mark.parametrize("what", ["session", "user"])
    @async_test
    async def test_attachments_go_with_their_session(self, stores: StoreOpener, what: str) -> None:
        store, attachments = _open(stores)
        part = _part(b"cat")
        for key in (KEY, _OTHER, SessionKey("ann", "never begun")):
            await attachments.put_attachment(key, part.sha256, b"cat")
        await _turn(store, "r1", (part,), asked(Message(role="user", content="look")))
        if what == "session":
            assert await store.delete_session(KEY)
        else:
            assert await store.delete_user("ann") == 1
            never = SessionKey("ann", "never begun")
            assert await attachments.get_attachment(never, part.sha256) is None
        assert await attachments.get_attachment(KEY, part.sha256) is None
        assert await attachments.get_attachment(_OTHER, part.sha256) == b"cat"
