-- What a restart goes on from.

-- How far each pipeline's stored states go: the journal is read from the entry behind it.
CREATE TABLE weir_checkpoints (
    number INTEGER PRIMARY KEY,
    pipeline TEXT NOT NULL UNIQUE,
    stream TEXT NOT NULL,
    position INTEGER NOT NULL,   -- of the stream's last log entry that the states know
    definition TEXT NOT NULL,    -- what they are of: window, key, where, analyzers
    marks BLOB,                  -- watermark and sources; NULL: nothing seen yet
    groups INTEGER NOT NULL,     -- open ones
    stored INTEGER NOT NULL      -- wall clock
) STRICT;

-- The open groups of pipelines, many in a block.
CREATE TABLE weir_states (
    id INTEGER PRIMARY KEY,      -- number of the checkpoint << 40 | worker << 32 | block
    data BLOB NOT NULL
) STRICT;

-- How far the streams' keys of requests are stored.
CREATE TABLE weir_streams (
    stream TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Requests with an Idempotency-Key, and what they were answered.
CREATE TABLE weir_requests (
    stream TEXT NOT NULL,
    key TEXT NOT NULL,
    digest INTEGER NOT NULL,     -- of the body
    accepted INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    position INTEGER NOT NULL,   -- of the last log entry with events of the request
    errors TEXT,                 -- JSON
    taken INTEGER NOT NULL,      -- wall clock
    PRIMARY KEY (stream, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX weir_requests_taken ON weir_requests (stream, taken);
