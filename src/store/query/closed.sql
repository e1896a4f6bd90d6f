-- The changes of days that are closed, and of what came behind them. Writes that are carried in as open are judged by what
-- came behind them, whatever was stored of them; those that are settled stand as they are stored. Names hold no spaces.
WITH open_writes AS (
  SELECT object_id, write_id, COALESCE(object_uid, MAX(object_uid) OVER (PARTITION BY object_id), '') AS uid
  FROM (SELECT * FROM ${dataset}.carried_writes WHERE FALSE) AS known
  WHERE carried = 'open'
),
stored AS (
  SELECT * FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY change_id ORDER BY ingested_at) AS copy
    FROM ${dataset}.closed_changes WHERE FALSE
  ) AS copies
  WHERE copy = 1
)
SELECT
  event_id, write_id, shown_write, event_time, effective_time, project_id, location, cluster_name, namespace,
  deployment_name, object_kind, object_name, object_uid, object_version, generation, life, position, arrives, removes,
  operation, previous_replicas, replicas, previous_min_replicas, min_replicas, missed_writes, replicas_source, actor,
  on_behalf_of, actor_kind, route, touched, effective, in_scope, outside_range, cluster_id, object_id, is_end, carried,
  ingested_at
FROM (
${evaluated}
) AS evaluated
WHERE COALESCE(carried, 'open') = 'open'
UNION ALL
SELECT
  event_id, write_id, shown_write, event_time, effective_time, project_id, location, cluster_name, namespace,
  deployment_name, object_kind, object_name, object_uid, object_version, NULL, 0, position, arrives, removes, operation,
  previous_replicas, replicas, previous_min_replicas, min_replicas, missed_writes, replicas_source, actor, on_behalf_of,
  actor_kind, route, touched, effective, in_scope, outside_range, cluster_id, object_id, removes AND arrives = 1, 'closed',
  ingested_at
FROM stored
WHERE object_id || ' ' || shown_write NOT IN (SELECT open_writes.object_id || ' ' || open_writes.write_id FROM open_writes)
  -- The end of a life that may go on.
  AND NOT (removes AND arrives = 1
    AND object_id || ' ' || COALESCE(object_uid, '') IN (
      SELECT open_writes.object_id || ' ' || open_writes.uid FROM open_writes))
