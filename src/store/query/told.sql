changed AS (
  -- What the order makes of each write, in one text.
  SELECT object_id, shown_write AS write_id,
    COALESCE(MAX(CASE WHEN arrives = 0 THEN what END), '') || '|' || COALESCE(MAX(CASE WHEN arrives = 1 THEN what END), '') AS told
  FROM (
    SELECT object_id, shown_write, arrives,
      write_id || '/' || CAST(MICROS_OF(effective_time) AS ${text}) || '/' || COALESCE(CAST(previous_replicas AS ${text}), '')
        || '/' || COALESCE(CAST(replicas AS ${text}), '') || '/' || COALESCE(CAST(min_replicas AS ${text}), '')
        || '/' || CAST(missed_writes AS ${text}) || CASE WHEN effective THEN '' ELSE '/inert' END AS what
    FROM ${dataset}.ordered_changes
    WHERE NOT is_end
  ) AS changes
  GROUP BY object_id, shown_write
),
ended AS (
  SELECT object_id, life, write_id || '/' || CAST(MICROS_OF(event_time) AS ${text}) AS told_end FROM ${dataset}.ends
),
