DELETE FROM weir_requests
WHERE stream = ?1
  AND taken < max(?2, coalesce((SELECT taken FROM weir_requests WHERE stream = ?1
                                ORDER BY taken DESC LIMIT 1 OFFSET ?3 - 1), ?2))
