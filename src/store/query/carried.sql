-- What a question about later events has to know of those before them: of each life of an object that may still be written
-- to, the last writes, which may turn out to be something else, and what came before those.
--
-- Eight writes behind a write, it is settled: a dry run is told by the write behind it, an end is refuted by the next
-- answer, and a call that timed out gets its credit from the next number.
WITH ${told}
followed AS (
  SELECT *,
    LAG(numbers) OVER told AS numbers_before, LAG(effective) OVER told AS effective_before
  FROM (
    SELECT *,
      CASE WHEN outcome <> 'uncertain' AND replicas IS NOT NULL THEN
        CAST(replicas AS ${text}) || '/' || COALESCE(CAST(min_replicas AS ${text}), '') || '/' || COALESCE(target, '') END AS numbers
    FROM ${dataset}.ordered_writes
    WHERE NOT is_end
  ) AS numbered
  WINDOW told AS (PARTITION BY object_id, life, CASE WHEN numbers IS NULL THEN 1 ELSE 0 END ORDER BY position)
),
ordered AS (
  SELECT *,
    ROW_NUMBER() OVER (PARTITION BY object_id, life, CASE WHEN settled THEN 1 ELSE 0 END ORDER BY position DESC) AS from_the_last,
    SUM(CASE WHEN settled THEN 0 ELSE 1 END) OVER (PARTITION BY object_id, life) AS unsettled,
    -- The write that the number comes from.
    MAX(CASE WHEN numbers <> COALESCE(numbers_before, '') THEN position END) OVER (PARTITION BY object_id, life) AS number_from,
    -- That with which it came to find its Deployment, or ceased to.
    MAX(CASE WHEN numbers IS NOT NULL AND effective <> effective_before THEN position END) OVER (PARTITION BY object_id, life) AS effective_from
  FROM followed
),
windows AS (
  SELECT object_id, life, MIN(position) AS first_position, MIN(version_rank) AS first_rank,
    MAX(CASE WHEN is_cut OR unsettled > 8 THEN 1 ELSE 0 END) = 1 AS is_cut,
    MIN(CASE WHEN numbers IS NOT NULL OR replicas_source = 'unknown' THEN position END) AS first_told
  FROM ordered
  WHERE from_the_last <= 8 AND NOT settled
  GROUP BY object_id, life
),
places AS (
  SELECT placed.*, ordered.position, ordered.effective_time, ordered.number_from, ordered.effective_from,
    MAX(CASE WHEN placed.target IS NOT NULL AND placed.outcome <> 'uncertain' THEN ordered.position END)
      OVER (PARTITION BY placed.object_id, placed.life) AS target_from,
    windows.first_position, windows.first_told, COALESCE(windows.is_cut, FALSE) AS is_cut,
    first_write.before_generation AS generation_before, first_write.before_explains AS explains_before,
    first_write.before_missing AS missing_before, first_write.before_missed AS missed_before,
    first_write.before_effective AS effective_before,
    ends OR ordered.position >= windows.first_position OR placed.version_rank >= windows.first_rank AS is_open,
    ROW_NUMBER() OVER (copies ORDER BY placed.event_time, placed.insert_id, placed.event_id) AS from_the_first,
    ROW_NUMBER() OVER (copies ORDER BY placed.event_time DESC, placed.insert_id DESC, placed.event_id DESC) AS from_the_last,
    ROW_NUMBER() OVER (
      PARTITION BY placed.object_id, placed.life, CASE WHEN ends THEN 1 ELSE 0 END ORDER BY placed.event_time DESC, placed.event_id) AS latest,
    ROW_NUMBER() OVER (PARTITION BY placed.object_id, placed.life ORDER BY placed.event_time DESC, placed.event_id) AS latest_of_all,
    ROW_NUMBER() OVER (
      PARTITION BY placed.object_id, placed.life
      ORDER BY CASE WHEN placed.object_uid IS NULL THEN 2 WHEN placed.born_at IS NULL THEN 1 ELSE 0 END, placed.event_time DESC, placed.event_id) AS names_it,
    MAX(placed.event_time) OVER (PARTITION BY placed.object_id, placed.life) AS last_time,
    MAX(placed.object_uid) OVER (PARTITION BY placed.object_id, placed.life) AS life_uid,
    MAX(placed.life) OVER (PARTITION BY placed.object_id) AS last_life
  FROM ${dataset}.placed_writes AS placed
  LEFT JOIN ordered
    ON ordered.object_id = placed.object_id AND ordered.write_id = placed.write_id AND ordered.life = placed.life
  LEFT JOIN windows ON windows.object_id = placed.object_id AND windows.life = placed.life
  LEFT JOIN ordered AS first_write
    ON first_write.object_id = windows.object_id AND first_write.life = windows.life
    AND first_write.position = windows.first_position
  WINDOW copies AS (
    PARTITION BY placed.object_id, placed.life, placed.version_rank, placed.generation, placed.replicas, placed.min_replicas,
      placed.target, placed.outcome, CASE WHEN placed.touched THEN 1 ELSE 0 END, CASE WHEN ends THEN 1 ELSE 0 END)
),
kept AS (
  SELECT places.*, MIN(places.life) OVER (PARTITION BY places.object_id) AS first_life, COALESCE(changed.told, '') AS told, CASE WHEN latest_of_all = 1 THEN COALESCE(ended.told_end, '') END AS told_end
  FROM places
  LEFT JOIN changed ON changed.object_id = places.object_id AND changed.write_id = places.write_id
  LEFT JOIN ended ON ended.object_id = places.object_id AND ended.life = places.life
  LEFT JOIN ${dataset}.ends AS last_end ON last_end.object_id = places.object_id AND last_end.life = places.last_life
  WHERE (places.life = places.last_life OR places.last_time >= @day_before)
    -- What ended long ago comes back as another life, if at all.
    AND (last_end.event_time IS NULL OR last_end.event_time >= @forgotten OR places.last_time >= @day_before)
    AND (
      is_open AND (places.position IS NOT NULL OR from_the_first = 1 OR from_the_last = 1)
      OR NOT is_cut AND (from_the_first = 1 OR from_the_last = 1)
      OR latest <= 2 OR names_it = 1
      OR places.position IN (number_from, target_from, effective_from)
      -- Nothing else identifies the life.
      OR places.operation = 'create' AND places.life_uid IS NULL AND places.outcome = 'stored')
)
SELECT
  CASE WHEN is_cut AND NOT COALESCE(is_open, FALSE) THEN 'settled' WHEN is_cut AND position = first_told AND number_from >= first_position THEN 'first' ELSE 'open' END AS carried,
  write_id, event_id, event_time, received_time, ingested_at, project_id, location, cluster_name, namespace, deployment_name,
  object_kind, object_name, object_uid, born_at, object_version, generation, touched, operation, outcome, object_state,
  method_name, replicas, min_replicas, effective, replicas_source, actor, on_behalf_of, actor_kind, route, in_scope,
  outside_range, insert_id, log_name, cluster_id, object_id,
  CASE WHEN is_cut AND object_uid IS NOT NULL THEN first_time END AS life_first_time, CASE WHEN is_cut THEN starts_at END AS life_starts_at,
  CASE WHEN is_cut AND object_uid IS NOT NULL THEN has_create = 1 END AS life_has_create,
  CASE WHEN is_cut THEN generation_before END AS before_generation, CASE WHEN is_cut THEN explains_before END AS before_explains,
  CASE WHEN is_cut THEN missing_before END AS before_missing,
  CASE WHEN is_cut THEN COALESCE(missed_before, 0) END AS before_missed,
  CASE WHEN is_cut AND NOT COALESCE(is_open, FALSE) THEN COALESCE(effective_time, event_time) WHEN is_cut OR life = first_life THEN effective_before END AS before_effective,
  told, told_end
FROM kept
UNION ALL
-- What ended all that was in a namespace or a cluster.
SELECT
  'open', write_id, event_id, event_time, received_time, ingested_at, project_id, location, cluster_name, namespace, deployment_name,
  object_kind, object_name, object_uid, born_at, object_version, generation, touched, operation, outcome, object_state,
  method_name, replicas, min_replicas, effective, replicas_source, actor, on_behalf_of, actor_kind, route, in_scope,
  outside_range, insert_id, log_name, cluster_id, object_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM ${dataset}.writes
WHERE event_time >= @forgotten_around
  AND (object_kind = 'Cluster' OR operation = 'delete_collection' AND object_name IS NULL AND object_state = 'gone')
