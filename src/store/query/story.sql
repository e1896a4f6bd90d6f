-- What happened to each object in a span of time, with what stood when its first day began. What is carried in as settled and
-- is stored as a change as well is told once. Names hold no spaces.
SELECT * FROM (
  SELECT event_id, write_id, shown_write, event_time, effective_time, project_id, location, cluster_name, namespace,
    deployment_name, object_kind, object_name, object_uid, object_version, position, arrives, removes, operation,
    previous_replicas, replicas, previous_min_replicas, min_replicas, missed_writes, replicas_source, actor, on_behalf_of,
    actor_kind, route, touched, effective, in_scope, outside_range, cluster_id, object_id, ingested_at,
    CASE WHEN carried = 'closed' THEN 1 ELSE 2 END AS source
  FROM ${dataset}.ordered_changes
  WHERE NOT (COALESCE(carried, 'open') = 'settled'
    AND object_id || ' ' || shown_write || ' ' || CAST(arrives AS ${text}) IN (
      SELECT stored.object_id || ' ' || stored.shown_write || ' ' || CAST(stored.arrives AS ${text})
      FROM (SELECT * FROM ${dataset}.ordered_changes WHERE carried = 'closed') AS stored))
  UNION ALL
  -- Unless what came behind it tells otherwise.
  SELECT COALESCE(days.set_event_id, ''), COALESCE(days.set_event_id, ''), 'state/' || days.day_id, days.set_at, days.set_at,
    days.project_id, days.location, days.cluster_name, days.namespace, days.deployment_name, days.object_kind,
    days.object_name, days.object_uid, NULL, 0, 1, FALSE, 'update',
    NULL, days.replicas, NULL, days.min_replicas, 0, NULL, COALESCE(days.set_actor, ''), days.set_on_behalf_of,
    'unknown', COALESCE(days.set_route, 'unknown'), NULL, COALESCE(days.effective, TRUE), COALESCE(days.set_in_scope, days.in_scope),
    COALESCE(days.outside_range, FALSE), days.cluster_id,
    days.cluster_id || '/' || days.namespace || '/' || days.object_kind || '/' || days.object_name, days.set_at, 0
  FROM (
    SELECT * FROM (
      SELECT *, ROW_NUMBER() OVER (PARTITION BY day_id ORDER BY `date`) AS copy
      FROM (SELECT * FROM ${dataset}.object_days WHERE FALSE) AS stored
    ) AS copies
    WHERE copy = 1
  ) AS days
  WHERE days.state <> 'gone' AND days.set_at IS NOT NULL AND COALESCE(days.set_event_id, '') NOT IN (
    SELECT carried_in.event_id FROM (SELECT * FROM ${dataset}.carried_writes WHERE FALSE) AS carried_in WHERE carried_in.carried = 'open')
) AS known
WHERE effective_time < @story_until
