-- What each rule holds against each number (`held`), where it was written and wherever a limit began or ended on it. A run of one
-- `held` is a segment, which begins where `begins` is 1.
WITH changes AS (
  SELECT *, LEAD(effective_time) OVER (PARTITION BY object_id ORDER BY position) AS next_time
  FROM ${dataset}.judged_changes
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
  SELECT judged.*,
    CASE WHEN counts AND is_over THEN CAST(replicas AS ${text}) || '/' || CAST(point_max AS ${text}) END AS over_limit,
    CASE WHEN counts AND outside_range AND NOT is_over THEN CAST(replicas AS ${text}) END AS outside_platform_range,
    CASE WHEN counts AND point_limit_id IS NULL THEN 'unregistered' END AS unregistered,
    CASE WHEN counts AND replicas > point_initial AND NOT is_over
      THEN CAST(replicas AS ${text}) || '/' || CAST(point_initial AS ${text}) END AS over_initial,
    CASE WHEN verdict = 'unknown_value' THEN 'unknown' END AS unknown_value,
    CASE WHEN is_write AND touched AND route IN ('bypass', 'unknown') AND verdict NOT IN ('over_limit', 'removed')
      AND operation NOT IN ('delete', 'delete_collection') THEN write_id END AS bypass
  FROM judged
),
compared AS (
  SELECT *,
    ROW_NUMBER() OVER points_of AS point,
    CASE WHEN over_limit <> COALESCE(LAG(over_limit) OVER points_of, '') THEN 1 ELSE 0 END AS begins_over_limit,
    CASE WHEN outside_platform_range <> COALESCE(LAG(outside_platform_range) OVER points_of, '') THEN 1 ELSE 0 END AS begins_outside,
    CASE WHEN unregistered <> COALESCE(LAG(unregistered) OVER points_of, '') THEN 1 ELSE 0 END AS begins_unregistered,
    CASE WHEN over_initial <> COALESCE(LAG(over_initial) OVER points_of, '') THEN 1 ELSE 0 END AS begins_over_initial,
    CASE WHEN unknown_value <> COALESCE(LAG(unknown_value) OVER points_of, '') THEN 1 ELSE 0 END AS begins_unknown,
    CASE WHEN bypass <> COALESCE(LAG(bypass) OVER points_of, '') THEN 1 ELSE 0 END AS begins_bypass
  FROM held_against
  WINDOW points_of AS (
    PARTITION BY object_id, life ORDER BY position, alert_time, CASE WHEN is_write THEN 0 ELSE 1 END)
),
numbered AS (
  SELECT *,
    SUM(begins_over_limit) OVER so_far AS over_limits, SUM(begins_outside) OVER so_far AS outsides,
    SUM(begins_unregistered) OVER so_far AS unregistereds, SUM(begins_over_initial) OVER so_far AS over_initials,
    SUM(begins_unknown) OVER so_far AS unknowns, SUM(begins_bypass) OVER so_far AS bypasses
  FROM compared
  WINDOW so_far AS (PARTITION BY object_id, life ORDER BY point ROWS UNBOUNDED PRECEDING)
),
-- A row for each rule that holds something.
ruled AS (
  SELECT numbered.*, rules.alert_type,
    CASE rules.alert_type
      WHEN 'over_limit' THEN over_limit WHEN 'outside_platform_range' THEN outside_platform_range
      WHEN 'unregistered' THEN unregistered WHEN 'over_initial' THEN over_initial
      WHEN 'unknown_value' THEN unknown_value ELSE bypass END AS held,
    CASE rules.alert_type
      WHEN 'over_limit' THEN begins_over_limit WHEN 'outside_platform_range' THEN begins_outside
      WHEN 'unregistered' THEN begins_unregistered WHEN 'over_initial' THEN begins_over_initial
      WHEN 'unknown_value' THEN begins_unknown ELSE begins_bypass END AS begins,
    CASE rules.alert_type
      WHEN 'over_limit' THEN over_limits WHEN 'outside_platform_range' THEN outsides
      WHEN 'unregistered' THEN unregistereds WHEN 'over_initial' THEN over_initials
      WHEN 'unknown_value' THEN unknowns ELSE bypasses END AS run
  FROM numbered
  CROSS JOIN (
    SELECT 'over_limit' AS alert_type UNION ALL SELECT 'outside_platform_range' UNION ALL SELECT 'unregistered'
    UNION ALL SELECT 'over_initial' UNION ALL SELECT 'unknown_value' UNION ALL SELECT 'bypass'
  ) AS rules
  -- Most points are held against nothing.
  WHERE COALESCE(over_limit, outside_platform_range, unregistered, over_initial, unknown_value, bypass) IS NOT NULL
)
SELECT
  alert_type, held, begins, CAST(life AS ${text}) || '/' || CAST(run AS ${text}) AS segment,
  point, position, is_write, alert_time, event_time, effective_time, next_time, project_id, location, cluster_name, namespace,
  deployment_name, object_kind, object_name, object_uid, object_version, object_id, life, event_id, write_id, touched, replicas,
  point_max AS limit_max_replicas, point_initial AS limit_initial_max_replicas, point_limit_id AS limit_id, actor,
  on_behalf_of, route,
  -- It began before what is read, and was judged then.
  is_write AND COALESCE(carried, 'open') <> 'open' AS is_past
FROM ruled
WHERE held IS NOT NULL
