-- How far sources were read that weir reads itself, as of weir_streams.position.
CREATE TABLE weir_bookmarks (
    stream TEXT NOT NULL,
    source TEXT NOT NULL,        -- path of a file; TOPIC/PARTITION
    bookmark TEXT NOT NULL,
    PRIMARY KEY (stream, source)
) STRICT, WITHOUT ROWID;
