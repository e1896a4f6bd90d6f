-- The alerts: one row for each segment, a run of one number over one limit (or of one rule's condition), with its first
-- write, or the limit that began on a standing number, as the cause; and what was raised for it. `stands` is false for
-- what was raised and has no segment any more, because the order or a later version took its ground away.
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
conditions AS (
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
  FROM conditions
),
begun AS (
  SELECT *,
    CASE WHEN held IS NOT NULL AND held <> COALESCE(LAG(held) OVER (
      PARTITION BY alert_type, object_id, life ORDER BY point), '') THEN 1 ELSE 0 END AS begins
  FROM compared
),
numbered AS (
  SELECT *,
    CAST(life AS ${text}) || '/' || CAST(SUM(begins) OVER (
      PARTITION BY alert_type, object_id, life ORDER BY point ROWS UNBOUNDED PRECEDING) AS ${text}) AS segment
  FROM begun
),
unplaced AS (
  -- What has no place in an object's order: what may have removed something, and a create that nothing names.
  SELECT writes.*, rules.alert_type
  FROM ${dataset}.writes AS writes
  CROSS JOIN (SELECT 'unknown_removal' AS alert_type UNION ALL SELECT 'unknown_value' UNION ALL SELECT 'bypass') AS rules
  WHERE CASE
    WHEN operation IN ('delete', 'delete_collection')
      THEN alert_type = 'unknown_removal' AND object_state IS NULL AND object_kind <> 'Cluster'
    WHEN operation = 'create' AND object_name IS NULL AND outcome = 'stored'
      THEN alert_type = 'unknown_value' OR alert_type = 'bypass' AND route IN ('bypass', 'unknown')
    ELSE FALSE
  END
),
segments AS (
  SELECT
    alert_type, object_id, segment, alert_time, project_id, location, cluster_name, namespace, deployment_name,
    object_kind, object_name, object_uid, object_version, event_id, write_id, event_time, is_write, touched, replicas,
    point_max, point_initial, point_limit_id, actor, on_behalf_of, route
  FROM numbered
  WHERE begins = 1
  UNION ALL
  -- What has no place is a segment of its own.
  SELECT
    alert_type, object_id, write_id, event_time, project_id, location, cluster_name, namespace, deployment_name,
    object_kind, object_name, object_uid, object_version, event_id, write_id, event_time, TRUE, touched, replicas, NULL, NULL,
    NULL, actor, on_behalf_of, route
  FROM unplaced
  WHERE in_scope
),
raised AS (
  SELECT * FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY alert_id ORDER BY ingested_at, alert_time) AS copy
    FROM ${dataset}.alert_log
  ) AS copies
  WHERE copy = 1
),
about AS (
  -- What each was raised about: the write that it names, or the one that has the credit for the same version; and when:
  -- at that write, or when a limit began or ended on its number.
  SELECT raised.alert_id, MIN(ordered.object_id) AS object_id, MIN(ordered.life) AS life,
    MIN(ordered.effective_time) AS seen_at, MIN(ordered.write_id) AS write_id,
    MIN(CASE WHEN raised.alert_time = placed.event_time THEN ordered.event_time ELSE raised.alert_time END) AS about_time
  FROM raised
  JOIN ${dataset}.placed_writes AS placed ON placed.event_id = raised.event_id
  JOIN ${dataset}.ordered_writes AS ordered
    ON ordered.object_id = placed.object_id AND ordered.life = placed.life
    AND (ordered.write_id = placed.write_id OR ordered.version_rank = placed.version_rank)
  GROUP BY raised.alert_id
),
matching AS (
  SELECT raised.alert_id, numbered.object_id, numbered.segment,
    -- One number can be in several segments of a rule, because limits begin and end on it: the one that was there counts,
    -- else the nearest.
    ROW_NUMBER() OVER (
      PARTITION BY raised.alert_id
      ORDER BY CASE WHEN numbered.alert_time <= about.about_time THEN 0 ELSE 1 END,
        ABS(MICROS_OF(numbered.alert_time) - MICROS_OF(about.about_time)), numbered.point DESC) AS distance
  FROM raised
  JOIN about ON about.alert_id = raised.alert_id
  JOIN numbered
    ON numbered.object_id = about.object_id AND numbered.life = about.life
    AND numbered.alert_type = raised.alert_type AND numbered.held IS NOT NULL
    -- The number that it wrote, or found.
    AND (numbered.write_id = about.write_id
      OR numbered.effective_time <= about.seen_at AND (numbered.next_time IS NULL OR about.seen_at < numbered.next_time))
    AND CASE raised.alert_type
      WHEN 'over_limit' THEN numbered.replicas = raised.replicas AND numbered.point_max = raised.limit_max_replicas
      WHEN 'over_initial' THEN numbered.replicas = raised.replicas AND numbered.point_initial = raised.limit_initial_max_replicas
      WHEN 'outside_platform_range' THEN numbered.replicas = raised.replicas
      WHEN 'bypass' THEN numbered.write_id = about.write_id
      ELSE TRUE
    END
),
folded AS (
  SELECT alert_id, object_id, segment FROM matching WHERE distance = 1
  UNION ALL
  SELECT raised.alert_id, unplaced.object_id, unplaced.write_id
  FROM raised
  JOIN unplaced ON unplaced.event_id = raised.event_id AND unplaced.alert_type = raised.alert_type
),
told AS (
  -- The alert that was raised first speaks for its segment.
  SELECT * FROM (
    SELECT raised.alert_id, raised.alert_type, raised.severity, raised.message, folded.object_id, folded.segment,
      MIN(raised.ingested_at) OVER segment_alerts AS raised_at, COUNT(*) OVER segment_alerts AS raised,
      MAX(raised.alert_time) OVER segment_alerts AS last_time,
      ROW_NUMBER() OVER (
        PARTITION BY raised.alert_type, folded.object_id, folded.segment ORDER BY raised.alert_time, raised.alert_id) AS number
    FROM raised
    JOIN folded ON folded.alert_id = raised.alert_id
    WINDOW segment_alerts AS (PARTITION BY raised.alert_type, folded.object_id, folded.segment)
  ) AS counted
  WHERE number = 1
)
SELECT
  told.alert_id, segments.alert_time, segments.alert_type, told.severity, told.message, segments.project_id,
  segments.location, segments.cluster_name, segments.namespace, segments.deployment_name, segments.object_kind,
  segments.object_name, segments.object_uid, segments.object_version, segments.event_id, segments.write_id,
  segments.is_write, segments.touched, segments.replicas, segments.point_max AS limit_max_replicas,
  segments.point_initial AS limit_initial_max_replicas, segments.point_limit_id AS limit_id, segments.actor,
  segments.on_behalf_of, segments.route, told.raised_at, COALESCE(told.raised, 0) AS raised,
  COALESCE(told.last_time, segments.alert_time) AS last_time, TRUE AS stands,
  -- The name that the first release had for it.
  told.raised_at AS ingested_at
FROM segments
LEFT JOIN told
  ON told.alert_type = segments.alert_type AND told.object_id = segments.object_id AND told.segment = segments.segment
UNION ALL
SELECT
  raised.alert_id, raised.alert_time, raised.alert_type, raised.severity, raised.message, raised.project_id,
  raised.location, raised.cluster_name, raised.namespace, raised.deployment_name, NULL, NULL, NULL, NULL, raised.event_id,
  NULL, TRUE, NULL, raised.replicas, raised.limit_max_replicas, raised.limit_initial_max_replicas, raised.limit_id,
  raised.actor, raised.on_behalf_of, raised.route, raised.ingested_at, 1, raised.alert_time, FALSE,
  raised.ingested_at
FROM raised
LEFT JOIN folded ON folded.alert_id = raised.alert_id
WHERE folded.alert_id IS NULL
