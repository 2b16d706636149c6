INSERT INTO weir_columns (table_name, name, type, key, help)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (table_name, name) DO UPDATE SET help = excluded.help
