"""Tables and functions of the database, and how an older schema is migrated.

Ids and texts are `bytea`, UTF-8 with surrogates passed on: a `text` holds neither NUL nor a lone
surrogate, and user ids may be longer than an index entry. Rows are found by digests, so a query
cannot name a session without naming its user. Documents are JSON as `codec` encodes them.

Whatever a run writes goes through one of three functions, so each is one round trip and checks the
lease in the transaction that writes: `begin_run`, `put_records`, `finish_run`. All of them first
lock the row of the session, which is why two of them never meet in one session. A lease lives as
long as its owner, a process that refreshes `owners.seen`; the lease of an owner that was not seen
for a while is removed by whoever begins a run in that session, and its writes are refused then.
When a lease ends, the process whose run waits next is notified (`call_next`), on a channel of its
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from ...errors import StoreError

_LOCK = 0x7465616D  # "team": one migration at a time

_TABLES = """
CREATE TABLE {s}.owners (
    id uuid PRIMARY KEY,
    seen timestamptz NOT NULL DEFAULT now()
);
CREATE SEQUENCE {s}.activity;
CREATE TABLE {s}.sessions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    user_key bytea NOT NULL,
    user_id bytea,
    session_id bytea NOT NULL,
    name bytea,
    turns int NOT NULL DEFAULT 0,
    deleted int NOT NULL DEFAULT 0,
    activity bigint NOT NULL DEFAULT nextval('{s}.activity')
) WITH (fillfactor = 70);
CREATE INDEX sessions_of_user ON {s}.sessions (user_key, activity DESC);
CREATE TABLE {s}.runs (
    session bigint NOT NULL REFERENCES {s}.sessions ON DELETE CASCADE,
    run bytea NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    number int NOT NULL DEFAULT 0,
    status text NOT NULL,
    waits_until double precision,
    document bytea NOT NULL,
    words text NOT NULL DEFAULT '',
    PRIMARY KEY (session, run)
);
CREATE INDEX runs_by_id ON {s}.runs (run);
CREATE INDEX runs_in_order ON {s}.runs (session, position);
CREATE UNIQUE INDEX runs_done ON {s}.runs (session, number) WHERE number > 0;
CREATE INDEX runs_waiting ON {s}.runs (session) WHERE waits_until IS NOT NULL;
CREATE TABLE {s}.records (
    session bigint NOT NULL,
    run bytea NOT NULL,
    node bytea NOT NULL,
    attempt int NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    document bytea NOT NULL,
    PRIMARY KEY (session, run, node, attempt),
    FOREIGN KEY (session, run) REFERENCES {s}.runs ON DELETE CASCADE
);
CREATE TABLE {s}.state (
    session bigint NOT NULL REFERENCES {s}.sessions ON DELETE CASCADE,
    scope text NOT NULL,
    key bytea NOT NULL,
    name bytea NOT NULL,
    value bytea NOT NULL,
    run_id bytea NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (session, scope, key)
);
CREATE TABLE {s}.summaries (
    session bigint NOT NULL REFERENCES {s}.sessions ON DELETE CASCADE,
    covers int NOT NULL,
    document bytea NOT NULL,
    PRIMARY KEY (session, covers)
);
CREATE TABLE {s}.prompts (
    hash text PRIMARY KEY,
    sources bytea NOT NULL
);
CREATE TABLE {s}.attachments (
    key bytea NOT NULL,
    user_key bytea NOT NULL,
    sha256 text NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (key, sha256)
);
CREATE INDEX attachments_of_user ON {s}.attachments (user_key);
CREATE TABLE {s}.leases (
    token bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session bigint NOT NULL REFERENCES {s}.sessions ON DELETE CASCADE,
    run bytea NOT NULL,
    owner uuid NOT NULL REFERENCES {s}.owners ON DELETE CASCADE,
    request uuid NOT NULL,
    is_exclusive boolean NOT NULL,
    is_granted boolean NOT NULL,
    is_cancelled boolean NOT NULL DEFAULT false
);
CREATE INDEX leases_of_session ON {s}.leases (session, token);
CREATE INDEX leases_by_request ON {s}.leases (request);
CREATE INDEX leases_of_owner ON {s}.leases (owner);

CREATE FUNCTION {s}.call_next() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    next {s}.leases;
BEGIN
    SELECT * INTO next FROM {s}.leases WHERE session = OLD.session AND is_exclusive
        ORDER BY token LIMIT 1;
    IF FOUND AND NOT next.is_granted THEN
        PERFORM pg_notify('teamgraph-' || next.owner, next.token::text);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER call_next AFTER DELETE ON {s}.leases FOR EACH ROW WHEN (OLD.is_exclusive)
    EXECUTE FUNCTION {s}.call_next();

