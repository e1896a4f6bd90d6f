-- The events behind closed days: what is read of replica_events where the rest is carried in.
WITH reached AS (
  SELECT since.namespace, COALESCE(since.through, first.event_time) AS through
  FROM ${dataset}.open_since AS since
  CROSS JOIN (SELECT MIN(event_time) AS event_time FROM ${dataset}.replica_events) AS first
),
bounds AS (
  SELECT MIN(through) AS earliest, MAX(CASE WHEN namespace = '' THEN through END) AS usual FROM reached
)
SELECT events.*
FROM bounds
CROSS JOIN ${dataset}.replica_events AS events
LEFT JOIN reached AS late ON late.namespace = events.namespace AND late.namespace <> ''
WHERE events.event_time >= bounds.earliest
  -- The end of a cluster concerns every namespace in it.
  AND (events.event_time >= COALESCE(late.through, bounds.usual) OR events.object_kind = 'Cluster')
