-- How the log left each HPA of a cluster that aims at a Deployment, or may, at an instant: how high it may scale it. One that does
-- not find it asks for nothing, as one that is gone.
SELECT namespace, object_name, deployment_name, life_uid AS object_uid, replicas,
  removes OR NOT COALESCE(effective, TRUE) AS removes, effective_time AS last_time
FROM (
  SELECT namespace, object_name, deployment_name, replicas, removes, effective, effective_time,
    MAX(object_uid) OVER (PARTITION BY object_id, life) AS life_uid,
    ROW_NUMBER() OVER (PARTITION BY object_id ORDER BY position DESC) AS age
  FROM ${dataset}.ordered_changes
  WHERE object_kind = 'HorizontalPodAutoscaler' AND cluster_id = @logged_cluster AND effective_time <= @logged_at
) AS latest
WHERE age = 1
ORDER BY namespace, object_name
