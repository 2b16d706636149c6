INSERT INTO weir_tables (name, pipeline, window_us, retain_us)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (name) DO UPDATE SET retain_us = excluded.retain_us
