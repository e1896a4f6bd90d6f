-- The highest number of replicas in force on each day (UTC) for each Deployment, from its first event until today.
-- A value is in force from its write to the next one, so days without a write are there too.
WITH periods AS (
  SELECT project_id, location, cluster_name, namespace, deployment_name, replicas, operation,
    DATE(event_time) AS first_day,
    DATE(COALESCE(
      LEAD(event_time) OVER (
        PARTITION BY project_id, location, cluster_name, namespace, object_name ORDER BY event_time, position),
      ${now})) AS last_day
  FROM ${dataset}.replica_changes
  WHERE object_kind = 'Deployment' AND deployment_name IS NOT NULL
),
calendar AS (
  SELECT day FROM ${calendar}
)
SELECT
  project_id, location, cluster_name, namespace, deployment_name, day AS date, MAX(replicas) AS max_replicas
FROM periods
JOIN calendar ON day >= first_day AND day <= last_day
WHERE replicas IS NOT NULL
GROUP BY project_id, location, cluster_name, namespace, deployment_name, day
