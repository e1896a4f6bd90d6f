-- The alerts, each once: a message that is delivered again writes its rows again. The id tells the time too, so a
-- question about some days reads their partitions only.
SELECT
  alert_id, alert_time, alert_type, severity, message, cluster_name, namespace, deployment_name, event_id, replicas,
  limit_max_replicas, limit_initial_max_replicas, limit_id, actor, route, ingested_at
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY alert_time, alert_id ORDER BY ingested_at) AS copy
  FROM ${dataset}.alert_log
) AS numbered
WHERE copy = 1
