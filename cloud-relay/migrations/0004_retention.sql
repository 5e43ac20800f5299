-- How far retention has gone: events and batches received before this are gone.
CREATE TABLE retention (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    dropped_before timestamptz NOT NULL
);
