-- What other services have answered (http_lookup) for entries of the log that no checkpoint has passed yet.
CREATE TABLE weir_answers (
    id INTEGER PRIMARY KEY,
    pipeline TEXT NOT NULL,
    last INTEGER NOT NULL,       -- log entries that it is of, joined on their way: the last,
    first INTEGER NOT NULL,      -- and the first
    data BLOB NOT NULL,
    UNIQUE (pipeline, last)
) STRICT;
