-- The latest known state of each object that is not removed.
SELECT
  project_id, location, cluster_name, namespace, deployment_name, object_kind, object_name, object_uid, replicas,
  min_replicas, verdict, event_id, event_time, actor, limit_id, limit_max_replicas
FROM (
  SELECT *, ROW_NUMBER() OVER (
    PARTITION BY project_id, location, cluster_name, namespace, object_kind, object_name
    ORDER BY event_time DESC, position DESC, event_id DESC) AS age
  FROM (
    -- The end of each incarnation, so that a late row of an early one does not stand for the object.
    SELECT *, ROW_NUMBER() OVER (
      PARTITION BY project_id, location, cluster_name, namespace, object_kind, object_name, object_uid
      ORDER BY position DESC, event_time DESC) AS from_the_end
    FROM ${dataset}.replica_changes
  ) AS histories
  WHERE from_the_end = 1
) AS latest
WHERE age = 1 AND operation NOT IN ('delete', 'delete_collection')
