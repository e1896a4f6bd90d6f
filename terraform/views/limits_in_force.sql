-- The limit in force for each Deployment in each cluster where it was written, as ranges of time [begins_at, ends_at): of
-- the scopes that have one, the narrowest counts. Who is charged, and for what, says the version `version_id`: where an exception
-- sets the limit, the one under it.
WITH applicable AS (
  SELECT subjects.cluster_id, subjects.namespace, subjects.deployment_name, ranges.limit_id, ranges.version_id, ranges.begins_at, ranges.ends_at,
    ranges.max_replicas, ranges.initial_max_replicas,
    CASE ranges.scope WHEN '' THEN 3 WHEN subjects.cluster_name THEN 2 ELSE 1 END AS breadth
  FROM ${dataset}.subjects AS subjects
  JOIN ${dataset}.limit_ranges AS ranges
    ON ranges.namespace = subjects.namespace AND ranges.deployment_name = subjects.deployment_name
    AND ranges.scope IN ('', subjects.cluster_name, subjects.cluster_id)
),
boundaries AS (
  SELECT DISTINCT cluster_id, namespace, deployment_name, CASE WHEN sides.ends = 1 THEN ends_at ELSE begins_at END AS instant
  FROM applicable
  CROSS JOIN (SELECT 0 AS ends UNION ALL SELECT 1) AS sides
  WHERE sides.ends = 0 OR ends_at IS NOT NULL
),
pieces AS (
  SELECT *, LEAD(instant) OVER (PARTITION BY cluster_id, namespace, deployment_name ORDER BY instant) AS until FROM boundaries
),
chosen AS (
  SELECT pieces.cluster_id, pieces.namespace, pieces.deployment_name, pieces.instant, pieces.until, applicable.limit_id,
    applicable.max_replicas, applicable.initial_max_replicas,
    -- An exception of a scope without a version stands above that of the narrowest scope that has one.
    COALESCE(applicable.version_id, FIRST_VALUE(applicable.version_id) OVER (
      PARTITION BY pieces.cluster_id, pieces.namespace, pieces.deployment_name, pieces.instant
      ORDER BY CASE WHEN applicable.version_id IS NULL THEN 1 ELSE 0 END, applicable.breadth), applicable.limit_id) AS version_id,
    ROW_NUMBER() OVER (
      PARTITION BY pieces.cluster_id, pieces.namespace, pieces.deployment_name, pieces.instant
      ORDER BY applicable.breadth) AS rank
  FROM pieces
  JOIN applicable
    ON applicable.cluster_id = pieces.cluster_id AND applicable.namespace = pieces.namespace
    AND applicable.deployment_name = pieces.deployment_name AND applicable.begins_at <= pieces.instant
    AND (applicable.ends_at IS NULL OR pieces.instant < applicable.ends_at)
)
SELECT cluster_id, namespace, deployment_name, limit_id, version_id, instant AS begins_at, until AS ends_at, max_replicas,
  initial_max_replicas
FROM chosen
WHERE rank = 1
