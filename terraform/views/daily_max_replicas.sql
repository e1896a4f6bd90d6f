-- The highest number of replicas in force on each day (UTC) for each Deployment, from its first write until today.
-- A number is in force from its write to the next change, so days without a write are there too; one that another
-- overtook counts for the day on which it was asked for.
WITH periods AS (
  SELECT project_id, location, cluster_name, namespace, deployment_name, replicas, in_scope,
    DATE(event_time) AS first_day,
    DATE(COALESCE(LEAD(effective_time) OVER (PARTITION BY object_id ORDER BY position), ${now})) AS last_day
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
-- What is out of scope ends the number before it all the same.
WHERE in_scope AND replicas IS NOT NULL
GROUP BY project_id, location, cluster_name, namespace, deployment_name, day