CREATE FUNCTION {s}.begin_run(
    of_key bytea, of_user_key bytea, of_user bytea, of_session bytea, of_run bytea,
    new_document bytea, of_owner uuid, of_request uuid, wants_session boolean, waits boolean,
    ticket bigint, expected boolean, may_meet_waiting boolean, at_time double precision,
    patience interval,
    OUT outcome text, OUT new_token bigint, OUT session_row bigint, OUT turns_so_far int,
    OUT deleted_so_far int, OUT session_name bytea, OUT document_found bytea,
    OUT scopes text[], OUT names bytea[], OUT values_set bytea[], OUT writers bytea[],
    OUT summary bytea
) LANGUAGE plpgsql AS $$
DECLARE
    here {s}.sessions;
    stored {s}.runs;
BEGIN
    new_token := ticket;
    INSERT INTO {s}.owners (id) VALUES (of_owner) ON CONFLICT (id) DO UPDATE SET seen = now()
        WHERE owners.seen < now() - patience / 8;
    LOOP
        SELECT * INTO here FROM {s}.sessions WHERE key = of_key FOR UPDATE;
        EXIT WHEN FOUND;
        IF expected THEN
            outcome := 'missing';
            RETURN;
        END IF;
        INSERT INTO {s}.sessions (key, user_key, user_id, session_id)
            VALUES (of_key, of_user_key, of_user, of_session) ON CONFLICT DO NOTHING;
    END LOOP;
    session_row := here.id;
    DELETE FROM {s}.leases AS dead USING {s}.owners WHERE dead.session = here.id
        AND owners.id = dead.owner AND owners.seen < now() - patience AND owners.id <> of_owner;
    IF wants_session AND EXISTS (
        SELECT FROM {s}.leases AS other WHERE other.session = here.id AND other.is_exclusive
            AND (ticket IS NULL OR other.token < ticket)
    ) THEN
        outcome := 'busy';
        IF waits AND ticket IS NULL THEN
            INSERT INTO {s}.leases (session, run, owner, request, is_exclusive, is_granted)
                VALUES (here.id, of_run, of_owner, of_request, true, false)
                RETURNING token INTO new_token;
        END IF;
        RETURN;
    END IF;
    SELECT * INTO stored FROM {s}.runs WHERE session = here.id AND run = of_run;
    document_found := stored.document;
    IF EXISTS (
        SELECT FROM {s}.leases AS other WHERE other.session = here.id AND other.run = of_run
            AND other.is_granted
    ) THEN
        outcome := 'in progress';
    ELSIF stored.run IS NULL AND expected THEN
        outcome := 'missing';
    ELSIF stored.status = 'done' OR (stored.run IS NOT NULL AND NOT expected) THEN
        outcome := 'stored';
    ELSIF NOT may_meet_waiting AND stored.status IS DISTINCT FROM 'waiting' THEN
        SELECT document INTO document_found FROM {s}.runs WHERE session = here.id
            AND waits_until IS NOT NULL AND (waits_until = 0 OR waits_until > at_time) LIMIT 1;
        IF FOUND THEN
            outcome := 'waiting';
        END IF;
    END IF;
    IF outcome IS NOT NULL THEN
        DELETE FROM {s}.leases WHERE token = ticket;
        RETURN;
    END IF;
    outcome := 'granted';
    IF ticket IS NULL THEN
        INSERT INTO {s}.leases (session, run, owner, request, is_exclusive, is_granted)
            VALUES (here.id, of_run, of_owner, of_request, wants_session, true)
            RETURNING token INTO new_token;
    ELSE
        UPDATE {s}.leases SET is_granted = true WHERE token = ticket;
        IF NOT FOUND THEN
            outcome := 'busy';  -- the owner was taken for dead while it waited; it queues again
            new_token := NULL;
            RETURN;
        END IF;
    END IF;
    INSERT INTO {s}.runs (session, run, status, document)
        VALUES (here.id, of_run, 'running', new_document)
        ON CONFLICT (session, run) DO UPDATE
            SET status = 'running', document = new_document, number = 0, waits_until = NULL;
    UPDATE {s}.sessions SET activity = nextval('{s}.activity') WHERE id = here.id;
    turns_so_far := here.turns;
    deleted_so_far := here.deleted;
    session_name := here.name;
    SELECT array_agg(each.scope), array_agg(each.name), array_agg(each.value),
            array_agg(each.run_id)
        INTO scopes, names, values_set, writers
        FROM (SELECT * FROM {s}.state WHERE session = here.id ORDER BY position) AS each;
    SELECT document INTO summary FROM {s}.summaries WHERE session = here.id
        ORDER BY covers DESC LIMIT 1;
END $$;

CREATE FUNCTION {s}.lock_lease(of_token bigint, of_session bigint, of_run bytea)
RETURNS TABLE (outcome text, turns_so_far int, deleted_so_far int)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT turns, deleted INTO turns_so_far, deleted_so_far
        FROM {s}.sessions WHERE id = of_session FOR UPDATE;
    IF NOT EXISTS (
        SELECT FROM {s}.runs WHERE session = of_session AND run = of_run
    ) THEN
        outcome := 'deleted';
    ELSIF NOT EXISTS (
        SELECT FROM {s}.leases WHERE token = of_token AND session = of_session AND is_granted
    ) THEN
        outcome := 'lost';
    ELSE
        outcome := 'held';
    END IF;
    RETURN NEXT;
