-- What webhooks have sent, and what they know.

-- How far each is in the changes of its table.
CREATE TABLE weir_hooks (
    pipeline TEXT NOT NULL,
    hook TEXT NOT NULL,
    table_name TEXT NOT NULL,
    since INTEGER NOT NULL,      -- of which numbering: when the table began to be followed
    position INTEGER NOT NULL,   -- of the last change that it is done with
    PRIMARY KEY (pipeline, hook)
) STRICT, WITHOUT ROWID;

-- Alerts: the keys for which the condition holds.
CREATE TABLE weir_hook_states (
    pipeline TEXT NOT NULL,
    hook TEXT NOT NULL,
    key TEXT NOT NULL,           -- JSON
    since INTEGER NOT NULL,      -- event time of the first row for which it did,
    last INTEGER NOT NULL,       -- and of the last,
    told INTEGER,                -- and of the one that was told of last; NULL: not yet
    PRIMARY KEY (pipeline, hook, key)
) STRICT, WITHOUT ROWID;

-- Alerts that were decided on and not delivered yet.
CREATE TABLE weir_hook_notices (
    pipeline TEXT NOT NULL,
    hook TEXT NOT NULL,
    seq INTEGER NOT NULL,        -- of the change that brought it
    key TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (pipeline, hook, seq)
) STRICT, WITHOUT ROWID;
