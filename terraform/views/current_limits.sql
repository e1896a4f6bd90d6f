-- The PED version now in force for each Deployment (and cluster, where it has one of its own).
SELECT
  config_id, timestamp, cluster_name, namespace, deployment_name, user_id, initial_max_replicas, max_replicas,
  min_replicas, updated_by, created_at, updated_at, change_reason, source
FROM (
  SELECT *, ROW_NUMBER() OVER (
    PARTITION BY cluster_name, namespace, deployment_name
    ORDER BY timestamp DESC, updated_at DESC, config_id DESC) AS age
  FROM ${dataset}.deployment_config
  WHERE timestamp <= ${now}
) AS versions
WHERE age = 1
