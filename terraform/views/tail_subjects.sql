-- The same where closed days stand for the events of the past.
SELECT DISTINCT cluster_id, cluster_name, namespace, deployment_name
FROM (
  SELECT cluster_id, cluster_name, namespace, deployment_name FROM ${dataset}.writes WHERE deployment_name IS NOT NULL
  UNION ALL
  SELECT cluster_id, cluster_name, namespace, deployment_name FROM ${dataset}.object_days
) AS named
