-- How high the HPAs of a cluster that find a Deployment may scale it, as the log left them at an instant; null where one does not tell.
SELECT namespace, deployment_name,
  CASE WHEN COUNT(*) = COUNT(replicas) THEN MAX(replicas) END AS replicas
FROM (
  SELECT namespace, deployment_name, replicas, removes, effective,
    ROW_NUMBER() OVER (PARTITION BY object_id ORDER BY position DESC) AS age
  FROM ${dataset}.ordered_changes
  WHERE object_kind = 'HorizontalPodAutoscaler' AND cluster_id = @logged_cluster AND effective_time <= @logged_at
) AS latest
WHERE age = 1 AND NOT removes AND COALESCE(effective, TRUE) AND deployment_name IS NOT NULL
GROUP BY namespace, deployment_name
