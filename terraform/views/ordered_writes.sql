-- The order: each write of a life in its place, with who gets the credit for a version, the Deployment that it is about,
-- and the writes that no entry explains.
--
-- Within a life the version orders; what shows none is put behind what happened before it. The end is last.
WITH claimed AS (
  -- One write gets the credit for a version: the create that began the life, else one that wrote a watched field, else
  -- the first that shows it.
  SELECT *,
    MAX(generation) OVER version AS version_generation,
    ROW_NUMBER() OVER (
      PARTITION BY object_id, life, version_rank
      ORDER BY
        CASE
          WHEN outcome <> 'stored' OR replicas IS NULL THEN 4
          WHEN operation = 'create' THEN 1
          -- An apply that creates is a patch.
          WHEN operation = 'patch' AND COALESCE(generation, 1) = 1
            AND MICROS_OF(event_time) - MICROS_OF(born_at) BETWEEN -60000000 AND 999999 THEN 2
          WHEN touched THEN 2
          ELSE 3
        END,
        event_time, insert_id, event_id) AS claim
  FROM ${dataset}.placed_writes
  WHERE NOT dry_run AND NOT ends
  WINDOW version AS (PARTITION BY object_id, life, version_rank)
),
counted AS (
  SELECT write_id, event_id, event_time, ingested_at, project_id, location, cluster_name, namespace, object_kind,
    object_name, object_uid, object_version, touched, operation, outcome, object_state, method_name, replicas,
    min_replicas, effective, replicas_source, actor, on_behalf_of, actor_kind, route, in_scope, outside_range, insert_id,
    cluster_id, object_id, life, version_rank, target, CAST(NULL AS ${text}) AS last_target,
    FALSE AS is_end,
    CASE WHEN version_rank IS NULL THEN generation ELSE version_generation END AS shown_generation,
    MAX(version_rank) OVER (
      PARTITION BY object_id, life ORDER BY event_time, insert_id, event_id ROWS UNBOUNDED PRECEDING) AS rank_before
  FROM claimed
  WHERE version_rank IS NULL OR claim = 1
  UNION ALL
  SELECT write_id, event_id, event_time, ingested_at, project_id, location, cluster_name, namespace, object_kind,
    object_name, object_uid, NULL, TRUE, operation, 'stored', 'gone', '', NULL, NULL, TRUE, NULL, actor, on_behalf_of,
    actor_kind, route, in_scope, FALSE, '', cluster_id, object_id, life, NULL, target, last_target, TRUE, NULL, NULL
  FROM ${dataset}.ends
),
positioned AS (
  SELECT *,
    -- What is uncertain may not have turned an HPA.
    CASE WHEN outcome <> 'uncertain' THEN target END AS aim,
    ROW_NUMBER() OVER (
    PARTITION BY object_id
    ORDER BY life, CASE WHEN is_end THEN 1 ELSE 0 END, COALESCE(version_rank, rank_before, 0), CASE WHEN version_rank IS NULL THEN 1 ELSE 0 END, event_time,
      insert_id, event_id) AS position
  FROM counted
),
carried AS (
  SELECT *,
    COUNT(aim) OVER (life_order ROWS UNBOUNDED PRECEDING) AS targets,
    MAX(shown_generation) OVER (life_order ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous_generation,
    -- What has no generation of its own may have taken one: Scales, and what is uncertain or unknown.
    SUM(CASE WHEN object_kind = 'Deployment' AND shown_generation IS NULL AND NOT is_end AND outcome <> 'observed'
      THEN 1 ELSE 0 END) OVER (life_order ROWS UNBOUNDED PRECEDING) AS without_generation,
    -- A deletecollection takes one of each object that finalizers hold, at whichever later place.
    SUM(CASE WHEN operation = 'delete_collection' AND outcome = 'observed' THEN 1 ELSE 0 END)
      OVER (life_order ROWS UNBOUNDED PRECEDING) AS held_deletions
  FROM positioned
  WINDOW life_order AS (PARTITION BY object_id, life ORDER BY position)
),
explained AS (
  SELECT *,
    MAX(aim) OVER (PARTITION BY object_id, life, targets) AS current_target,
    -- Whether it is found is known with what it aims at.
    MIN(CASE WHEN aim IS NULL OR effective THEN 1 ELSE 0 END) OVER (PARTITION BY object_id, life, targets) = 1 AS currently_effective,
    without_generation - COALESCE(MAX(CASE WHEN shown_generation IS NOT NULL THEN without_generation END) OVER (
      PARTITION BY object_id, life ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS may_explain
  FROM carried
),
gaps AS (
  SELECT *,
    -- A status write shows the generation, and does not move it.
    CASE WHEN object_kind = 'Deployment' AND previous_generation IS NOT NULL AND shown_generation IS NOT NULL THEN
      shown_generation - previous_generation - CASE WHEN method_name LIKE '%.status.%' THEN 0 ELSE 1 END - may_explain
    END AS unexplained
  FROM explained
),
summed AS (
  SELECT *,
    SUM(CASE WHEN unexplained > 0 THEN unexplained ELSE 0 END) OVER (
      PARTITION BY object_id, life ORDER BY position ROWS UNBOUNDED PRECEDING) - held_deletions AS missing,
    -- What is uncertain holds nothing up: a call may time out long after the object's end.
    MAX(CASE WHEN outcome <> 'uncertain' THEN event_time END) OVER (
      PARTITION BY object_id ORDER BY position ROWS UNBOUNDED PRECEDING) AS effective_time
  FROM gaps
),
missed AS (
  SELECT *,
    MAX(CASE WHEN missing > 0 THEN missing ELSE 0 END) OVER (
      PARTITION BY object_id, life ORDER BY position ROWS UNBOUNDED PRECEDING) AS missed_so_far
  FROM summed
)
SELECT
  write_id, event_id, event_time, effective_time, ingested_at, project_id, location, cluster_name, namespace, object_kind,
  object_name, object_uid, object_version, shown_generation AS generation, touched, operation, outcome, object_state,
  replicas, min_replicas, currently_effective AS effective, replicas_source, actor, on_behalf_of, actor_kind, route,
  in_scope, outside_range, insert_id, cluster_id, object_id, life, position, version_rank,
  COALESCE(current_target, last_target) AS target, is_end,
  unexplained, may_explain, missed_so_far
FROM missed
