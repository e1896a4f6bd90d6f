-- What each user had in force on each day (UTC), over all Deployments: the cluster's own registration tells the user
-- before the one for any cluster.
SELECT COALESCE(own.user_id, anywhere.user_id) AS user_id, daily.date, SUM(daily.max_replicas) AS max_pods
FROM ${dataset}.daily_max_replicas AS daily
LEFT JOIN ${dataset}.current_limits AS own
  ON own.namespace = daily.namespace AND own.deployment_name = daily.deployment_name
  AND own.cluster_name = daily.cluster_name
LEFT JOIN ${dataset}.current_limits AS anywhere
  ON anywhere.namespace = daily.namespace AND anywhere.deployment_name = daily.deployment_name
  AND anywhere.cluster_name IS NULL
WHERE COALESCE(own.user_id, anywhere.user_id) IS NOT NULL
GROUP BY 1, 2
