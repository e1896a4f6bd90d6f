-- How the log left each Deployment of a cluster at an instant: the last of its lives, the last generation that is shown of
-- it, and how many writes behind that show none.
WITH written AS (
  SELECT *,
    MAX(object_uid) OVER (PARTITION BY object_id, life) AS life_uid,
    CASE WHEN generation IS NULL AND NOT is_end AND outcome <> 'observed' THEN 1 ELSE 0 END AS shows_none,
    ROW_NUMBER() OVER (PARTITION BY object_id ORDER BY position DESC) AS age
  FROM ${dataset}.ordered_writes
  WHERE object_kind = 'Deployment' AND cluster_id = @logged_cluster AND effective_time <= @logged_at
),
numbered AS (
  SELECT object_id, life, replicas, removes,
    ROW_NUMBER() OVER (PARTITION BY object_id, life ORDER BY position DESC) AS age
  FROM ${dataset}.ordered_changes
  WHERE object_kind = 'Deployment' AND cluster_id = @logged_cluster AND effective_time <= @logged_at
)
SELECT written.namespace, written.object_name AS deployment_name, life_uid AS object_uid,
  CASE WHEN generation IS NULL OR before_generation > generation THEN before_generation ELSE generation END AS generation,
  CASE WHEN generation IS NULL THEN COALESCE(before_explains, 0) + shows_none ELSE 0 END AS scales_since,
  numbered.replicas, is_end OR COALESCE(numbered.removes, FALSE) AS removes, written.effective_time AS last_time
FROM written
LEFT JOIN numbered ON numbered.object_id = written.object_id AND numbered.life = written.life AND numbered.age = 1
WHERE written.age = 1
ORDER BY written.namespace, deployment_name
