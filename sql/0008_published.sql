-- How far result tables were published to Kafka; there stands the same, or more.
CREATE TABLE weir_published (
    table_name TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    since INTEGER NOT NULL,      -- of which numbering: when the table began to be followed
    position INTEGER NOT NULL,   -- of the last change that is there, or a later one is
    writer TEXT NOT NULL,        -- the run of a server that has published last; '': none has
    bound INTEGER                -- the last change when the next one began; NULL: it has not
) STRICT, WITHOUT ROWID;
