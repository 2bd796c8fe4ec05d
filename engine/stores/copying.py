"""Sessions copied from one store to another, each whole or not at all, and compared afterwards.

What is copied is what both stores have in common, a `MemorySession`: all runs with the records of
every attempt, all summaries, the state with who set it. References from records to runs stay
references, so a deletion reaches every quote in the copy as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol, cast

from ..blocking import all_items
from ..errors import InputError
from ..messages import JSON
from ..records import SessionKey
from ..session.store import Store, StoresAttachments, stored_attachments
from .codec import encode_summary, encode_turn, map_references
from .journal.line import Document, dump_json, parse_document
from .memory import MemorySession


class Copyable(Store, StoresAttachments, Protocol):
    """A store whose sessions can be copied to another one."""

    async def snapshot(self, key: SessionKey) -> MemorySession | None:
        """All of a session as encoded records, None if there is no such session.

        A reference in them is the id of a run, `[session_id, run_id]` for one of another session,
        or None for a run that was deleted.
        """
        ...

    async def restore(self, key: SessionKey, session: MemorySession) -> None:
        """Create a session from a snapshot, all or nothing; `InputError` if it exists."""
        ...


async def sessions_of(
    store: Store, users: Collection[str | None] | None, session_ids: Collection[str]
) -> list[SessionKey]:
    """The sessions of some users, or of all (None), with these ids, or all of them (none).

    Those of a user are in the order in which they are to be copied, so that the lists of both
    stores are in the same order.
    """
    found: list[SessionKey] = []
    if users is None:
        users = [user async for user in all_items(store.users)]
    for user in users:
        keys = [info.key async for info in all_items(partial(store.sessions, user))]
        keys.reverse()
        found += (key for key in keys if not session_ids or key.session_id in session_ids)
    return found


async def copy_session(
    source: Copyable, target: Copyable, key: SessionKey, among: Collection[SessionKey]
) -> bool:
    """Copy a session and its attachments, unless it is there already; whether it was copied.

    Raises `InputError` if it quotes a session that is neither in the target nor `among` those that
    are copied: its words would be missing.
    """
    if await target.head(key) is not None:
        return False
    session = await source.snapshot(key)
    if session is None:  # deleted since it was listed
        return False
    gone: set[str] = set()
    for quoted in _quoted(session, key):
        if await source.head(quoted) is None:
            gone.add(quoted.session_id)
        elif quoted not in among and await target.head(quoted) is None:
            raise InputError(
                f"session {key.session_id!r} quotes session {quoted.session_id!r}, which is not "
                f"copied: copy both (--session {quoted.session_id}), or all sessions of the user"
            )
    attached = await stored_attachments(source, key, session.turns.values())
    for digest, data in attached.items():
        await target.put_attachment(key, digest, data)
    _forget(session, gone)
    await target.restore(key, session)
    return True


async def copy_prompts(source: Store, target: Store) -> int:
    """Copy the sources of all templates; returns how many there are."""
    hashes = await source.prompt_hashes()
    for each in set(hashes) - set(await target.prompt_hashes()):
        await target.put_prompt(each, await source.prompt(each) or {})
    return len(hashes)


async def is_same(source: Copyable, target: Copyable, key: SessionKey) -> bool:
    """Whether both stores have the same in a session, attachments included, or both have none."""
    ours, theirs = await source.snapshot(key), await target.snapshot(key)
    if ours is None or theirs is None:
        return ours is theirs
    attached = [await stored_attachments(one, key, ours.turns.values()) for one in (source, target)]
    quoted = _quoted(ours, key) | _quoted(theirs, key)
    gone = {each.session_id for each in quoted if await source.head(each) is None}
    return attached[0] == attached[1] and _contents(ours, gone) == _contents(theirs, gone)


def _quoted(session: MemorySession, key: SessionKey) -> set[SessionKey]:
    """The sessions that the records of a session quote."""
    found: set[SessionKey] = set()

    def note(reference: JSON) -> JSON:
        if isinstance(reference, list):
            found.add(SessionKey(key.user_id, str(reference[0])))
        return reference

    for document in _documents(session):
        map_references(document, note)
    return found


def _existing(session: MemorySession, gone: Collection[str]) -> Callable[[JSON], JSON]:
    """What a reference is after those to deleted runs, and to sessions that are gone, are None."""

    def existing(reference: JSON) -> JSON:
        if isinstance(reference, list):
            return None if reference[0] in gone else reference
        return reference if reference in session.turns else None

    return existing


def _forget(session: MemorySession, gone: Collection[str]) -> None:
    """Remove the references to sessions that are gone: a new one of that id is another."""
    if not gone:
        return
    for records in session.records.values():
        for attempt, stored in records.items():
            document = parse_document(cast("bytes", stored))
            map_references(document, _existing(session, gone))
            records[attempt] = dump_json(document)


def _contents(session: MemorySession, gone: Collection[str]) -> dict[str, Any]:
    """A session as plain values, in which references that resolve to the same are equal."""
    documents = _documents(session)
    for document in documents:
        document.pop("run", None)
        map_references(document, _existing(session, gone))
    return {
        "head": [session.name, session.last_number, session.deleted],
        "turns": [encode_turn(turn) for turn in session.turns.values()],
        "records": documents,
        "state": session.values(),
        "summaries": [encode_summary(each) for _, each in sorted(session.summaries.items())],
    }


def _documents(session: MemorySession) -> list[Document]:
    return [
        parse_document(cast("bytes", stored))
        for run_id in session.turns
        for stored in session.records.get(run_id, {}).values()
    ]
