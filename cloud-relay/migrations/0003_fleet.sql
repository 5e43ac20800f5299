-- Tokens that let a box become a node. The secret is printed once and kept nowhere: only its SHA-256 is here.
CREATE TABLE enrol_token (
    secret_hash bytea PRIMARY KEY,
    tenant text NOT NULL,
    site text NOT NULL,
    node text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    -- The key that it was used for: the same box may ask again when an answer was lost, no other may.
    public_key bytea,
    used_at timestamptz
);

-- Every certificate that nodes hold. One that is not here was signed before this database was restored from a backup.
CREATE TABLE node_certificate (
    serial bytea PRIMARY KEY,
    tenant text NOT NULL,
    site text NOT NULL,
    node text NOT NULL,
    public_key bytea NOT NULL,
    not_after timestamptz NOT NULL,
    why text NOT NULL CHECK (why IN ('token', 'renewal', 'approval', 'seen')),
    issued_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    revoked_by text
);
CREATE INDEX node_certificate_node ON node_certificate (tenant, node);

-- Since when a node's older certificates are refused, also those that this database, restored, knows nothing of.
-- Milliseconds of the relay's clock, as in the serial numbers (UUIDv7).
CREATE TABLE node_revocation (
    tenant text NOT NULL,
    node text NOT NULL,
    before_ms bigint NOT NULL,
    PRIMARY KEY (tenant, node)
);

-- Nodes whose certificate has expired and who ask, signed with the old key, for a new one.
CREATE TABLE renewal_request (
    tenant text NOT NULL,
    site text NOT NULL,
    node text NOT NULL,
    public_key bytea NOT NULL,
    old_serial bytea NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    approved_at timestamptz,
    approved_by text,
    PRIMARY KEY (tenant, node, public_key)
);

-- Lane heads signed by nodes: kept for ever, so that what a node once vouched for can be held against a later history.
CREATE TABLE head_log (
    tenant text NOT NULL,
    node text NOT NULL,
    lane text NOT NULL,
    epoch uuid NOT NULL,
    seq bigint NOT NULL,
    chain bytea NOT NULL,
    signature bytea NOT NULL,
    public_key bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, node, lane, epoch, seq, public_key)
);
