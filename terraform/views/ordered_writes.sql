-- The order: each write of a life in its place, with who gets the credit for a version, the Deployment that it is about,
-- and the writes that no entry explains.
--
-- Within a life the version orders; what shows none is put behind what happened before it. The end is last. What came
-- before the writes that are read is carried in (`before_…`).
WITH claimed AS (
  -- One write gets the credit for a version: the create that began the life, else one that wrote a watched field, else
  -- the first that shows it. What orders stands here and no more: it is sorted many times.
  SELECT object_id, life, write_id, event_time, insert_id, event_id, version_rank, object_kind = 'Deployment' AS has_generation,
    outcome, effective, target, settled, before_generation, before_explains, before_missing, before_missed, before_effective,
    method_name LIKE '%.status.%' AS is_status, operation = 'delete_collection' AND outcome = 'observed' AS is_held,
    CASE WHEN version_rank IS NULL THEN generation
      ELSE MAX(generation) OVER (PARTITION BY object_id, life, version_rank) END AS shown_generation,
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
),
counted AS (
  SELECT object_id, life, write_id, event_time, insert_id, event_id, version_rank, has_generation, outcome, effective,
    target, settled, before_generation, before_explains, before_missing, before_missed,
    before_effective, is_status, is_held, FALSE AS is_end, shown_generation,
    MAX(version_rank) OVER (
      PARTITION BY object_id, life ORDER BY event_time, insert_id, event_id ROWS UNBOUNDED PRECEDING) AS rank_before
  FROM claimed
  WHERE version_rank IS NULL OR claim = 1
  UNION ALL
  SELECT object_id, life, write_id, event_time, '', event_id, NULL, object_kind = 'Deployment', 'stored', TRUE,
    target, FALSE, NULL, NULL, NULL, NULL,
    NULL, FALSE, FALSE, TRUE, NULL, NULL
  FROM ${dataset}.ends
),
positioned AS (
  SELECT object_id, life, write_id, event_time, is_end, outcome = 'uncertain' AS is_uncertain, effective, has_generation, is_status,
    shown_generation, before_generation, before_explains, before_missing, before_missed, before_effective,
    -- What is uncertain may not have turned an HPA.
    CASE WHEN outcome <> 'uncertain' THEN target END AS aim,
    CASE WHEN NOT settled THEN shown_generation END AS counted_generation,
    -- What has no generation of its own may have taken one: Scales, and what is uncertain or unknown.
    CASE WHEN has_generation AND shown_generation IS NULL AND NOT is_end AND outcome <> 'observed'
      AND NOT settled THEN 1 ELSE 0 END AS takes_generation,
    CASE WHEN is_held AND NOT settled THEN 1 ELSE 0 END AS held_deletion,
    ROW_NUMBER() OVER (
    PARTITION BY object_id
    ORDER BY life, CASE WHEN is_end THEN 1 ELSE 0 END, COALESCE(version_rank, rank_before, 0), CASE WHEN version_rank IS NULL THEN 1 ELSE 0 END, event_time,
      insert_id, event_id) AS position
  FROM counted
),
carried AS (
  SELECT *,
    COUNT(aim) OVER (life_order ROWS UNBOUNDED PRECEDING) AS targets,
    MAX(counted_generation) OVER (life_order ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS read_generation,
    MAX(before_generation) OVER life_of AS carried_generation,
    SUM(takes_generation) OVER (life_order ROWS UNBOUNDED PRECEDING)
      + COALESCE(MAX(before_explains) OVER life_of, 0) AS without_generation,
    -- A deletecollection takes one of each object that finalizers hold, at whichever later place.
    SUM(held_deletion) OVER (life_order ROWS UNBOUNDED PRECEDING) AS held_deletions,
    COALESCE(MAX(before_missing) OVER life_of, 0) AS carried_missing,
    COALESCE(MAX(before_missed) OVER life_of, 0) AS carried_missed,
    COUNT(before_missed) OVER life_of > 0 AS is_cut
  FROM positioned
  WINDOW life_of AS (PARTITION BY object_id, life), life_order AS (PARTITION BY object_id, life ORDER BY position)
),
explained AS (
  SELECT object_id, life, position, write_id, event_time, is_end, is_uncertain, has_generation, is_status, shown_generation,
    counted_generation, takes_generation, before_effective, held_deletions, carried_missing, carried_missed, is_cut,
    CASE WHEN read_generation IS NULL OR carried_generation > read_generation THEN carried_generation ELSE read_generation END AS previous_generation,
    MAX(aim) OVER (PARTITION BY object_id, life, targets) AS current_target,
    -- Whether it is found is known with what it aims at.
    MIN(CASE WHEN aim IS NULL OR effective THEN 1 ELSE 0 END) OVER (PARTITION BY object_id, life, targets) = 1 AS currently_effective,
    without_generation - COALESCE(MAX(CASE WHEN counted_generation IS NOT NULL THEN without_generation END) OVER (
      PARTITION BY object_id, life ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS may_explain
  FROM carried
),
gaps AS (
  SELECT object_id, life, position, write_id, event_time, is_end, is_uncertain, shown_generation, before_effective, held_deletions,
    carried_missing, carried_missed, is_cut, previous_generation, current_target, currently_effective, may_explain,
    may_explain - takes_generation AS explains_before,
    -- A status write shows the generation, and does not move it.
    CASE WHEN has_generation AND previous_generation IS NOT NULL AND counted_generation IS NOT NULL THEN
      counted_generation - previous_generation - CASE WHEN is_status THEN 0 ELSE 1 END - may_explain
    END AS unexplained
  FROM explained
),
summed AS (
  SELECT object_id, life, position, write_id, is_end, shown_generation, before_effective, carried_missing, carried_missed, is_cut,
    previous_generation, current_target, currently_effective, may_explain, explains_before, unexplained,
    SUM(CASE WHEN unexplained > 0 THEN unexplained ELSE 0 END) OVER (
      PARTITION BY object_id, life ORDER BY position ROWS UNBOUNDED PRECEDING) + carried_missing - held_deletions AS missing,
    -- What is uncertain holds nothing up: a call may time out long after the object's end.
    MAX(CASE WHEN is_uncertain OR before_effective > event_time THEN before_effective ELSE event_time END) OVER (
      PARTITION BY object_id ORDER BY position ROWS UNBOUNDED PRECEDING) AS effective_time
  FROM gaps
),
missed AS (
  SELECT *,
    MAX(CASE WHEN missing > carried_missed THEN missing ELSE carried_missed END) OVER (
      PARTITION BY object_id, life ORDER BY position ROWS UNBOUNDED PRECEDING) AS missed_so_far,
    COALESCE(LAG(missing) OVER (PARTITION BY object_id, life ORDER BY position), carried_missing) AS missing_before,
    LAG(effective_time) OVER (PARTITION BY object_id ORDER BY position) AS previous_effective
  FROM summed
),
placed AS (
  SELECT *, COALESCE(LAG(missed_so_far) OVER (PARTITION BY object_id, life ORDER BY position), carried_missed) AS missed_so_far_before
  FROM missed
),
-- The rest of what each says.
told AS (
  SELECT write_id, event_id, event_time, ingested_at, project_id, location, cluster_name, namespace, object_kind,
    object_name, object_uid, object_version, touched, operation, outcome, object_state, replicas, min_replicas,
    replicas_source, actor, on_behalf_of, actor_kind, route, in_scope, outside_range, insert_id, cluster_id, object_id,
    life, version_rank, CAST(NULL AS ${text}) AS last_target, carried, settled, FALSE AS is_end
  FROM ${dataset}.placed_writes
  WHERE NOT ends
  UNION ALL
  SELECT write_id, event_id, event_time, ingested_at, project_id, location, cluster_name, namespace, object_kind,
    object_name, object_uid, NULL, TRUE, operation, 'stored', 'gone', NULL, NULL,
    NULL, actor, on_behalf_of, actor_kind, route, in_scope, FALSE, '', cluster_id, object_id,
    life, NULL, last_target, NULL, FALSE, TRUE
  FROM ${dataset}.ends
)
SELECT
  told.write_id, event_id, event_time, effective_time, ingested_at, project_id, location, cluster_name, namespace,
  object_kind, object_name, object_uid, object_version, shown_generation AS generation, touched, operation, outcome,
  object_state, replicas, min_replicas, currently_effective AS effective, replicas_source, actor, on_behalf_of, actor_kind,
  route, in_scope, outside_range, insert_id, cluster_id, told.object_id, told.life, position, version_rank,
  -- Whose credit it is: a version's, or that of what shows none.
  COALESCE(CAST(version_rank AS ${text}), told.write_id) AS credit_key,
  COALESCE(current_target, last_target) AS target, told.is_end,
  unexplained, may_explain, missed_so_far, carried, settled, is_cut,
  -- What is carried in where the writes from this one on are read alone.
  previous_generation AS before_generation, explains_before AS before_explains,
  missing_before AS before_missing, missed_so_far_before AS before_missed,
  CASE WHEN previous_effective IS NULL OR before_effective > previous_effective THEN before_effective ELSE previous_effective END AS before_effective
FROM placed
JOIN told ON told.write_id = placed.write_id AND told.object_id = placed.object_id AND told.life = placed.life
  AND told.is_end = placed.is_end
