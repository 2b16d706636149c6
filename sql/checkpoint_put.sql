INSERT INTO weir_checkpoints
    (pipeline, stream, position, definition, marks, groups, stored)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (pipeline) DO UPDATE
SET stream = excluded.stream,
    position = excluded.position,
    definition = excluded.definition,
    marks = excluded.marks,
    groups = excluded.groups,
    stored = excluded.stored
