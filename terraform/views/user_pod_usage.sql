-- What each user had in force on each day (UTC), over all Deployments. The user is the owner by the PED version that was in
-- force when the day ended.
SELECT versions.user_id, daily.date, SUM(daily.max_replicas) AS max_pods
FROM ${dataset}.daily_max_replicas AS daily
JOIN ${dataset}.limits_in_force AS limits
  ON limits.cluster_id = 'projects/' || COALESCE(daily.project_id, '') || '/locations/' || COALESCE(daily.location, '')
    || '/clusters/' || daily.cluster_name
  AND limits.namespace = daily.namespace AND limits.deployment_name = daily.deployment_name
  AND DATE(limits.begins_at) <= daily.date AND (limits.ends_at IS NULL OR daily.date < DATE(limits.ends_at))
JOIN (SELECT config_id, MIN(user_id) AS user_id FROM ${dataset}.deployment_config GROUP BY config_id) AS versions
  ON versions.config_id = limits.limit_id
GROUP BY 1, 2
