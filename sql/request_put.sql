INSERT OR REPLACE INTO weir_requests
    (stream, key, digest, accepted, rejected, position, errors, taken)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
