-- The latest known state of each object that is not gone, read from the events behind closed days (${dataset}.tail_events) and
-- what is ${dataset}.carried_in.
SELECT
  project_id, location, cluster_name, namespace, deployment_name, object_kind, object_name, object_uid, replicas,
  min_replicas, verdict, event_id, event_time, effective_time, actor, on_behalf_of, in_scope, limit_id, limit_max_replicas
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY object_id ORDER BY position DESC) AS age
  FROM ${dataset}.replica_changes
) AS latest
WHERE age = 1 AND verdict <> 'removed'