END $$;

CREATE FUNCTION {s}.put_records(
    of_token bigint, of_session bigint, of_run bytea, since_deleted int,
    nodes bytea[], attempts int[], documents bytea[],
    OUT outcome text, OUT deleted_now int
) LANGUAGE plpgsql AS $$
DECLARE
    held record;
BEGIN
    SELECT * INTO held FROM {s}.lock_lease(of_token, of_session, of_run);
    outcome := held.outcome;
    deleted_now := held.deleted_so_far;
    IF outcome = 'held' AND deleted_now <> since_deleted THEN
        outcome := 'late';
    ELSIF outcome = 'held' THEN
        INSERT INTO {s}.records (session, run, node, attempt, document)
            SELECT of_session, of_run, each.node, each.attempt, each.document
                FROM unnest(nodes, attempts, documents) AS each (node, attempt, document)
            ON CONFLICT (session, run, node, attempt) DO UPDATE SET document = excluded.document;
    END IF;
END $$;

CREATE FUNCTION {s}.finish_run(
    of_token bigint, of_session bigint, of_run bytea, new_status text, at_least int,
    new_waits_until double precision, new_document bytea, new_words text,
    scopes text[], keys bytea[], names bytea[], values_set bytea[], of_run_id bytea,
    since_turns int, since_deleted int, new_covers int, new_summary bytea,
    OUT outcome text, OUT new_number int
) LANGUAGE plpgsql AS $$
DECLARE
    held record;
BEGIN
    SELECT * INTO held FROM {s}.lock_lease(of_token, of_session, of_run);
    outcome := held.outcome;
    new_number := 0;
    IF outcome <> 'held' THEN
        RETURN;
    END IF;
    IF new_status = 'done' THEN
        new_number := greatest(held.turns_so_far + 1, at_least);
        INSERT INTO {s}.state (session, scope, key, name, value, run_id)
            SELECT of_session, each.scope, each.key, each.name, each.value, of_run_id
                FROM unnest(scopes, keys, names, values_set) AS each (scope, key, name, value)
            ON CONFLICT (session, scope, key) DO UPDATE
                SET value = excluded.value, run_id = excluded.run_id;
        IF new_summary IS NOT NULL AND since_deleted = held.deleted_so_far
            AND (since_turns IS NULL OR since_turns = new_number - 1)
        THEN
            INSERT INTO {s}.summaries (session, covers, document)
                VALUES (of_session, new_covers, new_summary)
                ON CONFLICT (session, covers) DO UPDATE SET document = excluded.document;
        END IF;
    END IF;
    UPDATE {s}.runs SET status = new_status, number = new_number, document = new_document,
            words = new_words, waits_until = new_waits_until
        WHERE session = of_session AND run = of_run;
    UPDATE {s}.sessions SET turns = greatest(turns, new_number),
            activity = nextval('{s}.activity')
        WHERE id = of_session;
    DELETE FROM {s}.leases WHERE token = of_token;
END $$;
"""
_MIGRATIONS = (_TABLES,)
"""What leads from each version to the next; a database without a schema has version 0."""


async def migrate(connection: AsyncConnection[tuple[Any, ...]], schema: str) -> None:
    """Bring the schema of a store to the newest version, one process at a time.

    Raises `StoreError` if it is newer than this version of teamgraph.
    """
    await migrate_schema(connection, schema, _MIGRATIONS, lock=_LOCK)


async def migrate_schema(
    connection: AsyncConnection[tuple[Any, ...]],
    schema: str,
    migrations: Sequence[str],
    *,
    lock: int,
) -> None:
    """Apply what a schema lacks of `migrations`, under an advisory lock; see `migrate`."""
    name = Identifier(schema)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
        await connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
        await connection.execute(
            SQL("CREATE TABLE IF NOT EXISTS {}.version (number int NOT NULL)").format(name)
        )
        cursor = await connection.execute(SQL("SELECT number FROM {}.version").format(name))
        row = await cursor.fetchone()
        version: int = row[0] if row else 0
        if version > len(migrations):
            raise StoreError(
                f"the schema {schema!r} has version {version}, and this version of teamgraph "
                f"knows {len(migrations)}; update teamgraph"
            )
        for step in migrations[version:]:
            await connection.execute(_for(step, schema))
        await connection.execute(SQL("DELETE FROM {}.version").format(name))
        await connection.execute(
            SQL("INSERT INTO {}.version VALUES (%s)").format(name), [len(migrations)]
        )


def _for(text: str, schema: str) -> bytes:
    """A text with the quoted name of the schema in it; the tables need no other."""
    return text.replace("{s}", f'"{schema}"').encode()
