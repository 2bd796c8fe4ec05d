"""Tables and functions of the turns that were submitted, in a schema of their own.

A row of `turns` is a submission: a run has one, and one more for each answer to it. What DBOS has
in its queue is the number of the row and nothing else, so all words of users are here. A trigger
deletes them with the run or the session that they belong to.

A row of `calls` is a call of a model with a limit: it may run when fewer rows than the limit came
before it. Rows are inserted one transaction at a time, so none that came before is committed after.

`execution` fences: each time a worker begins a turn it writes a new one, and what an earlier
execution writes later is refused. What it writes notifies nobody: PostgreSQL commits one at a time
those that do, so `TurnTable` does it afterwards, for many turns at once.
"""

from __future__ import annotations

from ..stores.postgres.connections import Connection
from ..stores.postgres.schema import migrate_schema

SCHEMA = "teamgraph_turns"
"""The name of the schema."""
STORE_SCHEMA = "teamgraph"
"""The schema of the store that the turns run on."""
_LOCK = 0x7475726E  # "turn": one migration at a time
CALLS = -2
"""What is notified, in place of the number of a turn, when a call of a limited model has ended."""

_TABLES = """
CREATE TABLE {s}.bundles (
    id text PRIMARY KEY,
    graphs text[] NOT NULL,
    about bytea NOT NULL,
    released timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE {s}.workers (
    id text PRIMARY KEY,
    bundle text NOT NULL REFERENCES {s}.bundles,
    owner uuid NOT NULL,
    host text NOT NULL,
    pid int NOT NULL,
    concurrency int NOT NULL,
    started timestamptz NOT NULL DEFAULT now(),
    seen timestamptz NOT NULL DEFAULT now(),
    is_draining boolean NOT NULL DEFAULT false
);
CREATE TABLE {s}.turns (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session bytea NOT NULL,
    user_key bytea NOT NULL,
    run bytea NOT NULL,
    number int NOT NULL,
    graph text NOT NULL,
    bundle text NOT NULL,
    submission bytea NOT NULL,
    digest bytea NOT NULL,
    state text NOT NULL DEFAULT 'queued',
    attempts int NOT NULL DEFAULT 0,
    execution uuid,
    executor text,
    is_cancelled boolean NOT NULL DEFAULT false,
    first_event bigint NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    outcome text,
    error bytea,
    created timestamptz NOT NULL DEFAULT now(),
    began timestamptz,
    ended timestamptz,
    UNIQUE (session, run, number)
);
CREATE INDEX turns_of_user ON {s}.turns (user_key, run);
CREATE INDEX turns_open ON {s}.turns (session, id) WHERE state IN ('queued', 'running');
CREATE INDEX turns_queued ON {s}.turns (id) WHERE state = 'queued';
CREATE INDEX turns_ended ON {s}.turns (ended) WHERE ended IS NOT NULL;
CREATE TABLE {s}.events (
    turn bigint NOT NULL REFERENCES {s}.turns ON DELETE CASCADE,
    number bigint NOT NULL,
    batch bytea NOT NULL,
    PRIMARY KEY (turn, number)
);

CREATE FUNCTION {s}.is_live(of_bundle text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM {s}.workers AS w WHERE w.bundle = of_bundle
        AND w.seen > now() - interval '15 seconds' AND NOT w.is_draining)
$$;

CREATE FUNCTION {s}.forget_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {s}.turns WHERE session = OLD.key;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_submitted AFTER DELETE ON {store}.sessions
    FOR EACH ROW EXECUTE FUNCTION {s}.forget_session();
CREATE FUNCTION {s}.forget_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {s}.turns AS t USING {store}.sessions AS s
        WHERE s.id = OLD.session AND t.session = s.key AND t.run = OLD.run;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_submitted AFTER DELETE ON {store}.runs
    FOR EACH ROW EXECUTE FUNCTION {s}.forget_run();
"""
_CALLS = """
CREATE TABLE {s}.calls (
    id uuid PRIMARY KEY,
    place bigint GENERATED ALWAYS AS IDENTITY,
    worker text NOT NULL REFERENCES {s}.workers ON DELETE CASCADE,
    model text NOT NULL,
    at_most int NOT NULL,
    came timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX calls_in_order ON {s}.calls (model, place);
CREATE INDEX calls_of_worker ON {s}.calls (worker);

CREATE FUNCTION {s}.tell_of_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{n}', '{calls}');
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_end AFTER DELETE ON {s}.calls
    FOR EACH ROW EXECUTE FUNCTION {s}.tell_of_call();

CREATE FUNCTION {s}.write_calls(of_worker text, ids uuid[], models text[], limits int[])
RETURNS SETOF uuid LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {s}.calls WHERE worker = of_worker AND id <> ALL (ids);
    IF EXISTS (SELECT unnest(ids) EXCEPT SELECT id FROM {s}.calls) THEN
        PERFORM pg_advisory_xact_lock(hashtext('{n}.calls'));
        INSERT INTO {s}.calls (id, worker, model, at_most)
            SELECT new.id, of_worker, new.model, new.at_most
            FROM unnest(ids, models, limits) WITH ORDINALITY AS new (id, model, at_most, n)
            ORDER BY new.n
            ON CONFLICT DO NOTHING;
    END IF;
    RETURN QUERY SELECT mine.id FROM {s}.calls AS mine WHERE worker = of_worker
        AND at_most > (
            SELECT count(*) FROM {s}.calls AS before
            WHERE before.model = mine.model AND before.place < mine.place
        );
END $$;
"""
_PARDONS = "ALTER TABLE {s}.turns ADD COLUMN pardons int NOT NULL DEFAULT 0;"
_FUNCTIONS = """
ALTER TABLE {s}.turns RENAME COLUMN pardons TO discounted;

CREATE OR REPLACE FUNCTION {s}.submit_turn(
    of_session bytea, of_user_key bytea, of_run bytea, of_graph text, new_submission bytea,
    new_digest bytea, begins boolean, at_most int,
    OUT outcome text, OUT id bigint, OUT bundle text, OUT number int, OUT partition text,
    OUT run text
) LANGUAGE plpgsql AS $$
DECLARE
    last {s}.turns;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(encode(of_session, 'hex'), 0));
    SELECT * INTO last FROM {s}.turns AS t WHERE t.session = of_session AND t.run = of_run
        ORDER BY t.number DESC LIMIT 1;
    IF FOUND AND (begins OR last.state IN ('queued', 'running')) THEN
        IF begins THEN
            SELECT t.digest INTO last.digest FROM {s}.turns AS t
                WHERE t.session = of_session AND t.run = of_run AND t.first_event = 0
                ORDER BY t.id LIMIT 1;
        END IF;
        outcome := CASE WHEN coalesce(last.digest, new_digest) = new_digest
            THEN 'known' ELSE 'other' END;
        id := last.id;
        RETURN;
    END IF;
    IF (SELECT count(*) FROM (SELECT FROM {s}.turns AS t WHERE t.state = 'queued' LIMIT at_most)
        AS waiting) >= at_most
    THEN
        outcome := 'full';
        RETURN;
    END IF;
    SELECT t.bundle INTO bundle FROM {s}.turns AS t
        WHERE t.session = of_session AND t.state IN ('queued', 'running')
        ORDER BY t.id DESC LIMIT 1;
    IF FOUND THEN
        IF NOT EXISTS (
            SELECT FROM {s}.bundles AS b WHERE b.id = bundle AND of_graph = ANY (b.graphs)
        ) THEN
            outcome := 'elsewhere';
            RETURN;
        END IF;
    ELSE
        SELECT b.id INTO bundle FROM {s}.bundles AS b
            WHERE of_graph = ANY (b.graphs)
            ORDER BY {s}.is_live(b.id) DESC, b.id IS NOT DISTINCT FROM last.bundle DESC,
                b.released DESC LIMIT 1;
        IF NOT FOUND THEN
            outcome := 'unknown';
            RETURN;
        END IF;
    END IF;
    number := coalesce(last.number, 0) + 1;
    INSERT INTO {s}.turns AS t (session, user_key, run, number, graph, bundle, submission, digest,
            first_event, events)
        VALUES (of_session, of_user_key, of_run, number, of_graph, bundle, new_submission,
            new_digest, coalesce(last.events, 0), coalesce(last.events, 0))
        RETURNING t.id INTO id;
    outcome := 'new';
    partition := encode(of_session, 'hex');
    run := encode(of_run, 'hex');
END $$;

CREATE OR REPLACE FUNCTION {s}.retry_turn(
    of_turn bigint,
    OUT id bigint, OUT bundle text, OUT number int, OUT partition text, OUT run text
) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE {s}.turns AS t SET state = 'queued', attempts = 0, discounted = 0,
            execution = NULL, error = NULL, ended = NULL, is_cancelled = false, number = (
                SELECT max(o.number) + 1 FROM {s}.turns AS o
                WHERE o.session = t.session AND o.run = t.run
            )
        WHERE t.id = of_turn AND t.state = 'dead'
        RETURNING t.id, t.bundle, t.number, encode(t.session, 'hex'), encode(t.run, 'hex')
        INTO id, bundle, number, partition, run;
END $$;
"""
_EVENTS = """
CREATE OR REPLACE FUNCTION {s}.append_events(
    of_turn bigint, of_execution uuid, many int, new_batch bytea, goes_on boolean, OUT last bigint
) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE {s}.turns SET events = events + many,
            attempts = CASE WHEN goes_on THEN 1 ELSE attempts END
        WHERE id = of_turn AND execution = of_execution AND state = 'running'
        RETURNING events INTO last;
    IF FOUND THEN
        INSERT INTO {s}.events VALUES (of_turn, last, new_batch);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION {s}.end_turn(
    of_turn bigint, of_execution uuid, new_state text, new_outcome text, new_error bytea,
    OUT was_ours boolean
) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE {s}.turns SET state = new_state, outcome = new_outcome, error = new_error,
            submission = CASE WHEN new_outcome IS NULL THEN submission ELSE '' END,
            ended = now(), executor = NULL
        WHERE id = of_turn AND execution IS NOT DISTINCT FROM of_execution
            AND state IN ('queued', 'running');
    was_ours := FOUND;
END $$;
"""
_MIGRATIONS = tuple(
    text.replace("{n}", SCHEMA).replace("{store}", STORE_SCHEMA).replace("{calls}", str(CALLS))
    for text in (_TABLES, _CALLS, _PARDONS, _FUNCTIONS, _EVENTS)
)


async def migrate_turns(connection: Connection, schema: str) -> None:
    """Bring the schema to the newest version; the store's own must be there."""
    await migrate_schema(connection, schema, _MIGRATIONS, lock=_LOCK)
