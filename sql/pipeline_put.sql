INSERT INTO weir_pipelines (pipeline, watermark, position, committed)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (pipeline) DO UPDATE
SET watermark = excluded.watermark,
    position = coalesce(nullif(excluded.position, 0), position),
    committed = excluded.committed
