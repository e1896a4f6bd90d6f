-- The writes, each once and whole: copies dropped, the pieces of a split entry merged, and what NULL means in the rows of
-- the first release said. Everything else reads this view instead of the table.
WITH once AS (
  -- A row that both releases recorded counts as the newer one wrote it.
  SELECT * FROM (
    SELECT *, MIN(ingested_at) OVER (PARTITION BY event_time, event_id) AS first_ingested_at, ROW_NUMBER() OVER (
      PARTITION BY event_time, event_id ORDER BY CASE WHEN write_id IS NULL THEN 1 ELSE 0 END, ingested_at) AS copy
    FROM ${dataset}.replica_events WHERE TRUE
  ) AS numbered
  WHERE copy = 1
),
meant AS (
  SELECT *,
    COALESCE(write_id, event_id) AS write_key,
    COALESCE(object_version, CAST(resource_version AS ${text})) AS version,
    -- No object has as many; what claims to would overflow the sums over it.
    CASE WHEN generation BETWEEN 0 AND 2147483647 THEN generation END AS plausible_generation,
    CASE WHEN write_id IS NULL OR touched THEN 1 WHEN NOT touched THEN 0 END AS wrote,
    CASE
      WHEN write_id IS NOT NULL THEN CASE object_state WHEN 'gone' THEN 3 WHEN 'terminating' THEN 2 WHEN 'live' THEN 1 END
      WHEN operation IN ('delete', 'delete_collection') THEN 3
      ELSE 1
    END AS shown,
    -- The object as it was stored says more than what was sent: what is trusted more is greater.
    CASE WHEN replicas IS NULL THEN NULL WHEN replicas_source = 'response' THEN 3 WHEN replicas_source = 'default' THEN 1 ELSE 2 END AS trust,
    CASE WHEN COALESCE(outside_range, verdict = 'outside_platform_range') THEN 1 ELSE 0 END AS outside
  FROM once
),
merged AS (
  SELECT
    write_key AS write_id, MIN(event_id) AS event_id, MIN(event_time) AS event_time, MIN(received_time) AS received_time,
    MIN(first_ingested_at) AS ingested_at, MAX(project_id) AS project_id, MAX(location) AS location,
    MAX(cluster_name) AS cluster_name, MAX(namespace) AS namespace, MAX(deployment_name) AS deployment_name,
    MAX(object_kind) AS object_kind, MAX(object_name) AS object_name, MAX(object_uid) AS object_uid,
    MAX(born_at) AS born_at, MAX(version) AS object_version, MAX(plausible_generation) AS generation,
    COALESCE(MAX(wrote), 1) = 1 AS touched, MAX(operation) AS operation, MAX(COALESCE(outcome, 'stored')) AS outcome,
    CASE MAX(shown) WHEN 3 THEN 'gone' WHEN 2 THEN 'terminating' WHEN 1 THEN 'live' END AS object_state,
    MAX(method_name) AS method_name, MAX(trust * 4294967296 + replicas) - MAX(trust) * 4294967296 AS replicas,
    MAX(min_replicas) AS min_replicas,
    COALESCE(MIN(CASE WHEN effective THEN 1 WHEN NOT effective THEN 0 END), 1) = 1 AS effective,
    COALESCE(SUBSTR(MAX(CAST(trust AS ${text}) || replicas_source), 2), MAX(replicas_source)) AS replicas_source,
    MIN(actor) AS actor, MIN(on_behalf_of) AS on_behalf_of, MIN(actor_kind) AS actor_kind, MIN(route) AS route,
    MIN(user_agent) AS user_agent, MIN(caller_ip) AS caller_ip,
    MIN(CASE WHEN in_scope OR in_scope IS NULL THEN 1 ELSE 0 END) = 1 AS in_scope,
    COALESCE(MAX(trust * 2 + outside) - MAX(trust) * 2, 0) = 1 AS outside_range,
    MIN(insert_id) AS insert_id, MIN(log_name) AS log_name
  FROM meant
  GROUP BY write_key
),
listed AS (
  SELECT *,
    'projects/' || COALESCE(project_id, '') || '/locations/' || COALESCE(location, '') || '/clusters/' || cluster_name AS cluster_id,
    COUNT(object_name) OVER (
      PARTITION BY log_name, event_time, project_id, location, cluster_name, namespace, object_kind, operation) AS named
  FROM merged
)
SELECT
  write_id, event_id, event_time, received_time, ingested_at, project_id, location, cluster_name, namespace,
  deployment_name, object_kind, object_name, object_uid, born_at, object_version, generation, touched, operation,
  CASE
    -- What was not written to stays as it is; but a number that cannot be told is no number that stayed.
    WHEN outcome = 'stored' AND replicas IS NULL AND NOT touched AND COALESCE(replicas_source, '') <> 'unknown'
      AND COALESCE(object_state, 'live') <> 'gone' THEN 'observed'
    ELSE outcome
  END AS outcome,
  object_state, method_name, replicas, min_replicas, effective, replicas_source, actor, on_behalf_of, actor_kind, route,
  user_agent, caller_ip, in_scope, outside_range, insert_id, log_name,
  cluster_id, cluster_id || '/' || namespace || '/' || object_kind || '/' || COALESCE(object_name, write_id) AS object_id,
  NULL AS carried, NULL AS life_first_time, NULL AS life_starts_at, NULL AS life_has_create, NULL AS before_generation,
  NULL AS before_explains, NULL AS before_missing, NULL AS before_missed, NULL AS before_effective
FROM listed
-- Of a deletecollection whose list came in another piece, the pieces without it say nothing more.
WHERE NOT (operation = 'delete_collection' AND object_name IS NULL AND object_state IS NULL AND named > 0)
UNION ALL
-- Who reads all events needs nothing carried in. A bounded question reads here what stands for the events before it.
SELECT
  write_id, event_id, event_time, received_time, ingested_at, project_id, location, cluster_name, namespace,
  deployment_name, object_kind, object_name, object_uid, born_at, object_version, generation, touched, operation,
  outcome, object_state, method_name, replicas, min_replicas, effective, replicas_source, actor, on_behalf_of, actor_kind, route,
  NULL, NULL, in_scope, outside_range, insert_id, log_name, cluster_id, object_id, carried,
  life_first_time, life_starts_at, life_has_create, before_generation, before_explains, before_missing, before_missed,
  before_effective
FROM ${dataset}.carried_writes WHERE FALSE
