-- What was written of, and may have a limit: a Deployment in a cluster.
SELECT DISTINCT cluster_id, cluster_name, namespace, deployment_name
FROM ${dataset}.writes
WHERE deployment_name IS NOT NULL
