-- What changed something: each write that moved a watched number, with the number before it, in the order of the object's
-- lives and of the writes in them.
--
-- An HPA that comes to find its Deployment, or does not any more, changes what it asks for, while its numbers stand.
-- `effective_time` never runs backwards. `missed_writes` counts generations that no entry explains. An HPA that turns to
-- another Deployment ends at the one and begins at the other.
WITH told AS (
  -- What says a number, says that it is unknown, or may have been stored; and the end. What is compared stands here and no
  -- more: it is sorted many times.
  SELECT object_id, life, position, object_kind, operation, outcome, replicas, min_replicas, effective, target, touched,
    is_end, unexplained, may_explain, missed_so_far, effective_time,
    COUNT(CASE WHEN outcome <> 'uncertain' THEN position END) OVER (
      PARTITION BY object_id, life ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS known_before
  FROM ${dataset}.ordered_writes
  WHERE is_end OR outcome = 'stored' AND (replicas IS NOT NULL OR replicas_source = 'unknown')
    OR outcome = 'uncertain' AND replicas IS NOT NULL
    -- An HPA that aims at none of ours.
    OR outcome = 'observed' AND target = ''
),
called AS (
  -- Of the calls that timed out since the entry before, the last that asked for the number that this entry shows.
  SELECT *,
    LAG(outcome) OVER asked AS call_outcome, LAG(position) OVER asked AS call_position, LAG(operation) OVER asked AS call_operation
  FROM told
  WINDOW asked AS (PARTITION BY object_id, life, known_before, replicas ORDER BY position)
),
followed AS (
  SELECT *,
    LAG(position) OVER life_order AS previous_position, LAG(replicas) OVER life_order AS previous_number,
    LAG(min_replicas) OVER life_order AS previous_min, LAG(target) OVER life_order AS previous_target,
    LAG(missed_so_far) OVER life_order AS missed_before, LAG(effective) OVER life_order AS previous_effective
  FROM called
  WHERE outcome <> 'uncertain'
  WINDOW life_order AS (PARTITION BY object_id, life ORDER BY position)
),
credited AS (
  -- A call that timed out is credited with the number that the next entry shows, if that entry did not write it itself or
  -- a generation is left over for it.
  SELECT *,
    CASE WHEN NOT is_end AND call_outcome = 'uncertain'
      AND (NOT touched OR COALESCE(unexplained + may_explain, 0) > 0)
      AND (previous_number <> replicas OR previous_position IS NULL AND call_operation = 'create')
      THEN call_position ELSE position END AS by_position,
    CASE WHEN previous_position IS NULL OR is_end THEN 0 ELSE missed_so_far - COALESCE(missed_before, 0) END AS missed_writes,
    COALESCE(previous_target, target, '') = COALESCE(target, '') AS same_target
  FROM followed
),
moved AS (
  -- The one side of a write is the Deployment that an HPA turned away from, the other the one that it is about.
  SELECT object_id, position, by_position, effective_time, previous_position, previous_number, previous_min, previous_effective,
    replicas, min_replicas, effective, missed_writes, same_target, sides.arrives,
    CASE WHEN sides.arrives = 1 THEN target ELSE previous_target END AS deployment_name,
    CASE WHEN sides.arrives = 1 THEN is_end ELSE TRUE END AS removes,
    CASE WHEN sides.arrives = 0 OR same_target OR is_end THEN previous_number END AS previous_replicas,
    CASE WHEN sides.arrives = 0 OR same_target OR is_end THEN previous_min END AS previous_min_replicas
  FROM credited
  CROSS JOIN (SELECT 0 AS arrives UNION ALL SELECT 1) AS sides
  WHERE sides.arrives = 1 AND COALESCE(target, '?') <> '' AND (object_kind = 'Deployment' OR NOT is_end OR target IS NOT NULL)
    OR sides.arrives = 0 AND previous_target <> '' AND NOT same_target AND NOT is_end
),
placed AS (
  SELECT *,
    ROW_NUMBER() OVER forward AS place,
    MAX(effective_time) OVER (forward ROWS UNBOUNDED PRECEDING) AS forward_time,
    removes OR previous_position IS NULL OR replicas IS NULL OR NOT same_target OR missed_writes > 0
      OR COALESCE(replicas, -1) <> COALESCE(previous_number, -1)
      OR COALESCE(min_replicas, -1) <> COALESCE(previous_min, -1)
      OR effective <> COALESCE(previous_effective, effective) AS is_change
  FROM moved
  WINDOW forward AS (PARTITION BY object_id ORDER BY position, arrives)
)
SELECT
  asked.event_id, asked.write_id, shown.write_id AS shown_write,
  asked.event_time, forward_time AS effective_time, shown.project_id, shown.location, shown.cluster_name, shown.namespace, placed.deployment_name,
  shown.object_kind, shown.object_name, shown.object_uid, shown.object_version, shown.generation, shown.life, place AS position, arrives, removes,
  asked.operation, previous_replicas,
  CASE WHEN removes THEN NULL ELSE placed.replicas END AS replicas, previous_min_replicas,
  CASE WHEN removes THEN NULL ELSE placed.min_replicas END AS min_replicas, missed_writes, shown.replicas_source,
  asked.actor, asked.on_behalf_of, asked.actor_kind, asked.route, asked.touched, placed.effective, shown.in_scope, shown.outside_range,
  shown.cluster_id, placed.object_id, shown.is_end, shown.carried, asked.ingested_at
FROM placed
-- The rest of what is said of it, and who asked for it: the write itself, or the call that timed out.
JOIN ${dataset}.ordered_writes AS shown ON shown.object_id = placed.object_id AND shown.position = placed.position
JOIN ${dataset}.ordered_writes AS asked ON asked.object_id = placed.object_id AND asked.position = placed.by_position
WHERE is_change
