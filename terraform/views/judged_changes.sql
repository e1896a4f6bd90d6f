-- Each change that stands, with the version of the PED in force at the write's own time, and what it comes to; an HPA that comes
-- to find its Deployment, or does not any more, is among them.
SELECT
  changes.event_id, changes.write_id, changes.event_time, changes.effective_time, changes.project_id, changes.location,
  changes.cluster_name, changes.namespace, changes.deployment_name, changes.object_kind, changes.object_name,
  changes.object_uid, changes.object_version, changes.generation, changes.life, changes.position, changes.operation,
  changes.previous_replicas, changes.replicas, changes.previous_min_replicas, changes.min_replicas, changes.missed_writes,
  changes.replicas_source, changes.actor, changes.on_behalf_of, changes.actor_kind, changes.route, changes.touched,
  changes.effective, changes.in_scope, changes.outside_range, limits.limit_id, limits.max_replicas AS limit_max_replicas,
  limits.initial_max_replicas AS limit_initial_max_replicas,
  CASE
    WHEN changes.removes THEN 'removed'
    WHEN changes.replicas IS NULL OR changes.deployment_name IS NULL THEN 'unknown_value'
    WHEN limits.limit_id IS NULL THEN 'unregistered'
    WHEN changes.replicas > limits.max_replicas THEN 'over_limit'
    WHEN changes.outside_range THEN 'outside_platform_range'
    ELSE 'within'
  END AS verdict,
  changes.cluster_id, changes.object_id, changes.carried, changes.ingested_at
FROM ${dataset}.ordered_changes AS changes
LEFT JOIN ${dataset}.limits_in_force AS limits
  ON limits.cluster_id = changes.cluster_id AND limits.namespace = changes.namespace
  AND limits.deployment_name = changes.deployment_name AND limits.begins_at <= changes.event_time
  AND (limits.ends_at IS NULL OR changes.event_time < limits.ends_at)
