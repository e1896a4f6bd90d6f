-- What changed something: each write that moved a watched number, with the number before it.
--
-- Rows arrive in any order. Within one object the resourceVersion orders them; a row without one (its bodies are
-- missing) is put behind the rows that happened before it. `missed_writes` counts generations that no row explains.
WITH once AS (
  -- One row per write: the same entry twice, or the same stored version twice (a no-op, a dry run on an old cluster).
  SELECT * FROM (
    SELECT *, ROW_NUMBER() OVER (
      PARTITION BY project_id, location, cluster_name, namespace, object_kind, object_name,
        COALESCE(object_uid, ''), resource_version, CASE WHEN resource_version IS NULL THEN event_id ELSE '' END,
        CASE WHEN verdict = 'removed' THEN 1 ELSE 0 END
      ORDER BY event_time, insert_id, event_id, ingested_at) AS copy
    FROM ${dataset}.replica_events
  ) AS numbered
  WHERE copy = 1
),
known AS (
  -- The n-th incarnation begins where a uid is seen; rows without a uid belong to the one before them.
  SELECT *, COUNT(object_uid) OVER (
    PARTITION BY project_id, location, cluster_name, namespace, object_kind, object_name
    ORDER BY event_time, insert_id, event_id ROWS UNBOUNDED PRECEDING) AS uids_before
  FROM once
),
placed AS (
  SELECT *,
    MAX(object_uid) OVER (
      PARTITION BY project_id, location, cluster_name, namespace, object_kind, object_name, uids_before) AS history
  FROM known
),
ranked AS (
  SELECT *,
    MAX(resource_version) OVER (
      PARTITION BY project_id, location, cluster_name, namespace, object_kind, object_name, history
      ORDER BY event_time, insert_id, event_id ROWS UNBOUNDED PRECEDING) AS version_before
  FROM placed
),
ordered AS (
  SELECT *, ROW_NUMBER() OVER (
    PARTITION BY project_id, location, cluster_name, namespace, object_kind, object_name, history
    ORDER BY COALESCE(resource_version, version_before, 0), CASE WHEN resource_version IS NULL THEN 1 ELSE 0 END,
      generation, event_time, insert_id, event_id) AS position
  FROM ranked
),
compared AS (
  SELECT *,
    LAG(event_id) OVER object_history AS previous_event_id,
    LAG(replicas) OVER object_history AS previous_replicas,
    LAG(min_replicas) OVER object_history AS previous_min_replicas,
    MAX(generation) OVER (object_history ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous_generation,
    SUM(CASE WHEN generation IS NULL THEN 1 ELSE 0 END) OVER (object_history ROWS UNBOUNDED PRECEDING) AS without_generation
  FROM ordered
  WINDOW object_history AS (
    PARTITION BY project_id, location, cluster_name, namespace, object_kind, object_name, history ORDER BY position)
),
explained AS (
  -- A Scale has no generation, so each one since the last known generation may stand for one that is skipped.
  SELECT *,
    without_generation - COALESCE(MAX(CASE WHEN generation IS NOT NULL THEN without_generation END) OVER (
      PARTITION BY project_id, location, cluster_name, namespace, object_kind, object_name, history
      ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS scales_since
  FROM compared
),
counted AS (
  SELECT *,
    CASE
      WHEN generation > previous_generation + 1 + scales_since THEN generation - previous_generation - 1 - scales_since
      ELSE 0
    END AS missed_writes
  FROM explained
)
SELECT
  event_id, event_time, project_id, location, cluster_name, namespace, deployment_name, object_kind, object_name,
  object_uid, resource_version, generation, position, operation, previous_replicas, replicas, previous_min_replicas,
  min_replicas, missed_writes, replicas_source, actor, actor_kind, route, limit_id, limit_max_replicas,
  limit_initial_max_replicas, verdict, ingested_at
FROM counted
WHERE previous_event_id IS NULL
  OR verdict IN ('removed', 'unknown_value')
  OR COALESCE(replicas, -1) <> COALESCE(previous_replicas, -1)
  OR COALESCE(min_replicas, -1) <> COALESCE(previous_min_replicas, -1)
  OR missed_writes > 0
