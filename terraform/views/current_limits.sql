-- The PED version now in force for each Deployment (and scope of clusters, where it has one of its own).
SELECT
  versions.config_id, versions.timestamp, versions.cluster_name, versions.namespace, versions.deployment_name,
  versions.user_id, ranges.initial_max_replicas, versions.max_replicas, versions.min_replicas, versions.updated_by,
  versions.created_at, versions.updated_at, versions.change_reason, versions.source
FROM ${dataset}.limit_ranges AS ranges
JOIN (
  SELECT * FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY config_id ORDER BY updated_at) AS copy FROM ${dataset}.deployment_config
  ) AS numbered
  WHERE copy = 1
) AS versions ON versions.config_id = ranges.limit_id
WHERE ranges.begins_at <= ${now} AND (ranges.ends_at IS NULL OR ${now} < ranges.ends_at)
