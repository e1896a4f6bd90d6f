-- How each Deployment stood at an instant: what it and its HPAs asked for, since when and by whom, and the limit then.
WITH known AS (
  SELECT object_id, cluster_id, project_id, location, cluster_name, namespace, deployment_name, object_kind, object_name, object_uid,
    removes, replicas, min_replicas, missed_writes, COALESCE(effective, TRUE) AS effective, COALESCE(in_scope, TRUE) AS in_scope,
    COALESCE(outside_range, FALSE) AS outside_range, effective_time, event_id, actor, on_behalf_of, route,
    CASE WHEN carried = 'closed' THEN 1 ELSE 2 END AS source, position
  FROM ${dataset}.ordered_changes
  WHERE effective_time <= @at
  UNION ALL
  -- What stood when the day began, unless what came behind it tells otherwise.
  SELECT days.cluster_id || '/' || days.namespace || '/' || days.object_kind || '/' || days.object_name, days.cluster_id,
    days.project_id, days.location, days.cluster_name, days.namespace, days.deployment_name, days.object_kind,
    days.object_name, days.object_uid, FALSE, days.replicas, days.min_replicas,
    COALESCE(days.set_missed_writes, 0), COALESCE(days.effective, TRUE), COALESCE(days.set_in_scope, days.in_scope),
    COALESCE(days.outside_range, FALSE), days.set_at, days.set_event_id, days.set_actor, days.set_on_behalf_of, days.set_route, 0, 0
  FROM (SELECT * FROM ${dataset}.object_days WHERE FALSE) AS days
  WHERE days.state <> 'gone' AND ${unless}
),
followed AS (
  SELECT *,
    LAG(replicas) OVER object_order AS replicas_before, LAG(removes) OVER object_order AS removed_before,
    LAG(object_uid) OVER object_order AS uid_before, LAG(deployment_name) OVER object_order AS name_before
  FROM known
  WINDOW object_order AS (PARTITION BY object_id ORDER BY effective_time, source, position)
),
runs AS (
  -- The same number again was set by whoever set it first.
  SELECT *, SUM(
    CASE WHEN NOT COALESCE(removed_before, TRUE) AND COALESCE(replicas_before, -1) = COALESCE(replicas, -1)
      AND COALESCE(uid_before, object_uid, '') = COALESCE(object_uid, uid_before, '')
      AND COALESCE(name_before, '') = COALESCE(deployment_name, '') THEN 0 ELSE 1 END
  ) OVER (PARTITION BY object_id ORDER BY effective_time, source, position ROWS UNBOUNDED PRECEDING) AS run
  FROM followed
),
aged AS (
  SELECT *,
    FIRST_VALUE(effective_time) OVER run_order AS set_at, FIRST_VALUE(event_id) OVER run_order AS set_event_id,
    FIRST_VALUE(actor) OVER run_order AS set_actor, FIRST_VALUE(on_behalf_of) OVER run_order AS set_on_behalf_of,
    ROW_NUMBER() OVER (PARTITION BY object_id ORDER BY effective_time DESC, source DESC, position DESC) AS age
  FROM runs
  WINDOW run_order AS (PARTITION BY object_id, run ORDER BY effective_time, source, position)
),
latest AS (
  SELECT * FROM aged WHERE age = 1 AND NOT removes AND deployment_name IS NOT NULL
),
judged AS (
  SELECT latest.*, limits.limit_id, limits.version_id, limits.max_replicas AS limit_max_replicas,
    limits.initial_max_replicas AS limit_initial_max_replicas, limits.begins_at AS limit_since,
    COALESCE(effective AND in_scope AND latest.replicas > limits.max_replicas, FALSE) AS is_over,
    CASE WHEN limits.begins_at > latest.set_at THEN limits.begins_at ELSE latest.set_at END AS stands_since
  FROM latest
  LEFT JOIN ${dataset}.limits_in_force AS limits
    ON limits.cluster_id = latest.cluster_id AND limits.namespace = latest.namespace
    AND limits.deployment_name = latest.deployment_name AND limits.begins_at <= @at
    AND (limits.ends_at IS NULL OR @at < limits.ends_at)
),
ranked AS (
  -- Of several HPAs the highest counts.
  SELECT *, ROW_NUMBER() OVER (
    PARTITION BY cluster_id, namespace, deployment_name, object_kind
    ORDER BY CASE WHEN effective THEN 0 ELSE 1 END, COALESCE(replicas, -1) DESC, object_name) AS rank
  FROM judged
),
together AS (
  SELECT cluster_id, project_id, location, cluster_name, namespace, deployment_name,
    MAX(CASE WHEN object_kind = 'Deployment' THEN 1 ELSE 0 END) AS is_there,
    MAX(CASE WHEN object_kind = 'Deployment' THEN replicas END) AS replicas,
    MAX(CASE WHEN object_kind = 'Deployment' THEN set_at END) AS since,
    MAX(CASE WHEN object_kind = 'Deployment' THEN set_actor END) AS actor,
    MAX(CASE WHEN object_kind = 'Deployment' THEN set_on_behalf_of END) AS on_behalf_of,
    MAX(CASE WHEN object_kind = 'Deployment' THEN set_event_id END) AS event_id,
    MAX(CASE WHEN object_kind <> 'Deployment' AND effective THEN replicas END) AS hpa_max_replicas,
    MAX(CASE WHEN object_kind <> 'Deployment' AND effective THEN object_name END) AS hpa_name,
    MAX(CASE WHEN object_kind <> 'Deployment' AND effective THEN set_at END) AS hpa_since,
    MAX(CASE WHEN object_kind <> 'Deployment' AND effective THEN set_actor END) AS hpa_actor,
    MAX(limit_id) AS limit_id, MAX(version_id) AS version_id, MAX(limit_max_replicas) AS limit_max_replicas,
    MAX(limit_initial_max_replicas) AS limit_initial_max_replicas, MAX(limit_since) AS limit_since,
    MAX(CASE WHEN is_over THEN 1 ELSE 0 END) AS breaches,
    MIN(CASE WHEN is_over THEN stands_since END) AS over_since,
    MAX(CASE WHEN outside_range AND effective THEN 1 ELSE 0 END) AS outside,
    MAX(CASE WHEN replicas IS NULL AND object_kind = 'Deployment' THEN 1 ELSE 0 END) AS unknown,
    MAX(CASE WHEN in_scope THEN 1 ELSE 0 END) AS scope, SUM(missed_writes) AS missed_writes
  FROM ranked
  WHERE rank = 1
  GROUP BY cluster_id, project_id, location, cluster_name, namespace, deployment_name
)
SELECT
  together.project_id, together.location, together.cluster_name, together.namespace, together.deployment_name,
  CASE WHEN is_there = 1 THEN together.replicas END AS replicas, together.since, together.actor, together.on_behalf_of, together.event_id,
  hpa_max_replicas, hpa_name, hpa_since, hpa_actor, limit_max_replicas, limit_initial_max_replicas, limit_id, limit_since,
  versions.user_id AS owner,
  CASE
    WHEN breaches = 1 THEN 'over_limit'
    WHEN unknown = 1 THEN 'unknown_value'
    WHEN limit_id IS NULL THEN 'unregistered'
    WHEN outside = 1 THEN 'outside_platform_range'
    ELSE 'within'
  END AS verdict,
  over_since, together.missed_writes, scope = 1 AS in_scope
FROM together
LEFT JOIN (
  SELECT config_id, MIN(user_id) AS user_id FROM ${dataset}.deployment_config GROUP BY config_id
) AS versions ON versions.config_id = together.version_id
