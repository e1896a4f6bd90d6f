-- Every write with the version of the PED in force at its own time, and what it comes to. No-ops, dry runs and what is
-- uncertain are here too; observations are not, because they ask for nothing, and the end of an HPA that scaled no
-- Deployment of ours is none of ours.
SELECT
  writes.event_id, writes.write_id, writes.event_time, writes.received_time, writes.project_id, writes.location,
  writes.cluster_name, writes.namespace, COALESCE(writes.deployment_name, ends.last_target) AS deployment_name, writes.object_kind, writes.object_name,
  writes.object_uid, writes.born_at, writes.object_version, writes.generation, writes.touched, writes.operation,
  writes.outcome, writes.object_state, writes.method_name, writes.replicas, writes.min_replicas, writes.effective,
  writes.replicas_source, writes.actor, writes.on_behalf_of, writes.actor_kind, writes.route, writes.user_agent,
  writes.caller_ip, writes.in_scope, writes.outside_range, limits.limit_id, limits.max_replicas AS limit_max_replicas,
  limits.initial_max_replicas AS limit_initial_max_replicas,
  CASE
    WHEN writes.object_state = 'gone' AND writes.outcome = 'stored' THEN 'removed'
    WHEN writes.replicas IS NULL OR writes.deployment_name IS NULL THEN 'unknown_value'
    WHEN limits.limit_id IS NULL THEN 'unregistered'
    WHEN writes.replicas > limits.max_replicas THEN 'over_limit'
    WHEN writes.outside_range THEN 'outside_platform_range'
    ELSE 'within'
  END AS verdict,
  writes.insert_id, writes.log_name, writes.ingested_at
FROM ${dataset}.writes AS writes
LEFT JOIN ${dataset}.limits_in_force AS limits
  ON limits.cluster_id = writes.cluster_id AND limits.namespace = writes.namespace
  AND limits.deployment_name = writes.deployment_name AND limits.begins_at <= writes.event_time
  AND (limits.ends_at IS NULL OR writes.event_time < limits.ends_at)
LEFT JOIN ${dataset}.ends AS ends
  ON ends.write_id = writes.write_id AND ends.object_id = writes.object_id
  AND writes.object_kind = 'HorizontalPodAutoscaler'
WHERE writes.outcome <> 'observed' AND NOT (
  writes.object_kind = 'HorizontalPodAutoscaler' AND COALESCE(writes.object_state, '') = 'gone'
  AND writes.object_name IS NOT NULL AND writes.deployment_name IS NULL AND COALESCE(ends.last_target, '') = '')
