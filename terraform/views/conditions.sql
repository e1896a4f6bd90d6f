-- What each rule holds against each number, where it was written and wherever a limit began or ended on it: `held`, NULL where
-- nothing. A run of one `held` is a segment, which begins where `begins` is 1.
WITH flips AS (
  -- An HPA whose reference comes to find its Deployment, or does not any more, while its numbers stand: no change, but what
  -- is held against it begins or ends.
  SELECT * FROM (
    SELECT *, LAG(effective) OVER life_order AS was_effective, LAG(target) OVER life_order AS was_target
    FROM ${dataset}.ordered_writes
    WHERE object_kind = 'HorizontalPodAutoscaler' AND (outcome = 'stored' AND replicas IS NOT NULL OR outcome = 'observed' AND target = '')
    WINDOW life_order AS (PARTITION BY object_id, life ORDER BY position)
  ) AS followed
  WHERE effective <> was_effective AND target = was_target
),
standing AS (
  SELECT *, LEAD(effective_time) OVER (PARTITION BY object_id ORDER BY position) AS replaced_at
  FROM ${dataset}.replica_changes
),
steps AS (
  SELECT project_id, location, cluster_name, namespace, deployment_name, object_kind, object_name, object_uid, object_version,
    event_id, write_id, event_time, effective_time, life, position, 0 AS step, operation, replicas, touched, effective, outside_range,
    actor, on_behalf_of, route, in_scope, verdict, cluster_id, object_id
  FROM standing
  UNION ALL
  SELECT standing.project_id, standing.location, standing.cluster_name, standing.namespace, standing.deployment_name,
    standing.object_kind, standing.object_name, standing.object_uid, flips.object_version, flips.event_id, flips.write_id,
    flips.event_time, flips.effective_time, standing.life, standing.position, flips.position, flips.operation,
    standing.replicas, flips.touched, flips.effective, standing.outside_range, flips.actor, flips.on_behalf_of, flips.route,
    standing.in_scope, standing.verdict, standing.cluster_id, standing.object_id
  FROM flips
  JOIN standing
    ON standing.object_id = flips.object_id AND standing.life = flips.life AND standing.deployment_name = flips.target
    AND standing.replicas = flips.replicas AND standing.write_id <> flips.write_id
    AND standing.effective_time <= flips.effective_time
    AND (standing.replaced_at IS NULL OR flips.effective_time < standing.replaced_at)
),
changes AS (
  SELECT *, LEAD(effective_time) OVER (PARTITION BY object_id ORDER BY position, step) AS next_time
  FROM steps
),
turns AS (
  SELECT DISTINCT cluster_id, namespace, deployment_name, CASE WHEN sides.ends = 1 THEN ends_at ELSE begins_at END AS turns_at
  FROM ${dataset}.limits_in_force
  CROSS JOIN (SELECT 0 AS ends UNION ALL SELECT 1) AS sides
  WHERE sides.ends = 0 OR ends_at IS NOT NULL
),
points AS (
  -- Each change, and each limit that begins or ends while its number stands.
  SELECT changes.*, COALESCE(turns.turns_at, changes.event_time) AS alert_time, sides.is_turn = 0 AS is_write
  FROM changes
  CROSS JOIN (SELECT 0 AS is_turn UNION ALL SELECT 1) AS sides
  LEFT JOIN turns
    ON turns.cluster_id = changes.cluster_id AND turns.namespace = changes.namespace
    AND turns.deployment_name = changes.deployment_name AND sides.is_turn = 1
    AND turns.turns_at > changes.effective_time AND turns.turns_at <= ${now}
    AND (changes.next_time IS NULL OR turns.turns_at < changes.next_time)
    AND changes.verdict <> 'removed' AND changes.replicas IS NOT NULL
  -- What is out of scope ends the number before it, and is held against nothing.
  WHERE changes.in_scope AND (sides.is_turn = 0 OR turns.turns_at IS NOT NULL)
),
judged AS (
  SELECT points.*, limits.limit_id AS point_limit_id, limits.max_replicas AS point_max,
    limits.initial_max_replicas AS point_initial,
    points.verdict <> 'removed' AND points.replicas IS NOT NULL AND points.deployment_name IS NOT NULL AND points.effective AS counts,
    COALESCE(points.replicas > limits.max_replicas, FALSE) AS is_over
  FROM points
  LEFT JOIN ${dataset}.limits_in_force AS limits
    ON limits.cluster_id = points.cluster_id AND limits.namespace = points.namespace
    AND limits.deployment_name = points.deployment_name AND limits.begins_at <= points.alert_time
    AND (limits.ends_at IS NULL OR points.alert_time < limits.ends_at)
),
held_against AS (
  -- What each rule holds against each point. A run holds one text.
  SELECT judged.*, rules.alert_type,
    CASE rules.alert_type
      WHEN 'over_limit' THEN
        CASE WHEN counts AND is_over THEN CAST(replicas AS ${text}) || '/' || CAST(point_max AS ${text}) END
      WHEN 'outside_platform_range' THEN
        CASE WHEN counts AND outside_range AND NOT is_over THEN CAST(replicas AS ${text}) END
      WHEN 'unregistered' THEN CASE WHEN counts AND point_limit_id IS NULL THEN 'unregistered' END
      WHEN 'over_initial' THEN
        CASE WHEN counts AND replicas > point_initial AND NOT is_over
          THEN CAST(replicas AS ${text}) || '/' || CAST(point_initial AS ${text}) END
      WHEN 'unknown_value' THEN CASE WHEN verdict = 'unknown_value' THEN 'unknown' END
      ELSE
        CASE WHEN is_write AND touched AND route IN ('bypass', 'unknown') AND verdict NOT IN ('over_limit', 'removed')
          AND operation NOT IN ('delete', 'delete_collection') THEN write_id END
    END AS held
  FROM judged
  CROSS JOIN (
    SELECT 'over_limit' AS alert_type UNION ALL SELECT 'outside_platform_range' UNION ALL SELECT 'unregistered'
    UNION ALL SELECT 'over_initial' UNION ALL SELECT 'unknown_value' UNION ALL SELECT 'bypass'
  ) AS rules
),
compared AS (
  SELECT *,
    ROW_NUMBER() OVER (
      PARTITION BY alert_type, object_id, life ORDER BY position, step, alert_time, CASE WHEN is_write THEN 0 ELSE 1 END) AS point
  FROM held_against
),
begun AS (
  SELECT *,
    CASE WHEN held IS NOT NULL AND held <> COALESCE(LAG(held) OVER (
      PARTITION BY alert_type, object_id, life ORDER BY point), '') THEN 1 ELSE 0 END AS begins
  FROM compared
)
SELECT
  alert_type, held, begins,
  CAST(life AS ${text}) || '/' || CAST(SUM(begins) OVER (
    PARTITION BY alert_type, object_id, life ORDER BY point ROWS UNBOUNDED PRECEDING) AS ${text}) AS segment,
  point, is_write, alert_time, event_time, effective_time, next_time, project_id, location, cluster_name, namespace,
  deployment_name, object_kind, object_name, object_uid, object_version, object_id, life, event_id, write_id, touched, replicas,
  point_max AS limit_max_replicas, point_initial AS limit_initial_max_replicas, point_limit_id AS limit_id, actor,
  on_behalf_of, route
FROM begun
