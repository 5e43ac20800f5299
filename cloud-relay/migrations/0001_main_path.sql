-- What a node has sent, per lane and epoch. Updated in the transaction that fills the outbox, so that a batch sent
-- twice cannot be stored twice.
CREATE TABLE lane_head (
    tenant text NOT NULL,
    node text NOT NULL,
    lane text NOT NULL,
    epoch uuid NOT NULL,
    seq bigint NOT NULL,
    chain bytea NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, node, lane, epoch)
);

-- Which head each epoch continues: two children of one parent are a clone.
CREATE TABLE epoch (
    tenant text NOT NULL,
    node text NOT NULL,
    lane text NOT NULL,
    epoch uuid NOT NULL,
    parent_epoch uuid NOT NULL,
    parent_seq bigint NOT NULL,
    parent_chain bytea NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, node, lane, epoch)
);
CREATE UNIQUE INDEX epoch_one_child ON epoch (tenant, node, lane, parent_epoch, parent_seq);

CREATE TABLE gap (
    tenant text NOT NULL,
    node text NOT NULL,
    lane text NOT NULL,
    epoch uuid NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (tenant, node, lane, epoch, first_seq)
);

-- Accepted, not yet in event_store and Kafka. A row goes only after both.
CREATE TABLE outbox (
    outbox_id uuid PRIMARY KEY,
    pos bigint GENERATED ALWAYS AS IDENTITY,
    created_at timestamptz NOT NULL DEFAULT now(),
    event_payload jsonb NOT NULL,
    retry_count int NOT NULL DEFAULT 0,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    aggregate_id text NOT NULL,
    "timestamp" timestamptz NOT NULL,
    metadata jsonb NOT NULL,
    tenant text NOT NULL,
    site text NOT NULL,
    node text NOT NULL,
    epoch uuid NOT NULL,
    lane text NOT NULL,
    seq bigint NOT NULL,
    ingested_at timestamptz NOT NULL
);
CREATE INDEX outbox_lane ON outbox (tenant, node, lane, pos);
-- A queue: without eager vacuum the reader walks dead rows.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
                        autovacuum_vacuum_cost_delay = 0);

CREATE TABLE event_store (
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    aggregate_id text NOT NULL,
    "timestamp" timestamptz NOT NULL,
    payload jsonb NOT NULL,
    metadata jsonb NOT NULL,
    tenant text NOT NULL,
    site text NOT NULL,
    node text NOT NULL,
    epoch uuid NOT NULL,
    lane text NOT NULL,
    seq bigint NOT NULL,
    ingested_at timestamptz NOT NULL,
    UNIQUE (event_id, ingested_at)
) PARTITION BY RANGE (ingested_at);
CREATE TABLE event_store_default PARTITION OF event_store DEFAULT;
CREATE INDEX event_store_time ON event_store (ingested_at, event_id);
CREATE INDEX event_store_type ON event_store (event_type, ingested_at);

CREATE FUNCTION event_store_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'event_store is append-only: retention drops partitions';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON event_store
    FOR EACH ROW EXECUTE FUNCTION event_store_is_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON event_store
    FOR EACH STATEMENT EXECUTE FUNCTION event_store_is_append_only();

CREATE TABLE dead_letters (
    dlq_id uuid PRIMARY KEY,
    consumer text NOT NULL,
    event_id uuid,
    event_payload jsonb NOT NULL,
    error_message text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now(),
    retry_count int NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'replayed', 'discarded'))
);

-- Where each consumer stands; written in the transaction of its effect.
CREATE TABLE consumer_offset (
    consumer text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (consumer, topic, partition)
);

-- Projection: the newest sample of each vehicle.
CREATE TABLE vehicle_latest (
    tenant text NOT NULL,
    node text NOT NULL,
    vehicle text NOT NULL,
    mode bigint NOT NULL,
    armed boolean NOT NULL,
    lat_deg double precision,
    lon_deg double precision,
    speed_mps double precision,
    battery_pct int,
    "timestamp" timestamptz NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (tenant, node, vehicle)
);
