-- The changes of days that are closed, and of what came behind them. Writes that are carried in as open are judged by what
-- came behind them, whatever was stored of them; those that are settled stand as they are stored.
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
  stored.event_id, stored.write_id, stored.shown_write, stored.event_time, stored.effective_time, stored.project_id,
  stored.location, stored.cluster_name, stored.namespace, stored.deployment_name, stored.object_kind, stored.object_name,
  stored.object_uid, stored.object_version, NULL, 0, stored.position, stored.arrives, stored.removes,
  stored.operation, stored.previous_replicas, stored.replicas, stored.previous_min_replicas, stored.min_replicas,
  stored.missed_writes, stored.replicas_source, stored.actor, stored.on_behalf_of, stored.actor_kind, stored.route,
  stored.touched, stored.effective, stored.in_scope, stored.outside_range, stored.cluster_id, stored.object_id,
  stored.removes AND stored.arrives = 1, 'closed', stored.ingested_at
FROM stored
LEFT JOIN (SELECT DISTINCT object_id, write_id FROM open_writes) AS judged_again
  ON judged_again.object_id = stored.object_id AND judged_again.write_id = stored.shown_write
-- The end of a life that may go on.
LEFT JOIN (SELECT DISTINCT object_id, uid FROM open_writes) AS going_on
  ON going_on.object_id = stored.object_id AND going_on.uid = COALESCE(stored.object_uid, '')
  AND stored.removes AND stored.arrives = 1
WHERE judged_again.write_id IS NULL AND going_on.object_id IS NULL
