-- What changed something: each write that moved a watched number, with the number before it, in the order of the object's
-- lives and of the writes in them.
--
-- An HPA that comes to find its Deployment, or does not any more, changes what it asks for, while its numbers stand.
-- `effective_time` never runs backwards. `missed_writes` counts generations that no entry explains. An HPA that turns to
-- another Deployment ends at the one and begins at the other.
WITH told AS (
  -- What says a number, says that it is unknown, or may have been stored; and the end.
  SELECT *,
    COUNT(CASE WHEN outcome <> 'uncertain' THEN write_id END) OVER (
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
    LAG(outcome) OVER asked AS call_outcome,
    LAG(write_id) OVER asked AS call_write, LAG(event_id) OVER asked AS call_event,
    LAG(event_time) OVER asked AS call_time, LAG(ingested_at) OVER asked AS call_ingested,
    LAG(touched) OVER asked AS call_touched, LAG(operation) OVER asked AS call_operation,
    LAG(actor) OVER asked AS call_actor, LAG(on_behalf_of) OVER asked AS call_behalf,
    LAG(actor_kind) OVER asked AS call_kind, LAG(route) OVER asked AS call_route
  FROM told
  WINDOW asked AS (PARTITION BY object_id, life, known_before, replicas ORDER BY position)
),
followed AS (
  SELECT *,
    LAG(write_id) OVER life_order AS previous_write, LAG(replicas) OVER life_order AS previous_number,
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
    NOT is_end AND COALESCE(call_outcome = 'uncertain'
      AND (NOT touched OR COALESCE(unexplained + may_explain, 0) > 0)
      AND (previous_number <> replicas OR previous_write IS NULL AND call_operation = 'create'), FALSE) AS by_call,
    CASE WHEN previous_write IS NULL OR is_end THEN 0 ELSE missed_so_far - COALESCE(missed_before, 0) END AS missed_writes,
    COALESCE(previous_target, target, '') = COALESCE(target, '') AS same_target
  FROM followed
),
moved AS (
  -- The one side of a write is the Deployment that an HPA turned away from, the other the one that it is about.
  SELECT credited.*, sides.arrives,
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
    removes OR previous_write IS NULL OR replicas IS NULL OR NOT same_target OR missed_writes > 0
      OR COALESCE(replicas, -1) <> COALESCE(previous_number, -1)
      OR COALESCE(min_replicas, -1) <> COALESCE(previous_min, -1)
      OR effective <> COALESCE(previous_effective, effective) AS is_change
  FROM moved
  WINDOW forward AS (PARTITION BY object_id ORDER BY position, arrives)
),
attributed AS (
  SELECT *,
    CASE WHEN by_call THEN call_event ELSE event_id END AS by_event,
    CASE WHEN by_call THEN call_time ELSE event_time END AS by_time
  FROM placed
  WHERE is_change
)
SELECT
  by_event AS event_id, CASE WHEN by_call THEN call_write ELSE write_id END AS write_id, write_id AS shown_write,
  by_time AS event_time, forward_time AS effective_time, project_id, location, cluster_name, namespace, deployment_name,
  object_kind, object_name, object_uid, object_version, generation, life, place AS position, arrives, removes,
  CASE WHEN by_call THEN call_operation ELSE operation END AS operation, previous_replicas,
  CASE WHEN removes THEN NULL ELSE replicas END AS replicas, previous_min_replicas,
  CASE WHEN removes THEN NULL ELSE min_replicas END AS min_replicas, missed_writes, replicas_source,
  CASE WHEN by_call THEN call_actor ELSE actor END AS actor,
  CASE WHEN by_call THEN call_behalf ELSE on_behalf_of END AS on_behalf_of,
  CASE WHEN by_call THEN call_kind ELSE actor_kind END AS actor_kind,
  CASE WHEN by_call THEN call_route ELSE route END AS route,
  CASE WHEN by_call THEN call_touched ELSE touched END AS touched, effective, in_scope, outside_range, cluster_id, object_id,
  is_end, carried, CASE WHEN by_call THEN call_ingested ELSE ingested_at END AS ingested_at
FROM attributed
