-- Each write in its life, with the rank of the version that it shows, and whether it was a dry run.
--
-- A dry run is told by what another entry of the same life shows: it answers the present version with the generation and
-- the numbers that would have been. Ends are aside: what they show is not what is there.
WITH placed AS (
  SELECT writes.*, COALESCE(lives.life, 1) AS life, lives.starts_at, lives.next_starts_at,
    lives.first_time, lives.has_create,
    -- What may still turn out to be something else is not settled.
    COALESCE(writes.carried, '') = 'settled' AS settled,
    CASE
      WHEN writes.object_kind = 'Deployment' THEN writes.object_name
      WHEN writes.deployment_name IS NOT NULL THEN writes.deployment_name
      -- It aims at something that is not ours.
      WHEN NOT writes.effective THEN ''
    END AS target,
    writes.outcome = 'stored' AND COALESCE(writes.object_state, '') = 'gone' AS ends
  FROM (
    SELECT *, CASE WHEN operation = 'create' AND outcome = 'uncertain' THEN 60000000 ELSE 0 END AS micros_to_birth
    FROM ${dataset}.writes
  ) AS writes
  LEFT JOIN ${dataset}.lives AS lives
    ON lives.object_id = writes.object_id AND (
      lives.life_key = writes.object_uid
      OR lives.life_key = writes.write_id
      -- What shows no uid belongs to the life in which it was written; a create that timed out to the one that it may have begun.
      OR writes.object_uid IS NULL AND (lives.life = 1 OR MICROS_OF(writes.event_time) + micros_to_birth >= MICROS_OF(lives.starts_at))
        AND (lives.next_starts_at IS NULL OR MICROS_OF(writes.event_time) + micros_to_birth < MICROS_OF(lives.next_starts_at)))
  WHERE writes.object_kind <> 'Cluster' AND writes.object_name IS NOT NULL
),
-- What is watched of those that show a version, and no more: the columns are sorted many times.
shown AS (
  SELECT object_id, life, write_id, event_time, insert_id, event_id, generation, replicas, settled, before_generation,
    object_kind = 'Deployment' AND operation = 'scale' AS is_scale,
    -- Compares as the number that it is: by length, then as text.
    SUBSTR('000' || CAST(LENGTH(object_version) AS ${text}), -4) || object_version AS version_key,
    -- All that is watched, in one text.
    CAST(replicas AS ${text}) || '/' || COALESCE(CAST(min_replicas AS ${text}), '') || '/' || COALESCE(target, '') AS numbers
  FROM placed
  WHERE object_version IS NOT NULL AND NOT ends
),
ranked AS (
  SELECT *, DENSE_RANK() OVER (PARTITION BY object_id, life ORDER BY version_key) AS version_rank FROM shown
),
compared AS (
  SELECT *,
    MIN(generation) OVER (
      PARTITION BY object_id, life ORDER BY version_rank DESC RANGE UNBOUNDED PRECEDING) AS lowest_from_here,
    MIN(numbers) OVER later_of_generation AS least_later, MAX(numbers) OVER later_of_generation AS most_later
  FROM ranked
  WINDOW
    later_of_generation AS (
      PARTITION BY object_id, life, generation ORDER BY version_rank DESC
      RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
refuted AS (
  -- The same version or a later one shows a lower generation, or a later one the same generation with other numbers.
  SELECT *,
    COALESCE(generation > lowest_from_here
      OR generation IS NOT NULL AND (least_later <> numbers OR most_later <> numbers), FALSE) AS is_refuted
  FROM compared
),
first_shown AS (
  SELECT *, FIRST_VALUE(numbers) OVER of_version AS first_numbers, FIRST_VALUE(generation) OVER of_version AS first_generation
  FROM refuted
  WINDOW of_version AS (
    PARTITION BY object_id, life, version_rank
    ORDER BY CASE WHEN is_refuted OR numbers IS NULL THEN 1 ELSE 0 END, event_time, insert_id, event_id)
),
doubted AS (
  -- The same version showed other numbers before, and one of the two has no generation to tell by.
  SELECT *,
    is_refuted OR COALESCE(first_numbers <> numbers AND (generation IS NULL OR first_generation IS NULL), FALSE) AS is_doubtful
  FROM first_shown
),
surrounded AS (
  SELECT *,
    COALESCE(MAX(CASE WHEN NOT is_doubtful THEN generation END) OVER lower, before_generation) AS generation_before,
    MIN(CASE WHEN NOT is_doubtful AND replicas IS NOT NULL THEN generation END) OVER higher AS generation_after,
    -- The number that the lowest generation behind shows, under it in one number (replicas are below 2^32).
    MIN(CASE WHEN NOT is_doubtful THEN generation * 4294967296 + replicas END) OVER higher AS numbered_after
  FROM doubted
  WINDOW
    lower AS (
      PARTITION BY object_id, life ORDER BY version_rank RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
    higher AS (
      PARTITION BY object_id, life ORDER BY version_rank DESC RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
versions AS (
  SELECT object_id, write_id, version_rank,
    NOT settled AND (
      is_doubtful
      -- A Scale has no generation. Between two writes whose generations follow each other there was no room for one.
      OR COALESCE(is_scale AND generation IS NULL AND generation_after - generation_before < 2
        AND numbered_after <> generation_after * 4294967296 + replicas, FALSE)) AS dry_run
  FROM surrounded
)
SELECT
  placed.write_id, event_id, event_time, received_time, ingested_at, project_id, location, cluster_name, namespace,
  deployment_name, object_kind, object_name, object_uid, born_at, object_version, generation, touched, operation, outcome,
  object_state, method_name, replicas, min_replicas, effective, replicas_source, actor, on_behalf_of, actor_kind, route,
  user_agent, caller_ip, in_scope, outside_range, insert_id, log_name, cluster_id, placed.object_id, life, starts_at,
  next_starts_at, version_rank, target, ends, settled, first_time, has_create, carried, before_generation, before_explains,
  before_missing, before_missed, before_effective, COALESCE(dry_run, FALSE) AS dry_run
FROM placed
LEFT JOIN versions ON versions.write_id = placed.write_id AND versions.object_id = placed.object_id
