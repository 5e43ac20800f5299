-- Every batch as it came, so that the chain can be proved later: JSONB cannot be hashed again.
CREATE TABLE batch_log (
    tenant text NOT NULL,
    node text NOT NULL,
    lane text NOT NULL,
    epoch uuid NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    dict_id int NOT NULL,
    body bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX batch_log_place ON batch_log (tenant, node, lane, epoch, first_seq);
CREATE INDEX batch_log_time ON batch_log (received_at);
-- Bodies are compressed already.
ALTER TABLE batch_log ALTER COLUMN body SET STORAGE EXTERNAL;

-- Histories that were refused: a clone, a restored image, a node begun anew. An operator adopts one.
CREATE TABLE fork (
    tenant text NOT NULL,
    node text NOT NULL,
    lane text NOT NULL,
    epoch uuid NOT NULL,
    parent_epoch uuid NOT NULL,
    parent_seq bigint NOT NULL,
    why text NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now(),
    adopted_at timestamptz,
    adopted_by text,
    PRIMARY KEY (tenant, node, lane, epoch)
);

-- Set when another history was adopted in its place: nothing is added to it any more.
ALTER TABLE lane_head ADD COLUMN closed_at timestamptz;

-- Two children of one parent are refused by the relay, unless an operator adopts the second.
DROP INDEX epoch_one_child;
CREATE INDEX epoch_parent ON epoch (tenant, node, lane, parent_epoch, parent_seq);
