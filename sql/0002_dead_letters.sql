-- Records that were rejected, the newest `dead_letters` of each stream.
CREATE TABLE weir_dead_letters (
    stream TEXT NOT NULL,
    number INTEGER NOT NULL,     -- 1, 2, 3, ... of the stream
    received INTEGER NOT NULL,   -- wall clock
    source TEXT NOT NULL,        -- as the producer named itself; '': it did not
    line INTEGER NOT NULL,       -- in the request, or the file
    "column" INTEGER NOT NULL,   -- byte in the line; 0: the whole record
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    record TEXT,                 -- the first 4096 bytes; NULL: there are none
    escaped INTEGER NOT NULL,    -- 1: \xNN in record is a byte that is not part of UTF-8, or zero;
                                 -- \\ is a backslash. 0: the record as it is
    truncated INTEGER NOT NULL,  -- 1: the record is longer
    PRIMARY KEY (stream, number)
) STRICT, WITHOUT ROWID;
