-- The limits that each scope has of its own, as ranges of time [begins_at, ends_at): from the order of versions, retirements
-- and exceptions. A scope is any cluster (''), the clusters of a name, or one cluster.
--
-- Versions are ordered by when they take effect, then by when they were registered: the later registered corrects the
-- other. A retirement (no maximum) ends the scope's versions and exceptions; an exception (until a time) stands above them: it
-- sets the maximum, and leaves the rest to the version under it (`version_id`; NULL where there is none).
WITH once AS (
  SELECT * FROM (
    SELECT *, COALESCE(registered_at, updated_at) AS registered, COALESCE(cluster_name, '') AS scope, ROW_NUMBER() OVER (
      PARTITION BY namespace, deployment_name, COALESCE(cluster_name, ''), timestamp,
        -- A version and an exception of one instant are two things.
        CASE WHEN until IS NULL THEN 0 ELSE 1 END
      ORDER BY COALESCE(registered_at, updated_at) DESC, config_id DESC) AS from_the_last
    FROM ${dataset}.deployment_config
  ) AS numbered
  WHERE from_the_last = 1
),
versions AS (
  SELECT namespace, deployment_name, scope, config_id, max_replicas, timestamp AS begins_at,
    LEAD(timestamp) OVER (PARTITION BY namespace, deployment_name, scope ORDER BY timestamp) AS ends_at
  FROM once
  WHERE until IS NULL
),
firsts AS (
  SELECT namespace, deployment_name, scope, max_replicas AS initial_max_replicas FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY namespace, deployment_name, scope ORDER BY begins_at) AS number
    FROM versions
    WHERE max_replicas IS NOT NULL
  ) AS numbered
  WHERE number = 1
),
exceptions AS (
  -- Until it says, or until the scope is retired.
  SELECT once.namespace, once.deployment_name, once.scope, once.config_id, once.max_replicas, once.timestamp AS begins_at,
    MIN(CASE WHEN retired.begins_at < once.until THEN retired.begins_at ELSE once.until END) AS ends_at
  FROM once
  LEFT JOIN versions AS retired
    ON retired.namespace = once.namespace AND retired.deployment_name = once.deployment_name
    AND retired.scope = once.scope AND retired.max_replicas IS NULL AND retired.begins_at > once.timestamp
  WHERE once.until IS NOT NULL AND once.max_replicas IS NOT NULL AND once.until > once.timestamp
  GROUP BY once.namespace, once.deployment_name, once.scope, once.config_id, once.max_replicas, once.timestamp
),
claims AS (
  SELECT namespace, deployment_name, scope, config_id, max_replicas, begins_at, ends_at, 0 AS is_exception
  FROM versions
  WHERE max_replicas IS NOT NULL
  UNION ALL
  SELECT namespace, deployment_name, scope, config_id, max_replicas, begins_at, ends_at, 1 FROM exceptions
),
boundaries AS (
  SELECT DISTINCT namespace, deployment_name, scope, CASE WHEN sides.ends = 1 THEN ends_at ELSE begins_at END AS instant
  FROM claims
  CROSS JOIN (SELECT 0 AS ends UNION ALL SELECT 1) AS sides
  WHERE sides.ends = 0 OR ends_at IS NOT NULL
),
pieces AS (
  SELECT *, LEAD(instant) OVER (PARTITION BY namespace, deployment_name, scope ORDER BY instant) AS until FROM boundaries
),
held AS (
  -- Of several exceptions in force the last to begin counts, above any version.
  SELECT pieces.namespace, pieces.deployment_name, pieces.scope, pieces.instant, pieces.until, claims.config_id,
    claims.max_replicas,
    MAX(CASE WHEN claims.is_exception = 0 THEN claims.config_id END) OVER (
      PARTITION BY pieces.namespace, pieces.deployment_name, pieces.scope, pieces.instant) AS version_id,
    ROW_NUMBER() OVER (
      PARTITION BY pieces.namespace, pieces.deployment_name, pieces.scope, pieces.instant
      ORDER BY claims.is_exception DESC, claims.begins_at DESC, claims.config_id DESC) AS rank
  FROM pieces
  JOIN claims
    ON claims.namespace = pieces.namespace AND claims.deployment_name = pieces.deployment_name
    AND claims.scope = pieces.scope AND claims.begins_at <= pieces.instant
    AND (claims.ends_at IS NULL OR pieces.instant < claims.ends_at)
)
SELECT held.namespace, held.deployment_name, held.scope, held.config_id AS limit_id, held.version_id, held.instant AS begins_at,
  held.until AS ends_at, held.max_replicas,
  COALESCE(firsts.initial_max_replicas, held.max_replicas) AS initial_max_replicas
FROM held
LEFT JOIN firsts
  ON firsts.namespace = held.namespace AND firsts.deployment_name = held.deployment_name AND firsts.scope = held.scope
WHERE held.rank = 1
