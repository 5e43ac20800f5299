-- Messages to nodes, signed by the relay's authorities when they were made. A node asks for what comes behind the last
-- one it has kept.
CREATE TABLE downlink (
    tenant text NOT NULL,
    site text NOT NULL,
    node text NOT NULL,
    seq bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires_us bigint NOT NULL,
    content text NOT NULL,
    signatures text[] NOT NULL,
    -- When the node asked for what comes behind it.
    kept_at timestamptz,
    PRIMARY KEY (tenant, node, seq)
);
