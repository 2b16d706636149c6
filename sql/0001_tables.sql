-- weir's own tables. Times are microseconds since 1970-01-01 UTC.

CREATE TABLE weir_meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How far each pipeline's committed results go.
CREATE TABLE weir_pipelines (
    pipeline TEXT PRIMARY KEY,
    watermark INTEGER,           -- event time up to which all windows are in their tables
    position INTEGER NOT NULL,   -- of the log entry up to which results are in their tables
    committed INTEGER NOT NULL   -- wall clock of that commit
) STRICT, WITHOUT ROWID;

-- The result tables that weir made.
CREATE TABLE weir_tables (
    name TEXT COLLATE NOCASE PRIMARY KEY,
    pipeline TEXT NOT NULL,
    window_us INTEGER NOT NULL,
    retain_us INTEGER            -- NULL: for ever
) STRICT, WITHOUT ROWID;

CREATE TABLE weir_columns (
    table_name TEXT COLLATE NOCASE NOT NULL,
    name TEXT COLLATE NOCASE NOT NULL,
    type TEXT NOT NULL,          -- int, float, bool, string, time
    key INTEGER NOT NULL,        -- 1, 2, ...: place in the primary key; 0: an output
    help TEXT NOT NULL,
    PRIMARY KEY (table_name, name)
) STRICT, WITHOUT ROWID;
