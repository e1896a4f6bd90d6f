-- The end of each life: the last conclusion that the object is gone, unless a later answer refutes it, else the end of
-- what the object was in, a namespace or a cluster.
--
-- A call is cut off after 34 s at the latest, so an answer of the same life more than 60 s behind an end shows that the
-- end was a dry run, or that the object was held.
WITH shown AS (
  -- What an end says, and no more: it is sorted.
  SELECT write_id, event_id, event_time, ingested_at, operation, actor, on_behalf_of, actor_kind, route, project_id, location, cluster_name,
    namespace, object_kind, object_name, in_scope, cluster_id, object_id, life, target, starts_at, next_starts_at, ends,
    MAX(CASE WHEN object_uid IS NOT NULL AND object_state IN ('live', 'terminating') THEN event_time END) OVER life_of AS last_seen,
    MAX(object_uid) OVER life_of AS life_uid,
    -- What an HPA aimed at when it was last told; what its ending write asks for was never stored.
    MAX(CASE WHEN target IS NOT NULL AND NOT ends AND NOT dry_run AND outcome <> 'uncertain' THEN CAST(MICROS_OF(event_time) AS ${text}) || ' ' || target END) OVER life_of AS last_target,
    MAX(CASE WHEN NOT dry_run AND outcome <> 'uncertain' THEN event_time END) OVER life_of AS last_time,
    ROW_NUMBER() OVER (
      PARTITION BY object_id, life ORDER BY CASE WHEN ends THEN 0 ELSE 1 END, event_time DESC, event_id) AS number
  FROM ${dataset}.placed_writes
  WINDOW life_of AS (PARTITION BY object_id, life)
),
-- One row for each life: its last end, where it has one that stands.
lives AS (
  SELECT *, ends AND (last_seen IS NULL OR MICROS_OF(last_seen) - MICROS_OF(event_time) <= 60000000) AS is_own
  FROM shown
  WHERE number = 1
),
around AS (
  -- Who asked for a cluster's deletion stands in the operation's first entry, not in its last.
  SELECT write_id, event_id, event_time, ingested_at, cluster_id, namespace, object_kind, object_state, operation,
    COALESCE(MAX(CASE WHEN outcome = 'observed' THEN actor END) OVER operation_of, actor) AS actor,
    COALESCE(MAX(CASE WHEN outcome = 'observed' THEN on_behalf_of END) OVER operation_of, on_behalf_of) AS on_behalf_of,
    COALESCE(MAX(CASE WHEN outcome = 'observed' THEN actor_kind END) OVER operation_of, actor_kind) AS actor_kind,
    COALESCE(MAX(CASE WHEN outcome = 'observed' THEN route END) OVER operation_of, route) AS route
  FROM ${dataset}.writes
  WHERE object_kind = 'Cluster' OR operation = 'delete_collection' AND object_name IS NULL AND object_state = 'gone'
  WINDOW operation_of AS (PARTITION BY object_kind, COALESCE(object_uid, write_id))
),
ended AS (
  SELECT lives.*, around.write_id AS around_write, around.event_id AS around_event, around.event_time AS around_time,
    around.ingested_at AS around_ingested, around.operation AS around_operation, around.actor AS around_actor,
    around.on_behalf_of AS around_behalf, around.actor_kind AS around_kind, around.route AS around_route,
    ROW_NUMBER() OVER (PARTITION BY lives.object_id, lives.life ORDER BY around.event_time, around.write_id) AS nearest
  FROM lives
  LEFT JOIN around
    ON around.cluster_id = lives.cluster_id AND NOT lives.is_own AND around.object_state = 'gone'
    AND (around.object_kind = 'Cluster'
      OR around.namespace = lives.namespace AND around.object_kind = lives.object_kind)
    -- What was born before it, and had not ended because another followed.
    AND COALESCE(lives.starts_at, lives.event_time) < around.event_time
    AND (lives.next_starts_at IS NULL OR lives.next_starts_at > around.event_time)
    AND (lives.last_seen IS NULL OR MICROS_OF(lives.last_seen) - MICROS_OF(around.event_time) <= 60000000)
)
SELECT
  CASE WHEN is_own THEN write_id ELSE around_write END AS write_id,
  CASE WHEN is_own THEN event_id ELSE around_event END AS event_id,
  CASE WHEN is_own THEN event_time ELSE around_time END AS event_time,
  CASE WHEN is_own THEN ingested_at ELSE around_ingested END AS ingested_at,
  project_id, location, cluster_name, namespace, object_kind, object_name, life_uid AS object_uid,
  CASE WHEN is_own THEN operation ELSE around_operation END AS operation,
  CASE WHEN is_own THEN actor ELSE around_actor END AS actor,
  CASE WHEN is_own THEN on_behalf_of ELSE around_behalf END AS on_behalf_of,
  CASE WHEN is_own THEN actor_kind ELSE around_kind END AS actor_kind,
  CASE WHEN is_own THEN route ELSE around_route END AS route,
  in_scope, cluster_id, object_id, life,
  CASE WHEN object_kind = 'Deployment' THEN target END AS target,
  COALESCE(SUBSTR(last_target, 18), CASE WHEN is_own THEN target END) AS last_target, last_time
FROM ended
WHERE nearest = 1 AND (is_own OR around_write IS NOT NULL)
