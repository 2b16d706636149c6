INSERT OR REPLACE INTO weir_bookmarks (stream, source, bookmark) VALUES (?1, ?2, ?3)
